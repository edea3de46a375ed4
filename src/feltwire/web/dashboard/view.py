"""What a page shows, as its address says it: the whole view stands in the query, and nowhere else."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final, Literal
from urllib.parse import parse_qsl, quote, urlencode

from feltwire.mood.view import FILTER_KINDS, auto_every_s
from feltwire.mood.view import View as Mood
from feltwire.schema import ALL_TRACKS

RANGES: Final[dict[str, timedelta]] = {
    "15m": timedelta(minutes=15),
    "1h": timedelta(hours=1),
    "6h": timedelta(hours=6),
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}
RANGE_LABELS: Final = {"15m": "15 min", "1h": "1 h", "6h": "6 h", "24h": "24 h", "7d": "7 d", "30d": "30 d"}
RANGE_WORDS: Final = {
    "15m": "last 15 minutes",
    "1h": "last hour",
    "6h": "last 6 hours",
    "24h": "last 24 hours",
    "7d": "last 7 days",
    "30d": "last 30 days",
}
BEFORE_WORDS: Final = {
    "15m": "the 15 minutes before",
    "1h": "the hour before",
    "6h": "the 6 hours before",
    "24h": "the day before",
    "7d": "the week before",
    "30d": "the 30 days before",
}
WINDOWS: Final = {"1m": 60, "5m": 300, "15m": 900, "1h": 3_600, "2h": 7_200, "6h": 21_600, "1d": 86_400}
"""The windows that can be chosen, in seconds."""
WINDOW_WORDS: Final = {
    "1m": "1 min",
    "5m": "5 min",
    "15m": "15 min",
    "1h": "1 h",
    "2h": "2 h",
    "6h": "6 h",
    "1d": "1 day",
}
PAGES: Final = ("overview", "compare", "health")
MODES: Final = ("mood", "shares", "scores")
EMOJI: Final = ("used", "felt")
TERMS: Final = ("words", "tags", "entities")
MAX_BARS: Final = 360
"""Windows of a view at most: a shorter window than that is not taken."""
_MAX: Final = 12  # of tracks, filters, sources or languages in one address
_MAX_CHARS: Final = 200
_LANG: Final = re.compile(r"[a-zA-Z-]{2,12}")

Mode = Literal["mood", "shares", "scores"]


@dataclass(frozen=True, kw_only=True)
class Filter:
    """One chip: posts that have this."""

    kind: str
    value: str


@dataclass(frozen=True, kw_only=True)
class View:
    """A checked address. Anything in it that is not understood is left out rather than refused."""

    page: str = "overview"
    tracks: tuple[str, ...] = ()
    range: str = "1h"
    since: datetime | None = None  # with `until`: a range of its own, instead of `range`
    until: datetime | None = None
    window: str = ""  # empty: by the range
    sources: tuple[str, ...] = ()
    langs: tuple[str, ...] = ()
    filters: tuple[Filter, ...] = ()
    text: str = ""
    mode: str = "mood"
    emoji: str = "used"
    terms: str = "words"
    table: bool = False  # the chart's numbers instead of the chart
    every_post: bool = False  # the feed shows all posts rather than a sample
    at: datetime | None = None  # the window that is explained
    extra: tuple[tuple[str, str], ...] = ()  # what other pages keep in the address

    @property
    def track(self) -> str:
        """The track that the numbers are of."""
        return self.tracks[0] if self.tracks else ALL_TRACKS

    @property
    def custom(self) -> bool:
        """Whether the range is one of its own, and so does not move on."""
        return self.since is not None and self.until is not None

    @property
    def narrowed(self) -> bool:
        """Whether more than track, source and language decide which posts count."""
        return bool(self.filters or self.text)

    @property
    def every_s(self) -> int:
        """The length of a window in seconds."""
        return WINDOWS[self.window] if self.window else auto_every_s(self.length.total_seconds())

    @property
    def window_name(self) -> str:
        """The window's key in `WINDOWS`."""
        return next(name for name, every_s in WINDOWS.items() if every_s == self.every_s)

    @property
    def length(self) -> timedelta:
        """How long the range is."""
        if self.since is not None and self.until is not None:
            return self.until - self.since
        return RANGES[self.range]

    def mood(self, now: datetime, track: str | None = None) -> Mood:
        """What is asked of the lake: the range that ends with the window that `now` stands in, of one track."""
        track = self.track if track is None else track
        filters = {one.kind: one.value for one in self.filters}
        tracks = () if track == ALL_TRACKS else (track,)
        if self.since is not None and self.until is not None:
            start, end = self.since, self.until
        else:
            last = Mood.last(int(self.length.total_seconds()), now, every_s=self.every_s)
            start, end = last.start, last.end
        return Mood(
            start=start,
            end=end,
            every_s=self.every_s,
            tracks=tracks,
            sources=self.sources,
            langs=self.langs,
            filters=filters,
            query=self.text,
        )

    def extra_value(self, key: str) -> str:
        """What another page keeps under a key; empty where it keeps nothing."""
        return dict(self.extra).get(key, "")

    def query(self) -> str:
        """The address: the same view, written in one way only."""
        return urlencode(_pairs(self), safe=":,", quote_via=quote)


