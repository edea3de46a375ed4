"""What the tests of sources share: reading one to its end, or until something has come."""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias, cast

import pyarrow as pa

from feltwire import registry, schema
from feltwire.interfaces import Cursor, Source

Row: TypeAlias = dict[str, Any]
Reading: TypeAlias = Generator[tuple[pa.RecordBatch, Cursor], None, None]


def rows_of(uri: str, cursor: Cursor | None = None, **options: Any) -> list[Row]:
    """Everything that a finite source gives."""
    return [row for batch, _ in registry.create("sources", uri, options).read(cursor) for row in batch.to_pylist()]


@contextmanager
def reading(source: Source, cursor: Cursor | None = None) -> Iterator[Reading]:
    """A source's iterator, closed in the end."""
    batches = cast(Reading, source.read(cursor))
    try:
        yield batches
    finally:
        batches.close()


def until(batches: Reading, enough: Callable[[list[Row]], bool], *, seconds: float = 20.0) -> tuple[list[Row], Cursor]:
    """Rows until there are enough, and the cursor behind them. Every batch is checked for its schema."""
    found: list[Row] = []
    end_s = time.monotonic() + seconds
    for batch, cursor in batches:
        assert batch.schema.equals(schema.RECORD)
        found += batch.to_pylist()
        if enough(found):
            return found, cursor
        assert time.monotonic() < end_s, f"only {len(found)} rows came"
    raise AssertionError(f"the source ended after {len(found)} rows")


def texts(rows: list[Row]) -> list[str | None]:
    return [row["text"] for row in rows]
