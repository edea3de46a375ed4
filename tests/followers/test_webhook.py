"""`webhook:` against a real HTTP server that misbehaves."""

import base64
import hashlib
import hmac
import json
import logging
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.followers.feeds import MemoryFeed, batch, post, story
from tests.followers.receiver import Answer, Receiver

from feltwire import following, registry, schema
from feltwire.errors import ConfigError, DestinationError, FatalError
from feltwire.followers import webhook
from feltwire.following import Step, follow
from feltwire.interfaces import Position

NOTHING = schema.empty(schema.WITHDRAWN)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


class Hook:
    """Makes followers over one state file and closes them."""

    def __init__(self, receiver: Receiver, folder: Path) -> None:
        self.state = folder / "hook.state"
        self.receiver = receiver
        self.follower: Any = None

    def open(self, **options: Any) -> Any:
        self.close()
        given = {"state": str(self.state), **options}
        self.follower = registry.create("followers", f"webhook:{self.receiver.url}", given)
        return self.follower

    def close(self) -> None:
        if self.follower is not None:
            self.follower.close()

    def run(self, feed: MemoryFeed, **options: Any) -> list[Step]:
        steps: list[Step] = []
        stop = threading.Event()
        follow(feed, self.open(**options), stop=stop, poll_s=0.001, once=True, observe=steps.append)
        return steps


@pytest.fixture
def hook(receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    monkeypatch.setattr(following, "FIRST_WAIT_S", 0.01)
    hook = Hook(receiver, tmp_path)
    yield hook
    hook.close()


def feed_of(posts: int) -> MemoryFeed:
    feed = MemoryFeed(1)
    feed.add([post(0, offset) for offset in range(posts)])
    return feed


def offsets(receiver: Receiver) -> list[int]:
    return [row["log_offset"] for body in receiver.taken.values() for row in body["posts"]]


def test_a_request_says_what_it_brings(hook: Hook, receiver: Receiver) -> None:
    hook.run(feed_of(5), max_posts=2, fields="id,text", track="delta")
    bodies = [json.loads(request.body) for request in receiver.requests]
    assert [body["sequence"] for body in bodies] == [1, 2, 3]
    assert [(body["after"], body["position"]) for body in bodies] == [
        ({}, {"0": 2}),
        ({"0": 2}, {"0": 4}),
        ({"0": 4}, {"0": 5}),
    ]
    assert bodies[0]["posts"][0] == {"id": "simulator:0-0", "text": "my flight 0-0 is late"}
    assert bodies[0]["withdrawn"] == []
    for request, body in zip(receiver.requests, bodies, strict=True):
        assert request.headers["Content-Type"] == "application/json"
        assert request.headers["User-Agent"].startswith("feltwire/")
        assert request.headers["Idempotency-Key"] == request.headers["webhook-id"] == body["id"]
    assert len(receiver.taken) == 3


@pytest.mark.parametrize(
    "answers",
    [
        [Answer(500), Answer(503), Answer(502)],
        [Answer(429), Answer(408), Answer(409), Answer(425)],
        [Answer(None)],
        [Answer(None, take=True)],  # taken, and the answer lost
        [Answer(200), Answer(500, take=True), Answer(None, take=True), Answer(200), Answer(None)],
    ],
)
def test_what_fails_comes_again_with_the_same_key(hook: Hook, receiver: Receiver, answers: list[Answer]) -> None:
    for answer in answers:
        receiver.script.put(answer)
    steps = hook.run(feed_of(10), max_posts=3)
    assert offsets(receiver) == list(range(10))
    assert receiver.contradictions == []
    assert any(step.error for step in steps)


def test_a_server_that_hangs_is_left_and_asked_again(hook: Hook, receiver: Receiver) -> None:
    receiver.script.put(Answer(200, hang_s=10))
    began = time.monotonic()
    steps = hook.run(feed_of(3), timeout_s=0.15)
    assert time.monotonic() - began < 5
    assert "ReadTimeout" in str(steps[0].error)
    assert offsets(receiver) == [0, 1, 2]


def test_a_server_that_is_not_there_is_waited_for(hook: Hook, receiver: Receiver) -> None:
    follower = hook.open()
    hook.receiver.close()
    with pytest.raises(DestinationError, match=r"127\.0\.0\.1 cannot be reached: ConnectError"):
        follower.apply(batch([post(0, 0)]), NOTHING, {0: 1})


def test_retry_after_is_honoured(hook: Hook, receiver: Receiver) -> None:
    receiver.script.put(Answer(429, {"Retry-After": "1"}))
    began = time.monotonic()
    steps = hook.run(feed_of(3))
    assert 1.0 <= time.monotonic() - began < 6
    assert len(receiver.requests) == 2  # it did not knock in between
    assert any("asked to be left alone" in str(step.error) for step in steps)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", 0),
        ("7", 7),
        ("999999999", webhook.MAX_PAUSE_S),
        ("-1", 0),
        ("soon", 0),
        ("٣", 0),
        ("Sat, 04 Jul 2026 12:00:30 GMT", 30),
        ("Sat, 04 Jul 2026 11:00:00 GMT", 0),
        ("Sat, 04 Jul 2036 11:00:00 GMT", webhook.MAX_PAUSE_S),
        ("Sat, 99 Jul 2036 11:00:00 GMT", 0),
    ],
)
def test_what_retry_after_means(header: str, expected: float) -> None:
    assert webhook.seconds_to_wait(header, now=datetime(2026, 7, 4, 12, tzinfo=UTC)) == expected


