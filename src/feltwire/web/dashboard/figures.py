"""Figures as Plotly takes them, in colours by name: `@neg`, `@ink2` and the like are looked up in the theme's tokens
when the browser draws (`assets/charts.js`), so that one figure serves both themes."""

from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo
from typing import Final

from feltwire.web.dashboard import traces
from feltwire.web.dashboard.data import Flag, Row
from feltwire.web.dashboard.plots import FONT, HOVER, Figure, wall
from feltwire.web.dashboard.words import LABELS, SHORT, label_name, signed

LEFT, RIGHT = 48, 56  # pixels beside the plot; `assets/charts.js` places the flags by the same numbers
LABEL_SHARE: Final = 0.115  # of the upper plot's height that a line of text takes, at the drawing's size


def over_time(
    rows: Sequence[Row],
    *,
    zone: tzinfo,
    span: tuple[datetime, datetime],
    every_s: int,
    mode: str,
    band: tuple[float, float] | None,
    others: Sequence[tuple[str, Sequence[Row]]] = (),
    flags: Sequence[Flag] = (),
    unfinished: Row | None = None,
    expected: float = 0.0,
    chosen: datetime | None = None,
) -> Figure:
    """Two plots on one time axis: mood (or shares, or scores) above, posts by window below.

    `rows` are whole windows, oldest first, without gaps; `unfinished` is the window that is still filling, drawn as a
    dashed outline as high as `expected`, and in no line. `chosen` is the start of a window that is outlined.
    """
    step = timedelta(seconds=every_s)
    middle = [wall(row.start + step / 2, zone) for row in rows]
    data = {"mood": traces.mood, "shares": traces.shares, "scores": traces.scores}[mode](
        rows, middle, others, zone, step
    )
    y_range = _y_range(rows, mode, band, others)
    data += traces.volume(rows, middle)
    shapes = _shapes(zone, span, mode, band, flags, unfinished, step, expected)
    axis_range = [wall(span[0], zone), wall(span[1], zone)]
    highest = max([row.n for row in rows] + [expected, 1.0])
    common = {"fixedrange": True, "zeroline": False, "tickfont": FONT, "ticks": "", "automargin": False}
    layout: Figure = {
        "margin": {"l": LEFT, "r": RIGHT, "t": 34, "b": 22},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": FONT,
        "showlegend": False,
        "barmode": "stack",
        "bargap": 0.14 if len(rows) > 30 else 0.3,
        "hovermode": "x unified",
        "hoverlabel": {"bgcolor": "@surface", "bordercolor": "@line2", "font": {**FONT, "color": "@ink"}},
        "dragmode": "zoom",
        "xaxis": {
            "type": "date",
            "range": axis_range,
            "anchor": "y2",
            "showgrid": False,
            "zeroline": False,
            "tickfont": FONT,
            "ticks": "outside",
            "ticklen": 4,
            "tickcolor": "@ctl",
            "nticks": 8,
            "tickformatstops": [
                {"dtickrange": [None, 86_399_999], "value": "%H:%M"},
                {"dtickrange": [86_400_000, None], "value": "%-d %b"},
            ],
            "hoverformat": "%-d %b %H:%M",
            "showspikes": False,
        },
        "yaxis": {
            **common,
            "domain": [0.40, 1.0],
            "range": y_range,
            "gridcolor": "@line",
            "tickmode": "array",
            **_ticks(y_range, mode),
        },
        "yaxis2": {
            **common,
            "domain": [0.0, 0.27],
            "range": [0, highest * 1.08],
            "gridcolor": "@line",
            "nticks": 3,
            "tickformat": ",d",
            "rangemode": "tozero",
        },
        "shapes": shapes,
        "annotations": _annotations(rows, mode, others, y_range[1] - y_range[0]),
    }
    return {"data": data, "layout": layout}


