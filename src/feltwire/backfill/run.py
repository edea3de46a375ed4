"""A backfill: pulled slices through the log into the lake, and their scores out of it.

A slice goes the way of every post: its records are appended to the log, an engine brings them into the lake. What is
done is known from files: a slice is pulled once its file lies in the staging folder, and finished once its scores lie
in the other one. Both may be lost: what the lake has already is not appended again.
"""

import hashlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import islice, takewhile
from typing import Final, TypeVar, cast

import msgspec
import pyarrow as pa

from feltwire import registry, schema
from feltwire.backfill.known import Known, Part, between, of_slice, posts_position
from feltwire.backfill.pull import Task, pull
from feltwire.backfill.slices import Slice
from feltwire.backfill.staging import Folder, Scores, Staged
from feltwire.errors import ClaimError, DestinationError, FatalError, FeltwireError, LakeError, LogError, RetryableError
from feltwire.interfaces import Log, Position
from feltwire.lake import Lake
from feltwire.lake.reader import literal
from feltwire.plan import Plan
from feltwire.service import Service, behind

_POLL_S: Final = 0.2
_LOOK_S: Final = 1.0  # between two looks at how far the lake is
_LEVEL_EVERY_S: Final = 600.0  # the lake has all that is older than this, before it is asked what it has
_AT_A_TIME: Final = 16  # slices, in one question to the lake
_STUCK_S: Final = 600.0
_FIRST_WAIT_S: Final = 0.5
_LONGEST_WAIT_S: Final = 10.0

# Of a post's scores, all but what quotes its text.
SCORE_COLUMNS: Final = tuple(name for name in schema.SCORES.names if name not in ("entities", "reason"))

T = TypeVar("T")

_log = logging.getLogger(__name__)


@dataclass
class Report:
    """How far a backfill is. Posts are those of the slices that this run appended or found in the lake."""

    slices: int = 0
    pulled: int = 0
    finished: int = 0
    posts: int = 0
    new: int = 0
    failed: dict[Slice, str] = field(default_factory=dict)
    stopped: bool = False
    waiting: str = ""


@dataclass(frozen=True)
class _Fed:
    """A slice that is in the log: when the lake has reached `ends`, its scores are there."""

    slice: Slice
    ids: frozenset[str]
    ends: Position


