"""How good probabilities are: the field's measures, and the temperature that calibrates them. NumPy alone."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]

BINS: Final = 15
MEASURES: Final = (
    "accuracy",
    "macro_precision",
    "macro_recall",
    "macro_f1",
    "roc_auc",
    "calibration_error",
)
"""The names of the single numbers in `Measures`."""
LESS_IS_BETTER: Final = frozenset({"calibration_error"})

_TINY: Final = 1e-30
_COLDEST: Final = 0.05  # the range in which a temperature is looked for
_HOTTEST: Final = 20.0


@dataclass(frozen=True, slots=True)
class OfClass:
    """What one class reached."""

    precision: float
    recall: float
    f1: float
    rows: int
    """Rows whose label it is."""


@dataclass(frozen=True, slots=True)
class Measures:
    """What a model reached on labelled texts. Means over classes are plain ones, over those that were said or meant."""

    rows: int
    accuracy: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    roc_auc: float | None
    """One class against the rest, the mean over classes; None where no class has rows of both kinds."""
    calibration_error: float
    """Expected calibration error of the most probable class, 15 bins of equal width."""
    classes: dict[str, OfClass]
    confusion: list[list[int]]
    """[label][answer]: rows."""

    def numbers(self) -> dict[str, float]:
        """The single numbers by name; one that does not exist is left out."""
        found = {name: getattr(self, name) for name in MEASURES}
        return {name: round(float(value), 6) for name, value in found.items() if value is not None}

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)


def measure(labels: npt.ArrayLike, p: npt.ArrayLike, names: Sequence[str]) -> Measures:
    """The measures of float[rows, classes] probabilities against int[rows] labels. Raises ValueError for no rows.

    The answer is the most probable class, the first of several. A share of nothing is 0, as scikit-learn has it.
    """
    truth, shares = np.asarray(labels, np.int64), np.asarray(p, np.float64)
    if not len(truth) or shares.shape != (len(truth), len(names)):
        raise ValueError(f"{len(truth)} labels and probabilities of shape {shares.shape} for {len(names)} classes")
    answers = shares.argmax(axis=1)
    width = len(names)
    confusion = np.bincount(truth * width + answers, minlength=width * width).reshape(width, width)
    right, meant, said = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    precision, recall = _share(right, said), _share(right, meant)
    f1 = _share(2 * right, said + meant)
    there = (meant + said) > 0
    return Measures(
        rows=len(truth),
        accuracy=float(right.sum() / len(truth)),
        macro_precision=float(precision[there].mean()),
        macro_recall=float(recall[there].mean()),
        macro_f1=float(f1[there].mean()),
        roc_auc=roc_auc(truth, shares),
        calibration_error=calibration_error(truth, shares),
        classes={
            name: OfClass(float(precision[i]), float(recall[i]), float(f1[i]), int(meant[i]))
            for i, name in enumerate(names)
        },
        confusion=confusion.tolist(),
    )


def _share(part: Ints, whole: Ints) -> Floats:
    shares: Floats = part / np.maximum(whole, 1)
    return shares


def roc_auc(labels: Ints, p: Floats) -> float | None:
    """The mean over classes of the area under the ROC curve of one class against the rest."""
    areas = []
    for i in range(p.shape[1]):
        meant = labels == i
        positives, negatives = int(meant.sum()), int((~meant).sum())
        if positives and negatives:
            ranks = _ranks(p[:, i])
            areas.append((ranks[meant].sum() - positives * (positives + 1) / 2) / (positives * negatives))
    return float(np.mean(areas)) if areas else None


def _ranks(values: Floats) -> Floats:
    """From 1 on; equal values share the mean of their ranks."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: Floats = (ends - (counts - 1) / 2)[places]
    return ranks


def roc_curve(meant: npt.NDArray[np.bool_], p: Floats) -> tuple[Floats, Floats]:
    """(false positive rates, true positive rates), from (0, 0) to (1, 1), a point for each distinct probability."""
    order = np.argsort(-p, kind="stable")
    hits = np.cumsum(meant[order])
    last = np.append(np.flatnonzero(np.diff(p[order])), len(p) - 1)
    true = np.concatenate([[0], hits[last]]) / max(int(hits[-1]), 1)
    false = np.concatenate([[0], last + 1 - hits[last]]) / max(len(p) - int(hits[-1]), 1)
    return false, true


def reliability(labels: Ints, p: Floats, bins: int = BINS) -> tuple[Floats, Floats, Ints]:
    """By bin of confidence, (0, 1/bins] and so on: (mean confidence, share that is right, rows); NaN in empty bins."""
    confidence = p.max(axis=1)
    right = p.argmax(axis=1) == labels
    places = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    rows = np.bincount(places, minlength=bins)
    with np.errstate(invalid="ignore"):
        sure = np.bincount(places, confidence, minlength=bins) / rows
        correct = np.bincount(places, right, minlength=bins) / rows
    return sure, correct, rows


def calibration_error(labels: Ints, p: Floats, bins: int = BINS) -> float:
    """Expected calibration error (Guo et al. 2017): the mean of |confidence - share right|, weighed by rows."""
    sure, correct, rows = reliability(labels, p, bins)
    gaps = np.abs(sure - correct)[rows > 0]
    return float((gaps * rows[rows > 0]).sum() / rows.sum())


def log_loss(labels: Ints, p: Floats) -> float:
    """The mean of -ln p(label)."""
    return float(-np.log(np.maximum(p[np.arange(len(labels)), labels], _TINY)).mean())


def heated(p: Floats, temperature: float) -> Floats:
    """Softmax probabilities as they would be with their logits divided by `temperature`."""
    logits = np.log(np.maximum(p, _TINY)) / temperature
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Floats = odds / odds.sum(axis=1, keepdims=True)
    return shares


def fit_temperature(labels: npt.ArrayLike, p: npt.ArrayLike) -> float:
    """The temperature (0.05 to 20) that makes softmax probabilities most probable: the least log loss.

    Guo et al. 2017, "On Calibration of Modern Neural Networks". That it is near 1 weighs as much as a text or two,
    so that a handful of texts that are all right does not make a model boundlessly sure. Found by the golden
    section. The most probable class stays the most probable.
    """
    truth, shares = np.asarray(labels, np.int64), np.asarray(p, np.float64)
    golden = (np.sqrt(5) - 1) / 2
    low, high = np.log(_COLDEST), np.log(_HOTTEST)

    def loss(at: float) -> float:
        return log_loss(truth, heated(shares, float(np.exp(at)))) + float(at) ** 2 / len(truth)

    left, right = high - golden * (high - low), low + golden * (high - low)
    of_left, of_right = loss(left), loss(right)
    while high - low > 1e-4:
        if of_left <= of_right:
            high, right, of_right = right, left, of_left
            left = high - golden * (high - low)
            of_left = loss(left)
        else:
            low, left, of_left = left, right, of_right
            right = low + golden * (high - low)
            of_right = loss(right)
    return round(float(np.exp((low + high) / 2)), 4)
