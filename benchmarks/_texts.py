"""Invented posts to measure with: the simulator's, always the same."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from feltwire import registry, schema

_URI = "simulator:?seed=7&rate=50000&start=2026-01-01T12:00:00Z&mess=0"
_FIELDS = ("id", "text", "lang", "created_at", "author_handle")


def records() -> Iterator[pa.RecordBatch]:
    """English posts, as batches of `schema.RECORD`, without end: every model that is measured speaks English."""
    for batch, _ in registry.create("sources", _URI).read(None):
        yield batch.filter(pc.equal(batch["lang"], "en"))


def write_posts(path: Path, number: int) -> None:
    """Write posts as JSON Lines."""
    written = 0
    with path.open("w") as file:
        for batch in records():
            rows = batch.select(list(_FIELDS)).slice(0, number - written).to_pylist()
            file.writelines(json.dumps(row, default=str, ensure_ascii=False) + "\n" for row in rows)
            written += len(rows)
            if written >= number:
                return


def batches(count: int, rows: int) -> Iterator[pa.RecordBatch]:
    """`count` batches of `rows` records as a log gives them back, received ten a second."""
    began = datetime.now(UTC)
    for number, posts in zip(range(count), _pieces(rows), strict=False):
        at = pa.repeat(pa.scalar(began + timedelta(seconds=number * 0.1), schema.TIME), rows)
        dated = posts.set_column(schema.RECORD.get_field_index("ingested_at"), "ingested_at", at)
        dated = dated.set_column(schema.RECORD.get_field_index("created_at"), "created_at", at)
        offsets = pa.array(range(number * rows, (number + 1) * rows), pa.int64())
        partition = pa.repeat(pa.scalar(0, pa.int32()), rows)
        yield schema.conform(
            dated.append_column("log_partition", partition).append_column("log_offset", offsets), schema.LOGGED
        )


def _pieces(rows: int) -> Iterator[pa.RecordBatch]:
    """The posts, so many at a time."""
    kept: list[pa.RecordBatch] = []
    for batch in records():
        kept.append(batch)
        if sum(one.num_rows for one in kept) >= rows:
            whole = pa.concat_batches(kept)
            for start in range(0, whole.num_rows - rows + 1, rows):
                yield whole.slice(start, rows)
            kept = [whole.slice(whole.num_rows - whole.num_rows % rows)]
