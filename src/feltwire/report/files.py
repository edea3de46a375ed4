"""Reports as files: CSV and Parquet, side by side in a folder or an `s3://` address."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
from pyarrow import fs

from feltwire.errors import ConfigError, DestinationError
from feltwire.lake.storage import Location

_DECIMAL: Final = pa.decimal128(9, 4)


@dataclass(frozen=True)
class Folder:
    """Where a report is written: a folder, or `s3://bucket/prefix`. Picklable."""

    path: str
    options: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        scheme, separator, _ = self.path.partition("://")
        if not self.path or (separator and scheme != "s3"):
            raise ConfigError(f"{self.path!r}: expected a folder or s3://bucket/prefix")

    def write(self, name: str, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> int:
        """Write NAME.csv and NAME.parquet, in place of those that are there; returns how many rows.

        A file appears under its name once it is whole. Raises DestinationError.
        """
        rows = 0
        with self.reaching(), ExitStack() as open_files:
            csv = open_files.enter_context(self._sink(f"{name}.csv"))
            parquet = open_files.enter_context(self._sink(f"{name}.parquet"))
            shown = _csv(schema.empty_table()).schema
            with pcsv.CSVWriter(csv, shown) as lines, pq.ParquetWriter(parquet, schema, compression="zstd") as groups:
                for batch in batches:
                    lines.write_table(_csv(pa.Table.from_batches([batch])))
                    groups.write_batch(batch)
                    rows += batch.num_rows
        return rows

    def remove(self, prefix: str, keep: Iterable[str] = ()) -> None:
        """Remove the reports whose names begin so, but for some: those of an earlier run. Raises DestinationError."""
        kept = {f"{name}.{ending}" for name in keep for ending in ("csv", "parquet")}
        with self.reaching():
            system, root = Location(self.path, dict(self.options)).filesystem()
            for info in system.get_file_info(fs.FileSelector(root, allow_not_found=True)):
                ours = info.base_name.startswith(prefix) and info.extension in ("csv", "parquet")
                if info.type == fs.FileType.File and ours and info.base_name not in kept:
                    system.delete_file(info.path)

    @contextmanager
    def reaching(self) -> Iterator[None]:
        """What pyarrow raises, as Feltwire's own."""
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            raise DestinationError(f"{self.path!r} cannot be written: {' '.join(str(error).split())}") from error

    @contextmanager
    def _sink(self, name: str) -> Iterator[Any]:
        system, root = Location(self.path, dict(self.options)).filesystem()
        if "://" in self.path:
            with system.open_output_stream(f"{root}/{name}") as sink:
                yield sink
            return
        os.makedirs(root, exist_ok=True)
        part = f"{root}/.{name}.{os.getpid()}.part"
        try:
            with system.open_output_stream(part) as sink:
                yield sink
            os.replace(part, f"{root}/{name}")
        finally:
            with suppress(FileNotFoundError):
                os.unlink(part)


def _csv(table: pa.Table) -> pa.Table:
    """The table as CSV shows it: numbers with four decimals, times as ISO 8601 to the millisecond."""
    columns = []
    for column in table.columns:
        if pa.types.is_floating(column.type):
            columns.append(column.cast(_DECIMAL))
        elif pa.types.is_timestamp(column.type):
            columns.append(pc.strftime(column.cast(pa.timestamp("ms", "UTC"), safe=False), "%Y-%m-%dT%H:%M:%SZ"))
        else:
            columns.append(column)
    return pa.table(columns, names=table.column_names)
