"""Where in Bluesky's stream a reader is, where to resume after a break, and what was missed. No I/O."""

from collections import deque
from typing import Any, Final, NamedTuple

from feltwire.interfaces import Cursor

FIRST_TIME_CURSOR: Final = 10**15  # to a server, a smaller cursor is a sequence number
_FIRST_US: Final = 1_577_836_800_000_000  # 2020: Bluesky is younger
_AHEAD_US: Final = 60_000_000  # a server's clock may be ahead of ours by so much …
_SKEWED: Final = 10  # … or by anything, if so many events in a row say it: then it is our clock that is wrong


class Gap(NamedTuple):
    """A stretch of the stream that could not be had: from the last event before it to the first one after it."""

    from_us: int
    to_us: int
    host: str
    reason: str

    @property
    def seconds(self) -> float:
        """How long it is."""
        return (self.to_us - self.from_us) / 1e6


class Place:
    """How far the stream was read. Times are microseconds since 1970, as servers stamp the events."""

    def __init__(self, cursor: Cursor | None, *, rewind_s: float) -> None:
        """Continue from a stored cursor; one of another make, or damaged, counts as none."""
        stored: dict[str, Any] = cursor or {}
        self.time_us = _natural(stored.get("time_us"))
        """The newest event's time; 0 before the first one."""
        self.silence_s = _natural(stored.get("silence_s"))
        """The longest silence to be expected of this stream, in whole seconds; 0 while unknown."""
        self.gaps = _natural(stored.get("gaps"))
        """How many gaps there were, ever since the first cursor."""
        self.last_gap = stored.get("last_gap")
        self._host = stored.get("host")
        self._wire = stored.get("wire")
        self._rewind_us = int(rewind_s * 1_000_000)
        self._ahead = 0
        # (time, sequence number) now and then, the oldest one `rewind_s` behind or a little more, and the newest.
        self._marks: deque[tuple[int, int]] = deque()
        self._seq = _natural(stored.get("seq"))
        if self._seq:
            self._marks.append((self.time_us - self._rewind_us, self._seq))

    def arrive(self, host: str, wire: str) -> bool:
        """A connection to this host was made; true if it is the one that we had. Sequence numbers of another
        host mean nothing here."""
        same = host == self._host
        if not same or wire != self._wire:
            self.forget_sequence()
        self._host, self._wire = host, wire
        return same

    def forget_sequence(self) -> None:
        """The host does not know our sequence number any more: resume by time."""
        self._marks.clear()
        self._seq = 0

    def believes(self, time_us: int | None, now_us: int) -> bool:
        """Whether this can be an event's time. One broken frame from the future must not move us past the rest."""
        if time_us is None or time_us < _FIRST_US:
            return False
        if time_us <= now_us + _AHEAD_US:
            self._ahead = 0
            return True
        self._ahead += 1
        return self._ahead >= _SKEWED and time_us < 2**62

    def advance(self, time_us: int, seq: int | None) -> None:
        """An event of a believable time was read."""
        self.time_us = max(self.time_us, time_us)
        if seq is None or not 0 < seq < 2**62:
            return
        self._seq = max(self._seq, seq)
        marks = self._marks
        if not marks or (time_us > marks[-1][0] + self._rewind_us // 32 and seq > marks[-1][1]):
            marks.append((time_us, seq))
        while len(marks) > 1 and marks[1][0] <= self.time_us - self._rewind_us:
            marks.popleft()

    def resume(self, host: str, wire: str, stalls: int = 0) -> int | None:
        """The `cursor` to ask this host for: a sequence number of its own, or a time; None: from now on.

        `stalls`: how many connections in a row to this host brought events, but no new ones. A server that hangs
        up before the rewound stretch is over would never let us get any further, so each stall quarters the
        rewind, and the fourth drops it.
        """
        rewind_us = self._rewind_us >> 2 * stalls if stalls < 4 else 0
        if wire == "v2" and (host, wire) == (self._host, self._wire) and self._seq:
            if not rewind_us:
                return self._seq
            place_us = self.time_us - rewind_us
            return next((seq for time_us, seq in reversed(self._marks) if time_us <= place_us), self._oldest_seq())
        return max(self.time_us - rewind_us, _FIRST_US) if self.time_us else None

    def _oldest_seq(self) -> int:
        return self._marks[0][1] if self._marks else self._seq

    def missed(self, gap: Gap) -> None:
        """Count a gap; it stands in every cursor from now on."""
        self.gaps += 1
        self.last_gap = {"from_us": gap.from_us, "to_us": gap.to_us, "host": gap.host, "reason": gap.reason}

    def cursor(self) -> Cursor:
        """Everything that was read so far, as JSON data; empty before the first event."""
        if not self.time_us:
            return {}
        cursor: Cursor = {"time_us": self.time_us, "host": self._host, "wire": self._wire}
        if self._marks:
            cursor["seq"] = self._oldest_seq()
        if self.silence_s:
            cursor["silence_s"] = self.silence_s
        if self.gaps:
            cursor |= {"gaps": self.gaps, "last_gap": self.last_gap}
        return cursor


def _natural(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62 else 0
