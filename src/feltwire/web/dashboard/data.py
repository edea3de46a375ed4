"""What a view shows, read once from the lake: plain values, without a component in sight."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final

import pyarrow as pa

from feltwire.lake import Lake
from feltwire.lake.reader import Snapshot
from feltwire.mood import moments, predicate, read
from feltwire.mood.read import Totals
from feltwire.mood.view import View as Mood
from feltwire.web.dashboard.view import View
from feltwire.web.dashboard.words import LABELS

FEED_POSTS: Final = 30
SLOT_S: Final = 2
"""The feed shows at most one post of so many seconds: more is a sample."""
LISTED: Final = 10
MAX_FLAGS: Final = 5
"""Moments that are flagged: more would cover the plot."""
FEW: Final = 30
"""With fewer scored posts in the range before, nothing is compared with it: the usual least number for a share."""

Post = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A window of the chart."""

    start: datetime
    n: int
    n_scored: int
    counts: dict[str, int]
    averages: dict[str, float]
    net: float | None

    def share(self, label: str) -> float:
        """Per cent of scored posts."""
        return 100.0 * self.counts[label] / self.n_scored if self.n_scored else 0.0

    def average(self, label: str) -> float:
        """Mean probability."""
        return self.averages[label]


@dataclass(frozen=True, kw_only=True)
class Flag:
    """A spike or turning point on the chart."""

    number: int
    at: datetime
    kind: str  # mood, posts or turn
    text: str
    """What stands on the flag: "14:05 mood −77, posts ×5.7"."""
    short: str
    """The same on a phone: "14:05"."""
    change: float | None
    """Points of net mood."""
    rising: bool
    until: datetime
    """The end of its moment, excluded."""

    def holds(self, at: datetime | None) -> bool:
        """Whether a time lies in its moment."""
        return at is not None and self.at <= at < self.until


@dataclass(frozen=True, kw_only=True)
class Term:
    """A row of "What people use"."""

    term: str
    n: int
    mood: float
    before: int = 0


@dataclass(frozen=True, kw_only=True)
class Feed:
    """The posts that are listed."""

    posts: list[Post]
    per_minute: float
    """Posts a minute, of which the listed ones are chosen."""
    one_in: float
    """1: every post; 12: one of twelve, chosen at random."""


@dataclass(frozen=True, kw_only=True)
class Board:
    """Everything that the overview shows of a view."""

    view: View
    mood: Mood
    now: datetime
    rows: list[Row]
    """Whole windows, oldest first."""
    unfinished: Row | None
    """The window that is still filling."""
    totals: Totals
    before: Totals
    others: list[tuple[str, list[Row]]]
    band: tuple[float, float] | None
    flags: list[Flag]
    finding: str
    expected: float
    """Posts that the unfinished window is on its way to."""

    @property
    def per_minute(self) -> float:
        """Posts a minute over the range, the time that has not come yet left out."""
        return self.totals.n / max(1.0, (min(self.now, self.mood.end) - self.mood.start).total_seconds() / 60)

    @property
    def few_before(self) -> bool:
        """Whether the range before has too few posts to compare anything with it."""
        return self.before.n_scored < FEW

    @property
    def per_minute_before(self) -> float:
        """Posts a minute over the range before."""
        return self.before.n / max(1.0, self.mood.length.total_seconds() / 60)


def read_board(lake: Lake | Snapshot, view: View, now: datetime, zone: tzinfo = UTC) -> Board:
    """The numbers of a view. Raises LakeError."""
    mood = view.mood(now)
    series = read.series(lake, mood.led(moments.LEAD))
    every = rows_of(series)
    rows = [row for row in every if row.start >= mood.start]
    finished = [row for row in rows if row.start + mood.every <= now]
    going = [row for row in rows if row.start <= now < row.start + mood.every]
    unfinished = going[0] if going else None
    totals, before = read.totals(lake, mood), read.totals(lake, mood.before())
    others = []
    for track in view.tracks[1:]:
        theirs = rows_of(read.series(lake, view.mood(now, track)))
        others.append((track, [row for row in theirs if row.start + mood.every <= now]))
    expected = _expected(finished, unfinished, mood.every, now)
    found = moments.find(series, mood.every, until=now)
    return Board(
        view=view,
        mood=mood,
        now=now,
        rows=finished,
        unfinished=unfinished,
        totals=totals,
        before=before,
        others=others,
        band=moments.usual_range(series),
        flags=flags_of(found, zone, mood.every, view.at),
        finding=moments.finding(series, mood.every, until=now, zone=zone, moments=found),
        expected=expected,
    )


