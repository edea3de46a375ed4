"""What is asked of a lake: a time, tracks, sources, languages, filters and a search, as one value."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Final

from feltwire import schema
from feltwire.errors import ConfigError

WORD: Final = "word"
LABELS: Final = ("sentiment", "irony", "offensive", "hate", "complaint")
FILTER_KINDS: Final = (*schema.TERM_KINDS, WORD, *LABELS)
"""What a view can be filtered by: the kinds of terms, the words of the text, and the labels of a post."""

UNKNOWN_LANG: Final = "und"
"""How a view names the posts whose language nobody knows."""

MAX_WINDOWS: Final = 120
EVERY_S: Final = (60, 300, 900, 3_600, 7_200, 21_600, 86_400)
MAX_SERIES: Final = 50_000
"""Windows that a view may have at most."""

_MONDAY: Final = datetime(1970, 1, 5, tzinfo=UTC)  # as everywhere, windows are counted from a Monday
_MINUTE: Final = timedelta(minutes=1)
_NONE: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class View:
    """What a page, an answer of the API or an export shows: which posts, and in windows of what length.

    `start` (included) and `end` (excluded) are of `event_time` and lie on whole minutes: a start is moved back and an
    end forward to one. No tracks: every post; several: the posts of any of them, each once. No sources or langs: all
    (a post of unknown language is `und`). A post has to match every filter, {kind: term}, of FILTER_KINDS. `query`
    is in the query language of tracks; what that cannot read is searched for word by word.

    Raises ConfigError for a time without a zone, a range that holds nothing, or an unknown kind of filter.
    """

    start: datetime
    end: datetime
    every_s: int = 60
    tracks: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    langs: tuple[str, ...] = ()
    filters: Mapping[str, str] = field(default_factory=lambda: _NONE, hash=False)
    query: str = ""

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            moment: datetime = getattr(self, name)
            if moment.tzinfo is None:
                raise ConfigError(f"{name} = {moment.isoformat()}: a time needs a zone, such as 2026-03-01T12:00:00Z")
        _set(self, "start", _floor_minute(self.start))
        _set(self, "end", _ceil_minute(self.end))
        if self.start >= self.end:
            raise ConfigError(f"a range from {self.start.isoformat()} to {self.end.isoformat()} came: it holds nothing")
        if self.every_s < 60 or self.every_s % 60:
            raise ConfigError(f"every_s = {self.every_s} came; allowed are whole minutes: 60, 120, …")
        if (self.end - self.start).total_seconds() / self.every_s > MAX_SERIES:
            raise ConfigError(
                f"more than {MAX_SERIES:,} windows of {self.every_s} s came: take longer windows or a shorter range"
            )
        tracks = () if schema.ALL_TRACKS in self.tracks else tuple(dict.fromkeys(self.tracks))
        _set(self, "tracks", tracks)
        _set(self, "sources", tuple(self.sources))
        _set(self, "langs", tuple(self.langs))
        unknown = sorted(set(self.filters) - set(FILTER_KINDS))
        if unknown:
            raise ConfigError(f"unknown kind of filter {unknown[0]!r}: known are {', '.join(FILTER_KINDS)}")
        _set(self, "filters", MappingProxyType(dict(self.filters)))
        _set(self, "query", self.query.strip())

    @classmethod
    def last(cls, length_s: int, now: datetime, *, every_s: int | None = None, **more: object) -> "View":
        """The range of `length_s` that ends with the window that `now` lies in; `every_s` None: by the length."""
        every_s = every_s or auto_every_s(length_s)
        every = timedelta(seconds=every_s)
        end = _MONDAY + ((now - _MONDAY) // every + 1) * every
        length = timedelta(seconds=max(every_s, length_s))
        return cls(start=end - length, end=end, every_s=every_s, **more)  # type: ignore[arg-type]

    @property
    def length(self) -> timedelta:
        """How long the range is."""
        return self.end - self.start

    @property
    def every(self) -> timedelta:
        """How long a window is; they are counted from `start`."""
        return timedelta(seconds=self.every_s)

    @property
    def windows(self) -> int:
        """How many windows the range has; the last one may be cut short."""
        return -(-self.length // self.every)

    @property
    def summed(self) -> bool:
        """Whether the lake's minute sums answer it; otherwise its posts have to be asked."""
        return not self.filters and not self.query and len(self.tracks) <= 1

    def before(self) -> "View":
        """The range of the same length before this one."""
        return replace(self, start=self.start - self.length, end=self.start)

    def led(self, windows: int = 60) -> "View":
        """The same with so many windows more before it: what spikes are measured against."""
        return replace(self, start=self.start - windows * self.every)

    def of(self, *tracks: str) -> "View":
        """The same of other tracks."""
        return replace(self, tracks=tracks)

    def between(self, start: datetime, end: datetime) -> "View":
        """The same of another time."""
        return replace(self, start=start, end=end)


def auto_every_s(length_s: float) -> int:
    """The shortest of EVERY_S that cuts a range of so many seconds into MAX_WINDOWS windows at most."""
    return next((every for every in EVERY_S if length_s <= every * MAX_WINDOWS), EVERY_S[-1])


def _set(view: View, name: str, value: object) -> None:
    object.__setattr__(view, name, value)


def _floor_minute(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(second=0, microsecond=0)


def _ceil_minute(moment: datetime) -> datetime:
    floor = _floor_minute(moment)
    return floor if floor == moment else floor + _MINUTE
