"""Two models as one: who scores what, what a row has that fast alone scored, and what happens when time runs out."""

import logging
from collections.abc import Sequence
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

from feltwire import metrics
from feltwire.errors import ConfigError, ModelError
from feltwire.interfaces import Predictions
from feltwire.loading import load, pin
from feltwire.models import _store
from feltwire.models._auto import PROBE, AutoModel, Limits
from feltwire.models._places import FolderPlace
from feltwire.scoring import RefusedError, score_rows, score_texts

WIDE = {"sentiment": SENTIMENT, "irony": ("irony", "non_irony"), "entities": ("person",)}


def fast_answer(text: str) -> dict[str, Sequence[float]]:
    """As sure as the number that the text is says."""
    sure = float(text)
    return {"sentiment": (sure, 1 - sure, 0.0)}


def base_answer(text: str) -> dict[str, Any]:
    return {"sentiment": (0.0, 0.1, 0.9), "irony": (0.25, 0.75), "entities": [(0, 1, "person", 0.5)]}


def pair(
    limits: Limits, clock: Any = None, fast: FunctionModel | None = None
) -> tuple[AutoModel, FunctionModel, FunctionModel]:
    fast = fast or FunctionModel(fast_answer, name="fast@1")
    base = FunctionModel(base_answer, WIDE, spans=("entities",), name="base@1")
    model = AutoModel(fast, base, limits, clock=clock) if clock else AutoModel(fast, base, limits)
    fast.calls.clear()
    base.calls.clear()
    return model, fast, base


def rows_of(model: AutoModel, texts: list[str]) -> list[dict[str, Any]]:
    column = pa.array(texts)
    scores, failures = score_rows(model, column, np.ones(len(texts), np.bool_), originals=column, probabilities=True)
    assert not failures
    rows: list[dict[str, Any]] = scores.to_pylist(maps_as_pydicts="strict")
    return rows


def counted() -> dict[str, float]:
    return {
        who: metrics.AUTO_TEXTS.labels(scored_by=who)._value.get() for who in ("fast", "base", "fast_for_lack_of_time")
    }


def test_base_scores_what_fast_is_unsure_of() -> None:
    model, _, base = pair(Limits(0.7))
    before = counted()
    rows = rows_of(model, ["0.9", "0.6", "0.7", "0.55"])
    assert [row["model"] for row in rows] == ["fast@1", "base@1", "fast@1", "base@1"]
    assert [row["sentiment"] for row in rows] == ["negative", "positive", "negative", "positive"]
    assert base.calls == [2]
    assert {who: n - before[who] for who, n in counted().items()} == {"fast": 2, "base": 2, "fast_for_lack_of_time": 0}


def test_what_fast_does_not_say_is_null() -> None:
    model, *_ = pair(Limits(0.7))
    sure, unsure = rows_of(model, ["0.9", "0.6"])
    assert (sure["irony"], sure["p_irony"], sure["entities"]) == (None, None, None)
    assert set(sure["probabilities"]) == {"sentiment"}
    assert (unsure["irony"], unsure["p_irony"]) == ("non_irony", 0.75)
    assert [entity["text"] for entity in unsure["entities"]] == ["0"]
    assert unsure["probabilities"]["irony"] == {"irony": 0.25, "non_irony": 0.75}


@pytest.mark.parametrize(("threshold", "expected"), [(0.0, []), (1.0, [3])])
def test_thresholds_at_the_ends(threshold: float, expected: list[int]) -> None:
    model, _, base = pair(Limits(threshold))
    model.predict(["0.9", "0.6", "0.75"])
    assert base.calls == expected


def test_a_share_goes_to_base_the_most_unsure_first() -> None:
    model, *_ = pair(Limits(1.0, share=0.5))
    before = counted()["fast_for_lack_of_time"]
    rows = rows_of(model, ["0.9", "0.6", "0.7", "0.55"])
    assert [row["model"] for row in rows] == ["fast@1", "base@1", "fast@1", "base@1"]
    assert counted()["fast_for_lack_of_time"] - before == 2


