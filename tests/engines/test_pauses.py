"""What cannot go on says why for as long as it waits, and tries again ever later."""

import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from feltwire.engines import _processing
from feltwire.engines._commit import IDLE_MOVE_S
from feltwire.engines._opened import LONGEST_WAIT_S
from feltwire.engines._processing import Processing
from feltwire.engines._work import Done
from feltwire.errors import RetryableError
from feltwire.logs.memory import MemoryLog, Options
from feltwire.plan import Plan
from feltwire.schema import POST, records


class Clock:
    """A time that the test moves on."""

    def __init__(self) -> None:
        self.now = time.monotonic()

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(_processing, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


@pytest.fixture
def processing(tmp_path: Path, clock: Clock) -> Iterator[Processing]:
    with ExitStack() as resources:
        log: Any = MemoryLog(Options(partitions=1))
        log.register = lambda pipeline, position: None
        log.append(records([{"kind": POST, "id": "x:1", "source": "x", "text": "hi"}]), source="x", cursor=None)
        plan = Plan(log="test", lake=str(tmp_path / "lake"), model="none:", processes=0)
        opened = Processing.open(plan, log, resources)
        yield opened
        opened.close()


class Away:
    """Something that is never reached, and when that was tried."""

    def __init__(self, clock: Clock, why: str) -> None:
        self.clock, self.why = clock, why
        self.tries: list[float] = []

    def submit(self, *_: Any, **__: Any) -> Future[Done]:
        self.tries.append(self.clock.now)
        future: Future[Done] = Future()
        future.set_exception(RetryableError(self.why))
        return future

    def rest(self) -> None:
        self.tries.append(self.clock.now)
        raise RetryableError(self.why)


def steps(processing: Processing, clock: Clock, seconds: float) -> set[str]:
    """What it says that it waits for, over so many seconds."""
    end, said = clock.now + seconds, set()
    while clock.now < end:
        processing.step()
        said.add(processing.waiting)
        clock.now += 0.05
    return said


def assert_waited(away: Away, caplog: pytest.LogCaptureFixture, why: str) -> None:
    """It was tried ever later, and said once."""
    waits = [later - earlier for earlier, later in pairwise(away.tries)]
    assert waits == sorted(waits)
    assert LONGEST_WAIT_S <= waits[-1] < LONGEST_WAIT_S + 0.2
    assert [record.getMessage() for record in caplog.records if record.name == _processing.__name__] == [why]


def test_a_model_that_is_away_while_little_comes(
    processing: Processing, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The first pause is shorter than the rest of a calm log."""
    away, why = Away(clock, "the model is away"), "a batch could not be worked on: the model is away"
    with monkeypatch.context() as patch:
        patch.setattr(processing.pool, "submit", away.submit)
        assert steps(processing, clock, 60.0) == {why}
    assert_waited(away, caplog, why)
    steps(processing, clock, LONGEST_WAIT_S + 1.0)
    assert (processing.processed, processing.waiting) == (1, "")


def test_a_lake_that_is_away_while_nothing_comes(
    processing: Processing, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    steps(processing, clock, 1.0)
    assert processing.processed == 1
    away, why = Away(clock, "the lake is away"), "the lake takes nothing: the lake is away"
    clock.now += IDLE_MOVE_S
    with monkeypatch.context() as patch:
        patch.setattr(processing.committer, "rest", away.rest)
        assert steps(processing, clock, 60.0) == {why}
    assert_waited(away, caplog, why)
    steps(processing, clock, LONGEST_WAIT_S + 1.0)
    assert processing.waiting == ""
