"""What a model reaches on labelled texts, through the code that serves it."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from feltwire.errors import ConfigError, ModelError
from feltwire.interfaces import Model
from feltwire.lab.interfaces import Dataset
from feltwire.lab.metrics import Floats, Measures, measure
from feltwire.scoring import MAX_CHARS
from feltwire.text import clean

CHUNK_ROWS: Final = 512


def evaluate(model: Model, data: Dataset, head: str, told: Callable[[float], None] = lambda _: None) -> Measures:
    """The measures of one head. Raises ConfigError where the model has no such head, or lacks a class of the data."""
    return measure(data.labels, probabilities(model, data, head, told), data.names)


def probabilities(model: Model, data: Dataset, head: str, told: Callable[[float], None] = lambda _: None) -> Floats:
    """float64[rows, classes of the data]: what the model gives these classes.

    A label of the model that the data do not have is left out, and the others share its probability in proportion:
    of a model that knows `neutral`, on data of two classes, what it finds the more probable of the two. `told` gets
    the share that is done.
    """
    if head not in model.heads:
        there = ", ".join(model.heads) or "none"
        raise ConfigError(f"model {model.name} has no head {head!r}: it has {there}; choose one by --head")
    labels = model.heads[head]
    used = np.unique(data.labels)
    missing = [name for i, name in enumerate(data.names) if name not in labels and i in used]
    if missing:
        raise ConfigError(
            f"{data.name} has the label {missing[0]!r}, the head {head!r} of {model.name} has {', '.join(labels)}: "
            f"rename or leave out labels by --label-names"
        )
    given = predict(model, data.texts, head, told)
    columns = [labels.index(name) if name in labels else -1 for name in data.names]
    chosen: Floats = np.hstack([given, np.zeros((len(given), 1))])[:, columns]
    sums = chosen.sum(axis=1, keepdims=True)
    shares: Floats = np.where(sums > 0, chosen / np.maximum(sums, 1e-30), 1 / len(columns))
    return shares


def predict(model: Model, texts: Sequence[str], head: str, told: Callable[[float], None] = lambda _: None) -> Floats:
    """float64[rows, labels of the head]: texts as they were written, cleaned as the model asks."""
    parts: list[Floats] = [np.zeros((0, len(model.heads[head])))]
    for start in range(0, len(texts), CHUNK_ROWS):
        cleaned = clean(texts[start : start + CHUNK_ROWS], model.profile)
        given = model.predict([text[:MAX_CHARS] for text in cleaned])[head]
        if isinstance(given, list):
            raise ConfigError(f"the head {head!r} of {model.name} gives spans, which have no classes to measure")
        parts.append(given.astype(np.float64))
        told(min(1.0, (start + CHUNK_ROWS) / len(texts)))
    whole = np.concatenate(parts)
    if not np.isfinite(whole).all():
        raise ModelError(f"model {model.name} gave what is no probability for {int((~np.isfinite(whole)).sum())} texts")
    return whole
