"""The stage `score`: whom it scores, what it fills, and that batches and bad rows change nothing for the others."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.models.twin import FunctionModel, by_word

from feltwire.errors import ConfigError, ModelError, RetryableError
from feltwire.interfaces import Model
from feltwire.schema import PROBABILITY_STEPS, SCORES, conform
from feltwire.scoring import load, score_texts
from feltwire.stages import score as stage
from feltwire.stages.score import score

TINY = str(Path(__file__).parents[1] / "bundles" / "tiny")

WORKING = pa.schema(
    [
        ("id", pa.string()),
        ("outcome", pa.string()),
        ("refusal", pa.string()),
        ("lang", pa.string()),
        ("text", pa.string()),
        ("clean_text", pa.string()),
    ]
)


def batch(rows: Sequence[dict[str, Any]]) -> pa.RecordBatch:
    """Rows of the working batch; where nothing else is said, kept English posts, clean as they came."""
    filled = [{"id": str(i), "outcome": "kept", "lang": "en", **row} for i, row in enumerate(rows)]
    return pa.RecordBatch.from_pylist([{"clean_text": row.get("text"), **row} for row in filled], schema=WORKING)


def posts(*texts: str | None) -> pa.RecordBatch:
    return batch([{"text": text} for text in texts])


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Model], None]:
    """`use(model)`: the stage finds this model, whatever its URI."""
    return lambda model: monkeypatch.setattr(stage, "load", lambda uri: model)


def test_keeps_every_row_and_every_other_column() -> None:
    given_batch = posts("good", "bad", None)
    scored = score(given_batch, model="lexicon:vader")
    assert scored.num_rows == 3
    assert scored.select(WORKING.names).equals(given_batch)
    assert conform(scored, SCORES).schema == SCORES


def test_replaces_scores_that_are_there_already() -> None:
    twice = score(score(posts("good", "bad"), model=TINY), model="lexicon:vader")
    assert len(set(twice.schema.names)) == len(twice.schema.names)
    assert twice.select(SCORES.names).equals(score(posts("good", "bad"), model="lexicon:vader").select(SCORES.names))


@pytest.mark.parametrize("model", ["lexicon:vader", "bundle:" + TINY, TINY])
def test_label_order(model: str) -> None:
    scored = score(posts("I love this, great", "I hate this, it is bad", "the train left"), model=model)
    assert scored.column("sentiment").to_pylist() == ["positive", "negative", "neutral"]
    for row in scored.to_pylist():
        p = {label: row[f"p_{label}"] for label in ("negative", "neutral", "positive", "mixed")}
        assert max(p, key=p.__getitem__) == row["sentiment"]
        assert row["confidence"] == max(p.values())
        assert sum(p.values()) == 1.0


@pytest.mark.parametrize(
    ("lang", "expected"),
    [("en", True), ("EN", True), ("en-GB", True), (None, True), ("de", False), ("eng", False), ("", False)],
)
def test_a_language_that_the_model_does_not_speak_is_not_guessed(lang: str | None, expected: bool) -> None:
    scored = score(batch([{"text": "good", "lang": lang}, {"text": "good"}]), model="lexicon:vader")
    assert scored.column("scored").to_pylist() == [expected, True]
    assert scored.column("outcome").to_pylist() == ["kept", "kept"]


@pytest.mark.parametrize("outcome", ["filtered", "dead", None])
def test_only_kept_rows_are_scored(outcome: str | None) -> None:
    scored = score(batch([{"text": "good", "outcome": outcome}, {"text": "good"}]), model="lexicon:vader")
    assert scored.column("scored").to_pylist() == [False, True]
    assert scored.column("outcome").to_pylist() == [outcome, "kept"]
    row = scored.select(SCORES.names).to_pylist()[0]
    assert row == {**dict.fromkeys(SCORES.names), "scored": False, "truncated": False}


@pytest.mark.parametrize("text", [None, "", "  \n\u3000"])
def test_without_text_there_is_nothing_to_score(text: str | None) -> None:
    assert score(posts(text), model="lexicon:vader").column("scored").to_pylist() == [False]


def test_an_empty_batch() -> None:
    scored = score(posts(), model="lexicon:vader")
    assert scored.num_rows == 0
    assert conform(scored, SCORES).schema == SCORES


def test_no_model_scores_nothing() -> None:
    scored = score(posts("good", None), model="none:")
    assert scored.column("scored").to_pylist() == [False, False]
    assert scored.column("model").null_count == 2


def test_all_heads_of_the_tiny_bundle() -> None:
    text = "Sad: Delta lost my luggage in San Francisco"
    row = score(posts(text), model=TINY).to_pylist()[0]
    assert (row["sentiment"], row["emotion"], row["complaint"], row["category"]) == (
        "negative",
        "sadness",
        True,
        "baggage",
    )
    assert row["p_complaint"] > 0.8
    assert len(row["emoji"]) == 5
    assert [one["p"] for one in row["emoji"]] == sorted((one["p"] for one in row["emoji"]), reverse=True)
    assert row["emoji"][0]["emoji"] == "😭"
    assert [(e["text"], e["label"], text[e["start"] : e["end"]]) for e in row["entities"]] == [
        ("Delta", "corporation", "Delta"),
        ("San Francisco", "location", "San Francisco"),
    ]
    assert (row["irony"], row["reason"], row["urgency"], row["topic"]) == (None, None, None, None)
    assert row["model"] == "tiny@1"


def test_who_does_not_complain_has_no_category() -> None:
    row = score(posts("I love this great service, thanks"), model=TINY).to_pylist()[0]
    assert (row["complaint"], row["category"]) == (False, None)


def test_places_of_entities_are_those_in_the_uncleaned_text() -> None:
    rows = [{"text": "see  https://x.io/a   london &amp; paris", "clean_text": "see london & paris"}]
    (found,) = score(batch(rows), model=TINY).column("entities").to_pylist()
    assert [rows[0]["text"][one["start"] : one["end"]] for one in found] == ["london", "paris"]


def test_an_entity_that_cleaning_changed_has_no_place() -> None:
    (found,) = (
        score(batch([{"text": "l&#111;ndon", "clean_text": "london"}]), model=TINY).column("entities").to_pylist()
    )
    assert [(one["text"], one["start"], one["end"]) for one in found] == [("london", None, None)]


@pytest.mark.parametrize(
    "text",
    ["good " * 56, "good " * 60, "👨‍👩‍👧‍👦" * 120, ("x" * 499) + "!", "👍🏽" * 300],
    ids=["X", "Bluesky", "families", "Mastodon", "thumbs"],
)
def test_a_post_of_a_networks_own_length_is_not_truncated(text: str) -> None:
    assert score(posts(text), model="lexicon:vader").column("truncated").to_pylist() == [False]


@pytest.mark.parametrize("text", ["good " * 1000, "x" * 3001, "😀" * 5000])
def test_a_longer_text_is_bounded_and_says_so(text: str) -> None:
    row = score(posts(text, "good"), model="lexicon:vader").to_pylist()[0]
    assert (row["scored"], row["truncated"]) == (True, True)


def test_a_text_is_cut_between_words(use: Callable[[Model], None]) -> None:
    seen: list[str] = []

    def answer(text: str) -> dict[str, Sequence[float]]:
        seen.append(text)
        return by_word(text)

    use(FunctionModel(answer))
    scored = score(posts("one two three", "one two", "onetwothree", "a bcdefghijk"), model="twin", max_chars=7)
    assert seen == ["one two", "one two", "onetwot", "a bcdef"]
    assert scored.column("truncated").to_pylist() == [True, False, True, True]


def test_more_tokens_than_the_bundle_allows_is_truncated_too() -> None:
    assert score(posts("a " * 200, "a"), model=TINY).column("truncated").to_pylist() == [True, False]


def test_one_bad_row_is_dead_and_the_others_are_scored(use: Callable[[Model], None]) -> None:
    model = FunctionModel(by_word)
    use(model)
    texts = ["good"] * 200 + ["fault of someone's secret"] + ["bad"] * 200
    scored = score(posts(*texts), model="twin")
    rows = scored.to_pylist()
    assert [row["outcome"] for row in rows] == ["kept"] * 200 + ["dead"] + ["kept"] * 200
    assert rows[200]["refusal"] == "model: twin@1 raised ValueError"
    assert (rows[200]["scored"], rows[200]["sentiment"]) == (False, None)
    assert {row["sentiment"] for row in rows[:200]} == {"positive"}
    assert {row["sentiment"] for row in rows[201:]} == {"negative"}
    assert len(model.calls) < 30  # halving, not one by one
    assert rows[0]["refusal"] is None


def test_an_earlier_refusal_stays(use: Callable[[Model], None]) -> None:
    use(FunctionModel(by_word))
    rows = [{"text": "x", "outcome": "dead", "refusal": "no JSON"}, {"text": "fault"}]
    scored = score(batch(rows), model="twin")
    assert scored.column("refusal").to_pylist() == ["no JSON", "model: twin@1 raised ValueError"]


@pytest.mark.parametrize("p", [(float("nan"), 0.5, 0.5), (float("inf"), 0, 0), (2.0, -1.0, 0.0), (0.1, 0.1, 0.1)])
def test_what_is_no_probability_is_dead(use: Callable[[Model], None], p: Sequence[float]) -> None:
    use(FunctionModel(lambda text: {"sentiment": p} if text == "odd" else by_word(text)))
    scored = score(posts("good", "odd", "bad"), model="twin")
    assert scored.column("outcome").to_pylist() == ["kept", "dead", "kept"]
    assert scored.column("refusal").to_pylist() == [None, "model: twin@1 gave no probabilities", None]
    assert scored.column("sentiment").to_pylist() == ["positive", None, "negative"]


class AwayError(RetryableError):
    """A model that is away."""


def test_a_model_that_is_away_makes_no_dead_letters(use: Callable[[Model], None]) -> None:
    def away(text: str) -> dict[str, Sequence[float]]:
        raise AwayError("no answer")

    use(FunctionModel(away))
    with pytest.raises(AwayError):
        score(posts("good", "bad"), model="twin")


@pytest.mark.parametrize("answer", [{"sentiment": (0.5, 0.5)}, {"mood": (0.2, 0.3, 0.5)}])
def test_heads_other_than_the_declared_ones_are_refused(
    use: Callable[[Model], None], answer: dict[str, Sequence[float]]
) -> None:
    use(FunctionModel(lambda text: answer))
    with pytest.raises(ModelError, match="'sentiment'"):
        score(posts("good"), model="twin")


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        ((1 / 3, 1 / 3, 1 / 3), "neutral"),
        ((0.5, 0.0, 0.5), "negative"),
        ((0.0, 0.5, 0.5), "neutral"),
        ((0.5, 0.5, 0.0), "neutral"),
    ],
)
def test_a_tie_goes_the_same_way_always(use: Callable[[Model], None], p: Sequence[float], expected: str) -> None:
    use(FunctionModel(lambda text: {"sentiment": p}))
    row = score(posts("x"), model="twin").to_pylist()[0]
    assert row["sentiment"] == expected
    assert row["p_negative"] + row["p_neutral"] + row["p_positive"] + row["p_mixed"] == 1.0


def test_labels_in_another_order_and_a_fourth_one(use: Callable[[Model], None]) -> None:
    use(
        FunctionModel(
            lambda text: {"sentiment": (0.1, 0.6, 0.2, 0.1)},
            {"sentiment": ("positive", "mixed", "negative", "neutral")},
        )
    )
    row = score(posts("x"), model="twin").to_pylist()[0]
    assert row["sentiment"] == "mixed"
    assert [round(row[f"p_{label}"], 3) for label in ("negative", "neutral", "positive", "mixed")] == [
        0.2,
        0.1,
        0.1,
        0.6,
    ]


def test_two_labels_leave_neutral_at_zero(use: Callable[[Model], None]) -> None:
    use(FunctionModel(lambda text: {"sentiment": (0.3, 0.7)}, {"sentiment": ("negative", "positive")}))
    row = score(posts("x"), model="twin").to_pylist()[0]
    assert (row["sentiment"], row["p_neutral"], row["p_mixed"]) == ("positive", 0.0, 0.0)


def test_one_class_complaint_is_a_complaint_from_a_half_on(use: Callable[[Model], None]) -> None:
    use(FunctionModel(lambda text: {"complaint": (float(text),)}, {"complaint": ("complaint",)}))
    scored = score(posts("0.49", "0.5", "0.9"), model="twin")
    assert scored.column("complaint").to_pylist() == [False, True, True]


def test_a_model_without_sentiment(use: Callable[[Model], None]) -> None:
    use(FunctionModel(lambda text: {"irony": (0.25, 0.75)}, {"irony": ("irony", "non_irony")}))
    row = score(posts("x"), model="twin").to_pylist()[0]
    assert (row["scored"], row["sentiment"], row["irony"], row["p_irony"]) == (True, None, "non_irony", 0.75)


TEXTS = st.one_of(
    st.none(),
    st.text(max_size=40),
    st.sampled_from(["good", "bad", "fault", "the train", "good 😀", "lost in london", "x " * 300, ""]),
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "text": TEXTS,
            "outcome": st.sampled_from(["kept", "kept", "kept", "filtered", "dead", None]),
            "lang": st.sampled_from(["en", "de", "ja", None, "en-US"]),
        }
    ),
    max_size=12,
)


@pytest.mark.parametrize("model", ["lexicon:vader", TINY, "none:", "twin"])
@given(rows=ROWS, cut=st.integers(0, 12))
def test_rebatching_changes_nothing(model: str, rows: list[dict[str, Any]], cut: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if model == "twin":
            patch.setattr(stage, "load", lambda uri: FunctionModel(by_word))
        whole = batch(rows)
        parts = [score(part, model=model) for part in (whole.slice(0, cut), whole.slice(min(cut, len(rows))))]
        together = score(whole, model=model)
    assert together.num_rows == len(rows)
    one = pa.Table.from_batches([together]).combine_chunks()
    assert pa.Table.from_batches(parts).combine_chunks().equals(one)


@given(rows=ROWS)
def test_probabilities_are_multiples_of_the_step_and_sum_to_exactly_one(rows: list[dict[str, Any]]) -> None:
    for row in score(batch(rows), model=TINY).to_pylist():
        if row["scored"]:
            p = [row[f"p_{label}"] for label in ("negative", "neutral", "positive", "mixed")]
            assert sum(p) == 1.0
            assert all((one * PROBABILITY_STEPS).is_integer() for one in p)


def test_a_single_text_gets_the_numbers_of_the_stream() -> None:
    texts = ["I love london", "delayed and lost", None, "  ", "the train"]
    for model in ("lexicon:vader", TINY):
        streamed = score(posts(*texts), model=model).select(SCORES.names)
        assert score_texts(texts, model, langs=["en"] * len(texts)).equals(streamed)


@given(rows=ROWS)
def test_the_labels_by_name_are_the_columns_numbers(rows: list[dict[str, Any]]) -> None:
    texts = [row.get("text") for row in rows]
    for row in score_texts(texts, TINY, langs=["en"] * len(texts), probabilities=True).to_pylist():
        if row["scored"]:
            sentiment = dict(dict(row["probabilities"])["sentiment"])
            assert sentiment == {label: row[f"p_{label}"] for label in sentiment}


def test_an_unknown_model_is_a_wrong_setting() -> None:
    with pytest.raises(ConfigError, match="lexicon:"):
        score(posts("x"), model="gpt:best")


def test_a_model_is_loaded_once() -> None:
    assert load(TINY) is load(TINY)