class Backfill:
    """One run of a backfill; `run` it once."""

    def __init__(
        self,
        task: Task,
        scores: Folder,
        plan: Plan,
        *,
        engine: str = "local",
        observe: Callable[[Report], None] = lambda report: None,
    ) -> None:
        """`plan` has no sources: by it the engine brings into the lake what the log holds.

        Where another process works on this pipeline, that one does it, with its own model and tracks.
        """
        self._task = task
        self._scores = scores
        self._observe = observe
        self._service = Service(plan, engine=engine)
        self._plan = plan
        self._fed: deque[_Fed] = deque()
        self._foreign = False
        self._level_at = self._looked_at = float("-inf")
        self._moved: tuple[float, Position] = (time.monotonic(), {})
        self.report = Report(slices=len(task.slices))

    @property
    def stop(self) -> threading.Event:
        """Set it to end the run; what is not finished then, the next one does."""
        return self._service.stop

    def run(self) -> Report:
        """Pull what is not staged, and bring into the lake what is not finished.

        What is away by then is waited for. Raises FatalError where nothing can be pulled, RetryableError where a
        folder cannot be read at the start, and where another process works on the pipeline and does not go on.
        """
        with ExitStack() as resources:
            resources.enter_context(self._task.staging.held())
            log = cast(Log, registry.create("logs", self._plan.log, self._plan.log_options))
            close = getattr(log, "close", None)
            if close:
                resources.callback(close)
            self._log = log
            self._key = hashlib.sha256(f"{self._plan.pipeline}\0{log.identity}".encode()).hexdigest()[:6]
            if self._all_finished():
                return self._end()
            resources.enter_context(self._service)
            self._lake = self._open_lake()
            if not self._wait_level():
                return self._end()
            slices = self._task.slices
            self._known = Known(self._lake, self._task.source.name, slices[0].start, slices[-1].end)
            left = self._feed_staged()
            for attempt in (1, 2):
                self._pull(left, gives_up=attempt == 1)
                left = sorted(self.report.failed)
                if not left or self.stop.is_set():
                    break
                if attempt == 1:
                    self.report.failed.clear()
            while self._fed and not self.stop.is_set():
                self._settle()
        return self._end()

    def _all_finished(self) -> bool:
        names, scored = self._task.staging.names(), self._scores.names()
        if any(self._task.name(one) not in names or self._scores_name(one) not in scored for one in self._task.slices):
            return False
        self.report.pulled = self.report.finished = self.report.slices
        return True

    def _end(self) -> Report:
        self.report.stopped = self.stop.is_set() and self.report.finished < self.report.slices
        self._observe(self.report)
        return self.report

    def _feed_staged(self) -> list[Slice]:
        """Append what was pulled before and is not finished; returns the slices that are to be pulled."""
        names, scored = self._task.staging.names(), self._scores.names()
        left: list[Slice] = []
        found: list[tuple[Slice, Staged]] = []
        for one in self._task.slices:
            if self.stop.is_set():
                break
            if self._task.name(one) not in names:
                left.append(one)
            elif self._scores_name(one) in scored:
                self.report.pulled += 1
                self.report.finished += 1
            elif (staged := self._task.staged(one)) is None:
                _log.warning("the file of slice %s in %s is damaged: it is pulled again", one.name, self._scores.path)
                left.append(one)
            else:
                self.report.pulled += 1
                found.append((one, staged))
            if len(found) == _AT_A_TIME or (found and one == self._task.slices[-1]):
                self._feed(found)
                found = []
            self._tick()
        return left

    def _pull(self, slices: Sequence[Slice], *, gives_up: bool) -> None:
        for pulled in pull(self._task, slices, self.stop, gives_up=gives_up):
            for each in pulled:
                if each.error is not None:
                    _log.warning("slice %s: %s", each.slice.name, each.error)
                    self.report.failed[each.slice] = str(each.error)
            found = [(each.slice, each.staged) for each in pulled if each.staged is not None]
            self.report.pulled += len(found)
            if found:
                self._feed(found)
            self._tick()

    def _feed(self, found: Sequence[tuple[Slice, Staged]]) -> None:
        """Append what is new of some slices to the log."""
        if time.monotonic() - self._level_at > _LEVEL_EVERY_S and not self._wait_level():
            return
        parts = [Part(one, self._records(one, staged), staged.pulled_at) for one, staged in found]
        fresh = self._patiently(partial(self._known.fresh, parts))
        if fresh is None:
            return
        duplicates = self._append(fresh)
        ends = self._patiently(self._log.ends)
        if ends is None:
            return
        for part in parts:
            ids = frozenset(part.records["id"].to_pylist())
            self.report.posts += len(ids)
            self._fed.append(_Fed(part.slice, ids, ends))
        self.report.new += max(0, fresh.num_rows - duplicates)

    def _records(self, one: Slice, staged: Staged) -> pa.RecordBatch:
        pages = [bytes(page) for page in staged.pages]
        return of_slice(self._task.source.parse(pages, limit=staged.limit), one)

    def _append(self, records: pa.RecordBatch) -> int:
        """Make records durable, however long that takes; returns how many the log knew."""
        if not records.num_rows:
            return 0
        source = f"backfill:{self._task.source.name}"
        return self._patiently(lambda: self._log.append(records, source=source, cursor=None)) or 0

    def _patiently(self, work: Callable[[], T]) -> T | None:
        """Do something that an absent log, lake or folder may delay; None when stopped meanwhile."""
        wait_s = _FIRST_WAIT_S
        while not self.stop.is_set():
            try:
                found = work()
            except (LogError, LakeError, DestinationError) as error:
                self._tell(f"waits: {error}")
                self._pause(wait_s)
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
            else:
                self._tell("")
                return found
        return None

    def _tick(self) -> None:
        """What is due beside the pulling."""
        self._pause(0.0)
        if time.monotonic() - self._looked_at >= _LOOK_S:
            self._settle()

    def _settle(self) -> None:
        """Write the scores of the slices that the lake has, in the order in which they were appended."""
        if time.monotonic() - self._looked_at < _LOOK_S:
            self._pause(_POLL_S)
            return
        reached = self._reached() if self._fed else {}
        while there := list(islice(takewhile(lambda fed: not behind(fed.ends, reached), self._fed), _AT_A_TIME)):
            if self._patiently(partial(self._write_scores, there)) is None:
                return
            for _ in there:
                self._fed.popleft()
            self.report.finished += len(there)
        self._observe(self.report)

    def _write_scores(self, there: Sequence[_Fed]) -> bool:
        name = self._task.source.name
        times = " or ".join(between("event_time", fed.slice.start, fed.slice.end) for fed in there)
        found = self._lake.sql(
            f"select id, revision, {', '.join(SCORE_COLUMNS)} from posts where source = {literal(name)} "
            f"and ({times}) order by id, revision"
        )
        rows = [{key: value for key, value in row.items() if value is not None} for row in found.to_pylist()]
        for fed in there:
            one = fed.slice
            posts = [row for row in rows if row["id"] in fed.ids]
            self._scores.write(self._scores_name(one), msgspec.json.encode(Scores(name, one.start, one.end, posts)))
        return True

    def _scores_name(self, one: Slice) -> str:
        return f"{self._task.name(one)}-{self._key}"

    # The engine beside it

    def _open_lake(self) -> Lake:
        """The lake, once the engine has made it."""
        while True:
            try:
                return self._service.lake()
            except FeltwireError:
                if self.stop.is_set():
                    raise
                self._pause(_POLL_S)
                if self._foreign:
                    raise

    def _wait_level(self) -> bool:
        """Wait until the lake has all that is in the log now; False when stopped meanwhile.

        Only then does it know all ids that the log may have forgotten.
        """
        ends = self._patiently(self._log.ends)
        while ends is not None and not self.stop.is_set():
            left = behind(ends, self._reached())
            if not left:
                self._level_at = time.monotonic()
                return True
            self._tell(f"waits for the lake, which is {left:,} records behind the log")
            self._pause(_POLL_S)
        return False

    def _reached(self) -> Position:
        """How far the lake is. Raises RetryableError where it has something to do and does not move."""
        found = self._patiently(partial(posts_position, self._lake)) or {}
        before, now = self._looked_at, time.monotonic()
        self._looked_at = now
        if found != self._moved[1] or now - before > _STUCK_S / 2:  # or nobody waited for it
            self._moved = (now, found)
        if self._foreign and now - self._moved[0] > _STUCK_S:
            raise RetryableError(
                f"the lake has not moved for {_STUCK_S / 60:.0f} minutes, and another process works on its pipeline: "
                "see what keeps that one; the same command goes on then"
            )
        return found

    def _pause(self, seconds: float) -> None:
        """Wait so long at most, or see at once how the engine is. Raises the error by which it ended."""
        if self._foreign:
            self.stop.wait(seconds)
            return
        try:
            running = self._service.wait(seconds)
        except ClaimError as error:
            self._foreign = True
            _log.warning("another process works on this pipeline, with its model and its tracks: %s", error)
            return
        if not running and not self.stop.is_set():
            raise FatalError("the engine has ended before the backfill")

    def _tell(self, waiting: str) -> None:
        if waiting != self.report.waiting:
            self.report.waiting = waiting
            self._observe(self.report)
