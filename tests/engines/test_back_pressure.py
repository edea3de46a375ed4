"""A source that is faster than the pipeline: it is held back, memory stays flat, and a stop is quick and clean."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import PROVING
from tests.engines.children import started
from tests.engines.exact import assert_exact
from tests.engines.stream import Story, file_source

SEED = 7
RECORDS = 200_000 if PROVING else 16_000
MAX_BACKLOG = 3_000
SOURCE_BATCH = 10_000  # at most, of one batch of a source, which a log takes whole
STOP_S = 6.0

pytestmark = [pytest.mark.slow, pytest.mark.prove]


def test_a_fast_source_waits_for_a_slow_pipeline(
    tmp_path: Path, inbox: Path, record_property: Callable[[str, object], None]
) -> None:
    """Ingest waits while the backlog is full, memory stays flat, a stop loses nothing, and idle ends the run."""
    story = Story(SEED)
    story.write(inbox / "0.jsonl", RECORDS)
    plan: dict[str, Any] = {
        "log": f"sqlite:{tmp_path / 'log.db'}",
        "lake": str(tmp_path / "lake"),
        "sources": [file_source(inbox)],
        "max_backlog": MAX_BACKLOG,
        "until_idle": True,
        "processes": 0,
    }
    with started(tmp_path, {"plan": plan, "patch": {"drag_s": 0.5, "chunk_rows": 500}}) as child:
        child.until(lambda progress: "backlog is full" in progress["waiting"])
        child.until(lambda progress: progress["processed"] >= 2_000)
        began = time.monotonic()
        report = child.stop(60.0)
        stop_s = time.monotonic() - began
        seen = child.observed()
    assert report["received"] < RECORDS
    assert max(progress["lag"] for progress in seen) <= MAX_BACKLOG + SOURCE_BATCH
    assert stop_s < STOP_S
    with started(tmp_path, {"plan": plan}) as child:
        rest = child.report(600.0)
        memory_mb = [progress["rss_mb"] for progress in child.observed()]
        lags = [progress["lag"] for progress in child.observed()]
    assert rest["received"] + report["received"] == RECORDS
    assert max(lags) <= MAX_BACKLOG + SOURCE_BATCH
    assert rest["max_rss_mb"] < 700
    assert_exact(tmp_path / "lake", tmp_path / "log.db", story.truth)
    record_property("records", RECORDS)
    record_property("largest backlog", max(lags))
    record_property("seconds to stop", round(stop_s, 1))
    record_property("memory, MB", round(max(memory_mb, default=0.0)))
