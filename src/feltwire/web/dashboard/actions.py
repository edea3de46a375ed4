"""What a page can ask to be done: say why, store a correction, count matches, start a track."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from feltwire.errors import ConfigError
from feltwire.explain import explain
from feltwire.lake import added_tracks
from feltwire.lake.reader import literal
from feltwire.mood import predicate
from feltwire.tracks import Track
from feltwire.web.dashboard.context import Context
from feltwire.web.dashboard.words import LABELS
from feltwire.web.guard import AccessScope, allows

BY: Final = "page"
MAX_MARKS: Final = 6
LEAST_SHARE: Final = 0.15
"""A word is marked if it moved the probability by this share of what the strongest word did, and by 0.01."""

Answer = dict[str, Any]


def check(name: str, access: AccessScope | None) -> None:
    """Raises ConfigError where who asks may not do it."""
    wanted = _NEEDED.get(name, "read")
    if not allows(access, wanted):
        raise ConfigError(f"this needs a token of the scope {wanted}")


def run(name: str, given: Mapping[str, Any], context: Context) -> Answer:
    """Do one thing. Raises FeltwireError with a message that the page shows."""
    action = _ACTIONS.get(name)
    if action is None:
        raise ConfigError(f"unknown action {name!r}: expected one of {', '.join(_ACTIONS)}")
    return action(given, context)


def _text(given: Mapping[str, Any], key: str, most: int = 500) -> str:
    value = given.get(key)
    if not isinstance(value, str) or not value.strip() or len(value) > most:
        raise ConfigError(f"{key}: a text of 1 to {most} characters is needed")
    return value.strip()


def _why(given: Mapping[str, Any], context: Context) -> Answer:
    """The words that moved a post's label: [[start, end, "neg" or "pos", strength 0 to 1], …]."""
    post_id = _text(given, "id")
    found = context.lake().sql(f"select text, sentiment from posts where id = {literal(post_id)} limit 1").to_pylist()
    if not found:
        raise ConfigError("this post is no longer in the lake")
    text, label = (found[0]["text"] or "").strip(), found[0]["sentiment"]
    if label not in LABELS:
        raise ConfigError("this post has no label to explain")
    uri = context.model()
    if uri.startswith("none:"):
        raise ConfigError("no model runs here: start it with --model to see why")
    marks = _marks(text, uri, label)
    return {"id": post_id, "marks": marks}


def _marks(text: str, uri: str, label: str) -> list[list[Any]]:
    """Words that pull down (towards negative) and up, the strongest first, in the order of the text."""
    values: dict[tuple[int, int], float] = {}
    for of, way in (("negative", -1.0), ("positive", 1.0)):
        for word in explain(text, uri, label=of).words:
            if word.start is not None and word.end is not None:
                place = (word.start, word.end)
                values[place] = values.get(place, 0.0) + way * word.value
    strongest = max((abs(value) for value in values.values()), default=0.0)
    chosen = [place for place, value in values.items() if abs(value) >= max(0.01, LEAST_SHARE * strongest)]
    chosen.sort(key=lambda place: -abs(values[place]))
    kept = sorted(chosen[:MAX_MARKS])
    return [
        [start, end, "neg" if values[start, end] < 0 else "pos", round(abs(values[start, end]) / strongest, 2)]
        for start, end in kept
    ]


def _correct(given: Mapping[str, Any], context: Context) -> Answer:
    """Store a person's label for a post."""
    value = _text(given, "value", 20)
    if value not in LABELS:
        raise ConfigError(f"the label {value!r} came; allowed are {', '.join(LABELS)}")
    context.lake().correct(_text(given, "id"), "sentiment", value, BY)
    return {"id": given["id"], "value": value}


def _match(given: Mapping[str, Any], context: Context) -> Answer:
    """How many of the posts of the last 10 minutes a query matches."""
    query = _text(given, "query", 2_000)
    Track("match", query)
    where = predicate.of_query(query)
    sql = (
        "select count(*) n, cast(coalesce(sum(case when " + where + " then 1 else 0 end), 0) as bigint) m from posts "
        "where ingested_at >= now() - interval '10 minutes'"
    )
    row = context.lake().sql(sql).to_pylist()[0]
    return {"seen": row["n"], "matched": row["m"], "minutes": 10}


def _track(given: Mapping[str, Any], context: Context) -> Answer:
    """Listen for something more, from the engine's next batch on and after every restart."""
    track = Track(_text(given, "name", 100), _text(given, "query", 2_000))
    added_tracks.add(context.lake().location, track, context.tracks())
    context.kept.clear()
    return {"added": track.name}


_NEEDED: Final[dict[str, AccessScope]] = {"correct": "write", "track": "admin"}
_ACTIONS: Final[dict[str, Callable[[Mapping[str, Any], Context], Answer]]] = {
    "why": _why,
    "correct": _correct,
    "match": _match,
    "track": _track,
}
