"""Tracks: what to listen for. A track is a name and a query; `match` finds the tracks of every post of a batch.

Matching is column-wise. A word is first looked for as bare letters in the whole column (RE2, by pyarrow), and only
where they occur does `re` check that they are a whole word; equality and null tests are single kernels. The
query language itself is in `query.py`.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feltwire import schema, text
from feltwire.characters import MARKS
from feltwire.errors import ConfigError
from feltwire.query import And, Expression, Not, Or, Term, leaves, parse, to_string

__all__ = ["Track", "match", "parse", "terms", "to_string"]

Mask: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Track:
    """A name and a query. Raises ConfigError for a query that cannot be read, or a name that cannot be one."""

    name: str
    query: str

    def __post_init__(self) -> None:
        if not self.name.strip() or not self.name.isprintable() or self.name == schema.ALL_TRACKS:
            raise ConfigError(
                f"the track name {self.name!r} came; allowed: any printable text but {schema.ALL_TRACKS!r}, "
                "which stands for all posts"
            )
        try:
            _ = self.expression
        except ConfigError as error:
            raise ConfigError(f"track {self.name!r}: {error}") from None

    @cached_property
    def expression(self) -> Expression:
        """The query, read."""
        return parse(self.query)


def terms(track: Track) -> list[str]:
    """What the track wants to read in a text: its words, phrases, `#hashtags` and `@mentions`, each once, in the
    order of the query; excluded ones are left out."""
    signs = {"word": "", "phrase": "", "hashtag": "#", "mention": "@"}
    wanted = (term for term, plus in leaves(track.expression) if plus and term.kind in signs)
    return list(dict.fromkeys(signs[term.kind] + term.value for term in wanted))


def match(batch: pa.RecordBatch, tracks: Sequence[Track]) -> pa.ListArray:
    """The names of the tracks that each row matches, in the order of `tracks`: list<string>, never null.

    The batch has the columns of `schema.RECORD`. What a row lacks (a null) matches no term. Raises ConfigError
    when two tracks have one name.
    """
    names = [track.name for track in tracks]
    if len(set(names)) < len(names):
        raise ConfigError(f"two tracks of one name came: {', '.join(names)}; every track needs a name of its own")
    rows = len(batch)
    matrix = np.zeros((rows, len(tracks)), dtype=np.bool_)
    columns = _Columns(batch)
    for number, track in enumerate(tracks):
        matrix[:, number] = _holds(track.expression, columns)
    offsets = np.concatenate([[0], np.cumsum(matrix.sum(axis=1))]).astype(np.int32)
    matched = pa.array(names, pa.string()).take(pa.array(np.nonzero(matrix)[1]))
    return pa.ListArray.from_arrays(pa.array(offsets), matched)


class _Columns:
    """A batch while it is matched: each term is evaluated once, however many tracks hold it."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self._batch = batch
        self._masks: dict[tuple[Term, ...], Mask] = {}

    def __len__(self) -> int:
        return len(self._batch)

    def column(self, name: str) -> pa.Array:
        return self._batch.column(name)

    def mask(self, key: tuple[Term, ...], evaluate: Callable[[], Mask]) -> Mask:
        if key not in self._masks:
            self._masks[key] = evaluate()
        return self._masks[key]


def _holds(expression: Expression, columns: _Columns) -> Mask:
    """Where the expression holds. The words of an Or are looked for together."""
    match expression:
        case Term():
            return columns.mask((expression,), lambda: _TERMS[expression.kind]((expression,), columns))
        case Not(part):
            return ~_holds(part, columns)
        case And(parts):
            every: Mask = np.logical_and.reduce([_holds(part, columns) for part in parts])
            return every
        case Or(parts):
            words = tuple(part for part in parts if isinstance(part, Term) and part.kind in _WORDS)
            others = [_holds(part, columns) for part in parts if part not in words]
            if words:
                others.append(columns.mask(words, lambda: _in_text(words, columns)))
            some: Mask = np.logical_or.reduce(others)
            return some


def _mask(array: pa.BooleanArray) -> Mask:
    """A null is no match."""
    mask: Mask = pc.fill_null(array, False).to_numpy(zero_copy_only=False)
    return mask


