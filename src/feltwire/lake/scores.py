"""The table `scores`: rid of what belongs to no post any more, and two models' scores of the same posts compared."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from feltwire import schema
from feltwire.errors import ConfigError
from feltwire.lake import rewrite
from feltwire.lake.append import position
from feltwire.lake.lake import CORRECTABLE, Lake
from feltwire.lake.reader import Snapshot, literal
from feltwire.lake.storage import Location, Written
from feltwire.lake.tables import FILES_ID, Owner

STREAM: Final = "stream"
"""In the place of a model: whichever scored a post when it came."""

_KEY: Final = ["id", "revision"]


def remove_orphans(location: Location, owner: Owner) -> int:
    """Remove the scores of posts that `posts` does not have any more; return how many rows went.

    They are out of sight already. Several maintainers may call it at once: one of them removes.
    """
    snapshot = Snapshot(location, owner, ["scores"])
    handle = snapshot.handles["scores"]
    files = rewrite.list_files(handle, "scores")
    if not files:
        return 0
    found = snapshot.table(
        "select s.id, coalesce(s.revision, 0) revision from scores_all s where not exists (select 1 from posts_all p "
        "where p.id = s.id and coalesce(p.revision, 0) = coalesce(s.revision, 0))"
    )
    gone = pc.unique(_keys(found))
    if not len(gone):
        return 0
    removed: list[rewrite.File] = []
    written: list[Written] = []
    for file in files:
        if not any(pc.any(pc.is_in(_keys(rows), gone)).as_py() for rows in location.read("scores", file.name, _KEY)):
            continue
        kept = location.write("scores", _without(location, file, gone), schema.SCORES_TABLE)
        removed.append(file)
        if kept.rows:
            written.append(kept)
    moves = {FILES_ID: position(handle, FILES_ID) + 1}
    dropped = rewrite.replace(handle, "scores", removed, written, moves, data_change=True)
    return sum(file.rows for file in removed) - sum(file.rows for file in written) if dropped else 0


def _keys(rows: pa.Table | pa.RecordBatch) -> pa.Array:
    """Id and revision as one text."""
    ids, revisions = (
        column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        for column in (rows["id"], rows["revision"])
    )
    return pc.binary_join_element_wise(
        ids.cast(pa.string()), pc.fill_null(revisions, 0).cast(pa.string()), "\n", null_handling="replace"
    )


def _without(location: Location, file: rewrite.File, gone: pa.Array) -> Iterator[pa.RecordBatch]:
    for batch in location.read("scores", file.name):
        rows = schema.conform(batch, schema.SCORES_TABLE)
        yield rows.filter(pc.invert(pc.is_in(_keys(rows), gone)))


# Comparing


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What two models say of the same posts."""

    field: str
    models: tuple[str, str]
    n: int  # posts that both have a label for
    agreed: int
    kappa: float  # Cohen's: the agreement beyond what chance would give, 1.0 at most
    confusion: pa.Table  # first, second (their labels), n
    days: pa.Table  # day, n, and each model's share_negative, share_positive and net: first_…, second_…
    changed: pa.Table  # the posts that changed most, first

    @property
    def agreement(self) -> float:
        """The share of posts with the same label from both; 0.0 of none."""
        return self.agreed / self.n if self.n else 0.0


def compare(
    lake: Lake, first: str, second: str, *, field: str = "sentiment", where: str = "", limit: int = 10
) -> Comparison:
    """Compare two models, each a `name@version` that the lake has scores of, or STREAM, on the posts of both.

    `field` is one of CORRECTABLE; `where` goes on with a condition on `posts p`, `limit` is of the posts that changed
    most. Raises ConfigError for a field or a model that is not there.
    """
    if field not in CORRECTABLE:
        raise ConfigError(f"{field!r} cannot be compared: expected one of {', '.join(CORRECTABLE)}")
    if first == second:
        raise ConfigError(f"{first!r} cannot be compared with itself: name two models")
    known = scored_by(lake)
    for model in (first, second):
        if model != STREAM and model not in known:
            there = ", ".join([STREAM, *known])
            raise ConfigError(f"the lake has no scores of {model!r}: there are {there}. `feltwire rescore` makes more")
    pairs = f"with a as ({_of(first)}), b as ({_of(second)}), pairs as ({_pairs(field, where)})"
    confusion = lake.sql(f"{pairs} select first, second, count(*) n from pairs group by 1, 2 order by n desc, 1, 2")
    counts: dict[tuple[str, str], int] = {(row["first"], row["second"]): row["n"] for row in confusion.to_pylist()}
    n = sum(counts.values())
    agreed = sum(count for (one, other), count in counts.items() if one == other)
    return Comparison(
        field=field,
        models=(first, second),
        n=n,
        agreed=agreed,
        kappa=_kappa(counts, n, agreed),
        confusion=confusion,
        days=lake.sql(f"{pairs} {_DAYS}"),
        changed=lake.sql(f"{pairs} {_CHANGED} limit {int(limit)}"),
    )


