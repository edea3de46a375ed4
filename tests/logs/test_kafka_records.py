"""Records as messages and back, without a broker."""

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feltwire import registry
from feltwire.errors import ConfigError
from feltwire.logs._decoders import decoder
from feltwire.logs._kafka_append import with_older_homes
from feltwire.logs._kafka_client import Options, client_config
from feltwire.logs._kafka_foreign import bare
from feltwire.logs._kafka_records import Fetched, Place, from_messages, to_messages
from feltwire.logs.kafka import parse_place
from feltwire.schema import (
    DUPLICATE,
    EDIT,
    LAST_REVISION,
    LOGGED,
    POST,
    RECORD,
    REFUSAL,
    STRINGS,
    TIME,
    WITHDRAWAL,
    records,
)

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
PLACE = Place("topic", 3)

TEXTS = st.none() | st.text(max_size=12) | st.sampled_from(["", "\0", "\u202e\ufeff", "👩‍👧", "\uffff\U0010ffff", "\n"])
VALUES = {
    pa.string(): TEXTS,
    pa.int64(): st.none() | st.integers(-(2**63), 2**63 - 1),
    pa.bool_(): st.none() | st.booleans(),
    TIME: st.none() | st.datetimes(timezones=st.just(UTC)),
    STRINGS: st.none() | st.lists(TEXTS, max_size=3),
}
ROWS = st.fixed_dictionaries(
    {"kind": st.sampled_from([POST, EDIT, WITHDRAWAL, REFUSAL, DUPLICATE]), "ingested_at": st.just(AT)},
    optional={field.name: VALUES[field.type] for field in RECORD if field.name not in ("kind", "ingested_at")},
)


def fetched(*messages: tuple[bytes | None, bytes | None]) -> Fetched:
    """Messages as a reader gives them, with gaps between their offsets."""
    count = len(messages)
    at_ms = int(AT.timestamp() * 1000)
    return Fetched(
        [value for _, value in messages], [key for key, _ in messages], list(range(0, 2 * count, 2)), [at_ms] * count
    )


def back(*messages: tuple[bytes | None, bytes | None]) -> pa.RecordBatch:
    return from_messages(fetched(*messages), decoder("post", source="kafka"), PLACE)


@given(rows=st.lists(ROWS, min_size=1, max_size=6))
def test_any_records_come_back_as_they_went(rows: list[dict[str, Any]]) -> None:
    batch = records(rows)
    got = back(*to_messages(batch))
    assert got.schema == LOGGED
    assert got.drop_columns(["log_partition", "log_offset"]).to_pylist() == batch.to_pylist()
    assert got["log_offset"].to_pylist() == list(range(0, 2 * len(rows), 2))
    assert set(got["log_partition"].to_pylist()) == {3}


def test_a_message_is_a_json_object_without_nulls_by_the_posts_key() -> None:
    ((key, value),) = to_messages(records([{"kind": POST, "id": "x:1", "source": "x", "text": "é", "ingested_at": AT}]))
    assert key == b"x:1"
    assert json.loads(value) == {
        "kind": "post",
        "id": "x:1",
        "source": "x",
        "text": "é",
        "ingested_at": "2026-03-01T12:00:00.000000Z",
    }


def test_what_others_slip_in_is_read_in_its_place() -> None:
    ours = to_messages(records([{"kind": POST, "id": f"x:{n}", "source": "x", "ingested_at": AT} for n in (1, 2)]))
    theirs = [b'{"id": 7, "text": "hi"}', b"\xff", None, b"", b"{}\n{}", b'{"kind": "post", "ingested_at": "never"}']
    got = back(ours[0], *((None, value) for value in theirs), ours[1]).to_pylist()
    assert [row["kind"] for row in got] == [POST, POST, *[REFUSAL] * 5, POST]
    assert [row["log_offset"] for row in got] == list(range(0, 16, 2))
    assert got[1]["id"] == "kafka:7"
    assert got[1]["ingested_at"] == AT  # the broker's time
    assert got[-1]["id"] == "x:2"


