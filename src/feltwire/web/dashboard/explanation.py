"""The explanation: a panel beside the chart that says what sets a moment apart, with its numbers and its posts."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from dash import html
from dash.development.base_component import Component
from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse

from feltwire.errors import FeltwireError
from feltwire.lake.reader import Snapshot
from feltwire.mood import moments, read
from feltwire.mood.apart import Apart, Term
from feltwire.mood.shares import times
from feltwire.web.dashboard import data, words
from feltwire.web.dashboard.attributes import given
from feltwire.web.dashboard.context import Context
from feltwire.web.dashboard.export import csv_line
from feltwire.web.dashboard.feed import article
from feltwire.web.dashboard.live import Region, encode
from feltwire.web.dashboard.parts import button, icon
from feltwire.web.dashboard.view import View, parse
from feltwire.web.dashboard.words import count, label_name, percent, signed

SHOWN: Final = 7
"""Terms that are shown at once; the rest unfold."""
_KINDS: Final = {"emoji_used": "emoji"}


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the panel says: the comparison, and the moments before and after it."""

    apart: Apart
    number: int | None
    """The number of its flag; None for a window without one."""
    previous: datetime | None
    next: datetime | None
    axis: tuple[datetime, datetime]


def read_told(lake: Snapshot, view: View, now: datetime, zone: tzinfo) -> Told:
    """What sets the moment at `view.at` apart. Raises LakeError."""
    mood = view.mood(now)
    at = view.at or mood.start
    found = moments.find(read.series(lake, mood.led(moments.LEAD)), mood.every, until=now)
    moment = next((one for one in found if one.start <= at < one.end), None)
    if moment is None:
        start = mood.start + (at - mood.start) // mood.every * mood.every
        end = start + mood.every
    else:
        start, end = moment.start, moment.end
    flags = data.flags_of(found, zone, mood.every, at)
    places = [flag.at for flag in flags]
    return Told(
        apart=read.explain(lake, mood, start, end),
        number=next((flag.number for flag in flags if flag.at == start), None),
        previous=max((one for one in places if one < start), default=None),
        next=min((one for one in places if one > start), default=None),
        axis=(mood.start, mood.end),
    )


def region(context: Context, view: View, zone: tzinfo) -> Region:
    """The panel, empty while no moment is chosen."""

    def compute() -> dict[str, str]:
        if view.at is None:
            return {"children:aside": "[]", "span": "null"}
        told = read_told(read.snapshot(context.lake()), view, context.now(), zone)
        one = told.apart
        spans = [one.start, one.end, one.before_start, one.before_end]
        return {"children:aside": encode(panel(told, view, zone)), "span": encode([x.timestamp() for x in spans])}

    def show(error: Exception) -> dict[str, str]:
        cause = " ".join(str(error).split())[:300] or type(error).__name__
        return {"children:aside": encode(failed(cause)), "span": "null"}

    key = (replace(view, mode="mood", emoji="used", terms="words", every_post=False), str(zone))
    return Region(name="aside", key=key, slow=True, compute=compute, failed=show)


def failed(cause: str) -> Component:
    """The panel where it could not be read."""
    parts = [html.H2([icon("warn"), "This moment could not be explained"], className="f16"), html.P(cause)]
    again = button([icon("redo"), "Try again"], do="again", region="aside")
    close = button("Close", kind="btn q", set="at", value="")
    return html.Section(
        html.Div([*parts, html.Div([again, close], className="row g2")], className="state"),
        className="explain",
        **given({"aria-label": "Explanation"}),
    )


def panel(told: Told, view: View, zone: tzinfo) -> Component:
    """The whole panel: head, what sets apart, first and typical posts, and what can be done."""
    one = told.apart
    body: list[Component] = [
        html.P([html.B(one.headline + " ", className="b6"), one.rest], className="lead"),
        *_terms(one),
        html.P(_traits(one), className="f12 i3 traits"),
        *_first(one, zone),
        *_typical(one, view, zone),
        _method(one),
    ]
    return html.Section(
        [_head(told, zone), html.Div(body, className="xbody", tabIndex=0), _foot(one, view)],
        className="explain",
        **given({"aria-label": "Explanation"}),
    )


