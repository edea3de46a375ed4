"""Which words moved a score: what becomes of it when they are left out of the post.

`exact` leaves out each word once. `sampled` asks what a word adds on average to whatever part of the post stands there
already: its Shapley value, estimated over random orders of the words (Strumbelj & Kononenko 2010; Castro et al. 2009).
`attention` is what the model's own attention says, where it has one.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feltwire.characters import CLUSTER, WORD
from feltwire.errors import ConfigError, FeltwireError, ModelError
from feltwire.interfaces import Model
from feltwire.loading import load
from feltwire.scoring import MAX_CHARS, probabilities_of, shorten
from feltwire.text import clean

Method = Literal["auto", "exact", "sampled", "attention"]
Floats: TypeAlias = npt.NDArray[np.float64]
Score: TypeAlias = Callable[[Sequence[str]], Floats]
_Span: TypeAlias = tuple[int, int]

METHODS: Final[tuple[Method, ...]] = ("auto", "exact", "sampled", "attention")
MAX_EXACT: Final = 40
"""Words of a post that `auto` still takes as short: in a long one, leaving out one word changes little."""
MAX_UNITS: Final = 100
"""What is left out at once: a word, or in a post of more words than this a few words in a row."""
MAX_TEXT: Final = 10_000
"""Characters of a post that are looked at; a model sees 3,000 of what cleaning leaves."""
SAMPLES: Final = 20
"""Orders of the words that `sampled` tries unless it is told; each costs a score for every word."""
MAX_SAMPLES: Final = 1_000

_LINK: Final = r"(?:https?://|www\.)\S+"
_WORDS: Final = rf"[#@＃＠]?{WORD}+(?:['’.@-]{WORD}+)*"
_UNIT: Final = re.compile(rf"{_LINK}|&#?\w+;|(?:{CLUSTER})|{_WORDS}|([!?.…])\1*|\S")


@dataclass(frozen=True, slots=True)
class Word:
    """A part of the post, and what it did."""

    text: str
    start: int | None
    """Its place in the post as it was written, in characters; None where cleaning changed the word (`attention`)."""
    end: int | None
    value: float
    """What the probability is higher by because the word stands there; of `attention`, its share."""
    error: float | None = None
    """The standard error of a sampled value."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What moved one probability of one post."""

    text: str
    model: str
    """Who scored it: of `auto:`, the one of its two models that did."""
    head: str
    label: str
    p: float
    p_without: float
    """The probability for a post without a word."""
    method: Literal["exact", "sampled", "attention"]
    words: tuple[Word, ...]
    evaluations: int
    """Texts that were scored for it."""
    seed: int | None = None

    @property
    def unexplained(self) -> float:
        """The part of p - p_without that the words' values do not add up to: what words do together."""
        return (self.p - self.p_without) - sum(word.value for word in self.words)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        given = asdict(self)
        return {**given, "words": list(given["words"]), "unexplained": self.unexplained}


def explain(
    text: str,
    model_uri: str,
    *,
    head: str = "sentiment",
    label: str | None = None,
    method: Method = "auto",
    samples: int | None = None,
    seed: int = 0,
) -> Explanation:
    """Which words moved the probability of a label (None: the most probable one).

    `samples` (orders of the words, an even number) makes `auto` sample; the same seed gives the same answer. `sampled`
    values add up to p - p_without exactly. The probabilities are those of `score`. Raises ConfigError for a head, label
    or method that the model does not have, ModelError where it fails on the text, and as `loading.load`.
    """
    model = load(model_uri)
    _check(model, head, method, samples)
    text = text[:MAX_TEXT]
    ask = _Asking(model, head)
    labels, p, who = ask([text])
    parts: Sequence[Model] = getattr(model, "parts", ())
    if parts:  # the others would be scored by one or the other, and the difference between the two is no word's doing
        model = parts[int(who[0])]
        if head not in model.heads:
            raise ConfigError(f"model {model.name} scored this text and has no head {head!r}: {_known(model)}")
        ask = _Asking(model, head)
        labels, p, _ = ask([text])
    label = label or labels[int(p[0].argmax())]
    if label not in labels:
        raise ConfigError(f"head {head!r} has no label {label!r}: it has {', '.join(labels)}")
    column = labels.index(label)

    def score(texts: Sequence[str]) -> Floats:
        found: Floats = ask(texts)[1][:, column]
        return found

    whole, without = score([text, ""])
    spans = units(text)
    chosen = _chosen(method, samples, len(spans))
    error: Floats | None = None
    if chosen == "attention":
        words = _attention(model, text)
    else:
        if chosen == "exact":
            values = _left_out(text, spans, whole, score)
        else:
            values, error = _sampled(text, spans, score, samples or SAMPLES, seed)
        words = tuple(
            Word(text[start:end], start, end, float(values[i]), None if error is None else float(error[i]))
            for i, (start, end) in enumerate(spans)
        )
    return Explanation(
        text=text,
        model=model.name,
        head=head,
        label=label,
        p=float(whole),
        p_without=float(without),
        method=chosen,
        words=words,
        evaluations=ask.evaluations,
        seed=seed if chosen == "sampled" else None,
    )


