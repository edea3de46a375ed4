"""Who may ask: with a token, those who bring it; without one, only programs of this machine."""

import hmac
import ipaddress
from collections.abc import Set
from typing import Final

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from feltwire.errors import ConfigError

LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})


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


def has_token(headers: Headers, token: str) -> bool:
    """Whether a request brings the token as `Authorization: Bearer …`; takes as long however wrong it is."""
    scheme, _, given = headers.get("authorization", "").partition(" ")
    return hmac.compare_digest(given.strip().encode(), token.encode()) and scheme.lower() == "bearer"


class Guard:
    """ASGI middleware: 401 without the token; without a token set, 421 for any name but this machine's.

    The second keeps a page of somebody else's, whose name was made to point here, from reading along.
    """

    def __init__(self, app: ASGIApp, *, token: str | None = None, open_paths: Set[str] = frozenset()) -> None:
        self._app = app
        self._token = token
        self._open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or (refusal := self._refusal(scope)) is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await refusal(scope, receive, send)

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        headers = Headers(scope=scope)
        if self._token is None:
            if _host_name(headers.get("host", "")) in LOOPBACK_NAMES:
                return None
            return PlainTextResponse("this server answers to 127.0.0.1 and localhost only\n", status_code=421)
        if scope["path"] in self._open_paths or has_token(headers, self._token):
            return None
        challenge = {"WWW-Authenticate": "Bearer"}
        return PlainTextResponse("a token is needed: Authorization: Bearer …\n", status_code=401, headers=challenge)


def _host_name(host: str) -> str:
    """A Host header without its port: `[::1]:80` gives `::1`."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()
