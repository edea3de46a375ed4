"""The text of a post: cleaning profiles by name, and what a post carries in its text.

One code path for training and serving: a bundle names the profile that its model was trained with, and `clean`
is the only function that knows what the name means. Every step takes time linear in the length of the text,
whatever stands in it, and no text raises.
"""

import html
import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple
from unicodedata import is_normalized, normalize

from feltwire import characters
from feltwire.characters import ALL_MARKS, MARKS, WORD
from feltwire.deepmoji import words as deepmoji_words
from feltwire.errors import ConfigError
from feltwire.lemmas import lemmatise

MAX_REPEATS: Final = 3  # "soooooo" becomes "sooo": drawn out still differs from "so"
MAX_MARKS: Final = 8  # more combining marks in a row than any script writes; normalising long rows is quadratic

# Only with a semicolon: "?a=1&copy=2" is part of a link. Longer digits than any code point are left as they are.
_ENTITY: Final = re.compile(r"&(?:#[0-9]{1,8}|#[xX][0-9a-fA-F]{1,7}|[A-Za-z][A-Za-z0-9]{1,31});")
# What some exports leave of characters beyond ASCII, and of line ends: an escape with u, one with n. Not C:\new.
_ESCAPE: Final = re.compile(r"(?:\\u[0-9a-fA-F]{4})+|\\n(?![a-z])")
_HIDDEN: Final = re.compile(f"[{characters.HIDDEN}]+")
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
_REPEAT_HINT: Final = re.compile(r"(.)\1\1\1")
_REPEAT: Final = re.compile(rf"([^\d\s])\1{{{MAX_REPEATS},}}")
_MARK_RUN_HINT: Final = re.compile(rf"[{characters.MARKS_HINT}]{{{MAX_MARKS + 1}}}")
_MARK_RUN: Final = re.compile(rf"([{ALL_MARKS}]{{{MAX_MARKS}}})[{ALL_MARKS}]+")

# Where a link ends: blanks, quotes and brackets that links do not hold, general punctuation, and scripts that are
# written without blanks (a link in Chinese or Japanese text ends where the text goes on).
_IN_LINK: Final = r"""[^\s<>"`{}|\\^\x00-\x1f\x7f-\xbf\u2000-\u206f\u2e80-\U0010ffff]"""
_LINK_END: Final = r"""[^\s<>"`{}|\\^\x00-\x1f\x7f-\xbf\u2000-\u206f\u2e80-\U0010ffff.,;:!?'*\[(]"""
_LINK: Final = re.compile(rf"(?<![A-Za-z0-9])(?:[hH][tT][tT][pP][sS]?://|[wW]{{3}}\.){_IN_LINK}*{_LINK_END}")
_CUT_OFF: Final = ("…", "...")  # networks shorten the links that they show

# A link as networks show it, without its scheme; only where a path follows, for "him.me" is no link.
_TLD: Final = (
    "com|org|net|edu|gov|io|co|tv|ly|me|be|gl|gg|to|fm|ai|uk|ie|de|at|ch|fr|es|it|nl|pt|pl|se|no|dk|fi|eu|us|ca|au|nz"
    "|in|jp|br|social|app|dev|news|blog|link|xyz|info|site|online|shop"
)
_SHOWN_LINK: Final = re.compile(
    rf"(?<![\w@./-])(?:[A-Za-z0-9-]{{1,63}}\.){{1,5}}(?:{_TLD})/(?:{_IN_LINK}*{_LINK_END})?(?:\.\.\.|…)?", re.IGNORECASE
)

# X: @name; Bluesky: @name.example.org; Mastodon: @name@example.org. Not the middle of an e-mail address.
_DOMAIN: Final = r"[A-Za-z0-9]++(?:-++[A-Za-z0-9]++)*+(?:\.[A-Za-z0-9]++(?:-++[A-Za-z0-9]++)*+)++"
_MENTION: Final = re.compile(rf"(?<![\w@＠/.])[@＠]((?:{_DOMAIN}(?!\w)|\w++)(?:@{_DOMAIN})?)")
_HASHTAG: Final = re.compile(rf"(?<![\w#＃/])[#＃]({WORD}+)")

_CLUSTER: Final = re.compile(characters.CLUSTER)
_EMOJI_HINT: Final = re.compile(characters.EMOJI_HINT)
_EMOJI_RUN: Final = re.compile(rf"(?:{characters.CLUSTER})(?:\s*(?:{characters.CLUSTER}))*")

