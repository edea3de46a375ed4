"""The DeepMoji network in torch, and its training."""

from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch import nn

from feltwire import text
from feltwire.deepmoji import SPECIAL
from feltwire.errors import ConfigError
from feltwire.lab.families._deepmoji_graph import Lstm, Weights, read_graph, write_graph
from feltwire.lab.families._options import DeepMojiOptions
from feltwire.lab.families._training import Rows, Settings, Stage, key, reproducible
from feltwire.lab.families._training import train as train_network
from feltwire.lab.families._vocabulary import most_frequent
from feltwire.lab.interfaces import Dataset, Fitted, Run
from feltwire.models._bundle import GRAPH, TOKENIZER, read_manifest
from feltwire.models._words import WordTokenizer, is_words

LAYERS: Final = ("embedding", "bi_lstm_0", "bi_lstm_1", "attlayer", "softmax")
_NEAR_ZERO: Final = 0.05  # Keras's `uniform`


class BiLstm(nn.Module):
    """Keras's bidirectional LSTM with hard sigmoids. Each direction reads a row's own words and no padding."""

    def __init__(self, width: int, units: int) -> None:
        super().__init__()
        self.units = units
        self.kernel = nn.Parameter(torch.empty(2, width, 4 * units))
        self.recurrence = nn.Parameter(torch.empty(2, units, 4 * units))
        self.bias = nn.Parameter(torch.zeros(2, 4 * units))
        for direction in range(2):
            nn.init.xavier_uniform_(self.kernel[direction])
            nn.init.orthogonal_(self.recurrence[direction])
        with torch.no_grad():
            self.bias[:, units : 2 * units] = 1  # what a cell holds stays, to begin with

    def forward(self, given: Any, backwards: Any) -> Any:
        """float[rows, tokens, 2 * units]; `backwards` is int64[rows, tokens], the order of the second direction."""
        rows, tokens, width = given.shape
        both = torch.stack([given, _ordered(given, backwards)]).view(2, rows * tokens, width)
        gates = torch.baddbmm(self.bias[:, None], both, self.kernel).view(2, rows, tokens, 4 * self.units)
        state = gates.new_zeros(2, rows, self.units)
        cell = state
        states = []
        for token in range(tokens):
            gate = gates[:, :, token] + torch.bmm(state, self.recurrence)
            enter, stay, new, leave = gate.split(self.units, dim=2)
            cell = _hard_sigmoid(stay) * cell + _hard_sigmoid(enter) * torch.tanh(new)
            state = _hard_sigmoid(leave) * torch.tanh(cell)
            states.append(state)
        forward, backward = torch.stack(states, dim=2)
        return torch.cat([forward, _ordered(backward, backwards)], dim=2)


class Network(nn.Module):
    """The network; `forward` gives logits, `attend` the attention too."""

    def __init__(self, size: int, classes: int, *, width: int, units: int, dropouts: tuple[float, float]) -> None:
        super().__init__()
        channels = 4 * units + width
        self.embedding = nn.Embedding(size, width)
        self.bi_lstm_0 = BiLstm(width, units)
        self.bi_lstm_1 = BiLstm(2 * units, units)
        self.attlayer = nn.Parameter(torch.empty(channels))
        self.softmax = nn.Linear(channels, classes)
        self.of_channels = nn.Dropout1d(dropouts[0])
        self.dropout = nn.Dropout(dropouts[1])
        nn.init.uniform_(self.embedding.weight, -_NEAR_ZERO, _NEAR_ZERO)
        nn.init.uniform_(self.attlayer, -_NEAR_ZERO, _NEAR_ZERO)
        nn.init.xavier_uniform_(self.softmax.weight)
        nn.init.zeros_(self.softmax.bias)

    def forward(self, ids: Any, mask: Any) -> Any:
        """float[rows, classes]: logits."""
        return self.attend(ids, mask)[0]

    def attend(self, ids: Any, mask: Any) -> tuple[Any, Any]:
        """The logits, and float[rows, tokens]: the share of each word."""
        places = torch.arange(ids.shape[1], device=ids.device)
        last = mask.sum(1, keepdim=True) - 1
        backwards = torch.where(places <= last, last - places, places)
        embedded = torch.tanh(self.embedding(ids))
        embedded = self.of_channels(embedded.transpose(1, 2)).transpose(1, 2)
        first = self.bi_lstm_0(embedded, backwards)
        second = self.bi_lstm_1(first, backwards)
        features = torch.cat([second, first, embedded], dim=2)
        scores = (features @ self.attlayer).float().masked_fill(mask == 0, -1e9)
        shares = torch.softmax(scores, dim=1)
        pooled = torch.einsum("rt,rtc->rc", shares, features.float())
        return self.softmax(self.dropout(pooled)), shares

    def weights(self) -> Weights:
        """As arrays."""
        first, second = (
            Lstm(*(_array(one) for one in (lstm.kernel, lstm.recurrence, lstm.bias)))
            for lstm in (self.bi_lstm_0, self.bi_lstm_1)
        )
        return Weights(
            _array(self.embedding.weight),
            (first, second),
            _array(self.attlayer),
            np.ascontiguousarray(_array(self.softmax.weight).T),
            _array(self.softmax.bias),
        )

    def take(self, weights: Weights) -> None:
        """Begin with these weights, all but the softmax; words beyond theirs keep what they have."""
        with torch.no_grad():
            self.embedding.weight[: len(weights.embedding)] = torch.from_numpy(weights.embedding.copy())
            for lstm, given in zip((self.bi_lstm_0, self.bi_lstm_1), weights.lstms, strict=True):
                for parameter, array in zip((lstm.kernel, lstm.recurrence, lstm.bias), given, strict=True):
                    parameter.copy_(torch.from_numpy(array.copy()))
            self.attlayer.copy_(torch.from_numpy(weights.attention.copy()))


