"""Linear bundles: what is refused and how, what a term is, and that the numbers are those of plain arithmetic."""

import json
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh32_intdigest

from feltwire.columns import TRUNCATED
from feltwire.errors import ConfigError, ModelError
from feltwire.models._bundle import sha256
from feltwire.models._formats import open_bundle
from feltwire.models._safetensors import read_tensors, write_tensors
from feltwire.models._terms import Counter, Terms, grams, tokens
from feltwire.registry import create
from feltwire.scoring import score_texts

LABELS = ("negative", "positive")
TERMS = ("good", "bad", "not", "not good")

Edit = Callable[[dict[str, Any]], Any]


def make(folder: Path, terms: dict[str, Any], tensors: dict[str, Any], **manifest: Any) -> Path:
    """A bundle of the head `sentiment`."""
    folder.mkdir()
    (folder / "terms.json").write_text(json.dumps({"schema_version": 1, "ngrams": [1, 2], **terms}))
    write_tensors(folder / "weights.safetensors", {name: np.array(tensor) for name, tensor in tensors.items()})
    given = {
        "schema_version": 1, "format": "linear", "name": "lin", "version": "1", "profile": "social", "max_tokens": 8,
        "heads": {"sentiment": {"labels": LABELS}},
    }  # fmt: skip
    (folder / "model.json").write_text(json.dumps({**given, **manifest}))
    return folder


