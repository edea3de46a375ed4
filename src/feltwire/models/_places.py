"""Where registered models lie: in a folder, or in a bucket of S3."""

import contextlib
import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from feltwire import config
from feltwire.errors import ConfigError, MissingExtraError
from feltwire.models._place import ABSENT, S3, Entry, Place


def open_place(where: str = "") -> Place:
    """The store at a folder or at `s3://bucket/prefix`; nothing named: the user's own.

    Raises ConfigError for any other URI, MissingExtraError where S3's library is not installed.
    """
    if where.startswith(S3):
        try:
            from feltwire.models._s3 import S3Place
        except ModuleNotFoundError as error:
            raise MissingExtraError(f"a registry at {where} needs boto3: pip install 'feltwire[aws]'") from error
        return S3Place(where)
    if "://" in where:
        raise ConfigError(f"registry {where!r}: expected a folder, or s3://bucket/prefix")
    return FolderPlace(Path(where).expanduser() if where else config.data_folder() / "models")


class FolderPlace:
    """Keys are paths below a folder, which is made by the first `put`."""

    def __init__(self, folder: Path) -> None:
        self.where = str(folder)
        self.folder: Path | None = folder
        self._folder = folder

    def get(self, key: str) -> Entry | None:
        """What stands in the file; raises OSError where it cannot be read."""
        try:
            content = (self._folder / key).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return Entry(content, _tag(content))

    def put(self, key: str, content: bytes, *, before: str) -> bool:
        """Write a file beside the target and rename it; raises OSError where that cannot be done."""
        target = self._folder / key
        target.parent.mkdir(parents=True, exist_ok=True)
        with self._locked():
            there = self.get(key)
            if (there.tag if there else ABSENT) != before:
                return False
            part = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
            try:
                with part.open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                part.replace(target)
            finally:
                part.unlink(missing_ok=True)
            _sync(target.parent)
        return True

    def keys(self, prefix: str = "") -> list[str]:
        """The files whose path begins so; hidden ones are none of them."""
        start = self._folder / prefix.rpartition("/")[0]
        paths = (path.relative_to(self._folder) for path in start.rglob("*") if path.is_file())
        names = (path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts))
        return sorted(name for name in names if name.startswith(prefix))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time; the lock goes with the process that holds it."""
        with (self._folder / ".lock").open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _tag(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
