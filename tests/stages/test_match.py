"""The stage `match`: the tracks of a post, and what becomes of every record."""

from functools import partial
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from tests.stages.batches import batch_of, batches, cases, check_laws

from feltwire import schema
from feltwire.stages.match import TOO_LONG, match
from feltwire.tracks import Track

SEVERAL = [Track("air", "delta OR #late OR @united"), Track("quiet", "-has:links -has:emoji"), Track("en", "lang:en")]


@pytest.mark.parametrize("case", cases("match"), ids=lambda case: case["title"])
def test_case(case: Any) -> None:
    tracks = [Track(name, query) for name, query in case["tracks"].items()]
    (row,) = match(batch_of(case["given"]), tracks=tracks).to_pylist()
    assert {name: row[name] for name in case["expected"]} == case["expected"]


def test_the_longest_text_is_kept_and_a_longer_one_is_dead() -> None:
    longest = "é" * schema.MAX_TEXT_CHARS
    first, second = match(batch_of({"text": longest}, {"text": longest + "!"}), tracks=[]).to_pylist()
    assert (first["outcome"], first["refusal"]) == (schema.KEPT, None)
    assert (second["outcome"], second["refusal"]) == (schema.DEAD, TOO_LONG)


def test_an_outcome_that_stands_stays() -> None:
    batch = batch_of({}, {}).append_column("outcome", pa.array([schema.DEAD, None]))
    matched = match(batch, tracks=[])
    assert matched["outcome"].to_pylist() == [schema.DEAD, schema.KEPT]
    assert matched["refusal"].to_pylist() == [None, None]
    assert matched["tracks"].to_pylist() == [None, []]


def test_columns_have_the_types_of_the_tables() -> None:
    for tracks in ([], SEVERAL):
        for batch in (batch_of({}), batch_of(), batch_of({"kind": "duplicate"}, {})):
            matched = match(batch, tracks=tracks)
            assert matched.schema.field("tracks").type == schema.STRINGS
            assert matched.schema.field("outcome").type == pa.string()


@pytest.mark.prove
@pytest.mark.parametrize("tracks", [[], SEVERAL], ids=["none", "several"])
@given(first=batches, second=batches)
def test_laws(tracks: list[Track], first: Any, second: Any) -> None:
    result = check_laws(partial(match, tracks=tracks), first, second)
    for row in result.to_pylist():
        match row["kind"]:
            case schema.WITHDRAWAL:
                assert row["outcome"] is None
            case schema.DUPLICATE:
                assert row["outcome"] == schema.DUPLICATE
            case schema.POST | schema.EDIT if row["text"] is not None:
                assert row["outcome"] == (schema.KEPT if row["tracks"] or not tracks else schema.FILTERED)
            case _:
                assert row["outcome"] == schema.DEAD
                assert row["refusal"] is not None or row["kind"] == schema.REFUSAL
