"""What has just arrived in the lake, for any number of listeners: one poller, one serialisation, one bounded memory."""

import asyncio
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feltwire import schema
from feltwire.errors import FeltwireError
from feltwire.followers._rows import rows
from feltwire.interfaces import Position
from feltwire.lake import Lake
from feltwire.lake.reader import one_batch

POLL_S: Final = 0.25
LOOK_S: Final = 2.0
"""However quiet the lake's folder is, it is asked again after so long."""
MAX_POSTS: Final = 2_000  # of one step
MEMORY: Final = 20_000
"""Posts that are remembered; who is further behind reads the lake by itself."""
MAX_WINDOW_AGE: Final = timedelta(hours=2)
"""Late posts touch old minutes; sums are told of minutes that are at most so much older than the newest touched."""

_HIDDEN: Final = ("raw", "day")
_log: Final = logging.getLogger(__name__)


class Mask(Protocol):
    """Which posts of a batch a listener wants; hashable, so that listeners who want the same share the work."""

    def mask(self, posts: pa.RecordBatch) -> npt.NDArray[np.bool_]: ...


@dataclass(eq=False)
class Step:
    """Some of what arrived between two positions, with the events that tell it."""

    number: int
    start: Position
    end: Position
    posts: pa.RecordBatch
    withdrawn: pa.RecordBatch
    windows: tuple[tuple[str, bytes], ...] = ()  # (track, event)
    _events: list[bytes] | None = None
    _chunks: dict[Any, bytes] = field(default_factory=dict)
    _making: threading.Lock = field(default_factory=threading.Lock)

    def chunk(self, wanted: Mask, after: Position) -> bytes:
        """The events of the wanted posts behind `after`, and of all withdrawals, and where a listener is then."""
        if not (self.posts.num_rows or self.withdrawn.num_rows) and self.start == self.end:
            return b""
        with self._making:
            whole = all(after.get(p, 0) <= offset for p, offset in self.start.items())
            if whole and wanted in self._chunks:
                return self._chunks[wanted]
            chosen = wanted.mask(self.posts)
            if not whole:
                chosen = chosen & _behind(self.posts, after)
            events = self._all_events()
            parts = [events[row] for row in np.flatnonzero(chosen)]
            parts += [_event("withdrawn", row, None) for row in rows(self.withdrawn)]
            chunk = b"".join([*parts, b"id: %s\n\n" % position_id(self.end).encode()])
            if whole:
                self._chunks[wanted] = chunk
            return chunk

    def sums(self, track: str | None) -> bytes:
        """The events of the window sums of one track, or of all."""
        return b"".join(event for name, event in self.windows if track in (None, name))

    def _all_events(self) -> list[bytes]:
        if self._events is None:
            shown = self.posts.drop_columns([name for name in _HIDDEN if name in self.posts.schema.names])
            place = dict(self.start)
            self._events = []
            for row in rows(shown):
                place[row["log_partition"]] = row["log_offset"] + 1
                self._events.append(_event("post", row, position_id(place)))
        return self._events


class Hub:
    """Polls a lake while anybody listens. `listen` from an event loop; `close` at the end."""

    def __init__(self, lake: Callable[[], Lake], *, poll_s: float = POLL_S, memory: int = MEMORY) -> None:
        self._lake = lake
        self._poll_s = poll_s
        self._memory = memory
        self.polls = 0
        """Times that the lake was read by the poller."""
        self._steps: deque[Step] = deque()
        self._lock = threading.Lock()
        self._listeners: dict[Listener, bool] = {}  # and whether it wants sums
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self.closed = False
        self._position: Position = {}
        self._number = 0
        self._touched: set[datetime] = set()
        self._told = ""

    @property
    def listeners(self) -> int:
        """How many listen."""
        return len(self._listeners)

    def listen(self, after: Position | None, *, sums: bool = False) -> "Listener":
        """A listener from a position on (None: from now). Reads the lake: call it off the event loop.

        Raises FeltwireError where the lake cannot be read.
        """
        with self._lock:
            if self._thread is None:
                self._position = self._lake().positions()["posts"]
                self._steps.clear()
                self._stop = threading.Event()
                self._thread = threading.Thread(target=self._run, args=(self._stop,), name="stream", daemon=True)
                self._thread.start()
            listener = Listener(self, dict(self._position if after is None else after), self._number)
            self._listeners[listener] = sums
        return listener

    def leave(self, listener: "Listener") -> None:
        """The listener goes; with the last one the polling ends."""
        with self._lock:
            self._listeners.pop(listener, None)
            if not self._listeners and self._thread is not None:
                self._stop.set()
                self._thread = None

    def close(self) -> None:
        """Every stream ends."""
        self.closed = True
        self._stop.set()
        self._wake()

    def ring(self, after: Position, number: int) -> list[Step] | None:
        """The steps behind a step, for who has reached `after`; None: they are not remembered that far back."""
        with self._lock:
            steps = [step for step in self._steps if step.number > number]
            if not steps:
                done = all(after.get(p, 0) >= offset for p, offset in self._position.items())
                return [] if done else None
            first = steps[0].start
            reached = all(after.get(p, 0) >= offset for p, offset in first.items())
            return steps if reached else None

    def number(self) -> int:
        """The number of the newest step."""
        return self._number

    def changes(self, after: Position) -> Step:
        """What comes behind a position, read for one listener alone."""
        posts, withdrawn, end = self._lake().changes(after, MAX_POSTS)
        return Step(0, dict(after), {**after, **end}, posts, withdrawn)

    def _run(self, stop: threading.Event) -> None:
        seen: object = None
        looked_at = 0.0
        while not stop.wait(self._poll_s):
            try:
                lake = self._lake()
                now = _sign(lake)
                if now is not None and now == seen and not self._touched and time.monotonic() - looked_at < LOOK_S:
                    continue
                seen, looked_at = now, time.monotonic()
                while self._advance(lake, stop):
                    pass
                self._told = ""
            except FeltwireError as error:
                if str(error) != self._told:
                    self._told = str(error)
                    _log.warning("the stream waits: %s", error)
            except Exception as error:  # noqa: BLE001 - whatever happens, the listeners are still there
                _log.error("the stream waits, since a %s was raised", type(error).__name__)

    def _advance(self, lake: Lake, stop: threading.Event) -> bool:
        """One step; whether there may be more at once."""
        self.polls += 1
        posts, withdrawn, end = lake.changes(self._position, MAX_POSTS)
        end = {**self._position, **end}
        sums = any(self._listeners.values())
        if posts.num_rows and sums:
            minutes = pc.unique(pc.floor_temporal(posts["event_time"], unit="minute"))
            self._touched |= {minute for minute in minutes.to_pylist() if minute is not None}
        windows = self._sums(lake, end) if sums and self._touched else ()
        if stop.is_set() or (end == self._position and not windows):
            return False
        with self._lock:
            self._number += 1
            self._steps.append(Step(self._number, self._position, end, posts, withdrawn, windows))
            self._position = end
            while len(self._steps) > 1 and sum(step.posts.num_rows for step in self._steps) > self._memory:
                self._steps.popleft()
        self._wake()
        return bool(posts.num_rows >= MAX_POSTS)

    def _sums(self, lake: Lake, end: Position) -> tuple[tuple[str, bytes], ...]:
        """The sums of the minutes that posts have touched, once `windows` holds those posts."""
        reached = lake.positions()["windows"]
        if any(reached.get(p, 0) < offset for p, offset in end.items()):
            return ()
        newest = max(self._touched)
        since = max(min(self._touched), newest - MAX_WINDOW_AGE)
        found = lake.windows(every="1min", since=since, until=newest + timedelta(minutes=1))
        touched, self._touched = self._touched, set()
        found = found.filter(pc.is_in(found["window"], pa.array(sorted(touched), schema.TIME)))
        if not found.num_rows:
            return ()
        return tuple((row["track"], _event("window", row, None)) for row in rows(one_batch([found], found.schema)))

    def _wake(self) -> None:
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            listener.wake()


