"""Batches as rows of plain JSON data: one serialiser for every destination that wants it.

Times are ISO 8601 in UTC to the microsecond with a `Z`; a number keeps all its digits; null stays null, and every
row has every key.
"""

from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

_encoder = msgspec.json.Encoder()


def rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """Every row as a dictionary of str, bool, int, float, list, dict and None."""
    if not batch.num_columns:
        return [{} for _ in range(batch.num_rows)]
    names = batch.schema.names
    values = zip(*(_values(column) for column in batch.columns), strict=True)
    return [dict(zip(names, row, strict=True)) for row in values]


def encode(value: Any) -> bytes:
    """JSON, as compact as it gets, on one line."""
    return _encoder.encode(value)


def encode_lines(values: list[Any]) -> bytes:
    """One JSON value a line, each with its newline."""
    return _encoder.encode_lines(values)


def iso_times(times: pa.Array) -> pa.Array:
    """An array of `schema.TIME` as text: `2026-07-04T12:00:00.000000Z`."""
    plain = times.cast(pa.timestamp("us")).cast(pa.string())  # naive is UTC here, and asks for no time zone database
    return pc.binary_join_element_wise(pc.utf8_replace_slice(plain, start=10, stop=11, replacement="T"), "Z", "")


def days(times: pa.Array) -> list[str]:
    """The day in UTC of each of `schema.TIME`, YYYY-MM-DD; of null, the first of 1970."""
    plain = times.fill_null(pa.scalar(0, times.type)).cast(pa.timestamp("us")).cast(pa.string())
    listed: list[str] = pc.utf8_slice_codeunits(plain, 0, 10).to_pylist()
    return listed


def _values(column: pa.Array) -> list[Any]:
    if pa.types.is_timestamp(column.type):
        column = iso_times(column)
    elif not column.null_count and (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        listed: list[Any] = column.to_numpy().tolist()  # many times as fast as to_pylist
        return listed
    values: list[Any] = column.to_pylist()
    return values
