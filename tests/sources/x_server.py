"""A small X API v2 on loopback: streams, rules, searches, as documented, and misbehaving on request.

Rules and queries mean less than X's: alternatives joined by OR, each a list of words that must all occur; operators
are let be. What it counts as delivered is what X would bill.
"""

import contextlib
import json
import select
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

TOKEN = "AAAA-secret"
EPOCH_MS = 1_288_834_974_657

Json = dict[str, Any]


def post_id(at: datetime, number: int = 0) -> str:
    """A snowflake: the id of a post that was written then."""
    return str((round(at.timestamp() * 1000) - EPOCH_MS) << 22 | number)


def make_post(number: int, at: datetime, text: str = "", **more: Any) -> Json:
    """A post as X shows it."""
    shown_id = post_id(at, number % 4096)
    return {
        "id": shown_id,
        "text": text or f"post {number} of cats",
        "author_id": str(100 + number % 3),
        "created_at": at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z",
        "lang": "en",
        "conversation_id": shown_id,
        "edit_history_tweet_ids": [shown_id],
        "public_metrics": {"retweet_count": 1, "reply_count": 2, "like_count": 3, "quote_count": 0},
        **more,
    }


USERS = [
    {"id": str(100 + i), "username": f"user_{i}", "name": f"User {i}", "verified": i == 0, "location": f"Town {i}"}
    for i in range(3)
]


def matches(query: str, text: str) -> bool:
    words = text.lower().split()

    def all_in(part: str) -> bool:
        wanted = [word.strip('()"').lower() for word in part.split()]
        return all(":" in word or word.startswith("-") or word in words for word in wanted)

    return any(all_in(part) for part in query.split(" OR "))


@dataclass
class Failure:
    """One answer that is no success."""

    status: int
    body: Json = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Faults:
    """What the streams do wrong."""

    drop_after: int | None = None  # lines, counted for each connection
    silent_after: int | None = None
    garbage: deque[bytes] = field(default_factory=deque)  # sent before the next posts


class XServer:
    """Use it as a context manager; `url` is its base."""

    def __init__(self, *, keep_alive_s: float = 0.2, max_connections: int = 1, backfill: bool = True) -> None:
        self.keep_alive_s = keep_alive_s
        self.max_connections = max_connections
        self.backfill = backfill
        self.posts: list[Json] = []
        self.events: list[Json] = []
        self.includes: Json = {"users": USERS}
        self.rules: list[Json] = []
        self.max_rules = 25
        self.faults = Faults()
        self.failures: dict[str, deque[Failure]] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.delivered = 0
        self.connections = 0
        self.begun = 0
        self.bad_tokens: set[str] = set()
        self.news = threading.Condition()
        self.stopped = False
        self._rule_number = 1000
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = False
        self._thread = threading.Thread(target=lambda: self._http.serve_forever(0.05), name="x server")
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self.news:
            self.stopped = True
            self.news.notify_all()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def publish(self, *posts: Json) -> None:
        with self.news:
            self.posts += posts
            self.news.notify_all()

    def tell(self, *events: Json) -> None:
        """Events of compliance."""
        with self.news:
            self.events += events
            self.news.notify_all()

    def fail(self, path: str, *failures: Failure) -> None:
        """The next answers at a path that ends so."""
        self.failures.setdefault(path, deque()).extend(failures)

    def asked(self, path: str) -> list[dict[str, str]]:
        """The parameters of all requests to a path that ends so."""
        return [params for asked, params in self.requests if asked.endswith(path)]

    def add_rule(self, value: str, tag: str) -> Json:
        self._rule_number += 1
        rule = {"id": str(self._rule_number), "value": value, "tag": tag}
        self.rules.append(rule)
        return rule

    def change_rules(self, body: Json) -> tuple[int, Json]:
        if "delete" in body:
            ids = body["delete"]["ids"]
            self.rules = [rule for rule in self.rules if rule["id"] not in ids]
            return 200, {"meta": {"summary": {"deleted": len(ids), "not_deleted": 0}}}
        made, errors = [], []
        for wanted in body["add"]:
            if any(rule["value"] == wanted["value"] for rule in self.rules):
                errors.append({"title": "DuplicateRule", "value": wanted["value"], "id": "1"})
            elif "(" in wanted["value"] and ")" not in wanted["value"]:
                errors.append({"title": "InvalidRule", "value": wanted["value"], "details": ["missing ')'"]})
            elif len(self.rules) >= self.max_rules:
                errors.append({"title": "RulesCapExceeded", "value": wanted["value"], "detail": "too many rules"})
            else:
                made.append(self.add_rule(wanted["value"], wanted["tag"]))
        return 201, {"data": made, **({"errors": errors} if errors else {})}

    def limited(self, path: str) -> Failure | None:
        """What a path answers where its rate limit is used up."""
        return None

    def count(self, params: dict[str, str]) -> tuple[int, Json]:
        start, end = (datetime.fromisoformat(params[name]) for name in ("start_time", "end_time"))
        found = [one for one in self.posts if start <= time_of(one) < end and matches(params["query"], one["text"])]
        return 200, {"data": [], "meta": {"total_tweet_count": len(found)}}

    def search(self, params: dict[str, str]) -> tuple[int, Json]:
        start = datetime.fromisoformat(params.get("start_time", "2006-01-01T00:00:00Z"))
        end = datetime.fromisoformat(params["end_time"])
        token = params.get("next_token")
        if token is not None and (token in self.bad_tokens or not token.startswith("page-")):
            return 400, {"title": "Invalid Request", "errors": [{"message": "next_token is not valid"}]}
        found = [
            post
            for post in sorted(self.posts, key=lambda one: int(one["id"]), reverse=True)
            if start <= time_of(post) < end and matches(params["query"], post["text"])
        ]
        first = int(token.removeprefix("page-")) if token else 0
        page = found[first : first + int(params.get("max_results", 10))]
        self.delivered += len(page)
        meta: Json = {"result_count": len(page)}
        if first + len(page) < len(found):
            meta["next_token"] = f"page-{first + len(page)}"
        return 200, {**({"data": page, "includes": self.includes} if page else {}), "meta": meta}


