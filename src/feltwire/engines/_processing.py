"""The processing loop of the local engine, from the log to the lake: read ahead, work, commit in order."""

import logging
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

import pyarrow as pa
from deltalake.exceptions import DeltaError

from feltwire import metrics
from feltwire.engines._commit import IDLE_MOVE_S, Committer
from feltwire.engines._opened import (
    FIRST_WAIT_S,
    LONGEST_WAIT_S,
    PASSING,
    ClaimableLog,
    Opened,
    Upkeep,
    measure,
    one_line,
)
from feltwire.engines._pool import Pool
from feltwire.engines._work import Done, Settled, gap
from feltwire.errors import ClaimError, FeltwireError, LogError
from feltwire.interfaces import Position
from feltwire.plan import Plan

logger = logging.getLogger(__name__)

CALM_S: Final = 0.5  # between two batches while there is little to do
CHUNK_ROWS: Final = 5_000  # are worked on at a time, at most
LEAST_ROWS: Final = 500  # of a chunk, while more wait
CHUNK_S: Final = 4.0  # of work are in a chunk, at most: larger ones are packed better
BUSY_ROWS: Final = 20_000  # waiting, while the pace is not known: then processes are started
BUSY_S: Final = 0.8  # of work waiting: likewise
COMMIT_ROWS: Final = 40_000  # at most, in one commit
LOOK_S: Final = 1.0  # between two looks at how far other workers are, while their end is waited for


class Share(Protocol):
    """A worker's part of a log's partitions, where the log deals them out among the workers of a pipeline."""

    def partitions(self) -> frozenset[int] | None:
        """Those that are this worker's now; None before the first deal. Asked before every commit."""
        ...


@dataclass
class UnderWay:
    """A batch that is being worked on, and the span of the log that it stands for: gaps behind it included."""

    start: int
    end: int
    began: float
    future: "Future[Done]"


