"""Spikes and turning points: found where they were planted, none where nothing happens."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feltwire.mood import moments
from feltwire.mood.read import SERIES

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
LEAD = moments.LEAD


def series(n: Sequence[int], moods: Sequence[float]) -> pa.Table:
    """Windows from NOON - LEAD minutes on, of so many posts and about such a mood, without mixed ones."""
    rows = []
    for i, (posts, mood) in enumerate(zip(n, moods, strict=True)):
        positive = round(posts * (0.5 + mood / 200))
        row = dict.fromkeys(SERIES.names, 0) | {"window": NOON + (i - LEAD) * MINUTE, "n": posts, "n_scored": posts}
        row |= {"n_positive": positive, "n_negative": posts - positive}
        rows.append(row | {"net": 100.0 * (2 * positive - posts) / posts if posts else None})
    return pa.Table.from_pylist(rows, schema=SERIES)


def wavering(seed: int, windows: int, posts: int = 100, mood: float = 12.0) -> tuple[list[int], list[float]]:
    """What chance makes of a constant mood."""
    random = np.random.default_rng(seed)
    n = random.poisson(posts, windows)
    return n.tolist(), [200 * random.binomial(one, 0.5 + mood / 200) / max(one, 1) - 100 for one in n]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 5_000), st.integers(-100, 100), st.integers(61, 200))
def test_nothing_is_found_in_a_constant_series(posts: int, mood: int, windows: int) -> None:
    assert moments.find(series([posts] * windows, [mood] * windows), MINUTE) == []


@pytest.mark.parametrize(("seed", "posts"), [(1, 100), (2, 300), (3, 500), (4, 2_000)])
def test_a_planted_fall_is_found_where_it_was_planted(seed: int, posts: int) -> None:
    n, moods = wavering(seed, 120, posts)
    n[90:], moods[90:] = [5 * posts] * 30, [-65.0] * 30
    found = moments.find(series(n, moods), MINUTE)
    falls = [one for one in found if "mood" in one.by and not one.rising and one.kind == "spike"]
    assert [one.start for one in falls] == [NOON + 30 * MINUTE]
    (fall,) = falls
    assert fall.by == ("mood", "posts")
    assert fall.end - fall.start == moments.MAX_SPAN * MINUTE
    assert fall.change == pytest.approx(-77, abs=8)
    assert fall.times == pytest.approx(5, rel=0.2)
    assert fall.n == 8 * 5 * posts


def test_chance_makes_few_spikes() -> None:
    """Four robust standard deviations: in a day of chance alone a handful."""
    assert len(moments.find(series(*wavering(1, 1_440)), MINUTE)) <= 5


def test_few_posts_are_no_spike() -> None:
    n, moods = [20] * 120, [10.0] * 120
    n[100], moods[100] = 29, -100.0
    assert moments.find(series(n, moods), MINUTE) == []
    n[100] = 50
    assert [one.start for one in moments.find(series(n, moods), MINUTE)] == [NOON + 40 * MINUTE]


def test_a_window_of_few_posts_among_large_ones_may_waver() -> None:
    """Its mood is 30 points off, but that is what 30 posts do by chance."""
    n, moods = [5_000] * 120, [10.0] * 120
    n[100], moods[100] = 30, -20.0
    assert all("mood" not in one.by for one in moments.find(series(n, moods), MINUTE))


def test_the_unfinished_window_says_nothing() -> None:
    n, moods = [100] * 121, [10.0] * 121
    moods[120] = -100.0
    table = series(n, moods)
    assert len(moments.find(table, MINUTE)) == 1
    assert moments.find(table, MINUTE, until=NOON + 60.5 * MINUTE) == []


def test_what_came_too_late_to_compare_says_nothing() -> None:
    n, moods = [0] * 55 + [100] * 30, [0.0] * 55 + [10.0] * 10 + [-90.0] * 20
    assert moments.find(series(n, moods), MINUTE) == []


def test_a_quiet_track_that_wakes_up() -> None:
    """Zeros behind the first post are counts like others."""
    (spike,) = moments.find(series([1] + [0] * 89 + [100] * 3, [0.0] * 93), MINUTE)
    assert (spike.start, spike.times, spike.label()) == (NOON + 30 * MINUTE, None, "12:30 posts from 0")


def test_a_turning_point() -> None:
    moods = [*[30.0] * 70, *np.linspace(30, -60, 30), *np.linspace(-60, 30, 30)]
    found = moments.find(series([400] * 130, moods), MINUTE)
    turns = [one for one in found if one.kind == "turn"]
    assert [one.rising for one in turns] == [True]
    assert abs((turns[0].start - (NOON + 40 * MINUTE)) / MINUTE) <= 2
    assert turns[0].label(timezone(timedelta(hours=1))).endswith(" turning up")


def test_flags_speak_the_local_time() -> None:
    n, moods = [100] * 90 + [570] * 8, [12.0] * 90 + [-65.0] * 8
    (spike,) = moments.find(series(n, moods), MINUTE)
    assert spike.label() == "12:30 mood −77, posts ×5.7"
    assert spike.label(timezone(timedelta(hours=1))).startswith("13:30")


@pytest.mark.parametrize(
    ("n", "moods", "said"),
    [
        ([100] * 120, [12.0] * 120, "Steady at +12, within its usual range"),
        ([100] * 120, [12.0] * 60 + [16.0] * 60, "At +16, above its usual range of +12 to +12"),
        ([0] * 60 + [100] * 60, [12.0] * 120, "Mood +12; too little came before to say what is usual"),
        ([0] * 120, [0.0] * 120, "No scored posts in this range"),
        ([0] * 119 + [10], [0.0] * 120, "Mood 0, of only 10 scored posts"),
        ([100] * 90 + [500] * 8, [12.0] * 90 + [-66.0] * 8, "Mood fell from +12 to −66 at 12:30"),
        (
            [100] * 90 + [500] * 30,
            [12.0] * 90 + [-66.0] * 30,
            "Mood fell from +12 to −66 at 12:30 and has stayed there",
        ),
        (
            [100] * 90 + [500] * 30,
            [12.0] * 90 + [-66.0] * 8 + list(np.linspace(-66, -44, 22)),
            "Mood fell from +12 to −66 at 12:30 and is rising slowly",
        ),
        (
            [100] * 90 + [500] * 30,
            [12.0] * 90 + [-66.0] * 8 + [12.0] * 22,
            "Mood fell from +12 to −66 at 12:30 and is back at +12",
        ),
        ([100] * 90 + [600] * 8, [12.0] * 98, "Posts rose to 6.0 times the usual at 12:30; mood is +12"),
    ],
)
def test_the_finding(n: list[int], moods: list[float], said: str) -> None:
    assert moments.finding(series(n, moods), MINUTE) == said


def test_the_usual_range_is_the_middle_four_fifths() -> None:
    moods = [float(x) for x in range(-30, 30)]
    low, high = moments.usual_range(series([10_000] * 60, moods)) or (0, 0)
    assert [low, high] == pytest.approx([-24.1, 23.1])
    assert moments.usual_range(series([0] * 60, moods)) is None
