"""What has just arrived in the lake, for any number of listeners: one poller, one serialisation, one bounded memory."""

import asyncio
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
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
from feltwire.errors import FeltwireError, RetryableError
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
MAX_CHUNKS: Final = 16
"""Chunks of different listeners that a step keeps, and the newest steps that keep any."""
FRESH: Final = 4
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
    _keeps: int = MAX_CHUNKS

    def forget(self) -> None:
        """Keep no chunks any more: nearly all listeners have passed. Who comes later has them made anew."""
        with self._making:
            self._keeps = 0
            self._chunks.clear()

    def chunk(self, wanted: Mask, after: Position) -> bytes:
        """The events of the wanted posts behind `after`, and of all withdrawals, and where a listener is then."""
        if not (self.posts.num_rows or self.withdrawn.num_rows) and self.start == self.end:
            return b""
        with self._making:
            whole = all(offset <= self.start.get(p, 0) for p, offset in after.items())
            if not whole:
                return self._rest(wanted, after)
            if wanted in self._chunks:
                return self._chunks[wanted]
            events = self._all_events()
            chosen = [events[row] for row in np.flatnonzero(wanted.mask(self.posts))]
            chunk = self._closed(chosen, self.end)
            if len(self._chunks) < self._keeps:
                self._chunks[wanted] = chunk
            return chunk

    def _rest(self, wanted: Mask, after: Position) -> bytes:
        """For a listener that has passed some of it: no event's id lies before where it is."""
        posts = self.posts.filter(pa.array(wanted.mask(self.posts) & _behind(self.posts, after)))
        place = _furthest(self.start, after)
        events = []
        for row in _shown(posts):
            place[row["log_partition"]] = row["log_offset"] + 1
            events.append(_event("post", row, position_id(place)))
        return self._closed(events, _furthest(self.end, place))

    def _closed(self, events: list[bytes], end: Position) -> bytes:
        withdrawn = [_event("withdrawn", row, None) for row in rows(self.withdrawn)]
        return b"".join([*events, *withdrawn, b"id: %s\n\n" % position_id(end).encode()])

    def sums(self, track: str | None) -> bytes:
        """The events of the window sums of one track, or of all."""
        return b"".join(event for name, event in self.windows if track in (None, name))

    def _all_events(self) -> list[bytes]:
        if self._events is None:
            place = dict(self.start)
            self._events = []
            for row in _shown(self.posts):
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
        self._closed = False
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

        Raises FeltwireError where the lake cannot be read, and where the server is stopping.
        """
        # Read before the lock is taken, for which event loops wait too.
        begin = self._lake().positions()["posts"] if self._thread is None else None
        with self._lock:
            if self._closed:
                raise RetryableError("the server is stopping")
            if self._thread is None:
                self._position = self._lake().positions()["posts"] if begin is None else begin
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
        with self._lock:
            self._closed = True
            self._stop.set()
        self._wake()

    def closed(self) -> bool:
        """Whether every stream ends."""
        return self._closed

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

    def changes(self, after: Position) -> Step:
        """What comes behind a position, read for one listener alone."""
        posts, withdrawn, end = self._lake().changes(after, MAX_POSTS)
        self._touch(posts)  # its sums come by the poller, like everybody's
        return Step(0, dict(after), {**after, **end}, posts, withdrawn)

    def _run(self, stop: threading.Event) -> None:
        seen: object = None
        looked_at = 0.0
        while not stop.wait(self._poll_s):
            try:
                lake = self._lake()
                now = _sign(lake)
                quiet = now is not None and now == seen and time.monotonic() - looked_at < LOOK_S
                if quiet and not self._owes_sums():
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
                if type(error).__name__ != self._told:
                    self._told = type(error).__name__
                    _log.error("the stream waits, since a %s was raised", self._told)

    def _advance(self, lake: Lake, stop: threading.Event) -> bool:
        """One step; whether there may be more at once."""
        self.polls += 1
        start = self._position
        posts, withdrawn, end = lake.changes(start, MAX_POSTS)
        end = {**start, **end}
        self._touch(posts)
        windows = self._sums(lake, end) if self._owes_sums() else ()
        with self._lock:
            # The last listener may have left and another one come, whose poller is another thread.
            if stop.is_set() or (end == start and not windows):
                return False
            self._number += 1
            self._steps.append(Step(self._number, start, end, posts, withdrawn, windows))
            self._position = end
            while len(self._steps) > 1 and sum(step.posts.num_rows for step in self._steps) > self._memory:
                self._steps.popleft()
            old = self._steps[-FRESH - 1] if len(self._steps) > FRESH else None
        if old is not None:
            old.forget()
        self._wake()
        return bool(posts.num_rows >= MAX_POSTS)

    def _touch(self, posts: pa.RecordBatch) -> None:
        """Note whose sums have changed, while anybody wants to know."""
        with self._lock:
            if not posts.num_rows or not any(self._listeners.values()):
                return
            minutes = pc.unique(pc.floor_temporal(posts["event_time"].drop_null(), unit="minute"))
            touched = self._touched.union(minutes.to_pylist())
            oldest = max(touched) - MAX_WINDOW_AGE if touched else None
            self._touched = {minute for minute in touched if oldest is not None and minute >= oldest}

    def _owes_sums(self) -> bool:
        with self._lock:
            return bool(self._touched) and any(self._listeners.values())

    def _sums(self, lake: Lake, end: Position) -> tuple[tuple[str, bytes], ...]:
        """The sums of the minutes that posts have touched, once `windows` holds those posts."""
        reached = lake.positions()["windows"]
        if any(reached.get(p, 0) < offset for p, offset in end.items()):
            return ()
        touched = self._touched
        until = max(touched) + timedelta(minutes=1)
        found = lake.windows(every="1min", since=min(touched), until=until)
        with self._lock:
            self._touched = self._touched - touched
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
        if self._hub.closed():
            return None
        steps = self._hub.ring(self.position, self._seen)
        if steps is None:
            # What it missed is gone, or it begins before: it reads the lake. What the memory has meanwhile that it
            # has passed already is skipped by its position.
            step = await asyncio.to_thread(self._hub.changes, self.position)
            steps = [] if step.end == step.start else [step]
        if not steps and not self._hub.closed():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), timeout_s)
            steps = self._hub.ring(self.position, self._seen) or []
        return None if self._hub.closed() else steps

    def passed(self, step: Step) -> None:
        """The step has been sent."""
        self.position = _furthest(self.position, step.end)
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


def _furthest(one: Position, other: Position) -> Position:
    return {p: max(one.get(p, 0), other.get(p, 0)) for p in (*one, *other)}


def _event(kind: str, row: object, place: str | None) -> bytes:
    head = b"" if place is None else b"id: %s\n" % place.encode()
    return b"%sevent: %s\ndata: %s\n\n" % (head, kind.encode(), msgspec.json.encode(row))


def _shown(posts: pa.RecordBatch) -> list[dict[str, Any]]:
    return rows(posts.drop_columns([name for name in _HIDDEN if name in posts.schema.names]))


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
