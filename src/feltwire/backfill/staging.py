"""Folders of JSON files, one a slice: what was pulled, as it came, and the scores. A file is there whole or not."""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, Final

import msgspec
import pyarrow as pa
from pyarrow import fs

from feltwire.errors import ClaimError, ConfigError, DestinationError
from feltwire.lake.storage import Location

_ENDING: Final = ".json"


class Staged(msgspec.Struct, frozen=True):
    """The file of a slice that was pulled."""

    source: str
    start: datetime
    end: datetime
    limit: int | None
    pulled_at: datetime
    pages: list[msgspec.Raw]
    """As they came."""


class Scores(msgspec.Struct, frozen=True):
    """The file of a slice whose posts are in the lake."""

    source: str
    start: datetime
    end: datetime
    posts: list[dict[str, Any]]
    """Of each its id, its revision, and what the model said of it; no text."""


class Folder:
    """A folder, or `s3://bucket/prefix`. Threads may share it."""

    def __init__(self, path: str, options: Mapping[str, str] | None = None) -> None:
        """`options`: as a lake's storage_options. Raises ConfigError for an address of another kind."""
        scheme, separator, _ = path.partition("://")
        if not path or (separator and scheme != "s3"):
            raise ConfigError(f"{path!r}: expected a folder or s3://bucket/prefix")
        self.path = path
        self._remote = bool(separator)
        with self._reaching("reached"):
            self._system, self._root = Location(path, dict(options or {})).filesystem()

    def names(self) -> set[str]:
        """The names of the files, without their ending. Raises DestinationError."""
        with self._reaching("read"):
            infos = self._system.get_file_info(fs.FileSelector(self._root, allow_not_found=True))
        found = {info.base_name for info in infos if info.type == fs.FileType.File}
        return {name.removesuffix(_ENDING) for name in found if name.endswith(_ENDING) and not name.startswith(".")}

    def read(self, name: str) -> bytes:
        """A file's content. Raises DestinationError."""
        with self._reaching("read"), self._system.open_input_file(self._file(name)) as file:
            content: bytes = file.read()
            return content

    def write(self, name: str, content: bytes) -> None:
        """Make a file, whole and durable, or replace it. Raises DestinationError."""
        with self._reaching("written"):
            if self._remote:  # an object is there once its upload has ended
                with self._system.open_output_stream(self._file(name)) as sink:
                    sink.write(content)
            else:
                _write_whole(self._file(name), content)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Be the only backfill that works with this folder, while the block runs; of an object store nobody is.

        Raises ClaimError when another process has it.
        """
        if self._remote:
            yield
            return
        with self._reaching("written"):
            os.makedirs(self._root, exist_ok=True)
            handle = os.open(f"{self._root}/.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ClaimError(
                    f"another backfill works with {self.path!r}: wait for its end, or name another folder"
                ) from error
            for name in os.listdir(self._root):
                if name.startswith(".") and name.endswith(".part"):  # of one that was killed
                    with suppress(OSError):
                        os.unlink(f"{self._root}/{name}")
            yield
        finally:
            os.close(handle)

    def _file(self, name: str) -> str:
        return f"{self._root}/{name}{_ENDING}"

    @contextmanager
    def _reaching(self, what: str) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            raise DestinationError(f"{self.path!r} cannot be {what}: {' '.join(str(error).split())}") from error


def _write_whole(path: str, content: bytes) -> None:
    """A file that is on the disk under its name when this returns, and otherwise not there."""
    folder, _, name = path.rpartition("/")
    os.makedirs(folder, exist_ok=True)
    part = f"{folder}/.{name}.{os.getpid()}.part"
    try:
        with open(part, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(part)
        raise
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
