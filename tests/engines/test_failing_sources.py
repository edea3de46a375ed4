"""Sources that fail: one does not stop the others, and when all have failed the run ends with the reason."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.engines.exact import assert_exact
from tests.engines.stream import Story, file_source

from feltwire.engines import local
from feltwire.errors import ConfigError, FatalError
from feltwire.interfaces import Cursor
from feltwire.plan import Plan, Report, SourcePlan
from feltwire.sources.file import FileSource

DEADLINE_S = 30.0


def _run(plan: Plan) -> Report:
    """Run a plan; one that does not end by itself is stopped, and fails the test."""
    stop, overdue = threading.Event(), threading.Event()

    def give_up() -> None:
        overdue.set()
        stop.set()

    timer = threading.Timer(DEADLINE_S, give_up)
    timer.start()
    try:
        return local.run(plan, stop=stop)
    finally:
        timer.cancel()
        assert not overdue.is_set(), "the run did not end"


def _plan(folder: Path, *sources: dict[str, Any], lake: bool = True, until_idle: bool = False) -> Plan:
    return Plan(
        log=f"sqlite:{folder / 'log.db'}",
        lake=str(folder / "lake") if lake else None,
        sources=tuple(SourcePlan(**source) for source in sources),
        until_idle=until_idle,
        processes=0,
    )


@pytest.mark.parametrize("lake", [True, False])
def test_all_sources_fail(tmp_path: Path, lake: bool) -> None:
    sources = [file_source(tmp_path / f"none-{n}.jsonl", key=f"file {n}") for n in range(2)]
    with pytest.raises(ConfigError, match="no file at"):
        _run(_plan(tmp_path, *sources, lake=lake))


def test_one_source_fails(tmp_path: Path, inbox: Path, caplog: pytest.LogCaptureFixture) -> None:
    story = Story(1)
    story.write(inbox / "0.jsonl", 300)
    failing = file_source(tmp_path / "none.jsonl", key="failing")
    report = _run(_plan(tmp_path, failing, file_source(inbox), until_idle=True))
    assert report.received == 300
    assert "source failing has failed for good: file: no file at" in caplog.text
    assert_exact(tmp_path / "lake", tmp_path / "log.db", story.truth)


def test_a_fault_in_a_source_is_no_end_of_it(
    tmp_path: Path, inbox: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What a source should never raise ends it as failed; its words, which may be a post's, are not logged."""
    Story(1).write(inbox / "0.jsonl", 300)
    read = FileSource.read

    def faulty(self: FileSource, cursor: Cursor | None) -> Iterator[tuple[pa.RecordBatch, Cursor]]:
        yield next(read(self, cursor))
        raise KeyError("said the post")

    monkeypatch.setattr(FileSource, "read", faulty)
    with pytest.raises(FatalError, match="source file: a fault in it: KeyError"):
        _run(_plan(tmp_path, file_source(inbox)))
    assert "said the post" not in caplog.text
