"""Spikes, turning points, the usual range, and the finding as a sentence: from a series, without the lake.

A series is `read.series` of a view with LEAD windows more before it (`View.led`). The method stands in docs/mood.md;
the robust scale is Hampel's: 1.4826 times the median absolute deviation estimates a normal distribution's standard
deviation (Rousseeuw & Croux, JASA 88, 1993).
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feltwire.mood.shares import signed, times

LEAD: Final = 60
"""Windows before a window that it is measured against."""
MIN_LEAD: Final = 20
"""Of these, so many must be known, counted from the first that has posts: otherwise nothing is said."""
MIN_POSTS: Final = 30
"""Posts that a window must have to be a spike."""
BEYOND: Final = 4.0
"""Robust standard deviations from the median."""
MAD_TO_SD: Final = 1.4826
LASTING: Final = 5
"""Windows that a changed slope must last."""
MAX_SPAN: Final = 8
"""Windows that a moment's span takes at most: what an explanation is about."""
STEADY: Final = 3.0
"""Points within which a mood is the same to a reader."""

Floats: TypeAlias = npt.NDArray[np.float64]
Kind: TypeAlias = Literal["spike", "turn"]


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A moment that stands out. `start` is its first window's start, `end` the end of the span that explains it."""

    kind: Kind
    start: datetime
    end: datetime
    by: tuple[str, ...]
    """What is beyond its usual: `mood`, `posts` or both; of a turning point `mood`."""
    rising: bool
    """Whether the mood goes up with it; of a spike in posts alone, whether there are more."""
    before: float | None
    """Net mood of the LEAD windows before, in points; of a turning point, of the LASTING before."""
    now: float | None
    """Net mood of the span."""
    times: float | None
    """Posts a window in the span, as a multiple of the median before; None where that is 0."""
    n: int
    """Posts in the span."""

    @property
    def change(self) -> float | None:
        """Points from before to now."""
        return None if self.now is None or self.before is None else self.now - self.before

    @property
    def size(self) -> float:
        """How much it stands out, to choose among moments."""
        return abs(self.change or 0.0) + (20.0 * abs(np.log2(self.times)) if self.times else 0.0)

    def label(self, zone: tzinfo = UTC) -> str:
        """What its flag says: `14:05 mood −77, posts ×5.7`, or `14:19 turning up`."""
        time = f"{self.start.astimezone(zone):%H:%M}"
        if self.kind == "turn":
            return f"{time} turning {'up' if self.rising else 'down'}"
        parts = [f"mood {signed(self.change)}"] if "mood" in self.by and self.change is not None else []
        parts += [f"posts {times(self.times)}" if self.times else "posts from 0"] if "posts" in self.by else []
        return f"{time} {', '.join(parts)}"


def find(series: pa.Table, every: timedelta, *, lead: int = LEAD, until: datetime | None = None) -> list[Moment]:
    """Spikes and turning points among the windows behind the first `lead`, oldest first.

    A spike: a window of at least MIN_POSTS posts whose net mood or number of posts lies more than BEYOND x 1.4826 MAD
    from its median over the LEAD windows before, and further than chance alone would bring it (a window of few posts
    has a wide mood: its standard error, at least one point; a count, its square root). Spikes in a row are one moment.
    A turning point: see `_turns`. Windows that end after `until` are unfinished and say nothing.
    """
    data = _Data.of(series, every, until)
    spikes = _spikes(data, lead)
    found = [_moment(data, "spike", (first, last), by) for first, last, by in spikes]
    for place, rising in _turns(data):
        near = any(first - LASTING <= place <= min(last, first + LASTING) for first, last, _ in spikes)
        sides = (data.scored[max(0, place - LASTING) : place], data.scored[place : place + LASTING])
        if place >= lead and not near and all(side.sum() >= MIN_POSTS for side in sides):
            found.append(_moment(data, "turn", (place, min(place + LASTING, data.size) - 1), ("mood",), rising))
    return sorted(found, key=lambda moment: (moment.start, moment.kind))


def usual_range(series: pa.Table, *, lead: int = LEAD) -> tuple[float, float] | None:
    """Between what points the middle 80 % of the first `lead` windows' net moods lie; None where too few have posts."""
    moods = _floats(series, "net")[:lead]
    moods = moods[~np.isnan(moods)]
    if len(moods) < MIN_LEAD:
        return None
    low, high = np.percentile(moods, [10, 90])
    return float(low), float(high)