class _Start(NamedTuple):
    """What a checkpoint brings."""

    tokenizer: WordTokenizer
    weights: Weights
    licence: str


def fit(train: Dataset, validation: Dataset, options: DeepMojiOptions, run: Run) -> Fitted:
    """See `lab.interfaces.Family`."""
    start = _start(options, run)
    run.progress("counting words", 0.0, {})
    cleaned = text.clean(train.texts, run.profile)
    tokenizer = _tokenizer(cleaned, options, run, start)
    rows = _rows(tokenizer, cleaned, train)
    known = _rows(tokenizer, text.clean(validation.texts, run.profile), validation)
    with reproducible(run) as device:
        width, units = (options.embedding, options.units) if start is None else _sizes(start.weights)
        net = Network(
            tokenizer.size,
            len(train.names),
            width=width,
            units=units,
            dropouts=(options.embedding_dropout, options.dropout),
        )
        if start is not None:
            net.take(start.weights)
        curve = train_network(
            net.to(device),
            rows,
            known,
            stages=stages(options, begun=start is not None),
            settings=Settings(options.batch, options.weight_decay, options.clip, options.bf16),
            run=run,
            agreed=key("deepmoji", options, train, validation, run),
        )
    write_graph(net.weights(), run.bundle / GRAPH, run.head)
    tokenizer.write(run.bundle / TOKENIZER)
    began = f"started from {Path(options.checkpoint).name}" if start else "started from random weights"
    return Fitted(
        "onnx",
        options.max_tokens,
        curve,
        licence=start.licence if start else "",
        note=f"The DeepMoji network, {tokenizer.size} words, {began}, method {options.method}.",
    )


def stages(options: DeepMojiOptions, *, begun: bool) -> list[Stage]:
    """What is trained in turn. A network that begins with random weights is trained as a whole before it is thawed."""

    def stage(name: str, rate: float) -> Stage:
        def moves(parameter: str) -> bool:
            return name == "all layers" or parameter.partition(".")[0] == name

        return Stage(name, rate, options.epochs, options.patience, moves)

    new, thawed = options.learning_rate, options.thaw_rate
    if options.method == "last":
        return [stage("softmax", new)]
    if options.method == "full":
        return [stage("all layers", thawed if begun else new)]
    first = [] if begun else [stage("all layers", new)]
    each = [stage(name, thawed) for name in LAYERS[:-1]]
    return [*first, stage("softmax", new), *each, stage("all layers", thawed)]


def _start(options: DeepMojiOptions, run: Run) -> _Start | None:
    """What is begun with; raises ConfigError for a checkpoint that does not fit."""
    if not options.checkpoint:
        if options.method == "last":
            raise ConfigError(
                "method 'last' trains the new layer only, so it needs a checkpoint: "
                "the folder that `feltwire models import deepmoji` made, or of a bundle trained by this preset"
            )
        return None
    folder = Path(options.checkpoint).expanduser()
    manifest = read_manifest(folder)
    if manifest.profile != run.profile:
        raise ConfigError(
            f"checkpoint {folder} reads texts of profile {manifest.profile!r}, this training {run.profile!r}: "
            "take the same one"
        )
    try:
        if manifest.format != "onnx" or not is_words(folder / TOKENIZER):
            raise KeyError(TOKENIZER)
        weights = read_graph(folder)
    except KeyError as error:
        raise ConfigError(f"checkpoint {folder} holds no DeepMoji network ({error} is missing)") from error
    tokenizer = WordTokenizer.read(folder / TOKENIZER, max_tokens=options.max_tokens)
    if tokenizer.size != len(weights.embedding):
        raise ConfigError(
            f"checkpoint {folder}: {tokenizer.size} words and {len(weights.embedding)} vectors do not go together"
        )
    return _Start(tokenizer, weights, manifest.licence)


def _tokenizer(cleaned: list[str], options: DeepMojiOptions, run: Run, start: _Start | None) -> WordTokenizer:
    """The checkpoint's words and the new ones; without a checkpoint the special words and the most frequent."""
    split = "blanks" if run.profile == "deepmoji" else "words"  # that profile splits by itself
    old = SPECIAL[2:] if start is None else start.tokenizer.words  # padding and unknown are no words here
    counting = WordTokenizer((), split=split, oov_buckets=1, max_tokens=options.max_tokens)
    known = frozenset(old)
    counted = ((word for word in map(counting.form, counting.split(one)) if word not in known) for one in cleaned)
    room = options.words - len(SPECIAL) if start is None else options.new_words
    words = [*old, *most_frequent(counted, room)]
    return WordTokenizer(words, split=split, oov_buckets=1, max_tokens=options.max_tokens)


def _rows(tokenizer: WordTokenizer, cleaned: list[str], data: Dataset) -> Rows:
    return Rows([one.ids for one in tokenizer.encode_batch(cleaned)], data.labels, 0)


def _sizes(weights: Weights) -> tuple[int, int]:
    return weights.embedding.shape[1], weights.lstms[0].recurrence.shape[1]


def _ordered(given: Any, order: Any) -> Any:
    return given.gather(1, order[:, :, None].expand(-1, -1, given.shape[2]))


def _hard_sigmoid(given: Any) -> Any:
    return torch.clamp(0.2 * given + 0.5, 0, 1)


def _array(tensor: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    found: np.ndarray[Any, np.dtype[np.float32]] = tensor.detach().cpu().to(torch.float32).numpy()
    return found
