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
    number = 0
    for batch in records():
        for start in range(0, batch.num_rows - rows + 1, rows):
            piece = batch.slice(start, rows)
            at = pa.repeat(pa.scalar(began + timedelta(seconds=number * 0.1), schema.TIME), rows)
            piece = piece.set_column(schema.RECORD.get_field_index("ingested_at"), "ingested_at", at)
            piece = piece.set_column(schema.RECORD.get_field_index("created_at"), "created_at", at)
            offsets = pa.array(range(number * rows, (number + 1) * rows), pa.int64())
            partition = pa.repeat(pa.scalar(0, pa.int32()), rows)
            yield schema.conform(
                piece.append_column("log_partition", partition).append_column("log_offset", offsets), schema.LOGGED
            )
            number += 1
            if number == count:
                return
