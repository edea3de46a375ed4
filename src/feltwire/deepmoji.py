"""The words of a text as the DeepMoji network reads them (Felbo et al., EMNLP 2017).

Lower case; numbers, links, handles and line breaks are one special word each; a character that comes more than
twice in a row comes twice; hearts, emoticons, contractions and abbreviations stay whole, other signs fall into runs
of one sign. What is not ASCII stands alone, character by character, as in the published vocabulary.
"""

import re
from typing import Final
from unicodedata import normalize

AT: Final = "CUSTOM_AT"
URL: Final = "CUSTOM_URL"
NUMBER: Final = "CUSTOM_NUMBER"
BREAK: Final = "CUSTOM_BREAK"
PADDING: Final = "CUSTOM_MASK"
UNKNOWN: Final = "CUSTOM_UNKNOWN"
SPECIAL: Final = (PADDING, UNKNOWN, AT, URL, NUMBER, BREAK, *(f"CUSTOM_BLANK_{number}" for number in range(6, 10)))
"""The words that every vocabulary of the network begins with, in the order of their numbers."""

# Also as two characters: sets of posts are handed on with their line breaks escaped.
_BREAK: Final = re.compile(r"\r\n|[\r\n]|\\{1,2}[nr]|<br>")
_ASCII_SIGNS: Final = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201b\u2032\u02bc", "'"),
        **dict.fromkeys("\u201c\u201d\u201f", '"'),
        **dict.fromkeys("\u2010\u2012\u2013\u2212", "-"),
        **dict.fromkeys("\u2014\u2015", "--"),
        "\u201a": ",",
        "\u201e": ",,",
        "\u2039": "<",
        "\u203a": ">",
        "«": "<<",
        "»": ">>",
        "¡": "!",
        "¿": "?",
    }
)
_MOUTHS: Final = "|".join(rf"{re.escape(mouth)}++" for mouth in ")(/|\\dpvo3")
# The first that fits wins. Possessive, so that no text makes it look at a character again and again.
_TOKEN: Final = re.compile(
    rf"""
      (?P<url>(?:https?://|www\.)[!-~]++)
    | (?P<at>\b[a-z0-9_.+-]{{1,64}}+@[a-z0-9-]{{1,63}}+\.[a-z0-9.-]{{1,255}}\b)
    | [A-Za-z]++[-_][A-Za-z]++
    | \#[a-z0-9_]++
    | (?P<handle>@[a-z0-9_]++)
    | (?:<++/?3++)++
    | -_- | \^_\^ | o\.o | \(: | \): | \); | \(;
    | (?:>:|[:=;])[-,^'"]?(?:{_MOUTHS})
    | [a-z]++'[a-z]++
    | (?:mrs?|ms|dr|prof)\.
    | (?<![a-z0-9_.])(?:[a-z]\.){{2,}}+
    | (?P<number>[0-9]++)
    | [a-z]++
    | (?P<sign>[!-/:-@\[-`{{-~§´ˇ°£€])(?P=sign)*+
    | \S
    """,
    re.VERBOSE,
)
_REPEAT: Final = re.compile(r"([!-~])\1{2,}")


def words(text: str) -> list[str]:
    """The words, without CUSTOM_UNKNOWN: which are unknown is a matter of the vocabulary."""
    text = text.strip().lower()
    if not text.isascii():
        text = normalize("NFKC", text).translate(_ASCII_SIGNS).lower()
    text = _BREAK.sub(f" {BREAK} ", text)
    return [_word(match) for match in _TOKEN.finditer(text)]


def _word(match: re.Match[str]) -> str:
    kind = match.lastgroup
    if kind == "url":
        return URL
    if kind in {"at", "handle"}:
        return AT
    word = match[0]
    if kind == "number" or word.isdecimal():
        return NUMBER
    return _REPEAT.sub(r"\1\1", word) if len(word) > 2 and word.isascii() else word