# A word ends where a character stands that is no part of a word, or one of a script that has no blanks between words:
# Thai, Lao, Burmese, Khmer, Han and kana.
_UNSPACED: Final = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
_LETTER: Final = rf"(?![{_UNSPACED}])[\w{MARKS}]"
_IS_LETTER: Final = re.compile(_LETTER)
_ENTITIES: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_SAME_CASE: Final = {"i": "ı", "ı": "i", "s": "ſ", "k": "\u212a", "å": "\u212b", "σ": "ς", "ß": "ẞ"}
_TURKISH: Final = re.compile("[iIİı]")


def _forms(value: str) -> list[str]:
    """The value as it may stand in a text: composed, decomposed, with entities for & < >."""
    composed = [value, value.translate(_ENTITIES)]
    return list(dict.fromkeys(unicodedata.normalize(form, one) for form in ("NFC", "NFD") for one in composed))


def _hint(value: str) -> str:
    """A pattern for RE2 that matches wherever the value stands, and seldom elsewhere: its longest word.

    RE2 folds case by itself, save that it keeps the Turkish i's apart.
    """
    longest = max(value.split(), key=len)
    return "|".join(_TURKISH.sub("[iIİı]", re.escape(form)) for form in _forms(longest))


def _any_case(char: str) -> str:
    """A pattern for `re` that matches the character in any case. (Far quicker to search than IGNORECASE.)"""
    cases = {char, char.lower(), char.upper()}
    cases |= {other.lower() for other in cases} | {_SAME_CASE.get(other, char) for other in cases}
    single = sorted(one for one in cases if len(one) == 1)
    return f"[{''.join(map(re.escape, single))}]"


def _whole(terms: tuple[Term, ...]) -> str:
    """A pattern for `re` that matches the terms as whole words, or as beginnings of words.

    It begins with the class of all first characters, so that `re` skips quickly to where one stands. What has to be
    around a term is written once for all terms alike, because the class of letters is slow to compile.
    """
    rests: dict[tuple[str, str], dict[str, list[str]]] = {}
    for term in terms:
        for form in _forms(term.value):
            before = f"(?<!{_LETTER}.)" if _IS_LETTER.match(form[0]) else ""
            behind = f"(?!{_LETTER})" if _IS_LETTER.match(form[-1]) and not term.prefix else ""
            rest = "".join(r"\s+" if char == " " else _any_case(char) for char in form[1:])
            rests.setdefault((before, behind), {}).setdefault(_any_case(form[0]), []).append(rest)
    firsts = dict.fromkeys(first for branches in rests.values() for first in branches)
    kinds = []
    for (before, behind), branches in rests.items():
        words = "|".join(f"(?<={first})(?:{'|'.join(some)})" for first, some in branches.items())
        kinds.append(f"{before}(?:{words}){behind}")
    return f"[{''.join(first[1:-1] for first in firsts)}](?:{'|'.join(kinds)})"


@lru_cache(256)
def _patterns(terms: tuple[Term, ...]) -> tuple[str, re.Pattern[str]]:
    """For words and phrases: a hint for RE2, and the pattern for `re`."""
    return "|".join(_hint(term.value) for term in terms), re.compile(_whole(terms), re.DOTALL)


def _search(column: pa.StringArray, hint: str, found: Callable[[str], Any]) -> Mask:
    """Rows where RE2 finds the hint and `found` says yes."""
    mask = _mask(pc.match_substring_regex(column, hint, ignore_case=True))
    rows = np.flatnonzero(mask)
    if len(rows):
        candidates = column.take(pa.array(rows)).to_pylist()
        mask[rows] = [bool(found(one)) for one in candidates]
    return mask


def _listed(column: pa.ListArray, found: Callable[[str], Any]) -> Mask:
    """Rows with a list in which `found` says yes to an element."""
    mask = np.zeros(len(column), dtype=np.bool_)
    elements = column.flatten()
    if len(elements):
        hits = [one is not None and bool(found(one)) for one in elements.to_pylist()]
        mask[pc.list_parent_indices(column).to_numpy()[hits]] = True
    return mask