_IN_WORD_QUOTE: Final = re.compile(r"(?<=\w)['’](?=\w)")
_NO_HASHTAG: Final = re.compile(r"#(?![^\W\d_])|(?<=\w)#")
_ASCII_LETTERS: Final = str.maketrans(
    {char: char.lower() if char.isalpha() or char == "#" else " " for char in map(chr, range(128))}
)
_NO_LETTERS: Final = re.compile(rf"(?:[^\w#{MARKS}]|[\d_])+")


class Extracts(NamedTuple):
    """What posts carry in their texts: one list a post, each without repeats, in the order of the text."""

    hashtags: list[list[str]]
    mentions: list[list[str]]
    links: list[list[str]]
    emoji_used: list[list[str]]


def profiles() -> tuple[str, ...]:
    """The names of all cleaning profiles."""
    return tuple(_PROFILES)


def clean(texts: Sequence[str], profile: str) -> list[str]:
    """The texts as a model with this cleaning profile reads them; raises ConfigError for an unknown profile."""
    return clean_decoded([decode(text) for text in texts], profile)


def clean_decoded(texts: Sequence[str], profile: str) -> list[str]:
    """As `clean`, of texts that went through `decode` already."""
    function = _PROFILES.get(profile)
    if function is None:
        raise ConfigError(f"unknown cleaning profile {profile!r}: known are {', '.join(_PROFILES)}")
    return [function(text) for text in texts]


def decode(text: str) -> str:
    """HTML entities as characters, also where they were encoded twice (`&amp;lt;`); deeper nesting stays."""
    if "&" not in text:
        return text
    once = _ENTITY.sub(_entity, text)
    return _ENTITY.sub(_entity, once) if "&" in once else once


def _entity(match: re.Match[str]) -> str:
    return html.unescape(match[0])


def extract(texts: Sequence[str]) -> Extracts:
    """Hashtags, mentions, links and emoji of texts that went through `decode`; see the functions below."""
    return Extracts(
        [_hashtags(text) if "#" in text or "＃" in text else [] for text in texts],
        [_mentions(text) if "@" in text or "＠" in text else [] for text in texts],
        [_links(text) if _may_link(text) else [] for text in texts],
        [[] if text.isascii() else _emoji_used(text) for text in texts],
    )


def hashtags(text: str) -> list[str]:
    """The hashtags of a raw text: lower case, without #, each once. `#1` is none: it holds no letter."""
    return _hashtags(decode(text))


def mentions(text: str) -> list[str]:
    """The handles that a raw text mentions: as written, without @, each once whatever its case."""
    return _mentions(decode(text))


def links(text: str) -> list[str]:
    """The links in a raw text, each once: `http://…`, `https://…`, and `www.…`, which gets `https://`.

    Punctuation behind a link is no part of it, and a link that was shortened for display ("…") is left out.
    """
    return _links(decode(text))


def emoji_used(text: str) -> list[str]:
    """The emoji of a raw text, each once: whole sequences (flag, keycap, family, tone of skin), fully qualified.

    A character that is text unless a selector says otherwise (©, ™, ☀ with U+FE0E) is no emoji.
    """
    return _emoji_used(decode(text))


def _hashtags(text: str) -> list[str]:
    found = (tag for tag in _HASHTAG.findall(text) if any(map(str.isalpha, tag)))
    return list(dict.fromkeys(_composed(tag.lower()) for tag in found))


def _mentions(text: str) -> list[str]:
    found: dict[str, str] = {}
    for handle in _MENTION.findall(text):
        found.setdefault(handle.lower(), handle)
    return list(found.values())


def _may_link(text: str) -> bool:
    return "://" in text or "www." in text or "WWW." in text


def _links(text: str) -> list[str]:
    found: dict[str, None] = {}
    for match in _LINK.finditer(text):
        if text.startswith(_CUT_OFF, match.end()):
            continue
        link = _without_bracket(match[0])
        found[link if "://" in link else f"https://{link}"] = None
    return list(found)


def _without_bracket(link: str) -> str:
    """A link without the closing brackets at its end that it did not open: "(see https://example.org)"."""
    surplus = link.count(")") - link.count("(")
    while surplus > 0 and link.endswith((")", "]")):
        surplus -= link[-1] == ")"
        link = link[:-1]
    return link


