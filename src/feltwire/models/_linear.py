"""The runtime of bundles of format `linear`: weighted n-grams times a matrix. NumPy and JSON, nothing else.

`weights.safetensors` holds, of every head, `<output>.weight` float32[features, labels] and `<output>.bias`
float32[labels]; and if the model has them `idf` float32[features] and `chosen` int64[features], the ascending
numbers of those terms (or buckets) that are features, where not all are.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from feltwire.columns import TRUNCATED
from feltwire.errors import ModelError
from feltwire.interfaces import Predictions
from feltwire.models._bundle import TERMS, WEIGHTS, Described, Manifest
from feltwire.models._onnx import _probabilities
from feltwire.models._safetensors import Tensors, read_tensors
from feltwire.models._terms import Counter, Floats, Ints, Rows, Terms, read_terms

CHUNK_ROWS: Final = 1_024  # as many texts are counted at once: it bounds memory
IDF: Final = "idf"
CHOSEN: Final = "chosen"
WEIGHT: Final = ".weight"
BIAS: Final = ".bias"


class LinearModel(Described):
    """A loaded bundle. A row's probabilities do not depend on the rows beside it."""

    def __init__(self, folder: Path, manifest: Manifest, *, threads: int) -> None:
        """Raises ModelError when the bundle cannot be used. It runs in one thread, whatever `threads` says."""
        super().__init__(manifest)
        terms, tensors = read_terms(folder / TERMS), read_tensors(folder / WEIGHTS)
        check_tensors(folder, manifest, terms, tensors)
        self._terms = terms
        self._counter = Counter(terms, manifest.max_tokens)
        self._chosen: Ints | None = tensors.get(CHOSEN)
        self._idf: Floats | None = tensors[IDF].astype(np.float64) if IDF in tensors else None
        outputs = [head.output or name for name, head in manifest.heads.items()]
        # All heads side by side: one pass over the terms serves them all.
        self._weight: Floats = np.hstack([tensors[output + WEIGHT] for output in outputs]).astype(np.float64)
        self._bias: Floats = np.concatenate([tensors[output + BIAS] for output in outputs]).astype(np.float64)

    def predict(self, texts: Sequence[str]) -> Predictions:
        """Probabilities for every head; `truncated` is 1 where a text has more tokens than the bundle allows."""
        logits = np.zeros((len(texts), len(self._bias)))
        truncated = np.zeros((len(texts), 1), np.float32)
        for start in range(0, len(texts), CHUNK_ROWS):
            stop = start + CHUNK_ROWS
            rows, cut = self._counter.count(texts[start:stop])
            logits[start:stop] = self._logits(rows)
            truncated[start:stop, 0] = cut
        answer: Predictions = {TRUNCATED: truncated}
        first = 0
        for name, head in self.manifest.heads.items():
            given = logits[:, first : first + len(head.labels)]
            answer[name] = _probabilities(given.astype(np.float32), head)
            first += len(head.labels)
        return answer

    def _logits(self, counts: Rows) -> Floats:
        if self._chosen is not None:
            counts = counts.chosen(self._chosen)
        rows = counts.weighed(self._idf, sublinear=self._terms.sublinear, norm=self._terms.norm == "l2")
        return self._bias + times(rows, self._weight)


def times(rows: Rows, matrix: Floats) -> Floats:
    """float64[rows, columns]: the sparse rows times a matrix of float64[features, columns]."""
    answer = np.zeros((len(rows.starts) - 1, matrix.shape[1]))
    filled = np.flatnonzero(np.diff(rows.starts))  # reduceat would give an empty row its neighbour's number
    if len(filled):
        answer[filled] = np.add.reduceat(matrix[rows.ids] * rows.values[:, None], rows.starts[filled], axis=0)
    return answer


def check_tensors(folder: Path, manifest: Manifest, terms: Terms, tensors: Tensors) -> None:
    """Every tensor is there, is finite, and has the shape that terms and labels ask for. Raises ModelError."""
    where = f"bundle {folder}: {WEIGHTS}"
    width = terms.width
    if CHOSEN in tensors:
        chosen = tensors[CHOSEN]
        if (
            chosen.ndim != 1
            or chosen.dtype.kind != "i"
            or (np.diff(chosen, prepend=-1) <= 0).any()
            or (chosen >= width).any()
        ):
            raise ModelError(f"{where}: {CHOSEN!r} must be ascending numbers below {width}")
        width = len(chosen)
    expected: dict[str, tuple[int, ...]] = {IDF: (width,)} if IDF in tensors else {}
    for name, head in manifest.heads.items():
        if head.kind == "spans":
            raise ModelError(f"bundle {folder}: head {name!r}: a linear model cannot have spans")
        output = head.output or name
        expected |= {output + WEIGHT: (width, len(head.labels)), output + BIAS: (len(head.labels),)}
    unknown = sorted(set(tensors) - set(expected) - {CHOSEN})
    if unknown:
        raise ModelError(f"{where} has a tensor {unknown[0]!r} that belongs to no head")
    for key, shape in expected.items():
        if key not in tensors:
            raise ModelError(f"{where} has no tensor {key!r}, only {', '.join(sorted(tensors)) or 'none'}")
        if tensors[key].shape != shape or tensors[key].dtype.kind != "f":
            raise ModelError(
                f"{where}: {key!r} has the shape {tensors[key].shape} where {shape} was expected: "
                "the labels or terms do not belong to these weights"
            )
        if not np.isfinite(tensors[key]).all():
            raise ModelError(f"{where}: {key!r} holds what is no number")
