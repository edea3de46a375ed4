"""The published weights of DeepMoji as a bundle: `models import deepmoji`.

The file is HDF5 as Keras stores weights: the attribute `layer_names` of the root (or of the group `model_weights`),
a group a layer with the attribute `weight_names`, a dataset a weight. An LSTM has either three arrays a direction
with the gates i, f, c, o side by side (Keras 2), or twelve, W U b of the gates i, c, f, o in turn (Keras 1).
Source: https://github.com/bfelbo/DeepMoji, `model_def.py`. Nothing in the file is executed: no pickle, no links to
other files.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from feltwire.deepmoji import PADDING, SPECIAL
from feltwire.errors import ConfigError
from feltwire.lab.families._extra import needs_train
from feltwire.models._bundle import GRAPH, SCHEMA_VERSION, TOKENIZER, Manifest, sha256, write_manifest
from feltwire.models._formats import open_bundle
from feltwire.models._words import WordTokenizer

Floats: TypeAlias = npt.NDArray[np.float32]

EMOJI: Final = tuple(
    "😂😒😩😭😍😔👌😊❤😏😁🎶😳💯😴😌☺🙌💕😑😅🙏😕😘💓😐💁😞🙈😫✌😎😡👍😢😪😋😤✋😷👏👀🔫😣😈😓💔💛🎵🙊😉💀😖😄😜😠🙅💪👊💜💖💙😬✨"
)
"""The 64 classes in the order of the published softmax."""

_GATES_OF_KERAS_1: Final = (0, 2, 1, 3)  # there i c f o; here i f c o
_LICENCE: Final = "The weights are the authors' (B. Felbo et al.); their repository is under the MIT licence."


def import_deepmoji(
    weights: Path, vocabulary: Path, out: Path, *, name: str = "deepmoji", version: str = "1", max_tokens: int = 128
) -> Path:
    """Make a bundle of the published files in the folder `out`, which must be empty or absent; returns it.

    `weights` is the HDF5 file, `vocabulary` the JSON object {word: number}. Raises ConfigError, in one line, for
    files that are something else, and MissingExtraError without h5py or onnx.
    """
    with needs_train("importing DeepMoji"):
        import h5py

        from feltwire.lab.families._deepmoji_graph import write_graph
    if out.exists() and any(out.iterdir()):
        raise ConfigError(f"{out} is not empty: name another folder")
    words = _words(vocabulary)
    try:
        file = h5py.File(weights, "r")
    except OSError as error:
        raise ConfigError(f"{weights} cannot be read as HDF5: name the file deepmoji_weights.hdf5") from error
    with file:
        network = _network(_layers(file, h5py, weights), weights)
    if len(words) + 2 != len(network.embedding):
        raise ConfigError(
            f"{vocabulary} has {len(words) + 2} words, {weights} vectors for {len(network.embedding)}: "
            "they do not belong together"
        )
    out.mkdir(parents=True, exist_ok=True)
    try:
        write_graph(network, out / GRAPH, "emoji")
        WordTokenizer(words, split="blanks", oov_buckets=1, max_tokens=max_tokens).write(out / TOKENIZER)
        _write_manifest(out, weights, name=name, version=version, max_tokens=max_tokens)
        open_bundle(out)
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise
    return out


def _words(path: Path) -> list[str]:
    """The words in the order of their numbers, from the third on: the first two are padding and unknown."""
    try:
        given: Any = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as JSON: name the file vocabulary.json") from error
    if not isinstance(given, dict) or sorted(given.values(), key=str) != sorted(range(len(given)), key=str):
        raise ConfigError(f"{path} is no vocabulary: expected {{word: number}} with the numbers from 0 on, each once")
    words = sorted(given, key=given.__getitem__)
    if tuple(words[: len(SPECIAL)]) != SPECIAL:
        raise ConfigError(f"{path} does not begin with {PADDING} and the other special words: it is no DeepMoji's")
    return words[2:]


def _layers(file: Any, h5py: Any, path: Path) -> dict[str, list[Floats]]:
    """{layer: its weights in their order}."""
    root = file.get("model_weights", file) if "layer_names" not in file.attrs else file
    if "layer_names" not in root.attrs:
        raise ConfigError(f"{path} holds no weights of Keras: the attribute layer_names is missing")
    found = {}
    for layer in map(_text, root.attrs["layer_names"]):
        group = _inside(root, layer, h5py.Group, h5py, path)
        names = [_text(name) for name in group.attrs.get("weight_names", ())]
        if names:
            found[layer] = [_array(_inside(group, name, h5py.Dataset, h5py, path), path) for name in names]
    return found


def _inside(group: Any, name: str, kind: Any, h5py: Any, path: Path) -> Any:
    """What stands under a name in the file itself."""
    here = group
    for part in name.split("/"):
        link = here.get(part, getlink=True) if isinstance(here, h5py.Group) else None
        if not isinstance(link, h5py.HardLink):
            raise ConfigError(f"{path}: {group.name}/{name} is missing, or lies in another file")
        here = here[part]
    if not isinstance(here, kind):
        raise ConfigError(f"{path}: {here.name} is no {kind.__name__.lower()}")
    return here


def _array(dataset: Any, path: Path) -> Floats:
    if dataset.dtype.kind != "f" or dataset.external:
        raise ConfigError(f"{path}: {dataset.name} holds {dataset.dtype}, not floating point numbers of this file")
    array: Floats = np.asarray(dataset[()], np.float32)
    return array


def _text(given: Any) -> str:
    return given.decode("utf-8") if isinstance(given, bytes) else str(given)


def _network(layers: Mapping[str, Sequence[Floats]], path: Path) -> Any:
    """The layers as one network, every shape checked."""
    from feltwire.lab.families._deepmoji_graph import Weights

    missing = [name for name in ("embedding", "bi_lstm_0", "bi_lstm_1", "attlayer", "softmax") if name not in layers]
    if missing:
        raise ConfigError(f"{path} has no layer {missing[0]!r}, only {', '.join(layers) or 'none'}")
    embedding = layers["embedding"][0]
    lstms = (_lstm(layers["bi_lstm_0"], path), _lstm(layers["bi_lstm_1"], path))
    attention = layers["attlayer"][0].reshape(-1)
    kernel, bias = (*layers["softmax"], np.zeros(0, np.float32))[:2]
    width, units = embedding.shape[-1], lstms[0].recurrence.shape[1]
    channels = 4 * units + width
    shapes = {
        "bi_lstm_0": (lstms[0].kernel.shape, (2, width, 4 * units)),
        "bi_lstm_1": (lstms[1].kernel.shape, (2, 2 * units, 4 * units)),
        "attlayer": (attention.shape, (channels,)),
        "softmax": ((kernel.shape, bias.shape), ((channels, len(EMOJI)), (len(EMOJI),))),
    }
    for name, (came, expected) in shapes.items():
        if came != expected:
            raise ConfigError(f"{path}: layer {name} has the shape {came}, expected {expected}")
    return Weights(embedding, lstms, attention, kernel, bias)


def _lstm(arrays: Sequence[Floats], path: Path) -> Any:
    """A bidirectional LSTM out of the arrays of its two directions."""
    from feltwire.lab.families._deepmoji_graph import Lstm

    half = len(arrays) // 2
    if len(arrays) not in (6, 24):
        raise ConfigError(f"{path}: an LSTM has {len(arrays)} arrays, expected 6 (Keras 2) or 24 (Keras 1)")
    directions = []
    for given in (arrays[:half], arrays[half:]):
        parts = [given[part::3] for part in range(3)]  # kernels, recurrences, biases
        if half == 12:
            parts = [[part[gate] for gate in _GATES_OF_KERAS_1] for part in parts]
        directions.append([np.concatenate(part, axis=-1) for part in parts])
    try:
        return Lstm(*(np.stack(part) for part in zip(*directions, strict=True)))
    except ValueError as error:
        raise ConfigError(f"{path}: the two directions of an LSTM have different shapes") from error


def _write_manifest(out: Path, weights: Path, *, name: str, version: str, max_tokens: int) -> None:
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "format": "onnx",
        "name": name,
        "version": version,
        "description": f"DeepMoji's published weights ({weights.name}, SHA-256 {sha256(weights)})",
        "licence": _LICENCE,
        "languages": ["en"],
        "profile": "deepmoji",
        "max_tokens": max_tokens,
        "heads": {"emoji": {"labels": EMOJI}},
        "sha256": {file: sha256(out / file) for file in (GRAPH, TOKENIZER)},
    }
    write_manifest(out, Manifest.model_validate(manifest))
