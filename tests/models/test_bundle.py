"""Bundles: what is refused and how, and that the graph's numbers become the right probabilities and spans."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.bundles import make_tiny
from tests.bundles import onnx_writer as onnx

from feltwire.columns import TRUNCATED
from feltwire.errors import ConfigError, ModelError
from feltwire.models import _onnx, bundled
from feltwire.models._formats import open_bundle
from feltwire.models._session import Grid
from feltwire.registry import create
from feltwire.scoring import load, score_texts

TINY = Path(__file__).parents[1] / "bundles" / "tiny"

Edit = Callable[[dict[str, Any]], Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the tiny bundle, to be spoiled."""
    return shutil.copytree(TINY, tmp_path / "copy")


def edit(folder: Path, change: Edit) -> None:
    path = folder / "model.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def refusal(folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        open_bundle(folder, threads=1, runtime="onnxruntime")
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 1000
    return message


def floats(given: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    assert isinstance(given, np.ndarray)
    return given


def test_the_bundle_in_the_tree_is_what_its_script_makes(tmp_path: Path) -> None:
    make_tiny.make(tmp_path)
    for name in ("model.json", "model.onnx", "tokenizer.json"):
        assert (tmp_path / name).read_bytes() == (TINY / name).read_bytes(), name
    assert sum(path.stat().st_size for path in TINY.iterdir()) < 200_000


def test_it_says_plausible_things() -> None:
    model = load(str(TINY))
    answer = model.predict(["I love this", "I hate this", "the train left", "my luggage is lost", "das war gut"])
    said = [model.heads["sentiment"][i] for i in floats(answer["sentiment"]).argmax(axis=1)]
    assert said == ["positive", "negative", "neutral", "negative", "positive"]
    emotions = [model.heads["emotion"][i] for i in floats(answer["emotion"]).argmax(axis=1)[:2]]
    assert emotions == ["joy", "anger"]


@pytest.mark.parametrize("name", ["model.json", "model.onnx", "tokenizer.json"])
def test_a_missing_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert f"the file {name} is missing" in refusal(folder)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_a_changed_file(folder: Path, name: str) -> None:
    with (folder / name).open("ab") as file:
        file.write(b"\n")
    assert f"{name} has SHA-256" in refusal(folder)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_a_broken_file(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"\x80\x04never unpickled.")
    edit(folder, lambda manifest: manifest.pop("sha256"))
    assert name in refusal(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1]", b"null", b"[" * 100_000])
def test_a_manifest_that_is_none(folder: Path, content: bytes) -> None:
    (folder / "model.json").write_bytes(content)
    assert str(folder) in refusal(folder)


@pytest.mark.parametrize("version", [0, 2, "1", None, True, 1.5])
def test_another_schema_version(folder: Path, version: object) -> None:
    edit(folder, lambda manifest: manifest.update(schema_version=version))
    message = refusal(folder)
    assert f"schema_version {version!r}" in message
    assert "reads 1" in message


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda m: m["heads"]["sentiment"]["labels"].append("mixed"), "head 'sentiment' has 4 labels"),
        (lambda m: m["heads"]["sentiment"]["labels"].pop(), "head 'sentiment' has 2 labels"),
        (lambda m: m["heads"]["entities"]["labels"].pop(), "head 'entities' has 6 labels"),
        (lambda m: m["heads"]["entities"].update(kind="classes"), "head 'entities' has 7 labels"),
        (lambda m: m["heads"]["sentiment"].update(output="mood"), "no output 'mood'"),
        (lambda m: m["heads"].update(irony={"labels": ["irony", "non_irony"]}), "no output 'irony'"),
        (lambda m: m["heads"]["emotion"]["labels"].__setitem__(0, "joy"), "a label stands twice"),
        (lambda m: m["heads"]["entities"]["labels"].__setitem__(1, "person"), "labels of spans"),
        (lambda m: m["heads"]["entities"]["labels"].remove("O"), "labels of spans"),
        (lambda m: m["heads"]["sentiment"].update(temperature=0), "heads.sentiment.temperature"),
        (lambda m: m["heads"]["sentiment"].update(kind="guess"), "heads.sentiment.kind"),
        (lambda m: m.update(heads={}), "heads"),
        (lambda m: m.update(profile="curly"), "unknown cleaning profile"),
        (lambda m: m.update(max_tokens=0), "max_tokens"),
        (lambda m: m.update(name="../tiny"), "name"),
        (lambda m: m.update(colour="red"), "colour"),
        (lambda m: m.pop("version"), "version"),
    ],
)
def test_a_manifest_that_does_not_fit(folder: Path, change: Edit, expected: str) -> None:
    edit(folder, change)
    assert expected in refusal(folder)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda m: m["heads"]["sentiment"].update(labels=["neg", "neu", "pos"]), "allowed are negative, neutral"),
        (lambda m: m["heads"]["complaint"].update(labels=["no", "yes"]), "one must be 'complaint'"),
    ],
)
def test_labels_that_the_columns_have_no_place_for(folder: Path, change: Edit, expected: str) -> None:
    edit(folder, change)
    with pytest.raises(ModelError, match=expected):
        load(str(folder))


