"""Mixed feelings: a post of which one clause is confidently negative and another confidently positive.

A classifier of three classes has no way to say so: it averages. So posts that show a contrast are scored a second time,
clause by clause. Each post is judged by its own words alone; every step takes time linear in the length of the text.
"""

import re
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Floats: TypeAlias = npt.NDArray[np.floating]
_Span: TypeAlias = tuple[int, int]

MAX_CLAUSES: Final = 8
"""A post is split into no more; the last one has all the rest."""
MIN_WORDS: Final = 2
"""Fewer are no clause of their own: they belong to the one before."""
FLOOR: Final = 0.6
"""What is opposed less confidently than this is not mixed at all."""
FULL: Final = 0.95
"""What is opposed as confidently as this is mixed as surely as its clauses are opposed."""
TORN: Final = 0.15
"""A post without a word of contrast is looked at when the whole of it is negative and positive with this much each,"""
TORN_AT_A_SIGN: Final = 0.02
"""… or with this much, where a semicolon or dash parts it."""

# Words that set one thing against another; where they stand alone in a sentence, nothing is opposed.
_BETWEEN: Final = (
    r"but|however|yet|nevertheless|nonetheless|whereas|even so|that said|on the other hand|except(?: that| for)?"
    r"|aber|jedoch|pero|sin embargo|mais|pourtant|però|porém"
)
# … and those that may also open a sentence, whose second half then begins behind its first comma.
_OPENING: Final = (
    r"(?:even )?though|although|while|despite|in spite of|as much as|obwohl|aunque|bien que|sebbene|embora"
)
_MARKER: Final = rf"\b(?:{_BETWEEN}|{_OPENING})\b"
_SIGN: Final = r";|\s[-–—]+\s|—"
_NO_MARKER: Final = r"\b(?:not yet|yet again|but seriously|all but|nothing but|anything but|can(?:no|')t but)\b"
_BREAK: Final = re.compile(
    rf"(?P<none>{_NO_MARKER})|(?P<end>[.!?…]+(?=\s|$)|[;\n]|(?<=\s)[-–—]+(?=\s)|—)"
    rf"|\b(?:(?P<opening>{_OPENING})|{_BETWEEN})\b",
    re.IGNORECASE,
)
_AROUND: Final = " ,:\t\r\n"  # belongs to no clause


def candidates(texts: pa.Array, p_negative: Floats, p_positive: Floats) -> list[int]:
    """The rows that are worth splitting, of public posts about a fifth: those with a word or sign of contrast, and
    those about which the model is torn as a whole."""
    least = np.minimum(p_negative, p_positive)
    chosen = (least >= TORN) | _having(texts, _MARKER)
    slightly = np.flatnonzero(~chosen & (least >= TORN_AT_A_SIGN))
    chosen[slightly] = _having(texts.take(pa.array(slightly)), _SIGN)
    return [int(row) for row in np.flatnonzero(chosen)]


def _having(texts: pa.Array, pattern: str) -> npt.NDArray[np.bool_]:
    found = pc.match_substring_regex(texts, pattern, ignore_case=True).fill_null(False)
    having: npt.NDArray[np.bool_] = found.to_numpy(zero_copy_only=False)
    return having


def split(text: str) -> list[str]:
    """The clauses of a text in their order, at most MAX_CLAUSES, each of at least MIN_WORDS words (if any is)."""
    spans: list[_Span] = []
    start, opened = 0, False  # `opened`: the piece stands behind a marker that opens its sentence
    for match in _BREAK.finditer(text):
        if match["none"]:
            continue
        spans += _pieces(text, start, match.start(), opened)
        opened = bool(match["opening"]) and not text[start : match.start()].strip()
        start = match.end()
    spans += _pieces(text, start, len(text), opened)
    return [text[start:end].strip(_AROUND) for start, end in _merged(text, spans)]


def mixed(p_negative: Floats, p_positive: Floats) -> float:
    """How probable it is that a post is mixed, from its clauses' probabilities; 0 unless two are confidently opposed.

    With m the largest min(p_negative of one clause, p_positive of another), and t = (m - FLOOR) / (FULL - FLOOR)
    between 0 and 1: m * t^2 * (3 - 2t).
    """
    pairs = np.minimum(p_negative[:, None], p_positive[None, :]).astype(np.float64)
    np.fill_diagonal(pairs, 0.0)
    strength = float(pairs.max(initial=0.0))
    t = min(1.0, max(0.0, (strength - FLOOR) / (FULL - FLOOR)))
    return strength * t * t * (3 - 2 * t)


def _pieces(text: str, start: int, end: int, opened: bool) -> list[_Span]:
    """`although the crew was kind, we were late`: what is conceded ends at the comma."""
    comma = text.find(",", start, end) if opened else -1
    return [(start, end)] if comma < 0 else [(start, comma), (comma, end)]


def _merged(text: str, spans: list[_Span]) -> list[_Span]:
    """The pieces, those that are too short together with the one before (at the beginning: behind) them."""
    clauses: list[_Span] = []
    waiting = -1  # where words begin that are too few for the first clause
    for start, end in spans:
        words = len(text[start:end].strip(_AROUND).split())
        if not words:
            continue
        if len(clauses) == MAX_CLAUSES or (clauses and words < MIN_WORDS):
            clauses[-1] = (clauses[-1][0], end)
        elif waiting >= 0:
            clauses.append((waiting, end))
            waiting = -1
        elif words < MIN_WORDS:
            waiting = start
        else:
            clauses.append((start, end))
    return clauses if waiting < 0 else [(waiting, len(text))]
