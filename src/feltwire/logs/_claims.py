"""Locks between processes: a file that the kernel unlocks when its holder is gone, however it went."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from feltwire.errors import ClaimError, LogError


@contextmanager
def held(path: Path, *, what: str, wait: bool = False) -> Iterator[None]:
    """Hold the lock of `path` while the block runs. The file stays: only its lock counts.

    Raises ClaimError at once, naming the holder, when another worker has it and `wait` is false, and LogError when
    the file cannot be made or locked.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise LogError(f"cannot open the lock file {path}: {error.strerror or error}") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(handle, 20, 0).decode("ascii", "replace").strip() or "unknown"
            raise ClaimError(
                f"{what} is held by process {holder}: stop that one first, or let it do the work"
            ) from error
        except OSError as error:  # a file system without locks, for one
            raise LogError(f"cannot lock the file {path}: {error.strerror or error}") from error
        note = f"{os.getpid()}\n".encode()
        with suppress(OSError):  # on a full disk the lock holds all the same, only its holder stays unnamed
            os.pwrite(handle, note.ljust(20), 0)
        yield
    finally:
        os.close(handle)


def file_name(pipeline: str, partition: int) -> str:
    """The name of a claim's file; safe whatever the pipeline is called."""
    return f"{quote(pipeline, safe='')}-{partition}.lock"
