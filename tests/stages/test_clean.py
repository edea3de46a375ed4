"""The stage `clean`: what a post carries, and the text as the model reads it."""

from functools import partial
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.stages.batches import batch_of, batches, cases, check_laws

from feltwire import schema, text
from feltwire.errors import ConfigError
from feltwire.stages.clean import clean
from feltwire.stages.match import match


@pytest.mark.parametrize("case", cases("clean"), ids=lambda case: case["title"])
def test_case(case: Any) -> None:
    batch = batch_of(case["given"])
    batch = batch.append_column("outcome", pa.array([case.get("outcome", schema.KEPT)], pa.string()))
    (row,) = clean(batch, profile=case["profile"]).to_pylist()
    assert {name: row[name] for name in case["expected"]} == case["expected"]


def test_an_unknown_profile_is_a_mistake_of_the_configuration() -> None:
    with pytest.raises(ConfigError, match="unknown cleaning profile 'sozial': known are social, letters, plain"):
        clean(match(batch_of({}), tracks=[]), profile="sozial")


def test_an_unknown_profile_is_refused_without_rows_too() -> None:
    with pytest.raises(ConfigError):
        clean(match(batch_of(), tracks=[]), profile="sozial")


def test_columns_have_the_types_of_the_tables() -> None:
    for batch in (batch_of(), batch_of({}), batch_of({"kind": "duplicate"}, {})):
        cleaned = clean(match(batch, tracks=[]), profile="social")
        for name in ("hashtags", "mentions", "links", "emoji_used"):
            assert cleaned.schema.field(name).type == schema.STRINGS
        assert cleaned.schema.field("clean_text").type == pa.string()


@pytest.mark.prove
@given(profile=st.sampled_from(text.profiles()), first=batches, second=batches)
def test_laws(profile: str, first: Any, second: Any) -> None:
    first, second = match(first, tracks=[]), match(second, tracks=[])
    for row in check_laws(partial(clean, profile=profile), first, second).to_pylist():
        if row["outcome"] == schema.KEPT:
            assert [row["clean_text"]] == text.clean([row["text"]], profile)
            assert row["emoji_used"] == text.emoji_used(row["text"])
            assert set(row["hashtags"]) >= set(text.hashtags(row["text"]))
        else:
            assert (row["clean_text"], row["emoji_used"]) == (None, None)
