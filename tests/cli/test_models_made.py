"""`feltwire models pull` and `feltwire models import deepmoji`."""

import json
from pathlib import Path

import pytest
from tests.cli.making import feltwire, invoke, invoke_json
from tests.lab.checkpoints import checkpoint
from tests.lab.test_deepmoji_weights import WORDS, random_layers, vocabulary, write

from feltwire.deepmoji import SPECIAL
from feltwire.errors import ConfigError


def test_import_deepmoji(tmp_path: Path) -> None:
    weights = write(tmp_path / "w.hdf5", random_layers(len(SPECIAL) + len(WORDS), width=6, units=5))
    words = vocabulary(tmp_path / "v.json")
    out = tmp_path / "made"
    invoke("models", "import", "deepmoji", "--weights", str(weights), "--vocabulary", str(words), "--out", str(out))
    said = invoke_json("score", "I love it 💖", "--json", "--model", str(out))
    assert said["model"] == "deepmoji@1"
    assert len(said["emoji"]) == 5


@pytest.mark.slow
def test_pull(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = checkpoint(tmp_path / "checkpoint", "bert", ("LABEL_0", "LABEL_1"))
    out = tmp_path / "made"
    with pytest.raises(ConfigError, match="no names for its labels"):
        invoke("models", "pull", str(folder), "--out", str(out))
    renamed = ("--labels", "LABEL_0=negative", "--labels", "LABEL_1=positive")
    invoke("models", "pull", str(folder), "--out", str(out), *renamed, "--language", "en", "--version", "7")
    manifest = json.loads((out / "model.json").read_text())
    assert manifest["heads"]["sentiment"]["labels"] == ["negative", "positive"]
    assert (manifest["languages"], manifest["version"], manifest["profile"]) == (["en"], "7", "social")
    assert invoke_json("score", "late again", "--json", "--model", str(out))["model"] == "checkpoint@7"
    assert "checkpoint@7" in invoke("models", "show", str(out))


def test_errors_are_one_line(tmp_path: Path) -> None:
    done = feltwire("models", "pull", "nowhere", "--out", "x", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "'nowhere' is no folder" in done.stderr
    done = feltwire("score", "x", "--model", "hf:org/name", cwd=tmp_path)
    assert done.returncode == 2
    assert "feltwire models pull hf:org/name" in done.stderr
