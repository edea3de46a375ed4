"""Worker processes that die, and records that make the pipeline fail: the engine goes on and loses nothing."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.engines.children import Child, polling, started
from tests.engines.exact import assert_exact
from tests.engines.stream import Story, file_source

from feltwire.lake import open_lake

SEED = 9

pytestmark = [pytest.mark.slow, pytest.mark.prove]


def _plan(folder: Path, source: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"log": f"sqlite:{folder / 'log.db'}", "lake": str(folder / "lake"), "sources": [source], **more}


def _workers(child: Child, count: int) -> list[int]:
    for _ in polling(60.0):
        found = child.workers()
        if len(found) >= count:
            return found
        assert child.process.poll() is None, child.errors()
    raise AssertionError(f"{child.helpers()} are no {count} workers")


def _kill(workers: Sequence[int]) -> int:
    """Kill them; how many there still were: where one has died, the pool ends the others."""
    killed = 0
    for worker in workers:
        with suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)
            killed += 1
    return killed


def test_killed_worker_processes(tmp_path: Path, inbox: Path, record_property: Callable[[str, object], None]) -> None:
    """Worker processes killed under load, while starting and while idle: the engine starts others, nothing is lost."""
    story = Story(SEED)
    story.write(inbox / "0.jsonl", 1500)
    source = file_source(inbox, "mode=replay", "rate=400")
    job = {"plan": _plan(tmp_path, source, processes=2), "patch": {"chunk_rows": 100}}
    kills = 0
    with started(tmp_path, job) as child:
        kills += _kill(_workers(child, 1)[:1])  # while it starts
        for _ in range(2):
            child.until(lambda progress: progress["lag"] > 0)
            kills += _kill(_workers(child, 1))
            time.sleep(1.0)
        child.until(lambda progress: progress["processed"] == 1500)
        kills += _kill(_workers(child, 1))  # with nothing under way
        time.sleep(0.5)
        assert child.process.poll() is None, child.errors()
        report = child.stop()
        assert report["code"] == 0, report
    story.write(inbox / "1.jsonl", 100)
    with started(tmp_path, {"plan": _plan(tmp_path, file_source(inbox), until_idle=True)}) as child:
        assert child.report()["processed"] == 100
    assert_exact(tmp_path / "lake", tmp_path / "log.db", story.truth)
    record_property("seed", SEED)
    record_property("workers killed", kills)


def test_a_worker_that_dies_idle(tmp_path: Path, inbox: Path) -> None:
    """A worker process that dies while nothing is under way is replaced when records come again."""
    story = Story(SEED)
    story.write(inbox / "0.jsonl", 300)
    log_plan = {"log": f"sqlite:{tmp_path / 'log.db'}", "sources": [file_source(inbox)]}
    lake_plan = {"log": log_plan["log"], "lake": str(tmp_path / "lake"), "processes": 1}
    with started(tmp_path, {"plan": lake_plan, "patch": {"chunk_rows": 100}}) as child:
        for number in range(3):
            if number:
                story.write(inbox / f"{number}.jsonl", 300)
            with started(tmp_path, {"plan": log_plan}) as ingest:
                ingest.report()
            child.until(lambda progress, end=300 * (number + 1): progress["processed"] == end)  # type: ignore[misc]
            _kill(_workers(child, 1))
            time.sleep(0.3)
        assert child.stop()["code"] == 0
    assert_exact(tmp_path / "lake", tmp_path / "log.db", story.truth)


@pytest.mark.parametrize("processes", [0, 2])
def test_a_record_that_makes_a_stage_fail(tmp_path: Path, inbox: Path, processes: int) -> None:
    """A record on which a stage raises becomes one dead letter; the rest of its batch is kept."""
    story = Story(SEED, mess=0.0)
    story.write(inbox / "0.jsonl", 400)
    hostile = '{"id": "hostile", "text": "KABOOM, said the post"}\n'
    (inbox / "1.jsonl").write_text(hostile)
    story.write(inbox / "2.jsonl", 400)
    job = {
        "plan": _plan(tmp_path, file_source(inbox), processes=processes, until_idle=True),
        "patch": {"explode": "KABOOM", "chunk_rows": 500},
    }
    with started(tmp_path, job) as child:
        report = child.report()
    assert (report["processed"], report["kept"]) == (801, 800)
    letters = open_lake(str(tmp_path / "lake")).sql("select id, reason, payload from dead_letters").to_pylist()
    assert letters == [{"id": "file:hostile", "reason": "pipeline: ValueError", "payload": "KABOOM, said the post"}]
    assert "KABOOM" not in child.errors()
    story.truth.ledger["file"].update(received=1, dead=1)
    assert_exact(tmp_path / "lake", tmp_path / "log.db", story.truth)
