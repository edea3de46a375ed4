"""What a Kinesis stream cannot hold and its log must not lose: small JSON documents with versions.

A stream counts its records by sequence numbers that fit no int64, knows no cursors, no pipelines and no partitions
that outlive a shard. These stand in documents, each replaced only by whoever has seen its last version.
"""

import json
import sqlite3
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from feltwire.errors import ConfigError, LogError
from feltwire.logs import _claims
from feltwire.logs._database import side_file, sqlite_errors

Document: TypeAlias = dict[str, Any]
"""JSON data."""

ABSENT: Final = ""
"""The version of a document that is not there."""

_APPLICATION_ID: Final = 0x46574B53  # "FWKS", in the file's header
_LOCK_TIMEOUT_S: Final = 10.0


class Held(NamedTuple):
    """A document as it was found."""

    document: Document
    version: str


class State(Protocol):
    """A place of documents. What `put` has returned True for is durable."""

    where: str

    def get(self, key: str) -> Held | None:
        """The document; None: there is none. Raises LogError when the place cannot be reached now."""
        ...

    def put(self, key: str, document: Document, version: str) -> str | None:
        """Replace the document if `version` is still its version (ABSENT: it is new); the new version, or None
        where somebody else was faster. Raises as `get`."""
        ...

    def claim(self, name: str, what: str) -> AbstractContextManager[None]:
        """Be the only one with this name while the block runs; raises ClaimError, naming the holder of `what`."""
        ...

    def close(self) -> None:
        """Let go of what is open."""
        ...


def change(state: State, key: str, by: Callable[[Document], Document | None]) -> Document:
    """Apply `by` to the newest version of a document ({}: there is none) until nobody was faster; the result.

    `by` returns None where nothing is to be changed.
    """
    while True:
        held = state.get(key)
        before, version = held or Held({}, ABSENT)
        after = by(json.loads(json.dumps(before)))
        if after is None:
            return before
        if state.put(key, after, version) is not None:
            return after


class FileState:
    """Documents in an SQLite file on a local disk, for the processes of one machine."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it. Raises ConfigError for a file that is something else."""
        self.path = path.resolve()
        self.where = str(self.path)
        self._lock = threading.Lock()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LogError(f"the folder of the state file {self.path} cannot be made: {error}") from error
        with _claims.held(side_file(self.path, "open.lock"), what=str(self.path), wait=True), self._errors():
            self._connection = sqlite3.connect(
                self.path, timeout=_LOCK_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            self._make()

    def get(self, key: str) -> Held | None:
        """See `State.get`."""
        with self._lock, self._errors():
            row = self._connection.execute("SELECT document, version FROM documents WHERE key = ?", (key,)).fetchone()
        return None if row is None else Held(json.loads(row[0]), str(row[1]))

    def put(self, key: str, document: Document, version: str) -> str | None:
        """See `State.put`; synced to the disk."""
        text = json.dumps(document, separators=(",", ":"))
        with self._lock, self._errors():
            if version == ABSENT:
                done = self._connection.execute("INSERT OR IGNORE INTO documents VALUES (?, ?, 1)", (key, text))
                return "1" if done.rowcount else None
            update = "UPDATE documents SET document = ?, version = version + 1 WHERE key = ? AND version = ?"
            done = self._connection.execute(update, (text, key, int(version)))
        return str(int(version) + 1) if done.rowcount else None

    def claim(self, name: str, what: str) -> AbstractContextManager[None]:
        """A lock of the kernel, which a killed process has released."""
        return _claims.held(side_file(self.path, name), what=what)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def _make(self) -> None:
        connection = self._connection
        if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(
                "CREATE TABLE documents (key TEXT PRIMARY KEY, document TEXT NOT NULL, version INTEGER NOT NULL)"
                " WITHOUT ROWID"
            )
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute("PRAGMA synchronous = FULL")
        if connection.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION_ID:
            raise ConfigError(f"{self.path} is an SQLite file, but no state of a Kinesis log: name another file")

    def _errors(self) -> AbstractContextManager[None]:
        return sqlite_errors(self.path, "the log's state", "state of a Kinesis log")
