"""A small Jetstream server on loopback, speaking both wires as production does, and misbehaving on request.

Events are published once and served to any number of clients from any cursor. v1: `/subscribe`; v2:
`/xrpc/network.bsky.jetstream.subscribeEvents` and `…getZstdDictionary`. Rules of cursors, filters, notices, errors
and compression follow the documentation of bluesky-social/jetstream (docs/README.md, section 5).
"""

import contextlib
import json
import random
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

import zstandard
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve
from websockets.typing import Subprotocol

POSTS = "app.bsky.feed.post"
NSID = "network.bsky.jetstream.subscribeEvents"
V2_PATH = f"/xrpc/{NSID}"
FIRST_TIME_CURSOR = 10**15

TID_DIGITS = "234567abcdefghijklmnopqrstuvwxyz"


def tid(time_us: int, clock: int = 0) -> str:
    """A timestamp identifier: 53 bits of microseconds and 10 bits of a clock's number, base32-sortable."""
    number = time_us << 10 | clock
    return "".join(TID_DIGITS[number >> shift & 31] for shift in range(60, -1, -5))


@dataclass(frozen=True)
class Event:
    """One event as the network has it; each server sees it at a time and under a number of its own."""

    time_us: int
    did: str
    kind: str
    content: dict[str, Any] = field(default_factory=dict)


def commit(time_us: int, did: str, operation: str, rkey: str, record: dict[str, Any] | None = None) -> Event:
    content: dict[str, Any] = {"rev": tid(time_us), "operation": operation, "collection": POSTS, "rkey": rkey}
    if record is not None:
        content |= {"record": record, "cid": "bafyreib"}
    return Event(time_us, did, "commit", content)


def post(time_us: int, number: int, text: str | None = None) -> Event:
    """The creation of a post; `number` makes its author and its key."""
    record = {
        "$type": POSTS,
        "createdAt": datetime.fromtimestamp(time_us / 1e6, UTC).isoformat().replace("+00:00", "Z"),
        "langs": ["en"],
        "text": f"post {number}" if text is None else text,
    }
    return commit(time_us, f"did:plc:author{number % 7}", "create", f"k{number}", record)


def post_id(number: int) -> str:
    return f"bluesky:did:plc:author{number % 7}/k{number}"


def account(time_us: int, did: str, *, active: bool, status: str | None = None) -> Event:
    content: dict[str, Any] = {"active": active, "did": did, "seq": 1, "time": "2026-07-04T14:38:07.877Z"}
    return Event(time_us, did, "account", content | ({"status": status} if status else {}))


