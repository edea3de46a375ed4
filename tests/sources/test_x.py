"""The source `x:` against a server that speaks the API's protocol: streams, searches, and all that goes wrong."""

import json
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.sources.reading import Reading, Row, reading
from tests.sources.reading import until as rows_until
from tests.sources.x_server import TOKEN, Failure, Faults, XServer, make_post, post_id

from feltwire import registry
from feltwire.errors import ConfigError, FatalError
from feltwire.interfaces import Cursor
from feltwire.sources._x_client import Backoff, Timing, XError
from feltwire.sources.x import Options, XSource, create
from feltwire.tracks import Track

# All waits a hundredth or less of the documented ones, which test_backoff has.
QUICK = Timing(
    silence_s=1.5,
    network_step_s=0.01,
    network_most_s=0.1,
    http_first_s=0.05,
    http_most_s=0.4,
    rate_first_s=0.05,
    rate_most_s=5.0,
    timeout_s=5.0,
    overlap_s=120.0,  # posts are dated before the stream begins, and a machine may be busy
    settle_s=0.0,
    archive_every_s=0.01,
)

PROBLEM = {
    "title": "ConnectionException",
    "detail": "This stream is currently at the maximum allowed connection limit.",
    "connection_issue": "TooManyConnections",
}


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("FELTWIRE_X_TOKEN", TOKEN)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))


@pytest.fixture
def server() -> Iterator[XServer]:
    with XServer() as server:
        yield server


def source_of(server: XServer, mode: str = "stream", *tracks: str, **options: Any) -> XSource:
    given = {"base_url": server.url, "cost_per_1000": 0, **options}
    source = XSource(mode, Options.model_validate(given), QUICK)
    source.listen_for([Track(f"track {i}", query) for i, query in enumerate(tracks)])
    return source


def now() -> datetime:
    return datetime.now(UTC)


def until(batches: Reading, enough: Callable[[list[Row]], bool]) -> tuple[list[Row], Cursor]:
    return rows_until(batches, enough, seconds=PATIENCE_S)


def ids(rows: list[Row]) -> list[str]:
    return [row["id"].removeprefix("x:") for row in rows if row["id"]]


PATIENCE_S = 90.0  # a machine may be busy


def connected(server: XServer, begun: int = 0) -> None:
    """Wait until another stream than the first `begun` ones is being read."""
    end_s = time.monotonic() + PATIENCE_S
    while server.begun <= begun:
        assert time.monotonic() < end_s
        time.sleep(0.01)


def publishing(server: XServer, *posts: dict[str, Any], when: Callable[[], bool] | None = None) -> threading.Thread:
    """Publish from a thread, once another stream is being read and `when` holds."""
    begun = server.begun

    def ready() -> bool:
        return server.begun > begun and (when is None or when())

    def work() -> None:  # asserts nothing: the test itself fails where its posts do not come
        end_s = time.monotonic() + PATIENCE_S
        while not ready() and time.monotonic() < end_s:
            time.sleep(0.01)
        server.publish(*posts)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def all_there(wanted: list[dict[str, Any]]) -> Callable[[list[Row]], bool]:
    needed = {post["id"] for post in wanted}
    return lambda rows: needed <= set(ids(rows))


# Streams.


def test_a_stream_gives_what_matches_the_tracks(server: XServer) -> None:
    posts = [make_post(1, now(), "cats here"), make_post(2, now(), "dogs"), make_post(3, now(), "more birds")]
    with reading(source_of(server, "stream", "cats", "birds -rain")) as batches:
        publishing(server, *posts)
        rows, cursor = until(batches, lambda rows: len(rows) == 2)
    assert ids(rows) == [posts[0]["id"], posts[2]["id"]]
    assert all(row["live"] for row in rows)
    assert [(rule["value"], rule["tag"]) for rule in server.rules] == [
        ("cats", "feltwire:track 0"),
        ("birds -rain", "feltwire:track 1"),
    ]
    assert json.loads(json.dumps(cursor)) == cursor
    (asked,) = server.asked("search/stream")
    assert "note_tweet" in asked["tweet.fields"]
    assert "backfill_minutes" not in asked


