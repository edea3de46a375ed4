"""What Health shows, read once: the account, how far behind everything is, and what happened while the page ran."""

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from feltwire import metrics, schema
from feltwire.errors import FeltwireError
from feltwire.lake.reader import Snapshot, literal
from feltwire.web.context import FollowerState
from feltwire.web.dashboard.context import Context

SAMPLE_S: Final = 10.0
HISTORY: Final = timedelta(hours=2)
MAX_EVENTS: Final = 50
QUIET: Final = timedelta(minutes=2)
"""A source that has delivered nothing for so long is called silent."""
SLOW_S: Final = 2.0
"""A lag beyond this, in seconds, is an event."""
REASONS: Final = 8
SPANS: Final = {"today": "Today", "7d": "7 d", "": "All"}


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened; `open`: it still lasts."""

    at: datetime
    text: str
    open: bool = False


@dataclass
class History:
    """Lag and events since the page was made; a thread notes them, at hardly any cost."""

    context: Context
    lags: deque[tuple[datetime, float]] = field(
        default_factory=lambda: deque(maxlen=int(HISTORY.total_seconds() / SAMPLE_S))
    )
    events: deque[Event] = field(default_factory=lambda: deque(maxlen=MAX_EVENTS))
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    _seen: tuple[float, float] = (0.0, 0.0)
    _states: dict[str, str] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Begin to note, in a thread that ends by `stop` or with the process."""
        self._seen = summary(metrics.QUERYABLE_SECONDS)
        threading.Thread(target=self._run, name="page-health", daemon=True).start()

    def stop(self) -> None:
        """Note no more."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            self.note(datetime.now(UTC))

    def note(self, now: datetime) -> None:
        """Note what it is now."""
        count, total = summary(metrics.QUERYABLE_SECONDS)
        posts, seconds = count - self._seen[0], total - self._seen[1]
        self._seen = (count, total)
        if posts > 0:
            self.lags.append((now, seconds / posts))
        lag = self.lags[-1][1] if posts > 0 else 0.0
        self._say(
            now, "lag", f"Lag reached {lag:.1f} s; nothing is lost" if lag > SLOW_S else "", "Lag is back under 2 s"
        )
        state = self.context.state
        try:
            progress = state.progress() if state.progress is not None else None
            trouble = state.trouble() or (progress.waiting if progress is not None else "") or ""
            followers = list(getattr(state, "followers", tuple)())
        except FeltwireError as error:
            trouble, followers = str(error), []
        self._say(now, "engine", " ".join(trouble.split())[:300], "The engine goes on")
        for one in followers:
            why = (
                f"{one.name}: {one.error}; it is tried again"
                if one.error
                else ""
                if one.alive
                else f"{one.name} has ended"
            )
            self._say(now, f"follower {one.name}", " ".join(why.split())[:300], f"{one.name} is following again")
        for name, metric in (("gap", metrics.SOURCE_GAPS), ("connection", metrics.SOURCE_RECONNECTS)):
            for source, many in by_source(metric).items():
                before = self._states.get(f"{name} {source}", "0")
                if float(before) < many:
                    text = (
                        "could not go on where it stopped: there is a gap"
                        if name == "gap"
                        else "lost its connection and has a new one"
                    )
                    self.events.append(Event(at=now, text=f"{source} {text}"))
                self._states[f"{name} {source}"] = str(many)

    def _say(self, now: datetime, what: str, text: str, after: str) -> None:
        """Something begins (a text), lasts (the same kind of text), or ends (none)."""
        before = self._states.get(what, "")
        if text and not before:
            self._states[what] = text  # its words are those of its beginning, also where they change while it lasts
            self.events.append(Event(at=now, text=text, open=True))
        elif before and not text:
            self._states[what] = ""
            self.events = deque(
                (Event(at=one.at, text=one.text) if one.text == before else one for one in self.events), MAX_EVENTS
            )
            self.events.append(Event(at=now, text=after))


def summary(metric: Any) -> tuple[float, float]:
    """(count, sum) of a histogram, over all of its labels."""
    count = total = 0.0
    for family in metric.collect():
        for sample in family.samples:
            count += sample.value if sample.name.endswith("_count") else 0.0
            total += sample.value if sample.name.endswith("_sum") else 0.0
    return count, total


def by_source(metric: Any) -> dict[str, float]:
    """{source: count} of a counter."""
    samples = [sample for family in metric.collect() for sample in family.samples if sample.name.endswith("_total")]
    return {sample.labels["source"]: sample.value for sample in samples}


@dataclass(frozen=True, kw_only=True)
class Source:
    """A source as the ledger and the posts know it."""

    name: str
    per_minute: float
    last: datetime | None
    gaps: int

    def silent(self, now: datetime) -> bool:
        """Whether nothing has come for a while."""
        return self.last is None or now - self.last > QUIET


@dataclass(frozen=True, kw_only=True)
class Following:
    """A follower, and how far behind the lake it is."""

    state: FollowerState
    behind: int
    """Records that the lake holds and it has not taken."""
    lag_s: float
    """How long ago the first post that it lacks was received; 0.0 where it lacks none."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of the lake; `merged`: when this process last merged its small files."""

    name: str
    rows: int
    files: int
    size: int
    merged: datetime | None


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why posts died."""

    reason: str
    source: str
    n: int
    last: datetime


@dataclass(frozen=True, kw_only=True)
class Vitals:
    """Everything that the page shows."""

    now: datetime
    counts: dict[str, int]
    difference: int
    wrong: str
    """What does not agree with the tables, in one line; empty where all does."""
    removed: int
    """Kept posts that were withdrawn since and removed."""
    since: datetime | None
    received: list[tuple[datetime, int]]
    """By minute, the last two hours, whole minutes only."""
    sources: list[Source]
    reasons: list[Reason]
    letters: list[tuple[datetime, str]]
    """Of the reason that is looked at: when and what, newest first."""
    unscored_langs: int
    model: str | None
    model_since: datetime | None
    followers: list[Following]
    tables: list[Table]
    lag: int | None

    @property
    def files(self) -> int:
        """Of all tables."""
        return sum(one.files for one in self.tables)

    @property
    def size(self) -> int:
        """Bytes of all tables."""
        return sum(one.size for one in self.tables)

    @property
    def merged(self) -> datetime | None:
        """When a table's small files were last merged."""
        return max((one.merged for one in self.tables if one.merged is not None), default=None)


