"""The proof that matters most: random schedules of crashes, rivals and maintenance."""

import contextlib
import os
import random
from collections import Counter
from collections.abc import Callable

import pytest
from tests.engines.simulation import play_many
from tests.engines.simulation_mutants import OBVIOUS, SUBTLE, Mutant

PROVING = bool(os.environ.get("FELTWIRE_PROVE"))
Record = Callable[[str, object], None]


@pytest.mark.slow
@pytest.mark.prove
@pytest.mark.timeout(7200)
def test_random_schedules(record_property: Record) -> None:
    """Schedules of crashes, two rival engines and two maintainers lose and double nothing, and all sums are equal."""
    first, schedules = (random.SystemRandom().randrange(1, 10**6) * 1000, 500) if PROVING else (0, 40)
    counts: Counter[str] = Counter()
    failures = []
    for outcome in play_many(range(first, first + schedules)):
        counts.update(outcome.counts)
        if outcome.error:
            failures.append(outcome.error)
    record_property("seed", first)
    record_property("schedules", schedules)
    for name in ("records", "batches", "deaths", "claims lost", "removals", "removed", "dead"):
        record_property(name, counts[name])
    assert not failures, f"{len(failures)} of {schedules} schedules: " + "\n".join(failures[:5])
    # It is no proof if nothing happened.
    assert min(counts[name] for name in ("batches", "deaths", "claims lost", "removals", "removed", "dead")) > 0, counts


@pytest.mark.slow
@pytest.mark.parametrize("mutant", OBVIOUS, ids=lambda mutant: mutant.__name__)
def test_it_finds_what_is_wrong(mutant: Mutant, record_property: Record) -> None:
    """Each of the ways that look right and are not is found within a few schedules."""
    record_property("schedules until it was found", _until_found(mutant, 40))


@pytest.mark.slow
@pytest.mark.prove
@pytest.mark.skipif(not PROVING, reason="takes minutes: make prove")
@pytest.mark.parametrize("mutant", SUBTLE, ids=lambda mutant: mutant.__name__)
def test_it_finds_what_is_hardly_ever_wrong(mutant: Mutant, record_property: Record) -> None:
    """Each of the ways that hardly ever go wrong is found, too."""
    record_property("schedules until it was found", _until_found(mutant, 300))


def _until_found(mutant: Mutant, schedules: int) -> int:
    with contextlib.closing(play_many(range(schedules), mutant)) as outcomes:
        for n, outcome in enumerate(outcomes, 1):
            if outcome.error:
                return n
    pytest.fail(f"{mutant.__name__} was not found in {schedules} schedules")
