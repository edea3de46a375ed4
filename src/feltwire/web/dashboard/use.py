"""The region What people use: four ranked lists, each row of which filters the page."""
# Dash's components take data- and aria- attributes, which their signatures cannot name.
# mypy: disable-error-code="arg-type"

from typing import Any

from dash import html
from dash.development.base_component import Component

from feltwire.web.dashboard import words
from feltwire.web.dashboard.data import Term, Use
from feltwire.web.dashboard.names import FEW_BEFORE, emoji_name
from feltwire.web.dashboard.parts import Ranked, ranked, segments, sign
from feltwire.web.dashboard.view import View
from feltwire.web.dashboard.words import count, label_name, percent, signed


def lists(found: Use, view: View) -> list[Component]:
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
