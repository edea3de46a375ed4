"""Shares add up, and are near the truth."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feltwire.mood import shares

counts = st.lists(st.integers(0, 10**12), min_size=1, max_size=8)


@given(counts)
def test_shares_add_up_to_exactly_100_and_are_within_a_tenth(some: list[int]) -> None:
    found = shares.shares(some)
    total = sum(some)
    if not total:
        assert found == (0.0,) * len(some)
        return
    assert sum(Decimal(str(share)) for share in found) == 100
    for share, count in zip(found, some, strict=True):
        assert abs(Fraction(str(share)) - Fraction(100 * count, total)) < Fraction(1, 10)
        assert (count == 0) <= (share == 0)


@given(counts, st.integers(0, 2))
def test_more_is_never_shown_as_less(some: list[int], digits: int) -> None:
    by_count = sorted(zip(some, shares.shares(some, digits=digits), strict=True), key=lambda pair: (pair[0], pair[1]))
    assert [share for _, share in by_count] == sorted(share for _, share in by_count)


def test_zeros_are_shown() -> None:
    assert shares.of_counts({"n_negative": 0, "n_mixed": 0, "n_neutral": 1, "n_positive": 2}) == {
        "negative": 0.0, "mixed": 0.0, "neutral": 33.3, "positive": 66.7,
    }  # fmt: skip


def test_net_mood_and_change() -> None:
    assert shares.net(3, 1, 8) == 25.0
    assert shares.net(0, 0, 0) is None
    assert shares.change(25.0, -10.0) == 35.0
    assert shares.change(25.0, None) is None
    assert shares.ratio(3, 2) == 1.5
    assert shares.ratio(3, 0) is None


@pytest.mark.parametrize(("points", "written"), [(12.4, "+12"), (-65.5, "−66"), (0.4, "0"), (-0.4, "0"), (None, "–")])
def test_points_as_written(points: float | None, written: str) -> None:
    assert shares.signed(points) == written


@pytest.mark.parametrize(("factor", "written"), [(57.6, "×58"), (5.74, "×5.7"), (0.25, "×0.2"), (None, "new")])
def test_factors_as_written(factor: float | None, written: str) -> None:
    assert shares.times(factor) == written