def parse(query: str) -> View:
    """The view of an address's query, with or without its question mark."""
    given: dict[str, list[str]] = {}
    for key, value in parse_qsl(query.removeprefix("?")[:8_000], keep_blank_values=False, max_num_fields=100):
        if len(value) <= _MAX_CHARS and not any(ord(char) < 32 or ord(char) == 127 for char in value):
            given.setdefault(key, []).append(value)
    one = {key: values[-1] for key, values in given.items()}
    since, until = _moment(one.get("from")), _moment(one.get("to"))
    if since is None or until is None or not timedelta(0) < until - since <= timedelta(days=400):
        since = until = None
    view = View(
        page=_among(one, "page", PAGES),
        tracks=_several(given, "track"),
        range=one.get("range", "") if one.get("range") in RANGES else "1h",
        since=since,
        until=until,
        window=one.get("window", "") if one.get("window") in WINDOWS else "",
        sources=_several(given, "source"),
        langs=tuple(code for code in _several(given, "lang") if _LANG.fullmatch(code)),
        filters=_filters(given.get("f", [])),
        text=one.get("q", "").strip(),
        mode=_among(one, "mode", MODES),
        emoji=_among(one, "emoji", EMOJI),
        terms=_among(one, "terms", TERMS),
        table=one.get("table") == "1",
        every_post=one.get("posts") == "all",
        at=_moment(one.get("at")),
        extra=tuple((key, one[key]) for key in sorted(one) if key not in _KNOWN),
    )
    return _cut_windows(view)


def _cut_windows(view: View) -> View:
    """The view with a window that makes no more bars than can be seen."""
    if view.window and view.length.total_seconds() / WINDOWS[view.window] > MAX_BARS:
        return replace(view, window="")
    return view


_KNOWN: Final = frozenset(
    "page track range from to window source lang f q mode emoji terms table posts at".split()  # noqa: SIM905
)


def _pairs(view: View) -> list[tuple[str, str]]:
    default = View()
    pairs = [("page", view.page)] if view.page != default.page else []
    pairs += [("track", track) for track in view.tracks]
    if view.since is not None and view.until is not None:
        pairs += [("from", _iso(view.since)), ("to", _iso(view.until))]
    elif view.range != default.range:
        pairs.append(("range", view.range))
    pairs += [("window", view.window)] if view.window else []
    pairs += [("source", source) for source in view.sources] + [("lang", lang) for lang in view.langs]
    pairs += [("f", f"{one.kind}:{one.value}") for one in view.filters]
    pairs += [("q", view.text)] if view.text else []
    for key in ("mode", "emoji", "terms"):
        pairs += [(key, getattr(view, key))] if getattr(view, key) != getattr(default, key) else []
    pairs += [("table", "1")] if view.table else []
    pairs += [("posts", "all")] if view.every_post else []
    pairs += [("at", _iso(view.at))] if view.at else []
    return pairs + list(view.extra)


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _moment(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text.strip().replace(" ", "T", 1))
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment if 1970 <= moment.year <= 2200 else None


def _among(one: Mapping[str, str], key: str, allowed: tuple[str, ...]) -> str:
    return one[key] if one.get(key) in allowed else allowed[0]


def _several(given: Mapping[str, list[str]], key: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value for value in given.get(key, []) if value.strip()))[:_MAX]


def _filters(given: list[str]) -> tuple[Filter, ...]:
    """One of a kind, the last that came."""
    found: dict[str, Filter] = {}
    for one in given:
        kind, colon, value = one.partition(":")
        if colon and kind in FILTER_KINDS and value:
            found[kind] = Filter(kind=kind, value=value)
    return tuple(found.values())[:_MAX]
