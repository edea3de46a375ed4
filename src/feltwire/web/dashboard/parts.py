"""The page's small parts: sign icons, gauges, ranked lists, sparklines, and the table behind every chart.

Every function gives Dash components of plain elements. Text is always a child or an attribute, never markup, so that
what people write stays text. Icons and colours are classes of `assets/*.css`.
"""
# Dash's components take data- and aria- attributes, which their signatures cannot name.
# mypy: disable-error-code="arg-type"

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from dash import html
from dash.development.base_component import Component

from feltwire.web.dashboard.words import LABELS, SHORT, label_name, percent

Children = Any


def icon(name: str) -> Component:
    """One of the icons of `assets/icons.css`; only for show."""
    return html.Span(className=f"ic i-{name}", **{"aria-hidden": "true"})


def sign(label: str, size: str = "") -> Component:
    """A sentiment's sign: − in a disc, half a disc, a ring, + in a disc."""
    return html.Span(className=f"si s-{SHORT.get(label, 'neu')} {size}".strip(), **{"aria-hidden": "true"})


def hidden(text: str) -> Component:
    """Text for those who do not see the page."""
    return html.Span(text, className="vh")


def button(children: Children, *, kind: str = "btn", label: str | None = None, **data: str) -> Component:
    """A button; `data` are its data- attributes (`do="share"` becomes data-do), by which `page.js` knows it."""
    attributes: dict[str, Any] = {f"data-{key.replace('_', '-')}": value for key, value in data.items()}
    if label is not None:
        attributes["aria-label"] = label
    return html.Button(children, type="button", className=kind, **attributes)


def toggle(children: Children, *, pressed: bool, kind: str = "", label: str | None = None, **data: str) -> Component:
    """A button that is on or off."""
    attributes: dict[str, Any] = {f"data-{key.replace('_', '-')}": value for key, value in data.items()}
    if label is not None:
        attributes["aria-label"] = label
    attributes["aria-pressed"] = "true" if pressed else "false"
    return html.Button(children, type="button", className=kind or None, **attributes)


def segments(label: str, key: str, choices: Sequence[tuple[str, str]], chosen: str, kind: str = "seg") -> Component:
    """Some choices of which one is on: a click sets `key` of the address to the choice's value.

    `choices` are (text, value)."""
    buttons = [toggle(text, pressed=value == chosen, set=key, value=value) for text, value in choices]
    return html.Div(buttons, className=kind, role="group", **{"aria-label": label})


def gauge(label: str, value: float, before: float | None) -> Component:
    """A share's bar from 0 to 100 with a tick where it was before."""
    marks: list[Component] = [html.I(className=SHORT[label], style={"width": f"{value:.1f}%"})]
    if before is not None:
        marks.append(html.B(style={"left": f"calc({before:.1f}% - 1px)"}))
    said = f"{percent(value)} %" + (f", {percent(before)} % before" if before is not None else "")
    return html.Div(
        marks,
        className="gauge",
        role="meter",
        **{
            "aria-label": f"{label_name(label)} share",
            "aria-valuenow": f"{value:.1f}",
            "aria-valuemin": "0",
            "aria-valuemax": "100",
            "aria-valuetext": said,
        },
    )


def sparkline(values: Sequence[float], kind: str = "") -> Component:
    """A line of values from 0 (or their least) to their greatest, as wide as its box; only for show."""
    values = _thinned(values)
    low, high = min([0.0, *values]), max([0.0, *values])
    height = (high - low) or 1.0
    steps = max(1, len(values) - 1)
    points = [(i / steps * 100, (1 - (value - low) / height) * 100) for i, value in enumerate(values)]
    there = [f"{x:.1f}% calc(7% + {y * 0.86:.1f}% - 0.8px)" for x, y in points]
    back = [f"{x:.1f}% calc(7% + {y * 0.86:.1f}% + 0.8px)" for x, y in reversed(points)]
    children: list[Component] = []
    if points:
        children = [
            html.I(style={"clipPath": f"polygon({', '.join(there + back)})"}),
            html.B(style={"top": f"calc(7% + {points[-1][1] * 0.86:.1f}% - 2px)"}),
        ]
    return html.Span(children, className=f"spark {kind}".strip(), **{"aria-hidden": "true"})


