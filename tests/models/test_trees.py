"""Bundles of trees: what they answer, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feltwire.errors import ModelError
from feltwire.models._formats import open_bundle
from feltwire.models._safetensors import write_tensors

# Two trees over (good, bad): one asks for `good`, then for a second `bad`; the other is a leaf.
TREES: dict[str, Any] = {
    "sentiment.feature": [0, 1, -1, -1, -1, -1],
    "sentiment.threshold": [0.5, 1.5, 0.0, 0.0, 0.0, 0.0],
    "sentiment.children": [[1, 4], [2, 3], [-1, -1], [-1, -1], [-1, -1], [-1, -1]],
    "sentiment.value": [[0, 0], [0, 0], [0.5, 0.5], [1, 0], [0.25, 0.75], [0.25, 0.75]],
    "sentiment.roots": [0, 5],
}


def make(folder: Path, change: Callable[[dict[str, Any]], object] = lambda tensors: None, **head: Any) -> Path:
    tensors = {
        name: np.array(value, float if name.endswith(("threshold", "value")) else int) for name, value in TREES.items()
    }
    change(tensors)
    folder.mkdir(exist_ok=True)
    (folder / "terms.json").write_text(json.dumps({"schema_version": 1, "terms": ["good", "bad"], "norm": "none"}))
    write_tensors(folder / "weights.safetensors", tensors)
    manifest = {
        "schema_version": 1, "format": "trees", "name": "wood", "version": "1", "profile": "social", "max_tokens": 8,
        "heads": {"sentiment": {"labels": ["negative", "positive"], **head}},
    }  # fmt: skip
    (folder / "model.json").write_text(json.dumps(manifest))
    return folder


def test_the_mean_of_the_leaves(tmp_path: Path) -> None:
    texts = ["good good", "bad", "", "bad bad x", "good bad bad"]
    expected = [[0.25, 0.75], [0.375, 0.625], [0.375, 0.625], [0.625, 0.375], [0.25, 0.75]]
    model = open_bundle(make(tmp_path / "a"))
    assert np.allclose(model.predict(texts)["sentiment"], expected, atol=1e-6)
    for text, row in zip(texts, expected, strict=True):
        assert np.allclose(model.predict([text])["sentiment"], [row], atol=1e-6)
    assert model.predict([])["sentiment"].shape == (0, 2)  # type: ignore[union-attr]
    assert model.predict(["a b c d e f g h i", "a"])["truncated"].tolist() == [[1], [0]]  # type: ignore[union-attr]


def test_a_temperature_changes_how_sure_it_is(tmp_path: Path) -> None:
    given = open_bundle(make(tmp_path / "a", temperature=0.5)).predict(["good"])["sentiment"]
    assert np.allclose(given, [[0.1, 0.9]], atol=1e-6)  # 1 : 3, squared


def put(name: str, value: Any) -> Callable[[dict[str, Any]], object]:
    return lambda tensors: tensors.__setitem__(f"sentiment.{name}", np.array(value))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda tensors: tensors.pop("sentiment.roots"), "has no tensor 'sentiment.roots'"),
        (lambda tensors: tensors.__setitem__("other", np.array([1])), "'other' that belongs to no head"),
        (put("threshold", [0.5]), "the labels do not belong to these trees"),
        (put("threshold", [np.nan] * 6), "the labels do not belong to these trees"),
        (put("feature", [0.5] * 6), "the labels do not belong to these trees"),
        (put("feature", [2, 1, -1, -1, -1, -1]), "are no trees over 2 features"),
        (put("children", [[0, 4], [2, 3], [-1, -1], [-1, -1], [-1, -1], [-1, -1]]), "are no trees"),  # a circle
        (put("children", [[1, 6], [2, 3], [-1, -1], [-1, -1], [-1, -1], [-1, -1]]), "are no trees"),
        (put("roots", [6]), "are no trees"),
        (put("roots", np.zeros(0, int)), "are no trees"),
        (put("value", [[0.0, 0], [0, 0], [0.5, 0.6], [1, 0], [0.25, 0.75], [0.25, 0.75]]), "are no trees"),
    ],
)
def test_what_is_refused(change: Callable[[dict[str, Any]], object], expected: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=expected) as refused:
        open_bundle(make(tmp_path / "a", change))
    assert "\n" not in str(refused.value)


def test_trees_give_classes(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="trees give classes, not multi"):
        open_bundle(make(tmp_path / "a", kind="multi"))