WEIGHTS = {
    "idf": [1.0, 2.0, 1.5, 2.5],
    "sentiment.weight": [[-1.0, 1.0], [1.0, -1.0], [0.5, -0.5], [1.0, -1.0]],
    "sentiment.bias": [0.25, 0.0],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make(tmp_path / "lin", {"terms": TERMS}, WEIGHTS)


def p(folder: Path, text: str) -> list[float]:
    given = open_bundle(folder).predict([text])["sentiment"]
    assert isinstance(given, np.ndarray)
    return [float(share) for share in given[0]]


def edit(folder: Path, change: Edit, name: str = "model.json") -> None:
    path = folder / name
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def refusal(folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        open_bundle(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Not good, @United! #Late", ["not", "good", ",", "@united", "!", "#late"]),
        ("don't don’t :) :-( !!!", ["don't", "don’t", ":)", ":-(", "!!!"]),
        ("!!!!!!!!!!", ["!!!!!!!!", "!!"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("", []),
    ],
)
def test_tokens(text: str, expected: list[str]) -> None:
    assert tokens(text) == expected


def test_grams() -> None:
    assert list(grams(["a", "b", "c"], (1, 2))) == ["a", "b", "c", "a b", "b c"]
    assert list(grams(["a", "b", "c"], (2, 4))) == ["a b", "b c", "a b c"]
    assert list(grams([], (1, 4))) == []


def test_the_numbers_are_those_of_the_formula(folder: Path) -> None:
    """good twice, not once, "not good" once: TF-IDF of length 1, times the weights, softmax."""
    values = np.array([2 * 1.0, 0, 1 * 1.5, 1 * 2.5])
    values /= np.linalg.norm(values)
    logits = values @ np.array(WEIGHTS["sentiment.weight"]) + np.array(WEIGHTS["sentiment.bias"])
    assert np.allclose(p(folder, "good not good"), np.exp(logits) / np.exp(logits).sum(), atol=1e-6)


def test_a_text_without_a_known_term_gets_the_bias(folder: Path) -> None:
    share = 1 / (1 + math.exp(-0.25))
    assert np.allclose(p(folder, "lorem ipsum"), [share, 1 - share], atol=1e-6)
    assert np.allclose(p(folder, ""), [share, 1 - share], atol=1e-6)


def test_counts_may_be_dampened_and_left_unscaled(folder: Path) -> None:
    edit(folder, lambda t: t.update(sublinear=True, norm="none"), "terms.json")
    logit = 0.25 - (1 + math.log(3)) * 1.0 * 2
    assert p(folder, "good good good")[0] == pytest.approx(1 / (1 + math.exp(-logit)), abs=1e-6)


def test_hashed_terms(tmp_path: Path) -> None:
    """The hash is part of the format: a bucket is the lower bits of XXH32."""
    (bucket,) = Counter(Terms(buckets=16), 8).count(["good"])[0].ids
    assert bucket == xxh32_intdigest(b"good") % 16
    weight = np.zeros((16, 2))
    weight[bucket, 1] = 3
    folder = make(tmp_path / "h", {"buckets": 16}, {"sentiment.weight": weight, "sentiment.bias": [0.0, 0.0]})
    assert p(folder, "good")[1] > 0.9


def test_chosen_features(tmp_path: Path) -> None:
    tensors = {"chosen": [1, 3], "sentiment.weight": [[2.0, 0.0], [0.0, 2.0]], "sentiment.bias": [0.0, 0.0]}
    folder = make(tmp_path / "c", {"terms": TERMS}, tensors)
    assert p(folder, "bad")[0] > 0.8
    assert p(folder, "not good")[1] > 0.8
    assert p(folder, "good")[0] == pytest.approx(0.5)


def test_many_tokens_are_cut_and_told(folder: Path) -> None:
    answer = open_bundle(folder).predict(["x " * 8, "x " * 9, "x " * 8 + "good"])
    told, sentiment = answer[TRUNCATED], answer["sentiment"]
    assert isinstance(told, np.ndarray)
    assert isinstance(sentiment, np.ndarray)
    assert told[:, 0].tolist() == [0, 1, 1]
    assert sentiment[0].tolist() == sentiment[2].tolist()


def test_many_heads_in_one_pass(folder: Path) -> None:
    tensors = {**WEIGHTS, "moods.weight": np.eye(4)[:, :3], "moods.bias": [0.0, 0.0, 0.0]}
    write_tensors(folder / "weights.safetensors", {name: np.array(tensor) for name, tensor in tensors.items()})
    moods = {"labels": ["a", "b", "c"], "kind": "multi", "output": "moods"}
    edit(folder, lambda m: m["heads"].update(emotion=moods))
    before = p(folder, "good")
    given = open_bundle(folder).predict(["good", ""])["emotion"]
    assert isinstance(given, np.ndarray)
    assert np.allclose(given, [[1 / (1 + math.exp(-1)), 0.5, 0.5], [0.5, 0.5, 0.5]], atol=1e-6)
    assert before == p(folder, "good")


def test_labels_are_in_the_order_of_the_tensor(folder: Path) -> None:
    before = p(folder, "good")
    edit(folder, lambda m: m["heads"]["sentiment"].update(labels=["positive", "negative"]))
    assert open_bundle(folder).heads["sentiment"] == ("positive", "negative")
    assert p(folder, "good") == before


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda m: m["heads"]["sentiment"]["labels"].append("neutral"), "'sentiment.weight' has the shape"),
        (lambda m: m["heads"]["sentiment"].update(output="mood"), "'sentiment.bias' that belongs to no head"),
        (lambda m: m["heads"]["sentiment"].update(kind="spans", labels=["O", "B-a"]), "cannot have spans"),
        (lambda m: m["heads"].update(irony={"labels": ["a", "b"]}), "has no tensor 'irony.weight'"),
        (lambda m: m.update(schema_version=2), "schema_version 2"),
        (lambda m: m["heads"]["sentiment"].update(neutral_band=[0.6, 0.8]), "a half between them"),
    ],
)
def test_a_manifest_that_does_not_fit(folder: Path, change: Edit, expected: str) -> None:
    edit(folder, change)
    assert expected in refusal(folder)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda t: t["terms"].append("more"), "the labels or terms do not belong to these weights"),
        (lambda t: t["terms"].append("good"), "a term stands twice"),
        (lambda t: t.update(buckets=4), "either terms or buckets"),
        (lambda t: t.update(terms=None, buckets=5), "a power of two"),
        (lambda t: t.update(ngrams=[2, 1]), "the shorter length first"),
        (lambda t: t.update(ngrams=[1, 99]), "ngrams.1"),
        (lambda t: t.update(schema_version=2), "schema_version"),
        (lambda t: t.update(analyzer="char"), "analyzer"),
        (lambda t: t.update(pickle="x"), "pickle"),
    ],
)
def test_terms_that_do_not_fit(folder: Path, change: Edit, expected: str) -> None:
    edit(folder, change, "terms.json")
    assert expected in refusal(folder)


