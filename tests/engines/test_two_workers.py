"""Two workers on one lake: on one partition the second is refused, on two partitions both are welcome."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.engines.children import Child, polling, started
from tests.engines.exact import assert_exact
from tests.engines.runner import FAILED
from tests.engines.stream import Story, file_source

from feltwire.lake import open_lake
from feltwire.lake.rewrite import list_files
from feltwire.lake.tables import FILES_ID, open_table
from feltwire.logs.sqlite import Options, SqliteLog

SEED = 44

pytestmark = [pytest.mark.slow, pytest.mark.prove]


def _plan(folder: Path, **more: Any) -> dict[str, Any]:
    return {"log": f"sqlite:{folder / 'log.db'}", "lake": str(folder / "lake"), "processes": 0, **more}


def _ingest(folder: Path, inbox: Path, **more: Any) -> dict[str, Any]:
    """A job that only ingests what lies in the inbox, and ends."""
    return {"plan": {"log": f"sqlite:{folder / 'log.db'}", "sources": [file_source(inbox)], **more}}


def test_the_second_worker_is_refused(tmp_path: Path, inbox: Path) -> None:
    """A second worker on a partition is refused at its start, told who holds it, and changes nothing."""
    story = Story(SEED)
    story.write(inbox / "a.jsonl", 500)
    with started(tmp_path, {"plan": _plan(tmp_path, sources=[file_source(inbox)])}) as first:
        first.until(lambda progress: progress["processed"] == 500)
        with started(tmp_path, {"plan": _plan(tmp_path)}) as second:
            refused = second.report()
        assert refused["code"] == FAILED
        assert refused["error"] == "ClaimError"
        assert f"process {first.process.pid}" in refused["message"]
        assert "partition 0 of pipeline 'main'" in refused["message"]
        with started(tmp_path, _ingest(tmp_path, inbox)) as other:
            assert "ingest" in other.report()["message"]
        first.kill()
    with started(tmp_path, {"plan": _plan(tmp_path, until_idle=True)}) as successor:
        assert successor.report()["code"] == 0
    assert_exact(tmp_path / "lake", tmp_path / "log.db", story.truth)


def test_a_rival_behind_the_claims_doubles_nothing(
    tmp_path: Path, inbox: Path, record_property: Callable[[str, object], None]
) -> None:
    """Two workers forced on one partition: one leaves at its first commit, and nothing is lost or doubled."""
    story = Story(SEED)
    story.write(inbox / "a.jsonl", 2000)
    plan = _plan(tmp_path, sources=[file_source(inbox, "mode=replay", "rate=60")])
    rival = {"plan": _plan(tmp_path), "patch": {"no_claims": True, "idle_move_s": 0.3}}
    left = Counter[str]()
    with started(tmp_path, {"plan": plan, "patch": {"chunk_rows": 50}}) as first:
        first.until(lambda progress: progress["processed"] > 0)
        with started(tmp_path, rival) as second:
            for _ in polling(30.0):
                ended = [child for child in (first, second) if child.process.poll() is not None]
                if ended:
                    break
            assert len(ended) == 1
            told = ended[0].report()
            assert told["error"] == "ClaimError", told
            assert "another worker" in told["message"]
            left["first" if ended[0] is first else "second"] += 1
    with started(tmp_path, {"plan": {**plan, "sources": [file_source(inbox)], "until_idle": True}}) as successor:
        assert successor.report()["code"] == 0
    assert_exact(tmp_path / "lake", tmp_path / "log.db", story.truth)
    record_property("who left", dict(left))


def test_two_workers_on_two_partitions(
    tmp_path: Path, inbox: Path, record_property: Callable[[str, object], None]
) -> None:
    """Two workers on two partitions of one lake, started at once, with maintenance and kills: nothing lost."""
    story = Story(SEED)
    story.write(inbox / "0.jsonl", 1000)
    options = {"partitions": 2}
    with started(tmp_path, _ingest(tmp_path, inbox, log_options=options)) as ingest:
        assert ingest.report()["received"] == 1000
    patch = {
        "chunk_rows": 50,
        "fan_in": 8,
        "checkpoint_every": 10,
        "maintainer": {"withdraw_every_s": 1.0, "vacuum_every_s": 2.0},
    }
    plans = [_plan(tmp_path, partitions=[partition]) for partition in (0, 1)]
    kills = 0
    with started(tmp_path, {"plan": plans[0], "patch": patch}) as one:
        with started(tmp_path, {"plan": plans[1], "patch": patch}) as other:
            _both_commit(one, other)
            story.write(inbox / "1.jsonl", 1000)
            with started(tmp_path, _ingest(tmp_path, inbox)) as ingest:
                ingest.report()
            _merged(tmp_path / "lake")
            other.kill()
            kills += 1
        with started(tmp_path, {"plan": plans[1], "patch": patch}) as other:
            story.write(inbox / "2.jsonl", 500)
            with started(tmp_path, _ingest(tmp_path, inbox)) as ingest:
                ingest.report()
            _both_commit(one, other)
            one.kill()
            kills += 1
            other.until(lambda progress: progress["lag"] == 0)
            assert other.stop()["code"] == 0
    with started(tmp_path, {"plan": _plan(tmp_path, until_idle=True)}) as both:
        assert both.report()["code"] == 0
    _whole(tmp_path, story)
    record_property("seed", SEED)
    record_property("kills", kills)


def _both_commit(one: Child, other: Child) -> None:
    for child in (one, other):
        child.until(lambda progress: progress["processed"] > 100 and progress["lag"] == 0)


def _merged(path: Path) -> None:
    """Wait until a maintainer has merged files; it was one at a time, or a merge would have given way."""
    for _ in polling(30.0):
        handle = open_table(open_lake(str(path)).location, "posts")
        if (handle.transaction_version(FILES_ID) or 0) >= 1 and len(list_files(handle, "posts")) < 30:
            return
    raise AssertionError("nothing was merged")


def _whole(folder: Path, story: Story) -> None:
    """An account's withdrawal stands in both partitions, so the ledger counts it twice."""
    with SqliteLog(folder / "log.db", Options()) as log:
        ends = log.ends()
    extra = sum(ends.values()) - sum(a["received"] + a["withdrawn"] for a in story.truth.ledger.values())
    assert extra == story.accounts
    story.truth.ledger["file"]["withdrawn"] += extra
    assert_exact(folder / "lake", folder / "log.db", story.truth)
