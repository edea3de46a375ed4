"""The places of those who listen: given back, never behind where they were, and bounded in memory."""

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Message

from feltwire.errors import LakeError, RetryableError
from feltwire.lake import Lake, open_lake
from feltwire.web.api._filters import Filter
from feltwire.web.api.stream import _Events
from feltwire.web.hub import FRESH, MAX_CHUNKS, Hub, Step, read_position

EVERYTHING = Filter(None, (), (), (), None)


def wait_for(what: Callable[[], object]) -> None:
    until = time.monotonic() + 30
    while not what():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.fixture(scope="module")
def opened(lake: Path) -> Lake:
    return open_lake(str(lake))


@pytest.fixture(scope="module")
def whole(opened: Lake) -> Step:
    """All posts of the lake as a step."""
    posts, withdrawn, end = opened.changes({}, 10_000)
    return Step(1, {}, end, posts, withdrawn)


def ids(chunk: bytes) -> list[int]:
    """The offsets that a chunk's ids name."""
    return [read_position(line[4:].decode())[0] for line in chunk.splitlines() if line.startswith(b"id: ")]


def events(chunk: bytes) -> int:
    return chunk.count(b"event: post\n")


def test_who_has_passed_a_part_gets_the_rest(whole: Step) -> None:
    offsets = whole.posts["log_offset"].to_pylist()
    middle = offsets[len(offsets) // 2]
    chunk = whole.chunk(EVERYTHING, {0: middle})
    assert events(chunk) == sum(offset >= middle for offset in offsets)
    assert min(ids(chunk)) > middle


def test_no_id_leads_back(whole: Step) -> None:
    ahead = max(whole.end.values()) + 10
    chunk = whole.chunk(EVERYTHING, {0: ahead})
    assert (events(chunk), set(ids(chunk))) == (0, {ahead})
    # Also for who begins with another partition than the step does.
    step = Step(1, {1: 0}, whole.end, whole.posts, whole.withdrawn)
    assert events(step.chunk(EVERYTHING, {0: ahead})) == 0


def test_a_step_keeps_few_chunks(whole: Step) -> None:
    step = Step(1, {}, whole.end, whole.posts, whole.withdrawn)
    filters = [Filter(None, (f"source {i}",), (), (), None) for i in range(3 * MAX_CHUNKS)]
    first = [step.chunk(one, {}) for one in filters]
    assert len(step._chunks) == MAX_CHUNKS
    step.forget()
    assert [step.chunk(one, {}) for one in filters] == first
    assert not step._chunks


def test_listeners_read_everything_and_old_steps_are_forgotten(opened: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feltwire.web.hub.MAX_POSTS", 60)
    hub = Hub(lambda: opened, poll_s=0.01)

    n = opened.sql("select count(*) n from posts")["n"][0].as_py()

    async def read() -> int:
        other = await asyncio.to_thread(hub.listen, None)
        hub._position = {}  # as if the lake had been empty then
        listener = await asyncio.to_thread(hub.listen, {})
        found = 0
        for _ in range(300):
            for step in await listener.next(0.1) or ():
                found += events(step.chunk(EVERYTHING, listener.position))
                listener.passed(step)
            if found >= n:
                break
        listener.leave()
        other.leave()
        return found

    assert asyncio.run(read()) == n
    assert sum(bool(step._chunks) for step in hub._steps) <= FRESH
    hub.close()


def test_after_the_end_nobody_listens_and_nothing_is_read(opened: Lake) -> None:
    hub = Hub(lambda: opened)
    listener = hub.listen({})
    hub.close()
    assert asyncio.run(listener.next(30)) is None
    with pytest.raises(RetryableError, match="stopping"):
        hub.listen(None)


def test_a_lake_that_cannot_be_read_is_told_once(opened: Lake, caplog: pytest.LogCaptureFixture) -> None:
    away: list[Exception] = []
    asked: list[None] = []

    def lake() -> Lake:
        asked.append(None)
        if away:
            raise away[0]
        return opened

    hub = Hub(lake, poll_s=0.01)
    listener = hub.listen(None)
    with caplog.at_level(logging.WARNING, "feltwire.web.hub"):
        for error in (LakeError("the disk is away"), ZeroDivisionError("a post's text")):
            away[:] = [error]
            asked.clear()
            wait_for(lambda: len(asked) > 5)
    listener.leave()
    told = [record.getMessage() for record in caplog.records]
    assert told == ["the stream waits: the disk is away", "the stream waits, since a ZeroDivisionError was raised"]


def run(hub: Hub, receive: Callable[[], Any], send: Callable[[Message], Any]) -> None:
    """Answer one client with a stream."""

    async def answer() -> None:
        listener = await asyncio.to_thread(hub.listen, {})
        response = _Events(listener, EVERYTHING, {"posts"})
        await response({"type": "http", "asgi": {"spec_version": "2.3"}}, receive, send)

    asyncio.run(answer())


def test_a_client_that_is_gone_before_the_first_byte_gives_its_place_back(opened: Lake) -> None:
    hub = Hub(lambda: opened)

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        await asyncio.sleep(0)

    run(hub, receive, send)
    assert hub.listeners == 0


def test_a_client_that_reads_nothing_is_given_up(opened: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feltwire.web.api.stream.SEND_S", 0.05)
    hub = Hub(lambda: opened)

    async def forever(message: Message | None = None) -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    run(hub, forever, forever)
    assert hub.listeners == 0
