"""What the modes of the X source share: an event loop that turns only while the source is read, and the purse.

The loop has no thread of its own. While nobody resumes the source nothing is read, so that what X sends waits in the
connection; between two heartbeats it waits for whatever is under way.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Final, TypeAlias, TypeVar

import pyarrow as pa

from feltwire import metrics
from feltwire.errors import FatalError
from feltwire.interfaces import Cursor
from feltwire.sources._x_client import Backoff, Client, Timing, XError
from feltwire.sources._x_parse import NAME
from feltwire.sources._x_spend import Spend
from feltwire.spend import SpentError

Yielded: TypeAlias = tuple[pa.RecordBatch, Cursor]
Idle: TypeAlias = Callable[[], Yielded]
"""Makes a heartbeat."""

HEARTBEAT_S: Final = 0.5

_END_S: Final = 1.0

T = TypeVar("T")

_log = logging.getLogger("feltwire.sources.x")


class Pace:
    """Keeps calls apart, whichever session makes them. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next_at = float("-inf")

    def book(self, every_s: float) -> float:
        """Seconds to wait before the next call; the one after it comes `every_s` later."""
        with self._lock:
            at = max(time.monotonic(), self._next_at)
            self._next_at = at + every_s
            return at - time.monotonic()


class Session:
    """One reading of the source. Close it."""

    def __init__(self, client: Callable[[], Client], spend: Spend, timing: Timing, pace: Pace | None = None) -> None:
        self.loop = asyncio.new_event_loop()
        self.client = client()
        self.spend = spend
        self.timing = timing
        self._pace = pace or Pace()

    def close(self) -> None:
        """End what is under way, and the loop."""
        with contextlib.suppress(OSError, XError):
            self.loop.run_until_complete(self._end())
        self.loop.close()

    async def _end(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.client.close()
        await asyncio.get_running_loop().shutdown_asyncgens()
        await asyncio.get_running_loop().shutdown_default_executor()  # a look-up of a name may be under way

    def start(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Begin something that goes on whenever the loop turns."""
        return self.loop.create_task(work)

    def turn(self, *tasks: "asyncio.Task[Any]", seconds: float) -> None:
        """Let the loop turn until one of the tasks is done, so long at most."""
        self.loop.run_until_complete(
            asyncio.wait(tasks, timeout=max(0.0, seconds), return_when=asyncio.FIRST_COMPLETED)
        )

    def end(self, task: "asyncio.Task[Any]", *then: Coroutine[Any, Any, None]) -> None:
        """Cancel a task, and do what is to be done after it, within a short time."""

        async def do() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            for work in then:
                with contextlib.suppress(Exception):  # it is given up anyway
                    await asyncio.wait_for(work, _END_S)

        self.loop.run_until_complete(do())

    def until_done(self, work: Coroutine[Any, Any, T], idle: Idle) -> Generator[Yielded, None, T]:
        """Do something, with heartbeats meanwhile. Raises what it raises."""
        task = self.start(work)
        try:
            while True:
                self.turn(task, seconds=HEARTBEAT_S)
                if task.done():
                    return task.result()
                yield idle()
        finally:
            if not task.done():
                task.cancel()

    def pause(self, seconds: float, idle: Idle) -> Generator[Yielded, None, None]:
        """Wait, with heartbeats."""
        end = time.monotonic() + seconds
        while (left_s := end - time.monotonic()) > 0:
            time.sleep(min(left_s, HEARTBEAT_S))
            yield idle()

    def answer(
        self, ask: Callable[[], Coroutine[Any, Any, bytes]], backoff: Backoff, idle: Idle
    ) -> Generator[Yielded, None, bytes]:
        """The answer to a request, however often it has to be made. Raises FatalError where that cannot help."""
        while True:
            try:
                body = yield from self.until_done(ask(), idle)
            except XError as error:
                yield from self.wait_after(error, backoff, idle)
            else:
                backoff.succeeded()
                return body

    def wait_after(self, error: XError, backoff: Backoff, idle: Idle) -> Generator[Yielded, None, None]:
        """Wait as X asks for after such a failure. Raises FatalError where trying again cannot help."""
        wait_s = backoff.after(error)
        metrics.SOURCE_RECONNECTS.labels(source=NAME).inc()
        _log.warning("%s; trying again in %.1f s", error, wait_s)
        yield from self.pause(wait_s, idle)

    def wait_for_money(self, error: SpentError, idle: Idle) -> Generator[Yielded, None, None]:
        """Wait until more may be spent. Raises FatalError where the limit is for good."""
        if self.spend.for_good:
            raise FatalError(f"source {NAME!r}: {error}") from error
        _log.warning("%s", error)
        yield from self.pause(error.wait_s, idle)

    def keep_pace(self, every_s: float, idle: Idle) -> Generator[Yielded, None, None]:
        """Wait until the last call of this is so long ago."""
        yield from self.pause(self._pace.book(every_s), idle)
