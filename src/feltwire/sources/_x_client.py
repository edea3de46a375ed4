"""X's API by HTTP: one request, or one stream; every way to fail as one error that says how to go on.

The pauses are those of https://docs.x.com/x-api/fundamentals/handling-disconnections.
"""

import random
import re
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import httpx
import msgspec

from feltwire import __version__
from feltwire.errors import FatalError
from feltwire.sources._x_parse import problem_of

MAX_LINE_BYTES: Final = 2**22  # a post with all that comes along with it has some 20 KB

Kind = Literal["network", "http", "rate", "refused"]

_LATER: Final = frozenset({402, 408, 409, 425})  # credits used up; too slow; no rules yet; too early
_TOKEN_HINT: Final = frozenset({401, 403})
_MAX_PROBLEM_BYTES: Final = 65_536


@dataclass(frozen=True)
class Timing:
    """All waits of the source, in seconds: the documented ones, and our own margins."""

    silence_s: float = 20.0  # X sends at least an empty line every 20 seconds
    network_step_s: float = 0.25
    network_most_s: float = 16.0
    http_first_s: float = 5.0
    http_most_s: float = 320.0
    rate_first_s: float = 60.0
    rate_most_s: float = 960.0
    timeout_s: float = 20.0  # for a connection, and for an answer to begin
    overlap_s: float = 30.0  # so much of what we had before a break is asked for again
    settle_s: float = 30.0  # so long after a break its posts are surely found by a search
    archive_every_s: float = 1.0  # X takes one search of the archive a second


class XError(Exception):
    """A request failed, or a stream ended. The message names the reason in one line, without a post's text."""

    def __init__(self, message: str, kind: Kind, *, status: int = 0, reset_at: float | None = None) -> None:
        """`reset_at`: when X takes requests again, in seconds since 1970."""
        super().__init__(message)
        self.kind = kind
        self.status = status
        self.reset_at = reset_at


class Backoff:
    """How long to wait before the next attempt."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._network = self._http = self._rate = 0
        self.worked = False
        """Whether X has answered as it should since the start."""

    def succeeded(self) -> None:
        """X answered; the next failure is the first again."""
        self._network = self._http = self._rate = 0
        self.worked = True

    def after(self, error: XError, now: float | None = None) -> float:
        """Seconds to wait after a failure. `now`: seconds since 1970.

        Raises FatalError for a refusal by which nothing has worked yet: a person has to change something.
        """
        timing = self._timing
        match error.kind:
            case "network":  # a stream that worked and broke off is asked for again at once
                wait_s = min(self._network * timing.network_step_s, timing.network_most_s)
                self._network += 1
                return wait_s if self._network > 1 or self.worked else timing.network_step_s
            case "rate":
                wait_s = min(timing.rate_first_s * 2.0**self._rate, timing.rate_most_s)
                self._rate += 1
                if error.reset_at is None:
                    return wait_s
                left_s = error.reset_at - (time.time() if now is None else now)
                # A client's clock may be wrong: a reset that is past or far away is not believed.
                jitter_s = random.uniform(0.0, min(1.0, timing.rate_first_s))
                return left_s + jitter_s if 0 <= left_s <= 2 * timing.rate_most_s else wait_s
            case "refused" if not self.worked:
                raise FatalError(str(error)) from error
            case _:
                wait_s = min(timing.http_first_s * 2.0**self._http, timing.http_most_s)
                self._http += 1
                return wait_s


class Client:
    """Requests to X's API, in one event loop."""

    def __init__(self, base_url: str, token: str, token_env: str, timing: Timing) -> None:
        """`token_env` is what the token's place is called in messages."""
        self._token_env = token_env
        self._http = httpx.AsyncClient(
            base_url=base_url,
            headers={"Authorization": f"Bearer {token}", "User-Agent": f"feltwire/{__version__}"},
            timeout=httpx.Timeout(timing.timeout_s),
            follow_redirects=False,
        )
        self._streaming = httpx.Timeout(timing.timeout_s, read=None)  # whoever reads it minds the silence
        self._timeout_s = timing.timeout_s

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def get(self, path: str, params: Mapping[str, str]) -> bytes:
        """The body of an answer. Raises XError."""
        return await self._ask(self._http.build_request("GET", path, params=dict(params)))

    async def post(self, path: str, body: Any) -> bytes:
        """The body of an answer to a JSON object. Raises XError."""
        return await self._ask(self._http.build_request("POST", path, json=body))

    async def stream(self, path: str, params: Mapping[str, str]) -> "Stream":
        """A stream that has begun. Raises XError."""
        request = self._http.build_request("GET", path, params=dict(params), timeout=self._streaming)
        response = await self._send(request)
        if response.status_code != 200:
            raise await self._failure(response)
        return Stream(response)

    async def _ask(self, request: httpx.Request) -> bytes:
        response = await self._send(request)
        if response.status_code not in (200, 201):
            raise await self._failure(response)
        try:
            return await response.aread()
        except httpx.HTTPError as error:
            raise _network(error) from error
        finally:
            await response.aclose()

    async def _send(self, request: httpx.Request) -> httpx.Response:
        try:
            return await self._http.send(request, stream=True)
        except (httpx.HTTPError, OSError) as error:
            raise _network(error) from error

    async def _failure(self, response: httpx.Response) -> XError:
        """What an answer other than 200 means."""
        body = b""
        try:
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > _MAX_PROBLEM_BYTES:
                    break
        except httpx.HTTPError:
            pass  # the status says enough
        finally:
            await response.aclose()
        status = response.status_code
        told = _problem(body) or response.reason_phrase or "no reason given"
        message = f"X answers {status}: {told}"
        if status == 429:
            if "TooManyConnections" in told or "connection limit" in told:
                message += "; another program streams with these credentials: end it, or give it others"
            elif "UsageCap" in told:
                message += "; the plan's posts are used up"
            return XError(message, "rate", status=status, reset_at=_reset(response.headers))
        if status == 402:
            message += "; the credits are used up: buy more in X's developer console"
        elif status in _TOKEN_HINT:
            message += f"; the token comes from {self._token_env}"
        later = status >= 500 or status in _LATER
        return XError(message, "http" if later else "refused", status=status, reset_at=_reset(response.headers))


