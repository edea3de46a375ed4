"""`GET /api/v1/stream`: server-sent events of what arrives."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Final, Literal, cast

from fastapi import APIRouter, Header, Query
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from feltwire.errors import FeltwireError
from feltwire.interfaces import Position
from feltwire.web.api._filters import Filter, Labels
from feltwire.web.api._params import problems
from feltwire.web.context import Context, Here
from feltwire.web.hub import Hub, Listener, read_position
from feltwire.web.problems import Problem

router = APIRouter(tags=["stream"])

HEARTBEAT_S: Final = 10.0
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
    hub = _hub(here)
    wanted: set[str] = set(what or ("posts",))
    if hub.listeners >= here.state.max_streams:
        raise Problem(503, f"{hub.listeners} streams are open; no more are served", retry_after_s=10)
    position = _position(last_event_id or after)
    await run_in_threadpool(_check, here, position)
    try:
        listener = await run_in_threadpool(hub.listen, position, sums="windows" in wanted)
    except FeltwireError as error:
        raise Problem(503, str(error), retry_after_s=5) from error
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_events(listener, filters, wanted), media_type="text/event-stream", headers=headers)


async def _events(listener: Listener, filters: Filter, wanted: set[str]) -> AsyncIterator[bytes]:
    try:
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
    finally:
        listener.leave()


def _hub(here: Context) -> Hub:
    hub = here.extra.get("hub")
    if hub is None:
        hub = here.extra["hub"] = Hub(here.lake)
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
