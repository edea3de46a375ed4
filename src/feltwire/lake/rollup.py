"""Windows of any length and the terms of a time, out of the minute sums; or, as of a time, out of the posts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from feltwire import schema, windows
from feltwire.errors import ConfigError
from feltwire.lake.reader import Snapshot, batches, literal, run_sql
from feltwire.lake.storage import Location
from feltwire.lake.tables import Owner

UNKNOWN_LANG: Final = "und"
_MONDAY: Final = datetime(1970, 1, 5, tzinfo=UTC)  # windows of any length are counted from here
_COUNTS: Final = (*schema.SUMS, *schema.P_SUMS)
_TERMS: Final = pa.schema(
    [("kind", pa.string()), ("term", pa.string()), *((name, pa.int64()) for name in ("n", "n_negative", "n_positive"))]
)


@dataclass(frozen=True, kw_only=True)
class Span:
    """Which sums are asked for: a time (`until` excluded), some tracks, sources and languages (none: all), perhaps as
    of a time. The language `und` is that of posts whose language nobody knows."""

    since: datetime | None = None
    until: datetime | None = None
    tracks: Sequence[str] = ()
    sources: Sequence[str] = ()
    langs: Sequence[str] = ()
    as_of: datetime | None = None

    def predicate(self, column: str = "minute") -> str:
        """The span as SQL, beginning with `true`."""
        found = "true" + between(column, self.since, self.until)
        if self.tracks:
            found += f" and track in ({', '.join(literal(track) for track in self.tracks)})"
        if self.sources:
            found += f" and source in ({', '.join(literal(source) for source in self.sources)})"
        if self.langs:
            found += f" and coalesce(lang, {literal(UNKNOWN_LANG)}) in ({', '.join(map(literal, self.langs))})"
        return found

    def picks(self, sums: pa.Table) -> pa.Table:
        """The rows of a table of sums that the span holds."""
        mask = pc.is_valid(sums["minute"])
        if self.since:
            mask = pc.and_(mask, pc.greater_equal(sums["minute"], pa.scalar(self.since, schema.TIME)))
        if self.until:
            mask = pc.and_(mask, pc.less(sums["minute"], pa.scalar(self.until, schema.TIME)))
        if self.tracks:
            mask = pc.and_(mask, pc.is_in(sums["track"], pa.array(self.tracks, pa.string())))
        if self.sources:
            mask = pc.and_(mask, pc.is_in(sums["source"], pa.array(self.sources, pa.string())))
        if self.langs:
            lang = pc.fill_null(sums["lang"], UNKNOWN_LANG)
            mask = pc.and_(mask, pc.is_in(lang, pa.array(self.langs, pa.string())))
        return sums.filter(mask)


def roll_up(location: Location, owner: Owner, span: Span, minutes: int) -> pa.Table:
    """Windows of `minutes` by track, oldest first; the columns are those of `Lake.windows`."""
    if span.as_of is None:
        start = _start(minutes)
        sums = ", ".join(f"sum({name}) {name}" for name in _COUNTS)
        where = span.predicate()
        sql = f'select {start} "window", track, {sums} from windows where {where} group by 1, 2 order by 1, 2'
        found = run_sql(location, owner, sql)
    else:
        found = span.picks(_sums_as_of(location, owner, span.as_of, windows.window_sums, schema.WINDOWS))
        found = found.append_column("window", _floor(found["minute"], minutes)).group_by(["window", "track"])
        found = found.aggregate([(name, "sum") for name in _COUNTS])
        found = found.rename_columns([name.removesuffix("_sum") for name in found.column_names])
        found = found.sort_by([("window", "ascending"), ("track", "ascending")])
    return _with_shares(found)


def count_terms(location: Location, owner: Owner, span: Span, kind: str | None, limit: int) -> pa.Table:
    """What people use most, by kind, most used first, at most `limit` of a kind."""
    if kind is not None and kind not in schema.TERM_KINDS:
        raise ConfigError(f"unknown kind of term {kind!r}: known are {', '.join(schema.TERM_KINDS)}")
    if span.as_of is None:
        sums = ", ".join(f"sum({name}) {name}" for name in ("n", "n_negative", "n_positive"))
        where = span.predicate() + (f" and kind = {literal(kind)}" if kind else "")
        sql = f"select kind, term, {sums} from terms where {where} group by kind, term having sum(n) > 0"
        found = run_sql(
            location,
            owner,
            f"select kind, term, n, n_negative, n_positive from (select *, row_number() over "
            f"(partition by kind order by n desc, term) place from ({sql})) where place <= {limit}",
        ).cast(_TERMS)
    else:
        found = span.picks(_sums_as_of(location, owner, span.as_of, windows.term_sums, schema.TERMS))
        if kind:
            found = found.filter(pc.equal(found["kind"], kind))
        found = found.group_by(["kind", "term"]).aggregate([(name, "sum") for name in _TERMS.names[2:]])
        found = found.rename_columns(_TERMS.names).cast(_TERMS)
    found = found.sort_by([("kind", "ascending"), ("n", "descending"), ("term", "ascending")])
    return _first_of_each(found, "kind", limit)


def floor(moment: datetime, length: timedelta) -> datetime:
    """The start of the window of this length that a moment lies in."""
    return _MONDAY + (moment - _MONDAY) // length * length


def between(column: str, since: datetime | None, until: datetime | None) -> str:
    """A time span as the tail of a SQL predicate; `until` is excluded."""
    found = f" and {column} >= {literal(since)}" if since else ""
    return found + (f" and {column} < {literal(until)}" if until else "")


def _sums_as_of(
    location: Location,
    owner: Owner,
    as_of: datetime,
    sum_up: Callable[[pa.RecordBatch], pa.RecordBatch],
    sums_schema: pa.Schema,
) -> pa.Table:
    """The sums that the lake had at a time: those of the posts that had arrived by then."""
    snapshot = Snapshot(location, owner, ["posts"], as_of=as_of)
    total = schema.empty(sums_schema)
    for batch in batches(snapshot.query("select * from posts"), schema.POSTS):
        total = windows.merge([total, sum_up(batch)], sums_schema)
    return pa.Table.from_batches([total])


def _start(minutes: int) -> str:
    """The start of a minute's window, as SQL. Whole numbers, since date_bin knows no year before 1678."""
    step, origin = minutes * 60_000_000, int(_MONDAY.timestamp()) * 1_000_000
    ticks = f"(cast(minute as bigint) - {origin})"
    down = f"{ticks} - (({ticks} % {step}) + {step}) % {step} + {origin}"
    return f"arrow_cast({down}, 'Timestamp(Microsecond, Some(\"UTC\"))')"


