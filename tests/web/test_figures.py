"""Figures: what is drawn of some windows, in every mode, also of none."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from feltwire.web.dashboard import figures, plots, traces
from feltwire.web.dashboard.data import Flag, Row

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
NONE: dict[str, int] = dict.fromkeys(("negative", "mixed", "neutral", "positive"), 0)
EVEN: dict[str, float] = dict.fromkeys(NONE, 0.25)


def row(minute: int, negative: int, positive: int, unscored: int = 0) -> Row:
    scored = negative + positive
    net = 100.0 * (positive - negative) / scored if scored else None
    counts = {**NONE, "negative": negative, "positive": positive}
    return Row(
        start=NOON + minute * MINUTE, n=scored + unscored, n_scored=scored, counts=counts, averages=EVEN, net=net
    )


ROWS = [row(0, 1, 3), row(1, 3, 1), row(2, 0, 0), row(3, 4, 0, unscored=2)]


def drawn(rows: list[Row] = ROWS, **more: Any) -> plots.Figure:
    given: dict[str, Any] = {"mode": "mood", "band": None, **more}
    figure = figures.over_time(rows, zone=UTC, span=(NOON, NOON + 5 * MINUTE), every_s=60, **given)
    json.dumps(figure, allow_nan=False)
    return figure


@pytest.mark.parametrize("mode", ["mood", "shares", "scores"])
@pytest.mark.parametrize("rows", [[], ROWS[2:3], ROWS], ids=["none", "unscored", "some"])
def test_every_mode_is_drawn_of_any_windows(mode: str, rows: list[Row]) -> None:
    figure = drawn(rows, mode=mode)
    low, high = figure["layout"]["yaxis"]["range"]
    assert low < high
    values = [y for one in figure["data"] if one.get("yaxis") != "y2" for y in one["y"] if y is not None]
    assert all(low <= value <= high for value in values)


def test_the_line_has_a_gap_where_nothing_was_scored() -> None:
    line = next(one for one in drawn()["data"] if one.get("name") == "Net mood")
    assert line["y"] == [50.0, -50.0, None, -100.0]
    assert line["x"][0] == "2026-03-01 12:00:30", "in the middle of its window"


def test_both_areas_begin_where_the_line_crosses_zero() -> None:
    at, values = traces._with_crossings([NOON, NOON + 2 * MINUTE, NOON + 4 * MINUTE], [50.0, -50.0, None])
    assert list(zip(at, values, strict=True)) == [
        (NOON, 50.0), (NOON + MINUTE, 0.0), (NOON + 2 * MINUTE, -50.0), (NOON + 4 * MINUTE, None),
    ]  # fmt: skip


def test_the_bars_are_all_posts_and_mixed_ones_are_hatched() -> None:
    bars = [one for one in drawn()["data"] if one["type"] == "bar"]
    assert [sum(bar["y"][i] for bar in bars) for i in range(4)] == [one.n for one in ROWS]
    assert [bar["name"] for bar in bars] == [
        "Negative posts", "Mixed posts", "Neutral posts", "Positive posts", "Not scored",
    ]  # fmt: skip
    assert ["pattern" in bar["marker"] for bar in bars] == [False, True, False, False, False]


def test_the_window_that_is_filling_is_an_outline_and_in_no_line() -> None:
    without, given = drawn(), drawn(unfinished=row(4, 9, 0), expected=40.0)
    assert [one["x"] for one in given["data"]] == [one["x"] for one in without["data"]]
    outlines = [one for one in given["layout"]["shapes"] if one not in without["layout"]["shapes"]]
    dashed = [(one["y0"], one["y1"]) for one in outlines if one["line"].get("dash") == "2px,2px"]
    assert (0, 40.0) in dashed, "as high as it is on its way to"
    assert given["layout"]["yaxis2"]["range"][1] > 40.0


def test_colours_are_names_of_the_theme() -> None:
    found = json.dumps(drawn(band=(-10.0, 20.0), others=[("sea", ROWS)]))
    assert "#" not in found
    assert '"@band"' in found


def test_flags_are_lines_through_both_plots() -> None:
    at = NOON + MINUTE
    flag = Flag(
        number=1, at=at, kind="spike", text="x", short="x", change=-50.0, rising=False, until=at + MINUTE
    )  # fmt: skip
    wall = plots.wall(at, UTC)
    lines = [one for one in drawn(flags=[flag])["layout"]["shapes"] if one["x0"] == one["x1"] == wall]
    assert [(one["y0"], one["y1"]) for one in lines] == [(0.0, 0.27), (0.40, 1.0)]


def test_labels_at_the_ends_keep_apart() -> None:
    spread = figures._apart([(50.0, "a", ""), (51.0, "b", ""), (90.0, "c", "")], 10.0)
    assert [y for y, *_ in spread] == [50.0, 60.0, 90.0]


def test_the_ring_has_the_one_order_of_sentiments() -> None:
    (ring,) = figures.donut({"negative": 0.5, "positive": 0.5})["data"]
    assert ring["labels"] == ["Negative", "Mixed", "Neutral", "Positive"]
    assert ring["values"] == [0.5, 0.0, 0.0, 0.5]
    assert ring["sort"] is False
