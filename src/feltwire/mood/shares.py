"""Shares that a reader can add up, and net mood: how counts become numbers on a page."""

from collections.abc import Mapping, Sequence
from typing import Final

ORDER: Final = ("negative", "mixed", "neutral", "positive")
"""The order in which sentiments are shown, everywhere."""


def shares(counts: Sequence[int], *, digits: int = 1) -> tuple[float, ...]:
    """Percentages with `digits` decimals that add up to exactly 100; all 0.0 where nothing was counted.

    By the method of the largest remainder (Hamilton's): every share is rounded down, and what is missing to 100 goes,
    one unit each, to the largest remainders, of equal ones to the first. Each is within one unit of the truth.
    Counts below zero count as zero.
    """
    wanted = [max(0, count) for count in counts]
    total = sum(wanted)
    scale = 10**digits
    if not total:
        return (0.0,) * len(wanted)
    parts = [divmod(100 * scale * count, total) for count in wanted]
    units = [whole for whole, _ in parts]
    missing = 100 * scale - sum(units)
    by_remainder = sorted(range(len(parts)), key=lambda place: (-parts[place][1], place))
    for place in by_remainder[:missing]:
        units[place] += 1
    return tuple(unit / scale for unit in units)


def net(n_positive: float, n_negative: float, n_scored: float) -> float | None:
    """Net mood in points from -100 to +100: positive % less negative %; None where nothing was scored."""
    return 100.0 * (n_positive - n_negative) / n_scored if n_scored > 0 else None


def change(now: float | None, before: float | None) -> float | None:
    """Points from before to now; None where one of them is unknown."""
    return None if now is None or before is None else now - before


def ratio(now: float, before: float) -> float | None:
    """How many times the one before; None where there was none."""
    return now / before if before > 0 else None


def of_counts(counts: Mapping[str, int]) -> dict[str, float]:
    """{sentiment: its share}, in ORDER, of {n_negative: …, n_mixed: …, …}: they add up to exactly 100."""
    return dict(zip(ORDER, shares([counts[f"n_{label}"] for label in ORDER]), strict=True))


def signed(points: float | None) -> str:
    """A number of points as the page writes it: +12, −65, 0; an en dash where there is none."""
    if points is None:
        return "–"
    whole = round(points)
    return f"+{whole}" if whole > 0 else f"−{-whole}" if whole < 0 else "0"


def times(factor: float | None) -> str:
    """A factor as the page writes it: ×58, ×5.7; `new` where there was none before."""
    if factor is None:
        return "new"
    return f"×{factor:.0f}" if factor >= 9.95 else f"×{factor:.1f}"
