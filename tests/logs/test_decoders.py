"""Messages of other people's topics become records, each in its place, and nothing raises."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feltwire.errors import ConfigError
from feltwire.logs._decoders import DECODERS, Message, decoder
from feltwire.schema import EDIT, LAST_REVISION, POST, RECORD, REFUSAL, WITHDRAWAL

STATUS: dict[str, Any] = {
    "id": 1_234_567_890_123_456_789,
    "created_at": "2026-03-01T12:00:00.250Z",
    "user": {
        "id": 42,
        "name": "Ana",
        "screen_name": "ana",
        "location": "Lisboa",
        "verified": False,
        "friends_count": 1,
        "followers_count": 2,
        "statuses_count": 3,
    },
    "text": "late again #larkwing @help https://t.co/x",
    "lang": "en",
    "is_retweet": False,
    "entities": {
        "hashtags": [{"text": "larkwing"}],
        "media": [],
        "urls": [{"expanded_url": "https://example.org/a"}],
        "user_mentions": [{"id": 7, "name": "Help", "screen_name": "help"}],
    },
}


def decode(name: str, *values: Any, keys: list[bytes | None] | None = None, source: str = "topic") -> list[Any]:
    messages = [
        Message(value if value is None or isinstance(value, bytes) else json.dumps(value).encode(), key, f"t/0/{i}")
        for i, (value, key) in enumerate(zip(values, keys or [None] * len(values), strict=True))
    ]
    batch = decoder(name, source=source)(messages)
    assert batch.schema == RECORD
    batch.validate(full=True)
    rows: list[Any] = batch.to_pylist()
    assert len(rows) == len(values)
    return rows


def test_our_json_keeps_each_messages_own_source_and_order() -> None:
    rows = decode(
        "post",
        {"id": "bluesky:1", "source": "bluesky", "text": "a", "live": True, "author_handle": "@ana"},
        {"id": "7", "text": "b", "created_at": "2026-03-01T12:00:00Z"},
        {"id": "bluesky:1", "source": "bluesky", "kind": "edit", "revision": 1, "text": "a2", "live": True},
        {"id": "bluesky:1", "source": "bluesky", "kind": "withdrawal"},
    )
    assert [(row["kind"], row["id"], row["source"]) for row in rows] == [
        (POST, "bluesky:1", "bluesky"),
        (POST, "topic:7", "topic"),
        (EDIT, "bluesky:1", "bluesky"),
        (WITHDRAWAL, "bluesky:1", "bluesky"),
    ]
    assert [row["live"] for row in rows] == [True, False, True, False]
    assert rows[0]["author_handle"] == "ana"
    assert rows[3]["revision"] == LAST_REVISION


def test_plain_text_with_the_authors_handle_as_key() -> None:
    rows = decode("text", "schön".encode(), b"hi", keys=[b"@ana", None], source="chat")
    assert [(row["text"], row["author_handle"], row["source"]) for row in rows] == [
        ("schön", "ana", "chat"),
        ("hi", None, "chat"),
    ]
    assert all(row["id"].startswith("chat:") for row in rows)
    assert rows[0]["id"] != decode("text", b"hi", "schön".encode(), source="chat")[1]["id"]
    assert rows[1]["id"] == decode("text", b"x", b"hi", source="chat")[1]["id"]


@pytest.mark.parametrize("wrapped", [False, True])
def test_the_record_of_kafka_connect(wrapped: bool) -> None:
    value = {"schema": {"type": "struct"}, "payload": STATUS} if wrapped else STATUS
    (row,) = decode("connect-twitter", value, source="x")
    assert row["id"] == "x:1234567890123456789"
    assert row["created_at"].isoformat() == "2026-03-01T12:00:00.250000+00:00"
    assert {name: row[name] for name in RECORD.names if name.startswith("author_")} == {
        "author_id": "42",
        "author_handle": "ana",
        "author_name": "Ana",
        "author_verified": False,
        "author_location": "Lisboa",
    }
    assert (row["hashtags"], row["mentions"], row["links"]) == (["larkwing"], ["help"], ["https://example.org/a"])
    assert row["url"] == "https://x.com/ana/status/1234567890123456789"
    assert (row["lang"], row["live"], row["kind"]) == ("en", True, POST)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("post", b"{", "truncated"),
        ("post", b"[1]", "a JSON array"),
        ("post", None, "without a value"),
        ("post", {"id": 1}, "no text"),
        ("post", b'{"text": "' + b"x" * 1_000_000 + b'"}', "1000000 bytes or more"),
        ("text", b"\xff", "not UTF-8"),
        ("text", b"  ", "no text"),
        ("text", None, "without a value"),
        ("connect-twitter", {"text": "hi"}, "no id"),
        ("connect-twitter", b"null", "a JSON null"),
    ],
)
def test_what_cannot_be_read_is_refused_in_its_place(name: str, value: Any, reason: str) -> None:
    good: Any = b"good" if name == "text" else STATUS
    first, refused, last = decode(name, good, value, good)
    assert first["kind"] == last["kind"] == POST
    assert refused["kind"] == REFUSAL
    assert reason in refused["refusal"]
    assert refused["id"].startswith("topic:")
    assert len(refused["payload"]) <= 65_536


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*STATUS, "name", "source"]), inner),
    max_leaves=12,
)


@pytest.mark.parametrize("name", DECODERS)
@given(values=st.lists(st.binary(max_size=20) | st.none() | JSON.map(lambda v: json.dumps(v).encode()), max_size=5))
def test_one_record_a_message_whatever_comes(name: str, values: list[bytes | None]) -> None:
    rows = decode(name, *values)
    alone = [decode(name, *[b""] * i, value)[i] for i, value in enumerate(values)]
    assert rows == alone  # whatever stands beside it


def test_wrong_names_are_refused() -> None:
    with pytest.raises(ConfigError, match="known are post, text, connect-twitter"):
        decoder("avro", source="x")
    with pytest.raises(ConfigError, match="source 'A b'"):
        decoder("post", source="A b")
