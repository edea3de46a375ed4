"""Tables to the standard output: for people, as JSON, as CSV."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pyarrow as pa

FOLDED_CHARS: Final = 12  # so narrow a column of texts can still be read


class Format(StrEnum):
    """How a table is shown."""

    table = "table"
    json = "json"
    csv = "csv"


def plain(value: Any) -> Any:
    """A value as JSON has it: times as ISO 8601 in UTC with a Z."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)


def to_json(value: Any, *, indent: int | None = None) -> str:
    """JSON text; letters stay letters."""
    return json.dumps(value, default=plain, ensure_ascii=False, indent=indent)


def write_json(value: Any) -> None:
    """One JSON document on the standard output."""
    sys.stdout.write(to_json(value, indent=2) + "\n")


def write_line(value: Any) -> None:
    """One line of JSON on the standard output, at once."""
    sys.stdout.write(to_json(value) + "\n")
    sys.stdout.flush()


def to_python(column: "pa.ChunkedArray | pa.Array") -> list[Any]:
    """The values of a column; maps, which Arrow gives as pairs, as dictionaries."""
    values: list[Any] = column.to_pylist()
    return [_mapped(value, column.type) for value in values] if "map<" in str(column.type) else values


def _mapped(value: Any, kind: "pa.DataType") -> Any:
    import pyarrow as pa

    if value is None:
        return None
    if pa.types.is_map(kind):
        return {key: _mapped(inner, kind.item_type) for key, inner in value}
    if pa.types.is_list(kind):
        return [_mapped(inner, kind.value_type) for inner in value]
    return value


def to_rows(batch: "pa.RecordBatch | pa.Table") -> list[dict[str, Any]]:
    """The rows as dictionaries."""
    columns = [to_python(column) for column in batch.columns]
    names = batch.schema.names
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def flat(table: "pa.Table") -> "pa.Table":
    """The table with lists, structs and maps as JSON text: what CSV can hold. Views, which it cannot, are copied."""
    import pyarrow as pa

    columns = []
    for column in table.columns:
        if pa.types.is_nested(column.type):
            texts = [None if value is None else to_json(value) for value in to_python(column)]
            columns.append(pa.chunked_array([pa.array(texts, pa.string())]))
        elif pa.types.is_timestamp(column.type):
            texts = [None if value is None else plain(value) for value in column.to_pylist()]
            columns.append(pa.chunked_array([pa.array(texts, pa.string())]))
        elif pa.types.is_string_view(column.type):
            columns.append(column.cast(pa.string()))
        elif pa.types.is_binary_view(column.type):
            columns.append(column.cast(pa.binary()))
        else:
            columns.append(column)
    return pa.table(columns, names=table.column_names)


def write_table(
    table: "pa.Table",
    form: Format,
    *,
    show: "Mapping[str, Callable[[Any], str]] | None" = None,
    columns: Sequence[str] | None = None,
) -> None:
    """A table on the standard output. For people: only `columns`, the values as `show` writes them."""
    match form:
        case Format.json:
            write_json(to_rows(table))
        case Format.csv:
            import pyarrow.csv as pc

            pc.write_csv(flat(table), sys.stdout.buffer)
            sys.stdout.flush()
        case Format.table:
            _write_for_people(table, show or {}, columns or table.column_names)


def _write_for_people(table: "pa.Table", show: Mapping[str, Callable[[Any], str]], columns: Sequence[str]) -> None:
    import pyarrow as pa
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from feltwire.cli.common import console

    rows = [
        [show.get(name, cell)(value) for name, value in row.items()] for row in table.select(list(columns)).to_pylist()
    ]
    terminal = console()
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    least = 0
    for at, name in enumerate(columns):
        kind = table.schema.field(name).type
        number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
        short = number or pa.types.is_timestamp(kind)
        shown.add_column(name, justify="right" if number else "left", overflow="fold", no_wrap=short)
        width = max(len(name), *(len(row[at]) for row in rows)) if rows else len(name)
        least += 2 + (width if short else min(width, FOLDED_CHARS))
    if rows and least > terminal.width:
        _write_upright(rows, columns)
        return
    for row in rows:
        shown.add_row(*map(Text, row))
    terminal.print(shown)


def _write_upright(rows: Sequence[Sequence[str]], columns: Sequence[str]) -> None:
    """A line for each value, for rows that are wider than the terminal; what a row does not have is left out."""
    from rich.table import Table
    from rich.text import Text

    from feltwire.cli.common import console

    terminal = console()
    for row in rows:
        shown = Table.grid(padding=(0, 2))
        shown.add_column(no_wrap=True, style="bold", min_width=max(map(len, columns)))
        shown.add_column(overflow="fold")
        for name, value in zip(columns, row, strict=True):
            if value:
                shown.add_row(Text(harmless(name)), Text(value))
        terminal.print(shown)
        terminal.print()


def cell(value: Any) -> str:
    """A value for people; nothing that steers a terminal comes through."""
    match value:
        case None:
            shown = ""
        case bool():
            shown = "yes" if value else "no"
        case int():
            shown = f"{value:,}"
        case float():
            shown = f"{value:.4g}"
        case datetime():
            shown = clock(value)
        case list() | dict():
            shown = to_json(value)
        case _:
            shown = str(value)
    return harmless(shown)


def clock(value: datetime) -> str:
    """A time to the minute, or as fine as it is."""
    fine = value.second or value.microsecond
    return f"{value:%Y-%m-%d %H:%M:%S}" if fine else f"{value:%Y-%m-%d %H:%M}"


def harmless(text: str) -> str:
    """The text without control characters: what somebody posted must not steer the terminal."""
    return "".join(char if char.isprintable() or char in "\u200d\u200c\ufe0f" else " " for char in text)


def percent(value: float) -> str:
    """A share for people."""
    return f"{100 * value:.0f}%"


def signed(value: float) -> str:
    """A net mood for people, from -1.00 to +1.00."""
    return f"{value:+.2f}"


def write_verdict(ok: bool, name: str, detail: str) -> None:
    """One line: whether something is as it should be."""
    from rich.text import Text

    from feltwire.cli.common import console

    mark = ("ok    ", "green") if ok else ("FAIL  ", "bold red")
    console().print(Text.assemble(mark, (harmless(name), "bold"), ": ", harmless(detail)), soft_wrap=True)