def _floor(minute: pa.ChunkedArray, minutes: int) -> pa.ChunkedArray:
    step, origin = minutes * 60_000_000, int(_MONDAY.timestamp()) * 1_000_000
    ticks = pc.subtract(pc.cast(minute, pa.int64()), origin)
    # Integer division rounds towards zero; before the origin it has to go down.
    down = pc.if_else(pc.less(ticks, 0), pc.subtract(ticks, step - 1), ticks)
    return pc.cast(pc.add(pc.multiply(pc.divide(down, step), step), origin), schema.TIME)


def _with_shares(sums: pa.Table) -> pa.Table:
    """Counts, then share_ and avg_ of each sentiment, then net; 0.0 where nothing was scored."""
    columns = {"window": pc.cast(sums["window"], schema.TIME), "track": pc.cast(sums["track"], pa.string())}
    columns |= {name: sums[name] for name in schema.SUMS}
    scored = pc.cast(sums["n_scored"], pa.float64())
    divisor = pc.if_else(pc.equal(scored, 0.0), 1.0, scored)
    for label in schema.SENTIMENTS:
        columns[f"share_{label}"] = pc.divide(pc.cast(sums[f"n_{label}"], pa.float64()), divisor)
    for label in schema.SENTIMENTS:
        columns[f"avg_{label}"] = pc.divide(sums[f"sum_p_{label}"], divisor)
    columns["net"] = pc.subtract(columns["share_positive"], columns["share_negative"])
    table = pa.table(columns)
    return table.filter(pc.greater(table["n"], 0))


def _first_of_each(table: pa.Table, column: str, limit: int) -> pa.Table:
    """The first `limit` rows of each run of equal values of a column that the table is sorted by."""
    seen: dict[object, int] = {}
    keep = []
    for value in table[column].to_pylist():
        seen[value] = seen.get(value, 0) + 1
        keep.append(seen[value] <= limit)
    return table.filter(pa.array(keep, pa.bool_()))
