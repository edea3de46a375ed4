"""What travels from Spark's executors to its driver, as Arrow: what was done with a span, or why it was not."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from feltwire import schema
from feltwire.engines._spark_pieces import describe, from_bytes, to_bytes, to_error
from feltwire.engines._work import Done
from feltwire.errors import FatalError
from feltwire.lake.storage import Written

_ROWS: Final = tuple(table for table in schema.STREAMED if table != "posts")

WIRE: Final = pa.schema(
    [
        pa.field("partition", pa.int32()),
        pa.field("start", pa.int64()),
        pa.field("end", pa.int64()),
        pa.field("records", pa.int64()),
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


def failure(error: Exception) -> pa.RecordBatch:
    """The row of a span that could not be worked on."""
    name, message = describe(error)
    row = {"error": name, "message": message}
    return pa.RecordBatch.from_pylist([row], schema=WIRE)


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
        "records": done.records,
        "kept": done.kept,
        "oldest": done.oldest.as_py() if done.oldest is not None else None,
        "counts": json.dumps([[name, labels, value] for (name, labels), value in done.counts.items()]),
        "written": to_bytes(written) if files else None,
        **{table: to_bytes(done.rows[table]) for table in _ROWS},
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
            rows={table: from_bytes(row[table]) for table in _ROWS},
            records=row["records"],
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
    rows: Sequence[dict[str, Any]] = from_bytes(stream).to_pylist() if stream else []
    return tuple(
        Written(row["name"], row["size"], row["rows"], _side(row, "smallest."), _side(row, "largest.")) for row in rows
    )


def _side(row: Mapping[str, Any], side: str) -> dict[str, Any]:
    found = {name.removeprefix(side): value for name, value in row.items() if name.startswith(side)}
    return {name: value for name, value in found.items() if value is not None}