def units(text: str) -> list[_Span]:
    """Where in the text each word, emoji, link or sign is; at most MAX_UNITS, words in a row taken together."""
    found = [match.span() for match in _UNIT.finditer(text)]
    if len(found) <= MAX_UNITS:
        return found
    groups = np.array_split(np.arange(len(found)), MAX_UNITS)
    return [(found[group[0]][0], found[group[-1]][1]) for group in groups]


class _Asking:
    """One head of a model, for texts as they were written; each text is scored once, however often it is asked for."""

    def __init__(self, model: Model, head: str) -> None:
        self._model = model
        self._head = head
        self._known: dict[str, tuple[Floats, int]] = {}
        self._labels: tuple[str, ...] = ()

    def __call__(self, texts: Sequence[str]) -> tuple[tuple[str, ...], Floats, npt.NDArray[np.int64]]:
        """(labels, float64[rows, labels], who scored each row)."""
        seen, _ = shorten(pa.array(clean(texts, self._model.profile), pa.string()), MAX_CHARS)
        new = [text for text in dict.fromkeys(seen) if text not in self._known]
        if new:
            try:
                self._labels, p, who = probabilities_of(self._model, new, self._head)
            except FeltwireError:
                raise
            except Exception as error:
                raise ModelError(f"model {self._model.name} raised {type(error).__name__} for this text") from error
            self._known.update({text: (p[i], int(who[i])) for i, text in enumerate(new)})
        rows = [self._known[text] for text in seen]
        return self._labels, np.array([p for p, _ in rows]), np.array([who for _, who in rows], np.int64)

    @property
    def evaluations(self) -> int:
        """Texts that the model was asked for."""
        return len(self._known)


def _check(model: Model, head: str, method: str, samples: int | None) -> None:
    if head not in model.heads:
        raise ConfigError(f"model {model.name} has no head {head!r}: {_known(model)}")
    if method not in METHODS:
        raise ConfigError(f"method {method!r}: expected one of {', '.join(METHODS)}")
    if samples is not None and (samples % 2 or not 4 <= samples <= MAX_SAMPLES):
        raise ConfigError(f"samples = {samples}: expected an even number from 4 to {MAX_SAMPLES}")
    if samples is not None and method not in ("auto", "sampled"):
        raise ConfigError(f"samples = {samples} and method {method!r} contradict each other: expected method sampled")


def _known(model: Model) -> str:
    return f"it has {', '.join(model.heads)}" if model.heads else "it has none"


def _chosen(method: Method, samples: int | None, words: int) -> Literal["exact", "sampled", "attention"]:
    if method != "auto":
        return method
    return "sampled" if samples is not None or words > MAX_EXACT else "exact"


def _left_out(text: str, spans: Sequence[_Span], whole: float, score: Score) -> Floats:
    """float64[words]: the score of the whole text less that of the text without the word."""
    if not spans:
        return np.zeros(0)
    everything = np.ones(len(spans), np.bool_)
    texts = []
    for i in range(len(spans)):
        everything[i] = False
        texts.append(_kept(text, spans, everything))
        everything[i] = True
    return whole - score(texts)


def _sampled(text: str, spans: Sequence[_Span], score: Score, samples: int, seed: int) -> tuple[Floats, Floats]:
    """(float64[words] Shapley values, their standard errors), over `samples` orders, each with its reverse."""
    count = len(spans)
    if not count:
        return np.zeros(0), np.zeros(0)
    random = np.random.default_rng(seed)
    halves = [random.permutation(count) for _ in range(samples // 2)]
    orders = [order for half in halves for order in (half, half[::-1])]
    texts = []
    for order in orders:
        there = np.zeros(count, np.bool_)
        texts.append(_kept(text, spans, there))
        for word in order:
            there[word] = True
            texts.append(_kept(text, spans, there))
    scores = score(texts).reshape(samples, count + 1)
    gains = np.zeros((samples, count))
    np.put_along_axis(gains, np.array(orders), np.diff(scores, axis=1), axis=1)
    pairs = gains.reshape(samples // 2, 2, count).mean(axis=1)
    return pairs.mean(axis=0), pairs.std(axis=0, ddof=1) / np.sqrt(len(pairs))


def _kept(text: str, spans: Sequence[_Span], there: npt.NDArray[np.bool_]) -> str:
    """The text with a blank in place of each word that is not there."""
    pieces, at = [], 0
    for (start, end), stays in zip(spans, there, strict=True):
        if not stays:
            pieces += [text[at:start], " "]
            at = end
    return "".join([*pieces, text[at:]])


def _attention(model: Model, text: str) -> tuple[Word, ...]:
    """The shares of the cleaned text's words, each at its place in the text as it was written if it is there."""
    attend = getattr(model, "attend", None)
    if attend is None:
        raise ConfigError(f"model {model.name} has no attention: take the method exact or sampled")
    (seen,), _ = shorten(pa.array(clean([text], model.profile), pa.string()), MAX_CHARS)
    lower, words, after = text.lower(), [], 0
    same = len(lower) == len(text)  # some capital letters have two small ones
    for start, end, share in attend(seen):
        word = seen[start:end]
        at = lower.find(word.lower(), after) if word and same else -1
        place: tuple[int | None, int | None] = (at, at + len(word)) if at >= 0 else (None, None)
        after = at + len(word) if at >= 0 else after
        words.append(Word(word, *place, share))
    return tuple(words)
