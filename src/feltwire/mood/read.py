"""A view, read from a lake. Each function takes the lake, or a snapshot of it that several questions share.

A view that the minute sums answer (`View.summed`) is read from `windows` and `terms`; any other from `posts`. Both
give the same numbers. Raises LakeError where the lake cannot be read now.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
from deltalake.exceptions import DeltaError

from feltwire import schema, windows
from feltwire.errors import ConfigError, LakeError
from feltwire.lake import Lake
from feltwire.lake.reader import Snapshot, literal, one_batch
from feltwire.mood import predicate, shares
from feltwire.mood.apart import Apart, set_apart
from feltwire.mood.moments import LEAD
from feltwire.mood.view import WORD, View
from feltwire.mood.words import words

Source: TypeAlias = Lake | Snapshot
"""Where to read: a lake as it is now, or a snapshot (`snapshot`) for several questions about one moment."""

COUNTS: Final = ("n", "n_scored", *(f"n_{label}" for label in shares.ORDER))
_AVERAGES: Final = tuple(f"avg_{label}" for label in shares.ORDER)
_SUMS: Final = (*COUNTS, *(f"sum_p_{label}" for label in shares.ORDER))
TERM_COLUMNS: Final = ("hashtags", "links", "emoji_used", "emoji", "entities", "category", "emotion")
"""The columns of `posts` that terms come from."""
MAX_WORD_POSTS: Final = 20_000
"""Posts whose words are counted; of more, a random sample is counted and its counts are scaled up."""
LISTED: Final = (
    "id", "revision", "log_partition", "log_offset", "event_time", "source", "author_id", "author_handle",
    "author_name", "author_verified", "text", "lang", "url", "hashtags", "mentions", "links", "emoji_used", "tracks",
    "scored", "sentiment", "p_negative", "p_mixed", "p_neutral", "p_positive", "confidence", "emoji", "emotion",
    "irony", "offensive", "hate", "complaint", "category", "reason", "urgency", "entities", "model",
)  # fmt: skip
"""The columns of `posts` that a list of posts has: all that a page shows, not the raw input."""

MAX_COMPARED: Final = 20_000
"""Posts of each span that an explanation reads; of more, a random sample."""

SERIES: Final = pa.schema(
    [
        pa.field("window", schema.TIME),
        *(pa.field(name, pa.int64()) for name in COUNTS),
        *(pa.field(name, pa.float64()) for name in _AVERAGES),
        pa.field("net", pa.float64()),
    ]
)
TERMS: Final = pa.schema(
    [
        *(("term", pa.string()), ("n", pa.int64()), ("n_negative", pa.int64()), ("n_positive", pa.int64())),
        ("mood", pa.float64()),
    ]
)


@dataclass(frozen=True)
class Totals:
    """The sums of a whole range."""

    n: int
    n_scored: int
    n_negative: int
    n_mixed: int
    n_neutral: int
    n_positive: int
    avg_negative: float
    avg_mixed: float
    avg_neutral: float
    avg_positive: float

    @property
    def net(self) -> float | None:
        """Net mood in points, -100 to +100; None where nothing was scored."""
        return shares.net(self.n_positive, self.n_negative, self.n_scored)

    @property
    def shares(self) -> dict[str, float]:
        """{sentiment: percent} in the order of the page; they add up to exactly 100.0, or are all 0.0."""
        return shares.of_counts({f"n_{label}": getattr(self, f"n_{label}") for label in shares.ORDER})


def snapshot(lake: Lake) -> Snapshot:
    """The lake at one moment: what a page's questions share, and what makes each of them quick."""
    with _reachable():
        return Snapshot(lake.location, lake.owner, ["windows", "terms", "posts"])


