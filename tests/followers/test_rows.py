"""Rows as JSON: times, numbers, nulls, nesting."""

import json
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from tests.followers.feeds import batch, post

from feltwire import schema
from feltwire.followers import _rows

TIMES = st.datetimes(timezones=st.just(UTC))


def test_a_post_becomes_plain_json() -> None:
    (row,) = _rows.rows(batch([post(0, 3, p_neutral=0.1, likes=None)]))
    assert list(row) == schema.POSTS.names
    assert row["event_time"] == "2026-07-04T12:00:03.000000Z"
    assert row["p_neutral"] == float(np.float32(0.1))
    assert row["p_positive"] == 7 * 2.0**-20
    assert row["likes"] is None
    assert row["author_name"] is None
    assert row["emoji"] == [{"emoji": "😡", "p": 0.5}]
    assert json.loads(_rows.encode(row)) == row


def test_no_rows_and_no_columns() -> None:
    assert _rows.rows(schema.empty(schema.POSTS)) == []
    assert _rows.rows(batch([post(0, 0)]).select([])) == [{}]


@given(st.lists(st.none() | TIMES, max_size=5))
def test_times_are_iso_8601_in_utc(times: list[datetime | None]) -> None:
    texts = _rows.iso_times(pa.array(times, schema.TIME)).to_pylist()
    assert [None if text is None else datetime.fromisoformat(text) for text in texts] == times
    assert all(text is None or (text.endswith("Z") and len(text) == 27) for text in texts)


@given(st.lists(TIMES, max_size=5))
def test_days_are_of_utc(times: list[datetime]) -> None:
    assert _rows.days(pa.array(times, schema.TIME)) == [time.date().isoformat() for time in times]


def test_no_time_is_the_first_day() -> None:
    assert _rows.days(pa.array([None], schema.TIME)) == ["1970-01-01"]


@given(st.lists(st.text(), max_size=5))
def test_any_text_survives_a_line(texts: list[str]) -> None:
    rows = batch([post(0, number, text=text) for number, text in enumerate(texts)])
    lines = [_rows.encode(row) for row in _rows.rows(rows)]
    assert all(b"\n" not in line for line in lines)
    assert [json.loads(line)["text"] for line in lines] == texts
