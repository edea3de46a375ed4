"""What stands around the chart Over time: its title, flags, table, and the average scores."""
# Dash's components take data- and aria- attributes, which their signatures cannot name.
# mypy: disable-error-code="arg-type"

from datetime import timedelta, tzinfo
from typing import Any

from dash import html
from dash.development.base_component import Component

from feltwire.web.dashboard import words
from feltwire.web.dashboard.data import Board, Flag, Row
from feltwire.web.dashboard.parts import button, icon, legend, segments, sign, sparkline, table, toggle
from feltwire.web.dashboard.view import WINDOW_WORDS
from feltwire.web.dashboard.words import LABELS, SHORT, count, label_name, pace, percent, signed


def chart_head(board: Board) -> list[Component]:
    """The finding as a title, what is counted, and the choice of what is drawn."""
    view = board.view
    names = words.track_name(view.track)
    details = f"{names} · {WINDOW_WORDS[view.window_name]} windows · {count(board.totals.n_scored)} scored posts · "
    return [
        html.Div(
            [
                html.H2(board.finding, className="f16", id="finding"),
                html.Div(
                    [details, button("how spikes are found", kind="ul", do="method")],
                    className="f12 i3 details",
                ),
                html.Div(
                    f"{pace(board.per_minute)} posts a minute · {count(board.totals.n_scored)} scored",
                    className="f12 i3 details-phone",
                ),
            ],
            className="grow",
        ),
        segments(
            "What the chart shows",
            "mode",
            [("Mood", "mood"), ("Shares", "shares"), ("Scores", "scores")],
            view.mode,
            "seg s",
        ),
        toggle(
            icon("table"),
            pressed=view.table,
            kind="tool",
            label="Show as table",
            set="table",
            value="" if view.table else "1",
        ),
    ]


def axis_title(mode: str) -> str:
    """What the upper plot shows, with its unit."""
    return {
        "mood": "Net mood, −100 to +100",
        "shares": "Share of scored posts, %",
        "scores": "Mean probability, 0 to 1",
    }[mode]


def overlay(board: Board, y_range: tuple[float, float]) -> list[Component]:
    """What stands over the plot as HTML: the titles of both plots, the flags, and the name of the band."""
    mood = board.mood
    per = {60: "minute", 3_600: "hour", 86_400: "day"}.get(mood.every_s)
    volume = f"Posts a {per}" if per else f"Posts in {WINDOW_WORDS[board.view.window_name]}"
    unscored = any(row.n > row.n_scored for row in board.rows)
    parts: list[Component] = [
        html.Span(axis_title(board.view.mode), className="t-mood"),
        html.Span([html.Span(volume), legend(unscored)], className="t-posts"),
    ]
    if board.view.mode == "mood" and board.band:
        low, high = y_range
        parts.append(
            html.Span("usual range", className="t-band", style={"--y": f"{(high - board.band[1]) / (high - low):.4f}"})
        )
    return parts


def flags(board: Board) -> list[Component]:
    """The flags as buttons, in the order of time. How much each says is settled by `assets/charts.js`, which knows how
    wide they are: the explained one and the greatest, by their rank, say all; one that has no room says less."""
    at = board.view.at
    ranked_ = sorted(board.flags, key=lambda one: (not one.holds(at), one.kind == "turn", -abs(one.change or 0.0)))
    rank = {flag.number: place for place, flag in enumerate(ranked_)}
    return [_flag(flag, board, rank[flag.number]) for flag in board.flags]


def _flag(flag: Flag, board: Board, rank: int) -> Component:
    kind = "turn" if flag.kind == "turn" else "spike"
    where = (flag.at - board.mood.start) / (board.mood.end - board.mood.start)
    return html.Button(
        [html.B(str(flag.number)), html.Span(flag.text, className="long"), html.Span(flag.short, className="short")],
        type="button",
        className=f"flag {kind}",
        style={"--x": f"{where:.5f}"},
        **{
            "data-explain": flag.at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "data-rank": str(rank),
            "data-kind": kind,
            "aria-pressed": "true" if flag.holds(board.view.at) else "false",
            "aria-label": f"{'Turning point' if kind == 'turn' else 'Spike'} {flag.number}: {flag.text}. Explain.",
        },
    )


def why(board: Board) -> list[Component]:
    """On a phone: the row that opens the explanation of the greatest change."""
    spikes = [flag for flag in board.flags if flag.kind != "turn"] or board.flags
    if not spikes:
        return []
    flag = spikes[-1]
    return [
        html.Button(
            [html.B(str(flag.number)), html.Span(_question(flag)), icon("right")],
            type="button",
            className="whyrow",
            **{"data-explain": flag.at.strftime("%Y-%m-%dT%H:%M:%SZ")},
        )
    ]


def _question(flag: Flag) -> str:
    if flag.change is None or abs(flag.change) < 3:
        return f"What happened at {flag.short}?"
    if flag.kind == "turn":
        return f"Why does mood turn {'up' if flag.rising else 'down'} at {flag.short}?"
    verb = "rise" if flag.change > 0 else "fall"
    return f"Why did mood {verb} {abs(round(flag.change))} points at {flag.short}?"


def chart_table(board: Board, zone: tzinfo) -> Component:
    """The numbers of the chart, newest first."""
    columns = ["Window", "Net mood", *(label_name(label) + " %" for label in LABELS), "Posts", "Scored"]
    columns += [f"Mean {label}" for label in LABELS]
    every = [*board.rows, *([board.unfinished] if board.unfinished else [])]
    day = board.mood.length > timedelta(hours=20)
    rows = [_table_row(row, board, zone, day) for row in reversed(every)]
    return table(columns, rows, caption=f"{axis_title('mood')} and posts by window, {words.zone_name(zone, board.now)}")


def _table_row(row: Row, board: Board, zone: tzinfo, day: bool) -> list[Any]:
    going = " so far" if row is board.unfinished else ""
    shares = words.shares(row.counts) if row.n_scored else dict.fromkeys(LABELS, None)
    cells: list[Any] = [words.clock(row.start, zone, day=day) + going, "–" if row.net is None else signed(row.net)]
    cells += ["–" if share is None else percent(share) for share in shares.values()]
    cells += [count(row.n), count(row.n_scored)]
    return [*cells, *(f"{row.averages[label]:.2f}" if row.n_scored else "–" for label in LABELS)]


def averages(board: Board) -> list[Component]:
    """What stands below the ring: each average with its line over the range."""
    totals = board.totals
    return [
        html.Div(
            [
                sign(label),
                html.Span(label_name(label), className="i2 f12 name"),
                sparkline([row.averages[label] for row in board.rows if row.n_scored], f"tiny {SHORT[label]}"),
                html.Span(f"{getattr(totals, f'avg_{label}'):.2f}", className="num b5"),
            ],
            className="row g2 avgrow",
        )
        for label in LABELS
    ]


def ring_text(board: Board) -> list[Component]:
    """The greatest average, in the middle of the ring."""
    values = {label: float(getattr(board.totals, f"avg_{label}")) for label in LABELS}
    if not board.totals.n_scored:
        return [html.Span("–", className="f20 b6"), html.Span("no post", className="f12 i3")]
    top = max(values, key=lambda label: values[label])
    return [html.Span(f"{values[top]:.2f}", className="f20 b6"), html.Span(top, className="f12 i3")]
