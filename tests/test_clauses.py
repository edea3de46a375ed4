"""Mixed feelings: how a post is split, when it is called mixed, and that this is its own business alone."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.bundles.make_tiny import vocabulary
from tests.bundles.versions import TINY, tiny
from tests.models.twin import SENTIMENT, FunctionModel

from feltwire import clauses, metrics
from feltwire.clauses import MAX_CLAUSES, candidates, mixed, split
from feltwire.scoring import score_rows, score_texts

CASES = [
    json.loads(line)
    for line in (Path(__file__).parent / "cases" / "clauses.jsonl").read_text(encoding="utf-8").splitlines()
]


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The tiny bundle, surer of itself, and asking for clauses."""

    def change(manifest: dict[str, Any]) -> None:
        manifest["clauses"] = True
        manifest["heads"]["sentiment"]["temperature"] = 0.7

    return str(tiny(tmp_path_factory.mktemp("clauses") / "bundle", "2", change))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The crew was lovely, but the food was awful.", ["The crew was lovely", "the food was awful."]),
        ("Although the crew was kind, we were late.", ["the crew was kind", "we were late."]),
        ("We were late although they hurried", ["We were late", "they hurried"]),
        ("So late. Though kind people, they lost it", ["So late", "kind people", "they lost it"]),
        ("I hate waiting; the music is great - really great", ["I hate waiting", "the music is great", "really great"]),
        ("Love the seats. Hate the food! Why?", ["Love the seats", "Hate the food! Why?"]),
        ("one. two three", ["one. two three"]),
        ("well-known, 3-2 and a.b.c", ["well-known, 3-2 and a.b.c"]),
        ("nothing but delays", ["nothing but delays"]),
        ("it was delayed yet again today", ["it was delayed yet again today"]),
        ("Great flight though late", ["Great flight though late"]),
        ("Buttery whiley exceptional", ["Buttery whiley exceptional"]),
        ("but but but", []),
        ("hm. ok. but. no.", ["hm. ok. but. no."]),
        ("", []),
        ("...", []),
    ],
)
def test_split(text: str, expected: list[str]) -> None:
    assert [clause.rstrip(".!? ") for clause in split(text)] == [clause.rstrip(".!? ") for clause in expected]


@given(
    st.text(st.sampled_from("ab .,;-—!?\n") | st.characters(), max_size=200)
    | st.lists(
        st.sampled_from(["but", "although", "a", "good", ".", ",", ";", " - ", "not yet", "while"]), max_size=60
    ).map(" ".join)
)
def test_clauses_are_parts_of_the_text_in_order(text: str) -> None:
    found = split(text)
    assert len(found) <= MAX_CLAUSES
    at = 0
    for clause in found:
        at = text.index(clause, at) + len(clause)
    assert all(len(clause.split()) >= clauses.MIN_WORDS for clause in found) or len(found) == 1


@pytest.mark.parametrize("piece", ["but ", ". ", ", ", " ", "although, ", "- ", "even ", ";", "…", "a. ", "not "])
def test_splitting_is_linear(piece: str) -> None:
    def seconds(length: int) -> float:
        text = (piece * length)[:length]
        began = time.perf_counter()
        split(text)
        return time.perf_counter() - began

    assert min(seconds(48_000) for _ in range(3)) < 100 * max(1e-3, min(seconds(3_000) for _ in range(3)))


@pytest.mark.parametrize(
    ("negative", "positive", "expected"),
    [
        ([0.95, 0.02], [0.02, 0.95], 0.95),
        ([0.02, 0.95], [0.95, 0.02], 0.95),
        ([0.9, 0.9], [0.1, 0.1], 0.0),
        ([0.6, 0.1], [0.1, 0.9], 0.0),
        ([0.5, 0.5], [0.5, 0.5], 0.0),
        ([0.99], [0.01], 0.0),
        ([], [], 0.0),
    ],
)
def test_only_what_is_opposed_is_mixed(negative: list[float], positive: list[float], expected: float) -> None:
    assert mixed(np.array(negative), np.array(positive)) == pytest.approx(expected)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=8))
def test_how_mixed_is_a_probability_and_no_surer_than_its_clauses(pairs: list[tuple[float, float]]) -> None:
    negative, positive = (np.array([pair[i] for pair in pairs]) for i in (0, 1))
    p = mixed(negative, positive)
    assert 0 <= p <= 1
    assert p <= max(negative, default=0) + 1e-12
    assert p == mixed(negative[::-1], positive[::-1])


def test_more_opposed_is_more_mixed() -> None:
    given = [mixed(np.array([p, 0.0]), np.array([0.0, p])) for p in np.linspace(0, 1, 50)]
    assert given == sorted(given)
    assert given[0] == given[25] == 0


def test_who_is_looked_at_a_second_time() -> None:
    texts = pa.array(["good but bad", "good and bad", "good; bad", "good - bad", "torn", "BUT why", None, "button"])
    sure, slightly, torn = 0.005, clauses.TORN_AT_A_SIGN, clauses.TORN
    assert candidates(texts, np.full(8, sure), np.full(8, 0.9)) == [0, 5]
    assert candidates(texts, np.full(8, slightly), np.full(8, 0.9)) == [0, 2, 3, 5]
    assert candidates(texts, np.full(8, torn), np.full(8, 0.7)) == list(range(8))


