"""Where a lake lies: a folder or an `s3://` address, the Parquet files in it, and their Delta actions."""

import json
import os
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake.transaction import AddAction
from pyarrow import fs

from feltwire.errors import ConfigError, LakeError, SchemaError

# The columns whose smallest and largest value stand beside every file: keys and times only, because Delta keeps
# them in its log, where the text of a withdrawn post would survive.
STATS: Final[dict[str, tuple[str, ...]]] = {
    "posts": ("log_partition", "log_offset", "event_time", "ingested_at"),
    "dead_letters": ("log_partition", "log_offset", "received_at"),
    "withdrawn": ("log_partition", "log_offset", "at"),
    "windows": ("minute",),
    "terms": ("minute",),
    "ledger": ("minute",),
    "scores": ("at",),
    "corrections": ("at",),
}

PARTITIONED: Final = {"posts": "day"}
ROW_GROUP_ROWS: Final = 65_536


@dataclass(frozen=True)
class Location:
    """The place of a lake; hands out table addresses and does all reading and writing of data files."""

    path: str
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def remote(self) -> bool:
        """Whether the lake lies on an object store rather than in a folder."""
        return "://" in self.path

    def check(self) -> None:
        """Raise ConfigError where a file stands in the way of the lake's folder."""
        if self.remote:
            return
        place = Path(self.path).absolute()
        for above in (place, *place.parents):
            if os.path.exists(above):
                if not os.path.isdir(above):
                    raise ConfigError(f"a lake cannot lie at {self.path!r}: {above} is no folder; name another")
                return

    def uri(self, table: str) -> str:
        """The address of a table, as Delta takes it."""
        return f"{self.path.rstrip('/')}/{table}"

    def filesystem(self) -> tuple[fs.FileSystem, str]:
        """The file system that the lake lies on, and the lake's path in it."""
        if not self.remote:
            return fs.LocalFileSystem(), os.path.abspath(self.path)
        scheme, _, rest = self.path.partition("://")
        if scheme != "s3":
            raise ConfigError(f"a lake cannot lie at {self.path!r}: expected a folder or s3://bucket/path")
        return fs.S3FileSystem(**_s3_arguments(self.options)), rest.rstrip("/")

    def write(self, table: str, batches: Iterable[pa.RecordBatch], schema: pa.Schema, folder: str = "") -> "Written":
        """Write one Parquet file of `schema`; nobody sees it until its action is committed.

        Raises SchemaError for a batch with other columns or types, or in another order: Delta would commit such a
        file without complaint, and readers would fail. Raises LakeError or OSError when it cannot be written now.
        """
        system, root = self.filesystem()
        name = f"{folder}part-{uuid.uuid4()}.parquet"
        path = f"{root}/{table}/{name}"
        if not self.remote:
            # On a volume that is away, a file would go where nobody finds it when its commit succeeds at last.
            if not os.path.isdir(f"{root}/{table}/_delta_log"):
                raise LakeError(f"the table {self.uri(table)} is not there: is its volume mounted?")
            os.makedirs(os.path.dirname(path), exist_ok=True)
        stats = _Stats(STATS[table])
        with (
            system.open_output_stream(path) as sink,
            pq.ParquetWriter(
                sink, schema, compression="zstd", compression_level=1, store_schema=False, write_statistics=stats.names
            ) as writer,
        ):
            for batch in batches:
                if not batch.schema.equals(schema):
                    raise SchemaError(
                        f"a batch for {table!r} has not the table's columns: {_differences(batch, schema)}"
                    )
                writer.write_batch(batch, row_group_size=ROW_GROUP_ROWS)
                stats.add(batch)
            writer.close()
            size = sink.tell()
        return Written(name, size, stats.rows, stats.smallest, stats.largest)

    def read(self, table: str, name: str, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The batches of one data file, in order, a few thousand rows at a time."""
        system, root = self.filesystem()
        with system.open_input_file(f"{root}/{table}/{name}") as source:
            yield from pq.ParquetFile(source).iter_batches(batch_size=16_384, columns=columns)


@dataclass(frozen=True)
class Written:
    """A Parquet file that lies in a table's folder; picklable, so that a worker process may write it."""

    name: str
    size: int
    rows: int
    smallest: Mapping[str, Any]
    largest: Mapping[str, Any]

    def action(self, *, data_change: bool = True) -> AddAction:
        """The Delta action that makes the file part of the table."""
        folder, _, _ = self.name.rpartition("/")
        stats = {
            "numRecords": self.rows,
            "minValues": {name: _stat(value, up=False) for name, value in self.smallest.items()},
            "maxValues": {name: _stat(value, up=True) for name, value in self.largest.items()},
            "nullCount": dict.fromkeys(self.smallest, 0),
        }
        return AddAction(
            path=self.name,
            size=self.size,
            partition_values=dict(part.split("=", 1) for part in folder.split("/") if part),
            modification_time=int(time.time() * 1000),
            data_change=data_change,
            stats=json.dumps(stats),
        )


class _Stats:
    """Smallest and largest value of some columns, over the batches of a file."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = list(names)
        self.rows = 0
        self.smallest: dict[str, Any] = {}
        self.largest: dict[str, Any] = {}

    def add(self, batch: pa.RecordBatch) -> None:
        self.rows += batch.num_rows
        for name in self.names:
            found = pc.min_max(batch[name]).as_py()
            if found["min"] is None:
                continue
            self.smallest[name] = min(self.smallest.get(name, found["min"]), found["min"])
            self.largest[name] = max(self.largest.get(name, found["max"]), found["max"])


def _differences(batch: pa.RecordBatch, wanted: pa.Schema) -> str:
    came, expected = ({field.name: field.type for field in schema} for schema in (batch.schema, wanted))
    names = [name for name in {**expected, **came} if came.get(name) != expected.get(name)]
    found = [f"{name} came as {came.get(name, 'nothing')}, expected {expected.get(name, 'nothing')}" for name in names]
    return "; ".join(found) or f"they came in the order {', '.join(came)}"


def _stat(value: Any, *, up: bool) -> Any:
    """A value as Delta's statistics hold it: times to the millisecond, rounded away from the middle."""
    if not isinstance(value, datetime):
        return value
    if up and value.microsecond % 1000:
        value += timedelta(milliseconds=1)
    return value.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _s3_arguments(options: Mapping[str, str]) -> dict[str, Any]:
    """Delta's storage options in pyarrow's words; what is not given comes from the environment."""
    given = {key.lower().removeprefix("aws_"): value for key, value in options.items()}
    endpoint = given.get("endpoint_url") or given.get("endpoint")
    arguments: dict[str, Any] = {
        "access_key": given.get("access_key_id"),
        "secret_key": given.get("secret_access_key"),
        "session_token": given.get("session_token"),
        "region": given.get("region"),
    }
    if endpoint:
        scheme, _, host = endpoint.rpartition("://")
        arguments |= {"endpoint_override": host, "scheme": scheme or "https"}
    return {key: value for key, value in arguments.items() if value}
