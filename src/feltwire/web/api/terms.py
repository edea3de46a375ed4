"""`GET /api/v1/terms`."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query, Response

from feltwire.mood import View, read
from feltwire.schema import ALL_TRACKS
from feltwire.web.api._documents import Terms
from feltwire.web.api._params import From, Langs, Sources, To, Track, problems, span
from feltwire.web.context import Here

router = APIRouter(tags=["terms"])

Kind = Annotated[
    Literal["hashtag", "entity", "domain", "category", "emotion", "emoji_used", "emoji", "word"] | None,
    Query(description="Without it all but `word`, which is counted in the posts when it is asked for."),
]


@router.get("/terms", response_model=Terms, responses=problems(409), operation_id="terms")
def terms(  # noqa: PLR0917 - the parameters of a query
    here: Here,
    kind: Kind = None,
    track: Track = None,
    since: From = None,
    until: To = None,
    source: Sources = None,
    lang: Langs = None,
    limit: Annotated[int, Query(ge=1, le=1_000, description="So many of each kind.")] = 20,
) -> Response:
    """What people use most: hashtags, names, domains, categories, emotions, emoji and words, with their mood."""
    start, end = span(since, until)
    counted: int | None = None
    if kind == "word":
        view = View(
            start=start or datetime(1678, 1, 1, tzinfo=UTC),
            end=end or datetime(2261, 1, 1, tzinfo=UTC),
            every_s=86_400 * 36_500,
            tracks=() if track is None else (track,),
            sources=tuple(source or ()),
            langs=tuple(lang or ()),
        )
        found = read.terms(here.lake(), view, "word", limit)
        sampled = (found.schema.metadata or {}).get(b"sampled")
        counted = int(sampled) if sampled else None
        listed: list[dict[str, Any]] = [{"kind": "word", **row} for row in found.to_pylist()]
    else:
        found = here.lake().terms(
            kind=kind, track=track or ALL_TRACKS, since=start, until=end, sources=source or (), langs=lang or (),
            limit=limit,
        )  # fmt: skip
        listed = found.to_pylist()
    answer = {"terms": [_shown(row) for row in listed], "counted": counted}
    return Response(msgspec.json.encode(answer), media_type="application/json")


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    n, positive, negative = row["n"], row["n_positive"], row["n_negative"]
    return {
        "kind": row["kind"],
        "term": row["term"],
        "n": n,
        "n_negative": negative,
        "n_positive": positive,
        "net": (positive - negative) / n if n else 0.0,
    }
