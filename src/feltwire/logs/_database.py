"""The SQLite file of a log: how it is made, opened, written and read by several threads and processes at once."""

import os
import sqlite3
import threading
import time
import uuid
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from queue import Empty, LifoQueue
from typing import Final

from feltwire.errors import ConfigError, FatalError, LogError
from feltwire.logs._claims import held

FORMAT: Final = 1
_APPLICATION_ID: Final = 0x46574C47  # "FWLG", in the file's header
_LOCK_TIMEOUT_S: Final = 10.0  # for which a writer waits for another process's transaction
_PAGE_BYTES: Final = 8192
_WAL_BYTES: Final = 64 * 2**20  # a longer write-ahead log is cut when it begins anew

# `hashes` stands before `records`, so that the recent ids are read at start without the records behind them.
# `partitions` holds what must outlive the last record: offsets never start again, time never runs back.
_TABLES: Final = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE schemas (id INTEGER PRIMARY KEY, arrow BLOB NOT NULL)",
    """CREATE TABLE partitions (
        partition INTEGER PRIMARY KEY, first_offset INTEGER NOT NULL, next_offset INTEGER NOT NULL,
        appended_at INTEGER NOT NULL)""",
    """CREATE TABLE batches (
        id INTEGER PRIMARY KEY AUTOINCREMENT, partition INTEGER NOT NULL, first_offset INTEGER NOT NULL,
        n INTEGER NOT NULL, appended_at INTEGER NOT NULL, schema INTEGER NOT NULL, size INTEGER NOT NULL,
        hashes BLOB NOT NULL, records BLOB NOT NULL)""",
    "CREATE UNIQUE INDEX batches_by_offset ON batches (partition, first_offset)",
    "CREATE TABLE cursors (source TEXT PRIMARY KEY, cursor TEXT NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID",
    """CREATE TABLE pipelines (
        name TEXT NOT NULL, partition INTEGER NOT NULL, position INTEGER NOT NULL, seen_at INTEGER NOT NULL,
        PRIMARY KEY (name, partition)) WITHOUT ROWID""",
)


class Database:
    """One writing connection behind a lock, and as many reading ones as threads read at once."""

    def __init__(self, path: Path, *, partitions: int) -> None:
        """Open the file, or make it with that many partitions. Raises ConfigError for a file that is no log."""
        self.path = path
        self.lock = threading.RLock()
        self._connections: list[sqlite3.Connection] = []
        self._readers: LifoQueue[sqlite3.Connection] = LifoQueue()
        self._finalizer = weakref.finalize(self, _close_all, self._connections)
        if path.is_dir():
            raise ConfigError(f"the log {path} is a folder: name a file, such as {path / 'log.db'}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LogError(f"the folder of the log {path} cannot be made: {error}") from error
        try:
            with held(side_file(path, "open.lock"), what=f"the log {path}", wait=True), self._errors():
                self._writer = self._connect()
                _make(self._writer, path, partitions)
                self._file = _file_of(path)
        except BaseException:
            self.close()
            raise

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction that is durable when the block has ended, and never was when it raises.

        Raises LogError when the file cannot be written now.
        """
        with self.lock, self._errors():
            self.check_file()
            connection = self._writer
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # SQLite has ended it by itself after some errors
                    with suppress(sqlite3.Error):
                        connection.execute("ROLLBACK")
                raise

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A snapshot: everything in the block sees the same content, whatever is written meanwhile."""
        with self._errors():
            try:
                connection = self._readers.get_nowait()
            except Empty:
                connection = self._connect()
            try:
                connection.execute("BEGIN")
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                self._readers.put(connection)

    def check_file(self) -> None:
        """Raise FatalError when the path no longer leads to the open file, whose writes would go nowhere."""
        if _file_of(self.path) != self._file:
            raise FatalError(f"the log {self.path} was removed or replaced while it was in use: start again")

    def shrink(self) -> None:
        """Give the disk back what is free beyond an eighth of the file, a little at a time."""
        moved = False
        while True:
            began = time.monotonic()
            with self.lock, self._errors():
                self.check_file()
                free, pages = _pragma(self._writer, "freelist_count"), _pragma(self._writer, "page_count")
                excess = free - max(256, pages // 8)
                if excess <= 0:
                    break
                # A script, since `execute` would step only once, and each step frees a single page.
                self._writer.executescript(f"PRAGMA incremental_vacuum({min(excess, 256)})")
            moved = True
            pause(began)
        if moved or self.wal_bytes() > _WAL_BYTES // 4:
            self._checkpoint()

    def wal_bytes(self) -> int:
        """The length of the write-ahead log."""
        try:
            return self.path.with_name(self.path.name + "-wal").stat().st_size
        except FileNotFoundError:
            return 0

    def close(self) -> None:
        """Close every connection. The database cannot be used afterwards."""
        with self.lock:
            self._finalizer()

    def _checkpoint(self) -> None:
        """Move the write-ahead log into the file and cut it, unless a reader is in the way for long."""
        with self.lock, self._errors():
            self._writer.execute("PRAGMA busy_timeout = 50")
            try:
                self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()  # most of the work, nobody waits
                self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            finally:
                self._writer.execute(f"PRAGMA busy_timeout = {int(_LOCK_TIMEOUT_S * 1000)}")

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=_LOCK_TIMEOUT_S, isolation_level=None, check_same_thread=False, cached_statements=64
        )
        self._connections.append(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
        return connection

    def _errors(self) -> AbstractContextManager[None]:
        return sqlite_errors(self.path, "the log", "log of Feltwire")


@contextmanager
def sqlite_errors(path: Path, what: str, kind: str) -> Iterator[None]:
    """What SQLite raises about a file, as Feltwire's own errors: `what` cannot be used, or the file is no `kind`."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise LogError(
            f"{what} {path} cannot be used now: {error}; it goes on once the disk has room, the folder is writable and "
            "no other program locks the file"
        ) from error
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
            raise ConfigError(f"{path} is no {kind}: name another file") from error
        raise FatalError(f"{what} {path} cannot be used: {error}") from error


def side_file(path: Path, name: str) -> Path:
    """A file beside the log's own: its locks."""
    return path.with_name(path.name + ".claims") / name


def pause(began: float) -> None:
    """Leave the file to the others for as long as one has held it since `began` (monotonic seconds)."""
    time.sleep(min(0.1, max(0.005, time.monotonic() - began)))


def _make(connection: sqlite3.Connection, path: Path, partitions: int) -> None:
    """Make the tables in a new file; refuse one that is something else. Nobody else opens it meanwhile."""
    if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN IMMEDIATE")
        for statement in _TABLES:
            connection.execute(statement)
        connection.execute("INSERT INTO meta VALUES ('identity', ?)", (str(uuid.uuid4()),))
        connection.executemany("INSERT INTO partitions VALUES (?, 0, 0, 0)", [(p,) for p in range(partitions)])
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {FORMAT}")
        connection.execute("COMMIT")
        _sync_folder(path.parent)
    if _pragma(connection, "application_id") != _APPLICATION_ID:
        raise ConfigError(f"{path} is an SQLite file, but no log of Feltwire: name another file")
    written = _pragma(connection, "user_version")
    if written != FORMAT:
        raise ConfigError(f"the log {path} has format {written}, and this Feltwire knows format {FORMAT}: update it")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _file_of(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _sync_folder(folder: Path) -> None:
    """Make a new file's name durable too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _close_all(connections: list[sqlite3.Connection]) -> None:
    while connections:
        connections.pop().close()