def test_rules_are_kept_in_step_and_never_pile_up(server: XServer) -> None:
    foreign = server.add_rule("rain", "somebody's")
    for tracks in (["cats", "dogs"], ["cats", "dogs"], ["dogs"], ["birds"]):
        with reading(source_of(server, "stream", *tracks)) as batches:
            publishing(server, make_post(1, now(), tracks[0]))
            until(batches, bool)
        assert foreign in server.rules
        ours = [(rule["value"], rule["tag"]) for rule in server.rules if rule is not foreign]
        assert sorted(ours) == sorted((value, f"feltwire:track {i}") for i, value in enumerate(tracks))


def test_rules_make_room_before_they_are_added(server: XServer) -> None:
    server.max_rules = 1
    server.add_rule("cats", "feltwire:old")
    with reading(source_of(server, "stream", "dogs")) as batches:
        publishing(server, make_post(1, now(), "dogs"))
        until(batches, bool)
    assert [rule["value"] for rule in server.rules] == ["dogs"]


def test_without_a_track_the_rules_are_let_be(server: XServer) -> None:
    with reading(source_of(server)) as batches, pytest.raises(FatalError, match="name a track"):
        until(batches, bool)
    rule = server.add_rule("cats", "somebody's")
    with reading(source_of(server)) as batches:
        publishing(server, make_post(1, now()))
        until(batches, bool)
    assert server.rules == [rule]


def test_a_rule_that_x_does_not_take_is_told(server: XServer) -> None:
    with reading(source_of(server, query="(cats")) as batches, pytest.raises(FatalError, match=r"missing '\)'"):
        until(batches, bool)


def test_the_sample_needs_no_rules(server: XServer) -> None:
    with reading(source_of(server, "sample", "cats")) as batches:
        publishing(server, make_post(1, now(), "whatever"))
        rows, _ = until(batches, bool)
    assert rows[0]["text"] == "whatever"
    assert not server.rules


def test_compliance_withdraws(server: XServer) -> None:
    with reading(source_of(server, "compliance/2")) as batches:
        server.tell({"delete": {"tweet": {"id": "7", "author_id": "1"}}})
        rows, _ = until(batches, bool)
    assert (rows[0]["kind"], rows[0]["id"]) == ("withdrawal", "x:7")
    assert server.asked("compliance/stream")[0]["partition"] == "2"


def test_malformed_lines_are_refused_and_the_stream_goes_on(server: XServer) -> None:
    server.faults.garbage.extend([b'{"data": {"id"', b"\xff\xfe", b"[]", b"{" * 5000 + b"}" * 5000, b"  "])
    post = make_post(1, now())
    with reading(source_of(server, "stream", "cats")) as batches:
        publishing(server, post)
        rows, _ = until(batches, all_there([post]))
    refusals = [row for row in rows if row["kind"] == "refusal"]
    assert len(refusals) == 4
    assert len(server.asked("search/stream")) == 1


