"""`/api/v1/corrections`."""

import base64
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query, Response

from feltwire.followers._rows import rows
from feltwire.lake.lake import CORRECTABLE
from feltwire.lake.reader import literal, one_batch
from feltwire.schema import CORRECTIONS, SENTIMENTS
from feltwire.times import parse_time
from feltwire.web.api._documents import Correction, Corrections, NewCorrection
from feltwire.web.api._params import Word, problems
from feltwire.web.api.posts import Cursor
from feltwire.web.context import Here
from feltwire.web.problems import Problem

router = APIRouter(tags=["corrections"])

Field = Literal["sentiment", "emotion", "irony", "offensive", "hate", "complaint", "category", "reason"]
PostId = Annotated[str, Query(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f]+$")]

_LATEST = (
    'select post_id, field, value, "by", at from (select *, row_number() over '
    "(partition by post_id, field order by at desc, value desc nulls last) place from corrections) "
    "where place = 1 and value is not null"
)


@router.get("/corrections", response_model=Corrections, responses=problems(409), operation_id="corrections")
def corrections(
    here: Here,
    post_id: Annotated[PostId | None, Query()] = None,
    field: Annotated[Field | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
    cursor: Cursor = None,
) -> Response:
    """What people said about posts: of each post and field the last word, newest first."""
    where = f" and post_id = {literal(post_id)}" if post_id is not None else ""
    where += f" and field = {literal(field)}" if field is not None else ""
    where += _behind(cursor) if cursor is not None else ""
    found = here.lake().sql(f"{_LATEST}{where} order by at desc, post_id desc, field desc limit {limit + 1}")
    listed = rows(one_batch([found.slice(0, limit)], CORRECTIONS))
    following = _cursor(listed[-1]) if found.num_rows > limit else None
    answer = msgspec.json.encode({"corrections": listed, "next": following})
    return Response(answer, media_type="application/json")


@router.post(
    "/corrections",
    response_model=Correction,
    status_code=201,
    responses=problems(404, 409),
    operation_id="add_correction",
)
def add_correction(here: Here, given: NewCorrection) -> dict[str, Any]:
    """Say what a post's label should be. The model's own stays; training can use yours."""
    _check_value(given)
    lake = here.lake()
    if not lake.sql(f"select 1 from posts where id = {literal(given.post_id)} limit 1").num_rows:
        raise Problem(404, "the lake has no post of this id")
    lake.correct(given.post_id, given.field, given.value, given.by)
    where = f"post_id = {literal(given.post_id)} and field = {literal(given.field)}"
    stored = lake.sql(f"select * from corrections where {where} and value is not null order by at desc limit 1")
    return rows(one_batch([stored], CORRECTIONS))[0]


@router.delete(
    "/corrections", status_code=204, response_class=Response, responses=problems(404, 409),
    operation_id="remove_correction",
)  # fmt: skip
def remove_correction(
    here: Here, post_id: PostId, field: Annotated[Field, Query()], by: Annotated[Word, Query()] = "api"
) -> None:
    """Take a correction back."""
    if not here.lake().retract(post_id, field, by):
        raise Problem(404, "there is no such correction")


def _check_value(given: NewCorrection) -> None:
    allowed: tuple[str, ...] | None = {"sentiment": SENTIMENTS, "complaint": ("true", "false")}.get(given.field)
    if allowed is not None and given.value not in allowed:
        raise Problem(422, f"body.value: expected one of {', '.join(allowed)} for {given.field}")


def _cursor(row: dict[str, Any]) -> str:
    text = msgspec.json.encode([row["at"], row["post_id"], row["field"]])
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def _behind(cursor: str) -> str:
    bare = cursor.rstrip("=")
    try:
        at, post_id, field = msgspec.json.decode(
            base64.urlsafe_b64decode(bare + "=" * (-len(bare) % 4)), type=tuple[str, str, str]
        )
    except (ValueError, msgspec.MsgspecError) as error:
        raise Problem(422, "query.cursor: expected what an answer has in `next`") from error
    moment = parse_time(at)
    if moment is None or not 1678 <= moment.year <= 2261 or field not in CORRECTABLE or "\0" in post_id:
        raise Problem(422, "query.cursor: expected what an answer has in `next`")
    at_sql, post_sql = literal(moment), literal(post_id)
    return (
        f" and at <= {at_sql} and (at < {at_sql} or post_id < {post_sql} "
        f"or (post_id = {post_sql} and field < {literal(field)}))"
    )
