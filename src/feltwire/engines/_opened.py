"""What every engine has of a pipeline: its claims, its lake, its stages, their upkeep, and what may pass by itself."""

import contextlib
import logging
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final, Protocol, cast

import pyarrow as pa
from deltalake.exceptions import DeltaError

from feltwire import metrics, schema
from feltwire.engines._commit import Committer
from feltwire.engines._work import Done
from feltwire.errors import ClaimError, ConfigError, LakeError, LogError, PositionError, RetryableError
from feltwire.interfaces import Log, Position
from feltwire.lake import Lake, Owner, added_tracks, create_lake
from feltwire.lake.maintain import Maintainer, make_durable
from feltwire.loading import Current
from feltwire.pipeline import Pipeline, build
from feltwire.plan import Plan
from feltwire.tracks import Track

logger = logging.getLogger(__name__)

MAINTENANCE: Final = -1  # the claim to maintain a pipeline's lake, in the place of a partition
_KEEP_S: Final = 30.0  # between two trimmings of the log
FIRST_WAIT_S: Final = 0.2
LONGEST_WAIT_S: Final = 5.0

# What may pass by itself: a full disk, an unreachable lake, a worker that the system has killed.
PASSING: Final = (RetryableError, OSError, DeltaError, pa.ArrowException, BrokenProcessPool)


_COLOUR: Final = re.compile("\x1b\\[[0-9;]*m")  # delta-rs tells of its tries in several lines, with arrows in red


class ClaimableLog(Log, Protocol):
    """A log, and who may work on it. On one machine a claim is a lock that the operating system releases; a log on
    brokers grants every claim, and may have `share(pipeline)`, the context of a `Share`: it deals partitions out."""

    def claim(self, pipeline: str, partition: int) -> AbstractContextManager[None]:
        """Hold a partition of a pipeline. Raises ClaimError when another worker holds it."""
        ...

    def lease_writer(self) -> AbstractContextManager[None]:
        """Be the one ingest process of the log. Raises ClaimError when there is another."""
        ...

    def begins(self) -> Position:
        """{partition: offset of the oldest record that is still there}."""
        ...


@dataclass
class Opened:
    """A pipeline's claims and lake, and what the next batch goes through. `open` it, then `level` its tables."""

    plan: Plan
    log: ClaimableLog
    lake: Lake
    partitions: tuple[int, ...]
    current: Current
    tracks: added_tracks.Followed
    starts: Position = field(default_factory=dict)  # {partition: the oldest record that the log had}
    _pipeline: tuple[tuple[str, tuple[Track, ...]], Pipeline] | None = None  # with the model of this URI, these tracks

    @classmethod
    def open(cls, plan: Plan, log: ClaimableLog, resources: ExitStack, *, dealt: bool = False) -> "Opened":
        """Claim the partitions, load the model, and open the lake or make it; `dealt`: with none yet, see `take`.

        Raises ConfigError, ClaimError or PositionError; claims are released by `resources`.
        """
        ends = log.ends()
        partitions = [] if dealt else sorted(ends) if plan.partitions is None else sorted(plan.partitions)
        unknown = set(partitions) - set(ends)
        if unknown:
            raise ConfigError(f"the log has no partitions {sorted(unknown)}: it has {sorted(ends)}")
        for partition in partitions:
            resources.enter_context(log.claim(plan.pipeline, partition))
        current = Current(plan.model)
        build(replace(plan, model=current.uri))  # what is wrong with it is told before anything is made
        owner = Owner(plan.pipeline, log.identity, len(ends))
        lake = create_lake(cast(str, plan.lake), owner, storage_options=plan.storage_options)
        tracks = added_tracks.Followed(lake.location, plan.tracks)
        opened = cls(plan, log, lake, tuple(partitions), current, tracks)
        resources.enter_context(current.followed())
        return opened

    def grow(self, resources: ExitStack) -> bool:
        """Claim the partitions that the log has got since, unless the plan names its own; whether there were any."""
        ends = self.log.ends()
        taken = list(self.partitions)
        for partition in sorted(set(ends) - set(taken)) if self.plan.partitions is None else ():
            with contextlib.suppress(ClaimError):  # another worker was faster
                resources.enter_context(self.log.claim(self.plan.pipeline, partition))
                taken.append(partition)
        if len(taken) == len(self.partitions):
            return False
        self._widen(ends)
        self.partitions = tuple(sorted(taken))
        return True

    def take(self, partitions: Sequence[int]) -> None:
        """Go on with these partitions, which the log has dealt out to this worker."""
        self._widen(self.log.ends())
        self.partitions = tuple(sorted(partitions))

    def _widen(self, ends: Position) -> None:
        """Where the log has more partitions than the lake knows of, let it know."""
        if len(ends) > self.lake.owner.partitions:
            owner = replace(self.lake.owner, partitions=len(ends))
            self.lake = create_lake(self.lake.location.path, owner, storage_options=self.lake.location.options)

    def level(self, committer: Committer) -> None:
        """Bring every table up to `posts`, from the oldest record on that the log has; the log keeps what is needed."""
        self.log.register(self.plan.pipeline, committer.lowest())
        self.starts = self.log.begins()  # which stays: nobody trims what a registered pipeline has not passed
        committer.begin(self.starts)
        committer.level()
        self.log.register(self.plan.pipeline, committer.lowest())

    def begin(self, partition: int, reached: int) -> int:
        """Where to start reading. A new pipeline begins with the oldest record that the log still has."""
        oldest = self.starts.get(partition, 0)
        if reached and reached < oldest:
            raise PositionError(
                f"the lake is at {reached} in log partition {partition}, but the log was trimmed up to {oldest}: "
                "records are missing between them"
            )
        return reached or oldest

    def pipeline(self) -> Pipeline:
        """What the next batch goes through: the whole of it with the model that serves now and the tracks of now."""
        now = (self.current.uri, self.tracks.now())
        if self._pipeline is None or now != self._pipeline[0]:
            self._pipeline = (now, build(replace(self.plan, model=now[0], tracks=now[1])))
        return self._pipeline[1]