class Listener:
    """One subscriber's place. Its methods belong to one event loop."""

    def __init__(self, hub: Hub, position: Position, number: int) -> None:
        self._hub = hub
        self.position = position
        self._seen = number
        self._catching_up = True  # until the ring is known to continue where it is
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news = asyncio.Event()

    def wake(self) -> None:
        """From any thread: there is something new."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._news.set)

    async def next(self, timeout_s: float) -> list[Step] | None:
        """What is new; [] when nothing came in time; None at the end. Raises FeltwireError."""
        self._loop = asyncio.get_running_loop()
        self._news.clear()
        steps = self._ready()
        if steps is None:
            step = await asyncio.to_thread(self._hub.changes, self.position)
            if step.end == step.start:  # the lake has no more: what comes next is the ring's
                self._catching_up = False
                return []
            return [step]
        if not steps and not self._hub.closed:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), timeout_s)
            steps = self._ready() or []
        return None if self._hub.closed else steps

    def _ready(self) -> list[Step] | None:
        """Steps out of the memory; None: the lake has to be read."""
        steps = self._hub.ring(self.position, self._seen)
        if steps is None and self._seen < self._hub.number():
            # What it missed is gone, or it begins before: it reads the lake, and what the memory has meanwhile
            # that it has passed already is skipped by its position.
            return None
        return steps

    def passed(self, step: Step) -> None:
        """The step has been sent."""
        self.position = {p: max(self.position.get(p, 0), offset) for p, offset in {**self.position, **step.end}.items()}
        if step.number:
            self._seen = step.number

    def leave(self) -> None:
        """It listens no longer."""
        self._hub.leave(self)


def position_id(position: Position) -> str:
    """A position as the id of an event: `0:123,1:45`."""
    return ",".join(f"{partition}:{offset}" for partition, offset in sorted(position.items()))


def read_position(text: str) -> Position:
    """What `position_id` wrote. Raises ValueError for anything else."""
    found: Position = {}
    for part in text.split(","):
        partition, colon, offset = part.partition(":")
        if not (colon and partition.isdecimal() and offset.isdecimal()) or len(part) > 40:
            raise ValueError("no position")
        found[int(partition)] = int(offset)
    if any(offset >= 2**63 or partition >= 2**31 for partition, offset in found.items()) or len(found) > 10_000:
        raise ValueError("no position")
    return found


def _event(kind: str, row: object, place: str | None) -> bytes:
    head = b"" if place is None else b"id: %s\n" % place.encode()
    return b"%sevent: %s\ndata: %s\n\n" % (head, kind.encode(), msgspec.json.encode(row))


def _behind(posts: pa.RecordBatch, after: Position) -> npt.NDArray[np.bool_]:
    partitions = posts["log_partition"].to_numpy()
    offsets = posts["log_offset"].to_numpy()
    least = np.array([after.get(int(p), 0) for p in partitions], np.int64)
    found: npt.NDArray[np.bool_] = offsets >= least
    return found


def _sign(lake: Lake) -> object:
    """Something that changes when a table does; None where that cannot be seen from outside."""
    if lake.location.remote:
        return None
    _, root = lake.location.filesystem()
    try:
        return tuple(os.stat(f"{root}/{table}/_delta_log").st_mtime_ns for table in ("posts", "withdrawn", "windows"))
    except OSError:
        return None


def joined(parts: Iterable[bytes]) -> bytes:
    """What is sent at once."""
    return b"".join(parts)