def series(source: Source, view: View) -> pa.Table:
    """One row a window of the view, oldest first, as SERIES; windows without posts stand there with zeros.

    `window` is its start, `avg_` the mean probability of each sentiment over scored posts (0.0 without any), `net`
    the net mood in points (null without any).
    """
    start, step = int(view.start.timestamp()) * 1_000_000, view.every_s * 1_000_000
    time = "minute" if view.summed else "event_time"
    place = f"(cast({time} as bigint) - {start}) / {step}"
    found = _ask(source, view, f"{place} place, {_sums_sql(view)}", "group by 1")
    count = view.windows
    at = found["place"].to_numpy()
    columns: dict[str, Any] = {}
    for name in _SUMS:
        values = found[name].to_numpy(zero_copy_only=False)
        whole = pa.array([0] * count, pa.float64() if name.startswith("sum_p") else pa.int64()).to_numpy().copy()
        whole[at] = values
        columns[name] = whole
    scored = columns["n_scored"]
    some = scored > 0
    divisor = scored + ~some
    table = {"window": pa.array(range(start, start + count * step, step), pa.int64()).cast(schema.TIME)}
    table |= {name: pa.array(columns[name]) for name in COUNTS}
    table |= {f"avg_{label}": pa.array(columns[f"sum_p_{label}"] / divisor) for label in shares.ORDER}
    points = 100.0 * (columns["n_positive"] - columns["n_negative"]) / divisor
    table["net"] = pa.array(points, mask=~some)
    return pa.table(table, schema=SERIES)


def category_series(source: Source, view: View) -> list[int]:
    """How many posts of each window of the view, oldest first, have a category: how many complain.

    From the minute sums where these hold whole windows (those of terms become hours after 48 h), else from the posts.
    """
    hours = view.every_s % 3_600 == 0 and view.start.minute == 0
    summed = view.summed and hours
    table, time, count = ("terms", "minute", "sum(n)") if summed else ("posts", "event_time", "count(*)")
    if summed:
        where = f"kind = 'category' and {predicate.of_sums(view)}"
    else:
        where = f"category is not null and {predicate.of_posts(view)}"
    start, step = int(view.start.timestamp()) * 1_000_000, view.every_s * 1_000_000
    place = f"(cast({time} as bigint) - {start}) / {step}"
    found = _table(
        source, table, f"select {place} place, cast({count} as bigint) n from {table} where {where} group by 1"
    )
    counts = dict(zip(found["place"].to_pylist(), found["n"].to_pylist(), strict=True))
    return [int(counts.get(i, 0)) for i in range(view.windows)]


def totals(source: Source, view: View) -> Totals:
    """The sums of the whole range."""
    (row,) = _ask(source, view, _sums_sql(view)).to_pylist()
    counts = {name: int(row[name] or 0) for name in COUNTS}
    scored = max(1, counts["n_scored"])
    averages: Any = {f"avg_{label}": float(row[f"sum_p_{label}"] or 0.0) / scored for label in shares.ORDER}
    return Totals(**counts, **averages)


def breakdown(source: Source, view: View, column: str) -> pa.Table:
    """How the posts of a view are spread over `source`, `lang` or a label: value, n; most first, null as `und`."""
    if column not in ("source", "lang", "sentiment", "emotion", "irony", "offensive", "hate", "urgency", "category"):
        raise ConfigError(f"posts are not counted by {column!r}: expected source, lang or the name of a label")
    summed = view.summed and column in ("source", "lang")
    table, where = ("windows", predicate.of_sums(view)) if summed else ("posts", predicate.of_posts(view))
    count = "sum(n)" if summed else "count(*)"
    found = _table(
        source,
        table,
        f"select coalesce({column}, 'und') value, cast({count} as bigint) n from {table} where {where} "
        f"group by 1 having {count} > 0 order by n desc, value",
    )
    return found.cast(pa.schema([("value", pa.string()), ("n", pa.int64())]))


