"""Two models as one: the fast one answers for all texts, the better one for those that the fast one is unsure of."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from feltwire import metrics
from feltwire.columns import SCORED_BY, TRUNCATED, Member
from feltwire.errors import ModelError
from feltwire.interfaces import Model, Predictions, Span
from feltwire.scoring import RefusedError

Floats: TypeAlias = npt.NDArray[np.float32]
Rows: TypeAlias = npt.NDArray[np.int64]

FAST: Final = 0
BASE: Final = 1
PROBE: Final = 16
"""Texts that base gets of a batch however late it is: a rate that is never measured never recovers."""
_WEIGHT: Final = 0.2  # of the newest measurement in the moving average
_TOLD_EVERY_S: Final = 60.0

_log = logging.getLogger(__name__)


class Limits(NamedTuple):
    """What goes to base."""

    threshold: float
    """Texts whose largest sentiment probability is below."""
    share: float = 1.0
    """… but at most this share of a batch,"""
    target_s: float | None = None
    """… and no more than a batch of this duration has time for, by the rates measured so far."""


@dataclass
class Rate:
    """Seconds a text, as a moving average."""

    seconds: float | None = None

    def take(self, seconds: float, texts: int) -> None:
        """Take in a measurement."""
        now = seconds / texts
        self.seconds = now if self.seconds is None else (1 - _WEIGHT) * self.seconds + _WEIGHT * now


class AutoModel:
    """A model with two `members`. Without `share` and `target_s`, who scores a text depends on the text alone.

    Its heads are those of both; a row that fast scored has nothing in a head that only base has. What base refuses or
    is not asked for keeps fast's answer.
    """

    def __init__(
        self, fast: Model, base: Model, limits: Limits, *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        """Raises ModelError for two models that read different texts, or whose labels contradict each other."""
        _check(fast, base)
        self.name = f"auto({fast.name},{base.name})"
        self.languages = _common(fast.languages, base.languages)
        self.heads: Mapping[str, tuple[str, ...]] = {**fast.heads, **base.heads}
        self.profile = base.profile
        self.clauses = bool(getattr(base, "clauses", False))
        self.neutral_band = getattr(base, "neutral_band", None)
        self.floors = getattr(base, "floors", {})
        self.parts = (fast, base)
        self.members = tuple(Member(model.name, frozenset(model.heads)) for model in self.parts)
        nothing = [model.predict([]) for model in self.parts]
        self._spans = {head for answer in nothing for head, given in answer.items() if isinstance(given, list)}
        self._limits = limits
        self._clock = clock
        self._rate = Rate()
        self._told_at = -_TOLD_EVERY_S

    def predict(self, texts: Sequence[str]) -> Predictions:
        """Probabilities for every head, and who scored each row. Raises as the two do."""
        began = self._clock()
        try:
            given = self.parts[FAST].predict(texts)
        except RefusedError as error:
            rest = [text for row, text in enumerate(texts) if row not in error.reasons]
            raise RefusedError(error.reasons, self._finish(rest, error.answer, began)) from error
        return self._finish(texts, given, began)

    def _finish(self, texts: Sequence[str], given: Predictions, began: float) -> Predictions:
        """Fast's answer with base's in the rows that base scores."""
        answer = self._spread(self.parts[FAST], given, len(texts))
        answer[SCORED_BY] = np.zeros((len(texts), 1), np.float32)
        unsure = self._unsure(cast(Floats, given["sentiment"]))
        rows = np.sort(unsure[: self._allowed(len(texts), len(unsure), began)])
        metrics.AUTO_TEXTS.labels(scored_by="fast_for_lack_of_time").inc(len(unsure) - len(rows))
        if len(rows):
            rows = self._ask_base([texts[row] for row in rows], rows, answer)
        metrics.AUTO_TEXTS.labels(scored_by="base").inc(len(rows))
        metrics.AUTO_TEXTS.labels(scored_by="fast").inc(len(texts) - len(unsure))
        return answer

    def _unsure(self, sentiment: Floats) -> Rows:
        """The rows that fast is unsure of, the most unsure first."""
        confidence = sentiment.max(axis=1)
        order = np.argsort(confidence, kind="stable")
        unsure: Rows = order[confidence[order] < self._limits.threshold].astype(np.int64)
        return unsure

    def _allowed(self, texts: int, unsure: int, began: float) -> int:
        """How many texts base may score; says so, now and then, where that is not all that it should."""
        allowed = min(unsure, int(np.ceil(self._limits.share * texts)))
        if self._limits.target_s is not None and allowed > PROBE:
            left_s = self._limits.target_s - (self._clock() - began)
            in_time = PROBE if self._rate.seconds is None else int(max(0.0, left_s) / max(self._rate.seconds, 1e-9))
            allowed = min(allowed, max(PROBE, in_time))
        if allowed < unsure and self._clock() - self._told_at >= _TOLD_EVERY_S:
            self._told_at = self._clock()
            _log.warning("%s: %d of %d unsure texts stay with the fast model", self.name, unsure - allowed, unsure)
        return allowed

    def _ask_base(self, texts: list[str], rows: Rows, answer: Predictions) -> Rows:
        """Put base's answer into the rows; those that it refuses keep fast's. The rows that it answered."""
        base = self.parts[BASE]
        began = self._clock()
        try:
            given = base.predict(texts)
        except RefusedError as error:
            given = error.answer
            rows = rows[[i not in error.reasons for i in range(len(rows))]]
        self._rate.take(self._clock() - began, len(texts))
        better = self._spread(base, given, len(rows))
        for head in [*base.heads, TRUNCATED]:
            there, new = answer[head], better[head]
            if isinstance(there, list) and isinstance(new, list):
                for row, spans in zip(rows, new, strict=True):
                    there[row] = spans
            elif not isinstance(there, list):
                there[rows] = new
        cast(Floats, answer[SCORED_BY])[rows] = BASE
        return rows

    def _spread(self, model: Model, given: Predictions, n: int) -> Predictions:
        """A model's answer in the heads of both: its labels where they belong, nothing in a head that it lacks."""
        answer: Predictions = {TRUNCATED: given.get(TRUNCATED, np.zeros((n, 1), np.float32))}
        for head, labels in self.heads.items():
            if head in self._spans:
                answer[head] = list(cast("list[list[Span]]", given.get(head, [[] for _ in range(n)])))
                continue
            column = answer[head] = np.zeros((n, len(labels)), np.float32)
            if head in given:
                column[:, [labels.index(label) for label in model.heads[head]]] = given[head]
        return answer


def _check(fast: Model, base: Model) -> None:
    pair = f"auto: {fast.name} and {base.name}"
    for model in (fast, base):
        if "sentiment" not in model.heads:
            raise ModelError(f"{pair}: {model.name} has no head 'sentiment', by which it is decided who scores a post")
    if fast.profile != base.profile:
        raise ModelError(
            f"{pair} clean texts differently ({fast.profile!r}, {base.profile!r}): take two of one cleaning profile"
        )
    for head in fast.heads.keys() & base.heads.keys():
        if set(fast.heads[head]) - set(base.heads[head]):
            raise ModelError(
                f"{pair}: the head {head!r} has the labels {', '.join(fast.heads[head])} in one and "
                f"{', '.join(base.heads[head])} in the other"
            )


def _common(fast: frozenset[str] | None, base: frozenset[str] | None) -> frozenset[str] | None:
    """The languages that both speak."""
    if fast is None or base is None:
        return base if fast is None else fast
    return fast & base
