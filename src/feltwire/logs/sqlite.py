"""The log in an SQLite file: `sqlite:PATH`. One process ingests, any number read, none needs a server.

A batch of records is one row: offset, count, time, hashes, and the records as a blob. Appending is a transaction
of records and cursor that is synced to the disk before `append` returns.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self

import pyarrow as pa

from feltwire.errors import ConfigError, PositionError
from feltwire.interfaces import Cursor, Position
from feltwire.logs import _blobs, _claims, _places
from feltwire.logs._database import Database, pause, side_file
from feltwire.logs._options import Options
from feltwire.logs._sqlite_append import Appender
from feltwire.schema import LOGGED, RECORD, empty

__all__ = ["Options", "SqliteLog", "create"]

_READ_BYTES: Final = 64 * 2**20  # of records before compression, which one read returns at most, or one batch
_TRIM_ROWS: Final = 5_000  # records that one transaction removes: longer ones keep appends waiting


def create(rest: str, options: Options) -> "SqliteLog":
    """The log `sqlite:PATH`; the file and its folder are made where they are not there yet."""
    if not rest or rest == ":memory:":
        raise ConfigError(f"log 'sqlite': {rest!r} is no path of a file: write sqlite:PATH, or memory: for a test")
    return SqliteLog(Path(rest).expanduser(), options)


class SqliteLog:
    """A Log in one file. Threads and processes may use it at the same time."""

    identity: str

    def __init__(self, path: Path, options: Options, *, clock: Callable[[], datetime] = _places.now) -> None:
        """Open the log, or make it.

        Raises ConfigError when the file is no log or has another number of partitions than `options` asks for,
        LogError when it cannot be opened.
        """
        self.path = path.resolve()
        self._options = options
        self._clock = clock
        self._database = Database(self.path, partitions=options.partitions)
        self._schemas: dict[int, pa.Schema] = {}
        try:
            with self._database.write() as connection:
                self.identity = connection.execute("SELECT value FROM meta WHERE key = 'identity'").fetchone()[0]
                schema = self._register_schema(connection)
            self._partitions = len(self.ends())
            if "partitions" in options.model_fields_set and options.partitions != self._partitions:
                raise ConfigError(
                    f"log 'sqlite': partitions = {options.partitions}: {self.path} was made with {self._partitions}, "
                    "which cannot change: leave the option out, or name another file"
                )
        except BaseException:
            self._database.close()
            raise
        self._appender = Appender(self._database, options, clock=clock, partitions=self._partitions, schema=schema)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Writing

    def cursor(self, source: str) -> Cursor | None:
        """The last stored cursor of the source with this key; None if it never stored one."""
        with self._database.read() as connection:
            row = connection.execute("SELECT cursor FROM cursors WHERE source = ?", (source,)).fetchone()
        return None if row is None else _places.to_cursor(row[0])

    def append(self, records: pa.RecordBatch, *, source: str, cursor: Cursor | None) -> int:
        """Store records and cursor in one transaction; return the number of repeats once both are on the disk.

        With no cursor, the stored one stays. Raises LogError when the file cannot be written now, SchemaError
        for records or a cursor that no log can hold; nothing is stored then, and the log can be used on.
        """
        return self._appender.append(records, source, cursor)

    def lease_writer(self) -> AbstractContextManager[None]:
        """Be the one process that ingests, while the block runs; raises ClaimError when another one is.

        Single appends need no lease: a withdrawal may be written beside the ingest process.
        """
        return _claims.held(side_file(self.path, "ingest.lock"), what=f"ingest into the log {self.path}")

    def _register_schema(self, connection: sqlite3.Connection) -> int:
        """The number in this file of `schema.RECORD` as it is today: an older blob is read by its own schema."""
        self._load_schemas(connection)
        for number, known in self._schemas.items():
            if known.equals(RECORD):
                return number
        number = max(self._schemas, default=0) + 1
        connection.execute("INSERT INTO schemas VALUES (?, ?)", (number, RECORD.serialize().to_pybytes()))
        self._schemas[number] = RECORD
        return number

    def _load_schemas(self, connection: sqlite3.Connection) -> None:
        for number, arrow in connection.execute("SELECT id, arrow FROM schemas"):
            self._schemas[number] = pa.ipc.read_schema(pa.py_buffer(arrow))

    # Reading

    def ends(self) -> Position:
        """{partition: offset of the next record to be written}. Cheap: a look at one page."""
        self._database.check_file()
        with self._database.read() as connection:
            return dict(connection.execute("SELECT partition, next_offset FROM partitions"))

    def begins(self) -> Position:
        """{partition: offset of the first record that is kept}: where a pipeline starts that is new."""
        with self._database.read() as connection:
            return dict(connection.execute("SELECT partition, first_offset FROM partitions"))

    def read(self, partition: int, after: int, max_rows: int) -> pa.RecordBatch:
        """At most `max_rows` records of `schema.LOGGED` from offset `after` on, in order; empty at the end.

        Fewer when they would take more than 64 MB. Raises PositionError when records from `after` on were
        trimmed away, or when `after` lies past the end.
        """
        with self._database.read() as connection:
            select = "SELECT first_offset, next_offset FROM partitions WHERE partition = ?"
            place = connection.execute(select, (partition,)).fetchone()
            if place is None:
                raise _places.no_partition(str(self.path), partition, self._partitions)
            _places.check_read(str(self.path), partition, after, *place)
            blobs = list(_blobs_from(connection, partition, after, max_rows))
            if any(schema not in self._schemas for _, _, schema, _, _ in blobs):
                self._load_schemas(connection)
        if not blobs or max_rows < 1:
            return empty(LOGGED)
        first = blobs[0][1]
        pieces = [_blobs.decode(blob, size, self._schemas[schema], RECORD) for blob, _, schema, size, _ in blobs]
        records = pa.concat_batches(pieces) if len(pieces) > 1 else pieces[0]
        return _blobs.place(records.slice(after - first, max_rows), partition, after, LOGGED)

    def tail(self, n: int) -> pa.RecordBatch:
        """The last `n` records of `schema.LOGGED`, those of all partitions by time."""
        begins, latest = self.begins(), [empty(LOGGED)]
        for partition, end in self.ends().items():
            after = max(begins[partition], end - n)
            while after < end:
                try:
                    latest.append(self.read(partition, after, end - after))
                except PositionError:  # trimmed since
                    after = self.begins()[partition]
                else:
                    after += latest[-1].num_rows
        return _places.by_time(latest, n)

    # Keeping

    def claim(self, pipeline: str, partition: int) -> AbstractContextManager[None]:
        """Be the one worker on this partition of this pipeline, while the block runs.

        Raises ClaimError, naming the holder's process, when there is another one. A worker that is killed has
        released its claim.
        """
        what = f"partition {partition} of pipeline {pipeline!r} in the log {self.path}"
        return _claims.held(side_file(self.path, _claims.file_name(pipeline, partition)), what=what)

    def register(self, pipeline: str, position: Position) -> None:
        """Note how far a pipeline is; the log keeps everything from there on. Called again and again.

        Raises PositionError for a position past the end, or in a partition that is not there.
        """
        with self._database.write() as connection:
            ends = dict(connection.execute("SELECT partition, next_offset FROM partitions"))
            _places.check_position(str(self.path), position, ends)
            at_us = _places.to_us(self._clock())
            connection.executemany(
                "INSERT OR REPLACE INTO pipelines VALUES (?, ?, ?, ?)",
                [(pipeline, partition, offset, at_us) for partition, offset in position.items()],
            )

    def unregister(self, pipeline: str) -> None:
        """Forget a pipeline, so that trimming no longer waits for it."""
        with self._database.write() as connection:
            connection.execute("DELETE FROM pipelines WHERE name = ?", (pipeline,))

    def positions(self) -> dict[str, Position]:
        """{pipeline: how far it is} of every registered pipeline."""
        with self._database.read() as connection:
            return _positions(connection)

    def backlog(self, pipeline: str) -> int:
        """How many kept records the pipeline has not passed; all of them, if it is not registered."""
        return _places.backlog(self.positions().get(pipeline, {}), self.begins(), self.ends())

    def trim(self) -> int:
        """Remove records that are older than the retention and that every registered pipeline has passed;
        return how many.

        Goes in small transactions with pauses between them, so that appends wait little; afterwards the disk is
        given back what is free.
        """
        removed = 0
        before_us = _places.to_us(self._clock()) - int(self._options.retention_h * 3.6e9)
        for partition in range(self._partitions):
            more = True
            while more:
                began = time.monotonic()
                rows, more = self._trim_chunk(partition, before_us)
                removed += rows
                if more:
                    pause(began)
        self._database.shrink()
        return removed

    def _trim_chunk(self, partition: int, before_us: int) -> tuple[int, bool]:
        """Remove whole batches of some 5,000 records; return how many records, and whether there may be more."""
        with self._database.write() as connection:
            select = "SELECT first_offset, next_offset FROM partitions WHERE partition = ?"
            first, end = connection.execute(select, (partition,)).fetchone()
            limit = _places.passed_by_all(_positions(connection), partition, end)
            behind = first
            for begin, rows, appended_at in connection.execute(
                "SELECT first_offset, n, appended_at FROM batches WHERE partition = ? ORDER BY first_offset",
                (partition,),
            ):
                if begin + rows > limit or appended_at > before_us or behind - first >= _TRIM_ROWS:
                    break
                behind = begin + rows
            if behind == first:
                return 0, False
            connection.execute("DELETE FROM batches WHERE partition = ? AND first_offset < ?", (partition, behind))
            update = "UPDATE partitions SET first_offset = ? WHERE partition = ?"
            connection.execute(update, (behind, partition))
        return behind - first, True

    def stats(self) -> dict[str, Any]:
        """The log's size, partitions, pipelines and sources, as JSON data; times in ISO 8601."""
        with self._database.read() as connection:
            found = _account(connection)
        size = self.path.stat().st_size + self._database.wal_bytes()
        return {"uri": f"sqlite:{self.path}", "identity": self.identity, "bytes": size, **found}


