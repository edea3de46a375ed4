"""Any log as a stream of Spark: `spark.readStream.format("feltwire-log")`.

Offsets are {partition: the offset of the next record}, and the lake says where a stream begins: a checkpoint of Spark's
own would be a second truth.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any, Final, cast

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql.datasource import DataSource, DataSourceStreamReader, InputPartition
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.streaming.datasource import ReadAllAvailable, ReadLimit, ReadMaxRows, SupportsTriggerAvailableNow
from pyspark.sql.types import StructType

from feltwire import registry
from feltwire.engines._spark_pieces import PIECES, Span, piece
from feltwire.errors import FeltwireError, PositionError, RetryableError
from feltwire.interfaces import LogReader, Position
from feltwire.lake import Location, Owner
from feltwire.lake.tables import open_table, read_positions

FORMAT: Final = "feltwire-log"
OPTION: Final = "secretJob"
"""The one option. Spark blots out the values of options whose names say that they are secret."""

_READ_ROWS: Final = 10_000
_LEAST_ROWS: Final = 1_000  # of one task: fewer are not worth one


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the two ends in Spark have to know; travels as JSON."""

    log: str
    identity: str
    log_options: Mapping[str, Any] = field(default_factory=dict)
    lake: str
    storage_options: Mapping[str, str] = field(default_factory=dict)
    pipeline: str
    partitions: tuple[int, ...]
    log_partitions: int
    starts: Mapping[str, int]  # where to begin in a partition in which the lake has nothing
    max_rows: int  # of a batch
    task_rows: int  # of a task, at most
    tasks: int  # that run at a time

    def to_json(self) -> str:
        """The value of the option."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Job":
        """The job that an option holds."""
        given = json.loads(text)
        return cls(**{**given, "partitions": tuple(given["partitions"])})

    def open_log(self) -> LogReader:
        """The log, opened once a process. Raises PositionError when it is another one by now."""
        log = _open_log(self.log, json.dumps(dict(self.log_options)), os.getpid())
        if log.identity != self.identity:
            _open_log.cache_clear()
            raise PositionError(f"the log {self.log} has been made anew while Spark was reading it: start again")
        return log


@lru_cache(maxsize=4)
def _open_log(uri: str, options: str, process: int) -> LogReader:
    return cast(LogReader, registry.create("logs", uri, json.loads(options)))


class FeltwireLog(DataSource):
    """The data source, by the name under which Spark knows it."""

    @classmethod
    def name(cls) -> str:
        """What follows `format`."""
        return FORMAT

    def schema(self) -> StructType:
        """`PIECES` of the log."""
        return from_arrow_schema(PIECES)

    def streamReader(self, schema: StructType) -> "FeltwireLogReader":  # noqa: N802 - Spark's names
        """The stream."""
        return FeltwireLogReader(Job.from_json(self.options[OPTION]))


@dataclass
class SpanPartition(InputPartition):
    """What one task reads."""

    span: Span


class FeltwireLogReader(DataSourceStreamReader, SupportsTriggerAvailableNow):
    """Plans batches in a process beside the driver, and reads spans in the executors."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._target: Position | None = None
        self._fixed = False  # the target, once it is known

    def initialOffset(self) -> dict[str, int]:  # noqa: N802
        """Where the lake's posts are. Asked as often as Spark likes: nothing is changed by it."""
        job = self._job
        owner = Owner(job.pipeline, job.identity, job.log_partitions)
        reached = read_positions(open_table(Location(job.lake, dict(job.storage_options)), "posts"), owner)
        return {str(p): reached.get(p, 0) or job.starts.get(str(p), 0) for p in job.partitions}

    def getDefaultReadLimit(self) -> ReadLimit:  # noqa: N802
        """At most so many records a batch."""
        return ReadMaxRows(self._job.max_rows)

    def latestOffset(self, start: dict[str, int], limit: ReadLimit) -> dict[str, int]:  # noqa: N802
        """How far the next batch goes; `start` itself while there is nothing new, or the log cannot be asked."""
        try:
            ends = self._target or self._job.open_log().ends()
        except RetryableError:  # the driver sees it too, and says so
            return start
        if self._fixed:
            self._target = ends
        waiting = {p: max(0, ends.get(int(p), 0) - offset) for p, offset in start.items()}
        rows = limit.max_rows if isinstance(limit, ReadMaxRows) else None
        shares = waiting if rows is None or isinstance(limit, ReadAllAvailable) else shared_out(waiting, rows)
        return {p: offset + shares[p] for p, offset in start.items()}

    def prepareForTriggerAvailableNow(self) -> None:  # noqa: N802
        """What stands in the log when it is asked first is what is read: now, or when it is in reach again."""
        self._fixed = True

    def partitions(self, start: dict[str, int], end: dict[str, int]) -> list[SpanPartition]:
        """Spans of about the same size, for all that run at a time."""
        total = sum(end[p] - start[p] for p in start)
        rows = max(_LEAST_ROWS, min(self._job.task_rows, -(-total // self._job.tasks)))
        return [
            SpanPartition(Span(int(p), first, min(first + rows, end[p])))
            for p in start
            for first in range(start[p], end[p], rows)
        ]

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        """The pieces of a span; what failed stands in one."""
        span = cast(SpanPartition, partition).span
        try:
            yield from read_span(self._job.open_log(), span)
        except (FeltwireError, OSError) as error:
            yield piece(span, error=error)


def read_span(log: LogReader, span: Span) -> Iterator[pa.RecordBatch]:
    """The pieces of a span, each beginning where the one before ends. Only offsets count, since a log has gaps."""
    after = span.start
    while after < span.end:
        batch = log.read(span.partition, after, min(_READ_ROWS, span.end - after))
        batch = batch.filter(pc.less(batch["log_offset"], span.end))
        if not batch.num_rows:
            yield piece(Span(span.partition, after, span.end))
            return
        end = batch["log_offset"][-1].as_py() + 1
        yield piece(Span(span.partition, after, end), batch)
        after = end


def shared_out(waiting: Mapping[str, int], rows: int) -> dict[str, int]:
    """At most `rows` out of what waits in each partition, an equal share to all that have so much."""
    left, shares = rows, {}
    for number, (partition, size) in enumerate(sorted(waiting.items(), key=lambda one: one[1])):
        shares[partition] = min(size, left // (len(waiting) - number))
        left -= shares[partition]
    return shares
