"""`csv:PATH`: one post a line in CSV files that only grow; each post exactly once through any kill.

Withdrawals stand in a second file, `STEM.withdrawn.csv`. Format: RFC 4180 with `\\n` for line ends, UTF-8, a header
line, strings quoted, null an empty cell without quotes; lists and structs as JSON.
"""

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from feltwire.errors import ConfigError
from feltwire.followers._appended import AppendedFiles, Rotation
from feltwire.followers._options import DEFAULT_FIELDS, Fields, Filter, file_path, select
from feltwire.followers._positions import ahead, fresh
from feltwire.followers._rows import days, encode, iso_times
from feltwire.interfaces import Position

# A spreadsheet takes a cell that begins so for a formula (OWASP, "CSV Injection"). The apostrophe is among them so
# that what was done can be undone: one apostrophe at the beginning of a cell is always ours.
_FORMULA: Final = r"^[=+\-@\t\r\n']"


class Options(Filter):
    """`csv:PATH?fields=id,text,sentiment&rotate=day`."""

    fields: Fields | None = None
    """Columns to write; none given: every column but `raw`, or those of the file that is continued."""
    rotate: Rotation = "never"
    """When a new file begins: `never`, `day`, or a size such as `64MB`."""
    escape_formulas: bool = True
    """Put `'` before a cell that begins with `=`, `+`, `-`, `@`, `'`, a tab or a line break."""


class CsvFollower:
    """Implements `interfaces.Follower` over `AppendedFiles`."""

    def __init__(self, files: AppendedFiles, options: Options) -> None:
        self._files = files
        self._options = options

    def position(self) -> Position | None:
        return self._files.position()

    def apply(self, posts: pa.RecordBatch, withdrawn: pa.RecordBatch, position: Position) -> None:
        stored = self._files.position()
        reached = ahead(stored or {}, position)
        if reached == stored:
            return
        posts, withdrawn = select(fresh(posts, stored), self._options), fresh(withdrawn, stored)
        columns = self._columns()
        contents = self._contents(posts.select(columns), self._files.names(posts.column("day").to_pylist()))
        contents |= self._contents(withdrawn, self._files.names(days(withdrawn.column("at")), insert=".withdrawn"))
        self._files.append(contents, reached, notes={"columns": columns})

    def close(self) -> None:
        """Let go of the files."""
        self._files.close()

    def _columns(self) -> list[str]:
        wanted = self._options.fields
        written: list[str] | None = self._files.note("columns")
        if written is None:
            return list(wanted or DEFAULT_FIELDS)
        if wanted is not None and list(wanted) != written:
            raise ConfigError(
                f"follower 'csv': fields = {','.join(wanted)!r}: the file has {','.join(written)!r}; "
                "leave the fields as they are, or name another path"
            )
        return written

    def _contents(self, batch: pa.RecordBatch, names: list[str]) -> dict[str, bytes]:
        contents = {}
        plain = pa.RecordBatch.from_arrays([self._plain(column) for column in batch.columns], batch.schema.names)
        keys = pa.array(names, pa.string())
        for name in dict.fromkeys(names):
            part = plain if names.count(name) == len(names) else plain.filter(pc.equal(keys, name))
            sink = pa.BufferOutputStream()
            style = pyarrow.csv.WriteOptions(include_header=self._files.starts(name), quoting_style="needed")
            pyarrow.csv.write_csv(part, sink, style)
            contents[name] = sink.getvalue().to_pybytes()
        return contents

    def _plain(self, column: pa.Array) -> pa.Array:
        if pa.types.is_timestamp(column.type):
            return iso_times(column)
        if pa.types.is_nested(column.type):
            return pa.array(
                [None if value is None else encode(value).decode() for value in column.to_pylist()], pa.string()
            )
        if pa.types.is_string(column.type) and self._options.escape_formulas:
            risky = pc.match_substring_regex(column, _FORMULA)
            return pc.if_else(risky, pc.binary_join_element_wise("'", column, ""), column)
        return column


def create(rest: str, options: Options) -> CsvFollower:
    """The follower of `csv:PATH`. Nothing is opened before the first call."""
    return CsvFollower(AppendedFiles(file_path(rest, "csv"), kind="csv", rotate=options.rotate), options)
