"""Tracks in X's own query language, and the stream's rules kept in step with them. No I/O.

X is asked for at least what a track wants, and never for less: what it cannot express is left out where that widens
the question, and the pipeline's own matching narrows it again. The language is that of
https://docs.x.com/x-api/posts/search/integrate/build-a-query.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

from feltwire.errors import ConfigError
from feltwire.query import And, Expression, Not, Or, Term, to_string
from feltwire.tracks import Track

TAG: Final = "feltwire:"
"""How the tags of our rules begin; behind it stands the track's name. A rule with another tag is somebody else's."""

MAX_RULE_CHARS: Final = 1_024
MAX_QUERY_CHARS: Final = 512  # of a recent search by the smallest plan

_is_plain: Final = re.compile(r"[^\W_]+", re.ASCII).fullmatch
_is_handle: Final = re.compile(r"[A-Za-z0-9_]{1,20}").fullmatch
_is_tag: Final = re.compile(r"\w+").fullmatch
_KEYWORDS: Final = ("and", "or", "not")
_X_LANGS: Final = {"id": "in", "he": "iw"}
_X_KINDS: Final = {"repost": "retweet"}


class Rule(NamedTuple):
    """A rule of the stream."""

    value: str
    tag: str


@dataclass(frozen=True)
class _Leaf:
    """An operator of X. `stands`: it may be asked for alone."""

    text: str
    stands: bool
    wanted: bool = True


@dataclass(frozen=True)
class _Node:
    every: bool
    parts: "tuple[_Leaf | _Node, ...]"


_Tree: TypeAlias = "_Leaf | _Node"
_Maybe: TypeAlias = "_Leaf | _Node | bool"
"""A tree, or what is certain: true for every post of X, false for none."""


@dataclass
class Query:
    """What X is asked for a track's sake."""

    alternatives: list[str] = field(default_factory=list)
    """Each a query of its own; a post that matches one is wanted. None: no post of X can match the track."""
    left_out: list[str] = field(default_factory=list)
    """What X cannot be asked, as it stands in the track."""

    def packed(self, max_chars: int) -> list[str]:
        """The alternatives joined by OR, in as few queries of at most so many characters as it takes.

        Raises ConfigError for an alternative that is too long by itself.
        """
        packs: list[str] = []
        for one in self.alternatives:
            if len(one) > max_chars:
                raise ConfigError(
                    f"a query of {len(one)} characters for X came, {one[:60]!r}…; {max_chars} are allowed: shorten it"
                )
            part = f"({one})" if " " in one and len(self.alternatives) > 1 and not one.startswith('"') else one
            joined = f"{packs[-1]} OR {part}" if packs else part
            if packs and len(joined) <= max_chars:
                packs[-1] = joined
            else:
                packs.append(part if len(part) <= max_chars else one)
        return packs


def query_of(track: Track) -> Query:
    """The track for X. Raises ConfigError where hardly anything of it is left that X could be asked."""
    query = Query()
    tree = _walk(track.expression, True, query.left_out)
    if tree is False:
        return query
    query.left_out = list(dict.fromkeys(query.left_out))
    alternatives: Sequence[_Tree] = ()
    if not isinstance(tree, bool):
        alternatives = tree.parts if isinstance(tree, _Node) and not tree.every else (tree,)
    if not alternatives or not all(map(_stands, alternatives)):
        lacking = f" X does not know {', '.join(query.left_out)}." if query.left_out else ""
        raise ConfigError(
            f"track {track.name!r}: X cannot be asked for it.{lacking} Every alternative needs a word, a phrase, a "
            "#hashtag, a @mention, from: or url: that a post must have; or give X's own query by the option query"
        )
    query.alternatives = [_text(one, top=True) for one in alternatives]
    return query


def rules_of(tracks: Iterable[tuple[str, Query]]) -> list[Rule]:
    """The stream's rules for some tracks by name; a long track takes several. Raises ConfigError."""
    return [Rule(value, TAG + name) for name, query in tracks for value in query.packed(MAX_RULE_CHARS)]


def changes(existing: Iterable[dict[str, Any]], wanted: Iterable[Rule]) -> tuple[list[Rule], list[str]]:
    """(the rules to add, the ids of the rules to delete). `existing`: objects with id, value and tag.

    Only rules whose tag begins with TAG are ours to delete: what is no longer wanted, and what is there twice.
    """
    missing = dict.fromkeys(wanted)
    surplus: list[str] = []
    for rule in existing:
        tag, rule_id = rule.get("tag"), rule.get("id")
        if not (isinstance(tag, str) and tag.startswith(TAG) and isinstance(rule_id, str)):
            continue
        known = Rule(str(rule.get("value")), tag)
        if known in missing:
            del missing[known]
        else:
            surplus.append(rule_id)
    return list(missing), surplus