@pytest.mark.parametrize("status", [301, 401, 403, 404, 410])
def test_a_wrong_address_ends_it_and_the_request_stays(hook: Hook, receiver: Receiver, status: int) -> None:
    receiver.script.put(Answer(status))
    with pytest.raises(FatalError, match=f"answered {status}"):
        hook.run(feed_of(3))
    hook.run(feed_of(5))
    assert offsets(receiver) == [0, 1, 2, 3, 4]
    assert receiver.requests[0].body == receiver.requests[1].body


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_body_ends_it_and_is_made_anew(hook: Hook, receiver: Receiver, status: int) -> None:
    receiver.script.put(Answer(status))
    with pytest.raises(FatalError, match=f"refused a request with {status}"):
        hook.run(feed_of(3))
    hook.run(feed_of(3), max_posts=1)
    assert offsets(receiver) == [0, 1, 2]
    assert len(receiver.requests[0].body) > len(receiver.requests[1].body)


def test_a_batch_that_failed_goes_first_even_if_the_lake_has_more_since(hook: Hook, receiver: Receiver) -> None:
    receiver.script.put(Answer(None, take=True))
    follower = hook.open()
    with pytest.raises(DestinationError):
        follower.apply(batch([post(0, 0)]), NOTHING, {0: 1})
    assert hook.open().position() == {0: 1}  # finished by asking
    hook.run(feed_of(4))
    assert offsets(receiver) == [0, 1, 2, 3]
    assert receiver.contradictions == []


def test_no_rows_are_no_request(hook: Hook, receiver: Receiver) -> None:
    feed = feed_of(3)
    feed.ends = {0: 1000}
    hook.run(feed, track="nobody speaks of this")
    assert receiver.requests == []
    assert hook.open().position() == {0: 1000}


@pytest.mark.parametrize("secret", ["s3cret", "whsec_" + base64.b64encode(b"0123456789abcdef").decode()])
def test_a_signature_can_be_checked(hook: Hook, receiver: Receiver, secret: str) -> None:
    hook.run(feed_of(1), secret=secret)
    (request,) = receiver.requests
    key = base64.b64decode(secret[6:]) if secret.startswith("whsec_") else secret.encode()
    signed = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + request.body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert request.headers["webhook-signature"] == f"v1,{expected}"
    assert abs(int(request.headers["webhook-timestamp"]) - time.time()) < 60


def test_without_a_secret_there_is_no_signature(hook: Hook, receiver: Receiver) -> None:
    hook.run(feed_of(1))
    assert "webhook-signature" not in receiver.requests[0].headers


def test_a_secret_may_come_from_a_file_that_others_cannot_read(hook: Hook, receiver: Receiver, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("s3cret\n")
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        hook.open(secret_file=str(path))
    path.chmod(0o600)
    hook.run(feed_of(1), secret_file=str(path))
    assert "webhook-signature" in receiver.requests[0].headers
    with pytest.raises(ConfigError, match="cannot be read"):
        hook.open(secret_file=str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="is not base64"):
        hook.open(secret="whsec_???")


def test_neither_address_nor_secret_nor_text_is_logged(
    hook: Hook, receiver: Receiver, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.script.put(Answer(500))
    with caplog.at_level(logging.DEBUG):
        hook.run(feed_of(3), secret="s3cret")
    assert caplog.records
    for word in ("/hook", "s3cret", "flight"):
        assert word not in caplog.text


def test_two_followers_of_one_receiver_have_different_keys(receiver: Receiver, tmp_path: Path) -> None:
    for track in ("delta", "united"):
        uri = f"webhook:{receiver.url}"
        follower = registry.create("followers", uri, {"state": str(tmp_path / track), "track": track})
        follower.apply(batch([post(0, 0)]), NOTHING, {0: 1})
        follower.close()
    assert len(receiver.taken) == 2


def test_a_backfill_anew_has_the_same_keys(receiver: Receiver, tmp_path: Path) -> None:
    feed = story(seed=3, posts=40)
    for state in ("one", "two"):
        follower = registry.create(
            "followers", f"webhook:{receiver.url}", {"state": str(tmp_path / state), "max_posts": 7}
        )
        position: Position = {}
        while position != feed.ends:
            posts, withdrawn, position = feed.changes(position, 10)
            follower.apply(posts, withdrawn, position)
        follower.close()
    assert len(receiver.requests) == 2 * len(receiver.taken)
    assert receiver.contradictions == []


def test_an_address_with_a_query_comes_as_an_option(receiver: Receiver, tmp_path: Path) -> None:
    options = {"url": f"{receiver.url}?key=1", "state": str(tmp_path / "s")}
    follower = registry.create("followers", "webhook:", options)
    follower.apply(batch([post(0, 0)]), NOTHING, {0: 1})
    follower.close()
    assert offsets(receiver) == [0]
