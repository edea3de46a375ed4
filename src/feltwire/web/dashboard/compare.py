"""Compare: two tracks, or a track in two ranges, side by side on the same scales. A is filled, B is outlined."""

from collections.abc import Sequence
from datetime import datetime, tzinfo
from typing import Any, Final

from dash import html
from dash.development.base_component import Component

from feltwire.mood import read
from feltwire.mood.shares import shares, times
from feltwire.schema import ALL_TRACKS
from feltwire.web.dashboard import bars, comparison_chart, data, pages, words
from feltwire.web.dashboard.attributes import given
from feltwire.web.dashboard.comparison import BACK, Pair, Side, by_range, read_pair
from feltwire.web.dashboard.context import Context
from feltwire.web.dashboard.data import FEW
from feltwire.web.dashboard.explanation import term_name
from feltwire.web.dashboard.live import Region, encode
from feltwire.web.dashboard.names import FEW_BEFORE, before_words, emoji_name, range_words
from feltwire.web.dashboard.parts import icon, segments, sign, table, toggle
from feltwire.web.dashboard.view import View
from feltwire.web.dashboard.words import LABELS, SHORT, arrow, count, label_name, percent, signed

LISTED: Final = 7


def register() -> None:
    """Add the page to the tabs and to the pages."""
    bars.PAGES["compare"] = ("Compare", "compare")
    pages.EXTRA["compare"] = build


def build(context: Context, view: View, zone: tzinfo) -> list[Region]:
    """The regions of the page: the bar and the comparison."""

    def compute() -> dict[str, str]:
        lake = read.snapshot(context.lake())
        now = context.now()
        choices = data.read_choices(lake, [track.name for track in context.tracks()], now)
        other = other_track(view, choices.tracks)
        parts = pages.fill(scope=scope(view, choices, other, now, zone))
        if other is None:
            parts |= pages.fill(other=_nothing())
            return parts
        pair = read_pair(lake, view, other, now, zone)
        parts |= pages.fill(other=layout(pair, zone))
        parts["figure:cmpplot"] = encode(comparison_chart.figure(pair, zone))
        return parts

    show = pages.failed("other", "The two could not be compared", "compare", "Counting continues; nothing is lost.")
    return [Region(name="compare", key=(view, str(zone)), slow=True, compute=compute, failed=show)]


def other_track(view: View, known: Sequence[str]) -> str | None:
    """The track that B is; None where there is none to compare with."""
    if by_range(view):
        return view.track
    wanted = view.extra_value("with")
    if wanted and wanted != view.track:
        return wanted
    chosen = [track for track in [*view.tracks[1:], *known] if track != view.track]
    return chosen[0] if chosen else (ALL_TRACKS if view.track != ALL_TRACKS else None)


def scope(view: View, choices: data.Choices, other: str | None, now: datetime, zone: tzinfo) -> list[Component]:
    """The second bar: what is compared with what."""
    ranges = by_range(view)
    parts: list[Component] = [
        segments("What is compared", "by", [("Two tracks", ""), ("Two ranges", "range")], "range" if ranges else ""),
        html.Span(className="vr"),
        bars.menu(
            html.Span([_mark("A"), words.track_name(view.track)], className="row g2"),
            [_item("track", track, view.track) for track in [ALL_TRACKS, *choices.tracks]],
            kind="sel b6",
            id_="cmpa",
            label=f"A: {words.track_name(view.track)}",
        ),
        html.Span("with", className="i3"),
    ]
    if ranges:
        back = view.extra_value("back") if view.extra_value("back") in BACK else ""
        items = [
            toggle([icon("check"), text], pressed=key == back, kind="item", set="back", value=key)
            for key, text in BACK.items()
        ]
        parts.append(
            bars.menu(
                html.Span([_mark("B"), BACK[back]], className="row g2"),
                items,
                kind="sel b6",
                id_="cmpb",
                label=f"B: {BACK[back]}",
            )
        )
    elif other is not None:
        tracks = [track for track in [ALL_TRACKS, *choices.tracks] if track != view.track]
        items = [_item("with", track, other) for track in tracks]
        name = words.track_name(other)
        parts.append(
            bars.menu(
                html.Span([_mark("B"), name], className="row g2"), items, kind="sel b6", id_="cmpb", label=f"B: {name}"
            )
        )
    parts += [
        html.Span(className="vr"),
        bars.ranges(view),
        bars.custom(view, now, zone),
        html.Span(className="sp"),
        bars.several("source", "sources", choices.sources, view.sources, words.source_name),
        bars.several("lang", "languages", choices.langs, view.langs, words.language_name),
    ]
    return parts


def _item(key: str, track: str, chosen: str) -> Component:
    value = "" if key == "track" and track == ALL_TRACKS else track
    return toggle([icon("check"), words.track_name(track)], pressed=track == chosen, kind="item", set=key, value=value)


def _mark(letter: str) -> Component:
    return html.B(letter, className=f"ab {letter.lower()}")


