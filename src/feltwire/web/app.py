"""The service face: health, metrics and the API of a running engine or of a lake that lies there."""

from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse
from fastapi.routing import iter_route_contexts

from feltwire import __version__, metrics
from feltwire.errors import FeltwireError
from feltwire.web import api, openapi, problems
from feltwire.web.batcher import Batcher
from feltwire.web.context import Context, FollowerState, State
from feltwire.web.dashboard.app import mount
from feltwire.web.guard import Guard
from feltwire.web.limits import Limits

__all__ = ["FollowerState", "State", "create_app", "exposition", "lag", "why_not_ready"]


def create_app(state: State) -> FastAPI:
    """The application. With a token all but health and readiness ask for it."""
    app = FastAPI(
        title="Feltwire", version=__version__, docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False
    )
    app.state.context = Context(state, Batcher(state.model))
    app.add_middleware(Limits, max_body_bytes=state.max_body_bytes, rate=state.rate)
    app.add_middleware(Guard, tokens=state.tokens, open_paths=frozenset({"/healthz", "/readyz"}))
    problems.install(app)

    @app.get("/healthz", response_class=PlainTextResponse, include_in_schema=False)
    async def healthz() -> str:  # in the event loop: however busy the threads are, the process is alive
        """The process is alive."""
        return "ok\n"

    @app.get("/readyz", response_class=PlainTextResponse, include_in_schema=False)
    def readyz(request: Request) -> Response:
        """The lake can be read and is not far behind; otherwise 503 and, for who may know, the reason in one line."""
        reason = why_not_ready(state)
        if reason is not None and request.scope.get("state", {}).get("access") is None:
            reason = "not ready"
        return PlainTextResponse("ok\n") if reason is None else PlainTextResponse(f"{reason}\n", status_code=503)

    @app.get("/metrics", include_in_schema=False)
    def show_metrics() -> Response:
        """Prometheus text."""
        return Response(exposition(state), media_type=metrics.CONTENT_TYPE)

    app.include_router(api.router)
    openapi.install(app)
    problems.refuse(app)
    for _ in iter_route_contexts(app.routes):
        pass  # FastAPI builds a router's routes when they are first looked at: here, and not during a request
    app.state.context.closers.append(mount(app, state))  # the page takes what no route above does
    return app


def why_not_ready(state: State) -> str | None:
    """None, or one line: what is wrong."""
    reason = state.trouble()
    if reason is None and state.lake is not None:
        try:
            behind = lag(state)
        except FeltwireError as error:
            reason = str(error)
        else:
            if behind is not None and behind > state.ready_lag:
                reason = f"the lake is {behind} records behind the log; {state.ready_lag} are allowed"
    if reason is None and state.progress is not None:
        now = state.progress()
        reason = "the engine is starting" if now is None else now.waiting or None
    return None if reason is None else " ".join(reason.split())


def lag(state: State) -> int | None:
    """Records in the log that the lake does not hold; None where nobody here knows. Raises FeltwireError."""
    if state.lake is None:
        return None
    reached = state.lake().positions()["posts"]
    now = state.progress() if state.progress is not None else None
    if now is not None:
        return now.lag
    if state.log is None:
        return None
    return sum(max(0, end - reached.get(partition, 0)) for partition, end in state.log().ends().items())


def exposition(state: State) -> bytes:
    """The metrics; the ledger's figures are the lake's where one can be read."""
    try:
        behind = lag(state)
        ledger = state.lake().ledger().to_pylist() if state.lake is not None else None
    except FeltwireError:
        behind, ledger = None, None
    if behind is not None:
        metrics.LAG.labels(pipeline=state.pipeline).set(behind)
    return metrics.exposition(ledger)