def _head(told: Told, zone: tzinfo) -> Component:
    one = told.apart
    long = one.end - one.before_start > timedelta(hours=20)
    span = words.span(one.start, one.end, zone)
    before = words.span(one.before_start, one.before_end, zone)
    badge = [html.B(str(told.number), className="xno")] if told.number else []
    arrows = []
    for name, at, text in (("left", told.previous, "Moment before"), ("right", told.next, "Moment after")):
        named = given({"data-set": "at", "data-value": _iso(at) if at else "", "aria-label": text})
        arrows.append(html.Button(icon(name), type="button", className="tool", disabled=at is None, **named))
    return html.Div(
        [
            *badge,
            html.H2(span, className="f20", tabIndex=-1, id="explain-title"),
            html.Span(f"against {before}", className="i2 against" + (" long" if long else "")),
            html.Span(className="sp"),
            *arrows,
            button(icon("x"), kind="tool", label="Close the explanation", set="at", value=""),
        ],
        className="xhead",
    )


def _terms(one: Apart) -> list[Component]:
    title = html.Div(
        [
            html.H3("What sets these posts apart"),
            html.Span(className="sp"),
            html.Span([html.I(className="xnow"), "now"], className="key f12 i2"),
            html.Span([html.I(className="xbefore"), "before"], className="key f12 i2"),
        ],
        className="row g2 xtitle",
    )
    if not one.terms:
        return [title, html.P("No term stands out with enough evidence.", className="i2")]
    top = max(max(term.share, term.share_before) for term in one.terms)
    rows = [_row(term, top) for term in one.terms]
    parts: list[Component] = [title, _table(rows[:SHOWN])]
    if len(rows) > SHOWN:
        more = len(rows) - SHOWN
        parts.append(
            html.Details(
                [
                    html.Summary(f"{more} more term{'s' * (more != 1)}", className="ul f12"),
                    _table(rows[SHOWN:], head=False),
                ],
                className="more",
            )
        )
    return parts


_COLUMNS: Final = ("Ranked by evidence", "Share of posts", "now", "before", "change", "mood without")


def _table(rows: list[Component], *, head: bool = True) -> Component:
    names = [html.Th(name, scope="col", className="num" if i > 1 else "") for i, name in enumerate(_COLUMNS)]
    return html.Table(
        [
            html.Caption("Terms that set these posts apart, by evidence", className="vh"),
            html.Thead(html.Tr(names), className="" if head else "vh"),
            html.Tbody(rows),
        ],
        className="xterms",
    )


def term_name(kind: str, term: str) -> str:
    """A term as the page writes it."""
    if kind == "hashtag":
        return f"#{term}"
    return label_name(term) if kind == "category" else term


def _row(term: Term, top: float) -> Component:
    name = term_name(term.kind, term.term)
    kind = _KINDS.get(term.kind, term.kind)
    shown = html.Span(name, className="emo") if kind == "emoji" else html.Span(name, className="b5")
    filters = button(
        [shown, " ", html.Span(kind, className="f12 i3")], kind="xname el", filter=f"{term.kind}:{term.term}"
    )
    bars = html.Div(
        [
            html.I(className="xnow", style={"width": f"{100 * term.share / top:.1f}%"}),
            html.I(className="xbefore", style={"width": f"{max(1.0, 100 * term.share_before / top):.1f}%"}),
        ],
        className="xbars",
        **given({"aria-hidden": "true"}),
    )
    return html.Tr(
        [
            html.Th(filters, scope="row"),
            html.Td(bars),
            html.Td(f"{percent(term.share)}%", className="num"),
            html.Td(f"{percent(term.share_before)}%", className="num i2"),
            html.Td(times(term.times), className="num b5"),
            html.Td("–" if term.mood_without is None else signed(term.mood_without), className="num"),
        ]
    )


