"""What can be asked, and what cannot."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feltwire.errors import ConfigError
from feltwire.mood import View, auto_every_s

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def test_times_lie_on_whole_minutes() -> None:
    east = timezone(HOUR)
    view = View(start=NOON.astimezone(east) + timedelta(seconds=59), end=NOON + HOUR + timedelta(seconds=1))
    assert (view.start, view.end) == (NOON, NOON + HOUR + timedelta(minutes=1))
    assert view.windows == 61


def test_the_last_hour_ends_with_the_window_of_now() -> None:
    view = View.last(3_600, NOON + timedelta(minutes=32, seconds=5), tracks=("air",))
    assert (view.end, view.windows, view.every_s) == (NOON + timedelta(minutes=33), 60, 60)
    assert view.before().end == view.start
    assert view.led(60).windows == 120
    assert view.of("sea").tracks == ("sea",)


@given(st.sampled_from([900, 3_600, 21_600, 86_400, 604_800, 2_592_000]), st.integers(0, 10**7))
def test_ranges_are_cut_into_few_windows_that_hold_now(length_s: int, offset_s: int) -> None:
    now = NOON + timedelta(seconds=offset_s)
    view = View.last(length_s, now)
    assert view.windows <= 120
    assert view.end - view.every <= now < view.end
    assert auto_every_s(length_s) == view.every_s


def test_all_tracks_is_none() -> None:
    assert View(start=NOON, end=NOON + HOUR, tracks=("a", "*")).tracks == ()
    assert View(start=NOON, end=NOON + HOUR, tracks=("a", "a")).tracks == ("a",)


def test_what_the_sums_answer() -> None:
    view = View(start=NOON, end=NOON + HOUR)
    assert view.summed
    assert view.of("a").summed
    assert not view.of("a", "b").summed
    assert not View(start=NOON, end=NOON + HOUR, query="x").summed
    assert not View(start=NOON, end=NOON + HOUR, filters={"word": "x"}).summed
    assert hash(view) == hash(View(start=NOON, end=NOON + HOUR))


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ({"start": datetime(2026, 3, 1)}, "zone"),  # noqa: DTZ001
        ({"end": NOON}, "holds nothing"),
        ({"every_s": 90}, "whole minutes"),
        ({"end": NOON + timedelta(days=400)}, "windows of 60 s"),
        ({"filters": {"colour": "red"}}, "colour"),
    ],
)
def test_what_is_no_view(more: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        View(**{"start": NOON, "end": NOON + HOUR, **more})  # type: ignore[arg-type]
