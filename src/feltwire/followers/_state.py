"""A small JSON file that is replaced as a whole, and held by one process at a time."""

import contextlib
import errno
import fcntl
import logging
import os
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from feltwire.errors import ClaimError, ConfigError, DestinationError, PositionError

VERSION: Final = 1
LOCK_WAIT_S: Final = 2.0  # for the process before this one to be gone altogether

# What no waiting cures.
_FOR_A_PERSON: Final = frozenset(
    {errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP}
)
_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn an OSError into a DestinationError that names `path`, or a ConfigError where waiting cannot help."""
    try:
        yield
    except OSError as error:
        message = f"cannot write {path}: {error.strerror or error}"
        if error.errno in _FOR_A_PERSON:
            raise ConfigError(f"{message}; name another path, or change its owner or mode") from error
        raise DestinationError(message) from error


class StateFile:
    """Holds one JSON object. `kind` names the destination, so that one cannot continue another's file."""

    def __init__(self, path: Path, *, kind: str) -> None:
        self.path = path
        self._kind = kind
        self._unlock: Any = None

    def load(self) -> dict[str, Any] | None:
        """What was saved last; None if nothing ever was. Takes hold of the file and makes its folder.

        Raises ClaimError when another process holds it, PositionError when the file is not readable as a state,
        ConfigError when it belongs to another kind of destination, DestinationError when it cannot be read now.
        """
        with told(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock()
            try:
                content = self.path.read_bytes()
            except FileNotFoundError:
                return None
        try:
            state: dict[str, Any] = msgspec.json.decode(content, type=dict)
        except msgspec.DecodeError as error:
            raise PositionError(
                f"{self.path} does not hold a position ({error}): restore it, or remove it together with the data "
                "that it belongs to, to begin from nothing"
            ) from error
        if state.get("follower") != self._kind or state.get("version") != VERSION:
            raise ConfigError(
                f"{self.path} is of {state.get('follower')!r}, version {state.get('version')!r}; "
                f"expected {self._kind!r}, version {VERSION}: name another path"
            )
        return state

    def save(self, state: dict[str, Any]) -> None:
        """Replace what was saved, at one instant and durably. Raises DestinationError; then either may stand."""
        content = msgspec.json.encode({"version": VERSION, "follower": self._kind, **state})
        with told(self.path):
            replace(self.path, content)

    def close(self) -> None:
        """Let go of the file; `load` takes it again."""
        if self._unlock is not None:
            self._unlock()
            self._unlock = None

    def _lock(self) -> None:
        self.close()
        path = self.path.with_name(self.path.name + ".lock")
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        self._unlock = weakref.finalize(self, os.close, handle)
        until = time.monotonic() + LOCK_WAIT_S
        while not self._locked(handle):
            if time.monotonic() > until:
                self.close()
                raise ClaimError(
                    f"{self.path} is being written by another follower: stop that one, or name another path"
                )
            time.sleep(0.02)

    def _locked(self, handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            _log.warning("%s: this filesystem has no locks; see that no other follower writes there", self.path)
        return True


def replace(path: Path, content: bytes) -> None:
    """Write a whole file so that a reader, or a power cut, finds the old content or the new. Raises OSError."""
    beside = path.with_name(path.name + ".tmp")
    try:
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            write_all(handle, content)
            os.fsync(handle)
        finally:
            os.close(handle)
        os.replace(beside, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise
    sync_folder(path.parent)


def write_all(handle: int, content: bytes) -> None:
    """os.write, until all of it is written. Raises OSError."""
    view = memoryview(content)
    while view:
        view = view[os.write(handle, view) :]


def sync_folder(folder: Path) -> None:
    """Make durable which files a folder has. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
