"""Fine-tuning of transformers: from checkpoints of two kinds, served with the same numbers, stopped and gone on."""

from pathlib import Path
from typing import Any, cast

import pytest
from tests.lab.checkpoints import checkpoint
from tests.lab.neural import NAMES, a_run, dataset, learned, rows_stand_alone, sealed, stopped_and_gone_on

from feltwire import text
from feltwire.errors import ConfigError, ModelError
from feltwire.lab.families import _training, transformer
from feltwire.lab.interfaces import Family
from feltwire.models._formats import open_bundle

FAMILY = cast("Family", transformer)
FAST: dict[str, Any] = {"learning_rate": 0.01, "epochs": 20, "batch": 8, "dropout": 0.0, "patience": 20}


def test_the_preset_is_berts_published_recipe() -> None:
    options = transformer.Options(**transformer.PRESETS["bert"])
    assert (options.epochs, options.learning_rate, options.batch, options.warmup) == (2, 1e-5, 32, 0.1)
    assert (options.weight_decay, options.pooling, options.patience) == (0.01, "pooler", 0)


def test_the_rate_rises_and_falls() -> None:
    shares = [_training._share(update, 20, 0.1) for update in range(20)]
    assert shares[:3] == [0.5, 1.0, 1.0]
    assert shares[2:] == sorted(shares[2:], reverse=True)
    assert 0 < shares[-1] < 0.1
    assert [_training._share(update, 20, None) for update in (0, 19)] == [1, 1]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "pooling"), [("bert", "mean"), ("roberta", "pooler")])
def test_learns_and_is_served(kind: str, pooling: str, tmp_path: Path) -> None:
    start = checkpoint(tmp_path / "start", kind, NAMES)
    (start / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Tiny\n")
    run = a_run(tmp_path)
    options = transformer.Options(checkpoint=str(start), pooling=pooling, **FAST)
    fitted = transformer.fit(dataset(), dataset(9, seed=1), options, run)
    model = sealed(run, fitted)
    known = dataset(9, seed=1)
    exact: Any = open_bundle(run.bundle, runtime="onnxruntime")  # bfloat16 may turn a close call round
    found = exact.predict(text.clean(known.texts, run.profile))["sentiment"].argmax(axis=1)
    best = max(point.score for point in fitted.curve if point.score is not None)
    assert _training.macro_f1(known.labels, found) == pytest.approx(best)  # what is served is what was trained
    assert kind == "roberta" or learned(model, dataset()) > 0.6
    rows_stand_alone(model)
    assert fitted.licence == "apache-2.0"
    assert fitted.max_tokens == (34 if kind == "bert" else 32)


@pytest.mark.slow
def test_stopped_and_gone_on_it_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_training, "SAVE_EVERY_S", 0.0)
    start = checkpoint(tmp_path / "start", "bert", NAMES)
    options = transformer.Options(checkpoint=str(start), pooling="mean", **{**FAST, "epochs": 2, "dropout": 0.1})
    whole, again = stopped_and_gone_on(FAMILY, options, tmp_path, after=4)
    assert whole == again
    assert str(tmp_path).encode() not in whole


def test_what_is_no_checkpoint_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    pickled = checkpoint(tmp_path / "pickled", "bert", NAMES)
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    coded = checkpoint(tmp_path / "coded", "bert", NAMES, auto_map={"AutoModel": "code.Model"})
    for given, kind, says in (
        (str(tmp_path / "nowhere"), ConfigError, "is no folder: expected a folder, hf:org/name, or minilm"),
        ("hf:only-a-name", ConfigError, "expected hf:org/name or"),
        (str(tmp_path / "empty"), ConfigError, "config.json is missing"),
        (str(pickled), ModelError, r"holds its weights as a pickle \(pytorch_model.bin\), which is never loaded"),
        (str(coded), ModelError, "needs code of its own"),
    ):
        with pytest.raises(kind, match=says) as caught:
            transformer.fit(dataset(), dataset(9), transformer.Options(checkpoint=given), a_run(tmp_path / "run"))
        assert "\n" not in str(caught.value)
