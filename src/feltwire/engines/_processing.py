"""The processing loop of the local engine, from the log to the lake: read ahead, work, commit in order."""

import logging
import re
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final, NamedTuple, Protocol, cast

import pyarrow as pa
from deltalake.exceptions import DeltaError

from feltwire import metrics, schema
from feltwire.engines._commit import IDLE_MOVE_S, Committer
from feltwire.engines._pool import Pool
from feltwire.engines._work import Done, Settled
from feltwire.errors import ClaimError, ConfigError, FeltwireError, LakeError, LogError, PositionError, RetryableError
from feltwire.interfaces import Log, Position
from feltwire.lake import Lake, Owner, added_tracks, create_lake
from feltwire.lake.maintain import Maintainer, make_durable
from feltwire.loading import Current
from feltwire.pipeline import Pipeline, build
from feltwire.plan import Plan
from feltwire.tracks import Track

logger = logging.getLogger(__name__)

CALM_S: Final = 0.5  # between two batches while there is little to do
CHUNK_ROWS: Final = 5_000  # are worked on at a time
BUSY_ROWS: Final = 20_000  # waiting: then processes are started
COMMIT_ROWS: Final = 40_000  # at most, in one commit
MAINTENANCE: Final = -1  # the claim to maintain a pipeline's lake, in the place of a partition
_KEEP_S: Final = 30.0  # between two trimmings of the log
_FIRST_WAIT_S: Final = 0.2
_LONGEST_WAIT_S: Final = 5.0

# What may pass by itself: a full disk, an unreachable lake, a worker that the system has killed.
_PASSING: Final = (RetryableError, OSError, DeltaError, pa.ArrowException, BrokenProcessPool)


_COLOUR: Final = re.compile("\x1b\\[[0-9;]*m")  # delta-rs tells of its tries in several lines, with arrows in red


class ClaimableLog(Log, Protocol):
    """A log on one machine, where a claim is a lock that the operating system releases."""

    def claim(self, pipeline: str, partition: int) -> AbstractContextManager[None]:
        """Hold a partition of a pipeline. Raises ClaimError when another worker holds it."""
        ...

    def lease_writer(self) -> AbstractContextManager[None]:
        """Be the one ingest process of the log. Raises ClaimError when there is another."""
        ...

    def begins(self) -> Position:
        """{partition: offset of the oldest record that is still there}."""
        ...


class UnderWay(NamedTuple):
    """A batch that is being worked on."""

    start: int
    began: float
    future: "Future[Done]"


