"""The mark that ends a span of the log on its way through Spark, and errors that travel as words."""

import os
import traceback
from dataclasses import dataclass

import pyarrow as pa

from feltwire import errors, schema
from feltwire.errors import FatalError, FeltwireError, LakeError


@dataclass(frozen=True)
class Span:
    """The records of a log partition from offset `start` to `end`, which is excluded; there may be none between."""

    partition: int
    start: int
    end: int


def mark(span: Span, error: Exception | None = None) -> pa.RecordBatch:
    """The row that ends a span's records, and tells where it began: a record of no kind, after everything that the log
    has between. A log's offsets have gaps, and a span may be empty, so records alone do not say how far one is."""
    name, message = describe(error) if error else (None, None)
    row = {
        "revision": span.start,
        "refusal": name,
        "payload": message,
        "log_partition": span.partition,
        "log_offset": span.end,
    }
    return pa.RecordBatch.from_pylist([row], schema=schema.LOGGED)


def read_mark(record: pa.RecordBatch) -> tuple[Span, FeltwireError | None]:
    """The span that a mark ends, and why it could not be read."""
    (row,) = record.to_pylist()
    span = Span(row["log_partition"], row["revision"], row["log_offset"])
    return span, to_error(row["refusal"], row["payload"]) if row["refusal"] else None


def describe(error: Exception) -> tuple[str, str]:
    """(type, message) by which `to_error` makes the error again, or what it stands for."""
    if isinstance(error, FeltwireError):
        return type(error).__name__, str(error)
    if isinstance(error, OSError | pa.ArrowException):
        return LakeError.__name__, f"{type(error).__name__}: {error}"
    place = traceback.extract_tb(error.__traceback__)[-1:]  # its words may be a post's
    where = f" in {os.path.basename(place[0].filename)}, line {place[0].lineno}" if place else ""
    return FatalError.__name__, f"a fault in a Spark task: {type(error).__name__}{where}"


def to_error(name: str, message: str) -> FeltwireError:
    """The error that `describe` has described, by its type."""
    kind = getattr(errors, name, FatalError)
    return kind(message) if isinstance(kind, type) and issubclass(kind, FeltwireError) else FatalError(message)
