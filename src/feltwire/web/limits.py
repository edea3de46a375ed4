"""How much one client may ask: the size of a body, and a token bucket for the rate."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from feltwire.web.problems import Problem, respond

MAX_CLIENTS: Final = 10_000
"""So many clients are remembered; the one that was silent longest is forgotten, and begins with a full bucket."""
BURST_S: Final = 2.0  # what a client may ask at once, as seconds of its rate


@dataclass
class Buckets:
    """A token bucket for each client: `rate` a second, `burst` at once. Used from one thread."""

    rate: float
    burst: float
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> float:
        """Take one token; 0.0, or the seconds until there is one."""
        now = self.clock()
        level, at = self._levels.pop(client, (self.burst, now))
        level = min(self.burst, level + (now - at) * self.rate)
        wait_s = 0.0 if level >= 1.0 else (1.0 - level) / self.rate
        self._levels[client] = (level if wait_s else level - 1.0, now)
        if len(self._levels) > MAX_CLIENTS:
            self._levels.popitem(last=False)
        return wait_s


class Limits:
    """ASGI middleware, below the guard: 429 beyond the rate, 413 beyond the size, 415 for a compressed body.

    A client is its token where it brings one, otherwise its address. Only paths below `prefix` are counted.
    """

    def __init__(self, app: ASGIApp, *, max_body_bytes: int, rate: float | None, prefix: str = "/api/") -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._buckets = None if rate is None else Buckets(rate, max(1.0, rate * BURST_S))
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(self._prefix):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        wait_s = self._buckets.take(_client(scope)) if self._buckets else 0.0
        if wait_s:
            detail = "too many requests: the limit is serve.rate"
            await respond(429, detail, {"Retry-After": str(int(wait_s) + 1)})(scope, receive, send)
        elif headers.get("content-encoding", "identity").lower() != "identity":
            await respond(415, "a compressed body is not taken: send it as it is")(scope, receive, send)
        elif scope["method"] == "POST" and not _is_json(scope["path"], headers):
            await respond(415, "expected a body with Content-Type: application/json")(scope, receive, send)
        elif _declared(headers) > self._max_body_bytes:
            await respond(413, self._too_large())(scope, receive, send)
        else:
            await self._app(scope, self._counted(receive), send)

    def _too_large(self) -> str:
        return f"a body of more than {self._max_body_bytes} bytes; the limit is serve.max_body_mb"

    def _counted(self, receive: Receive) -> Receive:
        size = 0

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._max_body_bytes:
                raise Problem(413, self._too_large())
            return message

        return counted


def _declared(headers: Headers) -> int:
    declared = headers.get("content-length", "")
    return int(declared) if declared.isdecimal() and len(declared) < 20 else 0


def _is_json(path: str, headers: Headers) -> bool:
    """Whether a body is said to be JSON. Of posts that are pushed it is not asked: see docs/push.md."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    return (
        path.endswith("/push") or kind == "application/json" or (kind[:12] == "application/" and kind[-5:] == "+json")
    )


def _client(scope: Scope) -> str:
    """Who asks: the digest of its token, or its address."""
    known = scope.get("state", {}).get("client")
    return str(known) if known else str((scope.get("client") or ("",))[0])
