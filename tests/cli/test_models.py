"""`feltwire models` and `feltwire explain`."""

from pathlib import Path

import pytest
from tests.bundles.versions import TINY, tiny
from tests.cli.making import feltwire, invoke, invoke_json

from feltwire.errors import ConfigError, ModelError


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An own registry, and a working folder without settings."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data" / "feltwire" / "models"


def test_the_whole_way(own: Path, tmp_path: Path) -> None:
    second = tiny(tmp_path / "second")
    invoke("models", "add", str(TINY), "--promote")
    invoke("models", "add", str(second))
    listed = {row["model"]: row["serves"] for row in invoke_json("models", "list", "--json")}
    assert listed["tiny@1"] is True
    assert listed["tiny@2"] is False
    assert "registry:tiny@2" in invoke("models", "list")
    invoke("models", "promote", "tiny", "2")
    assert invoke_json("score", "love", "--json", "--model", "registry:tiny")["model"] == "tiny@2"
    shown = invoke_json("models", "show", "tiny", "--json")
    assert (shown["current"], shown["versions"], shown["model"]) == ("2", ["1", "2"], "tiny@2")
    assert shown["manifest"]["heads"]["sentiment"]["labels"] == ["negative", "neutral", "positive"]
    assert "onnxruntime" in shown["runtime"] or "openvino" in shown["runtime"]
    invoke("models", "rollback", "tiny")
    text = invoke("models", "show", "tiny")
    assert "serves" in text
    assert "rollback 1" in text
    assert (own / "tiny" / "2" / "model.onnx").is_file()


@pytest.mark.parametrize("how", ["option", "file", "variable"])
def test_where_the_registry_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    place = tmp_path / "elsewhere"
    more = ["--registry", str(place)] if how == "option" else []
    if how == "file":
        monkeypatch.delenv("FELTWIRE_MODEL__URI")  # which goes before the file
        (tmp_path / "feltwire.toml").write_text(f'[model]\nregistry = "{place}"\nuri = "registry:tiny"\n')
    if how == "variable":
        monkeypatch.setenv("FELTWIRE_MODEL__REGISTRY", str(place))
    invoke("models", "add", str(TINY), "--promote", *more)
    assert (place / "tiny" / "1" / "model.json").is_file()
    if how == "file":
        assert invoke_json("score", "love", "--json")["model"] == "tiny@1"
    if how == "variable":
        assert invoke_json("score", "love", "--json", "--model", "registry:tiny")["model"] == "tiny@1"


@pytest.mark.parametrize("asked", [str(TINY), f"bundle:{TINY}", "lexicon:vader"])
def test_show_takes_whatever_a_model_may_be(asked: str) -> None:
    assert "head sentiment" in invoke("models", "show", asked)


def test_an_empty_registry_and_what_is_not_there() -> None:
    assert all(row["serves"] is None for row in invoke_json("models", "list", "--json"))  # those that ship
    with pytest.raises(ConfigError, match="known are none"):
        invoke("models", "show", "mine")
    with pytest.raises(ConfigError, match="cannot be rolled back"):
        invoke("models", "rollback", "mine")
    with pytest.raises(ModelError, match="no such folder"):
        invoke("models", "add", "nowhere")


def test_a_broken_bundle_is_refused_in_one_line(tmp_path: Path) -> None:
    broken = tiny(tmp_path / "broken")
    (broken / "tokenizer.json").write_text("{}")
    done = feltwire("models", "add", str(broken), cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "tokenizer.json has SHA-256" in done.stderr


def test_explain_for_people() -> None:
    text = invoke("explain", "I love the crew, but they lost my bag", "--model", str(TINY))
    assert text.splitlines()[0].startswith("sentiment ")
    assert text.splitlines()[1] == "I love the crew, but they lost my bag"
    assert any(line.split()[-1] == "lost" for line in text.splitlines()[2:])
    assert "exact" in text


def test_explain_for_programs() -> None:
    asked = ("explain", "I love it", "--model", "lexicon:vader", "--format", "json")
    assert [word["text"] for word in invoke_json(*asked)["words"]] == ["I", "love", "it"]
    sampled = invoke_json(*asked, "--method", "sampled", "--samples", "6", "--seed", "3", "--label", "negative")
    assert (sampled["method"], sampled["seed"], sampled["label"]) == ("sampled", 3, "negative")
    assert sampled["unexplained"] == pytest.approx(0, abs=1e-6)
    assert "±" in invoke("explain", "I love it", "--model", "lexicon:vader", "--samples", "6")


def test_explain_steers_no_terminal() -> None:
    assert "\x1b" not in invoke("explain", "love \x1b[31mred", "--model", "lexicon:vader")


def test_explain_refuses() -> None:
    with pytest.raises(ConfigError, match="has no head 'irony'"):
        invoke("explain", "x", "--model", "lexicon:vader", "--head", "irony")
