"""Loading a model by what a user writes, and scoring texts outside the stream."""

import multiprocessing
from pathlib import Path

import pyarrow as pa
import pytest

from feltwire.errors import ConfigError
from feltwire.schema import SCORES
from feltwire.scoring import load, score_texts

TINY = Path(__file__).parents[1] / "bundles" / "tiny"


def test_a_path_with_and_without_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(TINY.parent)
    for uri in (str(TINY), f"bundle:{TINY}", "tiny", "./tiny", "tiny/", f"{TINY}?threads=2"):
        assert load(uri).name == "tiny@1"


@pytest.mark.parametrize("uri", ["", "vader", "lexikon:vader", "/no/such/folder", "gopher:x"])
def test_what_is_neither_a_folder_nor_a_known_name(uri: str) -> None:
    with pytest.raises(ConfigError, match="lexicon:, none:"):
        load(uri)


@pytest.mark.parametrize("uri", ["lexicon:afinn", "lexicon:", "none:x", "lexicon:vader?x=1"])
def test_a_known_name_with_something_wrong_behind_it(uri: str) -> None:
    with pytest.raises(ConfigError):
        load(uri)


def test_scores_of_texts() -> None:
    scores = score_texts(["I love this", None, "", "Das ist schlecht"], "lexicon:vader", langs=[None, "en", "en", "de"])
    assert scores.schema == SCORES
    assert scores.column("scored").to_pylist() == [True, False, False, False]
    assert score_texts([], "lexicon:vader").schema == SCORES


def test_without_languages_every_text_is_scored() -> None:
    assert score_texts(["gut", "schlecht"], str(TINY)).column("sentiment").to_pylist() == ["positive", "negative"]


def test_texts_are_cleaned_as_the_model_asks() -> None:
    scores = score_texts(["so gooooood &amp; lovely @delta https://x.io/bad", "so goood & lovely @united"], str(TINY))
    assert scores.slice(0, 1).equals(scores.slice(1, 1))


def test_probabilities_of_every_head() -> None:
    scores = score_texts(["love", None, "lost luggage"], str(TINY), probabilities=True)
    assert scores.schema.names == [*SCORES.names, "probabilities"]
    first, none, last = scores.column("probabilities").to_pylist(maps_as_pydicts="strict")
    assert none is None
    assert list(first) == ["sentiment", "emotion", "emoji", "complaint", "category"]
    heads = load(str(TINY)).heads
    for row in (first, last):
        for head, given in row.items():
            assert tuple(given) == heads[head]
            assert sum(given.values()) == pytest.approx(1, abs=1e-5)
    assert last["complaint"]["complaint"] == scores.column("p_complaint").to_pylist()[2]
    assert first["emotion"]["joy"] == scores.column("p_emotion").to_pylist()[0]


@pytest.mark.parametrize("texts", [[], [None], ["x"]])
def test_probabilities_without_a_head(texts: list[str | None]) -> None:
    scores = score_texts(texts, "none:", probabilities=True)
    assert scores.column("probabilities").to_pylist() == [None] * len(texts)
    assert pa.types.is_map(scores.column("probabilities").type)


def _sentiment(uri: str) -> str:
    return str(score_texts(["I love this"], uri).column("sentiment")[0])


@pytest.mark.slow
def test_a_worker_process_loads_its_own() -> None:
    load(str(TINY))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_sentiment, (str(TINY),)) == "positive"
