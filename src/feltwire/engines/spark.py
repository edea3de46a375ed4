"""The Spark engine: the same pipeline in a cluster's executors, the same commits by its driver.

The lake stays the only checkpoint. Every batch looks up anew where the tables are; nothing that a batch leaves behind
in this process decides what becomes of the next.
"""

import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from py4j.protocol import Py4JError  # type: ignore[import-untyped]
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.streaming.query import StreamingQuery

from feltwire import metrics
from feltwire.engines import _opened
from feltwire.engines._commit import IDLE_MOVE_S, Committer
from feltwire.engines._engine import run_engine
from feltwire.engines._opened import PASSING, ClaimableLog, Opened, Upkeep, measure, one_line
from feltwire.engines._spark_log import FORMAT, OPTION, Job
from feltwire.engines._spark_session import open_session
from feltwire.engines._spark_wire import WIRE, decode
from feltwire.engines._spark_work import work_on_span
from feltwire.engines._work import Done
from feltwire.errors import FatalError, FeltwireError, LogError, RetryableError
from feltwire.interfaces import Position
from feltwire.plan import Plan, Progress, Report

logger = logging.getLogger(__name__)

T = TypeVar("T")

TASK_ROWS: Final = 10_000
_ROWS_A_CORE: Final = 40_000  # of a batch, while there is a backlog
_LOOK_S: Final = 0.2  # between two looks at the query
_GROW_S: Final = 5.0  # between two looks for new partitions of the log
_LONGEST_STOP_S: Final = 60.0
_MOST_FAILURES: Final = 5  # of Spark itself, one after the other


class SparkFailedError(RetryableError):
    """A job failed within Spark: an executor was lost, or a worker ended."""


class _StoppedError(FeltwireError):
    """The engine was told to stop in the middle of a batch."""


def run(plan: Plan, *, stop: threading.Event, observe: Callable[[Progress], None] | None = None) -> Report:
    """Ingest and process until `stop` is set or, with `until_idle`, until nothing is left to do.

    See `run_engine` for what is observed and raised; ConfigError also where Java is missing or Spark is too old.
    """
    return run_engine(plan, SparkProcessing.open, stop=stop, observe=observe)