def finding(
    series: pa.Table,
    every: timedelta,
    *,
    lead: int = LEAD,
    until: datetime | None = None,
    zone: tzinfo = UTC,
    moments: list[Moment] | None = None,
) -> str:
    """What the chart shows, as a sentence without a full stop: `Mood fell from +12 to −65 at 14:05 and is rising`."""
    data = _Data.of(series, every, until)
    scored = int(data.scored[lead:].sum())
    if not scored:
        return "No scored posts in this range"
    mood = data.pooled(lead, data.size)
    if scored < MIN_POSTS:
        return f"Mood {signed(mood)}, of only {scored} scored posts"
    found = find(series, every, lead=lead, until=until) if moments is None else moments
    spikes = [one for one in found if one.kind == "spike"]
    moods = [one for one in spikes if "mood" in one.by and abs(one.change or 0.0) >= STEADY]
    if moods:
        return _of_spike(max(moods, key=lambda one: one.size), data, zone)
    if spikes:
        top = max(spikes, key=lambda one: one.size)
        word = "rose to" if top.rising else "fell to"
        much = f"{word} {times(top.times).removeprefix('×')} times the usual" if top.times else "began"
        return f"Posts {much} at {_clock(top.start, zone, every)}; mood is {signed(mood)}"
    turns = [one for one in found if one.kind == "turn"]
    if turns:
        last = turns[-1]
        place = data.place(last.start)
        at, now = data.pooled(place - 2, place + 3), data.pooled(data.size - LASTING, data.size)
        way = "up" if last.rising else "down"
        return f"Mood turned {way} at {_clock(last.start, zone, every)}, from {signed(at)} to {signed(now)} now"
    return _calm(mood, usual_range(series, lead=lead))


def _calm(mood: float | None, usual: tuple[float, float] | None) -> str:
    if usual is None or mood is None:
        return f"Mood {signed(mood)}; too little came before to say what is usual"
    low, high = usual
    if low - 0.5 <= mood <= high + 0.5:
        return f"Steady at {signed(mood)}, within its usual range"
    return (
        f"At {signed(mood)}, {'above' if mood > high else 'below'} its usual range of {signed(low)} to {signed(high)}"
    )


def _of_spike(spike: Moment, data: "_Data", zone: tzinfo) -> str:
    verb = "rose" if spike.rising else "fell"
    said = f"Mood {verb} from {signed(spike.before)} to {signed(spike.now)} at {_clock(spike.start, zone, data.every)}"
    behind = data.place(spike.end)
    last = data.pooled(data.size - LASTING, data.size)
    if data.size - behind < LASTING or last is None or spike.now is None or spike.before is None:
        return said
    since = last - spike.now
    back = since / (spike.before - spike.now) if spike.before != spike.now else 0.0
    if back >= 0.8:
        return f"{said} and is back at {signed(last)}"
    if abs(since) < STEADY * 2:
        return f"{said} and has stayed there"
    # Slowly: at this pace it would take more than as long again as the time since.
    pace = "slowly " if 0 < back < 0.5 else ""
    return f"{said} and is {'rising' if since > 0 else 'falling'} {pace}".rstrip()


def _clock(moment: datetime, zone: tzinfo, every: timedelta) -> str:
    local = moment.astimezone(zone)
    return f"{local:%H:%M}" if every < timedelta(hours=1) else f"{local.day} {local:%B %H:%M}"


