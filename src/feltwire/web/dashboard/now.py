"""The region Now: net mood with its scale, the four shares and posts a minute."""
# Dash's components take data- and aria- attributes, which their signatures cannot name.
# mypy: disable-error-code="arg-type"

from datetime import tzinfo
from typing import Any

from dash import html
from dash.development.base_component import Component

from feltwire.web.dashboard import words
from feltwire.web.dashboard.data import Board
from feltwire.web.dashboard.names import FEW_BEFORE, before_words, range_words
from feltwire.web.dashboard.parts import gauge, hidden, sign, sparkline
from feltwire.web.dashboard.words import LABELS, SHORT, arrow, count, label_name, pace, percent, signed


def summary(board: Board, zone: tzinfo) -> list[Component]:
    """Net mood, its scale, the four gauges and posts a minute."""
    return [_hero(board), _share_bar(board), *_gauges(board), _rate(board, zone)]


def _hero(board: Board) -> Component:
    net, before = board.totals.net, None if board.few_before else board.before.net
    tone = "" if not net or not round(net) else " neg-t" if net < 0 else " pos-t"
    said = "–" if net is None else signed(net)
    if net is None:
        change: Any = "no scored post yet"
    elif before is None or board.few_before:
        change = html.Span(FEW_BEFORE, className="i3 b4")
    else:
        points = round(net) - round(before)
        many = f"{arrow(points)} {abs(points)} point{'s' if abs(points) != 1 else ''} "
        if not points:
            many = "→ as before: "
        change = [many, html.Span(f"from {signed(before)} {before_words(board.view)}", className="i3 b4 from")]
    parts: list[Component] = [
        html.Div(
            [
                html.Div(f"Net mood, {range_words(board.view)}", className="i2"),
                html.Div([hidden("Net mood "), said], className=f"f44 b6{tone}", id="net"),
                html.Div(change, className="b5 nw"),
            ]
        )
    ]
    if net is not None:
        parts.append(scale(net, before))
    return html.Div(parts, className="hero")


def scale(net: float, before: float | None) -> Component:
    """From −100 to +100, with an arrow from where it was to where it is; one picture for those who hear it."""

    def at(value: float) -> str:
        return f"{(max(-100.0, min(100.0, value)) + 100) / 2:.2f}%"

    tone = "neg" if net < -0.5 else "pos" if net > 0.5 else "neu"
    marks: list[Component] = [html.I(className="sc-neg"), html.I(className="sc-pos"), html.I(className="sc-zero")]
    heads: list[Component] = []
    said = f"Scale from minus 100 to plus 100: {signed(net)} now"
    if before is not None:
        low, high = sorted((net, before))
        far = high - low > 6
        if far:
            way = "left" if net < before else "right"
            marks.append(
                html.I(className=f"sc-arrow {way}", style={"left": at(low), "width": f"{(high - low) / 2:.2f}%"})
            )
        marks.append(html.I(className="sc-before", style={"left": at(before)}))
        heads.append(html.Span("before", className="sc-t", style=_head_place(before, net)))
        said += f", {signed(before)} before"
    marks.append(html.I(className=f"sc-now {tone}", style={"left": at(net)}))
    heads.append(html.Span("now", className="sc-t b6 ink", style=_head_place(net, before)))
    ends = [html.Span("−100"), html.Span("0"), html.Span("+100")]
    return html.Div(
        [
            html.Div(heads, className="sc-heads"),
            html.Div(marks, className="sc-line"),
            html.Div(ends, className="sc-ends"),
        ],
        className="scalebox",
        role="img",
        **{"aria-label": said},
    )


def _head_place(value: float, other: float | None) -> dict[str, str]:
    """Where a word over the scale stands: over its mark, or beside it where the two would cover each other."""
    left = (max(-100.0, min(100.0, value)) + 100) / 2
    if other is not None and abs(value - other) < 44:
        middle = (value + other) / 2
        left = (middle + 100) / 2 + (11 if value >= other else -11) * (1 if value != other else 0)
        if value == other:
            left += 0
    return {"left": f"{max(8.0, min(92.0, left)):.2f}%"}


def _share_bar(board: Board) -> Component:
    """On a phone: the four shares as one bar; the numbers stand below it."""
    shares = board.totals.shares
    parts = [html.I(className=SHORT[label], style={"flexGrow": f"{shares[label]:.1f}"}) for label in LABELS]
    return html.Div(parts, className="sharebar", **{"aria-hidden": "true"})


def _gauges(board: Board) -> list[Component]:
    shares, before = board.totals.shares, board.before.shares
    compared = not board.few_before
    found: list[Component] = []
    for label in LABELS:
        change = shares[label] - before[label]
        note: Any = hidden(FEW_BEFORE)
        if compared:
            note = [
                f"{arrow(change, 1)} {percent(abs(change))} pt ",
                html.Span(f"from {percent(before[label])}%", className="i3 from"),
            ]
        found.append(
            html.Div(
                [
                    html.Div([sign(label), html.Span(label_name(label), className="i2")], className="row g2"),
                    html.Div(
                        [percent(shares[label]), html.Span(" %", className="f16 i3 b5")], className="f20 b6 value"
                    ),
                    gauge(label, shares[label], before[label] if compared else None),
                    html.Div(note, className="f12 i2 nw"),
                ],
                className=f"share {SHORT[label]}",
                style={"--share": f"{shares[label]:.1f}"},
            )
        )
    return found


def _rate(board: Board, zone: tzinfo) -> Component:
    now_, before = board.per_minute, board.per_minute_before
    note: list[Any] = [hidden(FEW_BEFORE)]
    if not board.few_before:
        factor = words.times(now_, before)
        note = [f"{arrow(now_ - before)} {factor[1:]}× " if factor.startswith("×") else f"{factor} "]
        note.append(html.Span(f"from {pace(before)}", className="i3"))
    if board.rows:
        last = board.rows[-1]
        last_pace = last.n / (board.mood.every_s / 60)
        note.append(
            html.Span(
                f"{'' if board.few_before else ' · '}{pace(last_pace)} at {words.clock(last.start, zone)}",
                className="i3",
            )
        )
    return html.Div(
        [
            html.Div("Posts a minute", className="i2"),
            html.Div(
                [pace(now_), html.Span([" ", count(board.totals.n), " in all"], className="f12 i3 b4 all")],
                className="f20 b6 value",
            ),
            sparkline([row.n for row in board.rows], "wide"),
            html.Div(note, className="f12 i2 nw el"),
        ],
        className="ppm",
    )