def read_vitals(lake: Snapshot, context: Context, now: datetime, span: str, reason: str) -> Vitals:
    """Read them. `lake` has the tables ledger, dead_letters, windows and posts. Raises what delta-rs raises."""
    since = {"today": now.replace(hour=0, minute=0, second=0, microsecond=0), "7d": now - timedelta(days=7)}.get(span)
    counts = _counts(lake, since)
    everything = counts if since is None else _counts(lake, None)
    difference = counts["received"] - sum(counts[name] for name in ("kept", "duplicate", "filtered", "dead"))
    wrong, removed = _compare(lake, everything)
    first = lake.table("select min(minute) at from ledger")["at"][0].as_py()
    model, model_since = _model(lake, now)
    return Vitals(
        now=now,
        counts=counts,
        difference=difference,
        wrong=wrong,
        removed=removed,
        since=max(first, since) if first and since else first,
        received=_received(lake, now),
        sources=_sources(lake, now),
        reasons=_reasons(lake),
        letters=_letters(lake, reason) if reason else [],
        unscored_langs=_unscored_langs(lake),
        model=model,
        model_since=model_since,
        followers=[_following(lake, one, now) for one in getattr(context.state, "followers", tuple)()],
        tables=_tables(context.lake().sizes()),
        lag=_lag(context, lake),
    )


def _counts(lake: Snapshot, since: datetime | None) -> dict[str, int]:
    sums = ", ".join(f"cast(coalesce(sum({name}), 0) as bigint) {name}" for name in schema.LEDGER_COUNTS)
    where = f"where minute >= {literal(since)}" if since else ""
    row: dict[str, int] = lake.table(f"select {sums} from ledger {where}").to_pylist()[0]
    return row


def _compare(lake: Snapshot, counts: dict[str, int]) -> tuple[str, int]:
    """(what does not agree, removed posts): the ledger against the posts and dead letters up to where it is."""
    reached = lake.positions("ledger")
    where = " or ".join(f"(log_partition = {p} and log_offset < {end})" for p, end in reached.items()) or "false"
    stored = int(lake.table(f"select count(*) n from posts_all where {where}")["n"][0].as_py())
    dead = int(lake.table(f"select count(*) n from dead_letters_all where {where}")["n"][0].as_py())
    withdrawn = bool(lake.table("select 1 from withdrawn_all limit 1").num_rows)
    kept = counts["kept"]
    if stored > kept or (stored < kept and not withdrawn):
        return f"{kept:,} posts were kept and {stored:,} stand in the lake", 0
    if dead > counts["dead"] or (dead < counts["dead"] and not withdrawn):
        return f"{counts['dead']:,} are counted as dead and {dead:,} dead letters stand in the lake", 0
    return "", kept - stored