def _blobs_from(
    connection: sqlite3.Connection, partition: int, after: int, max_rows: int
) -> Iterator[tuple[bytes, int, int, int, int]]:
    """(records, first offset, schema, size, n) of the batches that hold `max_rows` records from `after` on, or fewer
    when they are large."""
    rows = connection.execute(
        "SELECT records, first_offset, schema, size, n FROM batches WHERE partition = ?1 AND first_offset >="
        " (SELECT max(first_offset) FROM batches WHERE partition = ?1 AND first_offset <= ?2) ORDER BY first_offset",
        (partition, after),
    )
    total = 0
    for blob, first, schema, size, n in rows:
        if first + n <= after or first >= after + max_rows or (total and total + size > _READ_BYTES):
            return
        total += size
        yield blob, first, schema, size, n


def _positions(connection: sqlite3.Connection) -> dict[str, Position]:
    positions: dict[str, Position] = {}
    for name, partition, offset in connection.execute("SELECT name, partition, position FROM pipelines"):
        positions.setdefault(name, {})[partition] = offset
    return positions


def _account(connection: sqlite3.Connection) -> dict[str, Any]:
    partitions = list(connection.execute("SELECT partition, first_offset, next_offset FROM partitions"))
    seen = connection.execute("SELECT name, max(seen_at) FROM pipelines GROUP BY name")
    cursors = connection.execute("SELECT source, cursor, at FROM cursors")
    return _places.account(
        begins={partition: first for partition, first, _ in partitions},
        ends={partition: end for partition, _, end in partitions},
        times={partition: _times(connection, partition) for partition, _, _ in partitions},
        positions=_positions(connection),
        seen={name: _places.from_us(at_us) for name, at_us in seen},
        cursors={source: (_places.to_cursor(text), _places.from_us(at_us)) for source, text, at_us in cursors},
    )


def _times(connection: sqlite3.Connection, partition: int) -> tuple[datetime, datetime] | None:
    """When the first and the last batch that is kept were appended."""
    select = "SELECT appended_at FROM batches WHERE partition = ? ORDER BY first_offset {} LIMIT 1"
    first, last = (connection.execute(select.format(way), (partition,)).fetchone() for way in ("ASC", "DESC"))
    return None if first is None else (_places.from_us(first[0]), _places.from_us(last[0]))
