"""When a stream is silent: judged against its own rate."""

import math
from typing import Final

_MEMORY: Final = 100  # events whose gaps shape the expectation
_LEARNING: Final = 10  # before so many events nothing is expected
_SPREADS: Final = 12.0  # events at random: one silence in 400,000 gaps is taken for a fault that is none
_FEW: Final = 4.0  # as long as hardly a gap is known, so many times the mean one may pass
_MAX_PATIENCE: Final = 64.0


class Watchdog:
    """Learns the gaps between a stream's events, and from them how long a silence may last.

    The limit is the mean gap plus 12 standard deviations, over about the last 100 gaps, and at least `floor_s`.
    Gaps are those of the events' own times, not of their arrival, so that a replay at full speed does not make
    the quiet stream after it look dead. Every silence that leads to nothing doubles the limit, until an event
    comes: a stream that has really gone quiet is left alone more and more.
    """

    def __init__(self, *, floor_s: float, start_s: float) -> None:
        """`start_s`: the limit until the rate is known."""
        self._floor_s = floor_s
        self._start_s = max(start_s, floor_s)
        self._newest_us: int | None = None
        self._gaps = 0
        self._mean = 0.0
        self._square = 0.0
        self._patience = 1.0

    @property
    def known(self) -> bool:
        """Whether the rate has been learned."""
        return self._gaps >= _LEARNING

    @property
    def expected_s(self) -> float:
        """How long a gap may be, as far as is known; patience left aside."""
        spread = math.sqrt(max(self._square - self._mean * self._mean, 0.0))
        usual = self._mean + _SPREADS * spread
        if self.known:
            return max(usual, self._floor_s)
        return max(usual, _FEW * self._mean, self._start_s)

    @property
    def limit_s(self) -> float:
        """A silence longer than this is a fault of the connection."""
        return self.expected_s * self._patience

    def saw(self, time_us: int) -> None:
        """An event of this time (microseconds since 1970) came."""
        self._patience = 1.0
        newest = self._newest_us
        if newest is not None:
            gap_us = time_us - newest
            if gap_us <= 0:
                return  # a repeat
            gap_s = gap_us / 1e6
            self._gaps += 1
            weight = 1.0 / min(self._gaps, _MEMORY)
            self._mean += weight * (gap_s - self._mean)
            self._square += weight * (gap_s * gap_s - self._square)
        self._newest_us = time_us

    def gave_up(self) -> None:
        """A silence passed the limit, and the connection was made anew."""
        self._patience = min(self._patience * 2.0, _MAX_PATIENCE)
