"""Kill -9 at random instants, worker processes and all: every post exactly once, every sum right, nobody left."""

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.conftest import PROVING
from tests.engines.children import started
from tests.engines.exact import assert_exact
from tests.engines.stream import Story, file_source, simulated, simulator_source

SEED = 20
KILLS = 200 if PROVING else 6
STARTING = 0.3  # share of the kills that come before a process has begun to work
WORKING_S = 3.0  # the longest that one works
ORPHANS_S = 30.0  # a worker that is still importing looks for its parent when it has done so
RECORDS_A_KILL = 1_000

pytestmark = [pytest.mark.slow, pytest.mark.prove]


def test_kills_at_random_instants(tmp_path: Path, inbox: Path, record_property: Callable[[str, object], None]) -> None:
    """Killed at seeded random instants while two sources and two workers are busy: every post exactly once."""
    dice = random.Random(SEED)
    story = Story(SEED)
    start = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    options = {"seed": SEED, "rate": 400.0, "count": 400 * KILLS, "start": start, "mess": 0.3}
    plan = {
        "log": f"sqlite:{tmp_path / 'log.db'}",
        "lake": str(tmp_path / "lake"),
        "sources": [
            file_source(inbox, "mode=replay", f"rate={RECORDS_A_KILL}"),
            simulator_source(options),
        ],
        "processes": 2,
    }
    patch = {
        "chunk_rows": 200,
        "fan_in": 8,
        "checkpoint_every": 10,
        "keep_s": 0.5,
        "idle_move_s": 0.5,
        "maintainer": {"withdraw_every_s": 0.7, "vacuum_every_s": 1.5},
    }
    alone_s: list[float] = []
    start_s, working = 2.0, 0
    for kill in range(KILLS):
        story.write(inbox / f"{kill:05}.jsonl", RECORDS_A_KILL)
        with started(tmp_path, {"plan": plan, "patch": patch}) as child:
            began = time.monotonic()
            if dice.random() < STARTING:
                time.sleep(dice.random() * start_s)
            else:
                child.until(lambda _: True)  # its first report: everything is level, and it begins to work
                start_s = time.monotonic() - began
                time.sleep(dice.random() * WORKING_S)
                working += 1
            assert child.process.poll() is None, child.errors()
            child.kill()
            alone_s.append(child.seconds_until_alone(ORPHANS_S))
    plan["sources"] = [file_source(inbox), simulator_source(options)]
    with started(tmp_path, {"plan": {**plan, "until_idle": True}, "patch": patch}) as child:
        child.report(600.0)
    simulated(story.truth, options)
    counts = assert_exact(tmp_path / "lake", tmp_path / "log.db", story.truth)
    record_property("seed", SEED)
    record_property("kills", KILLS)
    record_property("kills while working", working)
    for name, value in counts.items():
        record_property(name, value)
    record_property("longest that a worker stayed, seconds", round(max(alone_s), 1))