def scored_by(lake: Lake) -> list[str]:
    """The models that the lake has scores of, be it in `posts` or in `scores`, by name."""
    rows = lake.sql(
        "select model from posts where model is not null union select model from scores where model is not null"
    )
    return sorted(rows["model"].to_pylist())


_P: Final = tuple(f"p_{label}" for label in schema.SENTIMENTS)
_COLUMNS: Final = ", ".join(("id", "coalesce(revision, 0) revision", *_P, *CORRECTABLE))


def _of(model: str) -> str:
    """One row for each post that the model scored."""
    if model == STREAM:
        return f"select {_COLUMNS} from posts where scored"
    name = literal(model)
    rescored = (
        f"select 1 from scores s where s.model = {name} and s.id = o.id "
        "and coalesce(s.revision, 0) = coalesce(o.revision, 0)"
    )
    return (
        f"select {_COLUMNS} from scores where model = {name} union all "
        f"select {_COLUMNS} from posts o where model = {name} and not exists ({rescored})"
    )


def _pairs(field: str, where: str) -> str:
    sums = ", ".join(f"{side}.{p} {name}_{p}" for side, name in (("a", "first"), ("b", "second")) for p in _P)
    distance = " + ".join(f"abs(coalesce(a.{p}, 0) - coalesce(b.{p}, 0))" for p in _P)
    return (
        f"select p.id, p.event_time, p.text, cast(a.{field} as varchar) first, cast(b.{field} as varchar) second, "
        f"{sums}, ({distance}) / 2 moved from posts p join a on a.id = p.id and a.revision = coalesce(p.revision, 0) "
        "join b on b.id = p.id and b.revision = coalesce(p.revision, 0) "
        f"where a.{field} is not null and b.{field} is not null{where}"
    )


def _share(side: str, label: str) -> str:
    return f"sum(case when {side} = '{label}' then 1.0 else 0.0 end) / count(*)"


_DAYS: Final = (
    "select date_trunc('day', event_time) \"day\", count(*) n, "
    + ", ".join(
        f"{_share(side, 'negative')} {side}_negative, {_share(side, 'positive')} {side}_positive, "
        f"{_share(side, 'positive')} - {_share(side, 'negative')} {side}_net"
        for side in ("first", "second")
    )
    + " from pairs group by 1 order by 1"
)
# By how much of the probability moved to other labels; what has another label comes before what has not.
_CHANGED: Final = (
    "select id, event_time, first, second, cast(moved as double) moved, text from pairs "
    "order by (case when first = second then 1 else 0 end), moved desc, id"
)


def _kappa(counts: dict[tuple[str, str], int], n: int, agreed: int) -> float:
    """Cohen 1960. 1.0 where both give all posts one and the same label; 0.0 of no posts."""
    if not n:
        return 0.0
    labels = {label for pair in counts for label in pair}

    def share(at: int, label: str) -> float:
        return sum(count for pair, count in counts.items() if pair[at] == label) / n

    chance = sum(share(0, label) * share(1, label) for label in labels)
    return 1.0 if chance >= 1 else (agreed / n - chance) / (1 - chance)


def as_json(comparison: Comparison) -> dict[str, Any]:
    """The comparison as JSON data."""
    return {
        "field": comparison.field,
        "models": list(comparison.models),
        "n": comparison.n,
        "agreed": comparison.agreed,
        "agreement": comparison.agreement,
        "kappa": comparison.kappa,
        "confusion": comparison.confusion.to_pylist(),
        "days": comparison.days.to_pylist(),
        "changed": comparison.changed.to_pylist(),
    }
