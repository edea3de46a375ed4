"""`GET /api/v1/posts`."""

import base64
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec
import pyarrow as pa
from fastapi import APIRouter, Query, Response

from feltwire import schema
from feltwire.followers._rows import rows
from feltwire.lake import Lake
from feltwire.lake.reader import literal, one_batch
from feltwire.web.api._documents import SHOWN_COLUMNS, Posts
from feltwire.web.api._filters import Filters
from feltwire.web.api._params import problems
from feltwire.web.context import Here
from feltwire.web.problems import Problem

router = APIRouter(tags=["posts"])

Cursor = Annotated[str | None, Query(max_length=2_000, pattern=r"^[A-Za-z0-9_=-]+$", description="Of the page before.")]

_SHOWN = pa.schema([schema.POSTS.field(name) for name in SHOWN_COLUMNS])
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@router.get("/posts", response_model=Posts, responses=problems(409), operation_id="posts")
def posts(
    here: Here,
    filters: Filters,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 50,
    cursor: Cursor = None,
) -> Response:
    """Posts, newest first. While posts arrive, pages neither repeat nor skip one that was there at the first."""
    lake = here.lake()
    where = filters.sql() + (behind(read_cursor(cursor)) if cursor is not None else "")
    found = lake.sql(
        "select id, coalesce(revision, 0) revision, event_time, log_partition, log_offset from posts "
        f"where {where} order by event_time desc, id desc, 2 desc limit {limit + 1}"
    )
    page = found.slice(0, limit)
    following = make_cursor(page.slice(limit - 1).to_pylist()[0]) if found.num_rows > limit else None
    answer = msgspec.json.encode({"posts": in_order(lake, page), "next": following})
    return Response(answer, media_type="application/json")


def in_order(lake: Lake, places: pa.Table) -> list[dict[str, Any]]:
    """The posts at these places of the log, in the order of the places. One that is withdrawn meanwhile is left out."""
    wanted = list(zip(places["log_partition"].to_pylist(), places["log_offset"].to_pylist(), strict=True))
    by_partition: dict[int, list[int]] = {}
    for partition, offset in wanted:
        by_partition.setdefault(partition, []).append(offset)
    parts = [
        f"(log_partition = {partition} and log_offset between {min(offsets)} and {max(offsets)} "
        f"and log_offset in ({', '.join(map(str, offsets))}))"
        for partition, offsets in by_partition.items()
    ]
    if not parts:
        return []
    found = lake.sql(f"select {', '.join(SHOWN_COLUMNS)} from posts where {' or '.join(parts)}")
    by_place = {(row["log_partition"], row["log_offset"]): row for row in rows(one_batch([found], _SHOWN))}
    return [by_place[place] for place in wanted if place in by_place]


def make_cursor(row: dict[str, Any]) -> str:
    """The place behind a post, in the order of event time, id and revision."""
    at_us = (row["event_time"] - _EPOCH) // timedelta(microseconds=1)
    text = msgspec.json.encode([at_us, row["id"], row["revision"]])
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def read_cursor(cursor: str) -> tuple[datetime, str, int]:
    """What `make_cursor` wrote. Raises Problem for anything else."""
    try:
        text = base64.urlsafe_b64decode(cursor.rstrip("=") + "=" * (-len(cursor.rstrip("=")) % 4))
        at_us, post_id, revision = msgspec.json.decode(text, type=tuple[int, str, int])
        at = _EPOCH + timedelta(microseconds=at_us)
    except (ValueError, msgspec.MsgspecError, OverflowError) as error:
        raise Problem(422, "query.cursor: expected what an answer has in `next`") from error
    if not 1678 <= at.year <= 2261 or "\0" in post_id or not -(2**63) <= revision < 2**63:
        raise Problem(422, "query.cursor: expected what an answer has in `next`")
    return at, post_id, revision


def behind(place: tuple[datetime, str, int]) -> str:
    """The tail of a predicate: what comes behind a place."""
    at, post_id, revision = literal(place[0]), literal(place[1]), place[2]
    return (
        f" and event_time <= {at} and (event_time < {at} or id < {post_id} "
        f"or (id = {post_id} and coalesce(revision, 0) < {revision}))"
    )