@dataclass
class Processing:
    """Works for one pipeline on some partitions of a log. `open` it, `step` it again and again, `close` it."""

    plan: Plan
    log: ClaimableLog
    lake: Lake
    committer: Committer
    current: Current
    tracks: added_tracks.Followed
    pipeline: tuple[tuple[str, tuple[Track, ...]], Pipeline]  # with the model of this URI and these tracks
    pool: Pool
    maintainer: Maintainer
    resources: ExitStack
    settled: dict[int, Settled]
    following: Position  # {partition: offset of the next record to read}
    processed: int = 0
    kept: int = 0
    batches: int = 0
    batch_s: float = 0.0
    waiting: str = ""
    _queues: dict[int, deque[UnderWay]] = field(default_factory=dict)
    _read_at: float = 0.0
    _rested_at: float = field(default_factory=time.monotonic)
    _kept_at: float = field(default_factory=time.monotonic)
    _maintains: bool = False
    _owed: list[Done] = field(default_factory=list)  # worked on, and not in every table yet
    _try_at: float = 0.0  # before then, what has failed is not tried again
    _wait_s: float = _FIRST_WAIT_S
    _lag: int = 0

    @classmethod
    def open(cls, plan: Plan, log: ClaimableLog, resources: ExitStack) -> "Processing":
        """Claim the partitions, open the lake and bring its tables level.

        Raises ConfigError, ClaimError or PositionError; claims are released by `resources`.
        """
        ends = log.ends()
        partitions = sorted(ends) if plan.partitions is None else sorted(plan.partitions)
        unknown = set(partitions) - set(ends)
        if unknown:
            raise ConfigError(f"the log has no partitions {sorted(unknown)}: it has {sorted(ends)}")
        for partition in partitions:
            resources.enter_context(log.claim(plan.pipeline, partition))
        current = Current(plan.model)
        build(replace(plan, model=current.uri))  # what is wrong with it is told before anything is made
        owner = Owner(plan.pipeline, log.identity, len(ends))
        lake = create_lake(cast(str, plan.lake), owner, storage_options=plan.storage_options)
        committer = Committer(lake, log, partitions)
        log.register(plan.pipeline, committer.lowest())
        starts = log.begins()  # which stays: nobody trims what a registered pipeline has not passed
        committer.begin(starts)
        committer.level()
        log.register(plan.pipeline, committer.lowest())
        resources.enter_context(current.followed())
        tracks = added_tracks.Followed(lake.location, plan.tracks)
        now = (current.uri, tracks.now())
        return cls(
            plan=plan,
            log=log,
            lake=lake,
            committer=committer,
            current=current,
            tracks=tracks,
            pipeline=(now, build(replace(plan, model=now[0], tracks=now[1]))),
            pool=Pool(lake.location, plan.processes),
            maintainer=Maintainer(lake.location, lake.owner),
            resources=resources,
            settled={partition: committer.settled(partition) for partition in partitions},
            following={p: _begin(committer.position("posts", p), starts.get(p, 0), p) for p in partitions},
            _queues={partition: deque() for partition in partitions},
        )

    def step(self) -> bool:
        """Read ahead, and commit what is done; False when there is nothing to do now.

        Never waits for a lake or a log that is away: a later call tries again. Raises ClaimError when another
        worker was faster: it has the rows.
        """
        if time.monotonic() < self._try_at:
            return False
        if self._owed:
            return self._commit()
        try:
            read = self._read_ahead()
        except LogError as error:
            return self._pause(f"the log cannot be read: {error}")
        self._owed = self._take_done()
        if self._owed:
            return self._commit()
        if time.monotonic() < self._try_at:  # a batch has just failed
            return False
        return read or self._rest()

    def lag(self) -> int:
        """Records in the log that are not in the lake; while the log cannot be asked, what was found last."""
        try:
            self._lag = self._count_lag()
        except LogError as error:
            logger.debug("the log cannot be asked: %s", error)
        return self._lag

    def idle(self) -> bool:
        """Whether every table has every record."""
        try:
            return not self._count_lag()
        except LogError:
            return False

    def _count_lag(self) -> int:
        ends, starts = self.log.ends(), self.log.begins()
        reached = {p: max(self.committer.position("posts", p), starts.get(p, 0)) for p in self._queues}
        for each in self._owed:  # of these, some tables may have taken theirs
            reached[each.partition] = min(reached[each.partition], each.start)
        return sum(max(0, ends.get(partition, 0) - offset) for partition, offset in reached.items())

    def maintain(self) -> None:
        """One round of maintenance, and of the log's retention; called every second from a thread of its own."""
        if self.plan.maintain and self._may_maintain():
            self.maintainer.tick()
        if time.monotonic() - self._kept_at >= _KEEP_S:
            self._kept_at = time.monotonic()
            self._release_log()

    def close(self) -> None:
        """Let go of the processes; what was not committed is worked on again at the next start."""
        self.pool.close()
        try:
            self.committer.rest()
            self._release_log()
        except (FeltwireError, DeltaError, OSError) as error:
            logger.info("the last positions were not moved: %s", error)

    def _read_ahead(self) -> bool:
        """Submit batches until enough are under way or the log has no more; while calm, every CALM_S."""
        ends = self.log.ends()
        backlog = sum(ends.get(p, 0) - offset for p, offset in self.following.items())
        if not backlog or (backlog < CHUNK_ROWS and time.monotonic() - self._read_at < CALM_S):
            return False
        self._read_at = time.monotonic()
        submitted = False
        for partition, queue in self._queues.items():
            while len(queue) < self.pool.width and self.following[partition] < ends.get(partition, 0):
                batch = self.log.read(partition, self.following[partition], CHUNK_ROWS)
                if not batch.num_rows:
                    break
                began, start = time.monotonic(), self.following[partition]
                pipeline = self._pipeline()
                future = self.pool.submit(pipeline, batch, self.settled[partition], busy=backlog > BUSY_ROWS)
                queue.append(UnderWay(start, began, future))
                self.following[partition] = batch["log_offset"][-1].as_py() + 1
                submitted = True
        return submitted

    def _pipeline(self) -> Pipeline:
        """What the next batch goes through: the whole of it with the model that serves now and the tracks of now."""
        now = (self.current.uri, self.tracks.now())
        if now != self.pipeline[0]:
            self.pipeline = (now, build(replace(self.plan, model=now[0], tracks=now[1])))
        return self.pipeline[1]

    def _take_done(self) -> list[Done]:
        """The finished batches at the head of the queues, in order; waits a little for the first."""
        taken: list[Done] = []
        for partition, queue in self._queues.items():
            rows = 0
            while queue and rows < COMMIT_ROWS and (not taken or queue[0].future.done()):
                try:
                    done = queue[0].future.result(timeout=0.1)
                except TimeoutError:
                    break
                except _PASSING as error:
                    self._start_over(partition, queue)
                    self._pause(f"a batch could not be worked on: {error}")
                    break
                self.batch_s = time.monotonic() - queue.popleft().began
                metrics.add_counts(done.counts)
                taken.append(done)
                rows += done.end - done.start
        return taken

    def _start_over(self, partition: int, queue: "deque[UnderWay]") -> None:
        """Work on everything again from the head of a queue on."""
        self.following[partition] = queue[0].start
        for each in queue:
            each.future.cancel()
        queue.clear()

    def _commit(self) -> bool:
        """Commit what is owed; where the lake is away it stays owed, when stopped meanwhile to the next start."""
        try:
            self.committer.commit(self._owed)
        except _PASSING as error:
            metrics.COMMIT_RETRIES.labels(table="lake").inc()
            return self._pause(f"the lake takes nothing: {error}")
        done, self._owed = self._owed, []
        self._go_on()
        self.processed += sum(each.end - each.start for each in done)
        self.kept += sum(each.kept for each in done)
        self.batches += 1
        self._measure(done)
        return True

    def _rest(self) -> bool:
        """With nothing else to do, move the tables that got no rows; always False."""
        if any(self._queues.values()):
            return False
        if time.monotonic() - self._rested_at >= IDLE_MOVE_S:
            self._rested_at = time.monotonic()
            try:
                self.committer.rest()
            except _PASSING as error:
                return self._pause(f"the lake takes nothing: {error}")
        self._go_on()
        return False

    def _pause(self, why: str) -> bool:
        """Say why it does not go on, and leave the next try to a later step; always False."""
        why = " ".join(_COLOUR.sub("", why).split())
        if self.waiting != why:
            logger.warning("%s", why)
        self.waiting = why
        self._try_at = time.monotonic() + self._wait_s
        self._wait_s = min(self._wait_s * 2, _LONGEST_WAIT_S)
        return False

    def _go_on(self) -> None:
        self.waiting = ""
        self._wait_s = _FIRST_WAIT_S

    def _measure(self, done: Sequence[Done]) -> None:
        metrics.BATCH_ROWS.observe(sum(each.end - each.start for each in done))
        metrics.BATCH_SECONDS.observe(self.batch_s)
        metrics.LAG.labels(pipeline=self.plan.pipeline).set(self.lag())
        oldest = min((each.oldest.as_py() for each in done if each.oldest is not None), default=None)
        if oldest is not None:
            metrics.QUERYABLE_SECONDS.observe((datetime.now(UTC) - oldest).total_seconds())
        for each in done:
            for row in each.rows["ledger"].to_pylist():
                for name in schema.LEDGER_COUNTS:
                    metrics.LEDGER[name].labels(source=row["source"]).inc(row[name])

    def _may_maintain(self) -> bool:
        """Whether this worker is the one that maintains the lake; another takes over when that one has gone."""
        if not self._maintains:
            try:
                self.resources.enter_context(self.log.claim(self.plan.pipeline, MAINTENANCE))
            except (ClaimError, LogError):
                return False
            self._maintains = True
        return True

    def _release_log(self) -> None:
        """Tell the log what is safe in the lake, and have it trimmed."""
        try:
            lowest = self.committer.lowest()
            make_durable(self.lake.location)
            self.log.register(self.plan.pipeline, lowest)
            self.log.trim()
        except (LogError, LakeError, OSError) as error:
            logger.warning("the log was not trimmed and is tried again: %s", error)


def _begin(reached: int, oldest: int, partition: int) -> int:
    """Where to start reading. A new pipeline begins with the oldest record that the log still has."""
    if reached and reached < oldest:
        raise PositionError(
            f"the lake is at {reached} in log partition {partition}, but the log was trimmed up to {oldest}: "
            "records are missing between them"
        )
    return reached or oldest