def _received(lake: Snapshot, now: datetime) -> list[tuple[datetime, int]]:
    end = now.replace(second=0, microsecond=0)
    start = end - HISTORY
    rows = lake.table(
        f"select minute, cast(sum(received) as bigint) n from ledger where minute >= {literal(start)} "
        f"and minute < {literal(end)} group by minute"
    ).to_pylist()
    found = {row["minute"]: row["n"] for row in rows}
    minutes = [start + i * timedelta(minutes=1) for i in range(int(HISTORY.total_seconds() // 60))]
    return [(minute, found.get(minute, 0)) for minute in minutes]


def _sources(lake: Snapshot, now: datetime) -> list[Source]:
    recent = now - timedelta(minutes=5)
    rows = lake.table(
        f"select source, cast(sum(case when minute >= {literal(recent)} then received else 0 end) as bigint) n, "
        "max(minute) last from ledger where received > 0 group by source order by n desc, source"
    ).to_pylist()
    day = (now - timedelta(days=1)).date().isoformat()
    last = lake.table(
        f"select source, max(ingested_at) at from posts_all where day >= '{day}' group by source"
    ).to_pylist()
    times = {row["source"]: row["at"] for row in last}
    gaps = by_source(metrics.SOURCE_GAPS)
    return [
        Source(
            name=row["source"] or "unknown",
            per_minute=row["n"] / 5,
            last=max(times.get(row["source"]) or row["last"], row["last"]),
            gaps=int(gaps.get(row["source"], 0)),
        )
        for row in rows
    ]


def _reasons(lake: Snapshot) -> list[Reason]:
    rows = lake.table(
        "select coalesce(reason, 'unknown') reason, coalesce(source, 'unknown') source, count(*) n, "
        f"max(received_at) last from dead_letters group by 1, 2 order by n desc, 1, 2 limit {REASONS}"
    ).to_pylist()
    return [Reason(**row) for row in rows]


def _letters(lake: Snapshot, reason: str) -> list[tuple[datetime, str]]:
    rows = lake.table(
        f"select received_at, payload from dead_letters where coalesce(reason, 'unknown') = {literal(reason)} "
        "order by received_at desc limit 5"
    ).to_pylist()
    return [(row["received_at"], row["payload"] or "") for row in rows]


def _unscored_langs(lake: Snapshot) -> int:
    sql = "select lang from windows where track = '*' group by lang having sum(n) > sum(n_scored)"
    return int(lake.table(sql).num_rows)


def _model(lake: Snapshot, now: datetime) -> tuple[str | None, datetime | None]:
    day = (now - timedelta(days=7)).date().isoformat()
    rows = lake.table(
        f"select model, min(ingested_at) since, max(ingested_at) last from posts_all where model is not null "
        f"and day >= '{day}' group by model order by last desc limit 1"
    ).to_pylist()
    return (rows[0]["model"], rows[0]["since"]) if rows else (None, None)


def _lag(context: Context, lake: Snapshot) -> int | None:
    """Records in the log that the lake does not hold."""
    state = context.state
    progress = state.progress() if state.progress is not None else None
    if progress is not None:
        return progress.lag
    if state.log is None:
        return None
    try:
        return behind(state.log().ends(), lake.positions("posts"))
    except FeltwireError:
        return None


def behind(end: dict[int, int], reached: Any) -> int:
    """Records between two positions."""
    return sum(max(0, offset - dict(reached).get(partition, 0)) for partition, offset in end.items())


def _following(lake: Snapshot, state: FollowerState, now: datetime) -> Following:
    end = lake.positions("posts")
    left = behind(end, state.position)
    first = None
    if left:
        lacks = [f"(log_partition = {p} and log_offset >= {state.position.get(p, 0)})" for p in end]
        first = lake.table(f"select min(ingested_at) at from posts_all where {' or '.join(lacks)}")["at"][0].as_py()
    lag_s = max(0.0, (now - first).total_seconds()) if first is not None else 0.0
    return Following(state=state, behind=left, lag_s=lag_s)


def _tables(sizes: Mapping[str, Mapping[str, int]]) -> list[Table]:
    merged = {
        sample.labels["table"]: datetime.fromtimestamp(sample.value, UTC)
        for family in metrics.MERGED_AT.collect()
        for sample in family.samples
    }
    return [
        Table(name=name, rows=one["rows"], files=one["files"], size=one["bytes"], merged=merged.get(name))
        for name, one in sizes.items()
    ]


def mean_ms() -> tuple[float, float] | None:
    """(milliseconds a record, records a batch) of what this process has scored; None where it has scored nothing."""
    batches, seconds = summary(metrics.BATCH_SECONDS)
    _, rows = summary(metrics.BATCH_ROWS)
    return (1000 * seconds / rows, rows / batches) if rows and batches else None


def worst(lags: Sequence[tuple[datetime, float]]) -> tuple[datetime, float] | None:
    """The greatest lag, and when."""
    return max(lags, key=lambda one: one[1], default=None)
