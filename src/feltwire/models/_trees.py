"""The runtime of bundles of format `trees`: decision trees over counted terms. NumPy and JSON, nothing else.

`weights.safetensors` holds, of every head, the nodes of all its trees: `<output>.feature` int64[nodes] (the number of
a term or bucket; -1: a leaf), `<output>.threshold` float32[nodes] (a count of at most so much goes to the first
child), `<output>.children` int64[nodes, 2], `<output>.value` float32[nodes, labels] (a leaf's probabilities) and
`<output>.roots` int64[trees]. The head's probabilities are the mean over its trees.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from feltwire.columns import TRUNCATED
from feltwire.errors import ModelError
from feltwire.interfaces import Predictions
from feltwire.models._bundle import TERMS, WEIGHTS, Described, Manifest
from feltwire.models._linear import CHUNK_ROWS
from feltwire.models._onnx import _probabilities
from feltwire.models._safetensors import Tensors, read_tensors
from feltwire.models._terms import Counter, Floats, Ints, Rows, read_terms

FEATURE: Final = ".feature"
THRESHOLD: Final = ".threshold"
CHILDREN: Final = ".children"
VALUE: Final = ".value"
ROOTS: Final = ".roots"
LEAF: Final = -1
_LEAST: Final = 1e-12  # a probability of 0 has no logarithm


class Forest(NamedTuple):
    """The trees of a head, see above. A child's number is larger than its parent's, so that every way ends."""

    feature: Ints
    threshold: Floats
    children: Ints
    value: Floats
    roots: Ints

    def tensors(self, output: str) -> Tensors:
        """As they lie in the file."""
        return dict(zip((output + name for name in _NAMES), self, strict=True))


_NAMES: Final = (FEATURE, THRESHOLD, CHILDREN, VALUE, ROOTS)


class TreesModel(Described):
    """A loaded bundle. A row's probabilities do not depend on the rows beside it."""

    def __init__(self, folder: Path, manifest: Manifest, *, threads: int) -> None:
        """Raises ModelError when the bundle cannot be used. It runs in one thread, whatever `threads` says."""
        super().__init__(manifest)
        terms, tensors = read_terms(folder / TERMS), read_tensors(folder / WEIGHTS)
        self._counter = Counter(terms, manifest.max_tokens)
        self._width = terms.width
        where = f"bundle {folder}: {WEIGHTS}"
        self._forests: dict[str, Forest] = {}
        for name, head in manifest.heads.items():
            if head.kind != "classes":
                raise ModelError(f"bundle {folder}: head {name!r}: trees give classes, not {head.kind}")
            self._forests[name] = _forest(where, tensors, head.output or name, len(head.labels), self._width)
        if tensors:
            raise ModelError(f"{where} has a tensor {min(tensors)!r} that belongs to no head")

    def predict(self, texts: Sequence[str]) -> Predictions:
        """Probabilities for every head; `truncated` is 1 where a text has more tokens than the bundle allows."""
        truncated = np.zeros((len(texts), 1), np.float32)
        logits = {name: np.zeros((len(texts), len(head.labels))) for name, head in self.manifest.heads.items()}
        for start in range(0, len(texts), CHUNK_ROWS):
            stop = start + CHUNK_ROWS
            rows, cut = self._counter.count(texts[start:stop])
            truncated[start:stop, 0] = cut
            for name, forest in self._forests.items():
                logits[name][start:stop] = np.log(np.maximum(probabilities(forest, rows, self._width), _LEAST))
        answer: Predictions = {TRUNCATED: truncated}
        for name, head in self.manifest.heads.items():
            answer[name] = _probabilities(logits[name].astype(np.float32), head)
        return answer


def probabilities(forest: Forest, rows: Rows, width: int) -> Floats:
    """float64[rows, labels]: the mean over the trees of the leaves that the counts lead to."""
    many = len(rows.starts) - 1
    keys = rows.of * width + rows.ids  # ascending
    values = np.append(rows.values, 0.0)  # what is not there has the place behind all others
    nodes = np.broadcast_to(forest.roots, (many, len(forest.roots))).copy()
    below = np.broadcast_to(np.arange(many)[:, None] * width, nodes.shape)
    while (inner := forest.feature[nodes] != LEAF).any():
        at = nodes[inner]
        wanted = below[inner] + forest.feature[at]
        places = np.searchsorted(keys, wanted)
        there = np.append(keys, -1)[places] == wanted
        counts = values[np.where(there, places, len(keys))]
        nodes[inner] = forest.children[at, (counts > forest.threshold[at]).astype(np.int64)]
    mean: Floats = forest.value[nodes].mean(axis=1)
    return mean


def _forest(where: str, tensors: Tensors, output: str, labels: int, width: int) -> Forest:
    """A head's trees out of the tensors, which lose them; raises ModelError for what is no such thing."""
    for name in _NAMES:
        if output + name not in tensors:
            raise ModelError(f"{where} has no tensor {output + name!r}, only {', '.join(sorted(tensors)) or 'none'}")
    found = Forest(*(tensors.pop(output + name) for name in _NAMES))
    nodes = len(found.feature)
    shapes = ((nodes,), (nodes,), (nodes, 2), (nodes, labels), (len(found.roots),))
    for name, tensor, shape, kind in zip(_NAMES, found, shapes, "ififi", strict=True):
        if tensor.shape != shape or tensor.dtype.kind != kind or not np.isfinite(tensor).all():
            raise ModelError(
                f"{where}: {output + name!r} has the shape {tensor.shape} or a type where {shape} was expected: "
                "the labels do not belong to these trees"
            )
    inner = found.feature != LEAF
    ahead = found.children[inner] > np.flatnonzero(inner)[:, None]
    if (
        not len(found.roots)
        or not ahead.all()
        or (found.children[inner] >= nodes).any()
        or ((found.roots < 0) | (found.roots >= nodes)).any()
        or ((found.feature < LEAF) | (found.feature >= width)).any()
        or np.abs(found.value[~inner].sum(axis=1) - 1).max(initial=0) > 1e-3
        or (found.value < 0).any()
    ):
        raise ModelError(f"{where}: the nodes of {output!r} are no trees over {width} features")
    return found._replace(threshold=found.threshold.astype(np.float64), value=found.value.astype(np.float64))
