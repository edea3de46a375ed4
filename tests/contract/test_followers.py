"""The contract of every destination: one suite, found by the registry, over `tests/followers/targets/<name>.py`."""

import contextlib
import errno
import itertools
import multiprocessing
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.followers import child
from tests.followers.feeds import MemoryFeed, batch, post, story, withdrawal
from tests.followers.harness import Killed, Opened, catch_up, check, fault, make

from feltwire import following, registry
from feltwire.errors import DestinationError
from feltwire.followers import parquet
from feltwire.interfaces import Position

NAMES = registry.names("followers")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "MERGE_FILES", 2)
    monkeypatch.setattr(following, "FIRST_WAIT_S", 0.001)


@pytest.fixture(params=NAMES)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    opened = make(request.param, tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def again(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], Opened]]:
    """Makes as many targets as a test asks for, each in a folder of its own."""
    numbers = itertools.count()
    made: list[Opened] = []

    def one(name: str) -> Opened:
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        made.append(make(name, folder))
        return made[-1]

    yield one
    for opened in reversed(made):
        opened.close()


def test_a_new_one_has_no_position(opened: Opened) -> None:
    assert opened.follower().position() is None


def test_a_new_one_is_given_everything(opened: Opened) -> None:
    feed = story(seed=1, posts=60)
    follower = opened.follower()
    assert catch_up(feed, follower) == feed.ends
    assert follower.position() == feed.ends
    check(feed, opened.target)


def test_the_same_call_twice_changes_nothing(opened: Opened) -> None:
    feed = story(seed=2, posts=40)
    follower = opened.follower()
    position: Position = {}
    while position != feed.ends:
        posts, withdrawn, position = feed.changes(position, 6)
        follower.apply(posts, withdrawn, position)
        follower.apply(posts, withdrawn, position)
        assert follower.position() == position
    check(feed, opened.target)


@pytest.mark.parametrize("seed", range(3))
def test_a_replay_changes_nothing_however_it_is_cut(opened: Opened, seed: int) -> None:
    feed = story(seed=seed, posts=40)
    follower = opened.follower()
    catch_up(feed, follower)
    for max_posts in (1, 5, 1000):
        position: Position = {}
        while position != feed.ends:
            posts, withdrawn, position = feed.changes(position, max_posts)
            follower.apply(posts, withdrawn, position)
    assert follower.position() == feed.ends
    check(feed, opened.target)


def test_it_catches_up_after_any_absence(opened: Opened) -> None:
    feed, whole = MemoryFeed(2), story(seed=4, posts=80)
    for upto in (5, 6, 40, 200):
        feed.rows = [row for row in whole.rows if row["log_offset"] < upto]
        feed.withdrawals = [row for row in whole.withdrawals if row["log_offset"] < upto]
        feed.ends = {partition: min(upto, end) for partition, end in whole.ends.items()}
        follower = opened.follower()
        catch_up(feed, follower)
        assert follower.position() == feed.ends
        check(feed, opened.target)


def test_a_position_moves_without_posts(opened: Opened) -> None:
    feed = MemoryFeed(1)
    follower = opened.follower()
    catch_up(feed, follower)
    feed.ends = {0: 500}
    catch_up(feed, follower)
    assert opened.follower().position() == {0: 500}
    assert opened.target.posts() == []


def test_a_withdrawal_does_not_overtake_its_post(opened: Opened) -> None:
    feed = MemoryFeed(1)
    feed.add([post(0, 0), post(0, 1)])
    follower = opened.follower()
    catch_up(feed, follower)
    feed.add([post(0, 3)], [withdrawal(0, 2, id="simulator:0-0")])
    catch_up(feed, follower)
    assert sorted(opened.target.posts()) == [(0, 0), (0, 1), (0, 3)]
    assert opened.target.withdrawn() in ([(0, 2)], None)


def test_a_filter_keeps_the_position_going(opened: Opened) -> None:
    feed = MemoryFeed(1)
    feed.add([post(0, offset) for offset in range(12)])
    opened.release()
    opened.target.options |= {"track": "united", "complaint": "true", "sentiment": "negative"}
    if not opened.target.durable:
        pytest.skip("made once and for all, without options")
    follower = opened.follower()
    catch_up(feed, follower)
    assert opened.target.posts() == [(0, 0)]
    assert follower.position() == {0: 12}


def test_odd_text_survives(opened: Opened) -> None:
    odd = ["", "\x00", "a\r\nb\nc", '"quoted", yes', "=1+1", "ünï 👩‍👩‍👧 \u202e\u2028", "\ud7ff\ufffe", "x" * 60_000]
    feed = MemoryFeed(1)
    feed.add([post(0, offset, text=f"flight 0-{offset} {text}") for offset, text in enumerate(odd)])
    catch_up(feed, opened.follower())
    check(feed, opened.target)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("when", ["midway", "after"])
@pytest.mark.parametrize("stride", [17, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_at_any_step_nothing_is_lost_or_doubled(
    name: str, when: str, stride: int, again: Callable[[str], Opened], monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = story(seed=5, posts=16)
    for step in itertools.count(1 + stride // 2, stride):
        opened = again(name)
        if not (opened.target.durable and opened.target.exact):
            pytest.skip("promises nothing after a kill")
        with fault(monkeypatch, step, when, Killed) as calls, contextlib.suppress(Killed):
            catch_up(feed, opened.follower(), max_posts=6)
        if len(calls) < step:
            break
        catch_up(feed, opened.follower(), max_posts=5)  # cut elsewhere than before
        check(feed, opened.target)
    assert step > 5, "the steps were not seen"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("stride", [17, pytest.param(2, marks=pytest.mark.slow)])
def test_with_a_full_disk_it_waits_and_then_goes_on(
    name: str, stride: int, again: Callable[[str], Opened], monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = story(seed=6, posts=16)
    for step in itertools.count(1 + stride // 2, stride):
        opened = again(name)
        with fault(monkeypatch, step, "midway", lambda: OSError(errno.ENOSPC, "No space left on device")) as calls:
            catch_up(feed, opened.follower(), max_posts=6)
        check(feed, opened.target)
        if len(calls) < step:
            break


def test_a_failing_apply_says_so(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    follower = opened.follower()
    follower.position()
    rows, none = batch([post(0, 0)]), MemoryFeed(1).changes({}, 1)[1]
    with fault(monkeypatch, 1, "before", lambda: OSError(errno.ENOSPC, "No space left on device")) as calls:
        failing = pytest.raises(DestinationError, match="No space")
        with failing if opened.target.durable else contextlib.nullcontext():
            follower.apply(rows, none, {0: 1})
    assert bool(calls) == opened.target.durable
    follower.apply(rows, none, {0: 1})
    assert follower.position() == {0: 1}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_killed_at_random_instants_nothing_is_lost_or_doubled(name: str, tmp_path: Path) -> None:
    opened = make(name, tmp_path)
    if not (opened.target.durable and opened.target.exact):
        opened.close()
        pytest.skip("promises nothing after a kill")
    chance, feed = random.Random(7), story(child.SEED, child.POSTS)
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.followers.child"])
    kills = 0
    while kills < 10:
        ready = processes.Event()
        running = processes.Process(target=child.run, args=(opened.target.uri, opened.target.options, ready))
        running.start()
        assert ready.wait(30)
        time.sleep(chance.uniform(0, 0.1))
        running.kill()
        running.join()
        kills += 1
    catch_up(feed, opened.follower(), max_posts=100)
    check(feed, opened.target)
    opened.close()
