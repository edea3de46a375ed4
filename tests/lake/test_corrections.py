"""Corrections as labelled texts."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.lake.building import Builder, edit, post, withdrawal

from feltwire.errors import ConfigError
from feltwire.lake.corrections import labelled
from feltwire.lake.withdraw import remove_withdrawn


@pytest.fixture
def built(tmp_path: Path) -> Builder:
    return Builder(tmp_path / "lake")


def test_the_latest_correction_wins_and_others_fields_stay_out(built: Builder) -> None:
    built.store(post(1, "good one"), post(2, "it's two"), post(3, "bad three"))
    for number, field, value in (
        (2, "sentiment", "positive"),
        (1, "sentiment", "negative"),
        (1, "emotion", "anger"),
        (1, "sentiment", "mixed"),
    ):
        built.lake.correct(f"x:{number}", field, value, "ann")
    assert labelled(built.lake, "sentiment") == (["good one", "it's two"], ["mixed", "positive"])
    assert labelled(built.lake, "emotion") == (["good one"], ["anger"])
    assert labelled(built.lake, "hate") == ([], [])


@pytest.mark.parametrize("removed", [False, True])
def test_what_is_withdrawn_teaches_nothing(built: Builder, removed: bool) -> None:
    built.store(post(1, "one"), post(2, "two"))
    built.lake.correct("x:1", "irony", "irony", "ann")
    built.lake.correct("x:2", "irony", "non_irony", "ann")
    built.store(withdrawal(1))
    if removed:
        assert remove_withdrawn(built.lake.location, built.owner) == 1
    assert labelled(built.lake, "irony") == (["two"], ["non_irony"])


def test_a_correction_of_an_earlier_revision_is_of_another_text(built: Builder) -> None:
    built.store(post(1, "good"), post(2, "good"), edit(2, 1, "now bad"))
    built.lake.correct("x:1", "sentiment", "negative", "ann")
    built.lake.correct("x:2", "sentiment", "mixed", "bob")
    built.store(edit(1, 1, "now bad too"), at=datetime.now(UTC) + timedelta(seconds=1))
    assert labelled(built.lake, "sentiment") == (["now bad"], ["mixed"])


def test_an_unknown_field_is_refused(built: Builder) -> None:
    with pytest.raises(ConfigError, match="'text' cannot be corrected: expected one of sentiment"):
        labelled(built.lake, "text")