def _nothing() -> Component:
    return html.Div(
        [html.H3([icon("info"), "There is one track"]), html.P("Add a second one to compare, or choose “Two ranges”.")],
        className="state",
    )


def layout(pair: Pair, zone: tzinfo) -> Component:
    """The whole page."""
    return html.Div(
        [
            html.H1("Compare", className="vh"),
            _voice(pair),
            comparison_chart.chart(pair, zone),
            _side_by_side(pair),
            _apart(pair),
            _emoji(pair),
        ],
        className="compare",
    )


def _voice(pair: Pair) -> Component:
    a, b = pair.a, pair.b
    now = shares([a.totals.n, b.totals.n])
    before = shares([a.before.n, b.before.n])
    total = a.totals.n + b.totals.n
    known = a.before.n + b.before.n >= FEW
    title = "Share of voice" if not pair.ranges else "Share of posts"

    def note(i: int) -> str:
        change = now[i] - before[i]
        return f"{arrow(change, 1)} {percent(abs(change))} pt from {percent(before[i])}%" if known else FEW_BEFORE

    over = (
        f"of {count(total)} posts in the {range_words(pair.view)}"
        if not pair.view.custom
        else f"of {count(total)} posts in this range"
    )
    tick = f" · the tick marks {before_words(pair.view)}" if known else ""
    marks: list[Component] = [
        html.I(className="va", style={"width": f"{now[0]:.1f}%"}),
        html.I(className="vb", style={"width": f"{now[1]:.1f}%"}),
    ]
    if known:
        marks.append(html.B(style={"left": f"calc({before[0]:.1f}% - 1px)"}))
    said = f"A {a.name} {percent(now[0])} %, B {b.name} {percent(now[1])} %"
    return html.Section(
        [
            html.Div(
                [html.H2(title, className="f16"), html.Span(over + tick, className="f12 i3")], className="row g2 wrap"
            ),
            html.Div(
                [
                    html.Span(
                        [
                            _mark("A"),
                            html.B(a.name, className="b6 el"),
                            html.B(f"{percent(now[0])}%", className="f20 b6"),
                            html.Span(f"{note(0)} · {count(a.totals.n)} posts", className="f12 i3"),
                        ],
                        className="row g2",
                    ),
                    html.Span(
                        [
                            html.Span(f"{count(b.totals.n)} posts · {note(1)}", className="f12 i3"),
                            html.B(f"{percent(now[1])}%", className="f20 b6"),
                            html.B(b.name, className="b6 el"),
                            _mark("B"),
                        ],
                        className="row g2 right",
                    ),
                ],
                className="row wrap ends",
            ),
            html.Div(marks, className="voice", role="img", **given({"aria-label": said})),
        ],
        className="panel pad voicebox",
        **given({"aria-label": title}),
    )


def _side_by_side(pair: Pair) -> Component:
    a, b = pair.a, pair.b
    rows: list[list[Any]] = [
        ["Posts", count(a.totals.n), count(b.totals.n), times(a.totals.n / b.totals.n) if b.totals.n else "–"]
    ]
    nets = [side.totals.net for side in (a, b)]
    gap = "–" if nets[0] is None or nets[1] is None else signed(round(nets[0]) - round(nets[1]))
    rows.append(["Net mood", *("–" if net is None else signed(net) for net in nets), gap])
    both = [side.totals.shares for side in (a, b)]
    for label in LABELS:
        rows.append(
            [html.Span([sign(label), label_name(label)], className="row g2"), *_points(both[0][label], both[1][label])]
        )
    complaints = [100 * sum(side.complaints.values()) / max(1, side.totals.n_scored) for side in (a, b)]
    rows.append(["Complaints", *_points(*complaints)])
    rows.append(["Irony", *_points(a.irony, b.irony)])
    strips = [html.Div([_mark(letter), _strip(side)], className="row g2") for letter, side in (("A", a), ("B", b))]
    head = ["", f"A {comparison_chart.short(a.name)}", f"B {comparison_chart.short(b.name)}", "difference"]
    return html.Section(
        [
            html.H2("Side by side", className="f16"),
            *strips,
            table(head, rows, caption="A and B side by side", kind="tbl big"),
        ],
        className="panel pad sides",
        **given({"aria-label": "Side by side"}),
    )


def _points(x: float, y: float) -> list[str]:
    change = round(x, 1) - round(y, 1)
    way = "+" if change > 0.049 else "−" if change < -0.049 else ""
    return [f"{percent(x)}%", f"{percent(y)}%", f"{way}{abs(change):.1f} pt"]


def _strip(side: Side) -> Component:
    found = side.totals.shares
    parts = [html.I(className=SHORT[label], style={"flex": f"{found[label]:.1f} 0 0"}) for label in LABELS]
    said = ", ".join(f"{label_name(label)} {percent(found[label])} %" for label in LABELS)
    return html.Div(parts, className="strip", role="img", **given({"aria-label": f"{side.name}: {said}"}))


