"""What all figures have in common: Plotly's dictionaries, in colours by name, on the reader's own clock."""

from datetime import datetime, tzinfo
from typing import Any, Final

Figure = dict[str, Any]
FONT: Final = {"family": "Inter, system-ui, sans-serif", "size": 12, "color": "@ink3"}
HOVER: Final = {"bgcolor": "@ink", "bordercolor": "@ink", "font": {**FONT, "color": "@on-ink"}}
AXIS: Final[Figure] = {
    "fixedrange": True, "zeroline": False, "tickfont": FONT, "gridcolor": "@line", "ticks": "", "rangemode": "tozero",
}  # fmt: skip
_ZERO: Final[Figure] = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": 0, "y1": 0}
PLOT: Final[Figure] = {
    "paper_bgcolor": "rgba(0,0,0,0)",
    "plot_bgcolor": "rgba(0,0,0,0)",
    "font": FONT,
    "showlegend": False,
    "hovermode": "x unified",
    "hoverlabel": {"bgcolor": "@surface", "bordercolor": "@line2", "font": {**FONT, "color": "@ink"}},
    "dragmode": False,
    "shapes": [{**_ZERO, "yref": axis, "line": {"color": "@ctl", "width": 1}} for axis in ("y", "y2")],
}
"""A figure of two plots over one time axis, each with its zero line."""


def wall(moment: datetime, zone: tzinfo) -> str:
    """A time as the axis shows it: Plotly knows no zones, so it is given the reader's own clock."""
    return moment.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")


def time_axis(start: datetime, end: datetime, zone: tzinfo) -> Figure:
    """The axis below both plots, in the reader's own time."""
    return {
        "type": "date",
        "range": [wall(start, zone), wall(end, zone)],
        "anchor": "y2",
        "showgrid": False,
        "zeroline": False,
        "tickfont": FONT,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": "@ctl",
        "nticks": 6,
        "tickangle": 0,
        "fixedrange": True,
        "hoverformat": "%-d %b %H:%M",
        "tickformatstops": [
            {"dtickrange": [None, 86_399_999], "value": "%H:%M"},
            {"dtickrange": [86_400_000, None], "value": "%-d %b"},
        ],
    }
