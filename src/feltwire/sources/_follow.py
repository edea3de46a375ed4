"""Following files that grow, as `tail -F` does: through rotation, truncation, and while Feltwire was away."""

import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa

from feltwire import schema
from feltwire.errors import ConfigError
from feltwire.interfaces import Cursor
from feltwire.sources._chunk import Chunk
from feltwire.sources._pace import HEARTBEAT_S
from feltwire.sources._rows import Rows
from feltwire.sources._textfile import Form, Head, Place, TextFile, has_text, is_packed, is_same, place_of

POLL_S: Final = 0.1
ROTATION_GRACE_S: Final = 1.0  # a writer may still write into the file that was just renamed

_log: Final = logging.getLogger(__name__)


def follow(
    paths: Callable[[], list[Path]], form: Callable[[Path], Form], rows: Rows, cursor: Cursor | None
) -> Iterator[tuple[pa.RecordBatch, Cursor]]:
    """Records of all files as they grow. The cursor holds the place in each of them."""
    reached: Cursor = {"files": _known_places(cursor, paths())}
    files: dict[str, _Followed] = {}
    spoke_s = time.monotonic()
    looked_s = float("-inf")
    try:
        while True:
            if time.monotonic() - looked_s >= HEARTBEAT_S:
                looked_s = time.monotonic()
                for path in paths():
                    if str(path) not in files:
                        files[str(path)] = _Followed(path, form(path), rows, reached["files"].get(str(path)))
            quiet = True
            for name, file in files.items():
                chunk = file.poll()
                if chunk is not None and chunk.records.num_rows:
                    reached = {"files": {**reached["files"], name: file.cursor()}}
                    yield chunk.records, reached
                    quiet = False
                    spoke_s = time.monotonic()
            if time.monotonic() - spoke_s >= HEARTBEAT_S:
                yield schema.empty(), reached
                spoke_s = time.monotonic()
            if quiet:
                time.sleep(POLL_S)
    finally:
        for file in files.values():
            file.close()


def _known_places(cursor: Cursor | None, paths: list[Path]) -> Cursor:
    """The places out of a cursor; out of one that was made by reading one file to its end, with mode = finite, too."""
    if cursor and isinstance(cursor.get("files"), dict):
        return dict(cursor["files"])
    if not cursor or "file" not in cursor:
        return {}
    if any(str(path) < cursor["file"] for path in paths):
        raise ConfigError(
            "file: mode = follow cannot go on where mode = finite ended among several files, since it did not note "
            "how far each was read: follow one of them, or give the source another name in the configuration"
        )
    return {cursor["file"]: cursor}


class _Followed:
    """One path, and the file that it names now or did before it was rotated."""

    def __init__(self, path: Path, form: Form, rows: Rows, place: Cursor | None) -> None:
        if form.name == "parquet" or is_packed(path):
            raise ConfigError(f"file: mode = follow reads growing files of JSONL, CSV or text; {path.name!r} is packed")
        if not has_text(path, form, rows):
            raise ConfigError(f"file: no column of {path.name!r} is known as a post's text: say columns=text=NAME")
        self._path = path
        self._form = form
        self._rows = rows
        self._text: TextFile | None = None
        self._head = Head(path)
        self._rotated_s: float | None = None
        self._looked: tuple[int, int, int] | None = None  # inode, size and time of the file when last compared
        self._start(place)

    def close(self) -> None:
        if self._text:
            self._text.close()
            self._text = None

    def cursor(self) -> Cursor:
        """The place reached: JSON data."""
        text = self._text
        if text is None:
            return {"offset": 0, "line": 0, "head": "", "inode": -1}
        head = self._head.at(text.offset)
        return {"offset": text.offset, "line": text.line, "head": head, "inode": text.inode}

    def poll(self) -> Chunk | None:
        """The next records; None when there are none now."""
        text = self._text
        try:
            if text is None:
                self._open(self._path, Place())
                return None
            chunk = text.chunk(final=self._is_over())
            if chunk is None:
                self._look_after(text)
        except OSError as error:
            _log.debug("following %s: %s", self._path, error)
            return None
        return chunk

    def _start(self, given: Cursor | None) -> None:
        place = place_of(given or {})
        try:
            if is_same(self._path, place):
                self._open(self._path, place)
                return
            former = _by_inode(self._path.parent, (given or {}).get("inode"))
            if former is not None and is_same(former, place):
                self._open(former, place)
                self._rotated_s = float("-inf")
                return
            _log.warning("%s is another file than the one that was followed; reading it from its start", self._path)
            self._open(self._path, Place())
        except OSError as error:
            _log.debug("opening %s: %s", self._path, error)

    def _open(self, path: Path, place: Place) -> None:
        self.close()
        self._text = TextFile(path, self._form, self._rows, place, name=str(self._path))
        self._head = Head(path)
        self._rotated_s = None
        self._looked = None

    def _is_over(self) -> bool:
        """Whether nobody writes into the open file any more."""
        return self._rotated_s is not None and time.monotonic() - self._rotated_s >= ROTATION_GRACE_S

    def _look_after(self, text: TextFile) -> None:
        """At the end of the open file: is it still the one that the path names? Raises OSError if none is."""
        if self._is_over():
            self._open(self._path, Place())
            return
        status = os.stat(self._path)
        looks = (status.st_ino, status.st_size, status.st_mtime_ns)
        if looks == self._looked:
            return
        if status.st_ino != text.inode:
            if self._rotated_s is None:
                self._rotated_s = time.monotonic()
            return
        self._looked = looks
        if status.st_size < text.bytes_read or Head(self._path).at(text.offset) != self._head.at(text.offset):
            _log.info("%s was truncated; reading it from its start", self._path)
            self._open(self._path, Place())


def _by_inode(folder: Path, inode: object) -> Path | None:
    """The file that a rotation renamed, if it lies in the same folder still."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_file() and entry.inode() == inode and not is_packed(Path(entry.path)):
                return Path(entry.path)
    return None
