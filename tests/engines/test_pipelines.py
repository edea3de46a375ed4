"""Several pipelines on one log: each with a model and a lake of its own, none waits for another."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import PROVING
from tests.engines.children import Child, Forge, started
from tests.engines.exact import assert_exact
from tests.engines.stream import Story, file_source

from feltwire.lake import open_lake
from feltwire.logs.sqlite import Options, SqliteLog

SEED = 51
RATE = 200
TINY = Path(__file__).parents[1] / "bundles" / "tiny"
KILLED = -9

pytestmark = [pytest.mark.slow, pytest.mark.prove]


def _plan(folder: Path, name: str, **more: Any) -> dict[str, Any]:
    """A pipeline with a lake of its own."""
    model = {"a": "lexicon:vader", "b": f"bundle:{TINY}"}[name]
    return {
        "pipeline": name,
        "log": f"sqlite:{folder / 'log.db'}",
        "lake": str(folder / name),
        "model": model,
        "processes": 0,
        **more,
    }


def test_one_starts_over_while_the_others_go_on(
    tmp_path: Path, inbox: Path, record_property: Callable[[str, object], None]
) -> None:
    """One pipeline is killed, wiped and run from the start alone; ingest and the other go on undelayed."""
    count = RATE * (90 if PROVING else 40)
    story = Story(SEED)
    story.write(inbox / "0.jsonl", count)
    source = file_source(inbox, "mode=replay", f"rate={RATE}")
    ingest_plan = {"log": f"sqlite:{tmp_path / 'log.db'}", "sources": [source]}
    with (
        started(tmp_path, {"plan": ingest_plan}) as ingest,
        started(tmp_path, {"plan": _plan(tmp_path, "a")}) as a,
    ):
        with started(tmp_path, {"plan": _plan(tmp_path, "b")}) as b:
            b.until(lambda progress: progress["processed"] > RATE)
            b.kill()
        wiped_at = time.time()
        shutil.rmtree(tmp_path / "b")
        with started(tmp_path, {"plan": _plan(tmp_path, "b")}) as b:
            b.until(lambda progress: progress["processed"] > RATE and progress["lag"] < RATE)
            caught_up_s = time.time() - wiped_at
            ingest.until(lambda progress: progress["received"] > 10 * RATE)
            lags = [progress["lag"] for progress in a.observed()[2:]]
            rates = _rates(ingest)
            assert 0 < ingest.stop()["received"] < count
            with started(tmp_path, {"plan": {**ingest_plan, "sources": [file_source(inbox)]}}) as rest:
                rest.report()
            for child in (a, b):
                child.until(lambda progress: progress["processed"] == count)
                assert child.stop()["code"] == 0
    for name in ("a", "b"):
        assert_exact(tmp_path / name, tmp_path / "log.db", story.truth)
    models = {name: _models(tmp_path / name) for name in ("a", "b")}
    assert len(models["a"]) == len(models["b"]) == 1
    assert models["a"] != models["b"]
    # The clocks of a busy machine: a second may bring nothing, and the next one twice as much.
    assert max(lags) < 6 * RATE
    assert all(0.5 * RATE < rate < 1.5 * RATE for rate in rates)
    record_property("seed", SEED)
    record_property("records", count)
    record_property("seconds to catch up", round(caught_up_s, 1))
    record_property("largest lag of the other", max(lags))
    record_property("ingest a second", f"{min(rates):.0f} to {max(rates):.0f}")


def _rates(child: Child) -> list[float]:
    """Records a second, over spans of some five seconds."""
    seen = [line for line in child.observed() if line["received"]]
    pairs = zip(seen, seen[5:], strict=False)
    return [(later["received"] - line["received"]) / (later["at"] - line["at"]) for line, later in pairs]


def _models(path: Path) -> list[str]:
    found: list[str] = open_lake(str(path)).sql("select distinct model from posts where scored")["model"].to_pylist()
    return found


def test_trimming_waits_for_the_slowest(tmp_path: Path, inbox: Path, forge: Forge) -> None:
    """The log keeps what a registered pipeline has not passed, killed or away as it may be, until unregistered."""
    options = {"retention_h": 0.0}
    story = Story(SEED, mess=0.0)  # with a trimmed record its id is forgotten: no repeats here

    def ingest(name: str, count: int) -> None:
        story.write(inbox / name, count)
        plan = {"log": f"sqlite:{tmp_path / 'log.db'}", "sources": [file_source(inbox)], "log_options": options}
        assert forge.run({"plan": plan}) == 0

    def process(name: str, **patch: Any) -> int:
        plan = _plan(tmp_path, name, until_idle=True, log_options=options, model="lexicon:vader")
        return forge.run({"plan": plan, "patch": patch})

    def begins() -> int:
        with SqliteLog(tmp_path / "log.db", Options(retention_h=0)) as log:
            log.trim()
            return log.begins()[0]

    ingest("none.jsonl", 0)
    assert (process("a"), process("b")) == (0, 0)  # from here on both are registered
    ingest("0.jsonl", 100)
    assert (process("a"), process("b")) == (0, 0)
    assert begins() == 100
    ingest("1.jsonl", 100)
    assert process("b", kill_at="commit.posts after 1") == KILLED
    assert process("a") == 0
    assert begins() == 100  # b has not passed it with every table
    ingest("2.jsonl", 100)
    assert process("a") == 0
    assert begins() == 100
    assert process("b") == 0, forge.errors()
    assert begins() == 300
    assert_exact(tmp_path / "a", tmp_path / "log.db", story.truth)
    assert_exact(tmp_path / "b", tmp_path / "log.db", story.truth)
    ingest("3.jsonl", 100)
    assert process("a") == 0
    assert begins() == 300
    with SqliteLog(tmp_path / "log.db", Options(retention_h=0)) as log:
        log.unregister("b")
    assert begins() == 400
    assert_exact(tmp_path / "a", tmp_path / "log.db", story.truth)
    assert process("b") != 0  # what it lacks is gone: it says so instead of leaving a hole


@pytest.mark.parametrize(
    "step", ["commit.posts after 1", "commit.windows after 1", "commit.ledger before 1", "register after 1"]
)
def test_a_new_pipeline_on_a_trimmed_log(tmp_path: Path, inbox: Path, forge: Forge, step: str) -> None:
    """It begins with the oldest record that is left, and survives a kill in its first batch."""
    options = {"retention_h": 0.0}
    before, after = Story(SEED), Story(SEED + 1, name="q")
    before.write(inbox / "0.jsonl", 100)
    ingest = {"log": f"sqlite:{tmp_path / 'log.db'}", "sources": [file_source(inbox)], "log_options": options}
    assert forge.run({"plan": ingest}) == 0
    with SqliteLog(tmp_path / "log.db", Options(retention_h=0)) as log:
        assert log.trim() == 100
    after.write(inbox / "1.jsonl", 100)
    assert forge.run({"plan": ingest}) == 0
    plan = _plan(tmp_path, "a", until_idle=True, log_options=options)
    assert forge.run({"plan": plan, "patch": {"kill_at": step}}) == KILLED
    assert forge.run({"plan": plan}) == 0, forge.errors()
    assert_exact(tmp_path / "a", tmp_path / "log.db", after.truth)
