"""Parquet files as records, from any row on."""

from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feltwire.sources._chunk import Chunk, whole_refused
from feltwire.sources._coerce import strings
from feltwire.sources._lines import NO_UTF8
from feltwire.sources._rows import Rows

_BATCH_ROWS: Final = 8_192
_BROKEN: Final = (pa.ArrowException, OSError, ValueError, EOFError)  # what pyarrow raises over damaged files


def chunks(path: Path, rows: Rows, start: int) -> Iterator[Chunk]:
    """The file's records from row `start` on. A damaged file, or row group, is one refusal."""
    name = str(path)
    try:
        file = pq.ParquetFile(path)
        groups = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        plan = rows.wanted(_names(file.schema_arrow))
    except _BROKEN as error:
        if start == 0:
            yield whole_refused(rows, name, 1, f"no readable Parquet: {type(error).__name__}")
        return
    needed = list(dict.fromkeys(chain.from_iterable(plan.values())))
    with file:
        begin = 0
        for group, size in enumerate(groups):
            row, begin = begin, begin + size
            if begin <= start:
                continue
            try:
                for batch in file.iter_batches(_BATCH_ROWS, row_groups=[group], columns=needed, use_threads=False):
                    skipped = min(max(start - row, 0), batch.num_rows)
                    row += skipped
                    rest = batch.slice(skipped)
                    if rest.num_rows:
                        yield _chunk(rest, rows, plan, name, row)
                        row += rest.num_rows
            except _BROKEN as error:
                reason = f"a row group that cannot be read: {type(error).__name__}"
                yield whole_refused(rows, name, begin, reason)


def has_text(path: Path, rows: Rows) -> bool:
    """Whether a column of the file is a post's text; True also for what is no readable Parquet."""
    try:
        return "text" in rows.wanted(_names(pq.read_schema(path)))
    except _BROKEN:
        return True


def _names(arrow: pa.Schema) -> list[str]:
    """Columns, and the members of those that are structs as `column.member`."""
    names = []
    for field in arrow:
        names.append(field.name)
        if pa.types.is_struct(field.type):
            names += [f"{field.name}.{child.name}" for child in field.type]
    return names


def _chunk(batch: pa.RecordBatch, rows: Rows, plan: Mapping[str, list[str]], name: str, row: int) -> Chunk:
    columns: dict[str, pa.Array] = {}
    for field, array in zip(batch.schema, batch.columns, strict=True):
        columns.setdefault(field.name, array)
        if pa.types.is_struct(field.type):
            for child, values in zip(field.type, array.flatten(), strict=True):
                columns.setdefault(f"{field.name}.{child.name}", values)
    faults: dict[int, str] = {}
    for text in plan.get("text", ()):
        if text in columns:
            faults.update(dict.fromkeys(_no_utf8(columns[text]), NO_UTF8))
    count = batch.num_rows
    records = rows.from_columns(
        columns,
        count,
        faults,
        key=lambda i: f"{name}\0{row + i + 1}",
        payload=lambda i: _written({key: values.slice(i, 1) for key, values in columns.items()}),
    )
    numbers = range(row + 1, row + count + 1)
    return Chunk(records, numbers, numbers)


def _no_utf8(array: pa.Array) -> list[int]:
    """The rows of a text column whose bytes are no UTF-8: Parquet's reader does not check them."""
    given = array.is_valid()
    read = strings(array)
    if read.null_count == array.null_count or not _textual(array.type):
        return []
    return [i for i, lost in enumerate(pc.and_(given, read.is_null()).to_pylist()) if lost]


def _textual(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind))


def _written(row: Mapping[str, pa.Array]) -> str:
    """A refused row as JSON of its texts."""
    values: dict[str, str | None] = {}
    for name, array in row.items():
        text = strings(array)[0].as_py()
        if text is None and array.null_count == 0 and _textual(array.type):
            text = array.cast(pa.large_binary())[0].as_py().decode(errors="backslashreplace")
        if text is not None:
            values[name] = text
    return msgspec.json.encode(values).decode()
