"""`GET /api/v1/windows`."""

from typing import Annotated, Final

import msgspec
from fastapi import APIRouter, Query, Response

from feltwire import windows as sums
from feltwire.followers._rows import rows
from feltwire.lake.reader import one_batch
from feltwire.web.api._documents import Windows
from feltwire.web.api._params import Langs, Sources, To, Word, problems, span
from feltwire.web.context import Here
from feltwire.web.problems import Problem

router = APIRouter(tags=["windows"])

AT_ONCE: Final = 96
"""Windows that are answered where no `from` is asked for: a day of 15 minutes."""

Every = Annotated[str, Query(pattern=r"^[1-9][0-9]{0,2} ?(min|m|h|d|w)$", description="1min, 15min, 1h, 1d.")]


@router.get("/windows", response_model=Windows, responses=problems(409), operation_id="windows")
def windows(  # noqa: PLR0917 - the parameters of a query
    here: Here,
    every: Every = "15min",
    track: Annotated[
        list[Word] | None,
        Query(max_length=50, description="Only these tracks; without it every one, and `*`, all posts."),
    ] = None,
    since: Annotated[
        str | None,
        Query(
            alias="from",
            max_length=64,
            json_schema_extra={"format": "date-time"},
            description=f"From this time on; without it the last {AT_ONCE} windows up to `to` or to the newest post.",
        ),
    ] = None,
    until: To = None,
    source: Sources = None,
    lang: Langs = None,
    limit: Annotated[int, Query(ge=1, le=20_000, description="The newest so many.")] = 2_000,
) -> Response:
    """The mood over time: sums and shares by window and track, oldest first."""
    start, end = span(since, until)
    if sums.parse_every(every) > 527_040:
        raise Problem(422, "query.every: expected a window of 366 days at most")
    lake = here.lake()
    if start is None:
        start = lake.windows_before(every, AT_ONCE, end)
    found = lake.windows(
        every=every, tracks=track or (), since=start, until=end, sources=source or (), langs=lang or ()
    )
    newest = found.slice(max(0, found.num_rows - limit))
    listed = rows(one_batch([newest], newest.schema)) if newest.num_rows else []
    answer = msgspec.json.encode({"every": every, "windows": listed, "cut": found.num_rows > limit})
    return Response(answer, media_type="application/json")
