"""The lenient time parser: what it takes, what it refuses, and that a column equals its values."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feltwire import schema, times


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-07-04T12:00:00Z", datetime(2026, 7, 4, 12, tzinfo=UTC)),
        ("2026-07-04T12:00:00.123Z", datetime(2026, 7, 4, 12, 0, 0, 123000, tzinfo=UTC)),
        ("2026-07-04T12:00:00.123456789Z", datetime(2026, 7, 4, 12, 0, 0, 123456, tzinfo=UTC)),
        ("2026-07-04T14:00:00+02:00", datetime(2026, 7, 4, 12, tzinfo=UTC)),
        ("2026-07-04T12:00:00+0000", datetime(2026, 7, 4, 12, tzinfo=UTC)),
        ("2026-07-04T12:00:00", datetime(2026, 7, 4, 12, tzinfo=UTC)),
        ("2026-07-04 12:00:00", datetime(2026, 7, 4, 12, tzinfo=UTC)),
        (" 2026-07-04t12:00:00z ", datetime(2026, 7, 4, 12, tzinfo=UTC)),
        ("2026-07-04", datetime(2026, 7, 4, tzinfo=UTC)),
        ("1971-01-01T00:00:00Z", datetime(1971, 1, 1, tzinfo=UTC)),
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
        ("2016-12-31T23:59:60.5Z", datetime(2017, 1, 1, 0, 0, 0, 500000, tzinfo=UTC)),
        ("2016-12-31T15:59:60-08:00", datetime(2017, 1, 1, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_time_is_read(text: str, expected: datetime) -> None:
    parsed = times.parse_time(text)
    assert parsed == expected
    assert parsed is not None
    assert parsed.tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-13-01T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "12026-01-01T00:00:00Z",
        "-2026-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:60Z",
        "9999-12-31T23:00:00-02:00",
        "2026-07-04T12:00:61Z",
        "2026-07-04T12:00:00Z" + " " * 100,
        "2026-07-04T12:00:00\ud800",
        "2026-07-04T12:00:00\x00",
        "٢٠٢٦-٠٧-٠٤",
    ],
)
def test_what_is_no_time_is_none(text: str) -> None:
    assert times.parse_time(text) is None


@given(st.lists(st.none() | st.text(max_size=70) | st.datetimes().map(str) | st.datetimes().map(datetime.isoformat)))
def test_a_column_equals_its_values(texts: list[str | None]) -> None:
    column = times.parse_times(texts)
    assert column.type == schema.TIME
    assert column.to_pylist() == [None if text is None else times.parse_time(text) for text in texts]


@given(st.datetimes(timezones=st.timezones()))
def test_what_was_written_is_read_back(time: datetime) -> None:
    try:
        expected = time.astimezone(UTC)
    except OverflowError:
        return
    assert times.parse_time(time.isoformat()) == expected
