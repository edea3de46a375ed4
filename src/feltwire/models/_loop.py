"""An event loop in a thread of its own, begun when it is first needed, for models that are called from any thread."""

import asyncio
import contextlib
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """Runs what it is given, from several threads. One that nobody closes ends when nobody has it any more."""

    def __init__(self, name: str) -> None:
        """`name` is that of the thread."""
        self._name = name
        self.at_end: list[Callable[[], None]] = []
        """What is called in the event loop as the last, also when nobody closed; none may hold on to this."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting = threading.Lock()

    def run(self, work: "Awaitable[T]") -> T:
        """Do something in the event loop, and wait for it."""

        async def do() -> T:
            return await work

        return asyncio.run_coroutine_threadsafe(do(), self._running()).result()

    def close(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do the last thing and end the thread, for good; nothing where it never ran."""
        with self._starting:
            loop, self._loop = self._loop, None
        if loop is not None:
            asyncio.run_coroutine_threadsafe(last(), loop).result()
            _stop(loop)

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                args = (self._loop, self.at_end)
                threading.Thread(target=_serve, args=args, name=self._name, daemon=True).start()
                # The thread and its connections end too when this is neither closed nor anybody's any more.
                weakref.finalize(self, _stop, self._loop).atexit = False
            return self._loop


def _stop(loop: asyncio.AbstractEventLoop) -> None:
    with contextlib.suppress(RuntimeError):  # it has ended already
        loop.call_soon_threadsafe(loop.stop)


def _serve(loop: asyncio.AbstractEventLoop, at_end: list[Callable[[], None]]) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        for end in at_end:
            end()
        loop.run_until_complete(asyncio.sleep(0))  # connections that were let go close their sockets in the next round
    finally:
        loop.close()