def _apart(pair: Pair) -> Component:
    a, b = pair.a, pair.b
    sizes = [max(1, side.totals.n) for side in (a, b)]
    terms = [(term_name(one.kind, one.term), one.share, one.share_before) for one in pair.words[:LISTED]]
    terms.sort(key=lambda one: one[2] - one[1])
    names = sorted(set(a.complaints) | set(b.complaints))
    complaints = [
        (label_name(name), 100 * a.complaints.get(name, 0) / sizes[0], 100 * b.complaints.get(name, 0) / sizes[1])
        for name in names
    ]
    complaints.sort(key=lambda one: -abs(one[1] - one[2]))
    return html.Section(
        [
            _dumbbells("Words that set them apart", terms, "No word sets them apart with enough evidence."),
            _dumbbells("Complaints", complaints[:LISTED], "Neither has complaints."),
        ],
        className="panel apart",
        **given({"aria-label": "What sets them apart"}),
    )


def _dumbbells(title: str, rows: Sequence[tuple[str, float, float]], nothing: str) -> Component:
    key = html.Span(
        [html.Span([html.I(className="da"), "A"]), html.Span([html.I(className="db"), "B"])], className="dkey f12 i2"
    )
    head = html.Div(
        [
            html.H2(title, className="f16 el"),
            html.Span("share of posts", className="f12 i3 nw"),
            html.Span(className="sp"),
            key,
        ],
        className="row g2",
    )
    if not rows:
        return html.Section([head, html.P(nothing, className="i2")], **given({"aria-label": title}))
    most = max(max(x, y) for _, x, y in rows) or 1.0
    step = next(one for one in (0.5, 1, 2, 5, 10, 20, 25, 50) if most / one <= 4.2)
    top = max(most, step) * 1.04
    scale = [
        html.Span(f"{tick * step:g}%", style={"left": f"{100 * tick * step / top:.2f}%"})
        for tick in range(int(top // step) + 1)
    ]
    items = []
    for name, x, y in rows:
        low, high = sorted((x, y))
        bar = html.Span(
            [
                html.I(
                    className="dl",
                    style={"left": f"{100 * low / top:.2f}%", "width": f"{100 * (high - low) / top:.2f}%"},
                ),
                html.I(className="db", style={"left": f"{100 * y / top:.2f}%"}),
                html.I(className="da", style={"left": f"{100 * x / top:.2f}%"}),
            ],
            className="dbar",
            **given({"aria-hidden": "true"}),
        )
        change = _points(x, y)[2]
        said = html.Span(f": A {percent(x)} %, B {percent(y)} %, ", className="vh")
        items.append(html.Li([html.Span([name, said], className="el"), bar, html.Span(change, className="num i2")]))
    axis = html.Div(
        [html.Span(), html.Div(scale, className="dscale"), html.Span()],
        className="drow f12 i3",
        **given({"aria-hidden": "true"}),
    )
    lines = [html.I(style={"left": f"{100 * tick * step / top:.2f}%"}) for tick in range(int(top // step) + 1)]
    grid = html.Div([html.Span(), html.Div(lines), html.Span()], className="dgrid", **given({"aria-hidden": "true"}))
    return html.Section(
        [head, axis, html.Div([grid, html.Ul(items, className="dlist")], className="dbox")],
        **given({"aria-label": title}),
    )


def _emoji(pair: Pair) -> Component:
    sides = [(side, max(1, side.totals.n)) for side in (pair.a, pair.b)]
    top = max((100 * n / size for side, size in sides for _, n in side.emoji), default=1.0)
    columns = []
    for letter, (side, size) in zip("AB", sides, strict=True):
        rows = [
            html.Li(
                [
                    html.Span(one, className="emo", title=emoji_name(one)),
                    html.Span(percent(100 * n / size), className="num"),
                ],
                style={"--w": f"{100 * (100 * n / size) / top:.1f}%"},
            )
            for one, n in side.emoji
        ]
        columns.append(
            html.Div(
                [_mark(letter), html.Ul(rows, className="elist") if rows else html.P("None used.", className="f12 i3")]
            )
        )
    shared = [one for one, _ in pair.a.emoji if one in {other for other, _ in pair.b.emoji}]
    note = "Same scale on both sides." if top > 0 else ""
    if pair.a.emoji and pair.b.emoji:
        many = (
            f"{' '.join(shared)} {'is' if len(shared) == 1 else 'are'} in both top fives."
            if shared
            else "None is in both top fives."
        )
        note += " " + ("Only " if len(shared) == 1 else "") + many
    head = html.Div(
        [html.H2("Emoji", className="f16"), html.Span("% of posts", className="f12 i3")], className="row g2"
    )
    return html.Section(
        [head, html.Div(columns, className="ecols"), html.P(note, className="f12 i3")],
        className="panel pad emojis",
        **given({"aria-label": "Emoji"}),
    )
