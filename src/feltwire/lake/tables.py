"""The Delta tables of a lake: made, opened, checked and migrated. Who else opens a DeltaTable does it here."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Final

import pyarrow as pa
from deltalake import DeltaTable, Field, Schema
from deltalake.exceptions import DeltaError, TableNotFoundError

from feltwire import schema
from feltwire.errors import ConfigError, LakeError, PositionError, SchemaError
from feltwire.lake.storage import PARTITIONED, STATS, Location


@dataclass(frozen=True)
class Owner:
    """Whose lake it is: one pipeline over one log. Offsets of another log would mean other records."""

    pipeline: str
    log: str  # the log's identity
    partitions: int = field(default=1, compare=False)  # of the log, when the lake was last opened for writing

    def position_id(self, partition: int) -> str:
        """The application transaction that holds how far a table is in a log partition."""
        return f"feltwire/{self.pipeline}/{self.log}/{partition}"

    def withdrawn_id(self, partition: int) -> str:
        """The application transaction that holds how far a table is rid of withdrawn posts."""
        return f"feltwire/{self.pipeline}/{self.log}/withdrawn/{partition}"


FILES_ID: Final = "feltwire/files"
"""The application transaction that counts the commits that removed files."""

_CONFIGURATION: Final = {
    "delta.logRetentionDuration": "interval 1 minutes",
    "delta.deletedFileRetentionDuration": "interval 1 hours",
    "delta.enableExpiredLogCleanup": "false",  # maintenance does it, never a commit
    "delta.checkpointInterval": "1000000",  # likewise
}


def open_table(location: Location, table: str) -> DeltaTable:
    """A fresh handle on a table. Raises LakeError when it cannot be reached, also for now not being there: a volume
    that is away comes back."""
    try:
        return DeltaTable(location.uri(table), storage_options=dict(location.options) or None)
    except (DeltaError, OSError) as error:
        raise LakeError(f"the table {location.uri(table)} cannot be opened: {error}") from error


def create_tables(location: Location, owner: Owner) -> None:
    """Make what is missing of the lake's tables, and check that the rest is this owner's, of this version.

    Raises PositionError when the lake belongs to another pipeline or log, SchemaError when it is newer.
    """
    location.check()
    if _posts(location) is not None:
        _check_owner(location, owner)  # before anything is made in another's lake
    for table, columns in schema.TABLES.items():
        try:
            DeltaTable.create(
                location.uri(table),
                columns,
                mode="ignore",
                partition_by=PARTITIONED.get(table),
                name=f"feltwire.{table}",
                description=_describe(owner),
                configuration=_CONFIGURATION | {"delta.dataSkippingStatsColumns": ",".join(STATS[table])},
                storage_options=dict(location.options) or None,
            )
        except (DeltaError, OSError) as error:
            raise LakeError(f"the table {location.uri(table)} cannot be made: {error}") from error
    found = _check_owner(location, owner)
    migrate(location)
    if found.partitions < owner.partitions:
        _note_partitions(location, owner.partitions)


def _posts(location: Location) -> DeltaTable | None:
    """A handle on `posts`; None where there is no such table."""
    try:
        return DeltaTable(location.uri("posts"), storage_options=dict(location.options) or None)
    except TableNotFoundError:
        return None
    except (DeltaError, OSError) as error:
        raise LakeError(f"the lake {location.path!r} cannot be opened: {error}") from error


def _check_owner(location: Location, owner: Owner) -> Owner:
    found = read_owner(location)
    if found != owner:
        raise PositionError(
            f"the lake {location.path!r} belongs to pipeline {found.pipeline!r} over log {found.log}, "
            f"not to pipeline {owner.pipeline!r} over log {owner.log}: give this pipeline a lake of its own"
        )
    return found


def read_owner(location: Location) -> Owner:
    """Whose lake it is. Raises ConfigError when there is no lake, or one that Feltwire did not make."""
    location.check()
    handle = _posts(location)
    if handle is None:
        raise ConfigError(f"there is no lake at {location.path!r}: name another, or make one by `feltwire run`")
    described = _description(handle)
    return Owner(str(described["pipeline"]), str(described["log"]), _partitions(described))


def read_positions(handle: DeltaTable, owner: Owner) -> dict[int, int]:
    """{partition: offset of the next record} of a table, for every log partition that it has a position in."""
    found = {p: handle.transaction_version(owner.position_id(p)) for p in range(_partitions(_description(handle)))}
    return {partition: offset for partition, offset in found.items() if offset is not None}


def migrate(location: Location) -> list[str]:
    """Bring a lake of an older schema version to this one by adding columns; return what was added.

    Raises SchemaError when the lake is of a newer version, or when a column has another type.
    """
    added: list[str] = []
    for table, columns in schema.TABLES.items():
        handle = open_table(location, table)
        version = int(str(_description(handle).get("schema", 0)))
        if version > schema.VERSION:
            raise SchemaError(
                f"the lake {location.path!r} has schema version {version}, this Feltwire knows {schema.VERSION}: "
                "use a newer Feltwire"
            )
        missing = _missing_columns(handle, table, columns)
        if missing:
            handle.alter.add_columns(missing)
            added += [f"{table}.{field.name}" for field in missing]
        if version < schema.VERSION:
            described = {**_description(handle), "schema": schema.VERSION}
            handle.alter.set_table_description(json.dumps(described))
    return added


def check_schema(handle: DeltaTable, table: str) -> None:
    """Raise SchemaError unless the table has this version's columns and types."""
    missing = _missing_columns(handle, table, schema.TABLES[table])
    if missing:
        names = ", ".join(field.name for field in missing)
        raise SchemaError(f"the table {table!r} lacks the columns {names}: open the lake with this version first")


def _missing_columns(handle: DeltaTable, table: str, columns: pa.Schema) -> list[Field]:
    existing = {column.name: column for column in handle.schema().fields}
    wanted = {column.name: column for column in _delta_fields(columns)}
    for name, column in wanted.items():
        if name in existing and existing[name].type != column.type:
            raise SchemaError(f"the column {table}.{name} is {existing[name].type} in the lake, expected {column.type}")
    return [column for name, column in wanted.items() if name not in existing]


def _delta_fields(columns: pa.Schema) -> list[Field]:
    return list(Schema.from_arrow(columns).fields)


def _partitions(described: Mapping[str, object]) -> int:
    return int(str(described.get("partitions", 1)))


def _note_partitions(location: Location, partitions: int) -> None:
    """The log has more partitions than when the lake was made: let every reader of positions know."""
    for table in schema.TABLES:
        handle = open_table(location, table)
        described = {**_description(handle), "partitions": partitions}
        handle.alter.set_table_description(json.dumps(described))


def _describe(owner: Owner) -> str:
    return json.dumps({"schema": schema.VERSION, **asdict(owner)})


def _description(handle: DeltaTable) -> Mapping[str, object]:
    try:
        described = json.loads(handle.metadata().description or "")
    except ValueError as error:
        raise ConfigError(f"the table {handle.table_uri} was not made by Feltwire") from error
    if not isinstance(described, dict) or not {"pipeline", "log"} <= described.keys():
        raise ConfigError(f"the table {handle.table_uri} was not made by Feltwire")
    return described
