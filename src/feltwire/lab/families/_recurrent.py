"""The recurrent networks in torch, and as a graph."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from feltwire import text
from feltwire.lab.families._graph import Floats, Graph
from feltwire.lab.families._options import RecurrentOptions
from feltwire.lab.families._training import Rows, Settings, Stage, key, reproducible
from feltwire.lab.families._training import train as train_network
from feltwire.lab.families._vocabulary import most_frequent
from feltwire.lab.interfaces import Dataset, Fitted, Run
from feltwire.models._bundle import GRAPH, TOKENIZER
from feltwire.models._words import WordTokenizer

# Where ONNX has the gates that torch has in the order r z n and i f g o.
_GATES: Final = {"gru": (1, 0, 2), "lstm": (0, 3, 1, 2)}


class Network(nn.Module):
    """Embedding, bidirectional layers, one layer forward, a linear map of its last state."""

    def __init__(self, size: int, classes: int, options: RecurrentOptions) -> None:
        super().__init__()
        kind = nn.GRU if options.cell == "gru" else nn.LSTM
        self.embedding = nn.Embedding(size, options.embedding, padding_idx=0)
        widths = [options.embedding, *(2 * units for units in options.layers)]
        self.layers = nn.ModuleList(
            kind(width, units, batch_first=True, bidirectional=True)
            for width, units in zip(widths, options.layers, strict=False)
        )
        self.last = kind(widths[-1], options.last, batch_first=True)
        self.head = nn.Linear(options.last, classes)
        self.dropout = nn.Dropout(options.dropout)

    def forward(self, ids: Any, mask: Any) -> Any:
        """float[rows, classes]: logits."""
        given = self.dropout(self.embedding(ids))
        packed = pack_padded_sequence(given, mask.sum(1).cpu(), batch_first=True, enforce_sorted=False)
        for layer in self.layers:
            packed = self._dropped(layer(packed)[0])
        _, state = self.last(packed)
        last = state[0] if isinstance(state, tuple) else state
        return self.head(self.dropout(last[-1]))

    def _dropped(self, packed: Any) -> Any:
        return PackedSequence(self.dropout(packed.data), *packed[1:])


def fit(train: Dataset, validation: Dataset, options: RecurrentOptions, run: Run) -> Fitted:
    """See `lab.interfaces.Family`."""
    run.progress("counting words", 0.0, {})
    cleaned = text.clean(train.texts, run.profile)
    counting = WordTokenizer((), split="words", oov_buckets=1, max_tokens=options.max_tokens)
    words = most_frequent((map(counting.form, counting.split(one)) for one in cleaned), options.words)
    tokenizer = WordTokenizer(words, split="words", oov_buckets=options.oov_buckets, max_tokens=options.max_tokens)
    rows = numbered(tokenizer, cleaned, train)
    known = numbered(tokenizer, text.clean(validation.texts, run.profile), validation)
    with reproducible(run) as device:
        net = Network(tokenizer.size, len(train.names), options).to(device)
        curve = train_network(
            net,
            rows,
            known,
            stages=[Stage("all layers", options.learning_rate, options.epochs, options.patience)],
            settings=Settings(options.batch, options.weight_decay, options.clip, options.bf16),
            run=run,
            agreed=key("recurrent", options, train, validation, run),
        )
    export(net, options.cell, run.bundle / GRAPH, run.head)
    tokenizer.write(run.bundle / TOKENIZER)
    return Fitted(
        "onnx", options.max_tokens, curve, note=f"{len(words)} words and {options.oov_buckets} buckets for all others."
    )


def numbered(tokenizer: WordTokenizer, cleaned: list[str], data: Dataset) -> Rows:
    """Cleaned texts as the serving code numbers them."""
    return Rows([one.ids for one in tokenizer.encode_batch(cleaned)], data.labels, 0)


def export(net: Network, cell: str, path: Any, head: str) -> None:
    """The network as an ONNX graph."""
    graph = Graph()
    graph.lengths()
    vectors = graph.weight("embedding", _array(net.embedding.weight))
    given = graph.add("Gather", [vectors, "input_ids"], "embedded", axis=0)
    given = graph.add("Transpose", [given], "by_token", perm=[1, 0, 2])
    attributes = {"linear_before_reset": 1} if cell == "gru" else {}
    for number, layer in enumerate([*net.layers, net.last]):
        given = graph.recurrent(cell.upper(), f"layer_{number}", given, _weights(layer, cell), **attributes)
    state = graph.last(given, "state")
    matrix = graph.weight("head.weight", _array(net.head.weight).T)
    graph.add("Gemm", [state, matrix, graph.weight("head.bias", _array(net.head.bias))], head)
    graph.write(path, {head: ["rows", net.head.out_features]})


def _weights(layer: Any, cell: str) -> tuple[Floats, Floats, Floats]:
    """A torch layer's weights in ONNX's form: [directions, gates * units, …]."""
    endings = ("", "_reverse") if layer.bidirectional else ("",)
    order = _GATES[cell]

    def gates(name: str) -> Floats:
        return np.stack([_moved(_array(getattr(layer, name + ending)), order) for ending in endings])

    bias = np.concatenate([gates("bias_ih_l0"), gates("bias_hh_l0")], axis=1)
    return gates("weight_ih_l0"), gates("weight_hh_l0"), bias


def _moved(array: Floats, order: tuple[int, ...]) -> Floats:
    parts = np.split(array, len(order))
    return np.concatenate([parts[gate] for gate in order])


def _array(tensor: Any) -> npt.NDArray[np.float32]:
    found: npt.NDArray[np.float32] = tensor.detach().cpu().to(torch.float32).numpy()
    return found
