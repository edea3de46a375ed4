"""Files that only grow, and the position that they stand for, kept together through any kill.

Beside the files lies a state file with the position and, for every file, its length in bytes at that position.
A batch is written behind those lengths and made durable, then the state file is replaced at one instant. Whatever
a file has beyond its length was written by a batch that did not get so far: it is cut off, and the batch comes again.
"""

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator

from feltwire.errors import ConfigError, PositionError
from feltwire.followers._positions import from_json, to_json
from feltwire.followers._state import StateFile, sync_folder, told, write_all
from feltwire.interfaces import Position

_UNITS: Final = {"KB": 1_000, "MB": 1_000_000, "GB": 1_000_000_000}


def _rotation(value: object) -> object:
    if not isinstance(value, str) or value in ("never", "day"):
        return value
    number, unit = value[:-2], value[-2:].upper()
    if number.isascii() and number.isdigit() and int(number) > 0 and unit in _UNITS:
        return int(number) * _UNITS[unit]
    raise ValueError("allowed are never, day, or a size like 64MB (KB, MB, GB)")


Rotation = Annotated[Literal["never", "day"] | int, BeforeValidator(_rotation)]
"""When a new file begins: never, with each day of `ingested_at`, or once a file has so many bytes."""


class AppendedFiles:
    """`position()` and `append()`; everything that is known of the files is in `path` + `.position`."""

    def __init__(self, path: Path, *, kind: str, rotate: Literal["never", "day"] | int) -> None:
        self._path = path
        self._rotate = rotate
        self._state_file = StateFile(path.with_name(path.name + ".position"), kind=kind)
        self._state: dict[str, Any] | None = None  # None: not known, to be read from the state file

    def position(self) -> Position | None:
        """How far the files are; what an interrupted batch left behind is cut off."""
        position = self._loaded()["position"]
        return None if position is None else from_json(position)

    def note(self, key: str) -> Any:
        """What was noted under `key` in the state file; None if nothing was."""
        return self._loaded()["notes"].get(key)

    def names(self, days: Sequence[str], *, insert: str = "") -> list[str]:
        """For each row, by its day (YYYY-MM-DD), the name of the file that it belongs to.

        `insert` goes before the ending: `posts.csv` becomes `posts.withdrawn.csv`.
        """
        stem, ending = self._path.stem + insert, self._path.suffix
        if self._rotate == "never":
            return [f"{stem}{ending}"] * len(days)
        if self._rotate == "day":
            return [f"{stem}-{day}{ending}" for day in days]
        files = self._loaded()["files"]
        number = 1
        while files.get(f"{stem}-{number:06d}{ending}", 0) >= self._rotate:
            number += 1
        return [f"{stem}-{number:06d}{ending}"] * len(days)

    def starts(self, name: str) -> bool:
        """Whether the next byte of this file will be its first."""
        return not (self._loaded()["files"].get(name) and _size(self._path.with_name(name)))

    def append(self, contents: Mapping[str, bytes], position: Position, *, notes: Mapping[str, Any]) -> None:
        """Add to each file, and move to `position`: all of it or, seen from `position()`, none.

        Raises DestinationError, PositionError when a file is shorter than it was left, ConfigError when one
        exists that this follower never wrote.
        """
        state = self._loaded()
        self._state = None  # until all is done, only the state file is sure
        self._announce(state, contents)
        lengths = {}
        for name, content in contents.items():
            with told(self._path.with_name(name)):
                lengths[name] = self._write(name, state["files"][name], content)
        state = {
            "position": to_json(position),
            "files": {**state["files"], **lengths},
            "notes": {**state["notes"], **notes},
        }
        self._state_file.save(state)
        self._state = state

    def close(self) -> None:
        """Let go of the files; another follower may go on."""
        self._state = None
        self._state_file.close()

    def _loaded(self) -> dict[str, Any]:
        if self._state is None:
            state = self._state_file.load() or {"position": None, "files": {}, "notes": {}}
            for name, length in state["files"].items():
                path = self._path.with_name(name)
                with told(path):
                    if _size(path) > length:
                        os.truncate(path, length)
            self._state = state
        return self._state

    def _announce(self, state: dict[str, Any], contents: Mapping[str, bytes]) -> None:
        """Put new files into the state before they exist: a name that is not there is somebody else's file."""
        new = [name for name in contents if self._begins(state, name)]
        if new:
            state["files"].update(dict.fromkeys(new, 0))
            self._state_file.save(state)

    def _begins(self, state: dict[str, Any], name: str) -> bool:
        path = self._path.with_name(name)
        with told(path):
            size = _size(path)
        if name not in state["files"]:
            if size:
                raise ConfigError(
                    f"{path} exists and was not written by this follower: name another path, or move it away"
                )
            return True
        return not size and state["files"][name] > 0  # somebody took the file away: it begins anew

    def _write(self, name: str, length: int, content: bytes) -> int:
        path = self._path.with_name(name)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            size = os.fstat(handle).st_size
            if size < length:
                raise PositionError(
                    f"{path} has {size} bytes where {length} were written: restore it, or remove it and "
                    f"{self._state_file.path.name} to begin from nothing"
                )
            if size > length:
                os.ftruncate(handle, length)
            os.lseek(handle, length, os.SEEK_SET)
            try:
                write_all(handle, content)
                os.fsync(handle)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(handle, length)  # give a full disk its room back
                raise
        finally:
            os.close(handle)
        if not length:
            sync_folder(path.parent)
        return length + len(content)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
