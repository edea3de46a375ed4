"""What travels from a log to an executor's work: pieces of the log, and errors as words."""

import os
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from feltwire import errors
from feltwire.errors import FatalError, FeltwireError, LakeError

PIECES: Final = pa.schema(
    [
        pa.field("partition", pa.int32()),
        pa.field("start", pa.int64()),
        pa.field("end", pa.int64()),
        pa.field("records", pa.binary()),  # `schema.LOGGED` as an Arrow stream; null: there are none
        pa.field("error", pa.string()),  # the type of what failed
        pa.field("message", pa.string()),
    ]
)


@dataclass(frozen=True)
class Span:
    """The records of a log partition from offset `start` to `end`, which is excluded; there may be none between."""

    partition: int
    start: int
    end: int


def piece(span: Span, records: pa.RecordBatch | None = None, error: Exception | None = None) -> pa.RecordBatch:
    """A row of PIECES: the records of a span, none where the log has a gap, or why they could not be read.

    They travel as one value: Spark would take each record apart and put it together again, twice.
    """
    name, message = describe(error) if error else (None, None)
    row = {
        "partition": span.partition,
        "start": span.start,
        "end": span.end,
        "records": to_bytes(records) if records is not None else None,
        "error": name,
        "message": message,
    }
    return pa.RecordBatch.from_pylist([row], schema=PIECES)


def read_pieces(batch: pa.RecordBatch) -> Iterator[tuple[Span, pa.RecordBatch | None]]:
    """What `piece` has put into rows. Raises the error that stands in one."""
    for number, row in enumerate(batch.drop_columns(["records"]).to_pylist()):
        if row["error"]:
            raise to_error(row["error"], row["message"] or "")
        records = batch["records"][number]
        span = Span(row["partition"], row["start"], row["end"])
        yield span, from_bytes(records.as_buffer()) if records.is_valid else None


def to_bytes(batch: pa.RecordBatch) -> bytes:
    """A batch as an Arrow stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def from_bytes(data: pa.Buffer | bytes) -> pa.RecordBatch:
    """The batch of an Arrow stream."""
    with pa.ipc.open_stream(data) as stream:
        return stream.read_next_batch()


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
