"""Remote models against a real server: forms, order, limits, refusals, outages."""

import gc
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import numpy as np
import pytest
from tests.models.far_side import LABELS, FarSide, Reply, as_feltwire, mood

from feltwire import registry, scoring
from feltwire.errors import ConfigError, ModelAwayError, ModelBusyError, ModelError
from feltwire.interfaces import Predictions
from feltwire.models import _paths, _remote
from feltwire.models._rest import RestModel
from feltwire.models._rest_forms import code_of
from feltwire.scoring import RefusedError, score_texts

FOUR = ["good one", "so so", "bad one", "a good day"]
MOODS = ["positive", "neutral", "negative", "positive"]
PLACES = "negative:results[*].scores.neg,neutral:results[*].scores.neu,positive:results[*].scores.pos"


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FarSide]:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr(_remote, "_FIRST_WAIT_S", 0.01)
    far = FarSide()
    yield far
    far.close()


@pytest.fixture
def opened(far: FarSide) -> Iterator[Callable[..., RestModel]]:
    """`opened(option=value)`: the model at the far side."""
    models: list[RestModel] = []

    def open_model(**options: Any) -> RestModel:
        models.append(registry.create("models", f"{far.url}?{urlencode(options)}"))
        return models[-1]

    yield open_model
    for model in models:
        model.close()


def labels_of(answer: Predictions, head: str = "sentiment") -> list[str]:
    given = answer[head]
    assert not isinstance(given, list)
    return [LABELS[best] for best in given.argmax(axis=1)]


def other_form(document: Any) -> Reply:
    """Some scorer with words of its own; it refuses what is `foul` in its answer."""
    short = {"negative": "neg", "neutral": "neu", "positive": "pos"}
    results: list[dict[str, Any]] = []
    for text in document["inputs"]["posts"]:
        if "foul" in text:
            results.append({"problem": {"code": "FOUL_LANGUAGE", "message": f"cannot read {text}"}})
        else:
            results.append({"scores": {short[label]: p for label, p in mood(text).items()}})
    return 200, {"results": results}


# Forms


def test_another_feltwire_says_what_it_is(far: FarSide, opened: Callable[..., RestModel]) -> None:
    model = opened()
    assert far.documents == []
    assert (model.name, model.languages, model.heads) == ("far@1", None, {"sentiment": tuple(LABELS)})
    assert labels_of(model.predict(FOUR)) == MOODS
    assert far.documents == [{"texts": []}, {"texts": FOUR}]
    assert model.predict([])["sentiment"].shape == (0, 3)  # type: ignore[union-attr]
    assert model.profile == "written"  # another Feltwire cleans by itself


def test_all_that_a_feltwire_can_say(far: FarSide, opened: Callable[..., RestModel]) -> None:
    def reply(document: Any) -> Reply:
        row = {
            "sentiment": mood("good"),
            "entities": [{"start": 0, "end": 5, "label": "person", "p": 0.5}, {"text": "lost", "start": None}],
            "truncated": True,
        }
        heads = {"sentiment": LABELS, "entities": ["person"]}
        scores = [row] * len(document["texts"])
        return 200, {"model": "m@2", "languages": ["en"], "heads": heads, "spans": ["entities"], "scores": scores}

    far.reply = reply
    answer = opened().predict(["Delta is good"])
    assert answer["entities"] == [[(0, 5, "person", 0.5)]]
    assert isinstance(answer["truncated"], np.ndarray)
    assert answer["truncated"].tolist() == [[1.0]]
    assert opened().languages == frozenset({"en"})
    assert opened(languages="de, EN").languages == frozenset({"de", "en"})


def test_any_form(far: FarSide, opened: Callable[..., RestModel]) -> None:
    far.reply = other_form
    model = opened(
        texts="inputs.posts", body='{"inputs": {"mode": "fast"}}', labels=PLACES, name="other@3", query="key=a%20b&x=1"
    )
    assert model.heads == {"sentiment": tuple(LABELS)}
    assert labels_of(model.predict(FOUR)) == MOODS
    assert far.documents == [{"inputs": {"mode": "fast", "posts": FOUR}}]
    assert far.targets == ["/api/v1/score?key=a%20b&x=1"]


