"""What the live view shows of a lake: the mood of the last minutes, its terms and its latest posts."""

import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias

from feltwire.errors import FeltwireError
from feltwire.lake import Lake
from feltwire.schema import ALL_TRACKS

BIN_S: Final = 5
BINS: Final = 36  # three minutes
LATEST: Final = 12
_SPAN: Final = timedelta(seconds=BIN_S * BINS)
_LOAD: Final = 0.1  # of a core at most goes into looking

_POSTS: Final = """
    select log_partition, max(log_offset) last, max(event_time) newest,
           cast(floor(date_part('epoch', event_time) / {bin_s}) as bigint) bin, track, count(*) n,
           sum(case when sentiment = 'negative' then 1 else 0 end) negative,
           sum(case when sentiment = 'neutral' then 1 else 0 end) neutral,
           sum(case when sentiment = 'positive' then 1 else 0 end) positive,
           sum(case when sentiment = 'mixed' then 1 else 0 end) mixed
    from (select log_partition, log_offset, event_time, sentiment, unnest(array_append(tracks, '*')) track
          from posts where ingested_at >= {since} and ({behind}))
    group by log_partition, bin, track
"""


@dataclass(frozen=True)
class Mood:
    """Some posts, counted by sentiment."""

    n: int = 0
    negative: int = 0
    neutral: int = 0
    positive: int = 0
    mixed: int = 0

    def __add__(self, other: "Mood") -> "Mood":
        return Mood(
            self.n + other.n,
            self.negative + other.negative,
            self.neutral + other.neutral,
            self.positive + other.positive,
            self.mixed + other.mixed,
        )

    @property
    def scored(self) -> int:
        """How many have a score."""
        return self.negative + self.neutral + self.positive + self.mixed

    @property
    def net(self) -> float:
        """The share of positive less that of negative posts; 0.0 where none is scored."""
        return (self.positive - self.negative) / self.scored if self.scored else 0.0

    def share(self, label: str) -> float:
        """A sentiment's share of the scored posts."""
        count: int = getattr(self, label)
        return count / self.scored if self.scored else 0.0


Line: TypeAlias = list["Mood | None"]
"""A track's mood, bin by bin, oldest first; None where nothing was posted."""


@dataclass(frozen=True)
class Picture:
    """What there is to see."""

    moods: dict[str, Line] = field(default_factory=dict)
    ledger: dict[str, int] = field(default_factory=dict)
    terms: list[dict[str, Any]] = field(default_factory=list)
    latest: list[dict[str, Any]] = field(default_factory=list)

    def total(self, track: str = ALL_TRACKS) -> Mood:
        """A track's mood over the time that is shown."""
        return sum((mood for mood in self.moods.get(track, []) if mood), Mood())


class Glance:
    """Looks at a lake again and again; each look costs what is new since the one before."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._after: dict[int, int] = {}
        self._bins: dict[str, dict[int, Mood]] = defaultdict(dict)
        self._newest = datetime.now(UTC) - timedelta(days=36_500)
        self._next_look = 0.0
        self._picture = Picture()

    def look(self) -> Picture:
        """The picture; the former one where looking would cost too much now, or the lake cannot be read."""
        began = time.monotonic()
        if began < self._next_look:
            return self._picture
        try:
            self._read_posts()
            self._picture = Picture(self._lines(), self._ledger(), self._terms(), self._latest())
        except FeltwireError:
            pass  # the engine tells why; the next look may see again
        self._next_look = time.monotonic() + (time.monotonic() - began) * (1 / _LOAD - 1)
        return self._picture

    def _read_posts(self) -> None:
        seen = [f"(log_partition = {p} and log_offset > {last})" for p, last in self._after.items()]
        others = f"log_partition not in ({', '.join(map(str, self._after))})" if self._after else "true"
        since = _literal(datetime.now(UTC) - _SPAN)
        rows = self._lake.sql(_POSTS.format(bin_s=BIN_S, since=since, behind=" or ".join([*seen, others])))
        for row in rows.to_pylist():
            bins = self._bins[row["track"]]
            mood = Mood(row["n"], row["negative"], row["neutral"], row["positive"], row["mixed"])
            bins[row["bin"]] = bins.get(row["bin"], Mood()) + mood
            partition = row["log_partition"]
            self._after[partition] = max(self._after.get(partition, -1), row["last"])
            self._newest = max(self._newest, row["newest"])
        first = self._last_bin() - BINS
        for bins in self._bins.values():
            for number in [number for number in bins if number <= first]:
                del bins[number]

    def _last_bin(self) -> int:
        """Now, or where old posts are played, the newest of them."""
        now = datetime.now(UTC)
        last = now if now - self._newest < _SPAN else self._newest
        return int(last.timestamp() // BIN_S)

    def _lines(self) -> dict[str, Line]:
        last = self._last_bin()
        return {
            track: [bins.get(number) for number in range(last - BINS + 1, last + 1)]
            for track, bins in self._bins.items()
        }

    def _ledger(self) -> dict[str, int]:
        rows = self._lake.ledger().to_pylist()
        return {name: sum(row[name] for row in rows) for name in (rows[0] if rows else {}) if name != "source"}

    def _terms(self) -> list[dict[str, Any]]:
        since = min(self._newest, datetime.now(UTC)) - timedelta(minutes=15)
        return list(self._lake.terms(kind="hashtag", since=since, limit=8).to_pylist())

    def _latest(self) -> list[dict[str, Any]]:
        edge = " or ".join(f"(log_partition = {p} and log_offset > {last - 400})" for p, last in self._after.items())
        if not edge:
            return []
        columns = "event_time, sentiment, complaint, source, author_handle, author_name, text"
        found = self._lake.sql(f"select {columns} from posts where {edge} order by log_offset desc limit {LATEST}")
        return list(found.to_pylist())


def _literal(moment: datetime) -> str:
    return f"arrow_cast('{moment.isoformat()}', 'Timestamp(Microsecond, Some(\"UTC\"))')"
