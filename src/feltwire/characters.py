"""Classes of characters as regular-expression fragments, and the table of emoji: what `text.py` is made of.

Everything is derived from the interpreter's `unicodedata` and the library `emoji` when the module is imported
(some 30 ms), so that nothing here has to be updated by hand.
"""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple
from unicodedata import category

import emoji

_ASTRAL: Final = 0x10000  # from here on `re` tests the ranges of a class one after the other: keep them few
_LAST_WITH_MARKS: Final = 0x1F000  # past it stand symbols and ideographs, and the selectors that HIDDEN covers


def char_class(codes: Iterable[int]) -> str:
    """The inside of a regular-expression character class that holds exactly these code points."""
    runs: list[list[int]] = []
    for code in sorted(set(codes)):
        if runs and code == runs[-1][1] + 1:
            runs[-1][1] = code
        else:
            runs.append([code, code])
    return "".join(rf"\U{first:08x}-\U{last:08x}" for first, last in runs)


_MARKS: Final = [code for code in range(0x300, _LAST_WITH_MARKS) if category(chr(code))[0] == "M"]

# Combining marks: without them the words of most Indic scripts, of Thai and of vocalised Arabic or Hebrew fall
# apart, because `\w` of `re` holds letters alone. Variation selectors and enclosing marks belong to emoji.
MARKS: Final = char_class(
    code for code in _MARKS if code < _ASTRAL and not (0x20D0 <= code <= 0x20FF or 0xFE00 <= code <= 0xFE0F)
)
ALL_MARKS: Final = char_class(_MARKS)
MARKS_HINT: Final = char_class([*(code for code in _MARKS if code < _ASTRAL), *range(_ASTRAL, _LAST_WITH_MARKS)])
"""Every mark, and much else beyond the first plane: quick to test."""

WORD: Final = rf"[\w{MARKS}]"
"""One character of a word: a letter, a digit, an underscore or a combining mark."""

# Characters that no reader sees and that tear words apart or turn them round: controls, soft hyphen, fillers,
# zero-width and bidirectional characters, variation selectors, tags, lone surrogates, non-characters.
HIDDEN: Final = (
    "\\x00-\\x08\\x0e-\\x1b\\x7f-\\x84\\x86-\\x9f\\u00ad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f"
    "\\u200b-\\u200f\\u202a-\\u202e\\u2060-\\u206f\\u3164\\ud800-\\udfff\\ufe00-\\ufe0f\\ufeff\\uffa0\\ufff0-\\ufffb"
    "\\ufffe\\uffff\\U000e0000-\\U000e0fff"
)

JOINER: Final = "\u200d"
EMOJI_STYLE: Final = "\ufe0f"
_TEXT_STYLE: Final = "\ufe0e"
_REGIONAL: Final = range(0x1F1E6, 0x1F200)
_TONES: Final = range(0x1F3FB, 0x1F400)
_TAGS: Final = range(0xE0020, 0xE0080)
_FIRST_BARE: Final = 0x2300  # below it (©, ™, arrows) a character without EMOJI_STYLE is text


class Emoji(NamedTuple):
    """One emoji."""

    sequence: str
    """Its fully qualified form: the one that fonts draw in colour."""
    words: str
    """Its English name (CLDR, by the library `emoji`) as words, without the tone of skin."""


_TONE_NAME: Final = re.compile(r"(?:medium-)?(?:light|medium|dark)_skin_tone")
_NO_LETTER: Final = re.compile(r"[^\w'’]+|_")


def _words(name: str) -> str:
    bare = name.strip(":")
    without_tone = " ".join(_NO_LETTER.sub(" ", _TONE_NAME.sub("", bare)).split())
    return without_tone or " ".join(_NO_LETTER.sub(" ", bare).split())


def _table() -> dict[str, Emoji]:
    qualified = {
        data["en"]: sequence
        for sequence, data in emoji.EMOJI_DATA.items()
        if data["status"] == emoji.STATUS["fully_qualified"]
    }
    table = {}
    for sequence, data in emoji.EMOJI_DATA.items():
        if len(sequence) == 1 and ord(sequence) < _FIRST_BARE and data["status"] == emoji.STATUS["unqualified"]:
            continue
        words = _words(data["en"])
        if ord(sequence[0]) in _REGIONAL or ord(sequence[-1]) in _TAGS:
            words = f"flag {words}"
        table[sequence] = Emoji(qualified.get(data["en"], sequence), words)
    return table


EMOJI: Final = _table()


def _bases() -> str:
    """Code points that can stand at the head of an emoji or behind a joiner, and the others of their blocks."""
    codes = {ord(char) for sequence in emoji.EMOJI_DATA for char in sequence if not char.isascii()}
    last = max(code for code in codes if code < _TAGS.start)
    plane_one = {*range(_LAST_WITH_MARKS, last + 1)} - {*_REGIONAL}
    return char_class({*(code for code in codes if code < _ASTRAL), *plane_one} - {0x200D, 0xFE0F, 0x20E3})


_BASES: Final = _bases()
_BASE: Final = rf"[{_BASES}](?!{_TEXT_STYLE})(?:{EMOJI_STYLE}|[{char_class(_TONES)}])?"

# One emoji as one piece: a flag, a keycap, or a base with its tone or tags and whatever is joined to it. It also
# takes sequences that no table holds: those are read piece by piece.
CLUSTER: Final = (
    rf"[{char_class(_REGIONAL)}]{{2}}"
    rf"|[0-9#*]{EMOJI_STYLE}?\u20e3"
    rf"|{_BASE}(?:[{char_class(_TAGS)}]+)?(?:{JOINER}{_BASE})*"
)

# A cheap test: a text without any of these holds no emoji.
EMOJI_HINT: Final = f"[{_BASES}{char_class(_REGIONAL)}\u20e3]"


def pieces(cluster: str) -> list[Emoji]:
    """The emoji of one match of CLUSTER: itself where it is known, else the known ones that it is made of."""
    known = EMOJI.get(cluster) or EMOJI.get(cluster.replace(EMOJI_STYLE, ""))
    if known is not None:
        return [known]
    return [EMOJI[char] for char in cluster if char in EMOJI and ord(char) not in _TONES]
