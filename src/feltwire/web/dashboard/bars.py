"""The two bars: pages and live state above, what is shown below. Everything in them changes the address."""
# Dash's components take data- and aria- attributes, which their signatures cannot name.
# mypy: disable-error-code="arg-type"

from collections.abc import Sequence
from datetime import datetime, tzinfo
from typing import Any, Final

from dash import dcc, html
from dash.development.base_component import Component

from feltwire.schema import ALL_TRACKS
from feltwire.web.dashboard import words
from feltwire.web.dashboard.data import Choices
from feltwire.web.dashboard.parts import button, icon, segments, sign, toggle
from feltwire.web.dashboard.view import MAX_BARS, RANGE_LABELS, WINDOW_WORDS, WINDOWS, View
from feltwire.web.dashboard.words import LABELS, label_name

PAGES: Final[dict[str, tuple[str, str]]] = {"overview": ("Overview", "now")}
"""{page: (name, icon)} of the pages that exist, in their order; a page's module adds its own."""


def tabs(view: View, kind: str = "tab") -> list[Component]:
    """The pages as links."""
    found: list[Component] = []
    for page, (name, _) in PAGES.items():
        current = {"aria-current": "page"} if view.page == page else {}
        found.append(
            html.A(
                name,
                href="?" if page == "overview" else f"?page={page}",
                className=kind,
                **{"data-page": page},
                **current,
            )
        )
    return found


_NEEDS: Final = {
    "bluesky": ("needs no account", '[[sources]]\nuri = "bluesky:"'),
    "x": (
        "needs an API key",
        '# the key stands in the variable FELTWIRE_X_TOKEN\n[[sources]]\nuri = "x:stream"\nspend_limit = 20',
    ),
}
"""What a source needs that is not read here, and what to write into feltwire.toml."""


def where(sources: Sequence[str]) -> Component:
    """On the first start: the sources that this process reads, of which some can be chosen where there are several, and
    what to do for the others."""
    here = list(dict.fromkeys(source.partition(":")[0] for source in sources))
    several_ = sum(name in words.SOURCES for name in here) > 1
    boxes = [_read_here(name, switch=several_ and name in words.SOURCES) for name in here]
    for name, (needs, lines) in _NEEDS.items():
        if name not in here:
            text = _where_text(name, f"is not set up: {needs}")
            boxes.append(button([html.Span(className="bx"), text], kind="where", do="setup", text=lines))
    return html.Div(boxes, className="wherelist")


def _read_here(name: str, *, switch: bool) -> Component:
    parts = [html.Span(icon("check"), className="bx"), _where_text(name, "is read here")]
    if switch:
        return toggle(parts, pressed=True, kind="where on", do="where", source=name)
    return html.Div(parts, className="where on")


def _where_text(name: str, note: str) -> Component:
    return html.Span([html.B(words.source_name(name), className="b5"), " ", html.Span(note, className="f12 i2")])


def phone_nav(view: View) -> list[Component]:
    """The same pages, and the posts, as a bar below on a phone."""
    found: list[Component] = []
    for page, (name, icon_name) in PAGES.items():
        current = {"aria-current": "page"} if view.page == page else {}
        shown = "Now" if page == "overview" else name
        href = "?" if page == "overview" else f"?page={page}"
        found.append(html.A([icon(icon_name), html.Span(shown)], href=href, **{"data-page": page}, **current))
        if page == "overview":
            found.append(html.A([icon("posts"), html.Span("Posts")], href="#posts", **{"data-do": "postspage"}))
    return found