def _walk(expression: Expression, wanted: bool, left_out: list[str]) -> _Maybe:
    """The expression, or its opposite if it is not `wanted`, with every Not at a leaf (X negates no groups)."""
    match expression:
        case Term():
            leaf = _TERMS[expression.kind](expression)
            if leaf is None:
                left_out.append(to_string(expression if wanted else Not(expression)))
                return True
            if isinstance(leaf, bool):
                return leaf is wanted
            return leaf if wanted else _Leaf(leaf.text, False, wanted=False)
        case Not(part):
            return _walk(part, not wanted, left_out)
        case And(parts) | Or(parts):
            every = isinstance(expression, And) is wanted
            return _joined([_walk(part, wanted, left_out) for part in parts], every, expression, left_out)


def _joined(found: list[_Maybe], every: bool, expression: Expression, left_out: list[str]) -> _Maybe:
    if any(one is not every for one in found if isinstance(one, bool)):
        return not every
    trees = [one for one in found if not isinstance(one, bool)]
    if not trees:
        return every
    if not every and not all(map(_wants, trees)):
        left_out.append(to_string(expression))  # an alternative that only excludes: X takes none
        return True
    flat: list[_Tree] = []
    for one in trees:
        flat += one.parts if isinstance(one, _Node) and one.every is every else (one,)
    if every:
        flat.sort(key=lambda one: not _wants(one))
    return flat[0] if len(flat) == 1 else _Node(every, tuple(flat))


def _wants(tree: _Tree) -> bool:
    """Whether it wants something, and does not only exclude."""
    if isinstance(tree, _Leaf):
        return tree.wanted
    return (any if tree.every else all)(map(_wants, tree.parts))


def _stands(tree: _Tree) -> bool:
    """Whether it may be asked for alone."""
    if isinstance(tree, _Leaf):
        return tree.stands
    return (any if tree.every else all)(map(_stands, tree.parts))


def _text(tree: _Tree, *, top: bool = False) -> str:
    if isinstance(tree, _Leaf):
        return tree.text if tree.wanted else f"-{tree.text}"
    joined = (" " if tree.every else " OR ").join(map(_text, tree.parts))
    return joined if top else f"({joined})"


def _quoted(text: str) -> str:
    return '"' + " ".join(re.sub(r'["\\]', " ", text).split()) + '"'


def _word(term: Term) -> _Leaf | bool | None:
    if term.prefix or not any(map(str.isalnum, term.value)):
        return None
    plain = _is_plain(term.value) and term.value.lower() not in _KEYWORDS
    return _Leaf(term.value if plain else _quoted(term.value), True)


def _phrase(term: Term) -> _Leaf | bool | None:
    return _Leaf(_quoted(term.value), True) if any(map(str.isalnum, term.value)) else None


def _hashtag(term: Term) -> _Leaf | bool | None:
    return None if term.prefix or not _is_tag(term.value) else _Leaf(f"#{term.value}", True)


def _mention(term: Term) -> _Leaf | bool | None:
    return _Leaf(f"@{term.value}", True) if _is_handle(term.value) else False


def _from(term: Term) -> _Leaf | bool | None:
    return _Leaf(f"from:{term.value}", True) if _is_handle(term.value) else False


def _url(term: Term) -> _Leaf | bool | None:
    return _Leaf(f"url:{_quoted(term.value)}", True)


def _lang(term: Term) -> _Leaf | bool | None:
    return _Leaf(f"lang:{_X_LANGS.get(term.value, term.value)}", False)


def _is(term: Term) -> _Leaf | bool | None:
    return _Leaf(f"is:{_X_KINDS.get(term.value, term.value)}", False)


def _has(term: Term) -> _Leaf | bool | None:
    return None if term.value == "emoji" else _Leaf(f"has:{term.value}", False)


_TERMS: Final[dict[str, Callable[[Term], _Leaf | bool | None]]] = {
    "word": _word,
    "phrase": _phrase,
    "hashtag": _hashtag,
    "mention": _mention,
    "from": _from,
    "url": _url,
    "lang": _lang,
    "is": _is,
    "has": _has,
    "place": lambda term: None,  # X's place: is where a post was written, ours where its author lives
    "source": lambda term: term.value == "x",
}
"""What X calls each kind of term; None: X cannot be asked for it."""
