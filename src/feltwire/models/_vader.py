"""VADER's compound score, identical to vaderSentiment 3.3.2 on every text, in time linear in its length.

vaderSentiment rebuilds the list of lower-case words for every word of the lexicon that it meets, and joins a text
with emoji character by character: 5,000 emoji take it seconds. Here its own rule for one word is asked with the
three words before and the two after, which is all that the rule looks at, and only where one of them can matter.
Everything else is a look-up.

Hutto, C.J. & Gilbert, E.E. (2014). VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media
Text. ICWSM-14. The lexicon and the rules are those of the package, which is asked for them and not copied.
"""

from string import punctuation
from typing import Any, Final, NamedTuple

from vaderSentiment import vaderSentiment as vader  # noqa: N813

_BEFORE: Final = 3  # words before a word of the lexicon that VADER's rule looks at
_AFTER: Final = 2  # and words behind it
_REMEMBERED: Final = 65_536  # distinct tokens; beyond that the memory starts afresh
_LONGEST_REMEMBERED: Final = 64


class _Mark(NamedTuple):
    """What VADER knows of a token, when it is not an ordinary word."""

    word: str
    valence: float | None  # of the lexicon; None: only a modifier
    modifies: bool  # may change the valence of its neighbours, or have its own changed by its neighbours' order


class _Text(NamedTuple):
    """The part of vaderSentiment's text object that its rule for one word reads."""

    words_and_emoticons: list[str]
    is_cap_diff: bool


def _strip(token: str) -> str:
    """A token without the punctuation around it, unless hardly anything would be left (an emoticon)."""
    stripped = token.strip(punctuation)
    return token if len(stripped) <= 2 else stripped


def _modifiers(lexicon: dict[str, float]) -> frozenset[str]:
    """One word at least of everything that VADER's rules react to beyond the lexicon.

    Of an idiom one word is enough: it stands in the neighbourhood whenever the idiom does. The longest is taken,
    being the rarest as a rule.
    """
    idioms = [key.split() for key in (*vader.SPECIAL_CASES, *vader.BOOSTER_DICT)]
    words = {min(words, key=lambda word: (-len(word), word)) for words in idioms}
    return frozenset({*words, *vader.NEGATE, "no", "so", "this", "least", "but", "kind"})


class _Marks(dict[str, _Mark | None]):
    """{token: its mark; None: an ordinary word}, filled as tokens come."""

    def __init__(self, lexicon: dict[str, float]) -> None:
        super().__init__()
        self._lexicon = lexicon
        self._modifiers = _modifiers(lexicon)

    def __missing__(self, token: str) -> _Mark | None:
        word = _strip(token)
        lower = word.lower()
        modifies = lower in self._modifiers or "n't" in lower
        # A booster has no valence of its own, even where the lexicon gives it one.
        valence = None if lower in vader.BOOSTER_DICT else self._lexicon.get(lower)
        mark = _Mark(word, valence, modifies) if modifies or valence is not None else None
        if len(token) <= _LONGEST_REMEMBERED:
            if len(self) >= _REMEMBERED:
                self.clear()
            self[token] = mark
        return mark


class Vader:
    """The analyzer; one a process is enough, and threads may share it."""

    def __init__(self) -> None:
        self._analyzer: Any = vader.SentimentIntensityAnalyzer()
        # Only emoji of one code point: vaderSentiment looks at one character at a time.
        self._emoji: dict[str, str] = {key: words for key, words in self._analyzer.emojis.items() if len(key) == 1}
        self._marks = _Marks(self._analyzer.lexicon)

    def compound(self, text: str) -> float:
        """`polarity_scores(text)["compound"]`: from -1 to 1, rounded to four decimals."""
        if not text.isascii() and not self._emoji.keys().isdisjoint(text):
            text = self._describe(text)
        text = text.strip()
        tokens = text.split()
        marks = list(map(self._marks.__getitem__, tokens))
        if not any(marks):
            return 0.0
        valences = self._valences(tokens, marks)
        total = float(sum(valences))
        if total == 0.0:
            return 0.0
        emphasis = self._analyzer._punctuation_emphasis(text)
        compound: float = vader.normalize(total + emphasis if total > 0 else total - emphasis)
        return round(compound, 4)

    def _describe(self, text: str) -> str:
        """`text` with each emoji as words, behind a space unless one stands there."""
        parts: list[str] = []
        before = " "
        for character in text:
            words = self._emoji.get(character)
            if words is None:
                parts.append(character)
            else:
                parts.append(words if before == " " else f" {words}")
            before = character
        return "".join(parts)

    def _valences(self, tokens: list[str], marks: list[_Mark | None]) -> list[float]:
        """The valence of every word, 0.0 for ordinary ones."""
        valences = [0.0] * len(tokens)
        modifying = [mark is not None and mark.modifies for mark in marks]
        capitals = sum(map(str.isupper, tokens))
        mixed_case = 0 < capitals < len(tokens)
        for i, mark in enumerate(marks):
            if mark is None or mark.valence is None:
                continue
            first, end = max(0, i - _BEFORE), i + _AFTER + 1
            if True in modifying[first:end]:
                valences[i] = self._ask(tokens[first:end], i - first, mixed_case)
            elif mixed_case and mark.word.isupper():
                valences[i] = mark.valence + (vader.C_INCR if mark.valence > 0 else -vader.C_INCR)
            else:
                valences[i] = mark.valence
        if any(mark is not None and mark.word.lower() == "but" for mark in marks):
            valences = self._analyzer._but_check([_strip(token) for token in tokens], valences)
        return valences

    def _ask(self, tokens: list[str], i: int, mixed_case: bool) -> float:
        """vaderSentiment's own rule for the word at `i` among its neighbours."""
        words = [_strip(token) for token in tokens]
        if words[i].lower() == "kind" and i + 1 < len(words) and words[i + 1].lower() == "of":
            return 0.0  # "kind of" is a dampener
        (valence,) = self._analyzer.sentiment_valence(0, _Text(words, mixed_case), words[i], i, [])
        return float(valence)
