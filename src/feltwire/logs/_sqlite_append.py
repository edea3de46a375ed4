"""Appending to the SQLite log: dedupe, stamp, store, in one transaction."""

import sqlite3
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Final

import numpy as np
import pyarrow as pa

from feltwire.interfaces import Cursor
from feltwire.logs import _blobs, _intake, _places
from feltwire.logs._database import Database
from feltwire.logs._options import Options
from feltwire.recent import BUCKETS, Recent

_LEARN_IDS: Final = 65_536  # hashes that are added to the memory at a time


class Appender:
    """The writing end of a log, with the memory of its recent ids. Threads take turns."""

    def __init__(
        self,
        database: Database,
        options: Options,
        *,
        clock: Callable[[], datetime],
        partitions: int,
        schema: int,
    ) -> None:
        """`schema` is the number of `schema.RECORD` in the file."""
        self._database = database
        self._clock = clock
        self._partitions = partitions
        self._schema = schema
        self._horizon_us = int(options.recent_h * 3.6e9)
        self._recent = Recent(max_ids=options.recent_max, horizon_s=options.recent_h * 3600)
        self._learned: int | None = None  # the last batch whose hashes are in `_recent`

    def append(self, records: pa.RecordBatch, source: str, cursor: Cursor | None) -> int:
        """See `SqliteLog.append`."""
        records = _intake.check(records)
        text = None if cursor is None else _places.cursor_text(source, cursor)
        if not records.num_rows and text is None:
            return 0
        with self._database.lock:
            if self._learned is None:  # all that the file remembers, while other processes go on writing
                with self._database.read() as connection:
                    self._learn(connection)
            with self._database.write() as connection:
                self._learn(connection)
                now_us = self._now_us(connection)
                self._recent.expire(now_us / 1e6)
                intake = _intake.admit(
                    records, self._recent, partitions=self._partitions, ingested_at=_places.from_us(now_us)
                )
                last = self._store(connection, intake, now_us)
                if text is not None:
                    connection.execute("INSERT OR REPLACE INTO cursors VALUES (?, ?, ?)", (source, text, now_us))
            # Only what is stored is remembered. If this is interrupted, `_learn` reads it from the file.
            for hashes in intake.hashes.values():
                self._recent.add(hashes, now_us / 1e6)
            self._learned = last or self._learned
        return intake.duplicates

    def _now_us(self, connection: sqlite3.Connection) -> int:
        """The clock, or the time of the last append if that is later: time never runs back in a log."""
        last: int = connection.execute("SELECT max(appended_at) FROM partitions").fetchone()[0]
        return max(_places.to_us(self._clock()), last)

    def _store(self, connection: sqlite3.Connection, intake: _intake.Intake, now_us: int) -> int:
        """Insert the batches behind the ends of their partitions; return the last row's id, 0 for none."""
        last = 0
        for partition, records in intake.batches.items():
            select = "SELECT next_offset FROM partitions WHERE partition = ?"
            offset: int = connection.execute(select, (partition,)).fetchone()[0]
            hashes = intake.hashes[partition].tobytes()
            for piece in _blobs.cut(records):
                blob, size = _blobs.encode(piece)
                rows = piece.num_rows
                inserted = connection.execute(
                    "INSERT INTO batches (partition, first_offset, n, appended_at, schema, size, hashes, records)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (partition, offset, rows, now_us, self._schema, size, hashes, blob),
                )
                last, offset, hashes = inserted.lastrowid or 0, offset + rows, b""
            update = "UPDATE partitions SET next_offset = ?, appended_at = ? WHERE partition = ?"
            connection.execute(update, (offset, now_us, partition))
        return last

    def _learn(self, connection: sqlite3.Connection) -> None:
        """Take into the memory what was stored and is not in it yet: at start everything, later what other
        processes stored."""
        learned = self._learned or 0
        newest: int = connection.execute("SELECT coalesce(max(id), 0) FROM batches").fetchone()[0]
        if newest > learned:
            rows = connection.execute(
                "SELECT appended_at, hashes FROM batches WHERE id > ? AND appended_at >= ? ORDER BY id",
                (learned, _places.to_us(self._clock()) - self._horizon_us),
            )
            for at_us, hashes in _grouped(rows, span_us=self._horizon_us // BUCKETS):
                self._recent.add(np.frombuffer(hashes, dtype=np.uint64), at_us / 1e6)
        self._learned = max(learned, newest)


def _grouped(rows: Iterator[tuple[int, bytes]], *, span_us: int) -> Iterator[tuple[int, bytes]]:
    """(time, hashes) of many rows as (newest time, all hashes) of few, none of which spans much time."""
    blobs: list[bytes] = []
    size = oldest = newest = 0
    for at_us, blob in rows:
        if blobs and (size >= 8 * _LEARN_IDS or at_us - oldest > span_us):
            yield newest, b"".join(blobs)
            blobs, size = [], 0
        oldest = at_us if not blobs else oldest
        newest = at_us
        blobs.append(blob)
        size += len(blob)
    if blobs:
        yield newest, b"".join(blobs)
