"""Errors as RFC 9457 has them: `application/problem+json`, one line of `detail`, nothing of what was sent."""

import http
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from feltwire.errors import ConfigError, FeltwireError, RetryableError

MEDIA_TYPE: Final = "application/problem+json"
MAX_DETAIL_CHARS: Final = 500

_METHODS: Final = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
_DETAILS: Final[dict[int, str]] = {
    404: "there is nothing at this address",
    405: "this address does not take this method",
    500: "something went wrong in the server; its log says what",
}


class Problem(HTTPException):
    """Raised to answer with a problem: its status, one clear line, and when to come again."""

    def __init__(self, status: int, detail: str, *, retry_after_s: int | None = None) -> None:
        headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
        super().__init__(status, detail, headers)


def respond(status: int, detail: str, headers: Mapping[str, str] | None = None, **more: Any) -> Response:
    """A problem as a response. `more` are further members, as JSON data."""
    title = http.HTTPStatus(status).phrase
    line = " ".join(detail.split())[:MAX_DETAIL_CHARS].encode("utf-8", "replace").decode()
    body = {"type": "about:blank", "title": title, "status": status, "detail": line, **more}
    return Response(msgspec.json.encode(body), status, dict(headers or {}), media_type=MEDIA_TYPE)


def from_error(error: Exception) -> Response:
    """What a request is answered with that ended in this error; only what Feltwire raises on purpose is told."""
    match error:
        case HTTPException():
            told = error.detail if isinstance(error, Problem) else _DETAILS.get(error.status_code, str(error.detail))
            return respond(error.status_code, told, error.headers)
        case RequestValidationError():
            return _invalid(error)
        case ConfigError():
            return respond(422, str(error))
        case RetryableError():
            return respond(503, str(error), {"Retry-After": "5"})
        case FeltwireError():
            return respond(500, str(error))
    return respond(500, _DETAILS[500])


def _invalid(error: RequestValidationError) -> Response:
    """Where it is wrong and what is allowed; never what came, which may be a post."""
    found = error.errors()
    if any(one.get("type") == "json_invalid" for one in found):
        return respond(400, "the body is no JSON")
    faults = [
        {"at": ".".join(_printable(str(part)) for part in one["loc"]), "message": _printable(str(one["msg"]))}
        for one in found[:10]
    ]
    first = faults[0] if faults else {"at": "request", "message": "is not valid"}
    return respond(422, f"{first['at']}: {first['message']}", errors=faults)


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text[:200])


def install(app: FastAPI) -> None:
    """Have an application answer with problems."""

    async def handle(request: Request, error: Exception) -> Response:
        response = from_error(error)
        if response.status_code == 405:
            response.headers["Allow"] = ", ".join(allowed(app.router.routes, request))
        return response

    for kind in (HTTPException, RequestValidationError, FeltwireError):
        app.add_exception_handler(kind, handle)


def refuse(app: FastAPI, prefix: str = "/api/") -> None:
    """Answer what no route so far takes but is theirs: paths below `prefix`, and other methods of their paths.

    What is mounted later gets the rest.
    """
    app.router.routes.append(_Refused(tuple(app.router.routes), prefix))


class _Refused(BaseRoute):
    def __init__(self, known: Sequence[BaseRoute], prefix: str) -> None:
        self.known, self._prefix = known, prefix

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http":
            return Match.NONE, {}
        if any(route.matches(scope)[0] is Match.PARTIAL for route in self.known):
            return Match.FULL, {"refused": 405}
        return (Match.FULL, {"refused": 404}) if scope["path"].startswith(self._prefix) else (Match.NONE, {})

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise HTTPException(scope["refused"])


def allowed(routes: Sequence[BaseRoute], request: Request) -> list[str]:
    """The methods that a path takes."""
    known = next((route.known for route in routes if isinstance(route, _Refused)), routes)
    return [
        method
        for method in _METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in known)
    ]
