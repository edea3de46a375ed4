"""The local engine on a real Kafka broker: separate processes, killed, cut off and dealt partitions, end exact."""

import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import PROVING
from tests.engines.children import started
from tests.engines.exact import assert_exact
from tests.engines.stream import Story, file_source
from tests.services.kafka.broker import Broker

from feltwire.lake import Lake, open_lake

SEED = 30
KILLS = 30 if PROVING else 3

pytestmark = [pytest.mark.slow, pytest.mark.prove]


def _ingest(log: str, inbox: Path, *options: str) -> dict[str, Any]:
    """A job that only ingests what lies in the inbox."""
    return {"plan": {"log": log, "sources": [file_source(inbox, *options)]}}


def _process(log: str, lake: Path, **more: Any) -> dict[str, Any]:
    """A job that only processes."""
    return {"plan": {"log": log, "lake": str(lake), "processes": 0, **more}}


def _finish(folder: Path, log: str, lake: Path, **more: Any) -> dict[str, Any]:
    with started(folder, _process(log, lake, until_idle=True, **more)) as last:
        report = last.report()
    assert report["code"] == 0, report
    return report


def _lake_ids(lake: Lake) -> Counter[str]:
    return Counter(lake.sql("select id from posts_all")["id"].to_pylist())


def _ids(story: Story) -> Counter[str]:
    return Counter(key[0] for key in story.truth.texts)


def test_ingest_and_process_apart(broker: Broker, tmp_path: Path, inbox: Path) -> None:
    """The one ends, the other takes what it left; the gaps that transactions leave are passed."""
    log, lake = broker.uri("apart"), tmp_path / "lake"
    story = Story(SEED)
    story.write(inbox / "a.jsonl", 1500)
    with started(tmp_path, _ingest(log, inbox)) as child:
        assert child.report()["received"] == 1500
    report = _finish(tmp_path, log, lake)
    assert report["processed"] == 1500
    assert report["lag"] == 0
    assert_exact(lake, log, story.truth)


def test_both_killed_at_any_instant(broker: Broker, tmp_path: Path, inbox: Path) -> None:
    """Ingest and process are killed again and again, each while the other goes on: every record once."""
    log, lake = broker.uri("killed?session_s=2"), tmp_path / "lake"
    story, chance = Story(SEED + 1), random.Random(SEED)
    for number in range(4):
        story.write(inbox / f"{number}.jsonl", 400)
    slow = {"chunk_rows": 60, "keep_s": 0.3, "idle_move_s": 0.3}
    for _ in range(KILLS):
        ingest = _ingest(log, inbox, "mode=replay", "rate=300")
        with (
            started(tmp_path, ingest) as first,
            started(tmp_path, {**_process(log, lake), "patch": slow}) as second,
        ):
            second.until(lambda progress: progress["processed"] > 0 or progress["lag"] == 0)
            time.sleep(chance.random())
            for child in chance.sample([first, second], 2):
                if child.process.poll() is None:
                    child.kill()
                time.sleep(chance.random() / 2)
    with started(tmp_path, _ingest(log, inbox)) as last:
        assert last.report()["code"] == 0
    _finish(tmp_path, log, lake)
    assert_exact(lake, log, story.truth)
