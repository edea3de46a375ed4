"""What travels between a Spark driver and its executors, as Arrow: marks that end a span, and what was done with it."""

import json
import os
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from feltwire import errors, schema
from feltwire.engines._work import Done
from feltwire.errors import FatalError, FeltwireError, LakeError
from feltwire.lake.storage import Written

_ROWS: Final = tuple(table for table in schema.STREAMED if table != "posts")

WIRE: Final = pa.schema(
    [
        pa.field("partition", pa.int32()),
        pa.field("start", pa.int64()),
        pa.field("end", pa.int64()),
        pa.field("kept", pa.int64()),
        pa.field("oldest", schema.TIME),
        pa.field("counts", pa.string()),  # of the models, as JSON
        pa.field("written", pa.binary()),  # this and the following: Arrow streams
        *(pa.field(table, pa.binary()) for table in _ROWS),
        pa.field("error", pa.string()),  # the type of what failed; everything but the place is then null
        pa.field("message", pa.string()),
    ]
)
"""One row is a span that was worked on, or why it was not."""


@dataclass(frozen=True)
class Span:
    """The records of a log partition from offset `start` to `end`, which is excluded; there may be none between."""

    partition: int
    start: int
    end: int


def mark(span: Span, error: Exception | None = None) -> pa.RecordBatch:
    """The row that ends a span's records, and tells where it began: a record of no kind, after everything that the log
    has between. A log's offsets have gaps, and a span may be empty, so records alone do not say how far one is."""
    failed = failure(span, error).to_pylist()[0] if error else {}
    row = {
        "revision": span.start,
        "refusal": failed.get("error"),
        "payload": failed.get("message"),
        "log_partition": span.partition,
        "log_offset": span.end,
    }
    return pa.RecordBatch.from_pylist([row], schema=schema.LOGGED)


def read_mark(record: pa.RecordBatch) -> tuple[Span, FeltwireError | None]:
    """The span that a mark ends, and why it could not be read. Raises FatalError when the record is no mark."""
    (row,) = record.to_pylist()
    if row["kind"] is not None:
        raise FatalError("a Spark task got only a part of its span of the log")
    span = Span(row["log_partition"], row["revision"], row["log_offset"])
    return span, to_error(row["refusal"], row["payload"]) if row["refusal"] else None


def failure(span: Span, error: Exception) -> pa.RecordBatch:
    """The row of a span that could not be worked on."""
    if isinstance(error, FeltwireError):
        name, message = type(error).__name__, str(error)
    elif isinstance(error, OSError | pa.ArrowException):
        name, message = LakeError.__name__, f"{type(error).__name__}: {error}"
    else:  # its words may be a post's
        place = traceback.extract_tb(error.__traceback__)[-1:]
        where = f" in {os.path.basename(place[0].filename)}, line {place[0].lineno}" if place else ""
        name, message = FatalError.__name__, f"a fault in a Spark task: {type(error).__name__}{where}"
    row = {"partition": span.partition, "start": span.start, "end": span.end, "error": name, "message": message}
    return pa.RecordBatch.from_pylist([row], schema=WIRE)


def to_error(name: str, message: str) -> FeltwireError:
    """The error that `failure` or `mark` tells of, by its type."""
    kind = getattr(errors, name, FatalError)
    return kind(message) if isinstance(kind, type) and issubclass(kind, FeltwireError) else FatalError(message)


def nothing(span: Span) -> Done:
    """What is done with a span without records: positions move."""
    rows = {table: schema.empty(schema.TABLES[table]) for table in _ROWS}
    return Done(partition=span.partition, start=span.start, end=span.end, rows=rows)


def encode(done: Done) -> pa.RecordBatch:
    """A row of WIRE."""
    files = [{"name": f.name, "size": f.size, "rows": f.rows} for f in done.written]
    stats = [
        {f"{side}.{name}": value for side in ("smallest", "largest") for name, value in getattr(f, side).items()}
        for f in done.written
    ]
    written = pa.RecordBatch.from_pylist([{**file, **stat} for file, stat in zip(files, stats, strict=True)])
    row = {
        "partition": done.partition,
        "start": done.start,
        "end": done.end,
        "kept": done.kept,
        "oldest": done.oldest.as_py() if done.oldest is not None else None,
        "counts": json.dumps([[name, labels, value] for (name, labels), value in done.counts.items()]),
        "written": _to_bytes(written) if files else None,
        **{table: _to_bytes(done.rows[table]) for table in _ROWS},
    }
    return pa.RecordBatch.from_pylist([row], schema=WIRE)


def decode(rows: pa.Table) -> list[Done]:
    """What all tasks of a batch have done, in the order of the log.

    Raises the error of a span that could not be worked on; if there are several, one that is fatal comes first.
    """
    found = rows.sort_by([("partition", "ascending"), ("start", "ascending")]).to_pylist()
    failed = [to_error(row["error"], row["message"] or "") for row in found if row["error"]]
    if failed:
        raise next((error for error in failed if isinstance(error, FatalError)), failed[0])
    return [
        Done(
            partition=row["partition"],
            start=row["start"],
            end=row["end"],
            written=_written(row["written"]),
            rows={table: _from_bytes(row[table]) for table in _ROWS},
            kept=row["kept"],
            oldest=pa.scalar(row["oldest"], schema.TIME) if row["oldest"] else None,
            counts={
                (name, tuple((key, label) for key, label in labels)): value
                for name, labels, value in json.loads(row["counts"])
            },
        )
        for row in found
    ]


def _written(stream: bytes | None) -> tuple[Written, ...]:
    rows: Sequence[dict[str, object]] = _from_bytes(stream).to_pylist() if stream else []
    return tuple(
        Written(str(row["name"]), int(str(row["size"])), int(str(row["rows"])), _side(row, "s"), _side(row, "l"))
        for row in rows
    )


def _side(row: dict[str, object], which: str) -> dict[str, object]:
    side = "smallest." if which == "s" else "largest."
    return {name.removeprefix(side): value for name, value in row.items() if name.startswith(side) and value is not None}


def _to_bytes(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _from_bytes(data: bytes) -> pa.RecordBatch:
    with pa.ipc.open_stream(data) as stream:
        return stream.read_next_batch()
