"""From what a far side says of each text to what `interfaces.Model.predict` gives."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from feltwire.columns import SCORED_BY, TRUNCATED, UNSCORED, Member
from feltwire.interfaces import Predictions, Span
from feltwire.models._remote import Refusal, Row
from feltwire.scoring import RefusedError


@dataclass(frozen=True, slots=True)
class About:
    """What a remote model is."""

    name: str
    languages: frozenset[str] | None
    heads: Mapping[str, tuple[str, ...]]
    spans: frozenset[str] = frozenset()
    neutral_band: tuple[float, float] | None = None
    floors: Mapping[str, float] = field(default_factory=dict)
    members: tuple[Member, ...] = ()


def predictions(about: About, rows: Sequence[Row | Refusal]) -> Predictions:
    """The answer for rows {head: probabilities in the order of its labels, or a list of entities}.

    Raises RefusedError, with the answer for the others, where rows are refusals.
    """
    reasons = {i: row.reason for i, row in enumerate(rows) if isinstance(row, Refusal)}
    answer = _predictions(about, [row for row in rows if not isinstance(row, Refusal)])
    if reasons:
        raise RefusedError(reasons, answer)
    return answer


def to_p(value: Any) -> float:
    """A number as it came; NaN for anything else."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def _predictions(about: About, rows: Sequence[dict[str, Any]]) -> Predictions:
    answer: Predictions = {}
    for head, labels in about.heads.items():
        if head in about.spans:
            answer[head] = [_spans(row[head]) for row in rows]
            continue
        given = np.array([row[head] for row in rows], np.float64).reshape(len(rows), len(labels))
        if head == "sentiment":
            sums = given.sum(axis=1, keepdims=True)
            # Rounded to two places, as many scorers give them, they do not quite sum to 1.
            given = np.where(np.abs(sums - 1) <= 0.05, given / np.where(sums > 0, sums, 1), given)
        answer[head] = given.astype(np.float32)
    for flag in (TRUNCATED, UNSCORED):
        if any(row.get(flag) for row in rows):
            answer[flag] = np.array([[float(bool(row.get(flag)))] for row in rows], np.float32)
    if about.members:
        answer[SCORED_BY] = np.array([row.get(SCORED_BY, 0) for row in rows], np.float32).reshape(-1, 1)
    return answer


def _spans(given: Sequence[Any]) -> list[Span]:
    """The entities of a text, with their places in it as it was sent; what has none is left out."""
    spans: list[Span] = []
    for one in given:
        if isinstance(one, dict) and isinstance(one.get("start"), int) and isinstance(one.get("end"), int):
            spans.append((one["start"], one["end"], str(one.get("label")), to_p(one.get("p"))))
    return spans
