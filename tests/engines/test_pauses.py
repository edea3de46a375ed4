"""What cannot go on says why for as long as it waits, and tries again ever later."""

import logging
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from feltwire.engines import _processing
from feltwire.engines._opened import LONGEST_WAIT_S
from feltwire.engines._processing import Processing
from feltwire.engines._work import Done
from feltwire.errors import RetryableError
from feltwire.logs.memory import MemoryLog, Options
from feltwire.plan import Plan
from feltwire.schema import POST, records

WHY = "a batch could not be worked on: the model is away"


class Clock:
    now = 1000.0

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


def test_a_model_that_is_away_while_little_comes(
    processing: Processing, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The pause is shorter than the rest of a calm log: it must not end as if all were well."""
    tries: list[float] = []

    def away(*_: Any, **__: Any) -> Future[Done]:
        tries.append(clock.now)
        future: Future[Done] = Future()
        future.set_exception(RetryableError("the model is away"))
        return future

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, _processing.__name__):
        patch.setattr(processing.pool, "submit", away)
        reasons = set()
        for _ in range(1_200):
            processing.step()
            reasons.add(processing.waiting)
            clock.now += 0.05
    assert reasons == {WHY}
    assert [record.getMessage() for record in caplog.records] == [WHY]
    waits = [later - earlier for earlier, later in pairwise(tries)]
    assert waits == sorted(waits)
    assert LONGEST_WAIT_S <= waits[-1] < LONGEST_WAIT_S + 0.2
    clock.now += LONGEST_WAIT_S
    while not processing.processed:
        processing.step()
        clock.now += 0.05
    assert processing.waiting == ""