@dataclass
class Processing:
    """Works for one pipeline on some partitions of a log. `open` it, `step` it again and again, `close` it."""

    plan: Plan
    log: ClaimableLog
    committer: Committer
    opened: Opened
    pool: Pool
    upkeep: Upkeep
    settled: dict[int, Settled]
    following: Position  # {partition: offset of the next record to read}
    processed: int = 0
    kept: int = 0
    batches: int = 0
    batch_s: float = 0.0
    _queues: dict[int, deque[UnderWay]] = field(default_factory=dict)
    _read_at: float = 0.0
    _paused: str = ""  # why nothing goes on
    _rested_at: float = field(default_factory=time.monotonic)
    _owed: list[Done] = field(default_factory=list)  # worked on, and not in every table yet
    _try_at: float = 0.0  # before then, what has failed is not tried again
    _wait_s: float = FIRST_WAIT_S
    _lag: int = 0
    _pace: float = 0.0  # records that one process works on in a second; 0: not known yet
    share: Share | None = None
    _ahead: dict[int, pa.RecordBatch] = field(default_factory=dict)  # read, and not submitted yet
    _contested: bool = False  # another worker has committed what was this one's
    _first: int = 0  # the log's first partition: whoever was dealt it maintains the lake
    _left: list[int] = field(default_factory=list)  # of other workers, where the lake has not got all
    _look_at: float = 0.0  # before then, that is not looked up again

    @classmethod
    def open(cls, plan: Plan, log: ClaimableLog, resources: ExitStack) -> "Processing":
        """Claim the partitions, or have the log deal them out, open the lake and bring its tables level.

        Raises ConfigError, ClaimError or PositionError; claims are released by `resources`.
        """
        deal = getattr(log, "share", None) if plan.partitions is None else None
        share = resources.enter_context(deal(plan.pipeline)) if deal else None
        opened = Opened.open(plan, log, resources, dealt=share is not None)
        committer = Committer(opened.lake, log, opened.partitions)
        opened.level(committer)
        return cls(
            plan=plan,
            log=log,
            committer=committer,
            opened=opened,
            pool=Pool(opened.lake.location, plan.processes),
            upkeep=Upkeep(plan, log, opened.lake, resources),
            settled={partition: committer.settled(partition) for partition in opened.partitions},
            following={p: opened.begin(p, committer.position("posts", p)) for p in opened.partitions},
            _queues={partition: deque() for partition in opened.partitions},
            share=share,
        )

    def step(self) -> bool:
        """Read ahead, and commit what is done; False when there is nothing to do now.

        Never waits for a lake or a log that is away: a later call tries again. Raises ClaimError when another
        worker was faster: it has the rows. Where the log deals its partitions out, this worker then begins again
        from the lake's positions instead, with those that are its own.
        """
        if self.share is None:
            return self._step()
        try:
            mine = self.share.partitions()
        except LogError as error:
            return self._pause(f"partitions cannot be dealt out: {error}")
        if mine is None or time.monotonic() < self._try_at:
            return False
        try:
            if self._contested or mine != self._queues.keys():
                self._take(sorted(mine))
        except (ClaimError, *PASSING) as error:
            return self._pause(f"the partitions {sorted(mine)} cannot be taken over yet: {error}")
        try:
            return self._step()
        except ClaimError as error:
            self._contested = True
            return self._pause(str(error))

    def _take(self, partitions: Sequence[int]) -> None:
        """Go on with these partitions, from where the lake is; what is under way and not committed is given up."""
        for queue in self._queues.values():
            for each in queue:
                each.future.cancel()
        self._queues, self._owed = {}, []
        self._ahead.clear()
        self._contested = True
        self.opened.take(partitions)
        self.committer = Committer(self.opened.lake, self.log, partitions)
        self.opened.level(self.committer)
        self.settled = {p: self.committer.settled(p) for p in partitions}
        self.following = {p: self.opened.begin(p, self.committer.position("posts", p)) for p in partitions}
        self._queues = {p: deque() for p in partitions}
        self._contested, self._left = False, []
        logger.info("working on the log partitions %s", list(partitions))

    def _step(self) -> bool:
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

    @property
    def waiting(self) -> str:
        """What is waited for; empty: nothing."""
        if self._paused or not self._left:
            return self._paused
        return f"the lake has not all of the log partitions {self._left} yet, which are not this worker's"

    def lag(self) -> int:
        """Records in the log that are not in the lake; while the log cannot be asked, what was found last."""
        try:
            self._lag = self._count_lag()
        except LogError as error:
            logger.debug("the log cannot be asked: %s", error)
        return self._lag

    def idle(self) -> bool:
        """Whether every table has every record, also of partitions that other workers have, or none yet."""
        try:
            return not self._contested and not self._count_lag() and not self._left_to_others()
        except PASSING:
            return False

    def _left_to_others(self) -> bool:
        """Whether partitions that are not this worker's have records that are not in every table. While they have,
        it is looked up every second: a worker that had them may have died, and they are dealt anew."""
        if self.share is None or (self._left and time.monotonic() < self._look_at):
            return bool(self._left)
        ends = self.log.ends()
        others = sorted(ends.keys() - self._queues.keys())
        if others:
            starts, tables = self.log.begins(), self.opened.lake.positions().values()
            reached = {p: max(starts.get(p, 0), min(table.get(p, 0) for table in tables)) for p in others}
            others = [p for p in others if reached[p] < ends[p]]
        self._left, self._look_at = others, time.monotonic() + LOOK_S
        return bool(self._left)

    def _count_lag(self) -> int:
        ends, starts = self.log.ends(), self.log.begins()
        queues, owed, committer = self._queues, self._owed, self.committer  # asked by other threads: may be changed now
        mine = [p for p in queues if p in committer.partitions]
        reached = {p: max(committer.position("posts", p), starts.get(p, 0)) for p in mine}
        for each in owed:  # of these, some tables may have taken theirs
            reached[each.partition] = min(reached.get(each.partition, each.start), each.start)
        return sum(max(0, ends.get(partition, 0) - offset) for partition, offset in reached.items())

    def maintain(self) -> None:
        """One round of maintenance, and of the log's retention; called every second from a thread of its own."""
        mine = None if self.share is None else self._first in self._queues
        self.upkeep.tick(self.committer.lowest, self.opened.lake.owner, mine=mine)

    def close(self) -> None:
        """Let go of the processes; what was not committed is worked on again at the next start."""
        self.pool.close()
        try:
            self.committer.rest()
            self.upkeep.release_log(self.committer.lowest)
        except (FeltwireError, DeltaError, OSError) as error:
            logger.info("the last positions were not moved: %s", error)

    def _read_ahead(self) -> bool:
        """Submit batches until enough are under way or the log has no more; while calm, every CALM_S."""
        ends = self.log.ends()
        self._first = min(ends, default=0)
        backlog = sum(ends.get(p, 0) - offset for p, offset in self.following.items())
        if not backlog or (backlog < self._chunk_rows() and time.monotonic() - self._read_at < CALM_S):
            return False
        self._read_at = time.monotonic()
        submitted = False
        for partition, queue in self._queues.items():
            end = ends.get(partition, 0)
            while len(queue) < self.pool.width and self.following[partition] < end:
                batch = self._ahead.pop(partition, None)
                if batch is None:
                    batch = self.log.read(partition, self.following[partition], self._chunk_rows())
                if not batch.num_rows:
                    self._pass_gap(partition, end)
                    break
                began, start = time.monotonic(), self.following[partition]
                pipeline = self.opened.pipeline()
                future = self.pool.submit(pipeline, batch, self.settled[partition], busy=self._busy(backlog))
                self.following[partition] = batch["log_offset"][-1].as_py() + 1
                queue.append(UnderWay(start, self.following[partition], began, future))
                submitted = True
                self._look_ahead(partition, batch.num_rows, end)
        return submitted

    def _chunk_rows(self) -> int:
        """Records to work on at a time: with a slow model fewer, so that they do not wait long for each other."""
        return min(CHUNK_ROWS, max(LEAST_ROWS, int(self._pace * CHUNK_S)))

    def _busy(self, backlog: int) -> bool:
        """Whether more waits than one process would get through soon."""
        return backlog > (self._pace * BUSY_S if self._pace else BUSY_ROWS)

    def _learn_pace(self, done: Done) -> None:
        """Faster at once and slower little by little: the first batches of a process load its model."""
        if done.records >= LEAST_ROWS // 5 and self.batches and done.seconds:
            pace = done.records / done.seconds
            self._pace = max(pace, 0.8 * self._pace + 0.2 * pace)

    def _look_ahead(self, partition: int, rows: int, end: int) -> None:
        """Behind a batch that is not full there may be a gap up to the end: it is passed together with the batch."""
        if rows < self._chunk_rows() and self.following[partition] < end:
            batch = self.log.read(partition, self.following[partition], self._chunk_rows())
            if batch.num_rows:
                self._ahead[partition] = batch
            else:
                self._pass_gap(partition, end)

    def _pass_gap(self, partition: int, end: int) -> None:
        """Up to `end`, which the log had before it gave nothing, there is no record: a broker's marks take offsets."""
        queue, start = self._queues[partition], self.following[partition]
        if queue:
            queue[-1].end = end
        else:
            nothing: Future[Done] = Future()
            nothing.set_result(gap(partition, start, end))
            queue.append(UnderWay(start, end, time.monotonic(), nothing))
        self.following[partition] = end

    def _take_done(self) -> list[Done]:
        """The finished batches at the head of the queues, in order; waits a little for the first."""
        taken: list[Done] = []
        for partition, queue in self._queues.items():
            rows = 0
            while queue and rows < COMMIT_ROWS and (not taken or queue[0].future.done()):
                head = queue[0]
                try:
                    done = replace(head.future.result(timeout=0.1), start=head.start, end=head.end)
                except TimeoutError:
                    break
                except PASSING as error:
                    self._start_over(partition, queue)
                    self._pause(f"a batch could not be worked on: {error}")
                    break
                self.batch_s = time.monotonic() - queue.popleft().began
                metrics.add_counts(done.counts)
                self._learn_pace(done)
                taken.append(done)
                rows += done.records
        return taken

    def _start_over(self, partition: int, queue: "deque[UnderWay]") -> None:
        """Work on everything again from the head of a queue on, once the pause is over, however calm the log is."""
        self.following[partition] = queue[0].start
        self._read_at = 0.0
        self._ahead.pop(partition, None)
        for each in queue:
            each.future.cancel()
        queue.clear()

    def _commit(self) -> bool:
        """Commit what is owed; where the lake is away it stays owed, when stopped meanwhile to the next start."""
        try:
            self.committer.commit(self._owed)
        except PASSING as error:
            metrics.COMMIT_RETRIES.labels(table="lake").inc()
            return self._pause(f"the lake takes nothing: {error}")
        done, self._owed = self._owed, []
        self._go_on()
        self.processed += sum(each.records for each in done)
        self.kept += sum(each.kept for each in done)
        self.batches += 1
        measure(done, pipeline=self.plan.pipeline, batch_s=self.batch_s, lag=self.lag())
        return True

    def _rest(self) -> bool:
        """With nothing else to do, move the tables that got no rows; always False."""
        if any(self._queues.values()):
            return False
        if time.monotonic() - self._rested_at >= IDLE_MOVE_S:
            try:
                self.committer.rest()
            except PASSING as error:
                return self._pause(f"the lake takes nothing: {error}")
            self._rested_at = time.monotonic()
        self._go_on()
        return False

    def _pause(self, why: str) -> bool:
        """Say why it does not go on, and leave the next try to a later step; always False."""
        why = one_line(why)
        if self._paused != why:
            logger.warning("%s", why)
        self._paused = why
        self._try_at = time.monotonic() + self._wait_s
        self._wait_s = min(self._wait_s * 2, LONGEST_WAIT_S)
        return False

    def _go_on(self) -> None:
        self._paused = ""
        self._wait_s = FIRST_WAIT_S