@pytest.mark.parametrize("name", ["terms.json", "weights.safetensors"])
def test_files_that_are_missing_changed_or_broken(folder: Path, name: str) -> None:
    digest = sha256(folder / name)
    edit(folder, lambda m: m.update(sha256={name: digest}))
    p(folder, "good")
    (folder / name).write_bytes(b"\x80\x04never unpickled.")
    assert f"{name} has SHA-256" in refusal(folder)
    edit(folder, lambda m: m.pop("sha256"))
    assert name in refusal(folder)
    (folder / name).unlink()
    assert f"the file {name} is missing" in refusal(folder)


@pytest.mark.parametrize(
    ("tensors", "expected"),
    [
        ({**WEIGHTS, "idf": [1.0, 2.0]}, "'idf' has the shape (2,)"),
        ({**WEIGHTS, "sentiment.bias": [0.0, math.nan]}, "'sentiment.bias' holds what is no number"),
        ({**WEIGHTS, "sentiment.bias": [0, 1]}, "'sentiment.bias'"),
        ({**WEIGHTS, "chosen": [0, 1, 2, 9]}, "ascending numbers below 4"),
        ({**WEIGHTS, "chosen": [0, 2, 1, 3]}, "ascending numbers below 4"),
        ({**WEIGHTS, "chosen": [0.0, 1.0, 2.0, 3.0]}, "ascending numbers below 4"),
        ({"idf": WEIGHTS["idf"]}, "has no tensor 'sentiment.weight'"),
    ],
)
def test_tensors_that_do_not_fit(tmp_path: Path, tensors: dict[str, Any], expected: str) -> None:
    assert expected in refusal(make(tmp_path / "bad", {"terms": TERMS}, tensors))


def tensor_file(path: Path, header: Any, data: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


F4 = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    ("header", "data", "expected"),
    [
        (b"", b"", "no JSON"),
        (b"[1]", b"", "no object"),
        (b"[" * 100_000, b"", "no JSON"),
        ({"a": {**F4, "dtype": "F16"}}, b"1234", "has the type 'F16'"),
        ({"a": {**F4, "shape": [2]}}, b"1234", "of shape (2,) lies at bytes 0 to 4"),
        ({"a": {**F4, "shape": [-1]}}, b"1234", "a shape of at most two edges"),
        ({"a": {**F4, "shape": [1, 1, 1]}}, b"1234", "a shape of at most two edges"),
        ({"a": {**F4, "shape": [True]}}, b"1234", "a shape of at most two edges"),
        ({"a": {**F4, "shape": [2**39, 2**39]}}, b"1234", "lies at bytes"),
        ({"a": F4}, b"12345", "1 bytes at its end"),
        ({"a": F4}, b"123", "lies at bytes 0 to 4 of 3"),
        ({"a": F4, "b": F4}, b"1234", "after 4"),
        ({"a": F4, "b": {**F4, "data_offsets": [8, 12]}}, b"1" * 12, "after 4"),
        ({"a": {"dtype": "F32"}}, b"", "expected a dtype"),
        ({"a": 1}, b"", "expected a dtype"),
    ],
)
def test_a_file_of_tensors_that_is_none(tmp_path: Path, header: Any, data: bytes, expected: str) -> None:
    with pytest.raises(ModelError, match="is no file of tensors") as caught:
        read_tensors(tensor_file(tmp_path / "x", header, data))
    assert expected in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, b"\xff" * 100])
def test_a_header_that_is_too_long(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ModelError, match="header would be"):
        read_tensors(tmp_path / "x")