def terms(source: Source, view: View, kind: str, limit: int = 10) -> pa.Table:
    """What the posts of a view use most, most used first, as TERMS; `mood` is (positive - negative) / n in points.

    `kind` is one of `schema.TERM_KINDS`, or `word`: words are counted from the posts, of more than MAX_WORD_POSTS
    from a random sample, whose counts are scaled up; then the table's metadata has `sampled`: how many posts were
    read. Terms that maintenance merged into `other` are left out. Of minutes that became hours (48 hours back) the
    whole hour counts if it begins in the view. Raises ConfigError for another kind.
    """
    if kind == WORD:
        return _words(source, view, limit)
    if kind not in schema.TERM_KINDS:
        raise ConfigError(f"unknown kind of term {kind!r}: known are {', '.join((*schema.TERM_KINDS, WORD))}")
    if not view.summed:
        return _terms_of_posts(source, view, kind, limit)
    sums = ", ".join(f"cast(sum({name}) as bigint) {name}" for name in ("n", "n_negative", "n_positive"))
    found = _table(
        source,
        "terms",
        f"select term, {sums} from terms where {predicate.of_sums(view)} and kind = {literal(kind)} "
        f"and term <> 'other' group by term having sum(n) > 0 order by 2 desc, 1 limit {int(limit)}",
    )
    return _with_mood(found)


def posts(source: Source, view: View, limit: int = 50, before: tuple[datetime, str] | None = None) -> pa.Table:
    """The posts of a view, newest first, with the columns LISTED.

    `before` is (event_time, id) of the last post of the page before: what comes behind it in this order.
    """
    where = predicate.of_posts(view)
    if before is not None:
        moment, post_id = literal(before[0]), literal(before[1])
        where += f" and (event_time < {moment} or (event_time = {moment} and id < {post_id}))"
    order = f"order by event_time desc, id desc limit {int(limit)}"
    # First which ones, then all of their columns: these are many, and sorting would read them for the whole range.
    ends = _table(
        source,
        "posts",
        f"select min(event_time) a, max(event_time) b from (select event_time, id from posts where {where} {order})",
    )
    first, last = ends["a"][0].as_py(), ends["b"][0].as_py()
    if first is None:
        return _columns_of_posts(LISTED).empty_table()
    where += f" and event_time >= {literal(first)} and event_time <= {literal(last)}"
    found = _table(source, "posts", f"select {', '.join(LISTED)} from posts where {where} {order}")
    return pa.Table.from_batches([one_batch([found], _columns_of_posts(LISTED))])


def count_posts(source: Source, view: View) -> int:
    """How many posts a view has."""
    if view.summed:
        found = _table(source, "windows", f"select sum(n) n from windows where {predicate.of_sums(view)}")
    else:
        found = _table(source, "posts", f"select count(*) n from posts where {predicate.of_posts(view)}")
    return int(found["n"][0].as_py() or 0)


def has_posts(source: Source) -> bool:
    """Whether there has been a post yet."""
    return bool(_table(source, "windows", "select 1 from windows limit 1").num_rows)


def explain(source: Source, view: View, start: datetime, end: datetime, *, windows_before: int = LEAD) -> Apart:
    """What sets the posts of a view from `start` to `end` apart from those of the windows before `start`.

    The posts before are those of `windows_before` windows of the view. Of more than MAX_COMPARED posts a random
    sample is read, and `sampled` says so.
    """
    span = view.between(start, end)
    before = view.between(span.start - windows_before * view.every, span.start)
    now, n = sample(source, span, LISTED, MAX_COMPARED)
    usual, n_before = sample(source, before, LISTED, MAX_COMPARED)
    return set_apart(
        now,
        usual,
        span=(span.start, span.end),
        before_span=(before.start, before.end),
        counts=(n, n_before),
        first_from=span.start - view.every,
    )


def tracks_of(source: Source, *, since: datetime | None = None) -> list[str]:
    """The names of the tracks that the lake has posts of, most posts first; `*` is none."""
    where = f"minute >= {literal(since)}" if since else "true"
    found = _table(
        source,
        "windows",
        f"select track, sum(n) n from windows where {where} and track <> '*' "
        "group by 1 having sum(n) > 0 order by 2 desc, 1",
    )
    names: list[str] = found["track"].to_pylist()
    return names


def sample(source: Source, view: View, columns: Sequence[str], most: int) -> tuple[pa.Table, int]:
    """(posts, how many there are): all posts of a view, or about `most` of them chosen at random, always the same."""
    count = count_posts(source, view)
    where = predicate.of_posts(view)
    if count > most:
        # By what stands in the log, so that the same view has the same sample.
        where += f" and (log_offset * 2654435761) % 1000003 < {int(1_000_003 * most / count)}"
    found = _table(source, "posts", f"select {', '.join(columns)} from posts where {where}")
    return pa.Table.from_batches([one_batch([found], _columns_of_posts(columns))]), count


