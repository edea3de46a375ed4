"""The DeepMoji network: the graph is the network, its fine-tuning thaws layer by layer, weights are taken over."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime
import pytest
import torch
from tests.lab.neural import LONG, a_run, dataset, learned, rows_stand_alone, sealed, stopped_and_gone_on

from feltwire import text
from feltwire.errors import ConfigError
from feltwire.lab.families import _deepmoji, _training, deepmoji
from feltwire.lab.families._deepmoji_graph import read_graph, write_graph
from feltwire.lab.families._training import collate
from feltwire.lab.interfaces import Family
from feltwire.models._words import WordTokenizer

FAMILY = cast("Family", deepmoji)
SMALL: dict[str, Any] = {
    "words": 60,
    "embedding": 6,
    "units": 5,
    "embedding_dropout": 0.0,
    "dropout": 0.1,
    "batch": 8,
    "epochs": 2,
    "patience": 2,
    "learning_rate": 0.03,
    "max_tokens": 24,
}


def network(size: int = 20, classes: int = 3) -> _deepmoji.Network:
    torch.manual_seed(5)
    net = _deepmoji.Network(size, classes, width=4, units=3, dropouts=(0.2, 0.2))
    net.eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn_like(parameter))  # wide enough for the gates to saturate
    return net


def test_the_preset_is_the_published_network() -> None:
    options = deepmoji.Options(**deepmoji.PRESETS["deepmoji"])
    assert (options.words, options.embedding, options.units, options.method) == (50_000, 256, 512, "chain-thaw")


def test_the_graph_is_the_network_attention_too(tmp_path: Path) -> None:
    net = network()
    write_graph(net.weights(), tmp_path / "model.onnx", "emoji")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    ids, mask = collate([[1, 5, 9, 3, 3, 19], [7], [], [2, 4]], 0)
    with torch.no_grad():
        expected, shares = net.attend(ids, mask)
    logits, attention = session.run(["emoji", "attention"], {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})
    assert np.abs(logits - expected.numpy()).max() < 1e-5
    assert np.abs(attention - shares.numpy()).max() < 1e-6
    assert np.allclose(attention.sum(axis=1), 1)
    assert (attention[~mask.numpy().astype(bool)] == 0).all()


def test_weights_come_back_out_of_the_graph(tmp_path: Path) -> None:
    given = network().weights()
    write_graph(given, tmp_path / "model.onnx", "emoji")
    back = read_graph(tmp_path)
    for one, other in zip(given.lstms, back.lstms, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    for name in ("embedding", "attention", "kernel", "bias"):
        assert np.array_equal(getattr(given, name), getattr(back, name))


def test_chain_thaw_takes_the_layers_in_turn() -> None:
    names = [name for name, _ in network().named_parameters()]

    def moved(method: str, *, begun: bool) -> list[list[str]]:
        made = _deepmoji.stages(deepmoji.Options(method=method), begun=begun)
        return [sorted({name.partition(".")[0] for name in names if stage.moves(name)}) for stage in made]

    every = sorted(_deepmoji.LAYERS)
    in_turn = [["softmax"], ["embedding"], ["bi_lstm_0"], ["bi_lstm_1"], ["attlayer"], every]
    assert moved("chain-thaw", begun=True) == in_turn
    assert moved("chain-thaw", begun=False) == [every, *in_turn]
    assert moved("last", begun=True) == [["softmax"]]
    assert moved("full", begun=True) == [every]


def test_a_frozen_layer_does_not_move(tmp_path: Path) -> None:
    first = a_run(tmp_path / "first", profile="deepmoji")
    fitted = deepmoji.fit(dataset(), dataset(9, seed=1), deepmoji.Options(**{**SMALL, "method": "full"}), first)
    sealed(first, fitted)
    last = a_run(tmp_path / "last", profile="deepmoji")
    options = deepmoji.Options(**{**SMALL, "method": "last", "checkpoint": str(first.bundle), "new_words": 0})
    deepmoji.fit(dataset(30, seed=2), dataset(9, seed=1), options, last)
    before, after = read_graph(first.bundle), read_graph(last.bundle)
    assert np.array_equal(before.embedding, after.embedding)
    assert np.array_equal(before.lstms[1].kernel, after.lstms[1].kernel)
    assert not np.array_equal(before.kernel, after.kernel)


@pytest.mark.parametrize("profile", ["deepmoji", "social"])
def test_learns_and_is_served(profile: str, tmp_path: Path) -> None:
    run = a_run(tmp_path, profile=profile)
    options = deepmoji.Options(**{**SMALL, "method": "full", "epochs": 12, "patience": 12})
    model = sealed(run, deepmoji.fit(dataset(), dataset(9, seed=1), options, run))
    assert learned(model, dataset()) > 0.9
    rows_stand_alone(model)
    assert model.predict(text.clean([LONG], profile))["truncated"] == [[1]]


def test_a_checkpoint_keeps_its_words_and_gets_new_ones(tmp_path: Path) -> None:
    first = a_run(tmp_path / "first", profile="deepmoji")
    options = deepmoji.Options(**{**SMALL, "words": 14, "method": "full", "epochs": 1})
    sealed(first, deepmoji.fit(dataset(), dataset(9, seed=1), options, first))
    old = WordTokenizer.read(first.bundle / "tokenizer.json", max_tokens=9)
    assert old.size == 14
    assert old.words[:4] == ("CUSTOM_AT", "CUSTOM_URL", "CUSTOM_NUMBER", "CUSTOM_BREAK")
    then = a_run(tmp_path / "then", profile="deepmoji")
    again = deepmoji.Options(**{**SMALL, "checkpoint": str(first.bundle), "new_words": 5, "epochs": 1})
    fitted = deepmoji.fit(dataset(), dataset(9, seed=1), again, then)
    new = WordTokenizer.read(then.bundle / "tokenizer.json", max_tokens=9)
    assert new.words[: len(old.words)] == old.words
    assert new.size == 19
    assert [point.score is not None for point in fitted.curve].count(True) == 6  # stages
    rows_stand_alone(sealed(then, fitted))


def test_stopped_in_a_later_stage_and_gone_on_it_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_training, "SAVE_EVERY_S", 0.0)
    options = deepmoji.Options(**{**SMALL, "epochs": 1})
    whole, again = stopped_and_gone_on(FAMILY, options, tmp_path, after=8)
    assert whole == again


def test_what_cannot_be_begun_with_is_refused(tmp_path: Path) -> None:
    tiny = Path(__file__).parents[1] / "bundles" / "tiny"
    for options, says in (
        ({"method": "last"}, "needs a checkpoint"),
        ({"checkpoint": str(tiny)}, "holds no DeepMoji network"),
    ):
        with pytest.raises(ConfigError, match=says):
            deepmoji.fit(dataset(), dataset(9), deepmoji.Options(**{**SMALL, **options}), a_run(tmp_path))
    given = deepmoji.Options(checkpoint=str(tiny))
    with pytest.raises(ConfigError, match="profile 'social', this training 'deepmoji'"):
        deepmoji.fit(dataset(), dataset(9), given, a_run(tmp_path, profile="deepmoji"))
