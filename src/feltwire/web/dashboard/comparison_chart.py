"""The chart of Compare: A solid with a dot at its end, B dashed with a square, and the table behind it."""

import math
from datetime import tzinfo
from typing import Any, Final

from dash import html
from dash.development.base_component import Component

from feltwire.web.dashboard import words
from feltwire.web.dashboard.attributes import given
from feltwire.web.dashboard.comparison import Pair
from feltwire.web.dashboard.parts import icon, segments, table, toggle
from feltwire.web.dashboard.plots import AXIS, FONT, PLOT, Figure, time_axis, wall
from feltwire.web.dashboard.view import WINDOW_WORDS, View
from feltwire.web.dashboard.words import count, label_name, percent, signed

MODES: Final = {"mood": "Mood", "negative": "Negative", "positive": "Positive", "complaints": "Complaints"}


def chart(pair: Pair, zone: tzinfo) -> Component:
    """The panel: the finding as its title, what is drawn, the figure and its table."""
    mode = _mode(pair.view)
    per = WINDOW_WORDS[pair.view.window_name]
    what = {"mood": "Net mood", "complaints": "Share of complaints"}.get(mode, f"Share of {mode} posts")
    name = "Complaints" if mode == "complaints" else f"{label_name(mode)} posts"
    upper = "Net mood, −100 to +100" if mode == "mood" else f"{name}, % of scored posts"
    lower = "Posts a minute" if pair.a.mood.every_s == 60 else f"Posts in {per}"
    return html.Section(
        [
            html.Div(
                [
                    html.Div(
                        [
                            html.H2(pair.finding, className="f16"),
                            html.Div(f"{what} and posts on the same scales · {per} windows", className="f12 i3"),
                        ],
                        className="grow",
                    ),
                    segments(
                        "What the chart shows", "show", [(text, key) for key, text in MODES.items()], mode, "seg s"
                    ),
                    toggle(icon("table"), pressed=False, kind="tool", label="Show as table", table="cmptable"),
                ],
                className="ph",
            ),
            html.Div(
                [
                    html.Div(
                        className="figure-slot",
                        role="img",
                        **given(
                            {
                                "data-figure": "cmpplot",
                                "aria-label": f"{pair.finding}; the table button shows the numbers",
                            }
                        ),
                    ),
                    html.Span(upper, className="t-mood"),
                    html.Span(lower, className="t-posts"),
                    html.Div(_table(pair, mode, zone), id="cmptable", className="charttable", hidden=True),
                ],
                className="plot cmp",
            ),
        ],
        className="panel chart",
        **given({"aria-label": "Over time"}),
    )


def _mode(view: View) -> str:
    return view.extra_value("show") if view.extra_value("show") in MODES else "mood"


def _table(pair: Pair, mode: str, zone: tzinfo) -> Component:
    theirs = {row.start: row for row in pair.b.rows}
    form = signed if mode == "mood" else percent
    rows = []
    for row in reversed(pair.a.rows):
        other = theirs.get(row.start)
        cells: list[Any] = [words.clock(row.start, zone)]
        for side, one in ((pair.a, row), (pair.b, other)):
            value = side.value(one, mode) if one else None
            cells += ["–" if value is None else form(value), count(one.n) if one else "–"]
        rows.append(cells)
    names = [MODES[mode], "Posts"]
    return table(
        ["Window", *(f"{letter} {name}" for letter in "AB" for name in names)], rows, caption="A and B by window"
    )