def _sums_sql(view: View) -> str:
    if view.summed:
        return ", ".join(
            f"cast(sum({name}) as {'double' if name.startswith('sum_p') else 'bigint'}) {name}" for name in _SUMS
        )
    parts = ["cast(count(*) as bigint) n", "cast(sum(case when scored then 1 else 0 end) as bigint) n_scored"]
    for label in shares.ORDER:
        parts.append(f"cast(sum(case when sentiment = '{label}' then 1 else 0 end) as bigint) n_{label}")
    parts += [f"sum(cast(coalesce(p_{label}, 0) as double)) sum_p_{label}" for label in shares.ORDER]
    return ", ".join(parts)


def _columns_of_posts(names: Sequence[str]) -> pa.Schema:
    return pa.schema([schema.POSTS.field(name) for name in names])


def _ask(source: Source, view: View, select: str, tail: str = "") -> pa.Table:
    table, where = ("windows", predicate.of_sums(view)) if view.summed else ("posts", predicate.of_posts(view))
    return _table(source, table, f"select {select} from {table} where {where} {tail}")


def _table(source: Source, table: str, sql: str) -> pa.Table:
    with _reachable():
        if isinstance(source, Snapshot):
            return source.table(sql)
        return Snapshot(source.location, source.owner, [table]).table(sql)


@contextmanager
def _reachable() -> Iterator[None]:
    try:
        yield
    except (DeltaError, OSError, pa.ArrowException) as error:
        raise LakeError(f"the lake cannot be read: {error}") from error


def _with_mood(found: pa.Table) -> pa.Table:
    points = pc.multiply(100.0, pc.cast(pc.subtract(found["n_positive"], found["n_negative"]), pa.float64()))
    mood = pc.divide(points, pc.cast(found["n"], pa.float64()))
    return found.append_column("mood", mood).select(TERMS.names).cast(TERMS)


def _terms_of_posts(source: Source, view: View, kind: str, limit: int) -> pa.Table:
    found, _ = sample(source, view, (*TERM_COLUMNS, "sentiment"), 10**9)
    owned = windows.post_terms(one_batch([found], found.schema))
    return _top(owned.filter(pc.equal(owned["kind"], kind)), found["sentiment"], limit, 1.0)


def _words(source: Source, view: View, limit: int) -> pa.Table:
    found, count = sample(source, view, ("text", "sentiment"), MAX_WORD_POSTS)
    rows, each = words(found["text"])
    kept = pa.table({"row": rows, "term": each})
    scale = count / found.num_rows if found.num_rows and count > found.num_rows else 1.0
    top = _top(kept, found["sentiment"], limit, scale)
    return top.replace_schema_metadata({"sampled": str(found.num_rows)}) if count > found.num_rows else top


def _top(owned: pa.Table, sentiment: pa.ChunkedArray, limit: int, scale: float) -> pa.Table:
    """The most frequent terms of (row, term)."""
    of = sentiment.take(owned["row"])
    counted = pa.table(
        {
            "term": owned["term"],
            "n_negative": pc.cast(pc.fill_null(pc.equal(of, "negative"), False), pa.int64()),
            "n_positive": pc.cast(pc.fill_null(pc.equal(of, "positive"), False), pa.int64()),
        }
    )
    sums = counted.group_by("term", use_threads=False).aggregate(
        [([], "count_all"), ("n_negative", "sum"), ("n_positive", "sum")]
    )
    sums = sums.rename_columns(["term", "n", "n_negative", "n_positive"])
    sums = sums.sort_by([("n", "descending"), ("term", "ascending")]).slice(0, limit)
    mood = _with_mood(sums)
    if scale == 1.0:
        return mood
    for name in ("n", "n_negative", "n_positive"):
        scaled = pc.cast(pc.round(pc.multiply(pc.cast(mood[name], pa.float64()), scale)), pa.int64())
        mood = mood.set_column(mood.column_names.index(name), name, scaled)
    return mood