def _y_range(
    rows: Sequence[Row], mode: str, band: tuple[float, float] | None, others: Sequence[tuple[str, Sequence[Row]]]
) -> list[float]:
    if mode == "scores":
        return [0.0, max(0.4, *(row.average(label) for row in rows for label in LABELS)) * 1.06 if rows else 1.0]
    if mode == "shares":
        return [0.0, max(40.0, *(row.share(label) for row in rows for label in LABELS)) * 1.06 if rows else 100.0]
    values = [row.net for row in rows if row.net is not None]
    values += [row.net for _, theirs in others for row in theirs if row.net is not None]
    values += list(band or ())
    low, high = min([0.0, *values]), max([0.0, *values])
    step = 40 if high - low > 80 else 20
    low_tick, high_tick = -step * -(-max(0, -low) // step), step * -(-max(0, high) // step)
    return [max(-100.0, low_tick) - 3, min(100.0, max(high_tick, step)) + 3]


def _ticks(y_range: list[float], mode: str) -> Figure:
    if mode != "mood":
        return {"tickmode": "auto", "nticks": 5, "tickformat": ".1f" if mode == "scores" else ".0f"}
    step = 40 if y_range[1] - y_range[0] > 90 else 20
    first = int(y_range[0] // step) * step
    values = [value for value in range(first, 101, step) if y_range[0] <= value <= y_range[1]]
    return {"tickvals": values, "ticktext": [signed(value) for value in values]}


def _shapes(  # noqa: PLR0917
    zone: tzinfo,
    span: tuple[datetime, datetime],
    mode: str,
    band: tuple[float, float] | None,
    flags: Sequence[Flag],
    unfinished: Row | None,
    step: timedelta,
    expected: float,
) -> list[Figure]:
    left, right = wall(span[0], zone), wall(span[1], zone)
    shapes: list[Figure] = []
    if mode == "mood" and band is not None:
        shapes.append(
            {
                "type": "rect",
                "x0": left,
                "x1": right,
                "y0": band[0],
                "y1": band[1],
                "fillcolor": "@band",
                "line": {"width": 0},
                "layer": "below",
            }
        )
    for axis in ("y", "y2"):
        shapes.append(
            {
                "type": "line",
                "x0": left,
                "x1": right,
                "y0": 0,
                "y1": 0,
                "yref": axis,
                "line": {"color": "@ctl", "width": 1},
            }
        )
    for flag in flags:
        x = wall(flag.at, zone)
        for low, high in ((0.0, 0.27), (0.40, 1.0)):
            shapes.append(
                {
                    "type": "line",
                    "x0": x,
                    "x1": x,
                    "y0": low,
                    "y1": high,
                    "yref": "paper",
                    "line": {"color": "@ink", "width": 1, "dash": "2px,3px"},
                }
            )
    if unfinished is not None:
        margin = step * 0.08
        x0, x1 = wall(unfinished.start + margin, zone), wall(unfinished.start + step - margin, zone)
        outline = {"color": "@ink3", "width": 1, "dash": "2px,2px"}
        shapes.append(
            {
                "type": "rect",
                "x0": x0,
                "x1": x1,
                "y0": 0,
                "y1": max(expected, unfinished.n),
                "yref": "y2",
                "line": outline,
                "fillcolor": "rgba(0,0,0,0)",
            }
        )
        y = 0.0
        for label in LABELS:
            n = unfinished.counts.get(label, 0)
            if n:
                shapes.append(
                    {
                        "type": "rect",
                        "x0": x0,
                        "x1": x1,
                        "y0": y,
                        "y1": y + n,
                        "yref": "y2",
                        "fillcolor": f"@{SHORT[label]}",
                        "line": {"width": 0},
                    }
                )
            y += n
    return shapes


def _annotations(
    rows: Sequence[Row], mode: str, others: Sequence[tuple[str, Sequence[Row]]], height: float
) -> list[Figure]:
    """The last value at the end of each line; `height` is what the axis spans."""
    labels: list[tuple[float, str, str]] = []
    if mode == "mood":
        last = next((row.net for row in reversed(rows) if row.net is not None), None)
        if last is not None:
            color = "@neg-t" if last < 0 else "@pos-t" if last > 0 else "@ink"
            labels.append((last, f"<b>{signed(last)}</b>", color))
        for _, theirs in others:
            value = next((row.net for row in reversed(theirs) if row.net is not None), None)
            if value is not None:
                labels.append((value, signed(value), "@ink2"))
    elif rows:
        for label in LABELS:
            if mode == "shares":
                labels.append((rows[-1].share(label), f"{rows[-1].share(label):.0f} %", f"@{SHORT[label]}-t"))
            else:
                labels.append((rows[-1].average(label), f"{rows[-1].average(label):.2f}", f"@{SHORT[label]}-t"))
    spread = _apart(labels, LABEL_SHARE * height)
    return [
        {
            "x": 1,
            "xref": "paper",
            "xanchor": "left",
            "xshift": 6,
            "y": y,
            "yref": "y",
            "yanchor": "middle",
            "text": text,
            "showarrow": False,
            "font": {**FONT, "size": 14 if mode == "mood" else 12, "color": color},
        }
        for y, text, color in spread
    ]


def _apart(labels: Sequence[tuple[float, str, str]], gap: float) -> list[tuple[float, str, str]]:
    """The labels moved up as far as they would cover one another."""
    placed: list[tuple[float, str, str]] = []
    for y, text, color in sorted(labels, key=lambda one: one[0]):
        if placed and y < placed[-1][0] + gap:
            y = placed[-1][0] + gap  # noqa: PLW2901
        placed.append((y, text, color))
    return placed


def donut(averages: dict[str, float]) -> Figure:
    """The average scores as a ring, clockwise from above in the one order of sentiments."""
    colors = [f"@{SHORT[label]}" for label in LABELS]
    return {
        "data": [
            {
                "type": "pie",
                "values": [averages.get(label, 0.0) for label in LABELS],
                "labels": [label_name(label) for label in LABELS],
                "sort": False,
                "direction": "clockwise",
                "hole": 0.72,
                "textinfo": "none",
                "hovertemplate": "%{label} %{value:.2f}<extra></extra>",
                "marker": {
                    "colors": [
                        "@mix-soft" if label == "mixed" else color for label, color in zip(LABELS, colors, strict=True)
                    ],
                    "line": {"color": "@surface", "width": 1.5},
                    "pattern": {
                        "shape": ["/" if label == "mixed" else "" for label in LABELS],
                        "fgcolor": ["@mix"] * len(LABELS),
                        "size": 5,
                        "solidity": 0.55,
                        "fillmode": "overlay",
                    },
                },
            }
        ],
        "layout": {
            "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "showlegend": False,
            "font": FONT,
            "hoverlabel": HOVER,
        },
    }
