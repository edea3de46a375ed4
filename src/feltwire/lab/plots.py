"""Pictures for model cards and leaderboards: PNG files drawn by Matplotlib, without a display."""

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from feltwire.errors import MissingExtraError
from feltwire.lab.interfaces import Point
from feltwire.lab.metrics import BINS, Floats, Ints, Measures, reliability, roc_auc, roc_curve
from feltwire.text import clean

DPI: Final = 110
MOST_CURVES: Final = 12  # of classes in one picture of ROC curves: the most frequent
MOST_NUMBERS: Final = 20  # of classes whose confusion matrix has its numbers written in
_INK: Final = "#1f2933"
_MAIN: Final = "#2563eb"
_SECOND: Final = "#d97706"
_LINES: Final = ("#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#0891b2", "#be185d", "#65a30d", "#475569")


class Place(NamedTuple):
    """A line of a leaderboard's picture."""

    name: str
    rate: float | None  # posts a second on one core; None: not measured
    score: float


def shown(label: str) -> str:
    """A label as any font has it: emoji as their names, other signs that it may lack as they are called."""
    (words,) = clean([label], "social")
    plain = "".join(char if ord(char) < 0x250 else f"<{unicodedata.name(char, 'sign').lower()}>" for char in words)
    text = plain or label.encode("ascii", "replace").decode()
    return (text if len(text) <= 28 else text[:27] + "…").replace("$", r"\$")


def confusion(path: Path, measures: Measures, names: Sequence[str]) -> None:
    """The confusion matrix, each row in shares of its label's rows."""
    counts = np.array(measures.confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = min(16.0, 3.0 + 0.45 * len(names))
    figure, axes = _figure(size + 1, size)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ticks = range(len(names))
    axes.set_xticks(ticks, [shown(name) for name in names], rotation=45, ha="right")
    axes.set_yticks(ticks, [shown(name) for name in names])
    if len(names) <= MOST_NUMBERS:
        for i in ticks:
            for j in ticks:
                colour = "white" if shares[i, j] > 0.5 else _INK
                axes.text(j, i, f"{counts[i, j]:,}", ha="center", va="center", color=colour, fontsize=8)
    axes.set_xlabel("answer")
    axes.set_ylabel("label")
    axes.set_title("Confusion matrix")
    _save(figure, path)


def roc(path: Path, labels: Ints, p: Floats, names: Sequence[str]) -> None:
    """ROC curves, each class against the rest."""
    figure, axes = _figure(6, 5)
    rows = np.bincount(labels, minlength=len(names))
    drawn = [i for i in np.argsort(-rows, kind="stable")[:MOST_CURVES] if 0 < rows[i] < len(labels)]
    for number, i in enumerate(drawn):
        meant = labels == i
        false, true = roc_curve(meant, p[:, i])
        area = roc_auc(meant.astype(np.int64), np.stack([-p[:, i], p[:, i]], axis=1))
        style = "-" if number < len(_LINES) else "--"
        axes.plot(
            false, true, style, color=_LINES[number % len(_LINES)], lw=1.5, label=f"{shown(names[i])} ({area:.3f})"
        )
    axes.plot([0, 1], [0, 1], ":", color="#9aa5b1", lw=1)
    axes.set_xlabel("false positive rate")
    axes.set_ylabel("true positive rate")
    axes.set_title("ROC, one class against the rest (area)")
    if drawn:
        axes.legend(fontsize=8, loc="lower right")
    _save(figure, path)


def calibration(path: Path, labels: Ints, p: Floats) -> None:
    """How often the most probable class is right, by how sure the model is of it."""
    sure, correct, rows = reliability(labels, p)
    figure, axes = _figure(5.5, 5)
    there = rows > 0
    axes.bar((np.arange(BINS)[there] + 0.5) / BINS, correct[there], width=0.9 / BINS, color=_MAIN, alpha=0.8)
    axes.plot(sure[there], correct[there], "o", color=_SECOND, ms=4, label="mean confidence of the bin")
    axes.plot([0, 1], [0, 1], ":", color="#9aa5b1", lw=1)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("probability of the answer")
    axes.set_ylabel("share that is right")
    axes.set_title("Calibration")
    axes.legend(fontsize=8, loc="upper left")
    _save(figure, path)


def curve(path: Path, points: Sequence[Point]) -> None:
    """The learning curve: loss on training texts, and the score on the validation set."""
    figure, axes = _figure(6.5, 4.5)
    steps = [point.step for point in points]
    marker = "o" if len(points) <= 30 else ""
    axes.plot(steps, [point.train_loss for point in points], color=_MAIN, marker=marker, ms=4, label="training loss")
    axes.set_xlabel("texts seen")
    axes.set_ylabel("training loss", color=_MAIN)
    scored = [(point.step, point.score) for point in points if point.score is not None]
    if scored:
        right = axes.twinx()
        right.plot(*zip(*scored, strict=True), color=_SECOND, marker="o", ms=4, label="score on validation")
        right.set_ylabel("score on validation", color=_SECOND)
    axes.set_title("Learning curve")
    _save(figure, path)


def leaderboard(path: Path, boards: Sequence[tuple[str, str, Sequence[Place]]]) -> None:
    """A panel a task, (task, measure, its places): who reaches what, and beside it the posts a second on one core."""
    columns = 2 if len(boards) > 1 else 1
    rows = -(-len(boards) // columns)
    most = max((len(places) for _, _, places in boards), default=1)
    figure, _ = _figure(7.5 * columns, (1.6 + 0.26 * most) * rows, empty=True)
    for number, (task, measure, places) in enumerate(boards, start=1):
        axes = figure.add_subplot(rows, columns, number)
        lines = np.arange(len(places))
        scores = [place.score for place in places]
        axes.plot(scores, lines, "o", color=_MAIN, ms=6)
        for line, place in zip(lines, places, strict=True):
            rate = "" if place.rate is None else f", {place.rate:,.0f} posts/s"
            axes.annotate(
                f"{place.score:.3f}{rate}",
                (place.score, line),
                textcoords="offset points",
                xytext=(8, 0),
                va="center",
                fontsize=8,
            )
        if places:
            axes.set_xlim(max(0.0, min(scores) - 0.05), min(1.0, max(scores)) + 0.08)
        axes.set_yticks(lines, [shown(place.name) for place in places], fontsize=8)
        axes.invert_yaxis()
        axes.set_xlabel(measure.replace("_", " "))
        axes.set_title(task)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    _save(figure, path)


def _figure(width: float, height: float, *, empty: bool = False) -> tuple[Any, Any]:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"plots need the library {error.name!r}: pip install 'feltwire[train]'") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, None if empty else figure.subplots()


def _save(figure: Any, path: Path) -> None:
    # No name of the software: the same picture is the same file.
    figure.savefig(path, dpi=DPI, metadata={"Software": None})