class Stream:
    """An open stream: lines as they come."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self._chunks: AsyncIterator[bytes] = response.aiter_bytes()
        self._rest = bytearray()
        self._skipping = False

    async def read(self) -> list[bytes | None]:
        """The lines that have come, without the empty ones, as soon as anything has come.

        An empty list is a keep-alive, None a line that was too long. Raises XError at the stream's end.
        """
        try:
            chunk = await anext(self._chunks)
        except StopAsyncIteration:
            raise XError("X ended the stream", "network") from None
        except (httpx.HTTPError, OSError) as error:
            raise _network(error) from error
        return self._split(chunk)

    async def close(self) -> None:
        """Hang up."""
        await self._response.aclose()

    def _split(self, chunk: bytes) -> list[bytes | None]:
        first, *others = chunk.split(b"\n")
        self._rest += first
        lines: list[bytes | None] = []
        for other in others:
            line = bytes(self._rest).strip()
            self._rest = bytearray(other)
            if self._skipping:
                self._skipping = False
            elif len(line) > MAX_LINE_BYTES:
                lines.append(None)
            elif line:
                lines.append(line)
        if len(self._rest) > MAX_LINE_BYTES:
            if not self._skipping:
                lines.append(None)
            self._skipping = True
            self._rest = bytearray()
        return lines


def _network(error: Exception) -> XError:
    said = re.sub(r"\s+", " ", str(error))[:200]
    return XError(f"no connection to X: {type(error).__name__}{': ' if said else ''}{said}", "network")


def _problem(body: bytes) -> str | None:
    try:
        message = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return None
    return problem_of(message) if isinstance(message, dict) else None


def _reset(headers: httpx.Headers) -> float | None:
    """When the rate limit is reset, in seconds since 1970."""
    value = headers.get("x-rate-limit-reset", "")
    remaining = headers.get("x-rate-limit-remaining", "0")
    if not (value.isascii() and value.isdecimal() and len(value) < 12) or remaining not in ("", "0"):
        return None  # a limit of another kind, as that of connections: its end is not this one
    return float(value)
