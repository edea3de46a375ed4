"""Killed at each step between log, tables and positions, and started again: nothing lost, nothing doubled."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import PROVING
from tests.engines.children import Forge
from tests.engines.exact import assert_exact
from tests.engines.stream import Story, file_source

from feltwire.schema import STREAMED, TABLES

SEED = 31
KILLED = -9
FAN_IN = 8  # so that small lakes have something to merge

pytestmark = [pytest.mark.slow, pytest.mark.prove]


class Lake:
    """A lake that grows by one file of records a run, under a name in its folder."""

    def __init__(self, folder: Path, forge: Forge, seed: int) -> None:
        self.folder = folder
        self.path, self.log, self.inbox = folder / "lake", folder / "log.db", folder / "inbox"
        self.inbox.mkdir(parents=True)
        self.story = Story(seed)
        self._forge = forge
        self._files = count()

    def feed(self, lines: int = 60) -> None:
        self.story.write(self.inbox / f"{next(self._files):04}.jsonl", lines)

    def run(self, kill_at: str | None = None, **patch: Any) -> None:
        """Ingest and process what there is; with `kill_at`, be killed there."""
        plan = {
            "log": f"sqlite:{self.log}",
            "lake": str(self.path),
            "sources": [file_source(self.inbox)],
            "until_idle": True,
            "maintain": False,
            "processes": 0,
        }
        self._run({"plan": plan, "patch": patch}, kill_at)

    def maintain(self, kill_at: str | None = None) -> None:
        """One round of maintenance beside no engine."""
        self._run({"maintain": str(self.path), "patch": {"fan_in": FAN_IN, "checkpoint_every": 2}}, kill_at)

    def _run(self, job: dict[str, Any], kill_at: str | None) -> None:
        if kill_at:
            job["patch"]["kill_at"] = kill_at
        code = self._forge.run(job)
        wanted = KILLED if kill_at else 0
        assert code == wanted, f"{kill_at or 'clean run'}: exit code {code}: {self._forge.errors()}"

    def check(self) -> None:
        assert_exact(self.path, self.log, self.story.truth)


def sides(*steps: str) -> list[str]:
    return [f"{step} {side} 1" for step in steps for side in ("before", "after")]


COMMITS = sides(
    "append",
    *(f"write.{table}" for table in STREAMED),
    *(f"commit.{table}" for table in STREAMED),
    "durable",
    "register",
    "trim",
)
LEVELLED = [f"commit.{table}" for table in ("windows", "terms", "ledger")]


def _killed_in_a_run(lake: Lake, step: str) -> None:
    """Kill a run that has something to do."""
    lake.feed()
    lake.run(step)


def _killed_while_levelling(lake: Lake, step: str) -> None:
    """Kill a run behind its commit of posts, and the next one while it levels the other tables."""
    lake.feed()
    lake.run("commit.posts after 1")
    lake.feed()
    lake.run(step)


def _killed_at_rest(lake: Lake, step: str) -> None:
    """Kill a run that moves a table which got no rows, when everything else is done."""
    lake.run()
    lake.story.mess = 0.0
    lake.feed(10)
    lake.story.mess = 0.3
    lake.run(step)


Scenario = Callable[[Lake, str], None]
STEPS: list[tuple[Scenario, str]] = [
    *((_killed_in_a_run, step) for step in COMMITS),
    *((_killed_while_levelling, step) for step in sides(*LEVELLED, "write.windows", "write.ledger")),
    *((_killed_at_rest, step) for step in sides("commit.dead_letters", "commit.withdrawn")),
]


def _chains(steps: list[tuple[Scenario, str]], each: int) -> Iterator[list[tuple[Scenario, str]]]:
    """Steps that share a lake, so that a restart is itself killed."""
    for first in range(0, len(steps), each):
        yield steps[first : first + each]


def test_every_step_of_the_stream(tmp_path: Path, forge: Forge, record_property: Callable[[str, object], None]) -> None:
    """Killed before and after every write between log, tables and positions, restarts included: exactly once."""
    steps = STEPS if PROVING else STEPS[::3]
    for number, chain in enumerate(_chains(steps, 1 if PROVING else 8)):
        lake = Lake(tmp_path / str(number), forge, SEED + number)
        lake.feed()
        if number % 2:
            lake.run()  # every other lake exists before the first kill
        for scenario, step in chain:
            scenario(lake, step)
        lake.run()
        lake.check()
    record_property("seed", SEED)
    record_property("steps", len(steps))


def test_every_step_of_a_new_lake(tmp_path: Path, forge: Forge, record_property: Callable[[str, object], None]) -> None:
    """Killed before and after each table of a new lake is made: the next start makes the rest."""
    steps = sides(*(f"create.{table}" for table in TABLES))
    lake = Lake(tmp_path, forge, SEED)
    lake.feed()
    for step in steps:
        lake.run(step)
    lake.run()
    lake.check()
    record_property("steps", len(steps))


MAINTENANCE = sides(
    *(f"merge.{table}" for table in ("posts", "windows", "terms", "ledger", "withdrawn", "dead_letters")),
    *(f"replace.{table}" for table in ("posts", "windows", "terms", "ledger")),
    *(f"withdraw.{table}" for table in ("windows", "terms", "posts")),
    "checkpoint",
    "vacuum",
)


def test_every_step_of_maintenance(
    tmp_path: Path, forge: Forge, record_property: Callable[[str, object], None]
) -> None:
    """Killed before and after every merge, removal, checkpoint and vacuum, the stream going on: sums stay exact."""
    steps = MAINTENANCE if PROVING else MAINTENANCE[::3]
    lake = Lake(tmp_path, forge, SEED)
    lake.story.mess = 0.6
    for number, step in enumerate(steps):
        if PROVING and number % 4 == 0:
            lake = Lake(tmp_path / str(number), forge, SEED + number)
            lake.story.mess = 0.6
        lake.feed(100)
        lake.run(chunk_rows=10)
        lake.maintain(step)
        lake.feed(10)
        lake.run()
        if PROVING:
            lake.check()
        lake.maintain()
    lake.check()
    record_property("seed", SEED)
    record_property("steps", len(steps))
