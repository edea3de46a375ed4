"""The regions of the overview: Now, Over time, What people use. Each is a list of components for its place."""
# Dash's components take data- and aria- attributes, which their signatures cannot name.
# mypy: disable-error-code="arg-type"

from datetime import timedelta, tzinfo
from typing import Any, Final

import emoji as emoji_names
from dash import html
from dash.development.base_component import Component

from feltwire.web.dashboard import words
from feltwire.web.dashboard.data import Board, Flag, Row, Term, Use
from feltwire.web.dashboard.parts import (
    SHORT,
    Ranked,
    button,
    gauge,
    hidden,
    icon,
    legend,
    ranked,
    segments,
    sign,
    sparkline,
    table,
    toggle,
)
from feltwire.web.dashboard.view import BEFORE_WORDS, RANGE_WORDS, WINDOW_WORDS, View
from feltwire.web.dashboard.words import LABELS, arrow, count, label_name, percent, signed


def emoji_name(sign_: str) -> str:
    """How an emoji is called: "enraged face"."""
    found = emoji_names.demojize(sign_, delimiters=("", "")).replace("_", " ").replace("-", " ")
    return found if found != sign_ else "emoji"


FEW_BEFORE: Final = "too few posts before"
"""What stands in place of a change where the range before has fewer than `data.FEW` scored posts."""


def range_words(view: View) -> str:
    """What the range is called: "last hour", "this range"."""
    return "this range" if view.custom else RANGE_WORDS[view.range]


def before_words(view: View) -> str:
    """What the range before is called."""
    return "the range before" if view.custom else BEFORE_WORDS[view.range]


def now(board: Board, zone: tzinfo) -> list[Component]:
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
        note.append(html.Span(f"from {_rate_text(before)}", className="i3"))
    if board.rows:
        last = board.rows[-1]
        pace = last.n / (board.mood.every_s / 60)
        note.append(
            html.Span(
                f"{'' if board.few_before else ' · '}{_rate_text(pace)} at {words.clock(last.start, zone)}",
                className="i3",
            )
        )
    return html.Div(
        [
            html.Div("Posts a minute", className="i2"),
            html.Div(
                [_rate_text(now_), html.Span([" ", count(board.totals.n), " in all"], className="f12 i3 b4 all")],
                className="f20 b6 value",
            ),
            sparkline([row.n for row in board.rows], "wide"),
            html.Div(note, className="f12 i2 nw el"),
        ],
        className="ppm",
    )