@pytest.mark.parametrize("case", CASES, ids=[case["text"][:40] for case in CASES])
def test_posts(uri: str, case: dict[str, Any]) -> None:
    row = score_texts([case["text"]], uri).to_pylist()[0]
    assert row["p_negative"] + row["p_neutral"] + row["p_positive"] + row["p_mixed"] == 1
    assert (row["sentiment"] == "mixed") == case["mixed"], (row["p_mixed"], split(case["text"]))
    if not case["mixed"]:
        assert row["p_mixed"] < 0.05


def test_there_are_cases_enough() -> None:
    assert [sum(case["mixed"] is kind for case in CASES) for kind in (True, False)] == [20, 20]


def test_a_model_that_does_not_ask_is_left_alone() -> None:
    texts = [case["text"] for case in CASES]
    for model in (str(TINY), "lexicon:vader"):
        assert set(score_texts(texts, model).column("p_mixed").to_pylist()) == {0.0}


def test_the_models_own_probabilities_stay(uri: str) -> None:
    text = "The crew was great, but the food was awful."
    row = score_texts([text], uri, probabilities=True).to_pylist(maps_as_pydicts="strict")[0]
    own = row["probabilities"]["sentiment"]
    assert set(own) == set(SENTIMENT)
    for label in SENTIMENT:
        assert row[f"p_{label}"] == pytest.approx(own[label] * (1 - row["p_mixed"]), abs=1e-5)


WORDS = st.lists(
    st.sampled_from([*list(vocabulary())[4:300], "but", "however", ".", ";", "although"]), max_size=15
).map(" ".join)


@given(st.lists(WORDS, min_size=1, max_size=8), st.integers(0, 7))
def test_a_row_does_not_depend_on_the_rows_beside_it(uri: str, texts: list[str], chosen: int) -> None:
    row = chosen % len(texts)
    together = score_texts([*texts, "great crew but awful food"], uri).slice(row, 1).to_pylist()[0]
    alone = score_texts([texts[row]], uri).to_pylist()[0]
    for name in ("p_negative", "p_neutral", "p_positive", "p_mixed"):
        assert (together[name] is None) == (alone[name] is None)
        assert together[name] is None or together[name] == pytest.approx(alone[name], abs=1e-4)
        assert together[name] is None or together["p_mixed"] <= 1


def opposed(text: str) -> dict[str, Any]:
    """Counts what it is asked; fails on a clause that says so."""
    if text == "fault here":
        raise ValueError(text)
    bad, good = "bad" in text, "good" in text
    return {
        "sentiment": (0.5, 0.0, 0.5) if bad and good else (1.0, 0, 0) if bad else (0, 0, 1.0) if good else (0, 1, 0)
    }


def rows_of(texts: list[str]) -> tuple[list[dict[str, Any]], FunctionModel]:
    model = FunctionModel(opposed)
    model.clauses = True  # type: ignore[attr-defined]  # as a bundle that asks for it has
    column = pa.array(texts)
    scores, failures = score_rows(model, column, np.ones(len(texts), np.bool_), originals=column)
    assert not failures
    return scores.to_pylist(), model


def test_only_what_shows_a_contrast_is_scored_again_and_counted() -> None:
    before = metrics.CLAUSES.labels(model="twin@1")._value.get()
    rows, model = rows_of(["good day", "good day but bad night", "a plain day", "but", "good bad"])
    assert model.calls == [5, 2]
    assert [row["sentiment"] for row in rows] == ["positive", "mixed", "neutral", "neutral", "negative"]
    assert rows[1]["p_mixed"] == 1.0
    assert metrics.CLAUSES.labels(model="twin@1")._value.get() - before == 1


def test_a_clause_on_which_the_model_fails_says_nothing() -> None:
    rows, _ = rows_of(["good day but fault here", "bad day but good night"])
    assert [row["sentiment"] for row in rows] == ["positive", "mixed"]


@pytest.mark.parametrize("labels", [("negative", "positive"), ("negative", "neutral", "positive", "mixed")])
def test_other_heads_than_those_of_three_are_left_alone(labels: tuple[str, ...]) -> None:
    share = 1 / len(labels)
    model = FunctionModel(lambda text: {"sentiment": (share,) * len(labels)}, {"sentiment": labels})
    model.clauses = True  # type: ignore[attr-defined]  # as above
    column = pa.array(["good but bad day here"])
    score_rows(model, column, np.ones(1, np.bool_), originals=column)
    assert model.calls == [1]


def test_counts_go_from_a_worker_to_the_engine() -> None:
    metrics.take_counts()
    metrics.CLAUSES.labels(model="far@1").inc(3)
    counts = metrics.take_counts()
    assert counts == {("feltwire_clause_texts", (("model", "far@1"),)): 3.0}
    assert metrics.take_counts() == {}
    metrics.add_counts(counts)
    assert metrics.CLAUSES.labels(model="far@1")._value.get() == 6
