"""The chart of Health: posts received a minute, and lag, on one time axis."""

from datetime import timedelta, tzinfo

from dash import html
from dash.development.base_component import Component

from feltwire.web.dashboard import vitals
from feltwire.web.dashboard.attributes import given
from feltwire.web.dashboard.parts import icon, table, toggle
from feltwire.web.dashboard.plots import AXIS, FONT, PLOT, Figure, time_axis, wall
from feltwire.web.dashboard.vitals import History, Vitals
from feltwire.web.dashboard.words import clock, count


def throughput(found: Vitals, history: History, zone: tzinfo) -> Component:
    """The panel, with the table behind its figure."""
    rows = [[clock(at, zone), count(n)] for at, n in reversed(found.received)]
    nothing = (
        []
        if history.lags
        else [html.Span("Measured where the engine runs, from when it was started", className="t-none i3")]
    )
    return html.Div(
        [
            html.Div(
                [
                    html.H2("Throughput and lag", className="f16 grow"),
                    toggle(icon("table"), pressed=False, kind="tool", label="Show as table", table="lagtable"),
                ],
                className="row g2",
            ),
            html.Div(
                [
                    html.Div(
                        className="figure-slot",
                        role="img",
                        **given(
                            {
                                "data-figure": "lagplot",
                                "aria-label": "Posts received a minute, and lag; the table button shows the numbers",
                            }
                        ),
                    ),
                    html.Span("Received, posts a minute", className="t-mood"),
                    html.Span("Lag, seconds from received to queryable", className="t-lag"),
                    *nothing,
                    html.Div(
                        table(["Minute", "Received"], rows, caption="Posts received by minute"),
                        id="lagtable",
                        className="charttable",
                        hidden=True,
                    ),
                ],
                className="plot lag",
            ),
        ],
        className="pad",
    )


def figure(found: Vitals, history: History, zone: tzinfo) -> Figure:
    """Two plots on one time axis: received a minute, and lag."""
    start, end = found.now - vitals.HISTORY, found.now
    at = [wall(moment + timedelta(seconds=30), zone) for moment, _ in found.received]
    many = [n for _, n in found.received]
    lags = [(wall(moment, zone), value) for moment, value in history.lags]
    line = {"type": "scatter", "mode": "lines", "line": {"color": "@ink", "width": 1.75}}
    data: list[Figure] = [
        {**line, "x": at, "y": many, "name": "Received", "hovertemplate": "%{y:,d} received<extra></extra>"},
        {
            **line,
            "x": [x for x, _ in lags] or [wall(end, zone)],
            "y": [y for _, y in lags] or [None],
            "yaxis": "y2",
            "name": "Lag",
            "hovertemplate": "%{y:.1f} s<extra></extra>",
        },
    ]
    style = {
        "x": 1,
        "xref": "paper",
        "xanchor": "left",
        "xshift": 6,
        "yanchor": "middle",
        "showarrow": False,
        "font": {**FONT, "color": "@ink2"},
    }
    ends = [{**style, "y": many[-1], "yref": "y", "text": count(many[-1])}] if many else []
    if lags:
        ends.append({**style, "y": lags[-1][1], "yref": "y2", "text": f"{lags[-1][1]:.1f}"})
    return {
        "data": data,
        "layout": {
            **PLOT,
            "margin": {"l": 48, "r": 56, "t": 26, "b": 22},
            "xaxis": time_axis(start, end, zone),
            "yaxis": {
                **AXIS,
                "domain": [0.52, 1.0],
                "range": [0, max([1, *many]) * 1.1],
                "nticks": 4,
                "tickformat": ",d",
            },
            "yaxis2": {
                **AXIS,
                "domain": [0.0, 0.36],
                "range": [0, max([1.0, *(y for _, y in lags)]) * 1.15],
                "nticks": 4,
            },
            "annotations": ends,
        },
    }