def top() -> Component:
    """The first bar. Only the live state is a live region."""
    return html.Header(
        [
            html.A(
                [html.Span(className="mark", **{"aria-hidden": "true"}), html.Span("feltwire")],
                href="?",
                className="brand",
                **{"data-page": "overview", "aria-label": "feltwire"},
            ),
            html.Nav(id="tabs", className="tabs", **{"aria-label": "Pages"}),
            html.Span(id="phonetrack", className="phonetrack"),
            html.Span(className="sp"),
            html.Span(
                [
                    html.Span(className="dot"),
                    html.Span("Connecting", id="livetext", role="status"),
                    html.Span("", id="behind", className="i3 b4"),
                ],
                id="live",
                className="live",
            ),
            button([icon("pause"), html.Span("Pause", className="word")], kind="btn q", do="pause", label="Pause"),
            html.Span(className="vr"),
            button(
                [icon("link"), html.Span("Share", className="word")],
                kind="btn q wide",
                do="share",
                label="Share: copy the link to this view",
            ),
            menu(
                "Export",
                [
                    button("Chart as PNG", kind="item", do="png"),
                    button("Windows as CSV", kind="item", do="csv", what="windows"),
                    button("Posts as CSV", kind="item", do="csv", what="posts"),
                ],
                kind="btn q wide",
                icon_name="save",
                id_="export",
                right=True,
                arrow=False,
            ),
            button(html.Span(className="ic i-moon"), kind="btn q i", do="theme", label="Dark or light"),
            button("?", kind="btn q i wide", do="help", label="Keys and help"),
            html.Button(
                "Sign out", type="button", id="signout", className="btn q", hidden=True, **{"data-do": "signout"}
            ),
        ],
        className="top",
    )


def menu(
    text: Any,
    items: Sequence[Component],
    *,
    kind: str = "sel",
    icon_name: str | None = None,
    id_: str = "",
    label: str | None = None,
    right: bool = False,
    arrow: bool = True,
) -> Component:
    """A button that opens a list of choices below it; Escape and a click elsewhere close it."""
    word = html.Span(text, className="word")
    summary = [icon(icon_name)] if icon_name else []
    summary += [word, *([icon("down")] if arrow else [])]
    attributes = {"aria-label": label} if label else {}
    return html.Details(
        [
            html.Summary(summary, className=kind, **attributes),
            html.Div(
                list(items),
                className="pop right" if right else "pop",
                role="group",
                **({"aria-label": label} if label else {}),
            ),
        ],
        className="menu",
        **({"id": id_} if id_ else {}),
    )


def scope(view: View, choices: Choices, now: datetime, zone: tzinfo) -> list[Component]:
    """The second bar: tracks, range, window, sources, languages, and the chips of what narrows the view."""
    mood = view.mood(now)
    narrowing: list[Component] = []
    if view.narrowed:
        narrowing = [html.Div(chips(view), className="chips", role="group", **{"aria-label": "Filters"})]
    zone_text = words.zone_name(zone, now)
    return [
        track_menu(view, choices),
        _add_track(view, choices),
        html.Span(className="vr"),
        ranges(view),
        custom(view, now, zone),
        html.Span(
            [words.span(mood.start, mood.end, zone), " ", html.Span(zone_text, className="i3")], className="i2 nw when"
        ),
        *narrowing,
        html.Span(className="sp"),
        _window_menu(view),
        several("source", "sources", choices.sources, view.sources, words.source_name),
        several(
            "lang",
            "languages",
            choices.langs,
            view.langs,
            lambda code: "Unknown" if code == "und" else words.language_name(code),
        ),
        button(icon("filter"), kind="btn i sheetbutton", do="sheet", label="Filters and custom range"),
    ]


def track_menu(view: View, choices: Choices, id_: str = "tracks") -> Component:
    """Which track the numbers are of."""
    items = [
        toggle(
            [icon("check"), words.track_name(track)],
            pressed=view.track == track,
            kind="item",
            set="track",
            value="" if track == ALL_TRACKS else track,
        )
        for track in [ALL_TRACKS, *choices.tracks]
    ]
    return menu(
        words.track_name(view.track), items, kind="sel b6", id_=id_, label=f"Track: {words.track_name(view.track)}"
    )


def _add_track(view: View, choices: Choices) -> Component:
    others = [track for track in choices.tracks if track != view.track]
    items: list[Component] = []
    if others:
        items.append(html.Div("Compare in the chart", className="poph"))
        items += [
            toggle([icon("check"), track], pressed=track in view.tracks[1:], kind="item", toggle="track", value=track)
            for track in others
        ]
        items.append(html.Hr())
    items.append(button([icon("plus"), "A new track …"], kind="item", do="newtrack"))
    return menu("Add track", items, kind="btn q", icon_name="plus", id_="addtrack", arrow=False)


