"""What Compare shows of two tracks, or of one in two ranges, read once from the lake: plain values."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo
from typing import Final

from feltwire.lake.reader import Snapshot
from feltwire.mood import apart, moments, read
from feltwire.mood.apart import Term
from feltwire.mood.read import TERM_COLUMNS, Totals
from feltwire.mood.view import View as Mood
from feltwire.web.dashboard import data, words
from feltwire.web.dashboard.data import Row
from feltwire.web.dashboard.names import range_words
from feltwire.web.dashboard.view import View

BACK: Final = {"": "the range before", "1d": "a day before", "7d": "a week before"}
MAX_POSTS: Final = 10_000
"""Posts of each side whose words are compared; of more, a random sample."""
_COLUMNS: Final = ("text", "scored", "sentiment", *TERM_COLUMNS)


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two."""

    name: str
    mood: Mood
    rows: list[Row]
    """Whole windows, oldest first, at the times of A."""
    totals: Totals
    before: Totals
    complaints: dict[str, int]
    """By category."""
    complaining: dict[datetime, int]
    """By window, at the times of A."""
    irony: float
    emoji: list[tuple[str, int]]

    def value(self, row: Row, mode: str) -> float | None:
        """What the upper chart shows."""
        if mode == "mood":
            return row.net
        if not row.n_scored:
            return None
        return 100 * self.complaining.get(row.start, 0) / row.n_scored if mode == "complaints" else row.share(mode)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Both, and what sets them apart."""

    view: View
    now: datetime
    a: Side
    b: Side
    words: list[Term]
    finding: str
    ranges: bool
    """Whether two ranges of one track are compared, rather than two tracks."""


def by_range(view: View) -> bool:
    """Whether two ranges are compared."""
    return view.extra_value("by") == "range"


def read_pair(lake: Snapshot, view: View, other: str, now: datetime, zone: tzinfo) -> Pair:
    """Both sides of a comparison. Raises LakeError."""
    mood = view.mood(now)
    if by_range(view):
        back = {"1d": timedelta(days=1), "7d": timedelta(days=7)}.get(view.extra_value("back"), mood.length)
        theirs = mood.between(mood.start - back, mood.end - back)
        names = (range_words(view).capitalize(), BACK.get(view.extra_value("back"), BACK[""]).capitalize())
    else:
        theirs = view.mood(now, other)
        names = (words.track_name(view.track), words.track_name(other))
    a, b = (
        _side(lake, name, one, now, one.start - mood.start) for name, one in zip(names, (mood, theirs), strict=True)
    )
    posts = [read.sample(lake, one, _COLUMNS, MAX_POSTS)[0] for one in (mood, theirs)]
    found = apart.contrast(posts[0], posts[1], ("word",), both=True)
    own = {part.casefold() for name in names for part in (name, *name.split())}
    different = [term for term in found if term.term.casefold() not in own]
    spikes = moments.find(read.series(lake, mood.led(moments.LEAD)), mood.every, until=now)
    return Pair(
        view=view,
        now=now,
        a=a,
        b=b,
        words=different,
        finding=finding(a, b, spikes, zone),
        ranges=by_range(view),
    )


def _side(lake: Snapshot, name: str, mood: Mood, now: datetime, shift: timedelta) -> Side:
    rows = [row for row in data.rows_of(read.series(lake, mood)) if row.start + mood.every <= now]
    complaints = {one["term"]: one["n"] for one in read.terms(lake, mood, "category", 50).to_pylist()}
    starts = [mood.start + i * mood.every - shift for i in range(mood.windows)]
    totals = read.totals(lake, mood)
    ironic = {one["value"]: one["n"] for one in read.breakdown(lake, mood, "irony").to_pylist()}
    return Side(
        name=name,
        mood=mood,
        rows=[replace(row, start=row.start - shift) for row in rows],
        totals=totals,
        before=read.totals(lake, mood.before()),
        complaints=complaints,
        complaining=dict(zip(starts, read.category_series(lake, mood), strict=True)),
        irony=100 * ironic.get("irony", 0) / max(1, totals.n_scored),
        emoji=[(one["term"], one["n"]) for one in read.terms(lake, mood, "emoji_used", 5).to_pylist()],
    )


def finding(a: Side, b: Side, found: Sequence[moments.Moment], zone: tzinfo) -> str:
    """The difference as a sentence: since when, and how far they were apart before."""
    if a.totals.net is None or b.totals.net is None:
        return f"{(a if a.totals.net is None else b).name} has no scored posts in this range"
    moods = [one for one in found if one.kind == "spike" and "mood" in one.by and one.start > a.mood.start]
    if moods:
        at = max(moods, key=lambda one: one.size).start
        since, before = (_gap(a, b, at, None), _gap(a, b, None, at))
        if since is not None and before is not None and abs(since - before) >= 10:
            way = f"{abs(round(since))} points {'below' if since < 0 else 'above'} {b.name}"
            return f"Since {words.clock(at, zone)} {a.name} is {way}; before, they were {abs(round(before))} apart"
    gap = round(a.totals.net) - round(b.totals.net)
    if abs(gap) <= 2:
        return f"{a.name} and {b.name} feel alike"
    return f"{a.name} is {abs(gap)} points {'below' if gap < 0 else 'above'} {b.name}"


def _gap(a: Side, b: Side, since: datetime | None, until: datetime | None) -> float | None:
    """Points of A above B, over all posts of a part of the range."""
    moods = []
    for side in (a, b):
        rows = [
            row for row in side.rows if (since is None or row.start >= since) and (until is None or row.start < until)
        ]
        scored = sum(row.n_scored for row in rows)
        if scored < moments.MIN_POSTS:
            return None
        moods.append(100 * sum(row.counts["positive"] - row.counts["negative"] for row in rows) / scored)
    return moods[0] - moods[1]
