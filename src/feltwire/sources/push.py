"""Posts that others send: an HTTP server that takes one post or many, and answers once they are durable."""

import asyncio
import hmac
import ipaddress
import logging
import re
import socket
import threading
import time
import uuid
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import accumulate
from typing import Any, Final

import pyarrow as pa
import uvicorn
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from feltwire import schema
from feltwire.errors import ConfigError, FatalError
from feltwire.interfaces import Cursor
from feltwire.sources._inbox import Declined, Inbox, Posted, offered, parse_body, settle
from feltwire.sources._names import parse_columns
from feltwire.sources._pace import HEARTBEAT_S
from feltwire.sources._rows import Rows

_HOST: Final = "127.0.0.1"
_PORT: Final = 8051
_START_S: Final = 10.0
_CONNECTIONS: Final = 512
_ADDRESS: Final = re.compile(r"(?:/{2})?(?:(?P<host>\[[0-9a-fA-F:.]+\]|[^:/\[\]]*)(?::(?P<port>\d{1,5}))?)?/?")
_KEY: Final = re.compile(r"[\x21-\x7e]{1,200}")

_log: Final = logging.getLogger(__name__)


class Options(BaseModel):
    """What can be said of a `push:` source."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)  # a token may look like one

    columns: str | dict[str, str] = Field(
        "", description="Which member of a JSON object fills which column, as in text=body,author_handle=user."
    )
    source: str = Field(
        "push",
        pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$",
        description="The column source and the first part of every id.",
    )
    token: SecretStr | None = Field(
        None, description="What clients must send as Authorization: Bearer TOKEN; needed on any host but loopback."
    )
    max_body_mb: float = Field(8.0, gt=0, le=256, description="A larger request is declined (413), in MB of 1,000,000.")
    max_waiting: int = Field(20_000, ge=1, description="So many posts may wait to be stored; more are declined (429).")
    answer_s: float = Field(
        30.0, gt=0, le=3_600, description="A request that is not durable after so long is answered with 503."
    )


class PushSource:
    """Listens while it is read. Its cursor counts the posts received; there is no place to go back to."""

    def __init__(self, host: str, port: int, options: Options) -> None:
        self.name = options.source
        self.address: tuple[str, int] | None = None  # where it listens, once it does
        self._host = host
        self._port = port
        self._options = options
        self._rows = Rows(options.source, live=True, columns=parse_columns(options.columns))

    def read(self, cursor: Cursor | None) -> Iterator[tuple[pa.RecordBatch, Cursor]]:
        """See `interfaces.Source`. A request is answered with 200 when the iterator is resumed behind its batch.

        Raises ConfigError when the address cannot be listened on.
        """
        received = cursor.get("received", 0) if cursor else 0
        reached = {"received": received if isinstance(received, int) else 0}
        inbox = Inbox(self._options.max_waiting, max(64_000_000, round(self._options.max_body_mb * 2e6)))
        server = _Server(_app(inbox, self._options), self._listen())
        pending: list[Posted] = []
        resources = ExitStack()
        try:
            server.start()
            resources.enter_context(offered(self._options.source, inbox))
            while True:
                pending = inbox.take(HEARTBEAT_S)
                if not pending:
                    server.check()
                    yield schema.empty(), reached
                    continue
                records, refused = self._records(pending)
                reached = {"received": reached["received"] + records.num_rows}
                if records.num_rows:
                    yield records, reached
                settle(list(zip(pending, refused, strict=True)))
                pending = []
        finally:
            resources.close()
            gone = Declined(503, "the posts were not stored: send them again", retry_after_s=5)
            settle([(posted, gone) for posted in (*pending, *inbox.close())])
            server.stop()
            self.address = None

    def _listen(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or an answer waits 40 ms for the client
        try:
            listener.bind((self._host, self._port))
            listener.listen(2_048)
        except OSError as error:
            listener.close()
            raise ConfigError(
                f"push: cannot listen on {self._host} port {self._port}: {error.strerror or error}; "
                "name a free address, as in push:127.0.0.1:8052"
            ) from error
        self.address = listener.getsockname()[:2]
        return listener

    def _records(self, requests: list[Posted]) -> tuple[pa.RecordBatch, list[dict[int, str]]]:
        """The posts of several requests as one batch, and for each request {index: reason} of the refused ones."""
        starts = [0, *accumulate(len(posted.objects) for posted in requests)]
        faults: dict[int, str] = {}
        for start, posted in zip(starts, requests, strict=False):
            faults.update({start + i: reason for i, reason in posted.faults.items()})

        def place(row: int) -> tuple[Posted, int]:
            number = bisect_right(starts, row) - 1
            return requests[number], row - starts[number]

        def key(row: int) -> str:
            posted, index = place(row)
            return f"{posted.key}\0{index}"

        def payload(row: int) -> bytes:
            posted, index = place(row)
            return posted.payload(index)

        objects = [value for posted in requests for value in posted.objects]
        records = self._rows.from_objects(objects, faults, key=key, payload=payload)
        reasons = records.column("refusal")
        refused: list[dict[int, str]] = [{} for _ in requests]
        if reasons.null_count < len(reasons):
            for row, reason in enumerate(reasons.to_pylist()):
                if reason is not None:
                    number = bisect_right(starts, row) - 1
                    refused[number][row - starts[number]] = reason
        return records, refused


def create(rest: str, options: Options) -> PushSource:
    """The source of `push:[HOST][:PORT]`, by default 127.0.0.1:8051; port 0 takes any free one."""
    match = _ADDRESS.fullmatch(rest)
    port = int(match["port"]) if match and match["port"] else _PORT
    if match is None or port > 65_535:
        raise ConfigError(f"push: {rest!r} is no address: expected push:HOST:PORT, as in push:127.0.0.1:8051")
    host = (match["host"] or _HOST).strip("[]")
    if not _is_loopback(host) and not (options.token and options.token.get_secret_value()):
        raise ConfigError(f"push: listening on {host} needs the option token; without one only loopback is allowed")
    return PushSource(host, port, options)


class _Server:
    """uvicorn in a thread of its own."""

    def __init__(self, app: Starlette, listener: socket.socket) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            limit_concurrency=_CONNECTIONS,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._listener = listener
        self._thread = threading.Thread(target=self._server.run, args=([listener],), name="push", daemon=True)

    def start(self) -> None:
        """Returns when it takes connections."""
        self._thread.start()
        end_s = time.monotonic() + _START_S
        while not self._server.started:
            self.check()
            if time.monotonic() > end_s:
                raise FatalError("push: its server did not start")
            time.sleep(0.005)

    def check(self) -> None:
        """Raises FatalError when it has ended by itself."""
        if not self._thread.is_alive():
            raise FatalError("push: its server ended unexpectedly")

    def stop(self) -> None:
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(5.0)
        self._listener.close()


def _app(inbox: Inbox, options: Options) -> Starlette:
    """The application: POST / or /push."""
    token = options.token.get_secret_value() if options.token else ""
    max_bytes = round(options.max_body_mb * 1e6)

    async def take(request: Request) -> Response:
        try:
            _admit(request, token)
            body = await _body(request, max_bytes)
            posted = parse_body(body, request.headers.get("content-type", ""), _request_key(request))
            posted.answer = asyncio.get_running_loop().create_future()
            inbox.put(posted)
            refused = await asyncio.wait_for(posted.answer, options.answer_s)
        except Declined as declined:
            return _problem(declined.status, declined.detail, declined.retry_after_s)
        except TimeoutError:
            return _problem(503, "not stored in time: send again with the same Idempotency-Key or ids", 5)
        except ClientDisconnect:
            return Response(status_code=400)
        listed = [{"index": index, "reason": reason} for index, reason in sorted(refused.items())]
        return JSONResponse({"received": len(posted.objects), "refused": listed})

    async def problem(_: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        detail = {404: "posts are sent to /", 405: "posts are sent with POST"}.get(status, "something went wrong")
        return _problem(status, detail)

    routes = [Route(path, take, methods=["POST"]) for path in ("/", "/push")]
    return Starlette(routes=routes, exception_handlers={HTTPException: problem})


def _admit(request: Request, token: str) -> None:
    """Raises Declined for a client that may not post here."""
    if token:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), token.encode()):
            raise Declined(401, "needs the header Authorization: Bearer TOKEN with the token of this source")
    elif "origin" in request.headers:
        raise Declined(403, "a web page sends this: that needs the option token")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Declined(415, "a compressed body is not taken: send it as it is")


async def _body(request: Request, max_bytes: int) -> bytes:
    """The whole body. Raises Declined as soon as it is too large."""
    too_large = Declined(413, f"a body of more than {max_bytes} bytes")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and len(declared) < 20 and int(declared) > max_bytes:
        raise too_large
    pieces: list[bytes] = []
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > max_bytes:
            raise too_large
        pieces.append(piece)
    return b"".join(pieces)


def _request_key(request: Request) -> str:
    """What a repeat of this request has too: its Idempotency-Key. Without one, no other request has it."""
    given = request.headers.get("idempotency-key")
    if given is None:
        return uuid.uuid4().hex
    if not _KEY.fullmatch(given):
        raise Declined(400, "Idempotency-Key: expected 1 to 200 letters, digits or signs of ASCII")
    return given


def _problem(status: int, detail: str, retry_after_s: int | None = None) -> Response:
    """RFC 9457."""
    content: dict[str, Any] = {"type": "about:blank", "status": status, "detail": detail}
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(content, status, headers, media_type="application/problem+json")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
