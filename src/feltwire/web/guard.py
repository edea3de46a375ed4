"""Who may ask: with tokens, those who bring one of enough scope; without, only programs of this machine."""

import hashlib
import ipaddress
import logging
from collections.abc import Set
from typing import Final
from urllib.parse import urlencode

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from feltwire.errors import ConfigError
from feltwire.web.login import LOGIN, Login
from feltwire.web.problems import from_error, respond
from feltwire.web.tokens import SCOPES, AccessScope, Tokens, is_foreign

__all__ = ["SCOPES", "AccessScope", "Guard", "Tokens", "allows", "check_host", "is_loopback", "needed"]

LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
API: Final = "/api/v1/"

_ONLY_READS: Final = frozenset({"score", "explain"})  # by POST, since texts stand in the body
_ADMIN: Final = frozenset({"tracks"})  # what changes what is listened to
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})

_log: Final = logging.getLogger(__name__)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def check_host(host: str, token: str | None) -> None:
    """Raises ConfigError where others than this machine could ask without a token."""
    if token is None and not is_loopback(host):
        raise ConfigError(
            f"serve.host = {host!r}: without a token only 127.0.0.1 is allowed; set serve.token_file or "
            "FELTWIRE_SERVE__TOKEN"
        )


def needed(method: str, path: str) -> AccessScope:
    """The scope that a request needs."""
    resource = path.removeprefix(API).partition("/")[0]
    if method in _SAFE or not path.startswith(API) or resource in _ONLY_READS:
        return "read"
    return "admin" if resource in _ADMIN else "write"


def allows(has: AccessScope | None, wanted: AccessScope) -> bool:
    """Whether a scope is enough."""
    return has is not None and SCOPES.index(has) >= SCOPES.index(wanted)


class Guard:
    """ASGI middleware: 401 without a token, 403 with one of too little scope; without tokens set, 421 for any name but
    this machine's, and 403 for what a page of another origin sends.

    A browser signs in at `/login` (see `Login`); its session opens the page and what belongs to it, never the API.
    The last two keep a page of somebody else's from reading along or changing anything. What the request may do stands
    in `scope["state"]["access"]`. An error that nobody foresaw is answered with 500 and logged by its type alone.
    """

    def __init__(self, app: ASGIApp, *, tokens: Tokens | None = None, open_paths: Set[str] = frozenset()) -> None:
        self._app = app
        self._tokens = tokens or Tokens()
        self._open_paths = open_paths
        self._login = Login(self._tokens)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
        elif self._tokens.any and self._login.takes(scope):
            await self._login(scope, receive, send)
        elif (refusal := self._refusal(scope)) is None:
            await self._run(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await refusal(scope, receive, send)

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:  # the log shall not hold what was sent: errors may quote it
            if started or scope["type"] == "websocket":
                raise
            if from_error(error).status_code == 500:
                _log.error("a request of %s ended by %s", scope["path"], type(error).__name__)
            await from_error(error)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        method, path = scope.get("method", "GET"), scope["path"]
        state = scope.setdefault("state", {})
        changes = method not in _SAFE or scope["type"] == "websocket"
        if not self._tokens.any:
            state["access"] = "admin"
            return _stranger(headers, changes=changes)
        access = self._tokens.scope_of(headers)
        if access is not None:
            state["client"] = hashlib.sha256(headers["authorization"].encode()).hexdigest()
        elif _of_the_page(path) and not (changes and is_foreign(headers)):
            access = self._login.scope_of(headers)
        state["access"] = access
        if path in self._open_paths:
            return None
        if access is None:
            return _unknown(scope, headers)
        wanted = needed(method, path)
        if not allows(access, wanted):
            return respond(403, f"this needs a token of the scope {wanted}; the one that came is of the scope {access}")
        return None


def _unknown(scope: Scope, headers: Headers) -> Response:
    """What is answered to those who bring neither a token nor a session."""
    path: str = scope["path"]
    if scope.get("method") != "GET" or not _wants_a_page(headers, path):
        return respond(401, "a token is needed: Authorization: Bearer …", {"WWW-Authenticate": "Bearer"})
    query = scope.get("query_string", b"").decode("latin-1")
    asked = f"{path}?{query}" if query else path
    to = LOGIN if asked == "/" else f"{LOGIN}?{urlencode({'next': asked})}"
    return Response(status_code=303, headers={"Location": to, "Cache-Control": "no-store"})


def _of_the_page(path: str) -> bool:
    """Whether a session of a browser is enough: for the page, its assets and its socket."""
    return not path.startswith("/api/") and path not in ("/metrics", "/openapi.json")


def _wants_a_page(headers: Headers, path: str) -> bool:
    """Whether a person in a browser asks, who is shown where to sign in."""
    return _of_the_page(path) and not path.startswith("/_") and "text/html" in headers.get("accept", "")


def _stranger(headers: Headers, *, changes: bool) -> Response | None:
    """What a page of somebody else's is answered with where no token is asked for."""
    if _host_name(headers.get("host", "")) not in LOOPBACK_NAMES:
        return respond(421, "this server answers to 127.0.0.1 and localhost only")
    if changes and is_foreign(headers):
        return respond(403, "a page of another origin sends this: that needs a token")
    return None


def _host_name(host: str) -> str:
    """A Host header without its port: `[::1]:80` gives `::1`."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()
