"""Numbers and times as the page writes them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feltwire.web.dashboard import names, words
from feltwire.web.dashboard.view import View

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("write", "value", "said"),
    [
        (words.count, 15_688.4, "15,688"), (words.count, -3, "−3"),
        (words.signed, 12, "+12"), (words.signed, -47.2, "−47"), (words.signed, 0.4, "0"), (words.signed, -0.4, "0"),
        (words.percent, 60.04, "60.0"), (words.percent, -0.5, "−0.5"),
        (words.arrow, 3, "↑"), (words.arrow, -3, "↓"), (words.arrow, 0.4, "→"),
        (words.pace, 0, "0"), (words.pace, 4.25, "4.2"), (words.pace, 9.5, "10"), (words.pace, 1_204, "1,204"),
        (words.seconds, 0.42, "0.4 s"), (words.seconds, 41, "41 s"), (words.seconds, 360, "6 min"),
        (words.track_name, "*", "All posts"), (words.track_name, "<b>", "<b>"),
        (words.source_name, "x", "X"), (words.source_name, "mine", "mine"),
        (words.language_name, "de", "German"), (words.language_name, "", "Unknown"), (words.language_name, "xx", "xx"),
        (words.label_name, "lost_baggage", "Lost baggage"), (words.label_name, "", ""),
        (names.emoji_name, "🤬", "face with symbols on mouth"), (names.emoji_name, "no emoji", "emoji"),
        (words.listed, ["one", "two", "three"], "one, two and three"), (words.listed, ["one"], "one"),
        (words.listed, [], ""),
    ],
)  # fmt: skip
def test_numbers_and_names(write: Callable[[Any], str], value: Any, said: str) -> None:
    assert write(value) == said


@pytest.mark.parametrize(
    ("now", "before", "said"), [(57, 10, "×5.7"), (660, 10, "×66"), (3, 0, "new"), (0, 0, "–"), (0, 5, "×0.0")]
)
def test_how_many_times(now: float, before: float, said: str) -> None:
    assert words.times(now, before) == said


def test_times_of_day() -> None:
    late = datetime(2026, 3, 1, 23, 59, 8, tzinfo=UTC)
    assert words.clock(late, BERLIN) == "00:59"
    assert words.clock(late, UTC, seconds=True, day=True) == "1 Mar 23:59:08"
    assert words.span(NOON, NOON + timedelta(hours=1), UTC) == "12:00 – 12:59"
    assert words.span(NOON, NOON + timedelta(days=1), UTC) == "1 Mar 12:00 – 2 Mar 11:59"
    assert words.span(NOON - timedelta(hours=1), NOON + timedelta(hours=12), UTC) == "11:00 – 23:59", (
        "its end is excluded"
    )


@pytest.mark.parametrize(("minutes", "said"), [(0, "UTC"), (60, "UTC+1"), (-210, "UTC−3:30"), (345, "UTC+5:45")])
def test_zones(minutes: int, said: str) -> None:
    assert words.zone_name(timezone(timedelta(minutes=minutes)), NOON) == said


def test_how_long_ago() -> None:
    assert words.ago(None, NOON) == "never"
    assert words.ago(NOON, NOON + timedelta(seconds=0.2)) == "0.2 s ago"
    assert words.ago(NOON, NOON + timedelta(seconds=41)) == "41 s ago"
    assert words.ago(NOON + timedelta(seconds=5), NOON) == "0.0 s ago", "a clock may be behind"


def test_ranges_have_names() -> None:
    assert (names.range_words(View()), names.before_words(View())) == ("last hour", "the hour before")
    own = View(since=NOON, until=NOON + timedelta(hours=3))
    assert (names.range_words(own), names.before_words(own)) == ("this range", "the range before")


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=6), st.integers(0, 2))
def test_shares_add_up_to_exactly_one_hundred(counts: list[int], digits: int) -> None:
    named = {str(i): count for i, count in enumerate(counts)}
    found = words.shares(named, digits)
    unit = 10**digits
    assert sum(round(value * unit) for value in found.values()) == (100 * unit if sum(counts) else 0)
    assert all(abs(value - 100 * named[name] / sum(counts)) < 1 / unit for name, value in found.items() if sum(counts))
