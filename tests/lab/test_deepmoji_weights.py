"""`models import deepmoji`: files of the published shape, filled with random numbers, against a plain NumPy pass."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest

from feltwire import text
from feltwire.deepmoji import SPECIAL
from feltwire.errors import ConfigError
from feltwire.lab.deepmoji_weights import EMOJI, import_deepmoji
from feltwire.lab.families._deepmoji_graph import read_graph
from feltwire.models._formats import open_bundle
from feltwire.scoring import load

Doubles = npt.NDArray[np.float64]
Layers = dict[str, list[npt.NDArray[np.float32]]]

WORDS = ("the", "flight", "was", "late", "again", "!!", ":(", "💖", "love", "it", "soo", "#fail")
TEXTS = ("The flight was LATE again!!!!! :(", "I love it 💖 sooooo", "@me 3 hrs https://t.co/x\n#fail", "", "zebra")


def random_layers(words: int, *, width: int, units: int, classes: int = 64) -> Layers:
    """Weights in the order and the shapes in which Keras 2 stores them."""
    random = np.random.default_rng(7)

    def of(*shape: int) -> npt.NDArray[np.float32]:
        return random.normal(0, 0.6, shape).astype(np.float32)

    def lstm(given: int) -> list[npt.NDArray[np.float32]]:
        return [one for _ in range(2) for one in (of(given, 4 * units), of(units, 4 * units), of(4 * units))]

    channels = 4 * units + width
    return {
        "input_1": [],
        "embedding": [of(words, width)],
        "activation_1": [],
        "bi_lstm_0": lstm(width),
        "bi_lstm_1": lstm(2 * units),
        "attlayer": [of(channels, 1)],
        "softmax": [of(channels, classes), of(classes)],
    }


def as_keras_1(layers: Layers) -> Layers:
    """The same weights as Keras 1 stores them: W U b of i, then of c, f, o; first all of one direction."""
    found = dict(layers)
    for name in ("bi_lstm_0", "bi_lstm_1"):
        given = layers[name]
        found[name] = [
            np.split(array, 4, axis=-1)["ifco".index(gate)]
            for direction in (given[:3], given[3:])
            for gate in "icfo"
            for array in direction
        ]
    return found


def write(path: Path, layers: Layers, *, inside: str = "", text_type: Any = bytes) -> Path:
    def spelled(name: str) -> Any:
        return name.encode() if text_type is bytes else name

    with h5py.File(path, "w") as file:
        root = file.create_group(inside) if inside else file
        root.attrs["layer_names"] = [spelled(name) for name in layers]
        for layer, arrays in layers.items():
            group = root.create_group(layer)
            names = [f"{layer}/weight_{number}:0" for number in range(len(arrays))]
            group.attrs["weight_names"] = [spelled(name) for name in names]
            for name, array in zip(names, arrays, strict=True):
                group[name] = array
    return path


def vocabulary(path: Path, words: tuple[str, ...] = WORDS) -> Path:
    path.write_text(json.dumps({word: number for number, word in enumerate((*SPECIAL, *words))}))
    return path


def hard_sigmoid(x: Doubles) -> Doubles:
    return np.minimum(1, np.maximum(0, 0.2 * x + 0.5))


def lstm(given: Doubles, weights: list[npt.NDArray[np.float32]]) -> Doubles:
    """One direction, word by word."""
    kernel, recurrence, bias = (one.astype(np.float64) for one in weights)
    units = len(recurrence)
    h, c = np.zeros(units), np.zeros(units)
    rows = []
    for x in given:
        z = x @ kernel + h @ recurrence + bias
        i, f, o = (hard_sigmoid(z[part * units : (part + 1) * units]) for part in (0, 1, 3))
        c = f * c + i * np.tanh(z[2 * units : 3 * units])
        h = o * np.tanh(c)
        rows.append(h)
    return np.array(rows)


def forward(numbers: list[int], layers: Layers) -> tuple[Doubles, Doubles]:
    """What the network says to one text: the classes' probabilities, the words' attention."""
    embedded = np.tanh(layers["embedding"][0].astype(np.float64)[numbers])
    outs = []
    given = embedded
    for name in ("bi_lstm_0", "bi_lstm_1"):
        there = lstm(given, layers[name][:3])
        back = lstm(given[::-1], layers[name][3:])[::-1]
        given = np.concatenate([there, back], axis=1)
        outs.append(given)
    features = np.concatenate([outs[1], outs[0], embedded], axis=1)
    scores = features @ layers["attlayer"][0].astype(np.float64)[:, 0]
    attention = np.exp(scores - scores.max())
    attention /= attention.sum()
    kernel, bias = layers["softmax"]
    logits = (attention @ features) @ kernel.astype(np.float64) + bias
    odds = np.exp(logits - logits.max())
    return odds / odds.sum(), attention


def agrees(bundle: Path, layers: Layers, words: tuple[str, ...]) -> None:
    numbers = {word: number for number, word in enumerate((*SPECIAL, *words))}
    cleaned = text.clean(TEXTS, "deepmoji")
    model: Any = open_bundle(bundle)
    answer = model.predict(cleaned)["emoji"]
    for row, one in enumerate(cleaned):
        expected, shares = forward([numbers.get(word, 1) for word in one.split()] or [0], layers)
        assert np.abs(answer[row] - expected).max() < 1e-5, TEXTS[row]
        ids = np.array([model._tokenizer.encode(one).ids or [0]])
        (attention,) = model._session.run(["attention"], {"input_ids": ids, "attention_mask": np.ones_like(ids)})
        assert np.abs(attention[0] - shares).max() < 1e-5


@pytest.mark.parametrize("layout", ["keras 2", "keras 1", "whole model", "text attributes"])
def test_says_what_the_published_network_says(layout: str, tmp_path: Path) -> None:
    layers = random_layers(len(SPECIAL) + len(WORDS), width=6, units=5)
    stored = as_keras_1(layers) if layout == "keras 1" else layers
    path = write(
        tmp_path / "w.hdf5",
        stored,
        inside="model_weights" if layout == "whole model" else "",
        text_type=str if layout == "text attributes" else bytes,
    )
    made = import_deepmoji(path, vocabulary(tmp_path / "v.json"), tmp_path / "bundle")
    agrees(made, layers, WORDS)
    assert load(str(made)).heads == {"emoji": EMOJI}
    assert np.array_equal(read_graph(made).lstms[1].kernel[1], layers["bi_lstm_1"][3])


@pytest.mark.slow
def test_says_it_in_the_true_size_too(tmp_path: Path) -> None:
    words = (*WORDS, *(f"word{number}" for number in range(50_000 - len(SPECIAL) - len(WORDS))))
    layers = random_layers(50_000, width=256, units=512)
    layers = {name: [(array / 10).astype(np.float32) for array in arrays] for name, arrays in layers.items()}
    path = write(tmp_path / "w.hdf5", layers)
    agrees(import_deepmoji(path, vocabulary(tmp_path / "v.json", words), tmp_path / "bundle"), layers, words)


def test_the_labels_are_deepmojis_in_its_order(test_data: Path) -> None:
    classes = json.loads((test_data / "emoji_classes.json").read_text())["classes"]
    assert tuple(classes[:64]) == EMOJI


def test_the_labels_are_64_emoji() -> None:
    assert len(set(EMOJI)) == 64
    assert (EMOJI[0], EMOJI[8], EMOJI[63]) == ("😂", "❤", "✨")


def spoiled(layers: Layers, change: str) -> Layers:
    layers = {name: list(arrays) for name, arrays in layers.items()}
    if change == "no attention":
        del layers["attlayer"]
    elif change == "other classes":
        layers["softmax"] = [layers["softmax"][0][:, :10], layers["softmax"][1][:10]]
    elif change == "five arrays":
        layers["bi_lstm_0"].pop()
    elif change == "narrow":
        layers["bi_lstm_1"] = [array[..., :8] for array in layers["bi_lstm_1"]]
    elif change == "whole numbers":
        layers["embedding"] = [layers["embedding"][0].astype(np.int64)]
    return layers


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("no attention", "has no layer 'attlayer'"),
        ("other classes", "layer softmax has the shape"),
        ("five arrays", "5 arrays, expected 6"),
        ("narrow", "layer bi_lstm_1 has the shape"),
        ("whole numbers", "holds int64, not floating point"),
    ],
)
def test_other_networks_are_refused_in_one_line(change: str, says: str, tmp_path: Path) -> None:
    layers = spoiled(random_layers(len(SPECIAL) + len(WORDS), width=6, units=5), change)
    path = write(tmp_path / "w.hdf5", layers)
    with pytest.raises(ConfigError, match=says) as caught:
        import_deepmoji(path, vocabulary(tmp_path / "v.json"), tmp_path / "bundle")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "bundle").exists()


def test_links_to_other_files_are_not_followed(tmp_path: Path) -> None:
    layers = random_layers(len(SPECIAL) + len(WORDS), width=6, units=5)
    write(tmp_path / "other.hdf5", layers)
    path = write(tmp_path / "w.hdf5", layers)
    with h5py.File(path, "a") as file:
        del file["attlayer/attlayer"]
        file["attlayer/attlayer"] = h5py.ExternalLink(str(tmp_path / "other.hdf5"), "/attlayer/attlayer")
    with pytest.raises(ConfigError, match="is missing, or lies in another file"):
        import_deepmoji(path, vocabulary(tmp_path / "v.json"), tmp_path / "bundle")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("no json", "cannot be read as JSON"),
        ('["a"]', "is no vocabulary"),
        ('{"a": 0, "b": 0}', "is no vocabulary"),
        ('{"a": 0, "b": 1}', "does not begin with CUSTOM_MASK"),
    ],
)
def test_other_vocabularies_are_refused(content: str, says: str, tmp_path: Path) -> None:
    path = write(tmp_path / "w.hdf5", random_layers(22, width=6, units=5))
    (tmp_path / "v.json").write_text(content)
    with pytest.raises(ConfigError, match=says):
        import_deepmoji(path, tmp_path / "v.json", tmp_path / "bundle")


def test_files_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "w.hdf5", random_layers(30, width=6, units=5))
    with pytest.raises(ConfigError, match=r"has 22 words, .* vectors for 30"):
        import_deepmoji(path, vocabulary(tmp_path / "v.json"), tmp_path / "bundle")
    (tmp_path / "broken.hdf5").write_bytes(b"no hdf5")
    with pytest.raises(ConfigError, match="cannot be read as HDF5"):
        import_deepmoji(tmp_path / "broken.hdf5", vocabulary(tmp_path / "v.json"), tmp_path / "bundle")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(ConfigError, match="is not empty"):
        import_deepmoji(path, vocabulary(tmp_path / "v.json"), tmp_path / "full")