def figure(pair: Pair, zone: tzinfo) -> Figure:
    """Two plots on one time axis: A solid with a dot at its end, B dashed with a square, the difference between."""
    mode = _mode(pair.view)
    step = pair.a.mood.every
    top: list[Figure] = []
    low: list[Figure] = []
    ends: list[Figure] = []
    theirs = {row.start: row for row in pair.b.rows}
    both = [(row, theirs[row.start]) for row in pair.a.rows if row.start in theirs]
    pairs = [(one.start, pair.a.value(one, mode), pair.b.value(other, mode)) for one, other in both]
    whole = [(at, x, y) for at, x, y in pairs if x is not None and y is not None]
    xs = [wall(at + step / 2, zone) for at, _, _ in whole]
    for values, fill in (([y for _, _, y in whole], "none"), ([x for _, x, _ in whole], "tonexty")):
        top.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": xs,
                "y": values,
                "line": {"width": 0},
                "fill": fill,
                "fillcolor": "@band",
                "hoverinfo": "skip",
            }
        )
    highest: float = 1.0
    for letter, side in (("B", pair.b), ("A", pair.a)):
        at = [wall(row.start + step / 2, zone) for row in side.rows]
        drawn = [side.value(row, mode) for row in side.rows]
        posts: list[float | None] = [row.n for row in side.rows]
        highest = max([highest, *(row.n for row in side.rows)])
        style = (
            {"color": "@ink", "width": 1.75} if letter == "A" else {"color": "@ink2", "width": 1.5, "dash": "4px,2.5px"}
        )
        common = {"type": "scatter", "mode": "lines", "x": at, "line": style, "name": f"{letter} {side.name}"}
        form = "%{y:+.0f}" if mode == "mood" else "%{y:.1f} %"
        top.append({**common, "y": drawn, "hovertemplate": form, "connectgaps": False})
        low.append({**common, "y": posts, "yaxis": "y2", "hovertemplate": "%{y:,d}"})
        for axis, line, number in (("y", drawn, form_value(mode)), ("y2", posts, count)):
            last = next((i for i in range(len(line) - 1, -1, -1) if line[i] is not None), None)
            if last is not None:
                top.append(_end(letter, at[last], line[last], axis))
                name = f"{letter} {short(side.name)}" if axis == "y" else letter
                ends.append({"text": f"<b>{_plain(name)} {number(line[last] or 0)}</b>", "y": line[last], "yref": axis})
    return {"data": [*top, *low], "layout": _figure_layout(pair, zone, top, highest, _spread(ends, highest))}


def form_value(mode: str) -> Any:
    """How a value of the upper chart is written at the end of its line, where there is little room."""
    return signed if mode == "mood" else lambda value: f"{value:.0f}%"


def short(name: str) -> str:
    """A name that has room beside a line."""
    return name if len(name) <= 12 else name.partition(" ")[0][:11]


def _plain(text: str) -> str:
    """Text that Plotly cannot take for its markup."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _end(letter: str, x: str, y: float | None, axis: str) -> Figure:
    marker: Figure = {"size": 7, "color": "@ink", "symbol": "circle", "line": {"color": "@surface", "width": 1.5}}
    if letter == "B":
        marker = {"size": 8, "color": "@surface", "symbol": "square", "line": {"color": "@ink", "width": 1.5}}
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [x],
        "y": [y],
        "yaxis": axis,
        "marker": marker,
        "hoverinfo": "skip",
        "cliponaxis": False,
    }


def _spread(ends: list[Figure], highest: float) -> list[Figure]:
    """The names at the ends of the lines, moved off one another."""
    for axis, gap in (("y", 14.0), ("y2", highest * 0.24)):
        two = sorted((one for one in ends if one["yref"] == axis), key=lambda one: one["y"])
        if len(two) == 2 and two[1]["y"] - two[0]["y"] < gap:
            middle = (two[0]["y"] + two[1]["y"]) / 2
            two[0]["y"], two[1]["y"] = middle - gap / 2, middle + gap / 2
    style = {"x": 1, "xref": "paper", "xanchor": "left", "xshift": 8, "yanchor": "middle", "showarrow": False}
    return [{**one, **style, "font": {**FONT, "color": "@ink"}} for one in ends]


def _figure_layout(pair: Pair, zone: tzinfo, top: list[Figure], highest: float, ends: list[Figure]) -> Figure:
    mode = _mode(pair.view)
    values = [value for trace in top if trace.get("yaxis", "y") == "y" for value in trace["y"] if value is not None]
    low, high = min([0.0, *values]), max([20.0, *values])
    step = 40 if high - low > 80 else 20
    floor, ceiling = -step * math.ceil(-low / step), step * math.ceil(high / step)
    ticks = [value for value in range(floor, ceiling + 1, step) if abs(value) <= 100] if mode == "mood" else None
    floor, ceiling = max(-100, floor), max(step, min(100, ceiling))
    yaxis: Figure = {**AXIS, "domain": [0.40, 1.0], "range": [floor - 3, ceiling + 3]}
    if ticks is None:
        yaxis |= {"nticks": 5, "ticksuffix": "%"}
    else:
        yaxis |= {"tickvals": ticks, "ticktext": [signed(value) for value in ticks]}
    return {
        **PLOT,
        "margin": {"l": 48, "r": 112, "t": 34, "b": 22},
        "xaxis": time_axis(pair.a.mood.start, pair.a.mood.end, zone),
        "yaxis": yaxis,
        "yaxis2": {**AXIS, "domain": [0.0, 0.27], "range": [0, highest * 1.08], "nticks": 3, "tickformat": ",d"},
        "annotations": ends,
    }
