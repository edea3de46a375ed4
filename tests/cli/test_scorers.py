"""Scoring on several cores: the same rows in the same order as on one."""

from collections.abc import Iterator
from typing import Any

import pytest

from feltwire.cli._scorers import Job, scored
from feltwire.errors import FatalError
from feltwire.scoring import score_texts

URI = "lexicon:vader"


def jobs(number: int) -> Iterator[Job]:
    for i in range(number):
        texts: list[str | None] = [f"{word} {i}" for word in ("great", "awful", "plain")]
        yield Job(i, texts, None)


@pytest.mark.slow
def test_order_and_numbers_are_those_of_one_process() -> None:
    found: list[tuple[Any, Any]] = []
    for chunk, scores in scored(jobs(4_000), URI, probabilities=True, processes=2, alone_s=0):
        found.append((chunk, scores))
    assert [chunk for chunk, _ in found] == list(range(4_000))
    for chunk, scores in (found[0], found[1_999], found[3_999]):
        expected = score_texts([f"{word} {chunk}" for word in ("great", "awful", "plain")], URI, probabilities=True)
        assert scores.equals(expected)


@pytest.mark.slow
def test_a_short_file_starts_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: Any, **options: Any) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr("feltwire.cli._scorers.ProcessPoolExecutor", never)
    assert len(list(scored(jobs(2), URI, probabilities=False, processes=2))) == 2


@pytest.mark.slow
def test_a_dead_process_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feltwire.cli._scorers._scores", _die)
    with pytest.raises(FatalError, match="a process that scored has died"):
        for _ in scored(jobs(100_000), URI, probabilities=False, processes=2, alone_s=0):
            pass


def _die(*args: Any) -> None:
    import os

    os._exit(3)