def test_one_text_a_request(far: FarSide, opened: Callable[..., RestModel]) -> None:
    far.reply = lambda document: (
        200, [[{"label": label.upper(), "score": p} for label, p in mood(document["inputs"]).items()]],
    )  # fmt: skip
    labels = ",".join(f"{label}:[0][label={label.upper()}].score" for label in LABELS)
    model = opened(text="inputs", labels=f"{labels},irony/irony:[0][0].score,irony/non_irony:[0][1].score")
    answer = model.predict(FOUR)
    assert labels_of(answer) == MOODS
    assert isinstance(answer["irony"], np.ndarray)
    assert answer["irony"].tolist()[1] == [0.125, 0.75]
    assert sorted(document["inputs"] for document in far.documents) == sorted(FOUR)
    assert model.name == "127.0.0.1@remote"


def test_the_secret_comes_from_the_environment(
    far: FarSide, opened: Callable[..., RestModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAR_TOKEN", "s3cret")
    opened(token_env="FAR_TOKEN").predict(["good"])
    opened(token_env="FAR_TOKEN", header="X-Api-Key").predict(["good"])
    assert far.headers[0]["authorization"] == "Bearer s3cret"
    assert far.headers[-1]["x-api-key"] == "s3cret"
    with pytest.raises(ConfigError, match="'NO_SUCH' holds no secret"):
        opened(token_env="NO_SUCH")


# Order, and how much at a time


def test_order_is_kept_whatever_answers_first(far: FarSide, opened: Callable[..., RestModel]) -> None:
    texts = [f"{'good' if i % 3 else 'bad'} {i % 40}" for i in range(100)]
    turns = itertools.count()

    def reply(document: Any) -> Reply:
        if next(turns) % 2:
            time.sleep(0.002)
        return as_feltwire(document)

    far.reply = reply
    answer = opened(batch=3, concurrency=5).predict(texts)
    assert labels_of(answer) == ["positive" if i % 3 else "negative" for i in range(100)]
    assert far.most_at_a_time <= 5
    assert sorted(far.texts) == sorted(set(texts))  # equal texts are asked for once


def test_rate(far: FarSide, opened: Callable[..., RestModel]) -> None:
    model = opened(batch=1, concurrency=8, rate=50)
    begun = time.monotonic()
    model.predict([f"good {i}" for i in range(12)])
    # A busy machine may hold up calls, so that some arrive together; the last does not arrive before its turn.
    calls = sorted(far.at)[1:]  # the first asks what the model is
    assert len(calls) == 12
    assert calls[-1] - begun >= 11 / 50 * 0.85


def test_limits_hold_over_all_who_call_the_same_address(far: FarSide, opened: Callable[..., RestModel]) -> None:
    far.delay_s = 0.02
    first, second = opened(batch=1, concurrency=2), opened(batch=1, concurrency=2)
    assert first.name == second.name
    waits = [one._caller.run(_begin(one, [f"good {i} {n}" for n in range(5)])) for i, one in enumerate((first, second))]
    assert labels_of(first.predict([f"good 0 {n}" for n in range(5)])) == ["positive"] * 5
    assert labels_of(second.predict([f"good 1 {n}" for n in range(5)])) == ["positive"] * 5
    assert far.most_at_a_time == 2
    assert waits == [None, None]


async def _begin(model: RestModel, texts: list[str]) -> None:
    """Have texts asked for, without waiting."""
    caller = model._caller
    caller._asked.update(dict.fromkeys(texts, 1e18))
    caller._open.update(texts)
    caller._units.extend(_remote._Unit([text]) for text in texts)
    caller._hire()


def test_spend_limit(far: FarSide, opened: Callable[..., RestModel], tmp_path: Path) -> None:
    model = opened(batch=1, spend_limit=0.005, cost_per_1000=1, spend_period="total", patience=2)
    model.predict(["good 1", "good 2", "good 3"])
    with pytest.raises(
        ModelAwayError, match=r"the spend limit of 0\.005 is reached: its posts wait for good, or until"
    ):
        model.predict(["good 4", "good 5", "good 6"])
    end_s = time.monotonic() + 10
    while len(far.texts) < 5 and time.monotonic() < end_s:  # those that were paid for may still be under way
        time.sleep(0.01)
    assert len(far.texts) == 5
    again = opened(batch=1, spend_limit=0.007, cost_per_1000=1, spend_period="total")
    assert labels_of(again.predict(["good 7", "good 8"])) == ["positive", "positive"]  # what was spent is remembered
    with pytest.raises(ModelAwayError):
        again.predict(["good 9"])
    (record,) = (tmp_path / "feltwire" / "spent").iterdir()
    assert json.loads(record.read_text())["spent"] == 7000


# Refusals


def refusing(status: int, word: str = "foul") -> Callable[[Any], Reply]:
    def reply(document: Any) -> Reply:
        foul = any(word in text for text in document["texts"])
        return (status, {"detail": document["texts"]}) if foul else as_feltwire(document)

    return reply


@pytest.mark.parametrize("status", [400, 403, 413, 422])
def test_a_refused_text_stands_alone(far: FarSide, opened: Callable[..., RestModel], status: int) -> None:
    far.reply = refusing(status)
    with pytest.raises(RefusedError) as caught:
        opened(batch=4).predict(["good", "a foul word", "bad", "so so", "good again"])
    assert caught.value.reasons == {1: f"refused it: HTTP {status}"}
    assert labels_of(caught.value.answer) == ["positive", "negative", "neutral", "positive"]


def test_a_refusal_in_the_answer(far: FarSide, opened: Callable[..., RestModel]) -> None:
    far.reply = other_form
    model = opened(texts="inputs.posts", labels=PLACES, error="results[*].problem")
    with pytest.raises(RefusedError) as caught:
        model.predict(["good", "a foul word"])
    assert caught.value.reasons == {1: "refused it: FOUL_LANGUAGE"}
    far.reply = lambda document: (200, {"results": [{"scores": {"pos": 1}}] * len(document["inputs"]["posts"])})
    with pytest.raises(RefusedError) as caught:
        model.predict(["good again"])
    assert caught.value.reasons == {0: "gave no probability of negative"}


def test_a_reason_holds_no_text() -> None:
    assert code_of("TEXT_TOO_LONG") == "refused it: TEXT_TOO_LONG"
    assert code_of({"type": "unsupported-language", "message": "…"}) == "refused it: unsupported-language"
    for reason in ("cannot read 'my post'", "x" * 65, 7, None, {"message": "x"}, ["a"]):
        assert code_of(reason) == "refused it"


def test_a_refusal_becomes_a_reason_of_the_post(far: FarSide) -> None:
    far.reply = refusing(422)
    scores = score_texts(["good", "foul", "bad"], f"{far.url}?batch=2", probabilities=True)
    assert scores["sentiment"].to_pylist() == ["positive", None, "negative"]
    assert scores["scored"].to_pylist() == [True, False, True]
    assert scores["model"].to_pylist() == ["far@1", None, "far@1"]


@pytest.mark.parametrize("status", [401, 404, 422])
def test_who_is_refused_everything_waits(far: FarSide, opened: Callable[..., RestModel], status: int) -> None:
    model = opened(patience=0.2)
    assert model.name == "far@1"
    far.reply = lambda document: (status, {})
    with pytest.raises(ModelAwayError, match=f"refuses even a harmless text: HTTP {status}"):
        model.predict(FOUR)
    far.reply = as_feltwire
    assert _patiently(model, FOUR) == MOODS


def test_a_text_that_the_far_side_fails_over_again_and_again(
    far: FarSide, opened: Callable[..., RestModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_remote, "_LONGEST_WAIT_S", 0.01)
    far.reply = refusing(500)
    with pytest.raises(RefusedError) as caught:
        opened(batch=2).predict(["good", "foul"])
    assert caught.value.reasons == {1: "failed over it 9 times: HTTP 500"}


# Outages


def _patiently(model: RestModel, texts: list[str]) -> list[str]:
    """What an engine does: ask again."""
    for _ in range(50):
        try:
            return labels_of(model.predict(texts))
        except ModelAwayError:
            time.sleep(0.01)
    raise AssertionError("never")


@pytest.mark.parametrize("reply", [(500, {}), (503, {}), (429, {}), (408, {}), None], ids=str)
def test_what_may_pass_is_asked_again(far: FarSide, opened: Callable[..., RestModel], reply: Reply) -> None:
    bad_turns = iter(range(3))
    far.reply = lambda document: reply if next(bad_turns, None) is not None else as_feltwire(document)
    assert _patiently(opened(), FOUR) == MOODS


def test_a_far_side_that_is_not_there(far: FarSide, opened: Callable[..., RestModel]) -> None:
    far.stop()
    model = opened(patience=0.1)
    with pytest.raises(ModelAwayError, match=r"the model at http://127.*: cannot be reached: ConnectionRefusedError"):
        _ = model.heads
    far.start()
    assert _patiently(model, FOUR) == MOODS
    far.stop()
    with pytest.raises(ModelAwayError, match=r"cannot be reached|connection broke"):
        model.predict(["another"])
    far.start()
    assert _patiently(model, ["another", "good"]) == ["neutral", "positive"]


def test_it_may_be_away_when_it_is_loaded(far: FarSide) -> None:
    far.stop()
    uri = f"{far.url}?patience=0.1"
    model = scoring.load(uri)
    with pytest.raises(ModelAwayError):
        score_texts(["good"], uri)
    far.start()
    assert score_texts(["good"], uri)["sentiment"].to_pylist() == ["positive"]
    assert model.name == "far@1"


def test_retry_after_is_kept_to(far: FarSide, opened: Callable[..., RestModel]) -> None:
    model = opened(patience=0.2)
    assert model.name == "far@1"
    far.reply = lambda document: (429, {}, {"Retry-After": "1"})
    with pytest.raises(ModelAwayError, match="HTTP 429"):
        model.predict(FOUR)
    asked = len(far.documents)
    far.reply = as_feltwire
    began = time.monotonic()
    with pytest.raises(ModelAwayError, match="HTTP 429"):
        model.predict(FOUR)  # at once, without asking
    assert time.monotonic() - began < 0.1
    assert len(far.documents) == asked
    assert _patiently_until(model, 1.5) == MOODS
    assert far.at[-1] - far.at[asked - 1] >= 0.95


def _patiently_until(model: RestModel, timeout_s: float) -> list[str]:
    end = time.monotonic() + timeout_s
    while True:
        try:
            return labels_of(model.predict(FOUR))
        except ModelAwayError:
            assert time.monotonic() < end
            time.sleep(0.05)


def test_a_hanging_far_side(far: FarSide, opened: Callable[..., RestModel]) -> None:
    model = opened(timeout=0.05, patience=0.3)
    assert model.name == "far@1"
    far.delay_s = 5
    with pytest.raises(ModelAwayError, match=r"no answer within 0\.05 s"):
        model.predict(FOUR)


def test_what_is_answered_is_kept_while_the_rest_is_asked_for(far: FarSide, opened: Callable[..., RestModel]) -> None:
    far.delay_s = 0.02
    model = opened(batch=1, concurrency=1, patience=0.1)
    with pytest.raises(ModelBusyError, match="not answered everything yet"):
        model.predict([f"good {i}" for i in range(12)])
    assert _patiently(model, [f"good {i}" for i in range(12)]) == ["positive"] * 12
    assert len(far.texts) == 12


def test_score_texts_waits_for_who_is_slow(far: FarSide) -> None:
    far.delay_s = 0.02
    scores = score_texts(["good", "bad", "so so"], f"{far.url}?batch=1&concurrency=1&patience=0.02")
    assert scores["sentiment"].to_pylist() == ["positive", "negative", "neutral"]


def test_another_model_over_there(far: FarSide, opened: Callable[..., RestModel]) -> None:
    model = opened(patience=0.2)
    assert model.name == "far@1"

    def reply(document: Any) -> Reply:
        status, body, *_ = as_feltwire(document) or (0, {})
        return status, {**body, "model": "far@2"}

    far.reply = reply
    assert _patiently(model, FOUR) == MOODS
    assert model.name == "far@2"


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b"{}", b'{"model": "far@1", "scores": []}', b"\xff"])
def test_nonsense_is_an_outage(far: FarSide, opened: Callable[..., RestModel], answer: bytes) -> None:
    model = opened(patience=0.1)
    assert model.name == "far@1"
    far.reply = lambda document: (200, answer)
    with pytest.raises(ModelAwayError):
        model.predict(FOUR)
    far.reply = as_feltwire
    assert _patiently(model, FOUR) == MOODS


# Options


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("http:", "expected http://host/path"),
        ("https://me:secret@host/score", "no secret in an address"),
        ("http://host/score?nonsense=1", "unknown option 'nonsense'"),
        ("http://host/score?rate=0", "rate"),
        ("http://host/score?profile=none", "unknown cleaning profile"),
        ("http://host/score?text=t", "text needs labels"),
        ("http://host/score?labels=positive", "no LABEL:PATH"),
        ("http://host/score?labels=positive:a[*],negative:b", "has no"),
        ("http://host/score?text=t&labels=positive:a[*],negative:b", "a request holds one text"),
        ("http://host/score?labels=positive:a[*].x", "two labels at least"),
        ("http://host/score?labels=positive:a[*]..x,negative:a[*].y", "no path"),
        ("http://host/score?body=[]", "expected a JSON object"),
        ("http://host/score?spend_limit=1", "needs cost_per_1000"),
        ("http://host/ä", "percent-encoded"),
        ("http://host/score?header=X Y", "no name of an HTTP header"),
    ],
)
def test_wrong_options(uri: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        registry.create("models", uri)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"model": "x"}, "does not say what its heads are"),
        ({"model": "x", "heads": {"sentiment": ["happy", "sad"]}}, "sentiment has labels"),
    ],
)
def test_who_is_no_feltwire(
    far: FarSide, opened: Callable[..., RestModel], document: dict[str, Any], message: str
) -> None:
    far.reply = lambda _: (200, document)
    with pytest.raises(ModelError, match=message):
        _ = opened().heads


def test_paths() -> None:
    assert _paths.parse("results[*].scores.a-b", "labels") == (("results",), ("scores", "a-b"))
    assert _paths.parse("[*][0][label=POS].p", "labels") == ((), (0, ("label", "POS"), "p"))
    assert _paths.find({"a": [{"l": 1}, {"l": 2, "p": 5}]}, ("a", ("l", "2"), "p")) == 5
    for path in (("b",), ("a", 7), ("a", "x"), ("a", ("l", "9")), ("a", 0, "l", "x")):
        assert _paths.find({"a": [{"l": 1}]}, path) is _paths.MISSING
    assert quote("é") == "%C3%A9"


def test_a_model_that_nobody_has_any_more_ends_its_thread_and_connections(far: FarSide) -> None:
    before = set(threading.enumerate())
    model: RestModel = registry.create("models", far.url)
    assert labels_of(model.predict(["good 1"])) == ["positive"]
    (thread,) = set(threading.enumerate()) - before
    idle = model._wire.idle
    assert len(idle) == 1
    del model
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()
    assert not idle
