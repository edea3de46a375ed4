"""`GET /api/v1/stream`: server-sent events of what arrives."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final, Literal, cast

from fastapi import APIRouter, Header, Query
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from feltwire.errors import FeltwireError
from feltwire.interfaces import Position
from feltwire.web.api._filters import Filter, Labels
from feltwire.web.api._params import problems
from feltwire.web.context import Context, Here
from feltwire.web.hub import Hub, Listener, read_position
from feltwire.web.problems import Problem

router = APIRouter(tags=["stream"])

HEARTBEAT_S: Final = 10.0
SEND_S: Final = 60.0
"""A client that takes nothing for so long is given up; it may come again with its last event's id."""

_log: Final = logging.getLogger(__name__)
_EVENTS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "Events `post`, `withdrawn` and `window`, each with JSON data, without end.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}

What = Literal["posts", "windows"]


@router.get(
    "/stream",
    response_class=StreamingResponse,
    responses={**problems(409), **_EVENTS},
    operation_id="stream",
)
async def stream(
    here: Here,
    filters: Labels,
    what: Annotated[list[What] | None, Query(max_length=2, description="Without it, posts.")] = None,
    after: Annotated[
        str | None, Query(max_length=4_000, description="Begin behind this event's id; without it, with what arrives.")
    ] = None,
    last_event_id: Annotated[
        str | None, Header(max_length=4_000, description="As `after`; what browsers send when they connect again.")
    ] = None,
) -> StreamingResponse:
    """Posts as they arrive, newest last, and the sums of the minutes that they change. Nothing is lost or repeated
    for a client that comes back with the id of the last event that it had."""
    wanted: set[str] = set(what or ("posts",))
    position = _position(last_event_id or after)
    await run_in_threadpool(_check, here, position)
    hub = _hub(here)
    if hub.listeners < here.state.max_streams:
        try:
            listener = await run_in_threadpool(hub.listen, position, sums="windows" in wanted)
        except FeltwireError as error:
            raise Problem(503, str(error), retry_after_s=5) from error
        if hub.listeners <= here.state.max_streams:  # others may have come meanwhile
            return _Events(listener, filters, wanted)
        listener.leave()
    raise Problem(503, f"{hub.listeners} streams are open; no more are served", retry_after_s=10)


class _Events(StreamingResponse):
    """A stream that gives its place back however it ends: also where it never began, or where nobody reads."""

    def __init__(self, listener: Listener, filters: Filter, wanted: set[str]) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(_events(listener, filters, wanted), media_type="text/event-stream", headers=headers)
        self._listener = listener

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            async with asyncio.timeout(SEND_S):
                await send(message)

        try:
            await super().__call__(scope, receive, sent)
        except* TimeoutError:
            _log.info("a stream is ended: its client reads nothing")
        finally:
            self._listener.leave()


async def _events(listener: Listener, filters: Filter, wanted: set[str]) -> AsyncIterator[bytes]:
    yield b"retry: 2000\n: welcome\n\n"
    while True:
        try:
            steps = await listener.next(HEARTBEAT_S)
        except FeltwireError:
            yield b": the lake cannot be read now\n\n"
            return
        if steps is None:
            return
        if not steps:
            yield b": still here\n\n"
        for step in steps:
            posts = await run_in_threadpool(step.chunk, filters, listener.position) if "posts" in wanted else b""
            chunk = posts + (step.sums(filters.track) if "windows" in wanted else b"")
            listener.passed(step)
            if chunk:
                yield chunk


def _hub(here: Context) -> Hub:
    hub = here.extra.get("hub")
    if hub is None:
        lake = here.state.lake
        if lake is None:
            raise Problem(409, "this process has no lake: it only ingests")
        hub = here.extra["hub"] = Hub(lake)
        here.closers.append(hub.close)
    return cast(Hub, hub)


def _position(text: str | None) -> Position | None:
    if not text:
        return None
    try:
        return read_position(text)
    except ValueError as error:
        raise Problem(422, "Last-Event-ID: expected the id of an event of this stream") from error


def _check(here: Context, position: Position | None) -> None:
    """Raises Problem for a position that the lake has not reached: it is of another lake."""
    reached = here.lake().positions()["posts"]
    if position is not None and any(offset > reached.get(p, 0) for p, offset in position.items()):
        raise Problem(422, "Last-Event-ID: the lake has not come so far; the id is of another lake")