def _traits(one: Apart) -> str:
    same: list[str] = []
    other: list[str] = []
    for trait in one.traits:
        value = words.source_name(trait.value) if trait.kind == "source" else words.language_name(trait.value)
        value = "Unknown" if trait.value == "und" else value
        said = f"{trait.kind} ({value} {trait.share_before:.0f}% → {trait.share:.0f}%)"
        (other if trait.differs else same).append(said)
    parts = [f"Not different: {', '.join(same)}"] if same else []
    return ". ".join([*parts, *([f"Different too: {', '.join(other)}"] if other else [])])


def _first(one: Apart, zone: tzinfo) -> list[Component]:
    if one.first is None or one.newest is None:
        return []
    name = term_name(one.newest.kind, one.newest.term)
    return [
        html.H3(["First seen ", html.Span(f"with {name}", className="f12 i3 b4")]),
        html.Div(article(one.first, zone), className="xfirst"),
    ]


def _typical(one: Apart, view: View, zone: tzinfo) -> list[Component]:
    if not one.typical:
        return []
    href = "?" + window_view(one, view).query()
    every = html.A(f"All {count(one.n)} posts", href=href, className="ul f12", **given({"data-goto": "true"}))
    total = len(one.typical)
    return [
        html.Div([html.H3("Typical posts"), html.Span(className="sp"), every], className="row xtitle"),
        html.Div([article(post, zone, i, total) for i, post in enumerate(one.typical, 1)], className="xposts"),
    ]


def window_view(one: Apart, view: View) -> View:
    """The page narrowed to the span that is explained."""
    return replace(view, since=one.start, until=one.end, at=None, window="")


def _method(one: Apart) -> Component:
    text = [
        "Of every word, hashtag, name, link, emoji and category: how many posts have it now, how many had it in the 60 "
        "windows before. Evidence is the log-odds of the two with a prior from both together, divided by its standard "
        "error (Monroe, Colaresi and Quinn, 2008). Shown are terms of 20 posts and more with evidence of 3 and more.",
        "Mood without a term is the net mood of the posts that lack it. Terms overlap, so these do not add up.",
        "What sets posts apart need not be why the mood changed.",
    ]
    if one.sampled:
        text.insert(1, "There are too many posts to read them all: these shares are of a random sample.")
    return html.Details(
        [html.Summary("Method", className="ul f12"), *(html.P(part) for part in text)], className="xmethod"
    )


def _foot(one: Apart, view: View) -> Component:
    query = view.query()
    return html.Div(
        [
            html.A(
                "Filter page to this window",
                href="?" + window_view(one, view).query(),
                className="btn p",
                **given({"data-goto": "true"}),
            ),
            button([icon("link"), html.Span("Copy link", className="word")], do="share"),
            html.A(
                [icon("save"), "CSV"],
                href=f"/_page/explanation.csv?{query}",
                className="btn",
                download="feltwire-explanation.csv",
            ),
        ],
        className="xfoot",
    )


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def add_csv(app: FastAPI, context: Context) -> None:
    """Answer `/_page/explanation.csv`: the terms of the explanation that the query asks for."""

    @app.get("/_page/explanation.csv")
    def explanation(request: Request) -> Response:
        view = parse(request.url.query)
        if view.at is None:
            return PlainTextResponse("expected at=TIME, the moment to explain\n", status_code=400)
        try:
            one = read_told(read.snapshot(context.lake()), view, context.now(), UTC).apart
        except FeltwireError as error:
            return PlainTextResponse(f"{error}\n", status_code=503)
        names = ("kind", "term", "n", "n_before", "share", "share_before", "z", "mood", "mood_without")
        lines = [csv_line(names), *(csv_line([getattr(term, name) for name in names]) for term in one.terms)]
        headers = {"Content-Disposition": 'attachment; filename="feltwire-explanation.csv"'}
        return Response("".join(lines), media_type="text/csv; charset=utf-8", headers=headers)