def _thinned(values: Sequence[float], most: int = 40) -> Sequence[float]:
    """At most so many of the values, the last among them: a line of 40 pixels shows no more."""
    if len(values) <= most:
        return values
    return [values[round((i + 1) * len(values) / most) - 1] for i in range(most)]


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """A row of a ranked list."""

    name: str
    """What it is, for those who hear it."""
    shown: Children
    value: str
    note: Children = None
    share: float = 0.0
    """Length of its bar, 0 to 1."""
    kind: str
    term: str
    """The filter that a click sets: `kind:term`."""
    said: str = ""
    """The rest of what is said: "3,106 posts, mood −89"."""


def ranked(rows: Sequence[Ranked], filters: Sequence[tuple[str, str]] = ()) -> Component:
    """A list of buttons, each with a bar behind it; a click filters the page by its row, again takes it back."""
    items = []
    for row in rows:
        chosen = (row.kind, row.term) in filters
        cells = [html.Span(row.shown, className="el"), html.Span(row.value, className="num")]
        if row.note is not None:
            cells.append(html.Span(row.note, className="m"))
        items.append(
            html.Li(
                html.Button(
                    cells,
                    type="button",
                    className="lr" if row.note is not None else "lr two",
                    style={"--w": f"{max(0.0, min(1.0, row.share)) * 100:.1f}%"},
                    **{
                        "data-filter": f"{row.kind}:{row.term}",
                        "aria-pressed": "true" if chosen else "false",
                        "aria-label": ", ".join(part for part in (row.name, row.said) if part),
                    },
                )
            )
        )
    return html.Ul(items, className="ranked")


def table(columns: Sequence[str], rows: Sequence[Sequence[Children]], *, caption: str, kind: str = "tbl") -> Component:
    """A table; every column but the first holds numbers."""
    head = html.Tr([html.Th(name, scope="col", className="num" if i else "") for i, name in enumerate(columns)])
    body = [
        html.Tr(
            [html.Th(row[0], scope="row"), *(html.Td(cell, className="num") for cell in row[1:])]
            if row
            else [html.Td("–")]
        )
        for row in rows
    ]
    return html.Div(
        html.Table([html.Caption(caption, className="vh"), html.Thead(head), html.Tbody(body)], className=kind),
        className="tablebox",
        tabIndex=0,
        role="region",
        **{"aria-label": caption},
    )


def trouble(title: str, cause: str, safe: str, *, region: str) -> Component:
    """A panel that failed: what, why, what is safe, and how to go on."""
    return html.Div(
        [
            html.H3([icon("warn"), title]),
            html.P(f"{cause} {safe}"),
            html.Div(
                [
                    button([icon("redo"), "Try again"], do="again", region=region),
                    button("Copy details", kind="btn q", do="copy", text=f"{title}: {cause}"),
                ],
                className="row g2",
            ),
        ],
        className="state",
        role="group",
        **{"aria-label": title},
    )


def legend(unscored: bool = False) -> Component:
    """The four signs with their names, and posts without a score where there are some."""
    parts = [html.Span([sign(label), label_name(label)]) for label in LABELS]
    if unscored:
        parts.append(html.Span([html.Span(className="si s-none", **{"aria-hidden": "true"}), "Not scored"]))
    return html.Span(parts, className="legend")


def safe_href(url: str | None) -> str | None:
    """The address if it is one of the web's; None for any other, so that no link runs anything."""
    if not url or len(url) > 2_000 or any(char in url for char in "\n\r\t\0"):
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return url if parts.scheme in ("http", "https") and parts.netloc else None
