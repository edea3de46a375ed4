"""A backfill that is killed again and again under a rate limit: each post once, no finished slice pulled again."""

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.backfill.past import Commands, Past, days_ago
from tests.conftest import PROVING
from tests.sources.x_server import Failure

SEED = 6
SLICES = 384 if PROVING else 24
KILLS = 20 if PROVING else 3
POSTS_A_MINUTE = 6.5
LONGEST_S = 120.0

pytestmark = [pytest.mark.slow, pytest.mark.prove]


def test_a_backfill_that_is_killed(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """Killed at seeded random instants while eight slices are pulled under 429s: each post once, no slice twice."""
    dice = random.Random(SEED)
    with Past(SEED, days_ago(5), SLICES * 15, POSTS_A_MINUTE) as past:
        past.requests_a_window = 4
        commands = Commands(tmp_path, past)
        again: set[str] = set()
        began = time.monotonic()
        for _ in range(KILLS):
            staged, since = commands.staged(), len(past.requests)
            if dice.random() < 0.3:
                past.fail("search/recent", Failure(503))
            enough = len(staged) + dice.randint(0, round(1.4 * SLICES / KILLS))
            with commands.start("--parallel", "8") as running:
                end_s = time.monotonic() + LONGEST_S
                while len(commands.staged()) < enough and time.monotonic() < end_s:
                    assert running.process.poll() is None, (tmp_path / "stderr").read_text()
                    time.sleep(0.05)
                time.sleep(dice.random() * 3.0)
                running.kill()
            again |= staged & set(past.searched(since))
        left = SLICES - len(commands.staged())
        staged, since = commands.staged(), len(past.requests)
        report = commands.finish("--parallel", "8")
        took_s = time.monotonic() - began
        again |= staged & set(past.searched(since))
        assert again == set()
        assert (report["finished"], report["failed"]) == (SLICES, [])
        commands.check()
        assert commands.scored() == len(commands.staged()) == SLICES
        scores = commands.scores()
        assert scores.keys() == past.expected().keys()
        assert all(post["model"].startswith("vader") for post in scores.values())
        asked = len(past.searched())
        assert commands.finish()["finished"] == SLICES
        assert len(past.searched()) == asked
        commands.check()
    for name, value in (
        ("seed", SEED),
        ("slices", SLICES),
        ("kills", KILLS),
        ("posts", len(past.expected())),
        ("posts delivered", past.delivered),
        ("searches", asked),
        ("answers 429", past.limited_answers),
        ("slices left to the last run", left),
        ("seconds", round(took_s)),
    ):
        record_property(name, value)
    assert past.limited_answers
    assert left
