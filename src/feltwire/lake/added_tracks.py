"""Tracks that were added while a pipeline ran: a small file in the lake's folder, beside the tables.

The settings' own tracks stand in the settings; these come behind them. An engine looks between two batches, so that
a batch is matched by one set of tracks as a whole; posts that are stored already keep the tracks that they have.
"""

import fcntl
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa

from feltwire.errors import ConfigError, LakeError
from feltwire.lake.storage import Location
from feltwire.tracks import Track

FILE: Final = "tracks.json"
CHECK_S: Final = 1.0
"""At most so often an engine looks for a change."""
MAX_TRACKS: Final = 1_000

_log: Final = logging.getLogger(__name__)


class KnownTrackError(ConfigError):
    """There is a track of this name, or none."""


def read(location: Location) -> tuple[Track, ...]:
    """The added tracks, in the order in which they were added. Raises LakeError when the file cannot be read."""
    system, root = location.filesystem()
    try:
        with system.open_input_stream(f"{root}/{FILE}") as file:
            listed = json.loads(file.read())
        return tuple(Track(one["name"], one["query"]) for one in listed["tracks"])
    except FileNotFoundError:
        return ()
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError, ConfigError) as error:
        raise LakeError(f"the file {FILE} of the lake {location.path!r} cannot be read: {error}") from error


def add(location: Location, track: Track, configured: Sequence[Track] = ()) -> None:
    """Add a track. Raises KnownTrackError where one has this name, LakeError when it cannot be stored now."""
    with _locked(location):
        there = read(location)
        if track.name in {one.name for one in (*configured, *there)}:
            raise KnownTrackError(f"there is a track {track.name!r} already: remove it first, or choose another name")
        if len(there) >= MAX_TRACKS:
            raise ConfigError(f"there are {len(there)} added tracks; no more are taken: remove some")
        _write(location, (*there, track))


def remove(location: Location, name: str) -> None:
    """Remove an added track; its posts stay. Raises KnownTrackError where none has this name."""
    with _locked(location):
        there = read(location)
        left = tuple(one for one in there if one.name != name)
        if len(left) == len(there):
            raise KnownTrackError(f"no added track has the name {name!r}")
        _write(location, left)


def merged(configured: Sequence[Track], added: Sequence[Track]) -> tuple[Track, ...]:
    """The tracks to match: those of the settings, and the added ones that have other names."""
    names = {one.name for one in configured}
    return (*configured, *(one for one in added if one.name not in names))


@dataclass
class Followed:
    """The tracks of a pipeline, as they change. Asked between two batches."""

    location: Location
    configured: tuple[Track, ...]
    clock: Callable[[], float] = time.monotonic
    _added: tuple[Track, ...] = ()
    _checked_at: float = field(default=float("-inf"))

    def now(self) -> tuple[Track, ...]:
        """What to match; looked up at most every CHECK_S. While the file cannot be read, what it said last holds."""
        now = self.clock()
        if now - self._checked_at >= CHECK_S:
            self._checked_at = now
            try:
                added = read(self.location)
            except (LakeError, ConfigError) as error:
                _log.warning("%s", error)
            else:
                if added != self._added:
                    _log.info("the tracks have changed: %d are added to the settings' own", len(added))
                self._added = added
        return merged(self.configured, self._added)


def _write(location: Location, tracks: Sequence[Track]) -> None:
    text = json.dumps({"tracks": [{"name": one.name, "query": one.query} for one in tracks]}, indent=1).encode()
    system, root = location.filesystem()
    path = f"{root}/{FILE}"
    try:
        if location.remote:
            with system.open_output_stream(path) as file:
                file.write(text)
            return
        part = f"{path}.{os.getpid()}.part"
        with open(part, "wb") as local:
            local.write(text)
            local.flush()
            os.fsync(local.fileno())
        os.replace(part, path)
    except (OSError, pa.ArrowException) as error:
        raise LakeError(f"the file {FILE} of the lake {location.path!r} cannot be written: {error}") from error


@contextmanager
def _locked(location: Location) -> Iterator[None]:
    """One writer at a time, of a lake in a folder. On an object store the last one wins."""
    if location.remote:
        yield
        return
    try:
        handle = os.open(f"{location.filesystem()[1]}/.{FILE}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise LakeError(f"the lake {location.path!r} cannot be written: {error}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