def test_a_line_without_end_is_refused(server: XServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feltwire.sources._x_client.MAX_LINE_BYTES", 20_000)
    server.faults.garbage.extend([b"a" * 200_000, b"b" * 30_000])
    post = make_post(1, now())
    with reading(source_of(server, "stream", "cats")) as batches:
        publishing(server, post)
        rows, _ = until(batches, all_there([post]))
    assert [row["kind"] for row in rows] == ["refusal", "refusal", "post"]


@pytest.mark.slow
def test_keep_alives_keep_a_quiet_stream(server: XServer) -> None:
    server.keep_alive_s = 0.1
    post = make_post(1, now())
    with reading(source_of(server, "stream", "cats")) as batches:
        begun_s = time.monotonic()
        publishing(server, post, when=lambda: time.monotonic() - begun_s > 3 * QUICK.silence_s)
        until(batches, all_there([post]))
    assert len(server.asked("search/stream")) == 1


@pytest.mark.slow
def test_a_stream_that_goes_silent_is_left_and_its_posts_are_fetched(server: XServer) -> None:
    """Without backfill, by a search: what came while we waited is not lost."""
    server.faults = Faults(silent_after=1)
    posts = [make_post(i, now() + timedelta(milliseconds=i), f"cats {i}") for i in range(4)]

    def heal() -> None:
        while len(server.asked("search/stream")) < 2 and not server.stopped:
            time.sleep(0.01)
        server.faults.silent_after = None

    healer = threading.Thread(target=heal)
    healer.start()
    with reading(source_of(server, "stream", "cats")) as batches:
        publishing(server, *posts)
        until(batches, all_there(posts))
    healer.join()
    assert len(server.asked("search/stream")) >= 2
    assert server.asked("search/recent")


def test_a_stream_that_is_dropped_asks_for_backfill(server: XServer) -> None:
    server.faults = Faults(drop_after=2)
    posts = [make_post(i, now() + timedelta(milliseconds=i), f"cats {i}") for i in range(6)]

    def heal() -> None:
        while len(server.asked("search/stream")) < 2 and not server.stopped:
            time.sleep(0.005)
        server.faults.drop_after = None

    healer = threading.Thread(target=heal)
    healer.start()
    with reading(source_of(server, "stream", "cats", params="backfill_minutes=5")) as batches:
        publishing(server, *posts)
        until(batches, all_there(posts))
    healer.join()
    first, second = server.asked("search/stream")[:2]
    assert "backfill_minutes" not in first
    assert second["backfill_minutes"] in ("2", "3", "4", "5")
    assert not server.asked("search/recent")


def test_a_reader_that_was_killed_goes_on_where_it_stopped(server: XServer) -> None:
    first, missed, last = (make_post(i, now() - timedelta(seconds=3 - i), "cats") for i in range(3))
    with reading(source_of(server, "stream", "cats")) as batches:
        publishing(server, first)
        _, cursor = until(batches, all_there([first]))
    server.publish(missed)
    with reading(source_of(server, "stream", "cats"), json.loads(json.dumps(cursor))) as batches:
        publishing(server, last)
        _rows, cursor = until(batches, all_there([missed, last]))
        until_done_s = time.monotonic() + 10
        while "gaps" in cursor and time.monotonic() < until_done_s:
            _, cursor = next(batches)
    assert "gaps" not in cursor


def test_a_gap_that_is_too_old_is_told(server: XServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    cursor = {"until": (now() - timedelta(days=9)).isoformat()}
    with reading(source_of(server, "stream", "cats"), cursor) as batches:
        publishing(server, make_post(1, now()))
        until(batches, bool)
    assert any(record.getMessage().startswith("gap: ") for record in caplog.records)


def test_a_search_that_is_refused_leaves_a_gap_and_the_stream_goes_on(
    server: XServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    server.fail("search/recent", Failure(403, {"title": "Forbidden", "reason": "client-not-enrolled"}))
    cursor = {"until": (now() - timedelta(minutes=9)).isoformat()}
    post = make_post(1, now() + timedelta(minutes=1))
    with reading(source_of(server, "stream", "cats"), cursor) as batches:
        publishing(server, post, when=lambda: bool(server.asked("search/recent")))
        _, cursor_after = until(batches, all_there([post]))
    assert "client-not-enrolled" in caplog.text
    assert "gap: " in caplog.text
    assert "gaps" not in cursor_after


def test_too_many_connections_are_told_and_waited_for(server: XServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    server.fail("search/stream", Failure(429, PROBLEM), Failure(429, PROBLEM))
    post = make_post(1, now())
    with reading(source_of(server, "stream", "cats")) as batches:
        publishing(server, post)
        until(batches, all_there([post]))
    assert "another program streams with these credentials" in caplog.text


def test_a_server_in_trouble_is_asked_again(server: XServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    server.fail("stream/rules", Failure(503), Failure(429, {}, {"x-rate-limit-reset": str(int(time.time()) + 1)}))
    server.fail("search/stream", Failure(503), Failure(402, {"title": "CreditsDepleted"}), Failure(500))
    post = make_post(1, now())
    with reading(source_of(server, "stream", "cats")) as batches:
        publishing(server, post)
        until(batches, all_there([post]))
    assert "buy more in X's developer console" in caplog.text


def test_a_message_of_disconnection_is_heeded(server: XServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    message = {"errors": [{"title": "operational-disconnect", "disconnect_type": "UpstreamOperationalDisconnect"}]}
    server.faults.garbage.append(json.dumps(message).encode())
    post = make_post(1, now())
    with reading(source_of(server, "stream", "cats")) as batches:
        publishing(server, post, when=lambda: len(server.asked("search/stream")) > 1)
        rows, _ = until(batches, all_there([post]))
    assert "UpstreamOperationalDisconnect" in caplog.text
    assert all(row["kind"] == "post" for row in rows)


# Credentials and options.


def test_a_wrong_token_is_fatal_and_never_shown(
    server: XServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("OTHER_TOKEN", "wrong-secret")
    source = source_of(server, "stream", "cats", token_env="OTHER_TOKEN")
    with (
        reading(source) as batches,
        pytest.raises(FatalError, match=r"401.*the token comes from OTHER_TOKEN") as caught,
    ):
        until(batches, bool)
    assert "wrong-secret" not in caplog.text + str(caught.value)


def test_a_missing_token_is_a_config_error(server: XServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FELTWIRE_X_TOKEN")
    with pytest.raises(ConfigError, match="FELTWIRE_X_TOKEN"):
        next(iter(source_of(server, "stream", "cats").read(None)))


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("x:", "'' came behind the colon; allowed are stream"),
        ("x:stream/recent", "allowed are"),
        ("x:compliance", "allowed are"),
        ("x:stream?start=2026-03-01T00:00:00Z", "options of x:search"),
        ("x:search?start=2026-03-02T00:00:00Z&end=2026-03-01T00:00:00Z", "not before"),
        ("x:search?start=2026-03-02T00:00:00", "timezone"),
        ("x:stream?spend_limit=3&cost_per_1000=0", "spend_limit needs cost_per_1000"),
        ("x:stream?params=backfill_minutes%3D9", "backfill_minutes = '9' came"),
        ("x:stream?base_url=http://example.org", "https://"),
    ],
)
def test_wrong_options_are_told(uri: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        registry.create("sources", uri)


def test_what_is_left_out_of_the_question_is_told(server: XServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    source_of(server, "stream", "cats place:london")
    assert "place:london" in caplog.text
    with pytest.raises(ConfigError, match="X cannot be asked for it"):
        source_of(server, "stream", "lang:en")


# Searches.


def history(count: int, hours: float = 24) -> list[dict[str, Any]]:
    """Posts over the last hours, the oldest first."""
    begin = now() - timedelta(hours=hours)
    return [make_post(i, begin + timedelta(hours=hours / 2 * i / count), f"cats {i}") for i in range(count)]


def read_all(source: XSource, cursor: Cursor | None = None) -> list[Row]:
    return [row for batch, _ in source.read(cursor) for row in batch.to_pylist()]


def test_a_search_gives_all_between_two_times_and_ends(server: XServer) -> None:
    posts = history(25)
    server.publish(*posts, make_post(99, now() - timedelta(hours=2), "dogs"))
    start, end = (datetime.fromisoformat(posts[i]["created_at"]).replace(microsecond=0) for i in (5, 20))
    rows = read_all(source_of(server, "search", "cats", start=start, end=end, params={"max_results": "10"}))
    assert sorted(ids(rows)) == sorted(post["id"] for post in posts[5:20])
    assert ids(rows) == sorted(ids(rows), key=int, reverse=True)
    assert not any(row["live"] for row in rows)
    assert len(server.asked("search/recent")) == 2


def test_an_old_start_asks_the_archive(server: XServer) -> None:
    posts = history(3, hours=24 * 30)
    server.publish(*posts)
    assert len(read_all(source_of(server, "search", "cats", start=now() - timedelta(days=40)))) == 3
    assert server.asked("search/all")[0]["max_results"] == "500"
    assert not server.asked("search/recent")


def test_several_tracks_are_searched_one_after_the_other(server: XServer) -> None:
    server.publish(make_post(1, now() - timedelta(hours=1), "cats"), make_post(2, now() - timedelta(hours=1), "dogs"))
    assert len(read_all(source_of(server, "search", "cats", "dogs"))) == 2
    assert [asked["query"] for asked in server.asked("recent")] == ["cats", "dogs"]


def test_a_search_without_a_query_is_refused(server: XServer) -> None:
    with pytest.raises(ConfigError, match="nothing to search for"):
        read_all(source_of(server, "search"))


@pytest.mark.parametrize("forget", [False, True], ids=["by its token", "by time"])
def test_a_search_goes_on_from_any_of_its_cursors(server: XServer, forget: bool) -> None:
    posts = history(35)
    server.publish(*posts)
    options: dict[str, Any] = {"start": now() - timedelta(days=2), "params": {"max_results": "10"}}
    whole = [(batch.to_pylist(), cursor) for batch, cursor in source_of(server, "search", "cats", **options).read(None)]
    if forget:
        server.bad_tokens = {f"page-{n}" for n in (10, 20, 30)}
    seen: list[str] = []
    for rows, cursor in whole:
        seen += ids(rows)
        server.requests.clear()
        again = ids(read_all(source_of(server, "search", "cats", **options), json.loads(json.dumps(cursor))))
        assert {post["id"] for post in posts} == {*seen, *again}
        if not forget:
            assert not set(seen) & set(again)
    assert not server.requests  # the last cursor asks for nothing


def test_another_search_begins_anew(server: XServer) -> None:
    server.publish(*history(3))
    *_, (_, cursor) = source_of(server, "search", "cats").read(None)
    assert len(read_all(source_of(server, "search", "cats OR dogs"), cursor)) == 3


def test_a_search_waits_for_the_reset_of_its_rate_limit(server: XServer) -> None:
    server.publish(*history(3))
    reset = int(time.time()) + 2
    server.fail("search/recent", Failure(503), Failure(429, {"title": "Too Many"}, {"x-rate-limit-reset": str(reset)}))
    heartbeats = [batch.num_rows for batch, _ in source_of(server, "search", "cats").read(None)]
    assert time.time() >= reset
    assert sum(heartbeats) == 3
    assert heartbeats.count(0) >= 2


def test_a_search_that_is_refused_is_fatal(server: XServer) -> None:
    server.fail("search/recent", Failure(400, {"errors": [{"message": "no viable alternative"}], "title": "Invalid"}))
    with pytest.raises(FatalError, match="X answers 400: no viable alternative"):
        read_all(source_of(server, "search", query="cats OR OR"))


# Money.


def test_a_search_spends_no_more_than_it_may(server: XServer) -> None:
    server.publish(*history(60))
    money: dict[str, Any] = {"cost_per_1000": 1000, "spend_period": "total", "params": {"max_results": "20"}}
    rows: list[Row] = []
    cursor: Cursor | None = None

    def read(limit: int) -> None:
        nonlocal cursor
        source = source_of(server, "search", "cats", spend_limit=limit, **money)
        for batch, reached in source.read(cursor):
            rows.extend(batch.to_pylist())
            cursor = reached

    with pytest.raises(FatalError, match="the spend limit of 45 is reached"):
        read(45)
    assert len(rows) == server.delivered == 40
    assert [asked["max_results"] for asked in server.asked("recent")] == ["20", "20"]
    with pytest.raises(FatalError):
        read(55)
    assert len({*ids(rows)}) == server.delivered == 55  # a smaller page for the rest


def test_what_did_not_come_is_not_spent(server: XServer) -> None:
    server.publish(*history(3))
    money: dict[str, Any] = {"cost_per_1000": 1000, "spend_period": "total", "spend_limit": 20}
    for _ in range(3):  # each takes what may be spent, ten at least, and gives back what it did not get
        assert len(read_all(source_of(server, "search", "cats", **money))) == 3


@pytest.mark.slow
def test_a_stream_stops_at_its_limit_and_says_so(server: XServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    money: dict[str, Any] = {"cost_per_1000": 1000, "spend_limit": 5}
    with reading(source_of(server, "stream", "cats", **money)) as batches:
        publishing(server, *(make_post(i, now(), "cats") for i in range(8)))
        rows, _ = until(batches, lambda rows: len(rows) >= 5)
        end_s = time.monotonic() + PATIENCE_S
        while server.connections and time.monotonic() < end_s:
            rows += next(batches)[0].to_pylist()
        assert not server.connections
        assert next(batches)[0].num_rows == 0  # a heartbeat: it waits for the day's end
    assert "the spend limit of 5 is reached" in caplog.text
    asked = len(server.asked("search/stream"))
    with reading(source_of(server, "stream", "cats", **money)) as batches:
        for _ in range(3):
            next(batches)
    assert len(server.asked("search/stream")) == asked


# Pauses.


def pauses(backoff: Backoff, error: XError, count: int) -> list[float]:
    return [round(backoff.after(error, now=1000.0), 2) for _ in range(count)]


def test_backoff_is_as_x_documents_it() -> None:
    backoff = Backoff(Timing())
    backoff.succeeded()
    network, http, rate = (XError("", kind) for kind in ("network", "http", "rate"))
    assert pauses(backoff, network, 4) == [0.0, 0.25, 0.5, 0.75]
    assert max(pauses(backoff, network, 100)) == 16.0
    assert pauses(backoff, http, 8) == [5, 10, 20, 40, 80, 160, 320, 320]
    assert pauses(backoff, rate, 6) == [60, 120, 240, 480, 960, 960]
    backoff.succeeded()
    assert pauses(backoff, http, 1) == [5]
    assert 100 <= backoff.after(XError("", "rate", reset_at=1100.0), now=1000.0) <= 101
    assert backoff.after(XError("", "rate", reset_at=900.0), now=1000.0) == 120  # a clock that is wrong
    assert pauses(backoff, XError("", "refused"), 1) == [10]
    with pytest.raises(FatalError):
        Backoff(Timing()).after(XError("no", "refused"))


# Everything at once.

SEEDS = range(30 if os.environ.get("FELTWIRE_PROVE") else 2)


@pytest.mark.prove
@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost_whatever_happens(seed: int) -> None:
    """A stream that drops, falls silent, garbles and refuses; a reader that is killed again and again."""
    chance = random.Random(seed)
    params = chance.choice([{}, {"backfill_minutes": "5"}])
    stop = threading.Event()
    with XServer(keep_alive_s=0.1) as server:

        def misbehave() -> None:
            while not stop.wait(chance.uniform(0.05, 0.3)):
                faults = server.faults
                faults.drop_after = chance.choice([None, None, 0, 3, 20])
                faults.silent_after = chance.choice([None, None, None, 0, 10])
                faults.garbage.extend(chance.choice([[], [], [b"{"], [b"\xff" * 100]]))
                status = chance.choice([None, None, 503, 429, 500])
                if status:
                    server.fail(chance.choice(["search/stream", "search/recent"]), Failure(status))
            server.faults = Faults()

        def publish() -> None:
            for i in range(600):
                server.publish(make_post(i, now(), f"cats {i}"))
                time.sleep(0.01)

        source = source_of(server, "stream", "cats", params=params)
        cursor: Cursor | None = None
        with reading(source) as batches:  # the first rules
            publishing(server, make_post(4000, now()))
            rows, cursor = until(batches, bool)
        threads = [threading.Thread(target=target) for target in (misbehave, publish)]
        for thread in threads:
            thread.start()
        seen: set[str | None] = {row["id"] for row in rows}  # what is no post has None

        def missing() -> list[str]:
            return [post["id"] for post in server.posts if f"x:{post['id']}" not in seen]

        end_s = time.monotonic() + 200
        while time.monotonic() < end_s and (threads[1].is_alive() or missing()):
            if not threads[1].is_alive():
                stop.set()
            kill_at = time.monotonic() + chance.uniform(0.2, 2.0)
            with reading(source_of(server, "stream", "cats", params=params), cursor) as batches:
                for batch, reached in batches:
                    if batch.num_rows:
                        seen |= set(batch.column("id").to_pylist())
                        cursor = json.loads(json.dumps(reached))
                    if time.monotonic() > kill_at:
                        break
        stop.set()
        for thread in threads:
            thread.join()
    assert not missing()


def test_ids_of_the_server_are_those_of_x() -> None:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    assert post_id(at) < post_id(at, 1) < post_id(at + timedelta(milliseconds=1))
    assert create("stream", Options()).name == "x"