def test_a_record_that_no_message_can_hold_goes_without_its_raw_form() -> None:
    row = {"kind": POST, "id": "x:1", "source": "x", "text": "hi", "raw": "r" * 9_000_000, "ingested_at": AT}
    ((_, value),) = to_messages(records([row]))
    assert "raw" not in json.loads(value)
    assert json.loads(value)["text"] == "hi"


def test_repeats_become_bare() -> None:
    rows = [{"kind": POST, "id": "x:1", "source": "x", "text": "hi", "hashtags": ["a"], "ingested_at": AT}] * 2
    got = bare(back(*to_messages(records(rows))), np.array([False, True])).to_pylist()
    assert got[0]["text"] == "hi"
    assert {name: value for name, value in got[1].items() if value is not None} == {
        "kind": DUPLICATE,
        "source": "x",
        "ingested_at": AT,
        "log_partition": 3,
        "log_offset": 2,
    }


def test_edits_and_withdrawals_also_go_where_their_post_was_before_there_were_more_partitions() -> None:
    def of(kind: str, revision: int) -> pa.RecordBatch:
        return records([{"kind": kind, "id": "x:1", "revision": revision, "source": "x", "text": "t"}])

    assert with_older_homes({3: of(EDIT, 2)}, frozenset()) == {3: of(EDIT, 2)}
    edited = with_older_homes({3: of(EDIT, 2)}, frozenset({1}))
    assert [(row["kind"], row["revision"], row["text"]) for row in edited[0].to_pylist()] == [(WITHDRAWAL, 1, None)]
    assert edited[3] == of(EDIT, 2)
    gone = with_older_homes({3: of(WITHDRAWAL, LAST_REVISION), 0: of(POST, 0)}, frozenset({1}))
    assert gone[0]["kind"].to_pylist() == [POST, WITHDRAWAL]
    assert with_older_homes({0: of(WITHDRAWAL, 9)}, frozenset({1})) == {0: of(WITHDRAWAL, 9)}
    assert with_older_homes({3: of(POST, 0)}, frozenset({1})) == {3: of(POST, 0)}


@pytest.mark.parametrize("place", ["", "topic", "host:9092", "host:9092/", "host:9092/a b", "host:9092/.."])
def test_what_is_no_place_is_refused(place: str) -> None:
    with pytest.raises(ConfigError, match="kafka:HOST:PORT"):
        parse_place(place)
    assert parse_place("a:1,b:2/posts.v1") == ("a:1,b:2", "posts.v1")


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("kafka:h:1/t?compression=rar", "compression"),
        ("kafka:h:1/t?decoder=avro", "decoder"),
        ("kafka:h:1/t?source=x", "source goes with decoder"),
        ("kafka:h:1/t?security_protocol=sasl_ssl&username=me", "needs username, and password"),
        ("kafka:h:1/t?colour=red", "unknown option 'colour'"),
    ],
)
def test_wrong_options_are_named(uri: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        registry.create("logs", uri)


def test_security_reaches_the_client(tmp_path: Any) -> None:
    secret = tmp_path / "secret"
    secret.write_text("open sesame\n")
    secret.chmod(0o600)
    given = {
        "security_protocol": "sasl_ssl",
        "sasl_mechanism": "SCRAM-SHA-512",
        "username": "me",
        "password_file": str(secret),
        "ssl_ca": "/etc/ca.pem",
        "ssl_certificate": "/etc/me.pem",
        "ssl_key": "/etc/me.key",
        "ssl_key_password": "kept",
    }
    options = Options.model_validate(given)
    config = client_config("h:1", options)
    assert {name: config[name] for name in config if name.startswith(("s", "boot"))} == {
        "bootstrap.servers": "h:1",
        "security.protocol": "sasl_ssl",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "me",
        "sasl.password": "open sesame",
        "ssl.ca.location": "/etc/ca.pem",
        "ssl.certificate.location": "/etc/me.pem",
        "ssl.key.location": "/etc/me.key",
        "ssl.key.password": "kept",
    }
    assert "kept" not in repr(options)
    secret.chmod(0o644)
    with pytest.raises(ConfigError):
        client_config("h:1", options)
