"""Posts on their way from the threads of an HTTP server to the one that stores them, and the answers back."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from feltwire.sources._lines import BOM, parse_json, why_no_json

MAX_ROWS: Final = 10_000  # posts of one request, and about as many of one batch
_LINES: Final = frozenset(
    {"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"}
)
_GATHER_S: Final = 0.005

_decode: Final = msgspec.json.Decoder().decode


class Declined(Exception):  # noqa: N818  # an answer to a client, no error of the program
    """A request that is not taken: its HTTP status, one clear line, and when to come again."""

    def __init__(self, status: int, detail: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.retry_after_s = retry_after_s


_LISTENING: Final[dict[str, "Inbox"]] = {}


@contextmanager
def offered(name: str, inbox: "Inbox") -> Iterator[None]:
    """While the block runs, others of this process find the inbox under its source's name."""
    _LISTENING[name] = inbox
    try:
        yield
    finally:
        if _LISTENING.get(name) is inbox:
            del _LISTENING[name]


def listening() -> dict[str, "Inbox"]:
    """{source: its inbox} of the push sources that are being read in this process."""
    return dict(_LISTENING)


@dataclass(slots=True)
class Posted:
    """What one request brought. `key` is unique to the request: posts without an id get theirs from it."""

    objects: list[Any]
    faults: dict[int, str]
    lines: Sequence[bytes] | None
    key: str
    size: int
    answer: "asyncio.Future[dict[int, str]] | None" = None

    def payload(self, index: int) -> bytes:
        """One post as it came, or written anew."""
        return self.lines[index] if self.lines is not None else msgspec.json.encode(self.objects[index])


def parse_body(body: bytes, content_type: str, key: str) -> Posted:
    """One JSON object, an array of them, or a line for each. Raises Declined for a body that is none of these.

    A line of several that is broken is a fault of that line alone.
    """
    body = body.removeprefix(BOM)
    if not body or body.isspace():
        raise Declined(400, "the body is empty: expected a JSON object, an array of objects, or one object a line")
    if content_type.partition(";")[0].strip().lower() in _LINES:
        return _of_lines(body, key)
    try:
        value = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        first, newline, _ = body.strip().partition(b"\n")
        if newline and first.startswith(b"{") and 0 not in parse_json([first]).faults:
            return _of_lines(body, key)
        raise Declined(400, f"the body is no JSON: {why_no_json(error)}") from error
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        raise Declined(400, "the body is a bare JSON value: expected an object, an array of objects, or one a line")
    if len(value) > MAX_ROWS:
        raise Declined(413, f"{len(value)} posts in one request: at most {MAX_ROWS} are taken")
    return Posted(value, {}, None, key, len(body))


def _of_lines(body: bytes, key: str) -> Posted:
    lines = body.split(b"\n")
    parsed = parse_json(lines)
    if len(parsed.rows) > MAX_ROWS:
        raise Declined(413, f"{len(parsed.rows)} posts in one request: at most {MAX_ROWS} are taken")
    return Posted(parsed.rows, parsed.faults, [lines[start] for start in parsed.starts], key, len(body))


@dataclass
class Inbox:
    """A bounded queue of requests. Putting in never waits: a full one declines."""

    max_rows: int
    max_bytes: int
    rows: int = 0
    bytes: int = 0
    _waiting: deque[Posted] = field(default_factory=deque)
    _closed: bool = False
    _crowded: bool = False  # the last time several requests waited: then a moment's patience gathers many more
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def put(self, posted: Posted) -> None:
        """Raises Declined when there is no room, or nobody takes anything out any more."""
        with self._changed:
            if self._closed:
                raise Declined(503, "the source is closing", retry_after_s=5)
            count = len(posted.objects)
            if self._waiting and (self.rows + count > self.max_rows or self.bytes + posted.size > self.max_bytes):
                raise Declined(429, f"{self.rows} posts are waiting to be stored: send again later", retry_after_s=1)
            self._waiting.append(posted)
            self.rows += count
            self.bytes += posted.size
            self._changed.notify()

    def take(self, timeout_s: float) -> list[Posted]:
        """Everything that waits, up to about MAX_ROWS posts; [] after `timeout_s` with nothing."""
        taken: list[Posted] = []
        count = 0
        with self._changed:
            if not self._waiting:
                self._changed.wait(timeout_s)
        if self._crowded and self._waiting:
            time.sleep(_GATHER_S)
        with self._changed:
            while self._waiting and count < MAX_ROWS:
                posted = self._waiting.popleft()
                self.rows -= len(posted.objects)
                self.bytes -= posted.size
                count += len(posted.objects)
                taken.append(posted)
            self._crowded = len(taken) > 1
        return taken

    def close(self) -> list[Posted]:
        """Take nothing more; return what nobody has taken."""
        with self._changed:
            self._closed = True
            left = list(self._waiting)
            self._waiting.clear()
        return left


def settle(answers: Sequence[tuple[Posted, dict[int, str] | Declined]]) -> None:
    """Answer requests, from any thread: with {index: reason} of what was refused, or with why not at all."""
    loops: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[dict[int, str]], dict[int, str] | Declined]]] = {}
    for posted, outcome in answers:
        if posted.answer is not None:
            loops.setdefault(posted.answer.get_loop(), []).append((posted.answer, outcome))
    for loop, pairs in loops.items():
        with suppress(RuntimeError):  # the loop is closed: nobody waits for an answer any more
            loop.call_soon_threadsafe(_set, pairs)


def _set(pairs: list[tuple["asyncio.Future[dict[int, str]]", dict[int, str] | Declined]]) -> None:
    for future, outcome in pairs:
        if future.done():
            continue
        if isinstance(outcome, Declined):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