@dataclass
class SparkProcessing:
    """Works for one pipeline on some partitions of a log, by a streaming query. `open`, `step`, `close`."""

    plan: Plan
    log: ClaimableLog
    opened: Opened
    upkeep: Upkeep
    session: SparkSession
    resources: ExitStack
    processed: int = 0
    kept: int = 0
    batches: int = 0
    batch_s: float = 0.0
    waiting: str = ""
    _query: StreamingQuery | None = None
    _checkpoint: Path | None = None
    _stopping: threading.Event = field(default_factory=threading.Event)
    _at_work: threading.Lock = field(default_factory=threading.Lock)  # held while the lake is changed
    _failed: Exception | None = None  # what ended the last batch
    _failures: int = 0  # of Spark itself, since a batch was committed
    _reached: Position = field(default_factory=dict)  # {partition: where posts are}, to tell how much is left
    _level: bool = False  # no batch was broken off since the tables were levelled
    _try_at: float = 0.0
    _wait_s: float = _opened.FIRST_WAIT_S
    _rested_at: float = field(default_factory=time.monotonic)
    _grown_at: float = field(default_factory=time.monotonic)
    _lag: int = 0

    @classmethod
    def open(cls, plan: Plan, log: ClaimableLog, resources: ExitStack) -> "SparkProcessing":
        """Start Spark, claim the partitions, open the lake, bring its tables level, and start the query.

        Raises ConfigError, ClaimError or PositionError; claims are released by `resources`.
        """
        session = open_session(f"feltwire {plan.pipeline}", plan.master, plan.spark, resources)
        opened = Opened.open(plan, log, resources)
        upkeep = Upkeep(plan, log, opened.lake, resources)
        processing = cls(plan=plan, log=log, opened=opened, upkeep=upkeep, session=session, resources=resources)
        resources.callback(processing._forget_checkpoint)
        processing._start()
        return processing

    def step(self) -> bool:
        """Look after the query: begin a new one where it has ended. Always False: the work is done beside.

        Raises the fatal error that has ended a batch, and FatalError when Spark itself is gone.
        """
        now = time.monotonic()
        if now < self._try_at:
            return False
        self._try_at = now + _LOOK_S
        try:
            if self._query is None:
                self._start()
            elif self._query.isActive:
                self._rest()
                self._grow()
            else:
                self._after(self._query)
        except (Py4JError, ConnectionError) as error:
            raise FatalError(
                f"Spark's driver has ended ({type(error).__name__}): start again, it goes on where it was"
            ) from error
        except PASSING as error:
            self._pause(str(error))
        return False

    def lag(self) -> int:
        """Records in the log that are not in the lake; while the log cannot be asked, what was found last."""
        try:
            self._lag = self._count_lag()
        except LogError as error:
            logger.debug("the log cannot be asked: %s", error)
        return self._lag

    def idle(self) -> bool:
        """Whether every table has every record, and no batch is under way."""
        try:
            return not self._at_work.locked() and not self._count_lag()
        except LogError as error:
            self.waiting = f"the log cannot be read: {error}"
            return False

    def maintain(self) -> None:
        """One round of maintenance, and of the log's retention; called every second from a thread of its own."""
        self.upkeep.tick(self._lowest, self.opened.lake.owner)

    def close(self) -> None:
        """End the query; a batch that was not committed is worked on again at the next start."""
        self._stopping.set()
        try:
            if self._query is not None:
                self._query.stop()
        except (Py4JError, PySparkException, ConnectionError) as error:
            logger.info("the query was not stopped: %s", type(error).__name__)
        if not self._at_work.acquire(timeout=_LONGEST_STOP_S):
            logger.warning("a batch is still under way after %g s", _LONGEST_STOP_S)
            return
        try:
            if self._level:
                self._committer().rest()
            self.upkeep.release_log(self._lowest)
        except (FeltwireError, *PASSING) as error:
            logger.info("the last positions were not moved: %s", error)
        finally:
            self._at_work.release()

    # The query

    def _start(self) -> None:
        """Bring the tables level, and have Spark read from where they are. Its checkpoint is one for this query."""
        with self._at_work:
            committer = Committer(self.opened.lake, self.log, self.opened.partitions)
            self.opened.level(committer)
            self._level = True
            self._reached = {p: self.opened.begin(p, committer.position("posts", p)) for p in self.opened.partitions}
        self._forget_checkpoint()
        self._checkpoint = Path(tempfile.mkdtemp(prefix="feltwire-spark-"))
        stream = self.session.readStream.format(FORMAT).option(OPTION, self._job().to_json()).load()
        writer = stream.writeStream.foreachBatch(self._take).option("checkpointLocation", self._checkpoint.as_uri())
        available_now = self.plan.until_idle and not self.plan.sources
        if available_now:
            writer = writer.trigger(availableNow=True)
        else:
            writer = writer.trigger(processingTime=f"{round(self.plan.trigger_s * 1000)} milliseconds")
        self._failed = None
        self._query = writer.queryName(f"feltwire {self.plan.pipeline}").start()

    def _job(self) -> Job:
        plan, cores = self.plan, max(1, self.session.sparkContext.defaultParallelism)
        return Job(
            log=plan.log,
            identity=self.log.identity,
            log_options=dict(plan.log_options),
            lake=self.opened.lake.location.path,
            storage_options=dict(plan.storage_options),
            pipeline=plan.pipeline,
            partitions=self.opened.partitions,
            log_partitions=self.opened.lake.owner.partitions,
            starts={str(p): start for p, start in self._reached.items()},
            max_rows=plan.batch_rows or _ROWS_A_CORE * cores,
            task_rows=TASK_ROWS,
            tasks=cores,
        )

    def _after(self, query: StreamingQuery) -> None:
        """What follows a query that has ended: another one, when there is more to do and reason to hope."""
        failed, ended_by = self._failed, query.exception()
        self._query, self._failed = None, None
        if isinstance(failed, SparkFailedError):
            raise FatalError(f"Spark failed {_MOST_FAILURES} times in a row: {failed}") from failed
        if failed is not None:
            raise failed
        if ended_by is not None:  # beside a batch: while one was planned, say
            self._failures += 1
            if self._failures >= _MOST_FAILURES:
                raise FatalError(f"Spark failed {self._failures} times in a row: {_cause(ended_by)}")
            self._pause(f"Spark: {_cause(ended_by)}")

    def _grow(self) -> None:
        """Where the log has got more partitions, begin a query that reads them too."""
        if self._query is None or time.monotonic() - self._grown_at < _GROW_S:
            return
        self._grown_at = time.monotonic()
        more = self.opened.grow(self.resources)
        if not self._at_work.locked():  # the log answers, and no batch waits for anything
            self._go_on()
        if more:
            logger.info("the log has more partitions: from now on %d are read", len(self.opened.partitions))
            self._stopping.set()
            self._query.stop()
            with self._at_work:  # a batch that was under way has been broken off
                self._query, self._failed = None, None
                self._stopping.clear()

    def _forget_checkpoint(self) -> None:
        if self._checkpoint is not None:
            shutil.rmtree(self._checkpoint, ignore_errors=True)

    # A batch

    def _take(self, frame: DataFrame, _: int) -> None:
        """What Spark calls with each batch, from a thread of its own. What it raises ends the query."""
        with self._at_work:
            self._level = False
            began = time.monotonic()
            try:
                done = self._through(frame)
            except Exception as error:
                self._failed = error
                raise
            self._level = True
            self._go_on()
            self._account(done, time.monotonic() - began)
            self._rest_now()

    def _through(self, frame: DataFrame) -> list[Done]:
        """Have a batch worked on and committed, however often it takes."""
        committer, done = self._again(lambda: self._work(frame), "a batch could not be worked on")
        self._again(lambda: self._commit(committer, done), "the lake takes nothing")
        return done

    def _work(self, frame: DataFrame) -> tuple[Committer, list[Done]]:
        """The positions are read before the work: whoever moves one meanwhile has the rows."""
        committer = self._committer()
        settled = {partition: committer.settled(partition) for partition in self.opened.partitions}
        mapped = frame.mapInArrow(
            partial(
                work_on_span,
                pipeline=self.opened.pipeline(),
                location=self.opened.lake.location,
                settled={partition: one for partition, one in settled.items() if one.before},
            ),
            from_arrow_schema(WIRE),
        )
        try:
            rows = mapped.toArrow()
        except (PySparkException, Py4JError) as error:
            if self._stopping.is_set():
                raise _StoppedError("stopped") from error
            raise SparkFailedError(_cause(error)) from error
        done = decode(rows)
        committer.check_follows(done, self._reached)
        return committer, done

    def _commit(self, committer: Committer, done: list[Done]) -> None:
        try:
            committer.commit(done)
        except PASSING:
            metrics.COMMIT_RETRIES.labels(table="lake").inc()
            raise

    def _again(self, work: Callable[[], T], what: str) -> T:
        """Do something until it is done; what may pass by itself is waited for. Raises the rest."""
        failures = 0
        while True:
            if self._stopping.is_set():
                raise _StoppedError("stopped")
            try:
                return work()
            except PASSING as error:
                failures += isinstance(error, SparkFailedError)
                if failures >= _MOST_FAILURES:
                    raise
                self._pause(f"{what}: {error}")
                self._stopping.wait(self._wait_s)

    def _account(self, done: list[Done], seconds: float) -> None:
        self._failures = 0
        self.batch_s = seconds
        self.processed += sum(each.records for each in done)
        self.kept += sum(each.kept for each in done)
        self.batches += 1
        self._reached = self._reached | {each.partition: each.end for each in done}
        for each in done:
            metrics.add_counts(each.counts)
        measure(done, pipeline=self.plan.pipeline, batch_s=seconds, lag=self.lag())

    # Positions

    def _committer(self) -> Committer:
        return Committer(self.opened.lake, self.log, self.opened.partitions, level=True)

    def _rest(self) -> None:
        """With nothing else to do, move the tables that got no rows."""
        if time.monotonic() - self._rested_at < IDLE_MOVE_S or not self._at_work.acquire(blocking=False):
            return
        try:
            self._rest_now()
        finally:
            self._at_work.release()

    def _rest_now(self) -> None:
        if self._level and time.monotonic() - self._rested_at >= IDLE_MOVE_S:
            self._rested_at = time.monotonic()
            try:
                self._committer().rest()
            except PASSING as error:
                self._pause(f"the lake takes nothing: {error}")

    def _lowest(self) -> Position:
        tables = self.opened.lake.positions().values()
        return {p: min(table.get(p, 0) for table in tables) for p in self.opened.partitions}

    def _count_lag(self) -> int:
        ends = self.log.ends()
        return sum(max(0, ends.get(partition, 0) - offset) for partition, offset in self._reached.items())

    def _pause(self, why: str) -> None:
        why = one_line(why)
        if self.waiting != why:
            logger.warning("%s", why)
        self.waiting = why
        self._try_at = time.monotonic() + self._wait_s
        self._wait_s = min(self._wait_s * 2, _opened.LONGEST_WAIT_S)

    def _go_on(self) -> None:
        self.waiting = ""
        self._wait_s = _opened.FIRST_WAIT_S


def _cause(error: BaseException) -> str:
    """What failed in Spark, without the stack: the last error of Python that it names, else the last cause."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    ends = [at for at, line in enumerate(lines) if line.rstrip().endswith("Traceback (most recent call last):")]
    raised = [next((line for line in lines[at + 1 :] if not line[0].isspace()), "") for at in ends]
    causes = [line.strip().removeprefix("Caused by: ") for line in lines if line.strip().startswith("Caused by: ")]
    told = [*(line.strip() for line in lines[:1]), *causes, *filter(None, raised)]
    return (told[-1] if told else type(error).__name__)[:300]
