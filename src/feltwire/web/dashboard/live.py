"""What keeps open pages up to date: one watcher of the lake, one answer for all who look at the same view.

Every open page holds a WebSocket. The watcher notices a commit (a version of a table, without reading it), and for
each view that somebody looks at, its regions are computed once and sent as the same text to all of them; a page is
sent only the regions that changed. While nothing arrives nothing is read and nothing is sent. Dash's own WebSocket
callbacks run, and serialise their answer, once a client; that is why they are not used here.
"""

import asyncio
import json
import logging
import os
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from feltwire.errors import FeltwireError
from feltwire.lake.tables import open_table
from feltwire.web.dashboard.context import Context, NotYetError

logger = logging.getLogger(__name__)

POLL_S: Final = 0.15
LOOK_S: Final = 5.0  # however quiet its folder is, a lake is asked again after so long
FAST_S: Final = 0.6  # numbers, chart and posts change at most so often: a post shall be seen within a second
SLOW_S: Final = 2.0  # lists
ROLL_S: Final = 60.0  # without any post the ranges still move on
REST: Final = 4.0
"""A region rests for so many times as long as it took to compute."""
_CACHED: Final = 256

T = TypeVar("T")


class Watch:
    """Notices commits. `fast` and `slow` grow when something is new, at most every FAST_S or SLOW_S."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._table: DeltaTable | None = None
        self._seen = -2
        self._signed: object = None
        self._asked_at = 0.0
        self.fast = 1
        self.slow = 1
        self.behind_s: float | None = None
        """Seconds between the arrival of the newest post and the moment at which it could be queried; without a post of
        today (UTC), how long today has lasted."""
        self.error: str | None = None
        self._fast_at = self._slow_at = self._rolled_at = time.monotonic()
        self._waiting: set[asyncio.Event] = set()
        self._task: asyncio.Task[None] | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="page-watch")

    def join(self, event: asyncio.Event) -> None:
        """Set the event whenever `fast` or `slow` grows."""
        self._waiting.add(event)
        if self._task is None or self._task.done():
            # Nobody has looked for a while: what is remembered may be old.
            self._context.forget()
            self.fast += 1
            self.slow = self.fast
            self._task = asyncio.create_task(self._run())

    def leave(self, event: asyncio.Event) -> None:
        """Set it no longer; without anybody who waits, the lake is not looked at."""
        self._waiting.discard(event)
        if not self._waiting and self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        fresh = False
        while True:
            found = await loop.run_in_executor(self._pool, self._look)
            now = time.monotonic()
            fresh = fresh or found or now - self._rolled_at >= ROLL_S
            told = False
            if fresh and now - self._fast_at >= FAST_S:
                self.fast += 1
                self._fast_at = self._rolled_at = now
                fresh, told = False, True
            if self.slow != self.fast and now - self._slow_at >= SLOW_S:
                self.slow, self._slow_at, told = self.fast, now, True
            if told:
                for event in self._waiting:
                    event.set()
            await asyncio.sleep(POLL_S)

    def _look(self) -> bool:
        """Whether the lake has a new version since the last look."""
        try:
            sign = self._sign()
            if sign is not None and sign == self._signed and time.monotonic() - self._asked_at < LOOK_S:
                return False
            self._signed, self._asked_at = sign, time.monotonic()
            if self._table is None:
                self._table = open_table(self._context.lake().location, "ledger")
            else:
                self._table.update_incremental()
            version = self._table.version()
        except (FeltwireError, DeltaError, OSError) as error:
            self._table, version = None, -1
            self.error = " ".join(str(error).split())
        else:
            self.error = None
        if version == self._seen:
            return False
        self._seen = version
        self._context.forget()
        if version >= 0:
            self._measure()
        return True

    def _sign(self) -> object:
        """Something that changes with every commit and costs next to nothing; None for a lake in an object store."""
        location = self._context.lake().location
        if location.remote:
            return None
        _, root = location.filesystem()
        return tuple(os.stat(f"{root}/{table}/_delta_log").st_mtime_ns for table in ("ledger", "withdrawn"))

    def _measure(self) -> None:
        midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        try:
            found = self._context.lake().sql(f"select max(ingested_at) at from posts where day >= '{midnight.date()}'")
        except (FeltwireError, OSError):
            return
        newest = found["at"][0].as_py() or midnight  # all that there is came before
        self.behind_s = max(0.0, (datetime.now(UTC) - newest).total_seconds())


@dataclass
class _Answer:
    """The latest answer of a region, how long that took, and from when on it may be computed anew."""

    parts: dict[str, str]
    took_s: float
    due: float


class Shared:
    """Answers by key, each computed once, in threads, however many ask for it at the same time."""

    def __init__(self, failed: Callable[[], None] = lambda: None) -> None:
        """`failed` is called after an error, before anything is asked anew."""
        self.failed = failed
        self._latest: OrderedDict[Any, _Answer] = OrderedDict()
        self._found: OrderedDict[Any, asyncio.Future[Any]] = OrderedDict()
        self._pool = ThreadPoolExecutor(
            1, thread_name_prefix="page"
        )  # a snapshot of the lake is asked by one at a time
        self._others = ThreadPoolExecutor(2, thread_name_prefix="page-action")

    async def get(self, key: Any, compute: Callable[[], T]) -> T:
        """The answer to a key; `compute` runs if nobody has asked for it yet. An error is kept for nobody."""
        future = self._found.get(key)
        if future is None:
            future = asyncio.ensure_future(asyncio.get_running_loop().run_in_executor(self._pool, compute))
            self._found[key] = future
            while len(self._found) > _CACHED:
                self._found.popitem(last=False)
        try:
            answer: T = await asyncio.shield(future)
        except Exception:
            if self._found.get(key) is future:
                del self._found[key]
            self.failed()
            raise
        return answer

    async def parts(self, region: "Region", version: int, salt: int) -> tuple[dict[str, str], float]:
        """(a region's parts, seconds until it may be newer): one that takes long is computed less often, so that a
        page never takes more than a share of what the machine has."""
        loop = asyncio.get_running_loop()
        place = (region.name, region.key)
        latest = self._latest.get(place)
        if latest is not None and not salt and loop.time() < latest.due and (*place, version, 0) not in self._found:
            return latest.parts, latest.due - loop.time()
        took_s = 0.0

        def timed() -> dict[str, str]:
            nonlocal took_s
            began = time.monotonic()
            found = region.compute()
            took_s = time.monotonic() - began
            return found

        parts = await self.get((*place, version, salt), timed)
        if took_s:
            self._latest[place] = _Answer(parts, took_s, loop.time() + REST * took_s)
            while len(self._latest) > _CACHED:
                self._latest.popitem(last=False)
        return parts, 0.0

    def took_s(self, region: "Region") -> float:
        """How long a region took the last time; 0.0 before the first."""
        latest = self._latest.get((region.name, region.key))
        return latest.took_s if latest is not None else 0.0

    async def run(self, work: Callable[[], T]) -> T:
        """Run something beside: it does not wait for the regions, and they not for it."""
        return await asyncio.get_running_loop().run_in_executor(self._others, work)


def encode(value: Any) -> str:
    """Components and data as the JSON that `assets/nodes.js` reads: an element is [tag, attributes, children]."""
    return json.dumps(value, default=_plain, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


_NAMES: Final = {"className": "class", "htmlFor": "for", "tabIndex": "tabindex", "dateTime": "datetime"}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    given: dict[str, Any] = value.to_plotly_json()
    props = dict(given["props"])
    children = props.pop("children", None)
    nodes = children if isinstance(children, list | tuple) else [] if children is None else [children]
    attributes = {_NAMES.get(name, name.lower() if name != "style" else name): one for name, one in props.items()}
    return [given["type"].lower(), attributes, [node for node in nodes if node is not None]]


@dataclass
class Sent:
    """What a page has been sent: only what differs is sent again."""

    parts: dict[str, int] = field(default_factory=dict)

    def message(self, parts: dict[str, str]) -> str | None:
        """The parts that are new to the page, as one message; None where all are known."""
        new = {name: text for name, text in parts.items() if self.parts.get(name) != hash(text)}
        if not new:
            return None
        self.parts.update({name: hash(text) for name, text in new.items()})
        inner = ",".join(f"{json.dumps(name)}:{text}" for name, text in new.items())
        return f'{{"parts":{{{inner}}}}}'


Compute = Callable[[], dict[str, str]]
Sender = Callable[[str], Awaitable[None]]


@dataclass(frozen=True)
class Region:
    """A part of a page that is computed by itself: it may fail alone, and has a pace of its own."""

    name: str
    key: Any
    """What it depends on beside the lake."""
    slow: bool
    compute: Compute
    failed: Callable[[Exception], dict[str, str]]


async def refresh(
    regions: list[Region],
    watch: Watch,
    shared: Shared,
    sent: Sent,
    send: Sender,
    *,
    force: frozenset[str] = frozenset(),
) -> float:
    """Bring a page up to date, each region as soon as it is there: at first in their order, later the quickest first,
    so that a post does not wait for a chart.

    Returns the seconds after which a region that rests now may have something new; 0.0 where none does.
    """

    async def one(region: Region) -> float:
        version = watch.slow if region.slow else watch.fast
        salt = time.monotonic_ns() if region.name in force else 0
        again_s = 0.0
        try:
            parts, again_s = await shared.parts(region, version, salt)
        except asyncio.CancelledError:
            raise
        except NotYetError:
            parts = {"posts": "0"}  # the shapes stay
        except FeltwireError as error:
            parts = region.failed(error)
        except Exception as error:
            logger.exception("the region %s of the page failed", region.name)
            parts = region.failed(error)
        text = sent.message(parts)
        if text is not None:
            await send(text)
        return again_s

    quickest = sorted(regions, key=shared.took_s)
    return max(await asyncio.gather(*(one(region) for region in quickest)), default=0.0)
