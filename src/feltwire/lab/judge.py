"""How good a model of many heads is: every head on every set that was kept back for it, through the served bundle."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from feltwire.interfaces import Model, Span
from feltwire.lab.examples import Example
from feltwire.lab.metrics import fit_temperature, measure
from feltwire.models._bundle import OUTSIDE

_CHUNK: Final = 2_048
Floats = npt.NDArray[np.float64]


def answers(model: Model, examples: Sequence[Example], head: str) -> Any:
    """The head's probabilities (or spans) of the examples, whose texts are cleaned already."""
    parts = [
        model.predict([example.text for example in examples[start : start + _CHUNK]])[head]
        for start in range(0, len(examples), _CHUNK)
    ]
    if isinstance(parts[0], list):
        return [row for part in parts for row in part]
    return np.concatenate(parts)


def labels_of(examples: Sequence[Example], head: str, names: Sequence[str]) -> tuple[npt.NDArray[np.int64], list[str]]:
    """(the label of each example, by number; the labels that occur): the first of several that are equally right."""
    most = [max(example.shares[head].items(), key=lambda pair: pair[1])[0] for example in examples]
    there = [name for name in names if name in set(most)]
    return np.array([there.index(name) for name in most]), there


def judge(model: Model, validation: Mapping[str, Sequence[Example]]) -> dict[str, dict[str, float]]:
    """{`set:head`: {measure: value}}.

    Classes that a set does not know (emoji), or does not decide about (neutral), are left out of its answers.
    """
    found: dict[str, dict[str, float]] = {}
    for key, examples in validation.items():
        head = key.rpartition(":")[2]
        if head not in model.heads or not examples:
            continue
        given = answers(model, examples, head)
        if isinstance(given, list):
            found[key] = span_scores([example.tags[head] for example in examples], given)
            continue
        names = model.heads[head]
        labels, there = labels_of(examples, head, names)
        shares = given[:, [names.index(name) for name in there]].astype(np.float64)
        shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1e-12)
        measures = measure(labels, shares, there)
        found[key] = measures.numbers() | (
            {f"f1_{name}": round(one.f1, 6) for name, one in measures.classes.items()} if len(there) <= 4 else {}
        )
    return found


def temperature(given: Any, examples: Sequence[Example], head: str, names: Sequence[str]) -> float:
    """The temperature that makes the probabilities of these examples the most likely."""
    labels, there = labels_of(examples, head, names)
    shares = given[:, [names.index(name) for name in there]].astype(np.float64)
    return float(fit_temperature(labels, shares / np.maximum(shares.sum(axis=1, keepdims=True), 1e-12)))


def span_scores(tags: Sequence[Sequence[tuple[int, int, str]]], spans: Sequence[Sequence[Span]]) -> dict[str, float]:
    """Precision, recall and F1 of entities: right is one whose place and label are."""
    right = said = meant = 0
    for true, given in zip(tags, spans, strict=True):
        wanted = set(_entities(true))
        answered = {(start, end, label) for start, end, label, _ in given}
        right, said, meant = right + len(wanted & answered), said + len(answered), meant + len(wanted)
    precision, recall = right / max(1, said), right / max(1, meant)
    f1 = 2 * precision * recall / max(1e-12, precision + recall)
    return {"precision": round(precision, 6), "recall": round(recall, 6), "f1": round(f1, 6)}


def _entities(tags: Sequence[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    found: list[tuple[int, int, str]] = []
    inside = ""
    for start, end, tag in tags:
        if tag == OUTSIDE:
            inside = ""
        elif tag.startswith("I-") and inside == tag[2:]:
            found[-1] = (found[-1][0], end, inside)
        else:
            inside = tag[2:]
            found.append((start, end, inside))
    return found
