"""Searching X between two times, page by page from new to old, in a way that goes on where it was stopped."""

import hashlib
import logging
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from feltwire.interfaces import Cursor
from feltwire.sources._x_client import Backoff, XError
from feltwire.sources._x_parse import Answer, parse_page, to_batch
from feltwire.sources._x_session import Session, Yielded
from feltwire.sources._x_stream import RECENT_DAYS, RECENT_PATH, utc_now, z_time
from feltwire.spend import SpentError
from feltwire.times import parse_time

ARCHIVE_PATH: Final = "/2/tweets/search/all"

_NEWEST: Final = timedelta(seconds=15)  # X finds nothing that is younger than ten seconds
_MARGIN: Final = timedelta(minutes=10)
_SMALLEST_PAGE: Final = 10
_SECOND: Final = timedelta(seconds=1)

_log = logging.getLogger("feltwire.sources.x")


@dataclass(frozen=True)
class Searched:
    """What is searched for."""

    queries: Sequence[str]
    start: datetime | None
    end: datetime | None
    params: Mapping[str, str]
    where: str = ""
    """`recent` or `all`; empty: as `start` asks for."""
    limit: int | None = None
    """No page is asked for once so many posts have come. X gives at least ten a page."""


class Search:
    """Reads one search to its end. `batches` is the source's `read`.

    The cursor: {"key": of what is searched for, "end", "query": the number of the query, "token": of its next page,
    "oldest": how far it went back, "where": the search that gave the token}.
    """

    def __init__(
        self,
        session: Session,
        searched: Searched,
        cursor: Cursor | None,
        *,
        keep: Callable[[bytes], None] = lambda body: None,
    ) -> None:
        """`keep` is given each page as it came; where it raises XError, the page is asked for again."""
        self._session = session
        self._searched = searched
        self._keep = keep
        self._left = searched.limit
        self._backoff = Backoff(session.timing)
        self._key = _key(searched)
        known = cursor if cursor and cursor.get("key") == self._key else {}
        self._end = _known_time(known, "end") or min(searched.end or utc_now(), utc_now() - _NEWEST)
        self._query = known["query"] if type(known.get("query")) is int else 0
        self._token: str | None = known.get("token")
        self._oldest = _known_time(known, "oldest")
        self._where = searched.where or ("recent" if is_recent(searched.start) else "all")
        if known.get("where") != self._where and self._token:
            self._token = None  # it is of another search: go on by time

    def batches(self) -> Iterator[Yielded]:
        """Batches and heartbeats to the end. Raises FatalError."""
        while self._query < len(self._searched.queries) and self._left != 0:
            resumed = self._token is not None or self._oldest is not None
            try:
                answer = yield from self._page()
            except SpentError as error:
                yield from self._session.wait_for_money(error, self._idle)
                continue
            except XError as error:
                if not (resumed and error.status == 400 and self._token):
                    raise
                _log.info("X does not know the next page any more; going on by time")
                self._token = None
                continue
            self._token = answer.next_token
            self._oldest = min(filter(None, (self._oldest, answer.oldest)), default=None)
            if self._token is None:
                self._query += 1
                self._oldest = None
            yield to_batch(answer.rows), self._cursor()

    def _page(self) -> Generator[Yielded, None, Answer]:
        """The next page. Raises SpentError before it is asked for, XError where X does not know the token."""
        session = self._session
        archive = self._where == "all"
        wanted = int(self._searched.params.get("max_results", 500 if archive else 100))
        if self._left is not None:
            wanted = max(_SMALLEST_PAGE, min(wanted, self._left))
        taken = session.spend.take(wanted, at_least=min(wanted, _SMALLEST_PAGE))
        got = 0
        try:
            if archive:
                yield from session.keep_pace(session.timing.archive_every_s, self._idle)
            params = self._params(taken)
            path = ARCHIVE_PATH if archive else RECENT_PATH
            while True:
                try:
                    body = yield from session.until_done(session.client.get(path, params), self._idle)
                    self._keep(body)
                except XError as error:
                    if error.status == 400 and self._token:
                        raise
                    yield from session.wait_after(error, self._backoff, self._idle)
                else:
                    break
            self._backoff.succeeded()
            answer = parse_page(body)
            got = answer.posts
            if self._left is not None:
                self._left = max(0, self._left - got)
        finally:
            session.spend.back(taken - got)
        session.spend.came(got, taken=True)
        return answer

    def _params(self, max_results: int) -> dict[str, str]:
        params = {**self._searched.params, "query": self._searched.queries[self._query]}
        params["max_results"] = str(max_results)
        if self._searched.start is not None:
            params["start_time"] = z_time(self._searched.start)
        end = self._end
        if self._token is not None:
            params["next_token"] = self._token
        elif self._oldest is not None:
            end = min(end, self._oldest + _SECOND)  # the second that was not read to its end is read again
        params["end_time"] = z_time(end if not end.microsecond else end + _SECOND)
        return params

    def _idle(self) -> Yielded:
        return to_batch([]), self._cursor()

    def _cursor(self) -> Cursor:
        cursor: dict[str, Any] = {"key": self._key, "end": self._end.isoformat(), "query": self._query}
        cursor |= {"token": self._token, "where": self._where}
        cursor["oldest"] = None if self._oldest is None else self._oldest.isoformat()
        return cursor


def is_recent(start: datetime | None) -> bool:
    return start is None or start > utc_now() - RECENT_DAYS + _MARGIN


def _key(searched: Searched) -> str:
    """A hash of what is searched for."""
    parts = [*searched.queries, str(searched.start), str(searched.end)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _known_time(cursor: Cursor, key: str) -> datetime | None:
    value = cursor.get(key)
    return parse_time(value) if isinstance(value, str) else None
