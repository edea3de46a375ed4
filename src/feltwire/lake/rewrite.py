"""Rewriting data files: many small ones into one, and withdrawn posts out of theirs.

delta-rs's own compaction is never called: two at once double every row, and it drops application transactions.
Every commit here that removes files raises the counter `feltwire/files` by one, and fails where another commit
did so since the files were listed.
"""

import logging
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from deltalake.transaction import AddAction, RemoveAction

from feltwire import schema, windows
from feltwire.lake.append import position, write_transaction
from feltwire.lake.storage import PARTITIONED, STATS, Location, Written
from feltwire.lake.tables import FILES_ID

logger = logging.getLogger(__name__)

SUMMED: Final[dict[str, pa.Schema]] = {
    "windows": schema.WINDOWS,
    "terms": schema.TERMS,
    "ledger": schema.LEDGER,
}
"""Tables whose files merge by adding rows up; the files of the others are joined end to end, in log order."""

FAN_IN: Final = 16  # so many files of about one size become one of the next size
_TIER_BYTES: Final = 32_768  # a file of a quiet batch; each further tier is FAN_IN times larger
_MAX_JOINED_BYTES: Final = 256 * 2**20
_MAX_JOINED_FILES: Final = 256
_MAX_SUMMED_ROWS: Final = 500_000  # sums are added up in memory
KEEP_MINUTES: Final = timedelta(hours=48)  # then the minutes of `terms` become hours …
RAREST: Final = 3  # … and terms seen fewer times than this in an hour become OTHER
OTHER: Final = "other"


@dataclass(frozen=True)
class File:
    """A data file of a table's snapshot."""

    name: str
    size: int
    rows: int
    folder: str  # of its Delta partition, "" where the table has none
    log_partition: int | None
    first: int  # smallest log offset; 0 for sums
    last: int
    newest: datetime | None

    def remove(self, *, data_change: bool) -> RemoveAction:
        """The Delta action that takes the file out of the table."""
        pairs = (part.split("=", 1) for part in self.folder.split("/") if part)
        values: dict[str, str | None] = {key: value for key, value in pairs}  # noqa: C416
        return RemoveAction(self.name, data_change, int(time.time() * 1000), self.size, values)


def list_files(handle: DeltaTable, table: str) -> list[File]:
    """The files of a snapshot, in the order of day, log partition and offset."""
    actions = pa.table(handle.get_add_actions(flatten=True)).to_pylist()
    partitioned = PARTITIONED.get(table)
    time_column = STATS[table][-1]
    files = []
    for action in actions:
        folder = f"{partitioned}={action[f'partition.{partitioned}']}/" if partitioned else ""
        files.append(
            File(
                name=action["path"],
                size=action["size_bytes"],
                rows=action["num_records"] or 0,
                folder=folder,
                log_partition=action.get("min.log_partition"),
                first=action.get("min.log_offset") or 0,
                last=action.get("max.log_offset") or 0,
                newest=action.get(f"max.{time_column}"),
            )
        )
    return sorted(files, key=lambda file: (file.folder, file.log_partition or 0, file.first, file.name))


def choose(files: Sequence[File], table: str) -> list[File]:
    """The next files to merge into one: a run of neighbours of about one size; empty when all is tidy."""
    if table in SUMMED:
        return _choose_summed(files)
    newest_folder = max((file.folder for file in files), default="")
    for (folder, _), group in _grouped(files).items():
        enough = FAN_IN if folder == newest_folder else FAN_IN // 4
        run = _choose_run(group, enough)
        if run:
            return run
    return []


def merge(location: Location, table: str, handle: DeltaTable, files: Sequence[File], *, now: datetime) -> bool:
    """Put one file in the place of `files`; False when another maintainer was faster. The rows stay the same
    (sums are added up, old minutes of `terms` folded into hours).
    """
    counter = position(handle, FILES_ID)
    if table in SUMMED:
        batches: Iterator[pa.RecordBatch] = iter([_add_up(location, table, files, now)])
    else:
        batches = (batch for file in files for batch in _read(location, table, file))
    written = [location.write(table, batches, file_schema(table), files[0].folder)]
    return replace(handle, table, files, written, {FILES_ID: counter + 1}, data_change=False)


def drop_rows(
    location: Location,
    table: str,
    handle: DeltaTable,
    offsets: Mapping[int, Collection[int]],
    moves: Mapping[str, int],
) -> bool:
    """Rewrite the files of a table in log order that hold the given rows ({log partition: offsets}) without them,
    and move `moves`; False when another maintainer was faster.
    """
    counter = position(handle, FILES_ID)
    removed: list[File] = []
    written: list[Written] = []
    for file in list_files(handle, table):
        gone = [o for o in offsets.get(file.log_partition or 0, ()) if file.first <= o <= file.last]
        if not gone:
            continue
        kept = location.write(table, _without(location, table, file, gone), file_schema(table), file.folder)
        if kept.rows == file.rows:
            continue
        removed.append(file)
        if kept.rows:
            written.append(kept)
    counted = {FILES_ID: counter + 1} if removed else {}
    return replace(handle, table, removed, written, {**counted, **moves}, data_change=True)


