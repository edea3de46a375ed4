"""The bi-GRU and the bi-LSTM: the graph is the network, training can be stopped, padding does not count."""

import math
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from tests.lab.neural import LONG, a_run, dataset, learned, rows_stand_alone, sealed, stopped_and_gone_on

from feltwire.errors import ConfigError
from feltwire.lab import presets
from feltwire.lab.families import _recurrent, _training, recurrent
from feltwire.lab.families._training import Rows, batches, collate, macro_f1
from feltwire.lab.interfaces import Family
from feltwire.models._session import open_session

FAMILY = cast("Family", recurrent)
SMALL: dict[str, Any] = {
    "words": 30,
    "oov_buckets": 4,
    "embedding": 8,
    "layers": (6, 5),
    "last": 7,
    "batch": 8,
    "epochs": 12,
    "patience": 12,
    "learning_rate": 0.02,
    "dropout": 0.1,
    "max_tokens": 24,
}


def test_presets_are_the_published_networks() -> None:
    gru, lstm = (recurrent.Options(**recurrent.PRESETS[name]) for name in ("bigru", "bilstm"))
    assert (gru.cell, lstm.cell) == ("gru", "lstm")
    assert (gru.words, gru.oov_buckets, gru.embedding, gru.layers, gru.last) == (10_000, 500, 200, (100, 100), 200)
    assert presets.find("bigru").options({"layers": "30,20", "bf16": "true"}).model_dump()["layers"] == (30, 20)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_learns_and_is_served(cell: str, tmp_path: Path) -> None:
    run = a_run(tmp_path)
    fitted = recurrent.fit(dataset(), dataset(9, seed=1), recurrent.Options(cell=cell, **SMALL), run)
    model = sealed(run, fitted)
    assert learned(model, dataset()) > 0.9
    rows_stand_alone(model)
    assert model.predict([LONG])["truncated"] == [[1]]
    assert fitted.curve[-1].step == 12 * 24
    assert [point.score is not None for point in fitted.curve].count(True) == 12
    assert all(math.isfinite(point.train_loss) for point in fitted.curve)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_graph_is_the_network(cell: str, tmp_path: Path) -> None:
    torch.manual_seed(5)
    net = _recurrent.Network(20, 3, recurrent.Options(cell=cell, **SMALL))
    net.eval()
    _recurrent.export(net, cell, tmp_path / "model.onnx", "sentiment")
    ids, mask = collate([[1, 2, 3, 19], [7], [], [5, 5, 5, 5, 5, 5, 6]], 0)
    with torch.no_grad():
        expected = net(ids, mask).numpy()
    for runtime in ("onnxruntime", "openvino"):
        session = open_session(tmp_path / "model.onnx", threads=1, runtime=runtime)
        (given,) = session.run(["sentiment"], {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})
        assert np.abs(given - expected).max() < (1e-5 if runtime == "onnxruntime" else 0.01)


@pytest.mark.parametrize("after", [2, 7])
def test_stopped_and_gone_on_it_is_the_same(after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_training, "SAVE_EVERY_S", 0.0)
    options = recurrent.Options(**{**SMALL, "epochs": 4, "patience": 2})
    whole, again = stopped_and_gone_on(FAMILY, options, tmp_path, after=after)
    assert whole == again


def test_the_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    recurrent.fit(dataset(), dataset(9, seed=1), recurrent.Options(**{**SMALL, "epochs": 1}), run)
    with pytest.raises(ConfigError, match="checkpoint of another training"):
        recurrent.fit(dataset(), dataset(9, seed=1), recurrent.Options(**{**SMALL, "epochs": 2}), run)
    (run.folder / "checkpoint.pt").write_bytes(b"no checkpoint")
    with pytest.raises(ConfigError, match="cannot be read as a checkpoint: remove it"):
        recurrent.fit(dataset(), dataset(9, seed=1), recurrent.Options(**SMALL), run)


def test_bfloat16_learns_too(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    options = recurrent.Options(bf16=True, **{**SMALL, "epochs": 3})
    model = sealed(run, recurrent.fit(dataset(), dataset(9, seed=1), options, run))
    assert np.isfinite(model.predict(["late"])["sentiment"]).all()


def test_it_stops_when_it_gets_no_better(tmp_path: Path) -> None:
    options = recurrent.Options(**{**SMALL, "epochs": 50, "patience": 2, "learning_rate": 1e-9})
    fitted = recurrent.fit(dataset(), dataset(9, seed=1), options, a_run(tmp_path))
    assert fitted.curve[-1].step == 3 * 24


def test_batches_hold_every_row_once_and_rows_of_like_length() -> None:
    lengths = np.random.default_rng(0).integers(0, 50, 1000)
    rows = Rows([[1] * length for length in lengths], np.zeros(1000, np.int64), 0)
    made = batches(rows, 16, np.random.default_rng(1))
    assert sorted(np.concatenate(made)) == list(range(1000))
    padded = sum(len(one) * max(lengths[one]) for one in made)
    assert padded < 1.1 * lengths.sum() + 1000


def test_macro_f1() -> None:
    assert macro_f1(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])) == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert macro_f1(np.array([0, 1]), np.array([2, 2])) == 0
