"""The service face: `/healthz`, `/readyz` and `/metrics` of a running engine or of a lake that lies there."""

from collections.abc import Callable
from dataclasses import dataclass

from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse

from feltwire import metrics
from feltwire.errors import FeltwireError
from feltwire.interfaces import LogReader
from feltwire.lake import Lake
from feltwire.plan import Progress
from feltwire.web.guard import Guard, has_token


@dataclass(frozen=True, kw_only=True)
class State:
    """What the face shows. Everything is asked anew on each request, and may fail."""

    lake: Callable[[], Lake] | None = None  # None: this process only ingests
    log: Callable[[], LogReader] | None = None  # to tell the lag where no engine runs here
    progress: Callable[[], Progress | None] | None = None  # of the engine in this process; None: there is none
    trouble: Callable[[], str | None] = lambda: None  # why this process is of no use, in one line
    pipeline: str = "main"
    token: str | None = None
    ready_lag: int = 1_000_000
    """Records that the lake may be behind the log."""


def create_app(state: State) -> FastAPI:
    """The application. It says nothing of posts, and with a token all but health and readiness ask for it."""
    app = FastAPI(title="Feltwire", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard, token=state.token, open_paths=frozenset({"/healthz", "/readyz"}))

    @app.get("/healthz", response_class=PlainTextResponse)
    def healthz() -> str:
        """The process is alive."""
        return "ok\n"

    @app.get("/readyz", response_class=PlainTextResponse)
    def readyz(request: Request) -> Response:
        """The lake can be read and is not far behind; otherwise 503 and, for who may know, the reason in one line."""
        reason = why_not_ready(state)
        if reason is not None and state.token is not None and not has_token(request.headers, state.token):
            reason = "not ready"
        return PlainTextResponse("ok\n") if reason is None else PlainTextResponse(f"{reason}\n", status_code=503)

    @app.get("/metrics")
    def show_metrics() -> Response:
        """Prometheus text."""
        return Response(exposition(state), media_type=metrics.CONTENT_TYPE)

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
