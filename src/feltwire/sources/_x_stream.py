"""Streaming from X: connect, listen, connect again, and fetch by search what a break has cost."""

import asyncio
import json
import logging
import math
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from feltwire import metrics
from feltwire.errors import FatalError
from feltwire.interfaces import Cursor
from feltwire.sources._records import Row
from feltwire.sources._x_client import MAX_LINE_BYTES, Backoff, Stream, XError
from feltwire.sources._x_parse import NAME, parse_line, parse_page, problem_of, refused, to_batch
from feltwire.sources._x_rules import Rule, changes
from feltwire.sources._x_session import HEARTBEAT_S, Session, Yielded
from feltwire.spend import SpentError
from feltwire.times import parse_time

RULES_PATH: Final = "/2/tweets/search/stream/rules"
RECENT_PATH: Final = "/2/tweets/search/recent"
RECENT_DAYS: Final = timedelta(days=7)

_BATCH_ROWS: Final = 1_000
_BATCH_S: Final = 0.2
_FRESH_S: Final = 0.02
_PAGE: Final = 100
_SMALLEST_PAGE: Final = 10
_MARGIN: Final = timedelta(minutes=1)

_log = logging.getLogger("feltwire.sources.x")


@dataclass(frozen=True)
class Asked:
    """What is streamed."""

    path: str
    params: Mapping[str, str]
    """Without backfill_minutes, which is asked for only after a break."""
    backfill_minutes: int = 0
    rules: Sequence[Rule] | None = None
    """The rules to have; None: they are let be, as they are or because this stream knows none."""
    filtered: bool = False
    queries: Sequence[str] = ()
    """The searches that find again what a break has cost; none: nothing can."""
    page_params: Mapping[str, str] = field(default_factory=dict)


def utc_now() -> datetime:
    return datetime.now(UTC)