class Upkeep:
    """Maintenance of a lake by one of its workers, and the retention of its log."""

    def __init__(self, plan: Plan, log: ClaimableLog, lake: Lake, resources: ExitStack) -> None:
        self._plan = plan
        self._log = log
        self._lake = lake
        self._resources = resources
        self._maintainer = Maintainer(lake.location, lake.owner)
        self._kept_at = time.monotonic()
        self._maintains = False

    def tick(self, lowest: Callable[[], Position], owner: Owner, *, mine: bool | None = None) -> None:
        """One round; `lowest` says what every table has of the log, `mine` who maintains; None: a claim decides."""
        self._maintainer.owner = owner  # the log may have got more partitions
        if self._plan.maintain and (self._may_maintain() if mine is None else mine):
            self._maintainer.tick()
        if time.monotonic() - self._kept_at >= _KEEP_S:
            self._kept_at = time.monotonic()
            self.release_log(lowest)

    def _may_maintain(self) -> bool:
        """Whether this worker is the one that maintains the lake; another takes over when that one has gone."""
        if not self._maintains:
            try:
                self._resources.enter_context(self._log.claim(self._plan.pipeline, MAINTENANCE))
            except (ClaimError, LogError):
                return False
            self._maintains = True
        return True

    def release_log(self, lowest: Callable[[], Position]) -> None:
        """Tell the log what is safe in the lake, and have it trimmed."""
        try:
            position = lowest()
            make_durable(self._lake.location)
            self._log.register(self._plan.pipeline, position)
            self._log.trim()
        except (LogError, LakeError, OSError) as error:
            logger.warning("the log was not trimmed and is tried again: %s", error)


def measure(done: Sequence[Done], *, pipeline: str, batch_s: float, lag: int) -> None:
    """Count what one commit has brought into the lake."""
    metrics.BATCH_ROWS.observe(sum(each.records for each in done))
    metrics.BATCH_SECONDS.observe(batch_s)
    metrics.LAG.labels(pipeline=pipeline).set(lag)
    oldest = min((each.oldest.as_py() for each in done if each.oldest is not None), default=None)
    if oldest is not None:
        metrics.QUERYABLE_SECONDS.observe((datetime.now(UTC) - oldest).total_seconds())
    for each in done:
        for row in each.rows["ledger"].to_pylist():
            for name in schema.LEDGER_COUNTS:
                metrics.LEDGER[name].labels(source=row["source"]).inc(row[name])


def one_line(why: str) -> str:
    """An error's words for a person: in one line, without colours."""
    return " ".join(_COLOUR.sub("", why).split())
