"""The loop: waiting, going on, ending, and threads that do not feel each other."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from tests.followers.feeds import MemoryFeed, post, story

from feltwire import following
from feltwire.errors import DestinationError, FatalError, LakeError, PositionError
from feltwire.followers.memory import MemoryFollower, Options
from feltwire.following import FollowerThread, Step, follow
from feltwire.interfaces import Position


class Moody(MemoryFollower):
    """Fails as its script says: before the rows are taken, after them, or when asked for its position."""

    def __init__(self, script: list[tuple[str, Exception]]) -> None:
        super().__init__(Options())
        self.script = script

    def position(self) -> Position | None:
        self._fail("position")
        return super().position()

    def apply(self, posts: pa.RecordBatch, withdrawn: pa.RecordBatch, position: Position) -> None:
        self._fail("before")
        super().apply(posts, withdrawn, position)
        self._fail("after")

    def _fail(self, where: str) -> None:
        if self.script and self.script[0][0] == where:
            raise self.script.pop(0)[1]


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "FIRST_WAIT_S", 0.001)


def run(feed: Any, follower: Any, **options: Any) -> Position:
    return follow(feed, follower, stop=threading.Event(), poll_s=0.001, once=True, **options)


def until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.002)


def offsets(follower: MemoryFollower) -> list[tuple[int, int]]:
    return [(row["log_partition"], row["log_offset"]) for row in follower.posts]


@pytest.mark.parametrize("where", ["position", "before", "after"])
def test_a_failure_is_waited_out_and_nothing_is_lost_or_doubled(where: str) -> None:
    feed = story(seed=1, posts=40)
    follower = Moody([(where, DestinationError("busy"))] * 3)
    steps: list[Step] = []
    assert run(feed, follower, max_posts=5, observe=steps.append) == feed.ends
    visible = [(r["log_partition"], r["log_offset"]) for r in feed.rows if not feed.hidden(r)]
    assert sorted(offsets(follower)) == visible
    assert [str(step.error) for step in steps if step.error] == ["busy"] * 3
    if where != "after":  # what landed without an answer is not counted: nobody saw it
        assert sum(step.posts for step in steps) == len(visible)


def test_a_streak_of_failures_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    feed = story(seed=1, posts=5)
    with caplog.at_level(logging.INFO, logger="feltwire"):
        run(feed, Moody([("before", DestinationError("busy"))] * 4), name="csv")
    assert [record.getMessage() for record in caplog.records] == [
        "csv waits: busy",
        "csv goes on after 4 failures",
    ]


def test_the_lake_may_be_away_too() -> None:
    feed = story(seed=1, posts=5)
    real, failures = feed.changes, [LakeError("away"), LakeError("away")]

    class Away:
        def changes(self, after: Position, max_posts: int) -> Any:
            if failures:
                raise failures.pop()
            return real(after, max_posts)

    assert run(Away(), MemoryFollower(Options())) == feed.ends


def test_a_fatal_error_ends_it() -> None:
    with pytest.raises(FatalError, match="no such door"):
        run(story(seed=1, posts=5), Moody([("before", FatalError("no such door"))]))


def test_another_lake_under_the_same_name_is_seen() -> None:
    follower = MemoryFollower(Options())
    run(story(seed=1, posts=50), follower)
    with pytest.raises(PositionError, match="another lake than before"):
        run(story(seed=1, posts=5), follower)


def test_it_may_begin_elsewhere_than_at_nothing() -> None:
    feed = MemoryFeed(1)
    feed.add([post(0, offset) for offset in range(10)])
    follower = MemoryFollower(Options())
    run(feed, follower, start={0: 8})
    assert offsets(follower) == [(0, 8), (0, 9)]
    feed.add([post(0, 10)])
    run(feed, follower, start={0: 0})  # it has a position now: `start` is for new ones
    assert offsets(follower) == [(0, 8), (0, 9), (0, 10)]


def test_stop_ends_a_wait_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "FIRST_WAIT_S", 60.0)
    thread = FollowerThread("csv", story(seed=1, posts=5), Moody([("before", DestinationError("busy"))] * 99))
    thread.start()
    until(lambda: thread.error is not None)
    assert thread.stop(timeout_s=5)


@pytest.mark.parametrize("failures", [0, 1, 5, 7, 8, 100, 10_000])
def test_waits_double_and_are_bounded(failures: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    longest = min(30.0, 0.25 * 2.0 ** min(failures, 50))
    waits = {following.backoff_s(failures) for _ in range(50)}
    assert all(longest / 2 <= wait <= longest for wait in waits)
    assert len(waits) > 1


def test_a_thread_follows_and_tells_how_far_it_is() -> None:
    feed = story(seed=2, posts=30)
    follower = MemoryFollower(Options())
    thread = FollowerThread("memory", feed, follower, poll_s=0.002)
    assert not thread.alive
    thread.start()
    until(lambda: thread.position == feed.ends)
    end = feed.ends[0]
    feed.add([post(0, end + 1)])
    until(lambda: (0, end + 1) in offsets(follower))
    until(lambda: thread.applied == len(follower.posts))
    assert thread.withdrawn == len(follower.withdrawn)
    assert thread.last_ok_at is not None
    assert thread.error is None
    assert thread.stop()
    assert not thread.alive


def test_a_thread_keeps_its_error_to_itself(caplog: pytest.LogCaptureFixture) -> None:
    feed = story(seed=2, posts=5)
    broken = FollowerThread("broken", feed, Moody([("before", ZeroDivisionError("a bug"))]))
    sound = FollowerThread("sound", feed, MemoryFollower(Options()), poll_s=0.002)
    for thread in (broken, sound):
        thread.start()
    assert broken.join(5)
    assert isinstance(broken.error, ZeroDivisionError)
    until(lambda: sound.position == feed.ends)
    assert sound.alive
    assert sound.stop()
    assert "broken ended: ZeroDivisionError: a bug" in caplog.text


def test_a_slow_follower_delays_nobody() -> None:
    class Slow(MemoryFollower):
        def __init__(self) -> None:
            super().__init__(Options())
            self.gate = threading.Event()

        def apply(self, posts: pa.RecordBatch, withdrawn: pa.RecordBatch, position: Position) -> None:
            self.gate.wait(30)
            super().apply(posts, withdrawn, position)

    feed = story(seed=3, posts=30)
    slow, quick = Slow(), MemoryFollower(Options())
    threads = [FollowerThread("slow", feed, slow), FollowerThread("quick", feed, quick)]
    for thread in threads:
        thread.start()
    until(lambda: threads[1].position == feed.ends)
    assert threads[0].position == {}
    assert not threads[0].stop(timeout_s=0.05)  # it hangs, and is left behind
    slow.gate.set()
    assert all(thread.stop() for thread in threads)


def test_a_thread_closes_its_follower() -> None:
    closed = threading.Event()

    class Closing(MemoryFollower):
        def close(self) -> None:
            closed.set()

    thread = FollowerThread("closing", story(seed=1, posts=3), Closing(Options()), once=True)
    thread.start()
    assert thread.join(5)
    assert closed.is_set()
