"""What was written in a period, and how much: X's searches and counts, for a backfill."""

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import pyarrow as pa

from feltwire.errors import SourceError
from feltwire.sources._records import Row
from feltwire.sources._x_client import Backoff, XError
from feltwire.sources._x_parse import parse_page, to_batch
from feltwire.sources._x_search import Search, Searched, is_recent
from feltwire.sources._x_session import Session
from feltwire.sources._x_stream import z_time

_COUNTS: Final = {"recent": "/2/tweets/counts/recent", "all": "/2/tweets/counts/all"}
_TRIES: Final = 3
_LONGEST_WAIT_S: Final = 5.0


def search_pages(session: Session, searched: Searched) -> Iterator[bytes | None]:
    """The pages of a search as they came, None as a heartbeat. Raises FatalError.

    A page that is no JSON object, as of a proxy in between, is asked for again: a period must not seem to end there.
    """
    pages: list[bytes] = []

    def keep(body: bytes) -> None:
        if page_of(body) is None:
            raise XError("X answers with something that is no page of posts", "http")
        pages.append(body)

    for _ in Search(session, searched, None, keep=keep).batches():
        if not pages:
            yield None
        while pages:
            yield pages.pop(0)


def parse_pages(pages: Sequence[bytes], limit: int | None) -> pa.RecordBatch:
    """The records of a search's pages, of which the first `limit` posts count."""
    rows: list[Row] = []
    left = limit
    for body in pages:
        answer = parse_page(body, most=left)
        rows += answer.rows
        left = None if left is None else left - answer.posts
    return to_batch(rows)


def count_posts(session: Session, searched: Searched) -> int:
    """How many posts X would deliver, by its counts, which cost no posts.

    Raises SourceError where X does not say: it is asked thrice, and not waited for long.
    """
    where = searched.where or ("recent" if is_recent(searched.start) else "all")
    total = 0
    for query in searched.queries:
        params = {"query": query, "granularity": "day"}
        if searched.start is not None and searched.end is not None:
            params |= {"start_time": z_time(searched.start), "end_time": z_time(searched.end)}
        token: str | None = ""
        while token is not None:
            meta = _counted(session, _COUNTS[where], {**params, "next_token": token} if token else params)
            total += meta["total_tweet_count"]
            following = meta.get("next_token")
            token = following if isinstance(following, str) and following else None
    return total


def page_of(body: bytes) -> dict[str, Any] | None:
    """A page of a search, of which `data`, if there is any, is a list; None for anything else."""
    try:
        page = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return page if isinstance(page, dict) and isinstance(page.get("data", []), list) else None


def _counted(session: Session, path: str, params: dict[str, str]) -> dict[str, Any]:
    """The `meta` of an answer that holds `total_tweet_count`. Raises SourceError."""
    backoff = Backoff(session.timing)
    for left in reversed(range(_TRIES)):
        try:
            body = session.loop.run_until_complete(session.client.get(path, params))
        except XError as error:
            if not left or error.kind == "refused":
                raise SourceError(str(error)) from error
            time.sleep(min(backoff.after(error), _LONGEST_WAIT_S))
        else:
            break
    meta = (page_of(body) or {}).get("meta")
    if not isinstance(meta, dict) or type(meta.get("total_tweet_count")) is not int:
        raise SourceError("X answers with something that is no count")
    return meta


__all__ = ["count_posts", "parse_pages", "search_pages"]
