"""How much is worked on at a time, and when processes are started: both follow from how fast the model is."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from feltwire import registry
from feltwire.engines import _processing
from feltwire.engines._processing import Processing
from feltwire.engines._work import Done
from feltwire.plan import Plan
from feltwire.schema import POST, records


@pytest.fixture
def processing(tmp_path: Path) -> Iterator[Processing]:
    with ExitStack() as resources:
        log: Any = resources.enter_context(registry.create("logs", f"sqlite:{tmp_path / 'log.sqlite'}"))
        rows = [{"kind": POST, "id": f"x:{n}", "revision": 0, "source": "x", "text": "hi"} for n in range(2_000)]
        log.append(records(rows), source="x", cursor=None)
        plan = Plan(log=f"sqlite:{tmp_path / 'log.sqlite'}", lake=str(tmp_path / "lake"), model="none:", processes=0)
        opened = Processing.open(plan, log, resources)
        yield opened
        opened.close()


def worked(processing: Processing, records: int, seconds: float) -> None:
    processing._learn_pace(Done(partition=0, start=0, end=records, records=records, seconds=seconds))


def test_a_slow_model_gets_small_chunks_and_soon_processes(processing: Processing) -> None:
    processing.batches = 1
    worked(processing, 500, 1.0)
    assert processing._chunk_rows() == 2_000
    assert processing._busy(500)
    assert not processing._busy(300)


def test_a_fast_model_gets_large_chunks_and_works_alone_for_long(processing: Processing) -> None:
    processing.batches = 1
    worked(processing, 5_000, 0.2)
    assert processing._chunk_rows() == _processing.CHUNK_ROWS
    assert not processing._busy(15_000)
    assert processing._busy(25_000)


def test_a_batch_that_loads_the_model_tells_little_of_the_pace(processing: Processing) -> None:
    worked(processing, 500, 10.0)  # the first of all
    assert processing._pace == 0.0
    processing.batches = 1
    worked(processing, 5_000, 0.5)
    worked(processing, 500, 10.0)  # the first of another process
    assert processing._pace > 8_000
    worked(processing, 20, 10.0)  # a few posts, as they come while it is calm
    assert processing._pace > 8_000
    for _ in range(50):
        worked(processing, 500, 1.0)
    assert processing._pace == pytest.approx(500, rel=0.05)


def test_the_first_chunk_is_small(processing: Processing) -> None:
    """The pace is not known: nobody shall wait long for the first posts."""
    while not processing.batches:
        processing.step()
    assert processing.processed == _processing.LEAST_ROWS