class Clock:
    """Goes on by what the models take."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def slow(clock: Clock, seconds: float) -> FunctionModel:
    """A fast model which is not."""

    def answer(text: str) -> dict[str, Sequence[float]]:
        clock.now += seconds
        return fast_answer(text)

    return FunctionModel(answer, name="fast@1")


def test_late_batches_lean_on_fast_and_say_so(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    model, _, base = pair(Limits(0.7, target_s=2.0), clock, slow(clock, 0.001))
    answer = base._answer

    def taking_time(text: str) -> Any:
        clock.now += 0.01
        return answer(text)

    base._answer = taking_time
    texts = [str(0.5 + 0.0001 * (i % 1000)) for i in range(1000)]
    before = counted()["fast_for_lack_of_time"]
    with caplog.at_level(logging.WARNING):
        model.predict(texts)
        assert base.calls == [PROBE]  # the rate is not known yet
        model.predict(texts)
        assert base.calls[1] == 100  # two seconds, one of them fast's, at 100 a second
        again = model.predict([*texts[:10], *(["0.9"] * 90)])
    assert base.calls[2] == 10  # there is time for all of them
    assert np.asarray(again["scored_by"])[:, 0].tolist() == [1] * 10 + [0] * 90
    assert counted()["fast_for_lack_of_time"] - before == 1000 - PROBE + 900
    assert len(caplog.records) == 1  # once a minute
    assert "stay with the fast model" in caplog.text
    assert "0.5001" not in caplog.text


def test_the_most_unsure_come_first_when_time_is_short() -> None:
    clock = Clock()
    model, *_ = pair(Limits(0.9, target_s=1e-6), clock)
    texts = [str(0.8 - 0.001 * i) for i in range(100)]
    by = np.asarray(model.predict(texts)["scored_by"])[:, 0]
    assert by.tolist() == [0.0] * (100 - PROBE) + [1.0] * PROBE


class Refusing(FunctionModel):
    """Refuses what contains `refuse`."""

    def predict(self, texts: Sequence[str]) -> Predictions:
        bad = {i: "not for me" for i, text in enumerate(texts) if text.endswith("00")}
        answer = super().predict([text for text in texts if not text.endswith("00")])
        if bad:
            raise RefusedError(bad, answer)
        return answer


def test_what_base_refuses_stays_with_fast() -> None:
    fast = FunctionModel(fast_answer, name="fast@1")
    model = AutoModel(fast, Refusing(base_answer, WIDE, spans=("entities",), name="base@1"), Limits(0.7))
    assert [row["model"] for row in rows_of(model, ["0.9", "0.600", "0.6"])] == ["fast@1", "fast@1", "base@1"]


def test_what_fast_refuses_is_refused() -> None:
    base = FunctionModel(base_answer, WIDE, spans=("entities",), name="base@1")
    model = AutoModel(Refusing(fast_answer, name="fast@1"), base, Limits(0.7))
    column = pa.array(["0.9", "0.600", "0.6"])
    scores, failures = score_rows(model, column, np.ones(3, np.bool_), originals=column)
    assert list(failures) == [1]
    assert failures[1].endswith("not for me")
    assert scores.column("model").to_pylist() == ["fast@1", None, "base@1"]


def test_labels_in_another_order_are_put_in_place() -> None:
    turned = {"sentiment": ("positive", "neutral", "negative")}
    fast = FunctionModel(lambda text: {"sentiment": (0.1, 0.2, 0.7)}, turned, name="fast@1")
    base = FunctionModel(base_answer, WIDE, spans=("entities",), name="base@1")
    assert [row["sentiment"] for row in rows_of(AutoModel(fast, base, Limits(0.5)), ["x"])] == ["negative"]


def test_pairs_that_cannot_be() -> None:
    fast, base = FunctionModel(fast_answer, name="fast@1"), FunctionModel(base_answer, WIDE, spans=("entities",))
    odd = FunctionModel(lambda text: {"sentiment": (1.0,)}, {"sentiment": ("mixed",)}, name="odd@1")
    with pytest.raises(ModelError, match="'sentiment' has the labels mixed in one"):
        AutoModel(odd, base, Limits(0.5))
    with pytest.raises(ModelError, match="no head 'sentiment'"):
        AutoModel(FunctionModel(fast_answer, {}), base, Limits(0.5))
    fast.profile = "social"
    with pytest.raises(ModelError, match="clean texts differently"):
        AutoModel(fast, base, Limits(0.5))


def test_languages_are_those_of_both() -> None:
    def speaking(*codes: str) -> FunctionModel:
        return FunctionModel(fast_answer, languages=frozenset(codes) if codes else None)

    assert AutoModel(speaking("en", "de"), speaking("en", "fr"), Limits(0.5)).languages == frozenset({"en"})
    assert AutoModel(speaking(), speaking("en"), Limits(0.5)).languages == frozenset({"en"})
    assert AutoModel(speaking(), speaking(), Limits(0.5)).languages is None


# With bundles


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> str:
    """`auto:` of two tiny bundles: version 1 without some heads as fast, a sharper version 2 as base."""

    def cut(manifest: dict[str, Any]) -> None:
        for head in ("emotion", "category", "complaint", "entities", "emoji"):
            del manifest["heads"][head]

    folder = tmp_path_factory.mktemp("two")
    fast = tiny(folder / "fast", "1", cut)
    base = tiny(folder / "base", "2", lambda m: m["heads"]["sentiment"].update(temperature=0.8))
    return f"auto:?fast={fast}&base={base}&threshold=0.7"


def test_bundles(two: str) -> None:
    scores = score_texts(["I love this, awesome", "the train left", "worst delayed luggage", "good"], two)
    rows = scores.to_pylist()
    assert {row["model"] for row in rows} == {"tiny@1", "tiny@2"}
    for row in rows:
        assert (row["emotion"] is None) == (row["complaint"] is None) == (row["model"] == "tiny@1")
        assert (row["emoji"] is None) == (row["entities"] is None) == (row["model"] == "tiny@1")
        assert row["p_negative"] + row["p_neutral"] + row["p_positive"] + row["p_mixed"] == 1


WORDS = st.lists(st.sampled_from([*vocabulary()][4:]), min_size=1, max_size=12).map(" ".join)


@given(st.lists(WORDS, min_size=1, max_size=8), st.integers(0, 7))
def test_who_scores_a_row_does_not_depend_on_the_others(two: str, texts: list[str], chosen: int) -> None:
    row = chosen % len(texts)
    together, alone = score_texts(texts, two), score_texts([texts[row]], two)
    assert together.column("model")[row] == alone.column("model")[0]
    assert together.column("p_positive")[row].as_py() == pytest.approx(alone.column("p_positive")[0].as_py(), abs=1e-5)


def test_versions_of_both_are_pinned(tmp_path: Path) -> None:
    place = FolderPlace(tmp_path / "registry")
    _store.add(place, TINY)
    _store.promote(place, "tiny", "1")
    uri = f"auto:?fast=registry:tiny?at={place.where}&base={TINY}&threshold=0.5"
    assert pin(uri) == f"auto:?fast=registry:tiny%401%3Fat%3D{place.where}&base={TINY}&threshold=0.5".replace(
        "%40", "@"
    )
    assert load(uri).name == "auto(tiny@1,tiny@1)"
    assert pin(pin(uri)) == pin(uri)


@pytest.mark.parametrize("uri", ["auto:x", "auto:?fast=", "auto:?threshold=2", "auto:?share=0", "auto:?target_ms=-1"])
def test_wrong_uris(uri: str) -> None:
    with pytest.raises(ConfigError):
        load(uri)
