"""AWS Comprehend: single texts against moto's server, batches (which moto does not do) against one of our own."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from moto.server import ThreadedMotoServer
from tests.models.far_side import FarSide, Reply, as_comprehend

from feltwire import registry
from feltwire.errors import ConfigError, ModelAwayError
from feltwire.interfaces import Predictions
from feltwire.models import _remote
from feltwire.models.comprehend import ComprehendModel
from feltwire.schema import SENTIMENTS
from feltwire.scoring import RefusedError


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("AWS_REGION", raising=False)
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.setattr(_remote, "_FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(_remote, "_LONGEST_WAIT_S", 0.05)


def failing(status: int, code: str, headers: dict[str, str] | None = None) -> Reply:
    return status, {"__type": code, "message": "said the service"}, headers or {}


@pytest.fixture
def far() -> Iterator[FarSide]:
    far = FarSide(as_comprehend)
    yield far
    far.close()


@pytest.fixture
def opened(far: FarSide) -> Iterator[Callable[..., ComprehendModel]]:
    models: list[ComprehendModel] = []

    def open_model(**options: Any) -> ComprehendModel:
        given = {"region": "eu-west-1", "endpoint": far.url.partition("/api")[0], **options}
        models.append(registry.create("models", f"comprehend:?{urlencode(given)}"))
        return models[-1]

    yield open_model
    for model in models:
        model.close()


def labels_of(answer: Predictions) -> list[str]:
    given = answer["sentiment"]
    assert not isinstance(given, list)
    return [SENTIMENTS[best] for best in given.argmax(axis=1)]


def test_batches(far: FarSide, opened: Callable[..., ComprehendModel]) -> None:
    model = opened()
    texts = [f"{word} {i}" for i in range(20) for word in ("good", "bad", "so", "good but bad")]
    assert labels_of(model.predict(texts)) == ["positive", "negative", "neutral", "mixed"] * 20
    assert sorted(len(document["TextList"]) for document in far.documents) == [5, 25, 25, 25]
    assert far.headers[0]["x-amz-target"] == "Comprehend_20171127.BatchDetectSentiment"
    assert {document["LanguageCode"] for document in far.documents} == {"en"}
    assert model.languages == frozenset({"en"})
    assert model.heads == {"sentiment": SENTIMENTS}


def test_single_texts_against_moto() -> None:
    moto = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    uri = f"comprehend:?region=us-east-1&batch=1&endpoint=http://{host}:{port}"
    model: ComprehendModel = registry.create("models", uri)
    try:
        answer = model.predict(["I love it", "so so"])["sentiment"]
    finally:
        model.close()
        moto.stop()
    assert isinstance(answer, np.ndarray)
    assert answer.shape == (2, 4)
    assert np.allclose(answer.sum(axis=1), 1, atol=0.01)


def test_a_refused_text_stands_alone(opened: Callable[..., ComprehendModel]) -> None:
    with pytest.raises(RefusedError) as caught:
        opened().predict(["good", "foul words", "bad"])
    assert caught.value.reasons == {1: "refused it: INVALID_REQUEST"}
    assert labels_of(caught.value.answer) == ["positive", "negative"]


def test_a_refused_call_is_halved(far: FarSide, opened: Callable[..., ComprehendModel]) -> None:
    def reply(document: Any) -> Reply:
        long = any("long" in text for text in document["TextList"])
        return failing(400, "TextSizeLimitExceededException") if long else as_comprehend(document)

    far.reply = reply
    with pytest.raises(RefusedError) as caught:
        opened().predict(["good", "too long", "bad"])
    assert caught.value.reasons == {1: "refused it: TextSizeLimitExceededException"}


def test_what_the_service_fails_over_is_asked_for_again(far: FarSide, opened: Callable[..., ComprehendModel]) -> None:
    turns = iter(range(2))

    def reply(document: Any) -> Reply:
        if next(turns, None) is None:
            return as_comprehend(document)
        errors = [{"Index": i, "ErrorCode": "INTERNAL_SERVER_ERROR"} for i in range(len(document["TextList"]))]
        return 200, {"ResultList": [], "ErrorList": errors}

    far.reply = reply
    assert labels_of(opened().predict(["good", "bad"])) == ["positive", "negative"]


@pytest.mark.parametrize("batch", [1, 25])
def test_an_answer_that_was_cut_off_is_asked_for_again(
    far: FarSide, opened: Callable[..., ComprehendModel], batch: int
) -> None:
    """To botocore it is one without anything."""
    turns = iter(range(2))

    def reply(document: Any) -> Reply:
        if next(turns, None) is not None:
            return 200, {}
        whole = as_comprehend({"TextList": document.get("TextList") or [document["Text"]]})
        assert whole is not None
        return whole if batch > 1 else (200, whole[1]["ResultList"][0])

    far.reply = reply
    assert labels_of(opened(batch=batch).predict(["good", "bad"])) == ["positive", "negative"]


def test_what_the_service_fails_over_for_good_is_refused(far: FarSide, opened: Callable[..., ComprehendModel]) -> None:
    def reply(document: Any) -> Reply:
        results = as_comprehend({"TextList": [text.replace("foul", "") for text in document["TextList"]]})
        assert results is not None
        broken = [i for i, text in enumerate(document["TextList"]) if "foul" in text]
        good = [one for one in results[1]["ResultList"] if one["Index"] not in broken]
        errors = [{"Index": i, "ErrorCode": "INTERNAL_SERVER_ERROR"} for i in broken]
        return 200, {"ResultList": good, "ErrorList": errors}

    far.reply = reply
    with pytest.raises(RefusedError) as caught:
        opened().predict(["foul", "good"])
    assert caught.value.reasons == {0: "failed over it 8 times"}


@pytest.mark.parametrize(
    "reply", [failing(400, "ThrottlingException"), failing(500, "InternalServerException"), failing(503, ""), None]
)
def test_what_may_pass_is_asked_again(far: FarSide, opened: Callable[..., ComprehendModel], reply: Reply) -> None:
    turns = iter(range(2))
    far.reply = lambda document: reply if next(turns, None) is not None else as_comprehend(document)
    assert labels_of(opened().predict(["good"])) == ["positive"]


def test_throttled_until_patience_ends(far: FarSide, opened: Callable[..., ComprehendModel]) -> None:
    far.reply = lambda document: failing(400, "ThrottlingException")
    with pytest.raises(ModelAwayError, match="AWS Comprehend: ThrottlingException"):
        opened(patience=0.2).predict(["good"])


@pytest.mark.parametrize("code", ["AccessDeniedException", "UnrecognizedClientException", "ExpiredTokenException"])
def test_who_may_not_ask_waits(far: FarSide, opened: Callable[..., ComprehendModel], code: str) -> None:
    far.reply = lambda document: failing(400, code)
    model = opened(patience=0.2)
    with pytest.raises(ModelAwayError, match=f"refuses even a harmless text: {code}"):
        model.predict(["good"])
    far.reply = as_comprehend
    for _ in range(20):
        try:
            assert labels_of(model.predict(["good"])) == ["positive"]
            break
        except ModelAwayError:
            time.sleep(0.02)


def test_blank_and_long_texts(far: FarSide, opened: Callable[..., ComprehendModel]) -> None:
    answer = opened().predict(["", "é" * 3000, "  ", "good"])
    assert labels_of(answer) == ["neutral", "neutral", "neutral", "positive"]
    assert isinstance(answer["truncated"], np.ndarray)
    assert answer["truncated"].tolist() == [[0], [1], [0], [0]]
    assert far.documents[0]["TextList"] == ["é" * 2500, "good"]


def test_price(opened: Callable[..., ComprehendModel], tmp_path: Any) -> None:
    model = opened(spend_limit=0.002, spend_period="total", patience=0.5)
    model.predict(["good", "bad " * 200])  # 3 and 8 units of a ten thousandth
    (record,) = (tmp_path / "feltwire" / "spent").iterdir()
    assert json.loads(record.read_text())["spent"] == 1100
    with pytest.raises(ModelAwayError, match=r"the spend limit of 0\.002 is reached"):
        model.predict(["good " * 300])


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("comprehend:", "no region"),
        ("comprehend:x?region=eu-west-1", "takes only options"),
        ("comprehend:?region=eu-west-1&language=tlh", "language"),
        ("comprehend:?region=eu-west-1&batch=26", "batch"),
        ("comprehend:?region=eu-west-1&endpoint=nonsense", "Invalid endpoint"),
    ],
)
def test_wrong_options(uri: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        registry.create("models", uri)
