"""Query parameters that several resources share, and what every operation may answer with."""

from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import Query
from pydantic import StringConstraints

from feltwire.times import parse_time
from feltwire.web.problems import MEDIA_TYPE, Problem

Word = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]

_TIME: Final[dict[str, Any]] = {"format": "date-time"}

From = Annotated[
    str | None,
    Query(
        alias="from",
        max_length=64,
        json_schema_extra=_TIME,
        description="From this time on.",
    ),
]
To = Annotated[str | None, Query(alias="to", max_length=64, json_schema_extra=_TIME, description="Before this time.")]
Sources = Annotated[list[Word] | None, Query(alias="source", max_length=20, description="Only of these sources.")]
Langs = Annotated[
    list[Word] | None, Query(alias="lang", max_length=20, description="Only in these languages; `und` is unknown.")
]
Track = Annotated[Word | None, Query(description="Only of this track; `*` is all posts.")]

_EARLIEST: Final = 1678  # what 64 bits of nanoseconds, as some readers of Parquet count, can hold
_LATEST: Final = 2261

_TEXTS: Final[dict[int, str]] = {
    400: "The request cannot be read.",
    401: "A token is needed.",
    403: "The token's scope is too small, or a page of another origin asks.",
    404: "There is no such thing.",
    409: "It contradicts what is there.",
    413: "Too large.",
    415: "Another media type is expected.",
    421: "The server answers to names of its own machine only.",
    422: "A value is not allowed.",
    429: "Too many requests: come again after `Retry-After` seconds.",
    500: "Something went wrong in the server.",
    503: "Not now: come again after `Retry-After` seconds.",
}
_EVERYWHERE: Final = (400, 401, 403, 413, 415, 421, 422, 429, 500, 503)


def problems(*more: int) -> dict[int | str, dict[str, Any]]:
    """The problems that an operation may answer with: those of all, and `more`."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}}
    return {code: {"description": _TEXTS[code], "content": content} for code in sorted({*_EVERYWHERE, *more})}


def when(text: str | None, name: str) -> datetime | None:
    """A time that was asked for. Raises Problem for what is none."""
    if text is None:
        return None
    found = parse_time(text)
    if found is None or not _EARLIEST <= found.year <= _LATEST:
        raise Problem(422, f"query.{name}: expected a time as 2026-11-21T08:00:00Z")
    return found


def span(since: str | None, until: str | None) -> tuple[datetime | None, datetime | None]:
    """Two times that were asked for. Raises Problem where the second is not after the first."""
    start, end = when(since, "from"), when(until, "to")
    if start is not None and end is not None and end <= start:
        raise Problem(422, "query.to: expected a time after `from`")
    return start, end
