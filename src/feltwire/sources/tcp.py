"""Posts from a TCP server that sends lines: plain text, or JSON objects, decided line by line."""

import logging
import random
import select
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from feltwire import schema
from feltwire.errors import ConfigError
from feltwire.interfaces import Cursor
from feltwire.sources._lines import MAX_LINE_BYTES, Parsed, parse_mixed
from feltwire.sources._names import parse_columns
from feltwire.sources._pace import HEARTBEAT_S
from feltwire.sources._rows import Rows

_MAX_ROWS: Final = 5_000
_RECEIVE_BYTES: Final = 1 << 16
_GATHER_S: Final = 0.05  # after the first line of a batch, wait so long for more
_CONNECT_S: Final = 10.0
_FIRST_PAUSE_S: Final = 0.5
_BROKEN_OFF: Final = "the connection broke in the middle of a line"

_log: Final = logging.getLogger(__name__)


class Options(BaseModel):
    """What can be said of a `tcp:` source."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    columns: str | dict[str, str] = Field(
        "", description="Which member of a JSON object fills which column, as in text=body,author_handle=user."
    )
    source: str = Field(
        "tcp",
        pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$",
        description="The column source and the first part of every id.",
    )
    max_pause_s: float = Field(
        30.0, ge=0.1, le=3_600, description="The longest pause before connecting again; the first is 0.5 s."
    )


class TcpSource:
    """Connects, and connects again for ever. Its cursor counts the lines received, over all connections."""

    def __init__(self, host: str, port: int, options: Options) -> None:
        self.name = options.source
        self._host = host
        self._port = port
        self._options = options
        self._rows = Rows(options.source, live=True, columns=parse_columns(options.columns))

    def read(self, cursor: Cursor | None) -> Iterator[tuple[pa.RecordBatch, Cursor]]:
        """See `interfaces.Source`. What was sent while nobody was connected is lost: TCP has no positions."""
        received = cursor.get("received", 0) if cursor else 0
        reached = {"received": received if isinstance(received, int) else 0}
        pause_s = _FIRST_PAUSE_S
        while True:
            connection = None
            attempt = self._connect()
            for connection in attempt:
                if connection is None:
                    yield schema.empty(), reached
            if connection is not None:
                before = reached["received"]
                with connection:
                    for records, lines in self._received(connection, reached["received"]):
                        reached = {"received": reached["received"] + lines}
                        yield records, reached
                if reached["received"] > before:
                    pause_s = _FIRST_PAUSE_S
                _log.info("tcp: %s:%d closed the connection; connecting again", self._host, self._port)
            end_s = time.monotonic() + pause_s * random.uniform(0.7, 1.0)
            pause_s = min(pause_s * 2, self._options.max_pause_s)
            while (left_s := end_s - time.monotonic()) > 0:
                time.sleep(min(left_s, HEARTBEAT_S))
                yield schema.empty(), reached

    def _connect(self) -> Iterator[socket.socket | None]:
        """Ends with a connection, or without: then it failed. None while it is trying."""
        resolver = ThreadPoolExecutor(1)  # asking for an address cannot be given a time limit
        asked = resolver.submit(socket.getaddrinfo, self._host, self._port, type=socket.SOCK_STREAM)
        resolver.shutdown(wait=False)
        while not wait([asked], HEARTBEAT_S).done:
            yield None
        try:
            addresses = asked.result()
        except OSError as error:
            _log.warning("tcp: cannot resolve %s: %s", self._host, error)
            return
        for family, kind, protocol, _, address in addresses:
            opened = socket.socket(family, kind, protocol)
            done = False
            try:
                opened.setblocking(False)
                with suppress(BlockingIOError):
                    opened.connect(address)
                end_s = time.monotonic() + _CONNECT_S
                while time.monotonic() < end_s:
                    if select.select([], [opened], [], HEARTBEAT_S)[1]:
                        break
                    yield None
                error_code = opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if error_code == 0 and opened.getpeername():
                    _keep_alive(opened)
                    done = True
                    yield opened
                    return
                _log.warning("tcp: cannot connect to %s:%d: error %d", self._host, self._port, error_code)
            except OSError as error:
                _log.warning("tcp: cannot connect to %s:%d: %s", self._host, self._port, error)
            finally:
                if not done:
                    opened.close()

    def _received(self, connection: socket.socket, count: int) -> Iterator[tuple[pa.RecordBatch, int]]:
        """(records, lines that they are of) until the server closes the connection or it breaks."""
        buffer = _Buffer()
        spoke_s = time.monotonic()
        gathering_s: float | None = None
        while True:
            now_s = time.monotonic()
            wait_s = HEARTBEAT_S if gathering_s is None else max(gathering_s - now_s, 0.0)
            ended: str | None = None
            if select.select([connection], [], [], wait_s)[0]:
                ended = buffer.receive(connection)
            if buffer.lines and gathering_s is None:
                gathering_s = time.monotonic() + _GATHER_S
            due = gathering_s is not None and time.monotonic() >= gathering_s
            if ended is not None or due or len(buffer.lines) >= _MAX_ROWS:
                lines, broken = buffer.take(ended)
                gathering_s = None
                while lines:
                    batch, lines = lines[:_MAX_ROWS], lines[_MAX_ROWS:]
                    yield self._records(batch, count, broken=broken and not lines), len(batch)
                    count += len(batch)
                    spoke_s = time.monotonic()
            if ended is not None:
                return
            if time.monotonic() - spoke_s >= HEARTBEAT_S and not buffer.lines:
                yield schema.empty(), 0
                spoke_s = time.monotonic()

    def _records(self, lines: list[bytes], count: int, *, broken: bool) -> pa.RecordBatch:
        """Records of lines, of which `count` came before. `broken`: the last one is not whole."""
        parsed: Parsed = parse_mixed(lines)
        if broken and parsed.stops and parsed.stops[-1] == len(lines):
            parsed.faults[len(parsed.rows) - 1] = _BROKEN_OFF
        return self._rows.from_objects(
            parsed.rows,
            parsed.faults,
            key=lambda i: f"{self._host}:{self._port}\0{count + parsed.starts[i] + 1}",
            payload=lambda i: lines[parsed.starts[i]],
        )


class _Buffer:
    """Bytes as they come, as lines; of an absurdly long one only the beginning is kept."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self._partial = bytearray()

    def receive(self, connection: socket.socket) -> str | None:
        """Take what is there; "closed" or "broken" when the connection has ended."""
        try:
            piece = connection.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return None
        except OSError as error:
            _log.warning("tcp: the connection broke: %s", error)
            return "broken"
        if not piece:
            return "closed"
        first, newline, rest = piece.partition(b"\n")
        self._partial += first[: max(MAX_LINE_BYTES - len(self._partial), 0)]
        if newline:
            *whole, last = rest.split(b"\n")
            self.lines += [bytes(self._partial), *whole]
            self._partial = bytearray(last)
        return None

    def take(self, ended: str | None) -> tuple[list[bytes], bool]:
        """(the complete lines, whether the last of them is not complete)."""
        lines, self.lines = self.lines, []
        if ended is None or not self._partial:
            return lines, False
        lines.append(bytes(self._partial))
        self._partial = bytearray()
        return lines, ended == "broken"


def create(rest: str, options: Options) -> TcpSource:
    """The source of `tcp://HOST:PORT`."""
    try:
        parts = urlsplit(f"tcp:{rest}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or not port or parts.path not in ("", "/") or parts.username is not None:
        raise ConfigError(f"tcp: {rest!r} names no server: expected tcp://HOST:PORT, as in tcp://127.0.0.1:9999")
    return TcpSource(host, port, options)


def _keep_alive(connection: socket.socket) -> None:
    """Let the system notice within a minute that the other side has vanished without a word."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