@given(st.dictionaries(st.text(max_size=5), st.tuples(st.integers(0, 4), st.integers(0, 4), st.booleans()), max_size=5))
def test_tensors_are_read_as_they_were_written(shapes: dict[str, tuple[int, int, bool]]) -> None:
    shapes.pop("__metadata__", None)
    given = {
        name: np.arange(a * b).reshape(a, b).astype(np.int64 if whole else np.float32)
        for name, (a, b, whole) in shapes.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t"
        write_tensors(path, given)
        back = read_tensors(path)
    assert back.keys() == given.keys()
    assert all(np.array_equal(back[name], given[name]) and back[name].dtype == given[name].dtype for name in given)


WORDS = st.lists(st.sampled_from(["good", "bad", "not", "zzz", "😀", ":)"]), max_size=6).map(" ".join)


@given(st.lists(WORDS, min_size=1, max_size=6))
def test_a_row_does_not_depend_on_the_rows_beside_it(texts: list[str]) -> None:
    counter = Counter(Terms(ngrams=(1, 2), terms=TERMS), 100)
    together, _ = counter.count(texts)
    for i, text in enumerate(texts):
        alone, _ = counter.count([text])
        part = slice(together.starts[i], together.starts[i + 1])
        assert together.ids[part].tolist() == alone.ids.tolist()
        assert together.values[part].tolist() == alone.values.tolist()


def test_the_stream_scores_with_it(folder: Path) -> None:
    rows = score_texts(["good", "bad", None], str(folder)).to_pylist()
    assert [row["sentiment"] for row in rows] == ["positive", "negative", None]
    assert rows[0]["p_neutral"] == 0


def scored(uri: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = score_texts(["good", "bad", "x"], uri, probabilities=True).to_pylist()
    return rows


def test_a_neutral_band_changes_labels_and_no_probability(folder: Path) -> None:
    plain = scored(f"bundle:{folder}")
    banded = scored(f"bundle:{folder}?neutral_band=0.4-0.6")
    assert [row["sentiment"] for row in plain] == ["positive", "negative", "negative"]
    assert [row["sentiment"] for row in banded] == ["positive", "negative", "neutral"]  # p(positive) of "x" is 0.44
    for before, after in zip(plain, banded, strict=True):
        assert {**before, "sentiment": None} == {**after, "sentiment": None}
    edit(folder, lambda m: m["heads"]["sentiment"].update(neutral_band=[0.4, 0.6]))
    model = open_bundle(folder)
    assert getattr(model, "neutral_band", None) == (0.4, 0.6)
    assert pa.array([row["sentiment"] for row in scored(f"bundle:{folder}?threads=2")]).to_pylist()[2] == "neutral"


def test_a_neutral_band_is_for_two_sentiments(folder: Path) -> None:
    tensors = {"sentiment.weight": np.zeros((4, 3)), "sentiment.bias": [0.0, 0.0, 0.0]}
    three = make(folder.parent / "three", {"terms": TERMS}, tensors)
    edit(three, lambda m: m["heads"]["sentiment"].update(labels=["negative", "neutral", "positive"]))
    with pytest.raises(ModelError, match="it has negative, neutral, positive"):
        create("models", f"bundle:{three}?neutral_band=0.4-0.6")
    for wrong in ("0.6-0.8", "0.4", "a-b", "0.7-0.2"):
        with pytest.raises(ConfigError, match="neutral_band"):
            create("models", f"bundle:{folder}?neutral_band={wrong}")


def test_it_takes_any_text_and_each_by_itself(folder: Path) -> None:
    texts = [
        "",
        "😀" * 3000,
        "a" * 20_000,
        "good " * 4000,
        "ชอบมาก 好きです",
        "\x00\ufffd\u202e",
        "not good",
        "a\ud800b",
    ]
    texts = [*texts, *(f"filler {'bad ' * i}" for i in range(2000))]
    model = open_bundle(folder)
    together = model.predict(texts)["sentiment"]
    assert isinstance(together, np.ndarray)
    assert together.dtype == np.float32
    assert np.allclose(together.sum(axis=1), 1, atol=1e-6)
    for i in (*range(12), 1023, 1024, 2007):
        alone = model.predict([texts[i]])["sentiment"]
        assert isinstance(alone, np.ndarray)
        assert np.abs(together[i] - alone[0]).max() < 1e-6
    none = model.predict([])["sentiment"]
    assert isinstance(none, np.ndarray)
    assert none.shape == (0, 2)