def replace(
    handle: DeltaTable,
    table: str,
    removed: Sequence[File],
    written: Sequence[Written],
    moves: Mapping[str, int],
    *,
    data_change: bool,
) -> bool:
    """Commit `written` in the place of `removed`; False when a rival's commit stood in the way."""
    actions: list[AddAction | RemoveAction] = [file.remove(data_change=data_change) for file in removed]
    actions += [file.action(data_change=data_change) for file in written]
    try:
        write_transaction(handle, table, actions, moves)
    except (DeltaError, OSError) as error:
        logger.info("maintenance of %s gave way: %s", table, error)
        return False
    return True


def fold_old_terms(batch: pa.RecordBatch, *, before: datetime) -> pa.RecordBatch:
    """Terms of minutes before `before` by the hour, the rarest of an hour as OTHER: totals a kind stay exact."""
    old = pc.less(batch["minute"], pa.scalar(before, schema.TIME))
    hour = pc.if_else(old, pc.floor_temporal(batch["minute"], unit="hour"), batch["minute"])
    batch = windows.merge([batch.set_column(0, schema.TERMS.field("minute"), hour)], schema.TERMS)
    old = pc.less(batch["minute"], pa.scalar(before, schema.TIME))
    rare = pc.and_(old, pc.less(pc.abs(batch["n"]), RAREST))
    index = schema.TERMS.get_field_index("term")
    term = pc.if_else(rare, OTHER, batch["term"])
    return windows.merge([batch.set_column(index, schema.TERMS.field("term"), term)], schema.TERMS)


def file_schema(table: str) -> pa.Schema:
    """A table's columns as its files hold them: without the one that the folder's name says."""
    partitioned = PARTITIONED.get(table)
    return pa.schema([column for column in schema.TABLES[table] if column.name != partitioned])


def _choose_summed(files: Sequence[File]) -> list[File]:
    small = sorted((file for file in files if file.rows < _MAX_SUMMED_ROWS // 2), key=lambda file: file.rows)
    for tier in range(8):
        ceiling = 1_000 * FAN_IN**tier
        group: list[File] = []
        rows = 0
        for file in small:
            if file.rows > ceiling or rows + file.rows > _MAX_SUMMED_ROWS or len(group) >= _MAX_JOINED_FILES:
                break
            group.append(file)
            rows += file.rows
        if len(group) >= FAN_IN:
            return group
    return []


def _grouped(files: Sequence[File]) -> dict[tuple[str, int | None], list[File]]:
    groups: dict[tuple[str, int | None], list[File]] = {}
    for file in files:
        groups.setdefault((file.folder, file.log_partition), []).append(file)
    return groups


def _choose_run(files: Sequence[File], enough: int) -> list[File]:
    """The first run of at least `enough` neighbours none of which is larger than its tier, smallest tier first."""
    for tier in range(5):
        ceiling = _TIER_BYTES * FAN_IN**tier
        run: list[File] = []
        for file in [*files, None]:
            fits = file is not None and file.size <= ceiling and sum(f.size for f in run) < _MAX_JOINED_BYTES
            if file is not None and fits and len(run) < _MAX_JOINED_FILES:
                run.append(file)
                continue
            if len(run) >= enough:
                return run
            run = [file] if file is not None and file.size <= ceiling else []
    return []


def _read(location: Location, table: str, file: File) -> Iterator[pa.RecordBatch]:
    for batch in location.read(table, file.name):
        yield _completed(batch, file_schema(table))


def _completed(batch: pa.RecordBatch, wanted: pa.Schema) -> pa.RecordBatch:
    """A batch of an older file with the columns that the schema has gained since, as nulls."""
    for column in wanted:
        if batch.schema.get_field_index(column.name) < 0:
            batch = batch.append_column(column, pa.nulls(batch.num_rows, column.type))
    return schema.conform(batch, wanted)


def _add_up(location: Location, table: str, files: Sequence[File], now: datetime) -> pa.RecordBatch:
    sums = windows.merge([batch for file in files for batch in _read(location, table, file)], SUMMED[table])
    if table == "terms":
        sums = fold_old_terms(sums, before=now.astimezone(UTC) - KEEP_MINUTES)
    return sums.sort_by("minute")


def _without(location: Location, table: str, file: File, gone: Collection[int]) -> Iterator[pa.RecordBatch]:
    offsets = pa.array(sorted(gone), pa.int64())
    for batch in _read(location, table, file):
        yield batch.filter(pc.invert(pc.is_in(batch["log_offset"], offsets)))
