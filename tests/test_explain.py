"""Which words moved a score: exact for what adds up, close for what does not, and always about the post as written."""

import json
from collections.abc import Mapping, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.bundles import onnx_writer as onnx
from tests.bundles.versions import TINY, tiny
from tests.models.twin import FunctionModel

from feltwire import explain as explaining
from feltwire import loading
from feltwire.errors import ConfigError, ModelError
from feltwire.explain import MAX_EXACT, MAX_UNITS, Explanation, explain, units
from feltwire.models._auto import AutoModel, Limits
from feltwire.scoring import score_texts

WORTH: Mapping[str, float] = {"good": 0.125, "great": 0.25, "bad": -0.125, "awful": -0.25}


def adding_up(text: str) -> dict[str, Sequence[float]]:
    """Linear in the words: each word adds what it is worth, once for each time that it stands there."""
    p = 0.5 + sum(WORTH.get(word.lower(), 0.0) for word in text.split()) / 16
    return {"sentiment": (1 - p, 0.0, p)}


def together(text: str) -> dict[str, Sequence[float]]:
    """`not` turns `good` over: no word alone says so."""
    words = set(text.split())
    p = 0.5 + (0.4 if "good" in words else 0.0) * (-1 if "not" in words else 1)
    return {"sentiment": (1 - p, 0.0, p)}


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Models by name, in place of those that URIs name."""
    models: dict[str, Any] = {
        "adding": FunctionModel(adding_up),
        "together": FunctionModel(together),
    }
    monkeypatch.setattr(explaining, "load", lambda uri: models[uri])
    return models


WORDS = st.lists(st.sampled_from([*WORTH, "the", "plane"]), min_size=1, max_size=12)


@pytest.mark.parametrize("method", ["exact", "sampled"])
@given(words=WORDS)
def test_what_adds_up_is_explained_exactly(method: Any, words: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explaining, "load", lambda uri: FunctionModel(adding_up))
        found = explain(
            " ".join(words), "adding", label="positive", method=method, samples=4 if method == "sampled" else None
        )
    assert [word.text for word in found.words] == words
    for word in found.words:
        assert word.value == pytest.approx(WORTH.get(word.text, 0.0) / 16, abs=1e-6)
        assert word.error is None or word.error == pytest.approx(0, abs=1e-6)
    assert found.unexplained == pytest.approx(0, abs=1e-6)
    assert found.p == pytest.approx(0.5 + sum(WORTH.get(word, 0.0) for word in words) / 16)


def shapley(words: list[str]) -> list[float]:
    """By the definition: over all orders."""
    values = np.zeros(len(words))
    orders = list(permutations(range(len(words))))
    for order in orders:
        there: list[int] = []
        for i in order:
            before = together(" ".join(words[j] for j in sorted(there)))["sentiment"][2]
            there.append(i)
            values[i] += together(" ".join(words[j] for j in sorted(there)))["sentiment"][2] - before
    return [float(value) / len(orders) for value in values]


def test_what_words_do_together_is_shared_out(served: dict[str, Any]) -> None:
    words = ["not", "a", "good", "plane"]
    found = explain(" ".join(words), "together", label="positive", samples=400)
    assert found.method == "sampled"
    assert found.unexplained == pytest.approx(0, abs=1e-6)
    for word, exact in zip(found.words, shapley(words), strict=True):
        assert word.error is not None
        assert abs(word.value - exact) <= 4 * word.error + 1e-6
    left_out = explain(" ".join(words), "together", label="positive")
    assert left_out.method == "exact"
    assert [round(word.value, 3) for word in left_out.words] == [-0.8, 0, -0.4, 0]
    assert left_out.unexplained == pytest.approx(0.8, abs=1e-6)


def test_the_stated_error_shrinks_with_the_samples(served: dict[str, Any]) -> None:
    def of_three(text: str) -> dict[str, Sequence[float]]:
        p = 0.9 if {"not", "so", "good"} <= set(text.split()) else 0.1
        return {"sentiment": (1 - p, 0.0, p)}

    served["three"] = FunctionModel(of_three)
    few, many = (explain("not so good a plane", "three", label="positive", samples=n) for n in (20, 1000))
    assert many.words[0].value == pytest.approx(0.8 / 3, abs=4 * (many.words[0].error or 0))
    assert many.words[0].error is not None
    assert few.words[0].error is not None
    assert many.words[0].error < few.words[0].error


def test_the_same_seed_says_the_same(served: dict[str, Any]) -> None:
    first, again, other = (explain("not so good a plane", "together", samples=6, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_each_text_is_scored_once(served: dict[str, Any]) -> None:
    found = explain("good bad", "adding", samples=1000)
    assert found.evaluations == 4
    assert sum(served["adding"].calls) == 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I love @delta.com, don't you?!", ["I", "love", "@delta.com", ",", "don't", "you", "?", "!"]),
        ("see https://a.io/b?c=d now", ["see", "https://a.io/b?c=d", "now"]),
        ("😡😡 #late!!! 👩‍👩‍👧 🇩🇪", ["😡", "😡", "#late", "!!!", "👩‍👩‍👧", "🇩🇪"]),
        ("fish &amp; chips &#39;", ["fish", "&amp;", "chips", "&#39;"]),
        ("ça va, naïve café", ["ça", "va", ",", "naïve", "café"]),
        ("", []),
        (" \n ", []),
    ],
)
def test_units(text: str, expected: list[str]) -> None:
    assert [text[start:end] for start, end in units(text)] == expected


@given(st.text(max_size=300))
def test_units_are_in_order_and_hold_every_letter(text: str) -> None:
    at, left = 0, []
    for start, end in units(text):
        assert at <= start < end <= len(text)
        left.append(text[at:start])
        at = end
    assert not "".join([*left, text[at:]]).strip()


def test_a_long_post_is_explained_in_phrases(served: dict[str, Any]) -> None:
    text = "the good plane " * 300
    found = explain(text, "adding")
    assert len(units(text)) == MAX_UNITS
    assert found.method == "sampled"
    assert found.words[0].text.startswith("the good plane")
    assert MAX_EXACT < MAX_UNITS


def test_spans_are_those_of_the_post_as_written() -> None:
    text = "Soooooo  LOVE &amp; 😡 https://x.io/lost @united"
    found = explain(text, str(TINY))
    for word in found.words:
        assert word.start is not None
        assert text[word.start : word.end] == word.text
    values = {word.text: word.value for word in found.words}
    assert values["https://x.io/lost"] == 0.0
    assert max(values, key=lambda word: abs(values[word])) in {"LOVE", "😡"}


@pytest.mark.parametrize("uri", [str(TINY), "lexicon:vader"])
def test_the_probability_is_the_one_of_score(uri: str) -> None:
    text = "I love the crew, they are great"
    scores = score_texts([text], uri)
    found = explain(text, uri)
    assert found.label == scores.column("sentiment")[0].as_py()
    assert found.p == pytest.approx(scores.column(f"p_{found.label}")[0].as_py(), abs=1e-5)
    assert found.model == scores.column("model")[0].as_py()


@pytest.mark.parametrize("head", ["emotion", "emoji", "complaint", "category"])
def test_any_head(head: str) -> None:
    found = explain("they lost my luggage, angry and sad", str(TINY), head=head)
    assert found.label in loading.load(str(TINY)).heads[head]
    assert found.p > found.p_without


def test_entities() -> None:
    found = explain("I flew from London with anna", str(TINY), head="entities", label="person")
    assert {word.text: round(word.value, 1) for word in found.words if abs(word.value) > 0.1} == {"anna": 1.0}


def test_mixed_where_clauses_are_scored(tmp_path: Path) -> None:
    uri = str(
        tiny(
            tmp_path / "mixed", "2", lambda m: (m.update(clauses=True), m["heads"]["sentiment"].update(temperature=0.6))
        )
    )
    found = explain("great awesome crew, but awful rude service", uri)
    assert found.label == "mixed"
    assert found.p == pytest.approx(score_texts([found.text], uri).column("p_mixed")[0].as_py(), abs=1e-5)
    assert {word.text for word in found.words if word.value > 0.05} >= {"but"}


def test_of_two_models_the_one_that_scored_it_is_explained(served: dict[str, Any]) -> None:
    base = FunctionModel(adding_up, name="base@1")
    fast = FunctionModel(lambda text: {"sentiment": (0.9, 0.1, 0.0) if text else (0.2, 0.6, 0.2)}, name="fast@1")
    served["auto"] = AutoModel(fast, base, Limits(0.7))
    assert explain("good", "auto").model == "fast@1"
    served["auto"] = AutoModel(fast, base, Limits(1.0))
    found = explain("good", "auto", label="positive")
    assert found.model == "base@1"
    assert found.words[0].value == pytest.approx(WORTH["good"] / 16)


def attentive(folder: Path) -> Path:
    """A bundle whose graph says what it attends to: words by their number in the vocabulary."""
    bundle = tiny(folder)
    size = len(json.loads((bundle / "tokenizer.json").read_text())["model"]["vocab"])
    scores = np.zeros((size, 1), np.float32)
    scores[4:, 0] = np.arange(size - 4) / size
    weights: dict[str, onnx.Array] = {
        "scores": scores,
        "last": np.array([2], np.int64),
        "words": np.array([1], np.int64),
        "to_three": np.array([[0.1, 0.2, 0.3]], np.float32),
    }
    nodes = [
        onnx.node("Gather", ["scores", "input_ids"], "by_token", axis=0),
        onnx.node("Squeeze", ["by_token", "last"], "flat"),
        onnx.node("Softmax", ["flat"], "attention", axis=1),
        onnx.node("ReduceSum", ["flat", "words"], "sum", keepdims=1),
        onnx.node("MatMul", ["sum", "to_three"], "sentiment"),
    ]
    graph = onnx.model(
        "attentive",
        nodes=nodes,
        weights=weights,
        inputs={"input_ids": ("rows", "tokens")},
        outputs={"sentiment": ("rows", 3), "attention": ("rows", "tokens")},
    )
    (bundle / "model.onnx").write_bytes(graph)
    path = bundle / "model.json"
    manifest = json.loads(path.read_text())
    manifest |= {"sha256": {}, "heads": {"sentiment": manifest["heads"]["sentiment"]}}
    path.write_text(json.dumps(manifest))
    return bundle


def test_attention(tmp_path: Path) -> None:
    text = "The crew 😡 was GREAT, sooooo great"
    found = explain(text, str(attentive(tmp_path / "attentive")), method="attention")
    assert found.method == "attention"
    assert 0 < sum(word.value for word in found.words) < 1  # the rest is that of the tokens around the words
    for word in found.words:
        if word.start is not None:
            assert text[word.start : word.end].lower() == word.text.lower()
    places = {word.text: word.start for word in found.words}
    assert places["GREAT"] == text.index("GREAT")
    assert None in places.values()  # what the emoji became


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"head": "irony"}, "has no head 'irony': it has sentiment"),
        ({"label": "happy"}, "has no label 'happy': it has negative, neutral, positive"),
        ({"method": "magic"}, "expected one of auto, exact, sampled, attention"),
        ({"method": "attention"}, "has no attention"),
        ({"samples": 3}, "an even number from 4"),
        ({"samples": 2}, "an even number from 4"),
        ({"samples": 8, "method": "exact"}, "contradict"),
    ],
)
def test_what_cannot_be(served: dict[str, Any], more: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        explain("good", "adding", **more)


def test_a_model_that_fails(served: dict[str, Any]) -> None:
    def failing(text: str) -> dict[str, Sequence[float]]:
        raise ValueError(f"cannot read {text}")

    served["failing"] = FunctionModel(failing)
    with pytest.raises(ModelError, match="raised ValueError") as caught:
        explain("secret", "failing")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "   ", "\x00", "a" * 50_000, "😡" * 3_000, "! " * 4_000, "\u202e\ud83d"])
def test_hostile_texts(text: str) -> None:
    found = explain(text, "lexicon:vader", samples=4 if len(text) > 5 else None)
    assert isinstance(found, Explanation)
    assert len(found.words) <= MAX_UNITS


def test_as_json(served: dict[str, Any]) -> None:
    found = explain("good plane", "adding", label="positive").to_dict()
    assert json.loads(json.dumps(found)) == found
    assert found["words"][0] == {"text": "good", "start": 0, "end": 4, "value": pytest.approx(1 / 128), "error": None}