def _in_text(terms: tuple[Term, ...], columns: _Columns) -> Mask:
    hint, pattern = _patterns(terms)
    return _search(columns.column("text"), hint, pattern.search)


def _in_place(terms: tuple[Term, ...], columns: _Columns) -> Mask:
    hint, pattern = _patterns(terms)
    return _search(columns.column("author_location"), hint, pattern.search)


def _hashtag(terms: tuple[Term, ...], columns: _Columns) -> Mask:
    (term,) = terms
    wanted = unicodedata.normalize("NFC", term.value.lower())

    def same(tag: str) -> bool:
        tag = unicodedata.normalize("NFC", tag.removeprefix("#").lower())
        return tag.startswith(wanted) if term.prefix else tag == wanted

    def within(post: str) -> bool:
        return any(map(same, text.hashtags(post)))

    return _search(columns.column("text"), _hint(wanted), within) | _listed(columns.column("hashtags"), same)


def _mention(terms: tuple[Term, ...], columns: _Columns) -> Mask:
    """`@name` also finds Mastodon's `@name@example.org`."""
    (term,) = terms

    def same(handle: str) -> bool:
        handle = handle.removeprefix("@").lower()
        return term.value in (handle, handle.partition("@")[0])

    def within(post: str) -> bool:
        return any(map(same, text.mentions(post)))

    return _search(columns.column("text"), _hint(term.value), within) | _listed(columns.column("mentions"), same)


_HOST: Final = re.compile(r"(?:[a-z][a-z0-9+.-]*+://)?(?:[^/?#@]*+@)?([^/?#:@]*+)")


def _url(terms: tuple[Term, ...], columns: _Columns) -> Mask:
    (term,) = terms

    def same(link: str) -> bool:
        host = _HOST.match(link.lower())
        return host is not None and (host[1] == term.value or host[1].endswith(f".{term.value}"))

    def within(post: str) -> bool:
        return any(map(same, text.links(post)))

    return _search(columns.column("text"), _hint(term.value), within) | _listed(columns.column("links"), same)


def _equal(*names: str) -> Callable[[tuple[Term, ...], _Columns], Mask]:
    """The term's value stands in one of these columns, in any case."""

    def evaluate(terms: tuple[Term, ...], columns: _Columns) -> Mask:
        lowered = (pc.utf8_lower(columns.column(name)) for name in names)
        found: Mask = np.logical_or.reduce([_mask(pc.equal(one, terms[0].value)) for one in lowered])
        return found

    return evaluate


def _lang(terms: tuple[Term, ...], columns: _Columns) -> Mask:
    column = columns.column("lang")
    return _mask(pc.is_null(column) if terms[0].value == "und" else pc.equal(column, terms[0].value))


_REFERENCES: Final = {"repost": "repost_of_id", "reply": "reply_to_id", "quote": "quote_of_id"}


def _is(terms: tuple[Term, ...], columns: _Columns) -> Mask:
    what = terms[0].value
    if what == "verified":
        return _mask(columns.column("author_verified"))
    return _mask(pc.is_valid(columns.column(_REFERENCES[what])))


_PARTS: Final[dict[str, tuple[str, Callable[[str], list[str]]]]] = {
    "links": (r"://|www\.", text.links),
    "hashtags": ("[#＃]", text.hashtags),
    "mentions": ("[@＠]", text.mentions),
    "emoji": (r"[^\x00-\x7f]|&", text.emoji_used),
}


def _has(terms: tuple[Term, ...], columns: _Columns) -> Mask:
    name = terms[0].value
    hint, part = _PARTS[name]
    found = _search(columns.column("text"), hint, part)
    return found if name == "emoji" else found | _listed(columns.column(name), bool)


_WORDS: Final = ("word", "phrase")

_TERMS: Final[dict[str, Callable[[tuple[Term, ...], _Columns], Mask]]] = {
    "word": _in_text,
    "phrase": _in_text,
    "hashtag": _hashtag,
    "mention": _mention,
    "from": _equal("author_handle", "author_id"),
    "lang": _lang,
    "place": _in_place,
    "source": _equal("source"),
    "is": _is,
    "has": _has,
    "url": _url,
}
"""What each kind of term means: a function from terms of that kind (several only of words) to the rows that match."""