def test_a_graph_that_wants_something_else(folder: Path) -> None:
    weights: dict[str, onnx.Array] = {"w": np.zeros((1, 3), np.float32)}
    graph = onnx.model(
        "odd",
        nodes=[onnx.node("Gather", ["w", "pixels"], "sentiment", axis=0)],
        weights=weights,
        inputs={"pixels": ("rows",)},
        outputs={"sentiment": ("rows", 3)},
    )
    (folder / "model.onnx").write_bytes(graph)
    edit(folder, lambda m: (m.pop("sha256"), m.update(heads={"sentiment": m["heads"]["sentiment"]})))
    assert "takes ['pixels']" in refusal(folder)


def test_a_graph_that_does_not_run(folder: Path) -> None:
    """Token numbers beyond the embedding: the tokenizer belongs to another graph."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocab = tokenizer["model"]["vocab"]
    vocab["a"] = 10_000
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    edit(folder, lambda m: m.pop("sha256"))
    assert "model.onnx does not run" in refusal(folder)


def test_labels_are_in_the_order_of_the_tensor(folder: Path) -> None:
    """Renaming the labels renames what comes out, and moves no number."""
    before = load(str(TINY)).predict(["I love this"])["sentiment"]
    edit(folder, lambda m: m["heads"]["sentiment"].update(labels=["positive", "negative", "neutral"]))
    model = open_bundle(folder, threads=1)
    assert model.heads["sentiment"] == ("positive", "negative", "neutral")
    assert np.array_equal(floats(model.predict(["I love this"])["sentiment"]), floats(before))


def test_temperature_divides_the_logits(folder: Path) -> None:
    edit(folder, lambda m: m["heads"]["sentiment"].update(temperature=1.0))
    sharp = floats(open_bundle(folder, threads=1).predict(["love this"])["sentiment"])
    edit(folder, lambda m: m["heads"]["sentiment"].update(temperature=2.0))
    soft = floats(open_bundle(folder, threads=1).predict(["love this"])["sentiment"])
    expected = np.sqrt(sharp) / np.sqrt(sharp).sum()
    assert np.allclose(soft, expected, atol=1e-6)


def test_many_may_be_right(folder: Path) -> None:
    edit(folder, lambda m: m["heads"]["emotion"].update(kind="multi"))
    p = floats(open_bundle(folder, threads=1).predict(["happy but sad, I hope"])["emotion"])[0]
    assert (p > 0.5).sum() >= 3  # joy, optimism, sadness
    assert p.max() <= 1


def test_a_label_below_the_floor_is_unknown(folder: Path) -> None:
    texts = ["my flight was cancelled and delayed, late again", "you lost my luggage, my bag", "waiting"]
    plain = score_texts(texts, str(TINY)).to_pylist()
    assert {row["category"] for row in plain if row["complaint"]} == {"delay", "baggage"}
    edit(folder, lambda manifest: manifest["heads"]["category"].update(floor=0.999_9))
    unsure = score_texts(texts, str(folder)).to_pylist()
    assert {row["category"] for row in unsure if row["complaint"]} == {"unknown"}
    assert [row["p_complaint"] for row in unsure] == [row["p_complaint"] for row in plain]


def test_case_needs_token_types_in_the_graph(folder: Path) -> None:
    edit(folder, lambda manifest: manifest.update(token_types="case"))
    assert "takes no token_type_ids" in refusal(folder)


def test_another_head_name_than_the_tensors(folder: Path) -> None:
    def rename(manifest: dict[str, Any]) -> None:
        manifest["heads"]["offensive"] = {**manifest["heads"].pop("emotion"), "output": "emotion"}

    edit(folder, rename)
    assert "offensive" in open_bundle(folder, threads=1).predict(["x"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("anna", ["anna"]),
        ("San Francisco, London", ["San Francisco", "London"]),
        ("new york york", ["new york york"]),
        ("francisco", ["francisco"]),  # an I- that continues nothing
        ("london paris", ["london", "paris"]),  # two B- beside each other
        ("Deltas", ["Deltas"]),  # a word of two pieces is one word
        ("😀 anna 😀", ["anna"]),  # places count characters
        ("the station", []),
        ("", []),
    ],
)
def test_spans(text: str, expected: list[str]) -> None:
    (spans,) = load(str(TINY)).predict([text])["entities"]
    assert [text[start:end] for start, end, _, _ in spans] == expected


def test_truncation_is_told() -> None:
    answer = load(str(TINY)).predict(["a " * 126, "a " * 127, ""])
    assert floats(answer[TRUNCATED])[:, 0].tolist() == [0, 1, 0]


def test_truncation_is_told_without_spans_too(folder: Path) -> None:
    edit(folder, lambda m: m["heads"].pop("entities"))
    answer = open_bundle(folder, threads=1).predict(["a " * 126, "a " * 127])
    assert floats(answer[TRUNCATED])[:, 0].tolist() == [0, 1]


@given(st.lists(st.integers(0, 9_000), max_size=300))
def test_batches_hold_every_row_once_and_are_bounded(lengths: list[int]) -> None:
    batches = list(_onnx._batches(lengths))
    assert sorted(row for rows in batches for row in rows) == list(range(len(lengths)))
    for rows in batches:
        assert 1 <= len(rows) <= _onnx.MAX_ROWS
        assert len(rows) == 1 or len(rows) * max(lengths[row] for row in rows) <= _onnx.MAX_TOKENS


@given(st.lists(st.integers(0, 9_000), max_size=300))
def test_on_a_grid_a_batch_has_one_length_that_follows_from_each_row_alone(lengths: list[int]) -> None:
    grid = Grid(rows=16, step=4)
    batches = list(_onnx._batches(lengths, grid))
    assert sorted(row for rows in batches for row in rows) == list(range(len(lengths)))
    for rows in batches:
        (length,) = {max(4, -(-lengths[row] // 4) * 4) for row in rows}
        assert len(rows) == 1 or (len(rows) <= 16 and len(rows) * length <= _onnx.MAX_TOKENS)


WORDS = st.lists(st.sampled_from([*make_tiny.vocabulary(), "zzz", "😀"]), max_size=30).map(" ".join)


@given(st.lists(WORDS, min_size=1, max_size=8), st.integers(0, 7))
def test_padding_changes_no_row(texts: list[str], chosen: int) -> None:
    model = load(str(TINY))
    row = chosen % len(texts)
    together, alone = model.predict(texts), model.predict([texts[row]])
    for head in ("sentiment", "emotion", "emoji", "complaint", "category"):
        assert np.abs(floats(together[head])[row] - floats(alone[head])[0]).max() < 1e-5


def test_bundled_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "FOLDER", tmp_path)
    with pytest.raises(ConfigError, match="none in this version"):
        create("models", "bundled:base")
    shutil.copytree(TINY, tmp_path / "small")
    assert create("models", "bundled:small").name == "tiny@1"
    for name in ("base", "../small", ".", ""):
        with pytest.raises(ConfigError, match="known are small"):
            create("models", f"bundled:{name}")


@pytest.mark.parametrize("uri", ["bundle:", "bundle:?threads=2"])
def test_a_bundle_needs_a_folder(uri: str) -> None:
    with pytest.raises(ConfigError, match="bundle:PATH"):
        create("models", uri)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such folder"):
        create("models", f"bundle:{tmp_path / 'nothing'}")


@pytest.mark.parametrize("threads", ["0", "many", "-1"])
def test_threads(threads: str) -> None:
    with pytest.raises(ConfigError, match="threads"):
        create("models", f"bundle:{TINY}?threads={threads}")