def v1_frame(event: Event, time_us: int) -> bytes:
    body: dict[str, Any] = {"did": event.did, "time_us": time_us, "kind": event.kind, event.kind: event.content}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def v2_frame(event: Event, time_us: int, seq: int) -> bytes:
    at = datetime.fromtimestamp(time_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{time_us % 1_000_000:06}Z"
    body: dict[str, Any] = {
        "$type": f"{NSID}#{event.kind}",
        "seq": seq,
        "did": event.did,
        "time": at,
        "witnessedAt": at,
    }
    body |= event.content if event.kind == "commit" else {event.kind: event.content}
    return json.dumps({"$type": "message", "payload": body}, ensure_ascii=False, separators=(",", ":")).encode()


def v2_info(name: str, message: str) -> bytes:
    payload = {"$type": f"{NSID}#info", "name": name, "message": message}
    return json.dumps({"$type": "message", "payload": payload}).encode()


@dataclass
class Faults:
    """How the server misbehaves. May be changed while it runs."""

    drop_after: int | None = None  # hang up, without a goodbye, after so many frames
    drop_after_s: float | None = None
    silent_after: int | None = None  # say nothing any more, on this connection, after so many frames
    silent_connections: int = 0  # say nothing at all on the next so many connections
    reorder: int = 1  # send the frames of each window of this length in random order
    repeat: float = 0.0  # the share of frames that is sent twice
    garbage: float = 0.0  # how many broken frames come for each good one
    refuse: int | None = None  # answer every handshake with this HTTP status
    error: str | None = None  # end the next v2 connection with this error frame
    seed: int = 0


GARBAGE = (
    b"",
    b"{",
    b"\xff\xfe\x00",
    b"[]",
    b"null",
    b'{"did":1}',
    b'{"$type":"message"}',
    b'{"did":"did:plc:a","time_us":9000000000000000,"kind":"commit"}',
    b'{"a":' * 5000,
)


class JetstreamServer:
    """`with JetstreamServer() as server: server.publish(event); … server.url`."""

    def __init__(
        self,
        *,
        wires: tuple[str, ...] = ("v1", "v2"),
        zstd: bytes | None = None,
        v1_zstd: bytes | None = None,
        skew_us: int = 0,
        first_seq: int = 1,
        faults: Faults | None = None,
    ) -> None:
        self.wires = wires
        self.faults = faults or Faults()
        self.skew_us = skew_us
        self.first_seq = first_seq
        self.floor = 0  # the index of the oldest event that is still kept
        self.requests: list[str] = []
        self.connections = 0
        self.compressed = 0
        self.deflated = 0
        self._dictionary = zstd
        self._dictionaries = {"v1": v1_zstd, "v2": zstd}
        self._events: list[Event] = []
        self._news = threading.Condition()
        self._stopped = False
        self._random = random.Random(self.faults.seed)

    def __enter__(self) -> "JetstreamServer":
        self._server: Server = serve(
            self._serve,
            "127.0.0.1",
            0,
            process_request=self._answer,
            subprotocols=[Subprotocol("xrpc.v1.json")],
            select_subprotocol=lambda _, offered: offered[0] if offered else None,
            compression="deflate",
            ping_interval=None,
        )
        self.port = self._server.socket.getsockname()[1]
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._news:
            self._stopped = True
            self._news.notify_all()
        self._server.shutdown()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def publish(self, *events: Event) -> None:
        with self._news:
            self._events += events
            self._news.notify_all()

    def seq(self, index: int) -> int:
        return self.first_seq + index

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """Everything but a good handshake, as HTTP."""
        parts = urlsplit(request.path)
        query = parse_qs(parts.query)
        self.requests.append(request.path)
        if self.faults.refuse is not None:
            return _response(self.faults.refuse, b"no")
        if parts.path.endswith("getZstdDictionary") and "v2" in self.wires:
            found = self._dictionary
            return _response(200, found) if found else _response(404, b'{"error":"DictionaryNotFound"}')
        if parts.path == "/subscribe" and "v1" in self.wires:
            deflate = "permessage-deflate" in request.headers.get("Sec-WebSocket-Extensions", "")
            if query.get("compress") == ["true"] and (deflate or not self._dictionaries["v1"]):
                return _response(400, b"choose one compression scheme")
            return None
        if parts.path == V2_PATH and "v2" in self.wires:
            return self._refusal_v2(query)
        return _response(404, b"not found")

    def _refusal_v2(self, query: dict[str, list[str]]) -> Response | None:
        if {"wantedCollections", "wantedDids", "compress"} & query.keys():
            return _response(400, b'{"error":"InvalidRequest"}')
        asked = query.get("zstdDictionary")
        if asked and (not self._dictionary or int(asked[0]) != dictionary_id(self._dictionary)):
            return _response(400, b'{"error":"UnknownZstdDictionary"}')
        cursor = query.get("cursor")
        if cursor and int(cursor[0]) < FIRST_TIME_CURSOR and int(cursor[0]) < self.seq(self.floor):
            return _response(400, b'{"error":"CursorTooOld","message":"floor"}')
        return None

    def _serve(self, connection: ServerConnection) -> None:
        request = connection.request
        assert request is not None
        parts = urlsplit(request.path)
        query = parse_qs(parts.query)
        self.connections += 1
        self.deflated += bool(connection.protocol.extensions)
        with contextlib.suppress(ConnectionClosed):
            _Client(self, connection, "v2" if parts.path == V2_PATH else "v1", query).run()

    # What follows is for the clients' threads.

    def start(self, wire: str, cursor: int | None) -> tuple[int, bytes | None]:
        """(the index to start from, the notice to send first)."""
        with self._news:
            end = len(self._events)
            if cursor is None:
                return end, None
            if cursor < FIRST_TIME_CURSOR:
                if cursor >= self.seq(end):
                    return end, v2_info("FutureCursor", "starting at the live tip") if wire == "v2" else None
                return max(cursor - self.first_seq, self.floor), None
            if cursor > time.time() * 1e6 + max(self.skew_us, 0):
                return end, None
            found = next((i for i, event in enumerate(self._events) if event.time_us + self.skew_us >= cursor), end)
            if found < self.floor:
                return self.floor, v2_info("OutdatedCursor", "starting at the floor") if wire == "v2" else None
            return found, None

    def take(self, index: int, limit: int) -> list[Event]:
        """Events from `index` on; waits a little if there are none."""
        with self._news:
            if len(self._events) <= index and not self._stopped:
                self._news.wait(0.05)
            if self._stopped:
                raise ConnectionClosed(None, None)
            return self._events[index : index + limit]

    def wait_until_stopped(self, connection: ServerConnection) -> None:
        """Stay silent until the client or the server goes."""
        while not self._stopped:
            try:
                connection.recv(timeout=0.05)
            except TimeoutError:
                continue


class _Client:
    """One connection."""

    def __init__(
        self, server: JetstreamServer, socket: ServerConnection, wire: str, query: dict[str, list[str]]
    ) -> None:
        self._server = server
        self._socket = socket
        self._wire = wire
        self._cursor = int(query["cursor"][0]) if "cursor" in query else None
        self._collections = set(query.get("wantedCollections", query.get("collections", [])))
        self._dids = set(query.get("wantedDids", query.get("dids", [])))
        self._kinds = set(query.get("kinds", [])) or {"commit", "identity", "account", "sync"}
        wants = "compress" in query if wire == "v1" else "zstdDictionary" in query
        dictionary = server._dictionaries[wire] if wants else None
        self._compressor = None
        if dictionary is not None:
            server.compressed += 1
            self._compressor = zstandard.ZstdCompressor(dict_data=zstandard.ZstdCompressionDict(dictionary))
        self._max_bytes = int(query.get("maxMessageSizeBytes", ["0"])[0])
        self._sent = 0
        self._began = time.monotonic()

    def run(self) -> None:
        faults = self._server.faults
        index, notice = self._server.start(self._wire, self._cursor)
        if faults.silent_connections > 0:
            faults.silent_connections -= 1
            self._server.wait_until_stopped(self._socket)
        if notice is not None:
            self._send(notice)
        if faults.error is not None and self._wire == "v2":
            name, faults.error = faults.error, None
            self._send(json.dumps({"$type": "error", "error": name, "message": "go"}).encode())
            return
        while True:
            events = self._server.take(index, faults.reorder)
            frames = [self._frame(event, index + i) for i, event in enumerate(events) if self._wants(event)]
            if faults.reorder > 1:
                self._server._random.shuffle(frames)
            for frame in frames:
                if not 0 < self._max_bytes < len(frame):
                    self._send_with_faults(frame, faults)
            index += len(events)
            self._misbehave(faults)

    def _send_with_faults(self, frame: bytes, faults: Faults) -> None:
        chance = self._server._random.random
        if chance() < faults.garbage:
            self._send(self._server._random.choice(GARBAGE))
        self._send(frame)
        if chance() < faults.repeat:
            self._send(frame)
        self._misbehave(faults)

    def _misbehave(self, faults: Faults) -> None:
        late = faults.drop_after_s is not None and time.monotonic() - self._began >= faults.drop_after_s
        if late or (faults.drop_after is not None and self._sent >= faults.drop_after):
            self._socket.socket.shutdown(2)
            raise ConnectionClosed(None, None)
        if faults.silent_after is not None and self._sent >= faults.silent_after:
            self._server.wait_until_stopped(self._socket)

    def _wants(self, event: Event) -> bool:
        if self._dids and event.did not in self._dids:
            return False
        if event.kind != "commit":
            return event.kind in self._kinds and not (event.kind == "sync" and self._wire == "v1")
        return not self._collections or event.content["collection"] in self._collections

    def _frame(self, event: Event, index: int) -> bytes:
        time_us = event.time_us + self._server.skew_us
        return v1_frame(event, time_us) if self._wire == "v1" else v2_frame(event, time_us, self._server.seq(index))

    def _send(self, frame: bytes) -> None:
        if self._compressor is not None:
            self._socket.send(self._compressor.compress(frame), text=False)
        else:
            self._socket.send(frame, text=True)
        self._sent += 1


def make_dictionary(seed: int = 0) -> bytes:
    """A zstd dictionary for frames as this server sends them."""
    now_us = 1_783_175_888_000_000 + seed
    samples: list[bytes | bytearray | memoryview] = [
        v2_frame(post(now_us + i * 1000, i * 31 + seed), now_us + i * 1000, i) for i in range(400)
    ]
    return bytes(zstandard.train_dictionary(4096, samples, dict_id=1000 + seed).as_bytes())


def dictionary_id(dictionary: bytes) -> int:
    return int(zstandard.ZstdCompressionDict(dictionary).dict_id())


def _response(status: int, body: bytes) -> Response:
    headers = Headers({"Content-Length": str(len(body)), "Connection": "close"})
    return Response(status, HTTPStatus(status).phrase, headers, body)
