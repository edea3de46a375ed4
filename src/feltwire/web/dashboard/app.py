"""The page as an application of its own below the service's: made when it is first needed, since Dash takes a while."""

import asyncio
import base64
import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI, WebSocket
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from feltwire.web.dashboard.context import Context, State

ASSETS: Final = Path(__file__).parent / "assets"
WARM_S: Final = 0.5
"""The page is made so long after the service, so that the service's own start does not wait for it."""


def mount(app: FastAPI, state: State) -> Callable[[], None]:
    """Show the page at `/`: whatever no other route of the application takes. Returns at once, with what ends it."""
    page = _Later(Context(state))
    app.mount("/", page)
    timer = threading.Timer(WARM_S, page.make)
    timer.daemon = True
    timer.start()

    def close() -> None:
        timer.cancel()
        page.close()

    return close


class _Later:
    """An ASGI application that is made by the first who asks for it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._made: ASGIApp | None = None
        self._lock = threading.Lock()
        self._closers: list[Callable[[], None]] = []

    def make(self) -> ASGIApp:
        """The application; made once."""
        with self._lock:
            made = self._made or create_page(self._context, self._closers)
            self._made = made
            return made

    def close(self) -> None:
        """End what the application does by itself, if it was made; one that is in the making is left alone."""
        for close in list(self._closers):
            close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._made is None:
            await asyncio.get_running_loop().run_in_executor(None, self.make)
        await self.make()(scope, receive, send)


def create_page(context: Context, closers: list[Callable[[], None]]) -> ASGIApp:
    """The page's application: Dash for the frame, a socket for everything that changes. `closers` gets what ends it."""
    from dash import Dash

    from feltwire.web.dashboard import compare, explanation, health, layout, session
    from feltwire.web.dashboard.export import add_export
    from feltwire.web.dashboard.live import Shared, Watch

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    watch, shared = Watch(context), Shared(context.forget)

    @app.websocket("/_page/live")
    async def live(socket: WebSocket) -> None:
        await session.serve(socket, context, watch, shared)

    explanation.add_csv(app, context)
    add_export(app, context)
    compare.register()
    closers.append(health.register(context))
    dash = Dash(
        "feltwire",
        server=app,  # type: ignore[arg-type]  # its annotation knows Flask alone
        assets_folder=str(ASSETS),
        index_string=(Path(__file__).parent / "index.html").read_text(encoding="utf-8"),
        title="Feltwire",
        update_title="",
        serve_locally=True,
        compress=False,
        add_log_handler=False,
        enable_mcp=False,
        requests_pathname_prefix="/",
        routes_pathname_prefix="/",
    )
    dash.backend.websocket_capability = False  # the page has a socket of its own; Dash would open another for nothing
    dash.layout = layout.page()
    inline = [*dash.csp_hashes(), *_inline_hashes(dash.index_string)]
    return _Headers(app, _policy(inline))


def _inline_hashes(index: str) -> list[str]:
    """The hashes of the index's own inline scripts."""
    found = []
    for piece in index.split("<script>")[1:]:
        digest = hashlib.sha256(piece.partition("</script>")[0].encode()).digest()
        found.append(f"'sha256-{base64.b64encode(digest).decode()}'")
    return found


def _policy(inline: list[str]) -> str:
    """Content-Security-Policy: nothing but this server's own; styles may stand in the page (Plotly sets them)."""
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src 'self' {' '.join(inline)}",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "font-src 'self'",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )


class _Headers:
    """Adds what a browser has to know to keep what people wrote from doing anything."""

    def __init__(self, app: ASGIApp, policy: str) -> None:
        self._app = app
        self._policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = self._policy
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "no-referrer"
                if "/assets/" in path or "/_dash-component-suites/" in path:
                    headers["Cache-Control"] = (
                        "public, max-age=31536000, immutable" if _versioned(scope) else "no-cache"
                    )
                else:
                    headers["Cache-Control"] = "no-store"
            await send(message)

        await self._app(scope, receive, with_headers)


def _versioned(scope: Any) -> bool:
    """Whether the address itself names the file's version."""
    return b"m=" in scope["query_string"] or ".v" in scope["path"]
