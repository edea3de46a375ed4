"""The mapping of rows to records: names, types, refusals, and that no row looks at its neighbours."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feltwire import schema
from feltwire.errors import ConfigError
from feltwire.sources import _coerce
from feltwire.sources._names import ALIASES, parse_columns
from feltwire.sources._rows import MAX_ID_CHARS, Rows

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def records(rows: list[Any], columns: dict[str, str] | None = None, *, source: str = "file") -> list[dict[str, Any]]:
    batch = Rows(source, live=False, columns=columns).from_objects(
        rows, {}, key=lambda i: f"here\0{i}", payload=lambda i: json.dumps(rows[i], default=repr)
    )
    batch.validate(full=True)
    assert batch.schema.equals(schema.RECORD)
    return batch.to_pylist()  # type: ignore[no-any-return]


def record(row: Any, columns: dict[str, str] | None = None, *, source: str = "file") -> dict[str, Any]:
    return records([row], columns, source=source)[0]


def test_every_column_of_a_record_can_be_filled() -> None:
    fixed = {"source", "live", "ingested_at", "refusal", "payload"}
    assert set(ALIASES) == set(schema.RECORD.names) - fixed


def test_a_row_in_the_columns_own_names() -> None:
    row = {
        "id": "7",
        "text": "so happy",
        "author_handle": "@amy",
        "author_verified": "False",
        "lang": "en-GB",
        "created_at": "2026-03-01T12:00:00Z",
        "likes": "12",
        "hashtags": ["#one", "two"],
        "reply_to_id": "6",
    }
    made = record(row)
    assert {name: made[name] for name in ("kind", "id", "revision", "source", "live", "text")} == {
        "kind": "post",
        "id": "file:7",
        "revision": 0,
        "source": "file",
        "live": False,
        "text": "so happy",
    }
    assert made["author_handle"] == "amy"
    assert made["author_verified"] is False
    assert made["lang"] == "en"
    assert made["created_at"] == NOON
    assert made["likes"] == 12
    assert made["hashtags"] == ["one", "two"]
    assert made["reply_to_id"] == "file:6"
    assert made["refusal"] is None


@pytest.mark.parametrize(
    ("row", "column", "value"),
    [
        ({"Full Text": "x"}, "text", "x"),
        ({"tweet": "x"}, "text", "x"),
        ({"text": "", "body": "x"}, "text", "x"),
        ({"text": "x", "screen_name": "amy"}, "author_handle", "amy"),
        ({"text": "x", "user": "amy"}, "author_handle", "amy"),
        ({"text": "x", "user": {"screen_name": "amy", "name": "Amy B"}}, "author_handle", "amy"),
        ({"text": "x", "user": {"screen_name": "amy", "name": "Amy B"}}, "author_name", "Amy B"),
        ({"text": "x", "public_metrics": {"like_count": 3}}, "likes", 3),
        ({"text": "x", "id_str": "12345678901234567", "id": 1.2345678901234568e16}, "id", "file:12345678901234567"),
        ({"text": "x", "id": 42.0}, "id", "file:42"),
        ({"text": "x", "favoriteCount": 2.0}, "likes", 2),
        ({"text": "x", "likes": 10**30}, "likes", None),
        ({"text": "x", "likes": True}, "likes", None),
        ({"text": "x", "language": "English"}, "lang", None),
        ({"text": "x", "lang": "und"}, "lang", None),
        ({"text": "x", "tags": "one, #two|three"}, "hashtags", ["one", "two", "three"]),
        ({"text": "x", "tags": "['one', 'two']"}, "hashtags", ["one", "two"]),
        ({"text": "x", "hashtags": [{"text": "one"}, 5, None]}, "hashtags", ["one", "5"]),
        ({"text": "x", "verified": 1}, "author_verified", True),
        ({"text": "x", "date": "2026-03-01 12:00:00"}, "created_at", NOON),
        ({"text": "x", "date": "2026-03-01 13:00:00 +0100"}, "created_at", NOON),
        ({"text": "x", "date": "Sun Mar 01 12:00:00 +0000 2026"}, "created_at", NOON),
        ({"text": "x", "date": "Sun Mar 01 04:00:00 PST 2026"}, "created_at", NOON),
        ({"text": "x", "date": "Sun, 01 Mar 2026 12:00:00 GMT"}, "created_at", NOON),
        ({"text": "x", "timestamp": 1772366400}, "created_at", NOON),
        ({"text": "x", "timestamp": "1772366400000"}, "created_at", NOON),
        ({"text": "x", "timestamp": 1772366400000000}, "created_at", NOON),
        ({"text": "x", "timestamp": 1e300}, "created_at", None),
        ({"text": "x", "timestamp": "last Tuesday"}, "created_at", None),
        ({"text": 5}, "text", "5"),
        ({"repost_of_id": "9"}, "text", ""),
    ],
)
def test_names_and_values_as_people_write_them(row: dict[str, Any], column: str, value: object) -> None:
    made = record(row)
    assert made["kind"] == "post"
    assert made[column] == value


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, "no text"),
        ({"text": " \n\t"}, "no text"),
        ({"text": None, "id": "1"}, "no text"),
        ({"text": ["x"]}, "no text"),
        ({"text": "x" * 65_537}, "a text longer than 65536 characters"),
        ({"text": "x", "id": "i" * (MAX_ID_CHARS + 1)}, "an id longer than 512 characters"),
        ({"text": "x", "kind": "commit"}, "kind 'commit'; allowed are post, edit, withdrawal"),
        ({"text": "x", "kind": "edit", "id": "1"}, "an edit without an id and a revision of 1 or more"),
        ({"text": "x", "kind": "edit", "revision": 1}, "an edit without an id and a revision of 1 or more"),
        ({"kind": "withdrawal"}, "a withdrawal without an id and without an author_id"),
        ([1], "a JSON array, where an object is expected"),
        ("x", "a JSON string, where an object is expected"),
        (3, "a JSON number, where an object is expected"),
        (None, "a JSON null, where an object is expected"),
    ],
)
def test_what_is_refused_and_why(row: Any, reason: str) -> None:
    made = record(row)
    assert (made["kind"], made["refusal"]) == ("refusal", reason)
    assert made["id"].startswith("file:")
    assert len(made["payload"]) <= schema.MAX_PAYLOAD_CHARS
    assert made["text"] is None


def test_edits_and_withdrawals() -> None:
    rows = [
        {"id": "1", "text": "a"},
        {"id": "1", "text": "b", "kind": "edit", "revision": 1},
        {"id": "1", "kind": "withdrawal", "revision": 0},
        {"id": "2", "kind": "withdrawal"},
        {"author_id": "amy", "kind": "withdrawal"},
    ]
    made = [(row["kind"], row["id"], row["revision"], row["author_id"]) for row in records(rows)]
    assert made == [
        ("post", "file:1", 0, None),
        ("edit", "file:1", 1, None),
        ("withdrawal", "file:1", 0, None),
        ("withdrawal", "file:2", schema.LAST_REVISION, None),
        ("withdrawal", None, schema.LAST_REVISION, "amy"),
    ]


def test_an_exported_id_keeps_its_one_prefix() -> None:
    assert record({"id": "bluesky:did/1", "text": "x"}, source="bluesky")["id"] == "bluesky:did/1"
    assert record({"id": "bluesky:did/1", "text": "x"})["id"] == "file:bluesky:did/1"


def test_same_words_at_two_places_are_two_posts_and_a_replay_is_none() -> None:
    first, second = records([{"text": "gm"}, {"text": "gm"}])
    assert first["id"] != second["id"]
    assert records([{"text": "gm"}, {"text": "gm"}])[1]["id"] == second["id"]


def test_columns_by_hand_win_over_names() -> None:
    row = {"text": "not this", "body": "this", "user": "amy", "meta": {"who": {"nick": "bob"}}}
    made = record(row, {"text": "body", "author_name": "user", "author_handle": "meta.who.nick", "lang": ""})
    assert (made["text"], made["author_name"], made["author_handle"]) == ("this", "amy", "bob")


@pytest.mark.parametrize("given", ["text", "words=body", "text=a,=b"])
def test_a_wrong_column_is_a_config_error(given: str) -> None:
    with pytest.raises(ConfigError, match="columns: "):
        parse_columns(given)


def test_a_payload_is_bounded_and_bytes_are_escaped() -> None:
    made = Rows("file", live=False).from_objects(
        [{}, {}], {}, key=str, payload=lambda i: [b"\xff" * 100_000, b"caf\xc3\xa9 \xe9"][i]
    )
    long, short = made.column("payload").to_pylist()
    assert len(long) == schema.MAX_PAYLOAD_CHARS
    assert short == "café \\xe9"


NAMES = st.sampled_from(
    [
        *("id", "text", "Text", "body", "user", "user.name", "author", "kind", "revision", "lang", "created_at"),
        *("likes", "tags", "mentions", "verified", "repost_of_id", "raw", "nonsense", "public_metrics", "created"),
    ]
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**8, max_value=10**19)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(["post", "edit", "withdrawal", "2026-02-30", "23:59:60", "1971-01-01T00:00:00", "en", "-5"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=5,
)
ROW = st.dictionaries(NAMES | st.text(max_size=8), JSON, max_size=6)


@pytest.mark.prove
@pytest.mark.timeout(1_800)
@given(st.lists(ROW | JSON, max_size=6))
def test_any_rows_become_as_many_records_and_none_looks_at_its_neighbours(rows: list[Any]) -> None:
    together = records(rows)
    assert len(together) == len(rows)
    for i, (row, made) in enumerate(zip(rows, together, strict=True)):
        assert (made["kind"] == "refusal") == (made["refusal"] is not None) == (made["payload"] is not None)
        assert alone(row, i) == made


def alone(row: Any, place: int) -> dict[str, Any]:
    made = Rows("file", live=False).from_objects(
        [row], {}, key=lambda _: f"here\0{place}", payload=lambda _: json.dumps(row, default=repr)
    )
    return made.to_pylist()[0]  # type: ignore[no-any-return]


ARROW = st.sampled_from(
    [
        pa.array([1, None, 2**40]),
        pa.array([2**64 - 1, 5, None], pa.uint64()),
        pa.array([1.5, float("nan"), None]),
        pa.array([float("inf"), -1e300, 3.0]),
        pa.array([True, None, False]),
        pa.array(["a", None, "2026-03-01"]),
        pa.array(["a", None, "b"], pa.large_string()),
        pa.array(["a", None, "b"], pa.string_view()),
        pa.array(["a", None, "a"]).dictionary_encode(),
        pa.array([b"\xff", None, b"ok"], pa.binary()),
        pa.array([None, None, None]),
        pa.array([["a"], None, ["b", None]]),
        pa.array([[1], None, []], pa.list_(pa.int64())),
        pa.array([[NOON], None, []], pa.list_(schema.TIME)),
        pa.array([{"a": 1}, None, {"a": 2}]),
        pa.array([2**62, None, -(2**62)], pa.timestamp("s")),
        pa.array([2**62, None, -(2**62)], pa.timestamp("ns")),
        pa.array([0, None, 1], pa.timestamp("ms", tz="Europe/Vienna")),
        pa.array([2**31 - 1, None, 0], pa.date32()),
        pa.array([86_400_000, None, 0], pa.date64()),
        pa.array([Decimal("1.50"), None, Decimal(-3)]),
        pa.array([1, None, 2], pa.duration("s")),
        pa.array([1, None, 2], pa.time64("us")),
        pa.array(np.array([1, 2, 3], dtype=np.float16)),
    ]
)


@given(st.sampled_from(sorted(_coerce.CONVERTERS, key=str)), ARROW, st.integers(0, 3), st.integers(0, 3))
def test_any_arrow_array_becomes_the_type_asked_for(kind: pa.DataType, array: pa.Array, start: int, stop: int) -> None:
    part = array.slice(start, max(stop - start, 0))
    made = _coerce.CONVERTERS[kind](part)
    made.validate(full=True)
    assert made.type == kind
    assert len(made) == len(part)
    assert made.to_pylist() == _coerce.CONVERTERS[kind](array).slice(start, len(part)).to_pylist()


def test_arrow_times_of_every_unit() -> None:
    for unit, number in (
        ("s", 1772366400),
        ("ms", 1772366400_000),
        ("us", 1772366400_000000),
        ("ns", 1772366400 * 10**9),
    ):
        assert _coerce.times(pa.array([number], pa.timestamp(unit))).to_pylist() == [NOON]
    assert _coerce.times(pa.array([20513], pa.date32())).to_pylist() == [datetime(2026, 3, 1, tzinfo=UTC)]