@dataclass(frozen=True)
class _Data:
    """A series as arrays: starts, posts, net mood (NaN without any), scored, positive, negative."""

    starts: list[datetime]
    every: timedelta
    n: Floats
    scored: Floats
    positive: Floats
    negative: Floats

    @classmethod
    def of(cls, series: pa.Table, every: timedelta, until: datetime | None) -> "_Data":
        starts: list[datetime] = series["window"].to_pylist()
        if until is not None:
            whole = sum(start + every <= until for start in starts)
            starts, series = starts[:whole], series.slice(0, whole)
        names = ("n", "n_scored", "n_positive", "n_negative")
        return cls(starts, every, *(_floats(series, name) for name in names))

    @property
    def size(self) -> int:
        return len(self.starts)

    @property
    def net(self) -> Floats:
        some = self.scored > 0
        points = 100.0 * (self.positive - self.negative) / np.where(some, self.scored, 1.0)
        return np.where(some, points, np.nan)

    def place(self, moment: datetime) -> int:
        """The number of the window that begins then, or `size`."""
        return min(self.size, max(0, (moment - self.starts[0]) // self.every)) if self.starts else 0

    def pooled(self, first: int, stop: int) -> float | None:
        """Net mood of the posts of some windows in a row."""
        span = slice(max(0, first), max(0, stop))
        scored = self.scored[span].sum()
        return float(100.0 * (self.positive[span].sum() - self.negative[span].sum()) / scored) if scored else None


def _floats(series: pa.Table, name: str) -> Floats:
    values: Floats = series[name].to_numpy(zero_copy_only=False).astype(np.float64)
    return values


def _spikes(data: _Data, lead: int) -> list[tuple[int, int, tuple[str, ...]]]:
    """(first window, last window of the span, what is beyond) of every run of windows that stand out."""
    net = data.net
    runs: list[list[tuple[int, tuple[str, ...], int]]] = []
    begun = int(np.argmax(data.n > 0)) if data.n.any() else data.size  # before its first post nobody was listening
    for place in range(max(1, lead), data.size):
        before = slice(max(begun, place - LEAD), place)
        by, sign = [], 0
        if place - begun >= MIN_LEAD and data.n[place] >= MIN_POSTS:
            offset = _beyond(net[place], net[before], _mood_error(data, place, before))
            if data.scored[place] >= MIN_POSTS and offset:
                by, sign = ["mood"], offset
            usual = float(np.median(data.n[before]))
            offset = _beyond(data.n[place], data.n[before], max(1.0, np.sqrt(usual)))
            if offset:
                by.append("posts")
                sign = sign or 2 * offset
        if not by:
            continue
        if runs and runs[-1][-1][0] == place - 1 and _same(runs[-1][-1][2], sign):
            runs[-1].append((place, tuple(by), sign))
        else:
            runs.append([(place, tuple(by), sign)])
    return [_span(run) for run in runs]


def _same(one: int, other: int) -> bool:
    """Whether two neighbours belong to one moment: unless their moods go opposite ways."""
    return abs(one) != 1 or abs(other) != 1 or one == other


def _span(run: list[tuple[int, tuple[str, ...], int]]) -> tuple[int, int, tuple[str, ...]]:
    first, last = run[0][0], min(run[-1][0], run[0][0] + MAX_SPAN - 1)
    by = {name for place, names, _ in run if place <= last for name in names}
    return first, last, tuple(name for name in ("mood", "posts") if name in by)


def _beyond(value: float, before: Floats, chance: float) -> int:
    """1 or -1 where a value lies beyond its usual, above or below; 0 where it does not."""
    known = before[~np.isnan(before)]
    if len(known) < MIN_LEAD or np.isnan(value):
        return 0
    median = float(np.median(known))
    scale = max(MAD_TO_SD * float(np.median(np.abs(known - median))), chance)
    offset = value - median
    return int(np.sign(offset)) if abs(offset) > BEYOND * scale else 0


def _mood_error(data: _Data, place: int, before: slice) -> float:
    """The standard error in points of the mood of a window with so many posts, were it as the ones before."""
    scored = max(1.0, float(data.scored[before].sum()))
    positive, negative = float(data.positive[before].sum()) / scored, float(data.negative[before].sum()) / scored
    variance = positive + negative - (positive - negative) ** 2
    return max(1.0, 100.0 * float(np.sqrt(max(0.0, variance) / max(1.0, data.scored[place]))))


def _turns(data: _Data) -> list[tuple[int, bool]]:
    """(window, whether the mood rises from there on) of every turning point.

    The mood is smoothed by a median over LASTING windows. It turns at a lowest (highest) window if from there on it
    climbs (falls), for LASTING windows at least and without going below (above) it again, by more than BEYOND times
    the noise: 1.4826 MAD of the difference between the mood and its smoothed line. So the sign of the slope changes,
    and the change lasts. (Chance alone is allowed for as with spikes, and `find` asks for MIN_POSTS on each side.)
    """
    net = data.net
    known = np.flatnonzero(~np.isnan(net))
    if len(known) < MIN_LEAD:
        return []
    smooth = _smoothed(net[known])
    noise = MAD_TO_SD * float(np.median(np.abs(net[known] - smooth)))
    least = max(BEYOND * max(noise, _typical_error(data)), 2 * STEADY)
    turns: list[tuple[int, bool]] = []
    low = high = 0
    rising: bool | None = None
    for place, value in enumerate(smooth):
        low = place if value <= smooth[low] else low
        high = place if value > smooth[high] else high
        if rising is not True and value - smooth[low] > least and place - low >= LASTING:
            if rising is not None:
                turns.append((int(known[low]), True))
            rising, high = True, place
        elif rising is not False and smooth[high] - value > least and place - high >= LASTING:
            if rising is not None:
                turns.append((int(known[high]), False))
            rising, low = False, place
    return turns


def _typical_error(data: _Data) -> float:
    """The standard error in points of the mood of a window with as many posts as most have."""
    every = slice(0, data.size)
    counted = np.flatnonzero(data.scored > 0)
    usual = counted[np.argsort(data.scored[counted])[len(counted) // 2]]
    return _mood_error(data, int(usual), every)


def _smoothed(values: Floats) -> Floats:
    """A running median over LASTING values, fewer at the ends."""
    half = LASTING // 2
    return np.array([np.median(values[max(0, i - half) : i + half + 1]) for i in range(len(values))])


def _moment(data: _Data, kind: Kind, span: tuple[int, int], by: tuple[str, ...], rising: bool | None = None) -> Moment:
    first, last = span
    before = data.pooled(first - (LEAD if kind == "spike" else LASTING), first)
    now = data.pooled(first, last + 1)
    begun = int(np.argmax(data.n > 0))
    usual = float(np.median(data.n[max(begun, first - LEAD) : first])) if first > begun else 0.0
    posts = data.n[first : last + 1]
    many = float(posts.mean())
    if rising is None:
        rising = (now or 0.0) > (before or 0.0) if "mood" in by else many > usual
    return Moment(
        kind=kind,
        start=data.starts[first],
        end=data.starts[last] + data.every,
        by=by,
        rising=rising,
        before=before,
        now=now,
        times=many / usual if usual else None,
        n=int(posts.sum()),
    )