def time_of(post: Json) -> datetime:
    return datetime.fromtimestamp(((int(post["id"]) >> 22) + EPOCH_MS) / 1000, UTC)


def _handler(server: XServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 1.0  # an idle connection goes after a second

        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            with contextlib.suppress(OSError):
                self._get()

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if not self._refused():
                with server.news:
                    self._json(*server.change_rules(body))

        def _get(self) -> None:
            if self._refused():
                return
            path, params = self._asked()
            if path.endswith("/rules"):
                self._json(200, {**({"data": server.rules} if server.rules else {}), "meta": {"sent": "now"}})
            elif "/counts/" in path:
                self._json(*server.count(params))
            elif path.endswith(("/recent", "/all")):
                with server.news:
                    status, answer = server.search(params)
                self._json(status, answer)
            elif path.endswith("/stream"):
                self._stream(path, params)
            else:
                self._json(404, {"title": "Not Found"})

        def _asked(self) -> tuple[str, dict[str, str]]:
            parts = urlsplit(self.path)
            return parts.path, {key: values[0] for key, values in parse_qs(parts.query).items()}

        def _refused(self) -> bool:
            path, params = self._asked()
            server.requests.append((path, params))
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                self._json(401, {"title": "Unauthorized", "detail": "Unauthorized", "status": 401})
                return True
            for known, failures in server.failures.items():
                if path.endswith(known) and failures:
                    failure = failures.popleft()
                    self._json(failure.status, failure.body, failure.headers)
                    return True
            limited = server.limited(path)
            if limited is not None:
                self._json(limited.status, limited.body, limited.headers)
            return limited is not None

        def _json(self, status: int, answer: Json, headers: dict[str, str] | None = None) -> None:
            body = json.dumps(answer).encode()
            self.send_response(status)
            for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def _stream(self, path: str, params: dict[str, str]) -> None:
            with server.news:
                if server.connections >= server.max_connections:
                    problem = {
                        "title": "ConnectionException",
                        "detail": "This stream is currently at the maximum allowed connection limit.",
                        "connection_issue": "TooManyConnections",
                        "type": "https://api.x.com/2/problems/streaming-connection",
                    }
                    self._json(429, problem)
                    return
                server.connections += 1
                server.begun += 1
                first = len(server.posts)
                if server.backfill and "backfill_minutes" in params:
                    oldest = datetime.now(UTC) - timedelta(minutes=int(params["backfill_minutes"]))
                    first = next((i for i, post in enumerate(server.posts) if time_of(post) >= oldest), first)
            try:
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self._lines(path, first)
            finally:
                self.close_connection = True
                with server.news:
                    server.connections -= 1

        def _lines(self, path: str, first: int) -> None:
            sent, spoke_at = 0, time.monotonic()
            given = server.events if "compliance" in path else server.posts
            while not server.stopped and not self._gone():
                faults = server.faults
                if self._silent(sent):
                    time.sleep(0.02)
                    continue
                with server.news:
                    if len(given) <= first and not faults.garbage:
                        server.news.wait(0.05)
                    news, first = given[first : first + 10], first + len(given[first : first + 10])
                lines = [faults.garbage.popleft() for _ in range(len(faults.garbage))]
                lines += [line for one in news if (line := self._line(path, one)) is not None]
                for line in lines:
                    if faults.drop_after is not None and sent >= faults.drop_after:
                        self.connection.shutdown(socket.SHUT_RDWR)
                        return
                    while self._silent(sent):
                        time.sleep(0.02)
                    self._chunk(line + b"\r\n")
                    sent += 1
                    spoke_at = time.monotonic()
                if time.monotonic() - spoke_at >= server.keep_alive_s:
                    self._chunk(b"\r\n")
                    spoke_at = time.monotonic()

        def _silent(self, sent: int) -> bool:
            after = server.faults.silent_after
            return after is not None and sent >= after and not server.stopped and not self._gone()

        def _line(self, path: str, one: Json) -> bytes | None:
            if "compliance" in path:
                return json.dumps({"data": one}).encode()
            matching = [rule for rule in server.rules if matches(rule["value"], one["text"])]
            if "sample" not in path and not matching:
                return None
            server.delivered += 1
            rules = [{"id": rule["id"], "tag": rule["tag"]} for rule in matching]
            return json.dumps({"data": one, "includes": server.includes, "matching_rules": rules}).encode()

        def _chunk(self, data: bytes) -> None:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()

        def _gone(self) -> bool:
            readable, _, _ = select.select([self.connection], [], [], 0)
            return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)

    return Handler
