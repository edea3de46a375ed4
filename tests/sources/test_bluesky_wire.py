"""The parser of Jetstream frames: recorded frames, what becomes of every field, and frames of any kind at all."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sources.jetstream_server import NSID, tid

from feltwire import schema
from feltwire.sources._bluesky_rows import tid_number, tid_time_us, to_batch
from feltwire.sources._jetstream import MAX_FRAME_BYTES, PARSERS, Event, parse_v1, parse_v2
from feltwire.sources._records import Row

DID = "did:plc:abc"
TIME_US = 1_783_175_888_090_631
REV = "3mptbypcq372f"


def v1(record: Any = None, *, operation: str = "create", **more: Any) -> dict[str, Any]:
    commit = {"rev": REV, "operation": operation, "collection": "app.bsky.feed.post", "rkey": "3mptbyoeyc22k"}
    commit |= {"record": record} if record is not None else {}
    return {"did": DID, "time_us": TIME_US, "kind": "commit", "commit": commit | more}


def v2(message: dict[str, Any]) -> dict[str, Any]:
    """The same event on the v2 wire."""
    kind = message["kind"]
    at = "2026-07-04T14:38:08.090631Z"
    payload = {"$type": f"{NSID}#{kind}", "seq": 7, "did": message["did"], "time": at, "witnessedAt": at}
    payload |= message["commit"] if kind == "commit" else {kind: message.get(kind)}
    return {"$type": "message", "payload": payload}


def encoded(message: Any) -> bytes:
    return json.dumps(message, ensure_ascii=False).encode("utf-8", "surrogatepass")


def both(message: dict[str, Any]) -> Row | None:
    """The row of the event; the same on both wires, save for what a refusal says of the frame."""
    one, two = parse_v1(encoded(message)).row, parse_v2(encoded(v2(message))).row
    if one is not None and one.refusal is not None:
        assert two is not None
        assert two.refusal is not None
    else:
        assert one == two
    return one


def post(**fields: Any) -> Row:
    row = both(v1({"$type": "app.bsky.feed.post", "text": "hello", **fields}))
    assert row is not None
    assert row.refusal is None, row.refusal
    return row


def refusal(message: Any) -> str:
    row = parse_v1(message if isinstance(message, bytes) else encoded(message)).row
    assert row is not None
    assert row.kind == schema.REFUSAL
    assert row.refusal
    assert row.id is not None
    assert row.id.startswith("bluesky:")
    return row.refusal


def test_the_recorded_frames_parse_as_they_are(test_data: Path) -> None:
    table = pq.read_table(test_data / "bluesky_jetstream_v1" / "events.parquet")
    kinds: dict[str | None, int] = {}
    for recorded in table.to_pylist():
        frame = recorded["raw_json"].encode()
        event = parse_v1(frame, raw=True)
        assert event.time_us == recorded["time_us"]
        row = event.row
        kinds[row.kind if row else None] = kinds.get(row.kind if row else None, 0) + 1
        if row is None:
            assert recorded["collection"] != "app.bsky.feed.post"
            continue
        assert recorded["collection"] == "app.bsky.feed.post"
        if row.kind == schema.POST:
            assert row.raw == recorded["raw_json"]
            assert (row.text, row.author_id) == (recorded["text"], recorded["author"])
            assert to_batch([row])["created_at"][0].as_py() is not None
        other = parse_v2(encoded(v2(json.loads(frame))), raw=False)
        assert other.row == row._replace(raw=None)
    assert kinds == {None: 134, schema.POST: 17, schema.WITHDRAWAL: 1}


def test_a_post_has_its_fields() -> None:
    other = "at://did:plc:other/app.bsky.feed.post/"
    row = post(
        createdAt="2026-07-04T14:38:06.240Z",
        langs=["pt-BR", "en"],
        tags=["extra", "one"],
        facets=[
            {
                "index": {"byteStart": 0, "byteEnd": 4},
                "features": [{"$type": "app.bsky.richtext.facet#tag", "tag": "one"}],
            },
            {"features": [{"$type": "app.bsky.richtext.facet#mention", "did": "did:plc:m"}]},
            {"features": [{"$type": "app.bsky.richtext.facet#link", "uri": "https://a.example/x"}]},
            {"features": [{"$type": "com.example.facet#own", "tag": {"any": "shape"}, "uri": 7}]},
        ],
        reply={"parent": {"uri": other + "p", "cid": "c"}, "root": {"uri": other + "r", "cid": "c"}},
        embed={
            "$type": "app.bsky.embed.recordWithMedia",
            "record": {"$type": "app.bsky.embed.record", "record": {"uri": other + "q", "cid": "c"}},
            "media": {"$type": "app.bsky.embed.external", "external": {"uri": "https://b.example/", "title": "t"}},
        },
    )
    assert row == Row(
        kind=schema.POST,
        id="bluesky:did:plc:abc/3mptbyoeyc22k",
        revision=0,
        author_id=DID,
        text="hello",
        lang="pt",
        created_at="2026-07-04T14:38:06.240Z",
        conversation_id="bluesky:did:plc:other/r",
        reply_to_id="bluesky:did:plc:other/p",
        quote_of_id="bluesky:did:plc:other/q",
        url="https://bsky.app/profile/did:plc:abc/post/3mptbyoeyc22k",
        hashtags=["extra", "one"],
        mentions=["did:plc:m"],
        links=["https://a.example/x", "https://b.example/"],
    )


@pytest.mark.parametrize(
    ("embed", "quoted"),
    [
        ({"$type": "app.bsky.embed.record", "record": {"uri": f"at://{DID}/app.bsky.feed.post/k"}}, f"bluesky:{DID}/k"),
        ({"$type": "app.bsky.embed.record", "record": {"uri": f"at://{DID}/app.bsky.graph.list/k"}}, None),
        ({"$type": "app.bsky.embed.record", "record": {"uri": "at://alice.example/app.bsky.feed.post/k"}}, None),
        ({"$type": "app.bsky.embed.record", "record": {"uri": f"at://{DID}/app.bsky.feed.post/k/more"}}, None),
        ({"$type": "com.example.embed", "record": "any shape", "media": [1], "external": None}, None),
        ({"$type": "com.example.embed", "record": {"uri": f"at://{DID}/app.bsky.feed.post/k"}}, None),
        ({"$type": "app.bsky.embed.images", "images": [{"alt": "", "image": {"$type": "blob"}}]}, None),
        ({"$type": 7, "record": {"record": 8, "uri": 9}, "external": {"uri": []}, "media": {"external": 5}}, None),
        ({}, None),
        (None, None),
    ],
)
def test_a_quote_is_a_post_and_any_other_embed_is_let_be(embed: Any, quoted: str | None) -> None:
    assert post(embed=embed).quote_of_id == quoted


@pytest.mark.parametrize(
    ("langs", "lang"),
    [
        (["en"], "en"),
        (["en-US", "de"], "en"),
        (["ZH-Hant"], "zh"),
        (["fil"], "fil"),
        ([], None),
        (None, None),
        (["english"], None),
        ([""], None),
        (["e\nn"], None),
    ],
)
def test_the_first_languages_primary_subtag_counts(langs: list[str] | None, lang: str | None) -> None:
    assert post(langs=langs).lang == lang


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2026-07-04T14:38:06Z", "2026-07-04T14:38:06+00:00"),
        ("2026-07-04T14:38:06", "2026-07-04T14:38:06+00:00"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00+00:00"),
        ("1971-01-01T00:00:00Z", "1971-01-01T00:00:00+00:00"),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_a_time_is_read_leniently_or_is_null(written: str | None, read: str | None) -> None:
    time = to_batch([post(createdAt=written)])["created_at"][0].as_py()
    assert (time and time.isoformat()) == read


def test_an_update_is_an_edit_numbered_by_its_rev() -> None:
    row = both(v1({"text": "better"}, operation="update"))
    assert row is not None
    assert (row.kind, row.id, row.revision) == (schema.EDIT, "bluesky:did:plc:abc/3mptbyoeyc22k", tid_number(REV))
    later = both(v1({"text": "best"}, operation="update", rev="3mptbypcr372f"))
    assert later is not None
    assert row.revision < later.revision < schema.LAST_REVISION


def test_a_delete_withdraws_every_revision() -> None:
    row = both(v1(operation="delete"))
    assert row == Row(schema.WITHDRAWAL, "bluesky:did:plc:abc/3mptbyoeyc22k", schema.LAST_REVISION)


@pytest.mark.parametrize(
    ("content", "withdrawn"),
    [
        ({"active": False, "status": "deleted", "time": "2026-07-04T14:38:07.877Z"}, True),
        ({"active": False, "status": "deleted"}, True),
        ({"active": False, "status": "takendown"}, True),
        ({"active": False, "status": "suspended"}, True),
        ({"active": False, "status": "deactivated"}, True),
        ({"active": False, "status": "throttled"}, False),
        ({"active": False}, False),
        ({"active": True}, False),
        ({"active": True, "status": "deleted"}, False),
        (None, False),
    ],
)
def test_an_account_that_is_gone_takes_its_posts_along(content: Any, withdrawn: bool) -> None:
    row = both({"did": DID, "time_us": TIME_US, "kind": "account", "account": content})
    at = content.get("time") if content else None
    expected = Row(schema.WITHDRAWAL, revision=schema.LAST_REVISION, author_id=DID, created_at=at)
    assert row == (expected if withdrawn else None)


@pytest.mark.parametrize(
    "message",
    [
        {**v1({"subject": {"uri": 5}, "text": 5, "langs": 7}, collection="app.bsky.feed.like")},
        {**v1({"text": None}, collection="com.example.own", operation="create", rkey="")},
        {"did": DID, "time_us": TIME_US, "kind": "identity", "identity": {"did": DID, "handle": "a.example"}},
        {"did": DID, "time_us": TIME_US, "kind": "new", "new": [1, 2]},
    ],
)
def test_other_events_are_let_pass_and_still_move_the_place(message: dict[str, Any]) -> None:
    assert parse_v1(encoded(message)) == Event(time_us=TIME_US)
    if message["kind"] != "new":
        assert parse_v2(encoded(v2(message))) == Event(time_us=TIME_US, seq=7)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b'{"did":"did:plc:a"} x', "no JSON"),
        (b"\x28\xb5\x2f\xfd", "no JSON"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deep"),
        (b"[" * 100_000, "nested too deep"),
        ([], "Expected `object`"),
        (7, "Expected `object`"),
        ({}, "required field `did`"),
        ({**v1({"text": "a"}), "time_us": "now"}, "time_us"),
        ({**v1({"text": "a"}), "did": "alice"}, "no DID"),
        ({**v1({"text": "a"}), "commit": None}, "without its content"),
        (v1(), "without a record"),
        (v1({"text": "a"}, rkey="../x"), "no record key"),
        (v1({"text": "a"}, rkey=""), "no record key"),
        (v1({"text": "a"}, operation="upsert"), "`operation`"),
        (v1({"text": "a"}, operation="update", rev="zzzzzzzzzzzzz"), "`rev`"),
        (v1({"text": "a"}, operation="update", rev="2222222222222"), "`rev`"),
        (v1({}), "required field `text`"),
        (v1({"text": 7}), "`$.commit.record.text`"),
        (v1({"text": None}), "`$.commit.record.text`"),
        (v1({"text": "a", "createdAt": 7}), "createdAt"),
        (v1({"text": "a", "langs": "en"}), "langs"),
        (v1({"text": "a", "langs": [7]}), "langs"),
        (v1({"text": "a", "facets": {}}), "facets"),
        (v1({"text": "a", "reply": "x"}), "reply"),
        (v1({"text": "a", "embed": "x"}), "embed"),
        (v1("record"), "record"),
        (v1({"text": "x" * (schema.MAX_TEXT_CHARS + 1)}), "at most 65536"),
        (v1({"text": "a\0b"}), "NUL"),
        (v1({"text": "a", "tags": ["a\0b"]}), "NUL"),
        (v1({"text": "a\ud800b"}), "no JSON"),
        (b'{"did":"did:plc:a","time_us":1,"kind":"commit","commit":{"record":{"text":"\\ud800"}}}', "no JSON"),
        (b"x" * (MAX_FRAME_BYTES + 1), "1048577 bytes"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_reason(message: Any, reason: str) -> None:
    assert reason in refusal(message)


def test_a_text_may_hold_what_looks_like_an_escaped_nul() -> None:
    assert post(text="\\u0000").text == "\\u0000"
    assert post(text="x" * schema.MAX_TEXT_CHARS).refusal is None


def test_a_refusal_keeps_a_bounded_payload_and_repeats_itself() -> None:
    frame = b'{"text": "\x00\xff' + b"\xf0\x9f\x98\x80" * 200_000
    row = parse_v1(frame).row
    assert row is not None
    assert row == parse_v1(frame).row
    assert row.payload is not None
    assert len(row.payload) == schema.MAX_PAYLOAD_CHARS
    assert "\0" not in row.payload


def test_the_v2_wires_own_messages() -> None:
    info = {"$type": "message", "payload": {"$type": f"{NSID}#info", "name": "OutdatedCursor", "message": "m"}}
    assert parse_v2(encoded(info)) == Event(notice="OutdatedCursor")
    assert parse_v2(encoded({"$type": "error", "error": "ConsumerTooSlow", "message": "m"})) == Event(
        error="ConsumerTooSlow"
    )
    sync = v2({"did": DID, "kind": "sync", "sync": {"rev": REV, "blocks": {"$bytes": ""}}})
    assert parse_v2(encoded(sync)) == Event(time_us=TIME_US, seq=7, synced=DID)
    odd: dict[str, Any]
    for odd in ({"$type": "message"}, {"$type": "other", "payload": {}}, {"payload": {}}):
        row = parse_v2(encoded(odd)).row
        assert row is not None
        assert row.refusal


def test_raw_keeps_the_frame_and_refuses_one_that_is_no_text() -> None:
    frame = encoded(v1({"text": "héllo"}))
    event = parse_v1(frame, raw=True)
    assert event.row is not None
    assert event.row.raw == frame.decode()
    broken = frame.replace(b'"rev"', b'"\xff": 1, "rev"')
    refused = parse_v1(broken, raw=True).row
    assert refused is not None
    assert refused.refusal


def test_a_batch_is_of_the_records_schema() -> None:
    rows = [post(), post(langs=["en"]), *(parse_v1(b"{").row,)]
    batch = to_batch([row for row in rows if row])
    batch.validate(full=True)
    assert batch.schema == schema.RECORD
    assert batch["live"].to_pylist() == [True] * 3
    assert batch["source"].to_pylist() == ["bluesky"] * 3
    assert to_batch([]).num_rows == 0


@given(st.integers(0, 2**53 - 1), st.integers(0, 1023), st.integers(0, 2**53 - 1))
def test_tids_are_numbers_in_the_same_order(time_us: int, clock: int, other: int) -> None:
    text = tid(time_us, clock)
    number = tid_number(text)
    assert number == time_us << 10 | clock
    assert tid_time_us(text) == time_us
    assert (text < tid(other)) == (number < (other << 10))


# Frames of any kind at all.

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=True)
    | st.text(max_size=20)
    | st.sampled_from(
        ["did:plc:a", "app.bsky.feed.post", "create", "update", "commit", "\0", "at://did:plc:a/app.bsky.feed.post/k"]
    ),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["text", "uri", "$type", "record", "features", "did", "x"]), inner, max_size=4
        )
    ),
    max_leaves=8,
)
FULL = v1(
    {
        "text": "t",
        "createdAt": "2026-07-04T14:38:06Z",
        "langs": ["en"],
        "tags": ["t"],
        "facets": [{"features": [{"$type": "app.bsky.richtext.facet#tag", "tag": "t"}]}],
        "reply": {"parent": {"uri": "at://did:plc:a/app.bsky.feed.post/k"}, "root": {"uri": "x"}},
        "embed": {"$type": "app.bsky.embed.record", "record": {"uri": "at://did:plc:a/app.bsky.feed.post/k"}},
    }
)
WHOLE = [
    FULL,
    v2(FULL),
    v1(operation="delete"),
    v1({"text": "u"}, operation="update"),
    {"did": DID, "time_us": TIME_US, "kind": "account", "account": {"active": False, "status": "deleted"}},
    {"$type": "error", "error": "x"},
]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of every part of a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, part in inner for found in places(part, (*path, key)))]


@st.composite
def broken_messages(draw: st.DrawFn) -> bytes:
    """A good message in which up to three parts are gone or something else, perhaps with a byte changed."""
    message = json.loads(json.dumps(draw(st.sampled_from(WHOLE))))
    for _ in range(draw(st.integers(0, 3))):
        path = draw(st.sampled_from(places(message)[1:] or [()]))
        if not path:
            break
        holder = message
        for key in path[:-1]:
            holder = holder[key]
        if draw(st.booleans()):
            holder[path[-1]] = draw(VALUES)
        elif isinstance(holder, dict):
            del holder[path[-1]]
    frame = bytearray(json.dumps(message, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass"))
    for _ in range(draw(st.integers(0, 2))):
        frame[draw(st.integers(0, len(frame) - 1))] = draw(st.integers(0, 255))
    return bytes(frame)


FRAMES = st.binary(max_size=300) | VALUES.map(encoded) | broken_messages()


@pytest.mark.prove
@given(FRAMES, st.sampled_from(sorted(PARSERS)), st.booleans())
def test_any_frame_gives_records_or_nothing_and_never_an_error(frame: bytes, wire: str, raw: bool) -> None:
    event = PARSERS[wire](frame, raw=raw)
    assert event == PARSERS[wire](bytearray(frame), raw=raw)
    row = event.row
    if row is None:
        return
    batch = to_batch([row])
    batch.validate(full=True)
    assert batch.schema == schema.RECORD
    (record,) = batch.to_pylist()
    assert record["kind"] in {schema.POST, schema.EDIT, schema.WITHDRAWAL, schema.REFUSAL}
    assert (record["refusal"] is None) == (record["kind"] != schema.REFUSAL)
    assert record["id"] is not None or (record["kind"] == schema.WITHDRAWAL and record["author_id"])
    assert record["kind"] not in {schema.POST, schema.EDIT} or record["text"] is not None
    assert len(record["payload"] or "") <= schema.MAX_PAYLOAD_CHARS
    assert not any("\0" in value for value in record.values() if isinstance(value, str))
