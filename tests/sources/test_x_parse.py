"""X's JSON as records: pages and lines of our own, the recorded ones, and whatever bytes."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sources.reading import Row
from tests.sources.x_server import USERS, make_post, post_id

from feltwire import schema
from feltwire.sources._x_parse import Answer, parse_line, parse_page, time_of, to_batch

AT = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)


def page(*posts: Any, **more: Any) -> list[Row]:
    body = {"data": list(posts), "includes": {"users": USERS, **more}, "meta": {}}
    return rows_of(parse_page(json.dumps(body).encode()))


def rows_of(answer: Answer) -> list[Row]:
    batch = to_batch(answer.rows)
    batch.validate(full=True)
    assert batch.schema.equals(schema.RECORD)
    rows: list[Row] = batch.to_pylist()
    return rows


def test_a_post_has_its_author_and_its_counts() -> None:
    entities = {
        "hashtags": [{"tag": "Late"}],
        "mentions": [{"username": "united"}],
        "urls": [
            {"url": "https://t.co/a", "expanded_url": "https://example.org/a", "display_url": "example.org/a"},
            {"url": "https://t.co/b", "expanded_url": "https://x.com/u/photo/1", "display_url": "pic.x.com/b"},
        ],
    }
    (row,) = page(make_post(4, AT, "so #Late @united", lang="in", entities=entities))
    assert row["kind"] == "post"
    assert row["id"] == f"x:{post_id(AT, 4)}"
    assert row["revision"] == 0
    assert (row["author_id"], row["author_handle"], row["author_name"]) == ("101", "user_1", "User 1")
    assert (row["author_verified"], row["author_location"], row["lang"]) == (False, "Town 1", "id")
    assert (row["likes"], row["reposts"], row["replies"]) == (3, 1, 2)
    assert (row["hashtags"], row["mentions"], row["links"]) == (["Late"], ["united"], ["https://example.org/a"])
    assert row["created_at"] == AT
    assert row["live"] is False
    assert row["url"] == f"https://x.com/user_1/status/{post_id(AT, 4)}"
    assert row["conversation_id"] == row["id"]
    assert row["repost_of_id"] is None


def test_authors_are_joined_by_id_and_not_by_place() -> None:
    rows = page(*(make_post(i, AT, author_id=str(author)) for i, author in enumerate((102, 100, 999, 101))))
    assert [row["author_handle"] for row in rows] == ["user_2", "user_0", None, "user_1"]


@pytest.mark.parametrize(
    ("user", "verified"),
    [
        ({"verified": False, "verified_type": "blue"}, True),
        ({"verified": True, "verified_type": "none"}, True),
        ({"verified": False, "verified_type": "none"}, False),
        ({}, None),
    ],
)
def test_verified(user: dict[str, Any], verified: bool | None) -> None:
    body = {"data": [make_post(1, AT, author_id="7")], "includes": {"users": [{"id": "7", **user}]}}
    (row,) = rows_of(parse_page(json.dumps(body).encode()))
    assert row["author_verified"] is verified


def test_a_long_post_has_its_whole_text() -> None:
    note = {"text": "long " * 200 + "#end", "entities": {"hashtags": [{"tag": "end"}]}}
    (row,) = page(make_post(1, AT, "long long…", note_tweet=note))
    assert row["text"].endswith("#end")
    assert row["hashtags"] == ["end"]


def test_a_repost_carries_the_whole_text_and_its_original_is_kept() -> None:
    original = make_post(1, AT - timedelta(days=3), "x" * 300, author_id="100")
    repost = make_post(
        2, AT, "RT @user_0: xxx…", referenced_tweets=[{"type": "retweeted", "id": original["id"]}], author_id="101"
    )
    first, second = page(repost, tweets=[original])
    assert first["id"] == f"x:{original['id']}"
    assert first["text"] == "x" * 300
    assert first["author_handle"] == "user_0"
    assert second["repost_of_id"] == first["id"]
    assert second["text"] == "RT @user_0: " + "x" * 300
    (alone,) = page(repost)
    assert alone["text"] == "RT @user_0: xxx…"
    assert alone["repost_of_id"] == first["id"]


def test_what_came_along_and_is_a_post_of_the_page_too_is_there_once() -> None:
    one = make_post(1, AT)
    two = make_post(2, AT, referenced_tweets=[{"type": "quoted", "id": one["id"]}, {"type": "replied_to", "id": "5"}])
    rows = page(two, one, tweets=[one])
    assert [row["id"] for row in rows] == [f"x:{two['id']}", f"x:{one['id']}"]
    assert rows[0]["quote_of_id"] == f"x:{one['id']}"
    assert rows[0]["reply_to_id"] == "x:5"


def test_versions_of_a_post_share_the_id_of_the_first() -> None:
    ids = [post_id(AT, i) for i in range(3)]
    versions = [{**make_post(i, AT, f"version {i}"), "id": ids[i], "edit_history_tweet_ids": ids} for i in range(3)]
    rows = page(*versions)
    assert [(row["kind"], row["revision"]) for row in rows] == [
        ("post", 0),
        ("withdrawal", 0),
        ("edit", 1),
        ("withdrawal", 1),
        ("edit", 2),
    ]
    assert {row["id"] for row in rows} == {f"x:{ids[0]}"}
    quoting = make_post(9, AT, referenced_tweets=[{"type": "quoted", "id": ids[2]}])
    assert page(quoting, tweets=[versions[2]])[-1]["quote_of_id"] == f"x:{ids[0]}"


def test_a_page_tells_where_it_ends() -> None:
    body = {"data": [make_post(1, AT), make_post(2, AT - timedelta(hours=1))], "meta": {"next_token": "abc"}}
    answer = parse_page(json.dumps(body).encode())
    assert answer.next_token == "abc"
    assert answer.posts == 2
    assert answer.newest == AT
    assert answer.oldest == AT - timedelta(hours=1)
    assert parse_page(b'{"meta": {"result_count": 0}}') == Answer([])


@pytest.mark.parametrize("name", ["delete", "drop"])
def test_a_deleted_post_is_withdrawn(name: str) -> None:
    event = {name: {"tweet": {"id": "7", "author_id": "1"}, "event_at": "2026-03-01T12:00:00.000Z"}}
    for line in (event, {"data": event}):
        (row,) = rows_of(parse_line(json.dumps(line).encode()))
        assert (row["kind"], row["id"], row["revision"]) == ("withdrawal", "x:7", schema.LAST_REVISION)
        assert row["text"] is None


def test_a_deleted_account_is_withdrawn() -> None:
    line = {"data": {"user_delete": {"user": {"id": "7"}, "event_at": "2026-03-01T12:00:00.250Z"}}}
    (row,) = rows_of(parse_line(json.dumps(line).encode()))
    assert (row["kind"], row["id"], row["author_id"], row["created_at"]) == ("withdrawal", None, "7", AT)


def test_other_events_make_no_record() -> None:
    assert parse_line(b'{"data": {"undrop": {"tweet": {"id": "7"}}}}') == Answer([])


def test_a_problem_ends_the_stream() -> None:
    problem = {
        "title": "operational-disconnect",
        "disconnect_type": "UpstreamOperationalDisconnect",
        "detail": "This stream has been disconnected\nupstream for operational reasons.",
    }
    answer = parse_line(json.dumps({"errors": [problem]}).encode())
    assert answer.rows == []
    assert answer.problem is not None
    assert "UpstreamOperationalDisconnect" in answer.problem
    assert "\n" not in answer.problem


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"data": {"id": "1"', "no JSON"),
        (b"[1]", "no JSON object"),
        (b'{"data": 3}', "`data` is no object"),
        (b"{}", "neither a post nor a message"),
        (b'{"data": {"id": "1"}}', "without a text"),
        (b'{"data": {"text": "a"}}', "without an id"),
        (b'{"data": {"id": "1", "text": "a\\u0000b"}}', "NUL"),
        (b'{"data": {"id": "1", "text": "\xff"}}', "no JSON"),
        (b"[" * 100_000, "nested too deep"),
        (json.dumps({"data": {"id": "1", "text": "a" * 70_000}}).encode(), "70000 characters"),
        (b'{"data": {"delete": {}}}', "without a post"),
    ],
)
def test_what_cannot_be_read_is_refused(line: bytes, reason: str) -> None:
    (row,) = rows_of(parse_line(line))
    assert row["kind"] == "refusal"
    assert reason in row["refusal"]
    assert row["payload"]
    assert len(row["payload"]) <= schema.MAX_PAYLOAD_CHARS
    assert row["id"] == rows_of(parse_line(line))[0]["id"]


def test_one_broken_post_does_not_cost_the_page() -> None:
    rows = page(make_post(1, AT), 7, {"id": "8"}, make_post(2, AT))
    assert [row["kind"] for row in rows] == ["post", "refusal", "refusal", "post"]


def test_an_id_holds_its_time() -> None:
    assert time_of(post_id(AT)) == AT
    assert time_of("20") is None
    assert time_of("x") is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.data())
def test_no_shape_of_a_post_raises(data: st.DataObject) -> None:
    referenced = [{"type": "retweeted", "id": "3"}]
    post: dict[str, Any] = make_post(1, AT, referenced_tweets=referenced, note_tweet={"text": "a"})
    users: Any = USERS
    for key in data.draw(st.lists(st.sampled_from(sorted(post)), max_size=3)):
        post[key] = data.draw(JSON)
    if data.draw(st.booleans()):
        users = data.draw(JSON)
    body = {"data": post, "includes": {"users": users, "tweets": [{"id": "3", "text": data.draw(JSON)}]}}
    rows_of(parse_line(json.dumps(body).encode()))
    rows_of(parse_page(json.dumps({**body, "data": [post]}).encode()))


@given(st.binary(max_size=200))
def test_no_bytes_raise(data: bytes) -> None:
    rows_of(parse_line(data))
    rows_of(parse_page(data))


def test_recorded_pages_and_lines(test_data: Path) -> None:
    recorded = pq.read_table(test_data / "x_api_v2" / "responses.parquet").to_pylist()
    known = {row["id"]: row for row in pq.read_table(test_data / "x_api_v2" / "tweets.parquet").to_pylist()}
    posts: dict[str, Row] = {}
    for one in recorded:
        raw, kind = one["raw_json"].encode(), one["kind"]
        if kind == "flattened_tweet":
            continue
        rows = rows_of(parse_page(raw) if kind == "response_page" else parse_line(raw))
        if one["source_file"] in ("users", "counts", "lists"):  # pages of other things
            continue
        if kind == "not_json":
            assert [row["refusal"].partition(":")[0] for row in rows] == ["no JSON"]
            continue
        assert {row["kind"] for row in rows} <= {"post", "edit", "withdrawal"}, one["source_file"]
        posts |= {row["url"].rpartition("/")[2]: row for row in rows if row["text"] is not None}
    assert len(posts) > 1_500
    for post_number, row in posts.items():
        withheld = post_number in known and "account is temporarily unavailable" in known[post_number]["text"]
        if post_number in known and row["repost_of_id"] is None and not withheld:
            seen = known[post_number]
            assert row["text"] == seen["text"] or len(row["text"]) > len(seen["text"])
            assert row["author_id"] == seen["author_id"]
            assert row["created_at"] == seen["created_at"]
