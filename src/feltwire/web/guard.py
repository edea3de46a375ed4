"""Who may ask: with tokens, those who bring one of enough scope; without, only programs of this machine."""

import hashlib
import hmac
import ipaddress
import logging
from collections.abc import Set
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from feltwire.errors import ConfigError
from feltwire.web.problems import from_error, respond

LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
API: Final = "/api/v1/"

AccessScope: TypeAlias = Literal["read", "write", "admin"]
SCOPES: Final[tuple[AccessScope, ...]] = ("read", "write", "admin")
"""Each includes the ones before it."""

_ONLY_READS: Final = frozenset({"score", "explain"})  # by POST, since texts stand in the body
_ADMIN: Final = frozenset({"tracks"})  # what changes what is listened to
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """What clients bring as `Authorization: Bearer …`, by what it allows. None of all: nobody needs one."""

    read: str | None = None
    write: str | None = None
    admin: str | None = None

    @property
    def any(self) -> bool:
        """Whether a token is asked for."""
        return any((self.read, self.write, self.admin))

    def scope_of(self, headers: Headers) -> AccessScope | None:
        """What the token of a request allows; None: it brings none that is right. Takes as long however wrong."""
        scheme, _, given = headers.get("authorization", "").partition(" ")
        found: AccessScope | None = None
        for scope, token in zip(SCOPES, (self.read, self.write, self.admin), strict=True):
            if hmac.compare_digest(given.strip().encode(), (token or "").encode()) and token:
                found = scope
        return found if scheme.lower() == "bearer" else None


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

    The last two keep a page of somebody else's from reading along or changing anything. What the request may do stands
    in `scope["state"]["access"]`. An error that nobody foresaw is answered with 500 and logged by its type alone.
    """

    def __init__(self, app: ASGIApp, *, tokens: Tokens | None = None, open_paths: Set[str] = frozenset()) -> None:
        self._app = app
        self._tokens = tokens or Tokens()
        self._open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
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
        if not self._tokens.any:
            state["access"] = "admin"
            changes = method not in _SAFE or scope["type"] == "websocket"
            return _stranger(headers, changes=changes)
        access = self._tokens.scope_of(headers)
        state["access"] = access
        if access is not None:
            state["client"] = hashlib.sha256(headers["authorization"].encode()).hexdigest()
        if path in self._open_paths:
            return None
        if access is None:
            challenge = {"WWW-Authenticate": "Bearer"}
            return respond(401, "a token is needed: Authorization: Bearer …", challenge)
        wanted = needed(method, path)
        if not allows(access, wanted):
            return respond(403, f"this needs a token of the scope {wanted}; the one that came is of the scope {access}")
        return None


def _stranger(headers: Headers, *, changes: bool) -> Response | None:
    """What a page of somebody else's is answered with where no token is asked for."""
    if _host_name(headers.get("host", "")) not in LOOPBACK_NAMES:
        return respond(421, "this server answers to 127.0.0.1 and localhost only")
    if changes and _is_foreign(headers):
        return respond(403, "a page of another origin sends this: that needs a token")
    return None


def _is_foreign(headers: Headers) -> bool:
    """Whether a page of another origin sends a request: browsers say so, programs say nothing."""
    if headers.get("sec-fetch-site", "same-origin").lower() not in ("same-origin", "none"):
        return True
    origin = headers.get("origin")
    if origin is None:
        return False
    try:
        return urlsplit(origin).netloc.lower() != headers.get("host", "").lower()
    except ValueError:
        return True


def _host_name(host: str) -> str:
    """A Host header without its port: `[::1]:80` gives `::1`."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()