def _rate_text(value: float) -> str:
    return count(value) if value >= 9.5 or value == 0 else f"{value:.1f}"


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
                    f"{_rate_text(board.per_minute)} posts a minute · {count(board.totals.n_scored)} scored",
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
    wide they are: the greatest, by their rank, say all; one that has no room for it says less."""
    ranked_ = sorted(board.flags, key=lambda one: (one.kind == "turn", -abs(one.change or 0.0)))
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
            "aria-pressed": "true" if board.view.at == flag.at else "false",
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


def use(found: Use, view: View) -> list[Component]:
    """The four ranked lists."""
    chosen = [(one.kind, one.value) for one in view.filters]
    return [
        _section("Emoji", _emoji(found, view, chosen), "mood", _mini("emoji", ("used", "felt"), view.emoji, "Emoji")),
        _section(
            "Terms",
            _word_list(found, view, chosen),
            "mood",
            _mini("terms", ("words", "tags", "entities"), view.terms, "Terms"),
        ),
        _section("Complaints", _complaints(found, chosen), "posts" if found.few_before else "vs before", kind="wants"),
        _section("Emotion", _emotions(found, chosen), "% of posts"),
    ]


def _section(
    title: str, body: list[Component], column: str, choice: Component | None = None, kind: str = ""
) -> Component:
    head = [html.H3(title), *([choice] if choice else []), html.Span(column, className="col")]
    return html.Section([html.Div(head, className="hd"), *body], className=kind or None, **{"aria-label": title})


def _mini(key: str, choices: tuple[str, ...], chosen: str, label: str) -> Component:
    return segments(f"{label}: which", key, [(choice, choice) for choice in choices], chosen, "mini")


def _mood_note(mood: float) -> list[Any]:
    label = "negative" if round(mood) < 0 else "positive" if round(mood) > 0 else "neutral"
    return [sign(label), signed(mood)]


def _nothing(what: str) -> list[Component]:
    return [html.P(what, className="none f12 i3")]


def _emoji(found: Use, view: View, chosen: list[tuple[str, str]]) -> list[Component]:
    kind = "emoji_used" if view.emoji == "used" else "emoji"
    if not found.emoji:
        return _nothing("No post has an emoji." if view.emoji == "used" else "This model names no emoji.")
    top = max(one.n for one in found.emoji)
    return [
        ranked(
            [
                Ranked(
                    name=emoji_name(one.term),
                    shown=html.Span(one.term, className="emo", title=emoji_name(one.term)),
                    value=count(one.n),
                    note=_mood_note(one.mood),
                    share=one.n / top,
                    kind=kind,
                    term=one.term,
                    said=_said(one),
                )
                for one in found.emoji
            ],
            chosen,
        )
    ]


def _said(one: Term) -> str:
    return f"{count(one.n)} posts, mood {signed(one.mood)}"


def _word_list(found: Use, view: View, chosen: list[tuple[str, str]]) -> list[Component]:
    kind = {"words": "word", "tags": "hashtag", "entities": "entity"}[view.terms]
    if not found.terms:
        return _nothing(f"No {view.terms} in these posts.")
    listed = found.terms if found.sampled is None else found.terms[:-1]  # the line below takes the room of one
    top = max(one.n for one in found.terms)
    shown = "#" if kind == "hashtag" else ""
    rows = [
        Ranked(
            name=shown + one.term,
            shown=shown + one.term,
            value=count(one.n),
            note=_mood_note(one.mood),
            share=one.n / top,
            kind=kind,
            term=one.term,
            said=_said(one),
        )
        for one in listed
    ]
    body: list[Component] = [ranked(rows, chosen)]
    if found.sampled:
        body.append(html.P(f"Counted in {count(found.sampled)} random posts.", className="foot"))
    return body


def _complaints(found: Use, chosen: list[tuple[str, str]]) -> list[Component]:
    if not found.complaints:
        return _nothing("No complaint in these posts.")
    top = max(one.n for one in found.complaints)
    rows = [
        Ranked(
            name=label_name(one.term),
            shown=label_name(one.term),
            value=count(one.n),
            note=None if found.few_before else words.times(one.n, one.before),
            share=one.n / top,
            kind="category",
            term=one.term,
            said=f"{count(one.n)} posts"
            + ("" if found.few_before else f", {words.times(one.n, one.before)} against before"),
        )
        for one in found.complaints
    ]
    earlier = FEW_BEFORE if found.few_before else f"{percent(found.complaining_before)}% before"
    text = f"{percent(found.complaining)}% of posts complain, {earlier}"
    return [ranked(rows, chosen), html.P(text, className="foot")]


def _emotions(found: Use, chosen: list[tuple[str, str]]) -> list[Component]:
    if not found.emotions and not found.others:
        return _nothing("This model names no emotion.")
    top = max([value for _, value in found.emotions] + [value for *_, value in found.others] + [1e-9])
    rows = [
        Ranked(
            name=label_name(label),
            shown=label_name(label),
            value=percent(value),
            share=value / top,
            kind="emotion",
            term=label,
            said=f"{percent(value)} % of posts",
        )
        for label, value in found.emotions
    ]
    more = [
        Ranked(
            name=name,
            shown=name,
            value=percent(value),
            share=value / top,
            kind=kind,
            term=label,
            said=f"{percent(value)} % of posts",
        )
        for kind, label, name, value in found.others
    ]
    return [ranked(rows, chosen), *([html.Hr(), ranked(more, chosen)] if more else [])]