def _emoji_used(text: str) -> list[str]:
    if not _EMOJI_HINT.search(text):
        return []
    found = (piece.sequence for match in _CLUSTER.finditer(text) for piece in characters.pieces(match[0]))
    return list(dict.fromkeys(found))


def _without_links(text: str) -> str:
    if _may_link(text):
        text = _LINK.sub(_link_out, text)
    if "/" in text and "." in text:
        text = _SHOWN_LINK.sub(" ", text)
    return text


def _link_out(match: re.Match[str]) -> str:
    return " " + match[0][len(_without_bracket(match[0])) :]


def _emoji_words(match: re.Match[str]) -> str:
    """A run of emoji as words; each emoji at most MAX_REPEATS times in the run."""
    seen: dict[str, int] = {}
    words = []
    for cluster in _CLUSTER.finditer(match[0]):
        pieces = characters.pieces(cluster[0])
        for piece in pieces:
            count = seen.get(piece.words, 0)
            seen[piece.words] = count + 1
            if count < MAX_REPEATS:
                words.append(piece.words)
        if not pieces:
            words.append(cluster[0])
    return f" {' '.join(words)} "


def _visible(text: str) -> str:
    return text if text.isascii() and text.isprintable() else _HIDDEN.sub("", text)


def _composed(text: str) -> str:
    if text.isascii():
        return text
    if _MARK_RUN_HINT.search(text):
        text = _MARK_RUN.sub(r"\1", text)
    return text if is_normalized("NFC", text) else normalize("NFC", text)


def _blanks(text: str) -> str:
    return " ".join(text.split())


def _plain(text: str) -> str:
    """For lexicons such as VADER, which read punctuation, case and emoji themselves."""
    text = _visible(text)
    text = _without_links(text)
    if "@" in text or "＠" in text:
        text = _MENTION.sub(" ", text)
    return _blanks(text)


def _unescaped(match: re.Match[str]) -> str:
    if match[0] == "\\n":
        return " "
    units = bytes.fromhex(match[0].replace("\\u", ""))  # UTF-16, big end first
    return units.decode("utf-16-be", "replace")


def _social(text: str) -> str:
    """For models: links out, handles as `@user`, emoji as words, repeats bounded; case and punctuation stay."""
    if "\\" in text:
        text = _ESCAPE.sub(_unescaped, text)
    if not text.isascii():
        if _EMOJI_HINT.search(text):
            text = _EMOJI_RUN.sub(_emoji_words, text)
        text = _composed(_HIDDEN.sub("", text))
    elif not text.isprintable():
        text = _HIDDEN.sub("", text)
    text = _without_links(text)
    if "@" in text or "＠" in text:
        text = _MENTION.sub("@user", text)
    if _REPEAT_HINT.search(text):
        text = _REPEAT.sub(r"\1" * MAX_REPEATS, text)
    return _blanks(text)


def _letters(text: str) -> str:
    """For bags of words: links and mentions out, hashtags kept (`#late`), letters only, lower case."""
    text = _composed(_visible(text))
    text = _without_links(text)
    if "@" in text or "＠" in text:
        text = _MENTION.sub(" ", text)
    if "'" in text or "’" in text:
        text = _IN_WORD_QUOTE.sub("", text)
    if "#" in text:
        text = _NO_HASHTAG.sub(" ", text)
    return _blanks(text.translate(_ASCII_LETTERS) if text.isascii() else _NO_LETTERS.sub(" ", text).lower())


def _lemma(text: str) -> str:
    """For bags of words: as `letters`, without stop words but with all negations, in dictionary forms (English)."""
    return lemmatise(_letters(text))


def _deepmoji(text: str) -> str:
    """For the DeepMoji network: its words, a blank between any two."""
    return " ".join(deepmoji_words(_composed(_visible(text))))


def _written(text: str) -> str:
    """For a model elsewhere that cleans by itself: as it was written, but for blanks and control characters."""
    return _blanks(_CONTROLS.sub("", _blanks(text)))


# A profile is a pure function of a decoded text. A new one is a function and a line here.
_PROFILES: Final[dict[str, Callable[[str], str]]] = {
    "social": _social,
    "letters": _letters,
    "plain": _plain,
    "lemma": _lemma,
    "deepmoji": _deepmoji,
    "written": _written,
}
