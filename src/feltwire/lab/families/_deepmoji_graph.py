"""The weights of a DeepMoji network, and its graph."""

from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from feltwire.lab.families._graph import Floats, Graph, weights_of

ATTENTION: Final = "attention"
"""The graph's second output, float[rows, tokens]: the share that each word has in what is classified."""

_GATES: Final = (0, 3, 1, 2)  # ONNX has i o f c where Keras has i f c o
_HARD: Final = {
    "activations": ["HardSigmoid", "Tanh", "Tanh"],
    "activation_alpha": [0.2, 1.0, 1.0],
    "activation_beta": [0.5, 0.0, 0.0],
}
_FAR: Final = np.float32(-1e9)
_LSTMS: Final = ("bi_lstm_0", "bi_lstm_1")


class Lstm(NamedTuple):
    """A bidirectional LSTM as Keras keeps it; the first direction reads forward, the gates are i, f, c, o."""

    kernel: Floats
    """[2, width, 4 * units]"""
    recurrence: Floats
    """[2, units, 4 * units]"""
    bias: Floats
    """[2, 4 * units]"""


class Weights(NamedTuple):
    """A network; `channels` are 4 * units + width."""

    embedding: Floats
    """[words, width]"""
    lstms: tuple[Lstm, Lstm]
    attention: Floats
    """[channels]"""
    kernel: Floats
    """[channels, classes]"""
    bias: Floats
    """[classes]"""


def write_graph(weights: Weights, path: Path, head: str) -> None:
    """Store the network: logits under the head's name, and `attention`."""
    graph = Graph()
    graph.lengths()
    vectors = graph.weight("embedding", weights.embedding)
    embedded = graph.add("Tanh", [graph.add("Gather", [vectors, "input_ids"], "gathered", axis=0)], "embedded")
    given = embedded = graph.add("Transpose", [embedded], "by_token", perm=[1, 0, 2])
    layers = []
    for name, lstm in zip(_LSTMS, weights.lstms, strict=True):
        given = graph.recurrent("LSTM", name, given, _to_onnx(lstm), **_HARD)
        layers.append(given)
    features = graph.add("Concat", [layers[1], layers[0], embedded], "features", axis=2)
    # Attention: a softmax over the words of each row, without the padding.
    scores = graph.add("MatMul", [features, graph.weight("attlayer", weights.attention[:, None])], "scores")
    scores = graph.add("Squeeze", [scores, graph.weight("last_axis", np.array([2], np.int64))], "flat_scores")
    scores = graph.add("Transpose", [scores], "row_scores", perm=[1, 0])
    absent = graph.add("Equal", ["attention_mask", graph.weight("zero", np.array(0, np.int64))], "absent")
    scores = graph.add("Where", [absent, graph.weight("far", np.array(_FAR)), scores], "masked_scores")
    shares = graph.add("Softmax", [scores], ATTENTION, axis=1)
    middle = graph.weight("middle_axis", np.array([1], np.int64))
    row = graph.add("Unsqueeze", [shares, middle], "share_row")
    pooled = graph.add("MatMul", [row, graph.add("Transpose", [features], "by_row", perm=[1, 0, 2])], "pooled_row")
    pooled = graph.add("Squeeze", [pooled, middle], "pooled")
    kernel, bias = graph.weight("softmax.kernel", weights.kernel), graph.weight("softmax.bias", weights.bias)
    graph.add("Gemm", [pooled, kernel, bias], head)
    graph.write(path, {head: ["rows", len(weights.bias)], ATTENTION: ["rows", "tokens"]})


def read_graph(folder: Path) -> Weights:
    """The weights in a bundle's graph; raises KeyError for the graph of another network."""
    found = weights_of(folder)
    first, second = (
        _from_onnx(Lstm(*(np.concatenate([found[f"{name}.{way}.{part}"] for way in range(2)]) for part in "wrb")))
        for name in _LSTMS
    )
    return Weights(
        found["embedding"], (first, second), found["attlayer"][:, 0], found["softmax.kernel"], found["softmax.bias"]
    )


def _to_onnx(lstm: Lstm) -> tuple[Floats, Floats, Floats]:
    kernel, recurrence = (_moved(array, _GATES, 2).transpose(0, 2, 1) for array in (lstm.kernel, lstm.recurrence))
    bias = _moved(lstm.bias, _GATES, 1)
    return kernel, recurrence, np.concatenate([bias, np.zeros_like(bias)], axis=1)


def _from_onnx(given: Lstm) -> Lstm:
    back = tuple(int(place) for place in np.argsort(_GATES))
    kernel, recurrence = (_moved(array.transpose(0, 2, 1), back, 2) for array in (given.kernel, given.recurrence))
    return Lstm(kernel, recurrence, _moved(given.bias[:, : given.bias.shape[1] // 2], back, 1))


def _moved(array: Floats, order: tuple[int, ...], axis: int) -> Floats:
    parts = np.split(array, 4, axis=axis)
    return np.concatenate([parts[gate] for gate in order], axis=axis)
