"""What the chart Over time draws: the line of mood with its areas, shares, scores, and the bars of posts."""

from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo
from typing import Any

from feltwire.web.dashboard.data import Row
from feltwire.web.dashboard.plots import Figure, wall
from feltwire.web.dashboard.words import LABELS, SHORT, label_name


def mood(
    rows: Sequence[Row], middle: list[str], others: Sequence[tuple[str, Sequence[Row]]], zone: tzinfo, step: timedelta
) -> list[Figure]:
    """The line, and the two areas between it and zero; where it crosses zero both areas begin in the same point."""
    areas: list[Figure] = []
    xs, net = _with_crossings([row.start + step / 2 for row in rows], [row.net for row in rows])
    at = [wall(moment, zone) for moment in xs]
    for part, token in ((1, "@pos-fill"), (-1, "@neg-fill")):
        clipped = [None if value is None else max(0.0, value) if part > 0 else min(0.0, value) for value in net]
        areas.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": at,
                "y": clipped,
                "line": {"width": 0},
                "fill": "tozeroy",
                "fillcolor": token,
                "hoverinfo": "skip",
            }
        )
    dashes = ("dash", "dot", "dashdot", "longdash")
    compared = [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [wall(row.start + step / 2, zone) for row in theirs],
            "y": [row.net for row in theirs],
            "name": name,
            "line": {"color": "@ink2", "width": 1.5, "dash": dashes[i % len(dashes)]},
            "hovertemplate": "%{y:+.0f}",
            "connectgaps": False,
        }
        for i, (name, theirs) in enumerate(others)
    ]
    line = {
        "type": "scatter",
        "mode": "lines",
        "x": middle,
        "y": [row.net for row in rows],
        "name": "Net mood",
        "line": {"color": "@ink", "width": 1.75},
        "hovertemplate": "%{y:+.0f}",
        "connectgaps": False,
    }
    return [*areas, *compared, line, *_last_point(rows, middle, [row.net for row in rows], "@ink")]


def _with_crossings(
    at: Sequence[datetime], values: Sequence[float | None]
) -> tuple[list[datetime], list[float | None]]:
    """The points, and between two of different sign the moment at which the line between them is zero."""
    xs: list[datetime] = []
    ys: list[float | None] = []
    for i, (moment, value) in enumerate(zip(at, values, strict=True)):
        before = values[i - 1] if i else None
        if value is not None and before is not None and value * before < 0:
            xs.append(at[i - 1] + (moment - at[i - 1]) * (before / (before - value)))
            ys.append(0.0)
        xs.append(moment)
        ys.append(value)
    return xs, ys


def _last_point(rows: Sequence[Row], middle: list[str], values: Sequence[float | None], color: str) -> list[Figure]:
    for i in range(len(rows) - 1, -1, -1):
        if values[i] is not None:
            return [
                {
                    "type": "scatter",
                    "mode": "markers",
                    "x": [middle[i]],
                    "y": [values[i]],
                    "marker": {"size": 7, "color": color, "line": {"color": "@surface", "width": 1.5}},
                    "hoverinfo": "skip",
                    "cliponaxis": False,
                }
            ]
    return []


def shares(rows: Sequence[Row], middle: list[str], *_: Any) -> list[Figure]:
    """A line of each sentiment's share."""
    return _lines(rows, middle, lambda row, label: row.share(label), "%{y:.1f} %")


def scores(rows: Sequence[Row], middle: list[str], *_: Any) -> list[Figure]:
    """A line of each sentiment's mean probability."""
    return _lines(rows, middle, lambda row, label: row.average(label), "%{y:.2f}")


def _lines(rows: Sequence[Row], middle: list[str], value_of: Any, form: str) -> list[Figure]:
    dashes = {"negative": "solid", "mixed": "dot", "neutral": "dash", "positive": "solid"}
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "x": middle,
            "y": [value_of(row, label) for row in rows],
            "name": label_name(label),
            "line": {"color": f"@{SHORT[label]}", "width": 1.75, "dash": dashes[label]},
            "hovertemplate": form,
        }
        for label in LABELS
    ]


def volume(rows: Sequence[Row], middle: list[str]) -> list[Figure]:
    """Stacked bars of posts by sentiment, and of those that are not scored."""
    bars: list[Figure] = []
    for label in LABELS:
        marker: Figure = {"color": f"@{SHORT[label]}", "line": {"color": "@surface", "width": 1}}
        if label == "mixed":
            marker = {
                "color": "@mix-soft",
                "pattern": {"shape": "/", "fgcolor": "@mix", "size": 5, "solidity": 0.55, "fillmode": "overlay"},
                "line": {"color": "@surface", "width": 1},
            }
        bars.append(
            {
                "type": "bar",
                "x": middle,
                "y": [row.counts.get(label, 0) for row in rows],
                "yaxis": "y2",
                "name": f"{label_name(label)} posts",
                "marker": marker,
                "hovertemplate": "%{y:,d}",
            }
        )
    unscored = [row.n - row.n_scored for row in rows]
    if any(unscored):
        bars.append(
            {
                "type": "bar",
                "x": middle,
                "y": unscored,
                "yaxis": "y2",
                "name": "Not scored",
                "marker": {"color": "@bar", "line": {"color": "@ctl", "width": 0.5}},
                "hovertemplate": "%{y:,d}",
            }
        )
    return bars