def flags_of(found: Sequence[moments.Moment], zone: tzinfo, every: timedelta, at: datetime | None = None) -> list[Flag]:
    """The greatest moments as flags, numbered in the order of time; among them the one that `at` lies in."""

    def weight(one: moments.Moment) -> tuple[bool, bool, float]:
        return (at is not None and one.start <= at < one.end, one.kind == "spike", one.size)

    greatest = sorted(found, key=weight)[-MAX_FLAGS:]
    chosen = sorted(greatest, key=lambda one: one.start)
    form = "%H:%M" if every < timedelta(hours=6) else "%d %b"
    return [
        Flag(
            number=number,
            at=one.start,
            kind="turn" if one.kind == "turn" else "spike",
            text=one.label(zone),
            short=one.start.astimezone(zone).strftime(form),
            change=one.change,
            rising=one.rising,
            until=one.end,
        )
        for number, one in enumerate(chosen, 1)
    ]


def _expected(rows: Sequence[Row], unfinished: Row | None, every: timedelta, now: datetime) -> float:
    """What the unfinished window will have if it goes on as the last three."""
    if unfinished is None:
        return 0.0
    last = [row.n for row in rows[-3:]]
    mean = sum(last) / len(last) if last else 0.0
    left = 1.0 - (now - unfinished.start) / every
    return unfinished.n + mean * max(0.0, left)


def rows_of(table: pa.Table) -> list[Row]:
    """A series as rows."""
    return [
        Row(
            start=one["window"],
            n=one["n"],
            n_scored=one["n_scored"],
            counts={label: one[f"n_{label}"] for label in LABELS},
            averages={label: one[f"avg_{label}"] for label in LABELS},
            net=one["net"],
        )
        for one in table.to_pylist()
    ]


@dataclass(frozen=True, kw_only=True)
class Use:
    """What people use."""

    emoji: list[Term]
    terms: list[Term]
    complaints: list[Term]
    emotions: list[tuple[str, float]]
    """(label, per cent of scored posts), most first."""
    others: list[tuple[str, str, str, float]]
    """(kind, label, name, per cent): irony, offence."""
    complaining: float
    complaining_before: float
    few_before: bool = False
    """Whether the range before has too few posts to compare anything with it."""
    sampled: int | None = None
    """Posts that words were counted in, where not in all."""
    has: set[str] = field(default_factory=set)
    """The heads that the model has said something by."""


TERM_KIND: Final = {"words": "word", "tags": "hashtag", "entities": "entity"}
EMOJI_KIND: Final = {"used": "emoji_used", "felt": "emoji"}


def read_use(lake: Lake | Snapshot, view: View, now: datetime) -> Use:
    """The ranked lists of a view. Raises LakeError."""
    mood = view.mood(now)
    before = mood.before()
    emoji = _terms(read.terms(lake, mood, EMOJI_KIND[view.emoji], LISTED))
    found = read.terms(lake, mood, TERM_KIND[view.terms], LISTED)
    sampled = (found.schema.metadata or {}).get(b"sampled")
    earlier = {term.term: term.n for term in _terms(read.terms(lake, before, "category", 50))}
    complaints = _terms(read.terms(lake, mood, "category", 50), earlier)
    emotions = _terms(read.terms(lake, mood, "emotion", 50))
    totals, totals_before = read.totals(lake, mood), read.totals(lake, before)
    scored, scored_before = max(1, totals.n_scored), max(1, totals_before.n_scored)
    return Use(
        emoji=emoji,
        terms=_terms(found),
        complaints=complaints[:9],
        emotions=[(one.term, 100 * one.n / scored) for one in emotions[:7]],
        others=_labels(lake, mood, scored),
        complaining=100 * sum(one.n for one in complaints) / scored,
        complaining_before=100 * sum(earlier.values()) / scored_before,
        few_before=totals_before.n_scored < FEW,
        sampled=int(sampled) if sampled else None,
    )