def ranges(view: View) -> Component:
    """The ranges that end now."""
    choices = [(label, key) for key, label in RANGE_LABELS.items()]
    return segments("Time range", "range", choices, "" if view.custom else view.range)


def custom(view: View, now: datetime, zone: tzinfo) -> Component:
    """A range of one's own: a menu with two times."""
    mood = view.mood(now)
    fields = [
        field("from", "From", mood.start.astimezone(zone).strftime("%Y-%m-%d %H:%M")),
        field("to", "To", mood.end.astimezone(zone).strftime("%Y-%m-%d %H:%M")),
    ]
    apply = html.Div(
        [button("Show", kind="btn p", do="custom"), html.Span(words.zone_name(zone, now), className="i3 f12")],
        className="row g2",
    )
    error = html.P("", id="customerror", className="error f12")
    return menu(
        "Custom", [*fields, error, apply], kind="segbtn on" if view.custom else "segbtn", id_="custom", arrow=False
    )


def field(name: str, label: str, value: str = "", placeholder: str = "", hint: str = "") -> Component:
    """A labelled text field."""
    id_ = f"field-{name}"
    parts: list[Component] = [
        html.Label(label, htmlFor=id_, className="b5"),
        dcc.Input(id=id_, value=value, type="text", placeholder=placeholder, autoComplete="off", className="inp"),
    ]
    if hint:
        parts.append(html.Div(hint, className="f12 i2"))
    return html.Div(parts, className="field")


def _window_menu(view: View) -> Component:
    auto = View(range=view.range, since=view.since, until=view.until)
    items = [
        toggle(
            [icon("check"), f"Auto: {WINDOW_WORDS[auto.window_name]}"],
            pressed=not view.window,
            kind="item",
            set="window",
            value="",
        )
    ]
    for name, every_s in WINDOWS.items():
        if 2 <= view.length.total_seconds() / every_s <= MAX_BARS:
            items.append(
                toggle(
                    [icon("check"), WINDOW_WORDS[name]],
                    pressed=view.window == name,
                    kind="item",
                    set="window",
                    value=name,
                )
            )
    text = f"Window: {WINDOW_WORDS[view.window_name]}" + ("" if view.window else ", auto")
    return menu(text, items, id_="window", right=True)


def several(key: str, plural: str, known: Sequence[str], chosen: Sequence[str], name: Any) -> Component:
    """A menu of which several may be on, or none, which means all; `name` is what each is called."""
    every = list(dict.fromkeys([*chosen, *known]))
    if chosen:
        text = name(chosen[0]) if len(chosen) == 1 else f"{len(chosen)} {plural}"
    elif key == "source" and len(every) > 1:
        text = f"All {len(every)} {plural}"
    else:
        text = f"All {plural}"
    items = [toggle([icon("check"), f"All {plural}"], pressed=not chosen, kind="item", set=key, value="")]
    items += [
        toggle([icon("check"), name(value)], pressed=value in chosen, kind="item", toggle=key, value=value)
        for value in every
    ]
    return menu(text, items, id_=f"menu-{key}", right=True)


def chips(view: View) -> list[Component]:
    """What narrows the view, each with a button that takes it back."""
    found = [_chip(f"{one.kind}:{one.value}", _filter_name(one.kind, one.value), "f") for one in view.filters]
    if view.text:
        found.append(_chip(view.text, [icon("search"), f"“{view.text}”"], "q"))
    return found


def _filter_name(kind: str, value: str) -> Any:
    if kind == "sentiment" and value in LABELS:
        return [sign(value), label_name(value)]
    if kind == "hashtag":
        return f"#{value}"
    if kind in ("emoji", "emoji_used"):
        return [html.Span(value, className="emo"), " felt" if kind == "emoji" else " used"]
    if kind in ("category", "emotion", "irony", "offensive", "hate"):
        return label_name(value)
    return value


def _chip(value: str, shown: Any, key: str) -> Component:
    said = value.partition(":")[2] if key == "f" else value
    attributes = {"data-filter": value} if key == "f" else {"data-do": "drop", "data-key": "q"}
    return html.Button(
        [html.Span(shown, className="el"), icon("x")],
        type="button",
        className="chip",
        **attributes,
        **{"aria-label": f"Remove the filter {said}"},
    )
