"""Cutting a period into slices, with and without pandas."""

import itertools
import sys
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feltwire.backfill.slices import Slice, cut, fixed_length, spans
from feltwire.cli.backfill import parse_period
from feltwire.errors import ConfigError, MissingExtraError

DAY = timedelta(days=1)
START = datetime(2026, 3, 1, tzinfo=UTC)
NOW = datetime(2026, 3, 9, 12, 30, 15, 5, tzinfo=UTC)


def test_four_days_are_384_quarters() -> None:
    slices = cut(*parse_period("2026-03-01", "2026-03-04", NOW), "15min")
    assert len(slices) == 384
    assert slices[0] == Slice(START, START + timedelta(minutes=15))
    assert slices[-1].end == START + 4 * DAY
    assert all(one.end == following.start for one, following in itertools.pairwise(slices))
    assert slices[1].name == "20260301T001500Z-20260301T003000Z"


@pytest.mark.parametrize(
    ("start", "end", "first", "last"),
    [
        ("2026-03-01", "2026-03-01", START, START + DAY),
        ("20260301", "2026-03-01T00:00", START, START + timedelta(seconds=1)),
        ("2026-03-01T08:00:00.7+01:00", "2026-03-02T12:00", START + timedelta(hours=7), START + 1.5 * DAY),
        ("yesterday", "yesterday", START + 7 * DAY, START + 8 * DAY),
        ("2d", "today", START + 6 * DAY + timedelta(hours=12, minutes=30, seconds=15), None),
        ("2026-03-01", "now", START, None),
        ("2026-03-01", "2027-01-01", START, None),
    ],
)
def test_the_end_is_included_and_over(start: str, end: str, first: datetime, last: datetime | None) -> None:
    found = parse_period(start, end, NOW)
    until = last or datetime(2026, 3, 9, 12, 29, 15, tzinfo=UTC)
    assert found[0] == first
    assert found[1] in (until, until + timedelta(seconds=1))
    assert found[1] == until if until == first + timedelta(seconds=1) or last is None or end[-1] == "1" else True


def test_the_second_of_an_end_belongs_to_the_last_slice() -> None:
    slices = cut(*parse_period("2026-03-01T00:00", "2026-03-01T01:00", NOW), "15min")
    assert [one.end.minute for one in slices] == [15, 30, 45, 0]
    assert slices[-1].end == START + timedelta(hours=1, seconds=1)


@pytest.mark.parametrize(
    ("alias", "length"),
    [("15min", 900), ("1h", 3600), ("D", 86_400), ("2D", 172_800), ("1h30min", 5_400), ("90s", 90), ("T", 60)],
)
def test_fixed_aliases_are_those_of_pandas(alias: str, length: int) -> None:
    assert fixed_length(alias) == timedelta(seconds=length)
    pandas = pytest.importorskip("pandas")
    if alias != "T":  # pandas warns of the old names
        assert pandas.Timedelta(pandas.tseries.frequencies.to_offset(alias)) == timedelta(seconds=length)


@given(st.integers(1, 400), st.sampled_from(["7min", "15min", "1h", "90s", "D"]), st.integers(0, 86_400))
def test_slices_tile_the_period(minutes: int, alias: str, offset: int) -> None:
    start = START + timedelta(seconds=offset)
    end = start + timedelta(minutes=minutes)
    slices = cut(start, end, alias)
    assert (slices[0].start, slices[-1].end) == (start, end)
    assert all(one.end == following.start for one, following in itertools.pairwise(slices))
    length = fixed_length(alias)
    assert all(one.end - one.start == length for one in slices[:-1])


@pytest.mark.parametrize(
    ("alias", "starts"),
    [("W", [1, 8]), ("B", [1, 2, 3, 4, 5, 6, 9]), ("MS", [1]), ("W-WED", [1, 4, 11]), ("2B", [1, 2, 4, 6, 10])],
)
def test_other_aliases_go_by_pandas(alias: str, starts: list[int]) -> None:
    pytest.importorskip("pandas")
    end = START + timedelta(days=max(starts) - 1, hours=1)
    assert [one.start.day for one in cut(START, end, alias)] == starts


@pytest.mark.parametrize("alias", ["", "0min", "-15min", "fortnight", "15", "1.5x", "10ms", "-1D"])
def test_what_is_no_slice(alias: str) -> None:
    with pytest.raises(ConfigError, match="--slice"):
        cut(START, START + timedelta(minutes=5), alias)


def test_without_pandas_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert len(cut(START, START + DAY, "1h")) == 24
    with pytest.raises(MissingExtraError, match=r"feltwire\[backfill\]"):
        cut(START, START + DAY, "W")


def test_no_period_and_too_many_slices() -> None:
    with pytest.raises(ConfigError, match="is not before"):
        cut(START, START, "1h")
    with pytest.raises(ConfigError, match="more than 100,000"):
        cut(START, START + 2 * DAY, "1s")


def test_slices_that_touch_are_one_span() -> None:
    slices = cut(START, START + DAY, "1h")
    assert spans(slices, 3) == [Slice(START, START + DAY)]
    assert len(spans([*slices[:3], *slices[5:7]], 3)) == 2
    assert spans(slices[::2], 3) == [Slice(START, START + timedelta(hours=23))]
    assert spans([], 3) == []
