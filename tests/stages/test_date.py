"""The stage `date`: which time is believed, what is late, and the day a row is stored under."""

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from tests.stages.batches import batch_of, batches, cases, check_laws, moment

from feltwire import schema
from feltwire.stages.date import date

TIMES = ("created_at", "ingested_at", "event_time")


@pytest.mark.parametrize("case", cases("date"), ids=lambda case: case["title"])
def test_case(case: Any) -> None:
    given = {name: moment(value) if name in TIMES else value for name, value in case["given"].items()}
    (row,) = date(batch_of(given)).to_pylist()
    expected = {name: moment(value) if name in TIMES else value for name, value in case["expected"].items()}
    assert {name: row[name] for name in expected} == expected


def test_columns_have_the_types_of_the_tables() -> None:
    dated = date(batch_of({}))
    for name in ("event_time", "redated", "day"):
        assert dated.schema.field(name).type == schema.POSTS.field(name).type


def test_a_decided_row_is_passed_over() -> None:
    batch = batch_of({"created_at": None}, {"created_at": None})
    decided = batch.append_column("outcome", pa.array([None, schema.DEAD]))
    assert date(decided)["redated"].to_pylist() == [True, None]


@pytest.mark.prove
@given(first=batches, second=batches)
def test_laws(first: Any, second: Any) -> None:
    result = check_laws(date, first, second)
    for row in result.to_pylist():
        if row["kind"] in (schema.POST, schema.EDIT):
            assert row["redated"] is not None
            assert row["event_time"] == (row["ingested_at"] if row["redated"] else row["created_at"])
        else:
            assert row["event_time"] is None
