"""A view as a SQL predicate, over the lake's sums or over its posts. Every value goes through `lake.reader.literal`."""

import re
from collections.abc import Callable
from typing import Final

from feltwire import schema
from feltwire.errors import ConfigError
from feltwire.lake.reader import literal
from feltwire.mood.view import UNKNOWN_LANG, WORD, View
from feltwire.mood.words import escaped, has_word
from feltwire.query import And, Expression, Not, Or, Term, parse

# Scripts without blanks between words, as in `tracks`: there a word ends anywhere.
_UNSPACED: Final = (
    r"\x{0E00}-\x{0EFF}\x{1000}-\x{109F}\x{1780}-\x{17FF}\x{2E80}-\x{9FFF}\x{F900}-\x{FAFF}\x{FF66}-\x{FF9F}"
)
_IN_WORD: Final = r"\p{L}\p{M}\p{N}_"


def of_sums(view: View) -> str:
    """Which rows of `windows` or `terms`, of a view that these answer (`View.summed`)."""
    track = view.tracks[0] if view.tracks else schema.ALL_TRACKS
    return f"track = {literal(track)} and {_time(view, 'minute')}{_origin(view)}"


def of_posts(view: View) -> str:
    """Which rows of `posts`."""
    parts = [_time(view, "event_time") + _origin(view)]
    if view.tracks:
        parts.append(_any([f"array_has(tracks, {literal(track)})" for track in view.tracks]))
    parts += [_has(kind, term, view) for kind, term in sorted(view.filters.items())]
    if view.query:
        parts.append(of_query(view.query))
    return " and ".join(parts)


def of_query(query: str) -> str:
    """A search in the query language of tracks, as a predicate over `posts`.

    What cannot be read as a query (half of one, while it is being typed) is searched for word by word.
    """
    try:
        return _expression(parse(query))
    except ConfigError:
        words = [word for word in re.findall(r"[^\s\"()]+", query) if any(map(str.isalnum, word))]
        return " and ".join(_text("text", word) for word in words[:50]) or "true"


def _time(view: View, column: str) -> str:
    return f"{column} >= {literal(view.start)} and {column} < {literal(view.end)}"


def _origin(view: View) -> str:
    """The tail of a predicate: sources and languages."""
    found = ""
    if view.sources:
        found += f" and source in ({', '.join(map(literal, view.sources))})"
    if view.langs:
        known = [literal(lang) for lang in view.langs if lang != UNKNOWN_LANG]
        either = [f"lang in ({', '.join(known)})"] if known else []
        either += ["lang is null", f"lang = {literal(UNKNOWN_LANG)}"] if UNKNOWN_LANG in view.langs else []
        found += f" and {_any(either)}"
    return found


def _any(parts: list[str]) -> str:
    return f"({' or '.join(parts)})"


def _has(kind: str, term: str, view: View) -> str:
    """Whether a post has the term of a filter. The terms are those of `windows.term_sums`."""
    if kind in ("hashtag", "emoji_used"):
        column = "hashtags" if kind == "hashtag" else kind
        return f"array_has({column}, {literal(term)})"
    if kind in ("entity", "emoji"):
        column, key = ("entities", "text") if kind == "entity" else ("emoji", "emoji")
        inner = f"select id, unnest({column}) found from posts where {_time(view, 'event_time')}"
        return f"id in (select id from ({inner}) where found['{key}'] = {literal(term)})"
    if kind == "domain":
        return _link(term, below=False)
    if kind == WORD:
        return has_word("text", term)
    value = str(term == "true").lower() if kind == "complaint" else literal(term)
    return f"coalesce({kind} = {value}, false)"


def _link(domain: str, *, below: bool) -> str:
    """Whether a post links to a domain, or also to one below it."""
    inner = r"(?:[^/?#:@ ]+\.)?" if below else r"(?:www\.)?"
    pattern = rf"(?i)(^| )(?:[a-z][a-z0-9+.-]*://)?(?:[^/?#@ ]*@)?{inner}{escaped(domain)}([/?#:]| |$)"
    return f"coalesce(regexp_like(array_to_string(links, ' '), {literal(pattern)}), false)"


def _expression(expression: Expression) -> str:
    match expression:
        case Term():
            return f"coalesce({_LEAVES[expression.kind](expression)}, false)"
        case Not(part):
            return f"(not {_expression(part)})"
        case And(parts):
            return f"({' and '.join(map(_expression, parts))})"
        case Or(parts):
            return _any(list(map(_expression, parts)))


def _text(column: str, value: str, *, prefix: bool = False) -> str:
    """Whether a column has a word or phrase, in any case, as whole words."""
    body = r"\s+".join(escaped(word) for word in value.split())
    if _is_letter(value[:1]):
        body = rf"(?:^|[^{_IN_WORD}]|[{_UNSPACED}]){body}"
    if _is_letter(value[-1:]) and not prefix:
        body = rf"{body}(?:$|[^{_IN_WORD}]|[{_UNSPACED}])"
    return f"regexp_like({column}, {literal('(?is)' + body)})"


def _is_letter(char: str) -> bool:
    unspaced = "\u0e00" <= char <= "\u0eff" or "\u1000" <= char <= "\u109f" or "\u2e80" <= char <= "\u9fff"
    return (char.isalnum() or char == "_") and not unspaced


def _listed(column: str, pattern: str) -> str:
    return f"regexp_like(array_to_string({column}, ' '), {literal(pattern)})"


def _hashtag(term: Term) -> str:
    if not term.prefix:
        return f"array_has(hashtags, {literal(term.value.lower())})"
    return _listed("hashtags", rf"(?i)(^| ){escaped(term.value)}")


def _reference(term: Term) -> str:
    if term.value == "verified":
        return "author_verified"
    return {"repost": "repost_of_id", "reply": "reply_to_id", "quote": "quote_of_id"}[term.value] + " is not null"


def _carries(term: Term) -> str:
    column = {"emoji": "emoji_used"}.get(term.value, term.value)
    return f"coalesce(cardinality({column}), 0) > 0"


def _lang(term: Term) -> str:
    return "lang is null" if term.value == UNKNOWN_LANG else f"lang = {literal(term.value)}"


def _from(term: Term) -> str:
    wanted = literal(term.value.lower())
    return f"(lower(author_handle) = {wanted} or lower(author_id) = {wanted})"


_LEAVES: Final[dict[str, Callable[[Term], str]]] = {
    "word": lambda term: _text("text", term.value, prefix=term.prefix),
    "phrase": lambda term: _text("text", term.value),
    "hashtag": _hashtag,
    "mention": lambda term: _listed("mentions", rf"(?i)(^| ){escaped(term.value)}(@| |$)"),
    "from": _from,
    "lang": _lang,
    "place": lambda term: _text("author_location", term.value),
    "source": lambda term: f"lower(source) = {literal(term.value.lower())}",
    "is": _reference,
    "has": _carries,
    "url": lambda term: _link(term.value, below=True),
}
"""What each kind of term of the query language means, as SQL; the meaning is that of `tracks`."""
