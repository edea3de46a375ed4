"""Compare: two tracks, or a track in two ranges, side by side on the same scales. A is filled, B is outlined."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo
from typing import Any, Final

from dash import html
from dash.development.base_component import Component

from feltwire.lake.reader import Snapshot
from feltwire.mood import apart, moments, read
from feltwire.mood.apart import Term
from feltwire.mood.read import TERM_COLUMNS, Totals
from feltwire.mood.shares import shares, times
from feltwire.mood.view import View as Mood
from feltwire.schema import ALL_TRACKS
from feltwire.web.dashboard import bars, data, pages, words
from feltwire.web.dashboard.attributes import given
from feltwire.web.dashboard.context import Context
from feltwire.web.dashboard.data import FEW, Row
from feltwire.web.dashboard.explanation import term_name
from feltwire.web.dashboard.figures import FONT, Figure, wall
from feltwire.web.dashboard.live import Region, encode
from feltwire.web.dashboard.parts import SHORT, icon, segments, sign, table, toggle
from feltwire.web.dashboard.plots import AXIS, PLOT, time_axis
from feltwire.web.dashboard.regions import FEW_BEFORE, before_words, emoji_name, range_words
from feltwire.web.dashboard.view import RANGE_LABELS, WINDOW_WORDS, View
from feltwire.web.dashboard.words import LABELS, arrow, count, label_name, percent, signed

MODES: Final = {"mood": "Mood", "negative": "Negative", "positive": "Positive"}
BACK: Final = {"": "the range before", "1d": "a day before", "7d": "a week before"}
LISTED: Final = 7
MAX_POSTS: Final = 10_000
"""Posts of each side whose words are compared; of more, a random sample."""
_COLUMNS: Final = ("text", "scored", "sentiment", *TERM_COLUMNS)


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two."""

    name: str
    mood: Mood
    rows: list[Row]
    """Whole windows, oldest first, at the times of A."""
    totals: Totals
    before: Totals
    complaints: dict[str, int]
    irony: float
    emoji: list[tuple[str, int]]

    def value(self, row: Row, mode: str) -> float | None:
        """What the upper chart shows."""
        return row.net if mode == "mood" else row.share(mode) if row.n_scored else None


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Both, and what sets them apart."""

    view: View
    now: datetime
    a: Side
    b: Side
    words: list[Term]
    finding: str
    ranges: bool
    """Whether two ranges of one track are compared, rather than two tracks."""


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
        parts = pages.fill(scope=scope(view, choices, other))
        if other is None:
            parts |= pages.fill(other=_nothing())
            return parts
        pair = read_pair(lake, view, other, now, zone)
        parts |= pages.fill(other=layout(pair, zone))
        parts["figure:cmpplot"] = encode(figure(pair, zone))
        return parts

    show = pages.failed("other", "The two could not be compared", "compare", "Counting continues; nothing is lost.")
    return [Region(name="compare", key=(view, str(zone)), slow=True, compute=compute, failed=show)]


def by_range(view: View) -> bool:
    """Whether two ranges are compared."""
    return view.extra_value("by") == "range"


def other_track(view: View, known: Sequence[str]) -> str | None:
    """The track that B is; None where there is none to compare with."""
    if by_range(view):
        return view.track
    wanted = view.extra_value("with")
    if wanted and wanted != view.track:
        return wanted
    chosen = [track for track in [*view.tracks[1:], *known] if track != view.track]
    return chosen[0] if chosen else (ALL_TRACKS if view.track != ALL_TRACKS else None)


def scope(view: View, choices: data.Choices, other: str | None) -> list[Component]:
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
        segments(
            "Time range",
            "range",
            [(text, key) for key, text in RANGE_LABELS.items()],
            "" if view.custom else view.range,
        ),
        html.Span(className="sp"),
        bars._several("source", "sources", choices.sources, view.sources, words.source_name),
        bars._several("lang", "languages", choices.langs, view.langs, words.language_name),
    ]
    return parts


def _item(key: str, track: str, chosen: str) -> Component:
    value = "" if key == "track" and track == ALL_TRACKS else track
    return toggle([icon("check"), words.track_name(track)], pressed=track == chosen, kind="item", set=key, value=value)


def _mark(letter: str) -> Component:
    return html.B(letter, className=f"ab {letter.lower()}")


def read_pair(lake: Snapshot, view: View, other: str, now: datetime, zone: tzinfo) -> Pair:
    """Both sides of a comparison. Raises LakeError."""
    mood = view.mood(now)
    if by_range(view):
        back = {"1d": timedelta(days=1), "7d": timedelta(days=7)}.get(view.extra_value("back"), mood.length)
        theirs = mood.between(mood.start - back, mood.end - back)
        names = (range_words(view).capitalize(), BACK.get(view.extra_value("back"), BACK[""]).capitalize())
    else:
        theirs = view.mood(now, other)
        names = (words.track_name(view.track), words.track_name(other))
    a, b = (
        _side(lake, name, one, now, one.start - mood.start) for name, one in zip(names, (mood, theirs), strict=True)
    )
    posts = [read.sample(lake, one, _COLUMNS, MAX_POSTS)[0] for one in (mood, theirs)]
    found = apart.contrast(posts[0], posts[1], ("word",), both=True)
    own = {part.casefold() for name in names for part in (name, *name.split())}
    different = [term for term in found if term.term.casefold() not in own]
    spikes = moments.find(read.series(lake, mood.led(moments.LEAD)), mood.every, until=now)
    return Pair(
        view=view,
        now=now,
        a=a,
        b=b,
        words=different,
        finding=finding(a, b, spikes, zone),
        ranges=by_range(view),
    )


def _side(lake: Snapshot, name: str, mood: Mood, now: datetime, shift: timedelta) -> Side:
    rows = [row for row in data.rows_of(read.series(lake, mood)) if row.start + mood.every <= now]
    complaints = {one["term"]: one["n"] for one in read.terms(lake, mood, "category", 50).to_pylist()}
    totals = read.totals(lake, mood)
    ironic = {one["value"]: one["n"] for one in read.breakdown(lake, mood, "irony").to_pylist()}
    return Side(
        name=name,
        mood=mood,
        rows=[replace(row, start=row.start - shift) for row in rows],
        totals=totals,
        before=read.totals(lake, mood.before()),
        complaints=complaints,
        irony=100 * ironic.get("irony", 0) / max(1, totals.n_scored),
        emoji=[(one["term"], one["n"]) for one in read.terms(lake, mood, "emoji_used", 5).to_pylist()],
    )


def finding(a: Side, b: Side, found: Sequence[moments.Moment], zone: tzinfo) -> str:
    """The difference as a sentence: since when, and how far they were apart before."""
    if a.totals.net is None or b.totals.net is None:
        return f"{(a if a.totals.net is None else b).name} has no scored posts in this range"
    moods = [one for one in found if one.kind == "spike" and "mood" in one.by and one.start > a.mood.start]
    if moods:
        at = max(moods, key=lambda one: one.size).start
        since, before = (_gap(a, b, at, None), _gap(a, b, None, at))
        if since is not None and before is not None and abs(since - before) >= 10:
            way = f"{abs(round(since))} points {'below' if since < 0 else 'above'} {b.name}"
            return f"Since {words.clock(at, zone)} {a.name} is {way}; before, they were {abs(round(before))} apart"
    gap = round(a.totals.net) - round(b.totals.net)
    if abs(gap) <= 2:
        return f"{a.name} and {b.name} feel alike"
    return f"{a.name} is {abs(gap)} points {'below' if gap < 0 else 'above'} {b.name}"


def _gap(a: Side, b: Side, since: datetime | None, until: datetime | None) -> float | None:
    """Points of A above B, over all posts of a part of the range."""
    moods = []
    for side in (a, b):
        rows = [
            row for row in side.rows if (since is None or row.start >= since) and (until is None or row.start < until)
        ]
        scored = sum(row.n_scored for row in rows)
        if scored < moments.MIN_POSTS:
            return None
        moods.append(100 * sum(row.counts["positive"] - row.counts["negative"] for row in rows) / scored)
    return moods[0] - moods[1]


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
            _chart(pair, zone),
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


def _chart(pair: Pair, zone: tzinfo) -> Component:
    mode = _mode(pair.view)
    per = WINDOW_WORDS[pair.view.window_name]
    what = "Net mood" if mode == "mood" else f"Share of {mode} posts"
    upper = "Net mood, −100 to +100" if mode == "mood" else f"{label_name(mode)} posts, % of scored posts"
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
                name = f"{letter} {_short(side.name)}" if axis == "y" else letter
                ends.append({"text": f"<b>{_plain(name)} {number(line[last] or 0)}</b>", "y": line[last], "yref": axis})
    return {"data": [*top, *low], "layout": _figure_layout(pair, zone, top, highest, _spread(ends, highest))}


def form_value(mode: str) -> Any:
    """How a value of the upper chart is written."""
    return signed if mode == "mood" else lambda value: f"{percent(value)}%"


def _short(name: str) -> str:
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
    head = ["", f"A {_short(a.name)}", f"B {_short(b.name)}", "difference"]
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
