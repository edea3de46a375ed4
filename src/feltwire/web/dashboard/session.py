"""One open page: what it asks for over its socket, and what it is sent."""

import asyncio
import json
import logging
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from typing import Any, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from starlette.websockets import WebSocket, WebSocketDisconnect

from feltwire.errors import FeltwireError
from feltwire.web.dashboard import actions
from feltwire.web.dashboard.context import Context
from feltwire.web.dashboard.live import FAST_S, Sent, Shared, Watch, encode, refresh
from feltwire.web.dashboard.pages import frame, regions_of
from feltwire.web.dashboard.view import View, parse
from feltwire.web.guard import AccessScope

logger = logging.getLogger(__name__)

BEAT_S: Final = 5.0
MAX_MESSAGE_CHARS: Final = 20_000


@dataclass
class Session:
    """What a page looks at now."""

    view: View = field(default_factory=View)
    query: str = ""
    """The view as the page wrote it."""
    zone: tzinfo = UTC
    paused: bool = False
    sent: Sent = field(default_factory=Sent)
    again: set[str] = field(default_factory=set)
    asked: bool = False
    access: AccessScope | None = "admin"
    """What who opened the page may do; without tokens, everything."""


async def serve(socket: WebSocket, context: Context, watch: Watch, shared: Shared) -> None:
    """Answer one page until it leaves. A page of another origin is refused: it could read along otherwise."""
    origin = socket.headers.get("origin")
    if origin is None or urlsplit(origin).netloc != socket.headers.get("host"):
        await socket.close(code=4403)
        return
    await socket.accept()
    session, wake = Session(), asyncio.Event()
    if context.state.tokens.any:
        session.access = socket.scope.get("state", {}).get("access")
    watch.join(wake)
    lock = asyncio.Lock()

    async def send(text: str) -> None:
        async with lock:
            await socket.send_text(text)

    if context.state.tokens.any:
        await send('{"parts":{"login":true}}')
    pusher = asyncio.create_task(_push(session, wake, context, watch, shared, send))
    beater = asyncio.create_task(_beat(watch, send))
    try:
        while True:
            message = json.loads((await socket.receive_text())[:MAX_MESSAGE_CHARS])
            await _take(message, session, wake, context, shared, send)
    except (WebSocketDisconnect, RuntimeError, ValueError):
        pass
    finally:
        watch.leave(wake)
        for task in (pusher, beater):
            task.cancel()
        await asyncio.gather(pusher, beater, return_exceptions=True)


async def _take(  # noqa: PLR0917
    message: Any, session: Session, wake: asyncio.Event, context: Context, shared: Shared, send: Any
) -> None:
    match message:
        case {"see": str(query), "zone": str(zone)}:
            session.view, session.query, session.zone, session.asked = parse(query), query, _zone(zone), True
            wake.set()
        case {"pause": bool(paused)}:
            session.paused = paused
            wake.set()
        case {"again": str(region)}:
            session.again.add(region)
            wake.set()
        case {"do": str(name), **rest}:
            more: dict[str, Any] = {str(key): value for key, value in rest.items()}
            try:
                actions.check(name, session.access)
                answer = await shared.run(lambda: actions.run(name, more, context))
            except FeltwireError as error:
                answer = {"error": " ".join(str(error).split())}
            except Exception:
                logger.exception("the page's action %s failed", name)
                answer = {"error": "This failed; the server's log says why."}
            await send(encode({"done": name, "for": more.get("for"), **answer}))


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return UTC


async def _push(  # noqa: PLR0917
    session: Session, wake: asyncio.Event, context: Context, watch: Watch, shared: Shared, send: Any
) -> None:
    """Bring the page up to date whenever something is new, and rest at least as long as that took."""
    seen: View | None = None
    loop = asyncio.get_running_loop()
    while True:
        await wake.wait()
        wake.clear()
        looked = session.view is not seen
        changed = looked or bool(session.again)
        if not session.asked or (session.paused and not changed):
            continue
        seen, query, force = session.view, session.query, frozenset(session.again)
        session.again.clear()
        began = loop.time()
        frame_text = session.sent.message(frame(session.view))
        if frame_text is not None:
            await send(frame_text)
        regions = regions_of(context, session.view, session.zone)
        again_s = await refresh(regions, watch, shared, session.sent, send, force=force)
        if looked:  # that was all of what was asked for
            await send(encode({"parts": {"seen": query}}))
        if again_s:
            loop.call_later(again_s, wake.set)
        took = loop.time() - began
        try:
            async with asyncio.timeout(max(took, FAST_S - took) if not changed else 0.05):
                while session.view is seen and not session.again:
                    await asyncio.sleep(0.05)
        except TimeoutError:
            pass


async def _beat(watch: Watch, send: Any) -> None:
    """Say that the line is open, how far behind the page is, and whether the lake answers."""
    while True:
        await send(encode({"beat": {"behind": watch.behind_s, "error": watch.error}}))
        await asyncio.sleep(BEAT_S)
