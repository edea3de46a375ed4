"""The models that ship: what they are, the order of their labels, and that they are as good as their cards say."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from feltwire.models._bundle import read_manifest
from feltwire.scoring import load, score_texts
from feltwire.text import clean

BUNDLES = Path(__file__).parents[2] / "src" / "feltwire" / "bundles"
CASES = Path(__file__).parents[1] / "cases"
SHIPPED = ("base", "fast")
MOST_BYTES = {"base": 25_000_000, "fast": 15_000_000}

# A post of which there can be no two opinions, for every head: were labels and numbers to get out of step, one of
# them would come out wrong.
CLEAR = (
    ("sentiment", "negative", "This is the worst day ever, I hate it so much"),
    ("sentiment", "neutral", "The meeting is on Tuesday at 10 am in room 4"),
    ("sentiment", "positive", "I love this, what a wonderful day, thank you!"),
    ("emotion", "anger", "I am furious, how dare you, this makes me so angry"),
    ("emotion", "joy", "so happy and full of joy today, best birthday ever!"),
    ("emotion", "sadness", "I feel so sad and depressed, crying all night, lost and lonely"),
    ("offensive", "offensive", "you are a stupid piece of shit, you bitch"),
    ("offensive", "not-offensive", "Good morning, have a nice weekend everyone"),
    ("hate", "not-hate", "Good morning, have a nice weekend everyone"),
    ("complaint", "complaint", "@user you cancelled my flight and nobody answers the phone, worst airline"),
    ("complaint", "no_complaint", "What a lovely sunset at the beach with my friends"),
    ("reason", "Late Flight", "@user my flight is delayed 3 hours again"),
    ("reason", "Lost Luggage", "@user you lost my luggage, where is my bag?"),
)


@pytest.fixture(scope="module", params=SHIPPED)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def floats(given: Any) -> "np.ndarray[Any, np.dtype[np.float32]]":
    assert isinstance(given, np.ndarray)
    return given


MOST_BY_RUNTIME = 0.04


def test_heads_and_size(name: str) -> None:
    manifest = read_manifest(BUNDLES / name)
    assert list(manifest.heads) == [
        "sentiment", "emoji", "emotion", "irony", "offensive", "hate", "complaint", "reason", "category", "entities",
    ]  # fmt: skip
    assert len(manifest.heads["emoji"].labels) == 70
    assert len(manifest.heads["reason"].labels) == 10
    assert len(manifest.heads["category"].labels) == 8
    assert manifest.languages == frozenset({"en"})
    assert manifest.training
    assert sum(path.stat().st_size for path in (BUNDLES / name).iterdir()) <= MOST_BYTES[name]
    graph = (BUNDLES / name / "model.onnx").read_bytes()
    assert b"/root/" not in graph
    assert b'File "' not in graph


@pytest.mark.parametrize(("head", "label", "text"), CLEAR)
def test_labels_are_in_step_with_their_numbers(name: str, head: str, label: str, text: str) -> None:
    model = load(f"bundled:{name}")
    p = floats(model.predict(clean([text], model.profile))[head])[0]
    assert model.heads[head][int(p.argmax())] == label


def test_entities_have_their_labels(name: str) -> None:
    (row,) = score_texts(["Anna flew from London to Paris yesterday"], f"bundled:{name}").to_pylist()
    found = {(entity["text"], entity["label"]) for entity in row["entities"]}
    assert {("London", "location"), ("Paris", "location")} <= found


@pytest.mark.parametrize(("runtime", "most"), [("onnxruntime", 0.005), ("openvino", 1e-6)])
def test_a_row_does_not_depend_on_the_rows_beside_it(name: str, runtime: str, most: float) -> None:
    if runtime == "openvino":
        pytest.importorskip("openvino")
    model = load(f"bundled:{name}?runtime={runtime}")
    rows = [json.loads(line)["text"] for line in (CASES / "complaints.jsonl").read_text().splitlines()[:64]]
    texts = clean([*rows, "x", "!", "long " * 100], model.profile)
    together = model.predict(texts)
    for i in range(0, len(texts), 6):
        alone = model.predict([texts[i]])
        for head in model.heads:
            if head != "entities":
                assert np.abs(floats(alone[head])[0] - floats(together[head])[i]).max() < most


def test_the_runtime_changes_little(name: str) -> None:
    pytest.importorskip("openvino")
    rows = [json.loads(line)["text"] for line in (CASES / "complaints.jsonl").read_text().splitlines()]
    plain, fast = (load(f"bundled:{name}?runtime={runtime}") for runtime in ("onnxruntime", "openvino"))
    texts = clean(rows, plain.profile)
    one, two = plain.predict(texts), fast.predict(texts)
    for head in plain.heads:
        if head != "entities":
            difference = np.abs(floats(one[head]) - floats(two[head])).max()
            assert difference < MOST_BY_RUNTIME, head  # as docs/models.md says


def test_complaints_are_told_apart(name: str) -> None:
    rows = [json.loads(line) for line in (CASES / "complaints.jsonl").read_text().splitlines()]
    scores = score_texts([row["text"] for row in rows], f"bundled:{name}").to_pylist()
    right = sum(score["complaint"] == (row["label"] == "complaint") for row, score in zip(rows, scores, strict=True))
    assert len(rows) == 300
    assert right / len(rows) >= FLOORS[name]["complaint"]


def test_every_category_is_reached(name: str) -> None:
    rows = [json.loads(line) for line in (CASES / "categories.jsonl").read_text().splitlines()]
    assert set(Counter(row["category"] for row in rows).values()) == {10}
    model = load(f"bundled:{name}")
    p = floats(model.predict(clean([row["text"] for row in rows], model.profile))["category"])
    answers = [model.heads["category"][i] for i in p.argmax(axis=1)]
    right = sum(row["category"] == answer for row, answer in zip(rows, answers, strict=True))
    assert right / len(rows) >= FLOORS[name]["category"]
    reached = {row["category"] for row, answer in zip(rows, answers, strict=True) if answer == row["category"]}
    assert reached == set(model.heads["category"])


FLOORS = {
    "base": {"complaint": 0.82, "category": 0.80, "sentiment": 0.70},
    "fast": {"complaint": 0.73, "category": 0.66, "sentiment": 0.67},
}
"""What they reached when they were made, less what another machine's rounding may take: see their cards."""


@pytest.mark.slow
def test_sentiment_is_as_good_as_the_card_says(name: str, test_data: Path) -> None:
    table = pq.read_table(test_data / "tweeteval_sentiment" / "validation.parquet", columns=["text", "label"])
    model = load(f"bundled:{name}?threads=2")
    p = floats(model.predict(clean(table["text"].to_pylist(), model.profile))["sentiment"])
    answers = np.array(model.heads["sentiment"])[p.argmax(axis=1)]
    labels = np.array(table["label"].to_pylist())
    recall = np.mean([(answers[labels == label] == label).mean() for label in model.heads["sentiment"]])
    assert recall >= FLOORS[name]["sentiment"]