def _labels(lake: Lake | Snapshot, mood: Mood, scored: int) -> list[tuple[str, str, str, float]]:
    """How many are ironic and how many offensive; nothing of a head that the model does not have."""
    shown = []
    for kind, label, name in (("irony", "irony", "Irony"), ("offensive", "offensive", "Offensive")):
        found = {one["value"]: one["n"] for one in read.breakdown(lake, mood, kind).to_pylist()}
        if set(found) - {"und"}:
            shown.append((kind, label, name, 100 * found.get(label, 0) / scored))
    return shown


def _terms(table: pa.Table, before: dict[str, int] | None = None) -> list[Term]:
    return [
        Term(term=one["term"], n=one["n"], mood=one["mood"], before=(before or {}).get(one["term"], 0))
        for one in table.to_pylist()
    ]


def read_feed(lake: Lake | Snapshot, view: View, now: datetime, rows: Sequence[Row]) -> Feed:
    """The newest posts of a view: all of them, or of each two seconds one that is chosen at random, always the same."""
    mood = view.mood(now)
    recent = [row.n for row in rows[-2:]]
    per_minute = sum(recent) / len(recent) / (mood.every_s / 60) if recent else 0.0
    one_in = per_minute * SLOT_S / 60
    if view.every_post or one_in <= 1 or view.custom:
        listed = read.posts(lake, mood, FEED_POSTS * 2 if view.every_post else FEED_POSTS).to_pylist()
        return Feed(posts=listed, per_minute=per_minute, one_in=1.0)
    since = max(mood.start, min(now, mood.end) - timedelta(seconds=SLOT_S * FEED_POSTS * 4))
    posts = _sampled(lake, mood.between(since, mood.end))
    return Feed(posts=posts, per_minute=per_minute, one_in=one_in)


def _sampled(lake: Lake | Snapshot, mood: Mood) -> list[Post]:
    slot = f"cast(event_time as bigint) / {SLOT_S * 1_000_000}"
    columns = ", ".join(read.LISTED)
    inner = (
        f"select {columns}, row_number() over (partition by {slot} order by md5(id)) place "
        f"from posts where {predicate.of_posts(mood)}"
    )
    sql = f"select {columns} from ({inner}) where place = 1 order by event_time desc, id limit {FEED_POSTS}"
    found: list[Post] = lake.table(sql).to_pylist() if isinstance(lake, Snapshot) else lake.sql(sql).to_pylist()
    return found


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What can be chosen in the bars."""

    tracks: list[str]
    sources: list[str]
    langs: list[str]


def read_choices(lake: Lake | Snapshot, configured: Sequence[str], now: datetime) -> Choices:
    """The tracks that the lake or the settings have, and the sources and languages of the last 30 days."""
    month = Mood(start=now - timedelta(days=30), end=now + timedelta(days=1), every_s=86_400)
    tracks = list(dict.fromkeys([*configured, *read.tracks_of(lake)]))
    sources = [one["value"] for one in read.breakdown(lake, month, "source").to_pylist()]
    langs = [one["value"] for one in read.breakdown(lake, month, "lang").to_pylist()]
    return Choices(tracks=tracks, sources=sources, langs=langs[:24])


def newest_arrival(posts: Sequence[Post]) -> datetime:
    """The newest `event_time` of some posts; the beginning of time where there are none."""
    return max((post["event_time"] for post in posts), default=datetime.fromtimestamp(0, UTC))
