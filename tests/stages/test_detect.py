"""The stage `detect`: a network's tag normalised, else the detector's answer, else none."""

from typing import Any

import pytest
from hypothesis import given
from tests.stages.batches import batch_of, batches, cases, check_laws

from feltwire import schema
from feltwire.stages.detect import detect


@pytest.mark.parametrize("case", cases("detect"), ids=lambda case: case["title"])
def test_case(case: Any) -> None:
    assert detect(batch_of(case["given"]))["lang"].to_pylist() == [case["expected"]]


def test_each_post_gets_the_language_of_its_own_text() -> None:
    english = {"lang": None, "text": "The flight was delayed by three hours and nobody told us why"}
    german = {"lang": None, "text": "Der Flug hatte drei Stunden Verspätung und niemand hat uns etwas gesagt"}
    batch = batch_of(english, {"lang": "fr"}, german, {"kind": "duplicate", "lang": None}, english)
    assert detect(batch)["lang"].to_pylist() == ["en", "fr", "de", None, "en"]


def test_a_text_that_a_later_stage_refuses_is_not_read() -> None:
    text = "The flight was delayed. " * (schema.MAX_TEXT_CHARS // 24 + 1)
    assert detect(batch_of({"lang": None, "text": text}))["lang"].to_pylist() == [None]


@pytest.mark.prove
@given(first=batches, second=batches)
def test_laws(first: Any, second: Any) -> None:
    check_laws(detect, first, second)