def z_time(at: datetime) -> str:
    """As X writes a time: whole seconds."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Listener:
    """Reads a stream for good. `batches` is the source's `read`."""

    def __init__(self, session: Session, asked: Asked, cursor: Cursor | None) -> None:
        self._session = session
        self._asked = asked
        self._backoff = Backoff(session.timing)
        self._until = _time(cursor, "until")
        """Everything up to here is had, but for the gaps; None: nothing was had yet."""
        gaps = cursor.get("gaps") if cursor else None
        self._gaps = [dict(gap) for gap in gaps if _is_gap(gap)] if isinstance(gaps, list) else []
        """What is still to be fetched: {"start", "end", "query", "token"}."""
        self._rows: list[Row] = []
        self._first_row_at = 0.0
        self._heard_at: datetime | None = None
        """When something came that X had just sent."""
        self._page: asyncio.Task[bytes] | None = None
        self._page_taken = 0
        self._page_at = 0.0
        self._page_backoff = Backoff(session.timing)
        self._unpaid = False

    def batches(self) -> Iterator[Yielded]:
        """Batches and heartbeats. Raises FatalError."""
        session, asked = self._session, self._asked
        if asked.filtered:
            yield from self._keep_rules()
        while True:
            try:
                session.spend.check()
                stream = yield from session.until_done(self._connect(), self._idle)
                yield from self._listen(stream)
            except SpentError as error:
                if self._rows:
                    yield self._flush()
                self._unpaid = True
                yield from session.wait_for_money(error, self._idle)
            except XError as error:
                if self._rows:
                    yield self._flush()
                yield from session.wait_after(error, self._backoff, self._idle)

    def _keep_rules(self) -> Generator[Yielded, None, None]:
        """Bring X's rules in step with ours, before the stream is asked for.

        First delete, then add: X takes no rule twice, even under another tag, and no more than there is room for.
        """
        existing = yield from self._rules(Backoff(self._session.timing))
        wanted = self._asked.rules
        if wanted is None:
            if not existing:
                raise FatalError("source 'x': nothing to listen for: name a track, or X's own query (option query)")
            return
        added, deleted = changes(existing, wanted)
        if deleted:
            yield from self._change_rules({"delete": {"ids": deleted}})
        if added:
            answer = yield from self._change_rules({"add": [rule._asdict() for rule in added]})
            if told := _not_taken(answer):
                raise FatalError(f"source 'x': X does not take a rule: {told}")
            _log.info("%d rules were added to X's stream, %d are in place", len(added), len(wanted))

    def _rules(self, backoff: Backoff) -> Generator[Yielded, None, list[dict[str, Any]]]:
        found: list[dict[str, Any]] = []
        params: dict[str, str] = {}
        while True:
            ask = partial(self._session.client.get, RULES_PATH, params)
            body = yield from self._session.answer(ask, backoff, self._idle)
            answer = _json_object(body)
            data = answer.get("data")
            found += [rule for rule in data if isinstance(rule, dict)] if isinstance(data, list) else []
            meta = answer.get("meta")
            token = meta.get("next_token") if isinstance(meta, dict) else None
            if not isinstance(token, str) or not data:
                return found
            params = {"pagination_token": token}

    def _change_rules(self, change: dict[str, Any]) -> Generator[Yielded, None, dict[str, Any]]:
        ask = partial(self._session.client.post, RULES_PATH, change)
        body = yield from self._session.answer(ask, Backoff(self._session.timing), self._idle)
        return _json_object(body)

    async def _connect(self) -> Stream:
        params = dict(self._asked.params)
        missing = self._missing()
        if missing is not None and self._asked.backfill_minutes:
            minutes = math.ceil((utc_now() - missing) / timedelta(minutes=1))
            params["backfill_minutes"] = str(max(1, min(minutes, self._asked.backfill_minutes)))
        return await self._session.client.stream(self._asked.path, params)

    def _missing(self) -> datetime | None:
        """From where on something may be missing; None: from nowhere, this is the beginning."""
        had = max((at for at in (self._until, self._heard_at) if at is not None), default=None)
        return None if had is None else had - timedelta(seconds=self._session.timing.overlap_s)

    def _note_gap(self) -> None:
        """A stream has begun: what lies between it and what we had is to be fetched, or lost."""
        missing, now = self._missing(), utc_now()
        unpaid, self._unpaid = self._unpaid, False
        if missing is None:
            self._until = now
            return
        covered = now - timedelta(minutes=self._asked.backfill_minutes)
        if missing >= covered and self._asked.backfill_minutes:
            return
        if unpaid or not self._asked.queries:
            if now - missing > timedelta(seconds=2 * self._session.timing.overlap_s):
                reason = "the spend limit was reached" if unpaid else "nothing gives this stream's past"
                self._lose(missing, now, reason)
            return
        oldest = now - RECENT_DAYS + _MARGIN
        if missing < oldest:
            self._lose(missing, oldest, "a search finds posts of the last seven days")
        end = now + timedelta(seconds=1)
        self._gaps.append({"start": z_time(max(missing, oldest)), "end": z_time(end), "query": 0, "token": None})

    def _lose(self, start: datetime, end: datetime, reason: str) -> None:
        metrics.SOURCE_GAPS.labels(source=NAME).inc()
        _log.warning("gap: nothing of the %.0f s before %s (%s)", (end - start).total_seconds(), z_time(end), reason)

    def _listen(self, stream: Stream) -> Iterator[Yielded]:
        """Batches until the stream ends by an XError or, where nothing more may be spent, a SpentError."""
        session, timing = self._session, self._session.timing
        self._note_gap()
        began = yielded_at = time.monotonic()
        quiet_s = 0.0
        reading = session.start(stream.read())
        try:
            while True:
                before = time.monotonic()
                due = self._first_row_at + _BATCH_S - before if self._rows else HEARTBEAT_S
                self._ask_for_page()
                session.turn(reading, *([self._page] if self._page else []), seconds=min(due, HEARTBEAT_S))
                if self._page is not None and self._page.done():
                    self._take_page(self._page)
                waited_s = time.monotonic() - before
                if reading.done():
                    quiet_s = 0.0
                    if waited_s >= _FRESH_S:  # nothing lay in the connection: what came was not sent long ago
                        self._heard_at = utc_now()
                    self._take(reading.result())
                    reading = session.start(stream.read())
                    self._backoff.worked = True
                    if time.monotonic() - began >= timing.http_first_s:
                        self._backoff.succeeded()
                else:
                    quiet_s += waited_s
                    if quiet_s > timing.silence_s:
                        raise XError(f"silent for {quiet_s:.0f} s", "network")
                now = time.monotonic()
                due_now = self._rows and now - self._first_row_at >= _BATCH_S
                if due_now or len(self._rows) >= _BATCH_ROWS or now - yielded_at >= HEARTBEAT_S:
                    yield self._flush()
                    yielded_at = time.monotonic()
                session.spend.check()
        finally:
            session.end(reading, stream.close())

    def _take(self, lines: list[bytes | None]) -> None:
        now = utc_now()
        posts = 0
        problem: str | None = None
        for line in lines:
            if line is None:
                reason = f"a line of more than {MAX_LINE_BYTES} bytes"
                self._add([refused(str(now).encode(), reason)])
                continue
            answer = parse_line(line)
            posts += answer.posts
            problem = problem or answer.problem
            self._add(answer.rows)
            if answer.newest is not None:
                newest = min(answer.newest, now)  # our clock may be behind X's
                self._until = newest if self._until is None else max(self._until, newest)
        self._session.spend.came(posts, taken=False)
        if problem is not None:
            raise XError(f"X ends the stream: {problem}", "network")

    def _add(self, rows: list[Row]) -> None:
        if rows and not self._rows:
            self._first_row_at = time.monotonic()
        self._rows += rows

    def _flush(self) -> Yielded:
        rows, self._rows = self._rows, []
        return to_batch(rows), self._cursor()

    def _idle(self) -> Yielded:
        return to_batch([]), self._cursor()

    def _cursor(self) -> Cursor:
        cursor: Cursor = {"until": None if self._until is None else self._until.isoformat()}
        if self._gaps:
            cursor["gaps"] = [dict(gap) for gap in self._gaps]
        return cursor

    # Fetching what a break has cost, a page at a time beside the stream.

    def _ask_for_page(self) -> None:
        if self._page is not None or not self._gaps or time.monotonic() < self._page_at:
            return
        gap = self._gaps[0]
        end = parse_time(gap["end"]) or utc_now()
        wait_s = (end - utc_now()).total_seconds() + self._session.timing.settle_s
        if wait_s > 0:
            self._page_at = time.monotonic() + wait_s
            return
        if gap["query"] >= len(self._asked.queries):
            self._gaps.pop(0)
            return
        try:
            self._page_taken = self._session.spend.take(_PAGE, at_least=_SMALLEST_PAGE)
        except SpentError as error:
            self._page_at = time.monotonic() + error.wait_s
            return
        params = {**self._asked.page_params, "query": self._asked.queries[gap["query"]]}
        params |= {"start_time": gap["start"], "end_time": gap["end"], "max_results": str(self._page_taken)}
        if gap["token"]:
            params["next_token"] = gap["token"]
        self._page = self._session.start(self._session.client.get(RECENT_PATH, params))

    def _take_page(self, page: "asyncio.Task[bytes]") -> None:
        self._page = None
        gap = self._gaps[0]
        try:
            answer = parse_page(page.result())
        except XError as error:
            self._session.spend.back(self._page_taken)
            self._postpone(gap, error)
            return
        self._session.spend.back(self._page_taken - answer.posts)
        self._session.spend.came(answer.posts, taken=True)
        self._page_backoff.succeeded()
        self._add(answer.rows)
        gap["token"] = answer.next_token
        if answer.next_token is None:
            gap["query"] += 1
        if gap["query"] >= len(self._asked.queries):
            self._gaps.pop(0)

    def _postpone(self, gap: dict[str, Any], error: XError) -> None:
        try:
            self._page_at = time.monotonic() + self._page_backoff.after(error)
        except FatalError:
            self._gaps.pop(0)
            start, end = parse_time(gap["start"]), parse_time(gap["end"])
            if start and end:
                self._lose(start, end, f"the search for it is refused: {error}")


def _not_taken(answer: dict[str, Any]) -> str | None:
    """Why X does not take a rule, in one line; that it has it already is no reason."""
    errors = answer.get("errors")
    for error in errors if isinstance(errors, list) else []:
        if isinstance(error, dict) and error.get("title") != "DuplicateRule":
            return f"{str(error.get('value', ''))[:200]!r}: {problem_of(error)}"
    return None


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {}


def _time(cursor: Cursor | None, key: str) -> datetime | None:
    value = cursor.get(key) if cursor else None
    return parse_time(value) if isinstance(value, str) else None


def _is_gap(gap: object) -> bool:
    return (
        isinstance(gap, dict)
        and all(isinstance(gap.get(key), str) and parse_time(gap[key]) for key in ("start", "end"))
        and isinstance(gap.get("query"), int)
        and isinstance(gap.get("token"), str | None)
    )
