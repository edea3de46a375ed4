"""The source `bluesky:` against a real Jetstream server on loopback that misbehaves in every known way."""

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.sources.jetstream_server import (
    Event,
    Faults,
    JetstreamServer,
    account,
    commit,
    make_dictionary,
    post,
    post_id,
    tid,
)

from feltwire import registry, schema
from feltwire.errors import ConfigError
from feltwire.interfaces import Cursor, Source
from feltwire.sources.bluesky import BlueskySource, Options, create

Records = list[dict[str, Any]]
WIRES = ("v1", "v2")


def source_of(*servers: JetstreamServer, **options: Any) -> BlueskySource:
    given = {"silence_s": 0.4, "rewind_s": 1.0, **options}
    return create(",".join(server.url for server in servers), Options(**given))


def read(
    source: BlueskySource, cursor: Cursor | None, until: Callable[[Records], bool], *, limit_s: float = 20.0
) -> tuple[Records, Cursor]:
    """Everything up to the batch that fulfils `until`, and the cursor that came with it."""
    records: Records = []
    started = asked = time.monotonic()
    stream = source.read(cursor)
    for batch, place in stream:
        now = time.monotonic()
        assert now - asked < 1.0, "no heartbeat for a second"
        batch.validate(full=True)
        assert batch.schema == schema.RECORD
        records += batch.to_pylist()
        if until(records):
            stream.close()  # type: ignore[attr-defined]
            return records, place
        if now - started > limit_s:
            stream.close()  # type: ignore[attr-defined]
            raise AssertionError(f"not within {limit_s} s; {len(records)} records, {place}")
        asked = time.monotonic()  # what the test takes itself is no waiting
    raise AssertionError("the stream ended")


def ids(records: Records, kind: str = schema.POST) -> set[str]:
    return {record["id"] for record in records if record["kind"] == kind}


def has(*numbers: int) -> Callable[[Records], bool]:
    wanted = {post_id(number) for number in numbers}
    return lambda records: wanted <= ids(records)


def now_us() -> int:
    return time.time_ns() // 1_000


def start_cursor(time_us: int, **more: Any) -> Cursor:
    return {"time_us": time_us, "host": "elsewhere", "wire": "v1", **more}


@pytest.fixture
def server() -> Iterator[JetstreamServer]:
    with JetstreamServer() as running:
        yield running


@pytest.mark.parametrize("wire", WIRES)
def test_creates_updates_deletes_and_account_deletions_come_live(server: JetstreamServer, wire: str) -> None:
    start = now_us()
    did = "did:plc:author1"
    server.publish(
        post(start, 1),
        commit(start + 1, did, "update", "k1", {"$type": "app.bsky.feed.post", "text": "better"}),
        commit(start + 2, did, "delete", "k1"),
        account(start + 3, did, active=False, status="deleted"),
        account(start + 4, did, active=True),
        post(start + 5, 2),
    )
    records, cursor = read(source_of(server, wire=wire), start_cursor(start), has(2))
    assert [(record["kind"], record["id"], record["author_id"]) for record in records] == [
        (schema.POST, post_id(1), did),
        (schema.EDIT, post_id(1), did),
        (schema.WITHDRAWAL, post_id(1), None),
        (schema.WITHDRAWAL, None, did),
        (schema.POST, post_id(2), "did:plc:author2"),
    ]
    assert cursor["time_us"] == start + 5
    assert (cursor["host"], cursor["wire"]) == (server.host, wire)
    assert ("seq" in cursor) == (wire == "v2")


def test_without_a_cursor_it_starts_from_now(server: JetstreamServer) -> None:
    server.publish(post(now_us(), 1))
    stream = source_of(server).read(None)
    while server.connections == 0:
        assert next(stream)[1] == {}
    time.sleep(0.1)
    server.publish(post(now_us(), 2))
    records: Records = []
    while not records:
        records += next(stream)[0].to_pylist()
    stream.close()  # type: ignore[attr-defined]
    assert ids(records) == {post_id(2)}


@pytest.mark.parametrize("wire", WIRES)
def test_a_saved_cursor_resumes_where_it_was(server: JetstreamServer, wire: str) -> None:
    start = now_us() - 60_000_000
    server.publish(*(post(start + i * 1000, i) for i in range(3000)))
    _, cursor = read(source_of(server, wire=wire), start_cursor(start), lambda records: len(records) >= 1000)
    assert cursor["time_us"] < start + 2_900_000
    records, _ = read(source_of(server, wire=wire), cursor, has(2999))
    seen = (cursor["time_us"] - start) // 1000
    assert has(*range(seen + 1, 3000))(records)
    assert post_id(seen - 2000) not in ids(records)  # one second is rewound, and not much more


@pytest.mark.slow
@pytest.mark.parametrize("wire", WIRES)
def test_dropped_every_moment_it_loses_nothing(server: JetstreamServer, wire: str) -> None:
    server.faults.drop_after_s = 0.2
    start = now_us()

    def publish() -> None:
        for i in range(0, 2000, 5):
            server.publish(*(post(start + k * 1000, k) for k in range(i, i + 5)))
            time.sleep(0.004)

    publisher = threading.Thread(target=publish)
    publisher.start()
    read(source_of(server, wire=wire), start_cursor(start), has(*range(2000)))
    publisher.join()
    assert server.connections >= 4


@pytest.mark.slow
@pytest.mark.parametrize("wire", WIRES)
def test_a_firehose_that_falls_silent_is_left_in_time(server: JetstreamServer, wire: str) -> None:
    server.faults.silent_after = 100
    start = now_us() - 10_000_000
    server.publish(*(post(start + i * 1000, i) for i in range(150)))
    source = source_of(server, wire=wire, rewind_s=0.01)
    began = time.monotonic()
    read(source, start_cursor(start), has(149), limit_s=5)
    assert time.monotonic() - began < 3
    assert source.reconnects >= 1


@pytest.mark.slow
def test_a_quiet_stream_is_left_alone(server: JetstreamServer) -> None:
    start = now_us() - 100_000_000
    server.publish(*(post(start + i * 2_000_000, i) for i in range(40)))  # one every two seconds
    source = source_of(server)
    read(source, start_cursor(start), has(39))
    stream = source.read(start_cursor(start + 78_000_000, silence_s=30))
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert source.reconnects == 0


@pytest.mark.slow
def test_a_host_that_never_speaks_is_left_for_the_next() -> None:
    with JetstreamServer(faults=Faults(silent_connections=99)) as mute, JetstreamServer() as second:
        start = now_us()
        second.publish(post(start + 1000, 1))
        source = source_of(mute, second)
        records, cursor = read(source, start_cursor(start, silence_s=1), has(1), limit_s=8)
        assert cursor["host"] == second.host
        assert ids(records) == {post_id(1)}


@pytest.mark.slow
@pytest.mark.parametrize("wire", WIRES)
def test_failover_rewinds_so_that_clocks_may_differ(wire: str) -> None:
    """The second host sees everything 300 ms later and numbers it otherwise; the first one dies for good."""
    with JetstreamServer() as first, JetstreamServer(skew_us=300_000, first_seq=5_000_000) as second:
        start = now_us() - 5_000_000
        events = [post(start + i * 1000, i) for i in range(3000)]
        first.publish(*events[:2000])
        second.publish(*events)
        stream = source_of(first, second, wire=wire).read(start_cursor(start))
        records: Records = []
        while not has(1999)(records):
            records += next(stream)[0].to_pylist()
        first.faults.refuse = 503
        first.faults.drop_after = 0
        first.publish(post(start + 2_000_000, 2000))
        deadline = time.monotonic() + 10
        while not has(*range(3000))(records):
            assert time.monotonic() < deadline
            batch, cursor = next(stream)
            records += batch.to_pylist()
        stream.close()  # type: ignore[attr-defined]
        assert cursor["host"] == second.host
        assert "gaps" not in cursor
        assert all("cursor=5" not in request.partition("?")[2] for request in second.requests)


@pytest.mark.parametrize("wire", WIRES)
def test_a_stale_cursor_is_a_gap_that_is_told(
    server: JetstreamServer, wire: str, caplog: pytest.LogCaptureFixture
) -> None:
    start = now_us() - 1_000_000_000
    server.publish(*(post(start + i * 1_000_000, i) for i in range(1000)))
    server.floor = 500
    source = source_of(server, wire=wire)
    with caplog.at_level(logging.WARNING, "feltwire"):
        _, cursor = read(source, start_cursor(start + 100_000_000), has(*range(500, 1000)))
    gap = source.gaps[0]
    assert len(source.gaps) == cursor["gaps"] == 1
    assert (gap.from_us, gap.to_us) == (start + 100_000_000, start + 500_000_000)
    assert cursor["last_gap"]["to_us"] == gap.to_us
    assert gap.reason == ("OutdatedCursor" if wire == "v2" else "the server starts later than it was asked to")
    assert any("gap: " in record.message for record in caplog.records)
    # The count lives on in the cursor.
    server.publish(post(now_us(), 5001))
    _, later = read(source_of(server, wire=wire), cursor, has(5001))
    assert later["gaps"] == 1


def test_a_stale_sequence_number_is_a_gap_that_is_told(server: JetstreamServer) -> None:
    start = now_us() - 1_000_000_000
    server.publish(*(post(start + i * 1_000_000, i) for i in range(1000)))
    source = source_of(server, wire="v2")
    _, cursor = read(source, start_cursor(start), has(0), limit_s=5)
    cursor |= {"seq": 10, "time_us": start + 10_000_000}
    server.floor = 900
    _, cursor = read(source, cursor, has(999))
    assert [(gap.from_us, gap.to_us) for gap in source.gaps] == [(start + 10_000_000, start + 900_000_000)]


def test_a_sequence_number_of_an_archive_that_was_made_anew(server: JetstreamServer) -> None:
    start = now_us() - 5_000_000
    server.publish(*(post(start + i * 1000, i) for i in range(100)))
    cursor = {"time_us": start + 50_000, "seq": 999_999, "host": server.host, "wire": "v2"}
    source = source_of(server, wire="v2")
    read(source, cursor, has(*range(51, 100)))
    assert not source.gaps


def test_auto_falls_back_to_v1_and_keeps_to_it() -> None:
    with JetstreamServer(wires=("v1",), faults=Faults(drop_after=50)) as server:
        start = now_us() - 1_000_000
        server.publish(*(post(start + i * 1000, i) for i in range(100)))
        _, cursor = read(source_of(server, rewind_s=0.01), start_cursor(start), has(*range(100)))
        assert cursor["wire"] == "v1"
        assert server.deflated == server.connections
        assert (
            sum(request.startswith("/xrpc/network.bsky.jetstream.subscribeEvents") for request in server.requests) == 1
        )


def test_v2_is_compressed_with_the_servers_dictionary() -> None:
    with JetstreamServer(zstd=make_dictionary()) as server:
        start = now_us() - 1_000_000
        server.publish(*(post(start + i * 1000, i) for i in range(100)))
        records, _ = read(source_of(server), start_cursor(start), has(*range(100)))
        assert server.compressed == 1
        assert len(records) == 100


def test_a_dictionary_that_the_server_retires_is_fetched_anew() -> None:
    with JetstreamServer(zstd=make_dictionary(), faults=Faults(drop_after=50)) as server:
        start = now_us() - 1_000_000
        server.publish(*(post(start + i * 1000, i) for i in range(50)))
        stream = source_of(server, rewind_s=0).read(start_cursor(start))
        records: Records = []
        while not has(*range(50))(records):
            records += next(stream)[0].to_pylist()
        server._dictionary = server._dictionaries["v2"] = make_dictionary(7)
        server.publish(*(post(start + i * 1000, i) for i in range(50, 100)))
        deadline = time.monotonic() + 10
        while not has(*range(100))(records):
            assert time.monotonic() < deadline
            records += next(stream)[0].to_pylist()
        stream.close()  # type: ignore[attr-defined]
        assert not ids(records, schema.REFUSAL)
        assert server.compressed >= 2


@pytest.mark.parametrize("known", [True, False])
def test_v1_is_compressed_with_the_dictionary_of_a_file_else_by_deflate(tmp_path: Path, known: bool) -> None:
    dictionary = make_dictionary()
    path = tmp_path / "dictionary"
    path.write_bytes(dictionary)
    with JetstreamServer(wires=("v1",), v1_zstd=dictionary if known else None) as server:
        start = now_us() - 1_000_000
        server.publish(*(post(start + i * 1000, i) for i in range(100)))
        source = source_of(server, wire="v1", dictionary=path)
        read(source, start_cursor(start), has(*range(100)))
        assert (server.compressed, server.deflated) == ((1, 0) if known else (0, 1))


def test_one_author_is_asked_for_alone(server: JetstreamServer) -> None:
    for wire in WIRES:
        start = now_us() - 1_000_000
        server.publish(*(post(start + i * 1000, i) for i in range(70)))
        records, _ = read(source_of(server, wire=wire, authors="did:plc:author3"), start_cursor(start), has(66))
        assert {record["author_id"] for record in records} == {"did:plc:author3"}


def test_garbage_is_refused_and_the_rest_goes_on(server: JetstreamServer) -> None:
    server.faults.garbage = 0.5
    for wire in WIRES:
        start = now_us() - 1_000_000
        server.publish(*(post(start + i * 1000, i) for i in range(200)))
        records, cursor = read(source_of(server, wire=wire), start_cursor(start), has(*range(200)))
        refusals = [record for record in records if record["kind"] == schema.REFUSAL]
        assert len({record["id"] for record in refusals}) >= 5
        assert all(record["refusal"] and record["payload"] is not None for record in refusals)
        assert cursor["time_us"] == start + 199_000  # a frame from the year 2255 did not move the place


@pytest.mark.parametrize("wire", WIRES)
def test_an_enormous_message_is_refused_and_passed_over(server: JetstreamServer, wire: str) -> None:
    start = now_us() - 1_000_000
    server.publish(post(start, 1), post(start + 1, 2, "x" * 5_000_000), post(start + 2, 3))
    records, _ = read(source_of(server, wire=wire), start_cursor(start), has(1, 3))
    assert {record["refusal"] for record in records if record["kind"] == schema.REFUSAL} == {
        "a message above 4194304 bytes"
    }
    assert post_id(2) not in ids(records)


def test_the_servers_own_error_is_not_the_end(server: JetstreamServer) -> None:
    server.faults.error = "ConsumerTooSlow"
    start = now_us()
    server.publish(post(start, 1))
    source = source_of(server, wire="v2")
    read(source, start_cursor(start), has(1))
    assert source.reconnects == 1


def test_old_posts_of_an_account_that_is_sent_anew_are_left_out(server: JetstreamServer) -> None:
    start = now_us()
    did = "did:plc:again"
    record = {"$type": "app.bsky.feed.post", "text": "hello"}
    old, new = tid(start - 3 * 86_400_000_000), tid(start - 3_600_000_000)
    server.publish(
        Event(start, did, "sync", {"did": did, "rev": tid(start), "blocks": {"$bytes": ""}, "seq": 1, "time": ""}),
        commit(start + 1, did, "create", old, record),
        commit(start + 2, did, "create", new, record),
        commit(start + 3, "did:plc:other", "create", old, record),
    )
    source = source_of(server, wire="v2")
    wanted = {f"bluesky:{did}/{new}", f"bluesky:did:plc:other/{old}"}
    records, _ = read(source, start_cursor(start), lambda records: wanted <= ids(records))
    assert ids(records) == wanted
    assert source.resynced == 1


def test_close_releases_the_socket_at_once(server: JetstreamServer) -> None:
    server.publish(post(now_us(), 1))
    stream = source_of(server).read(None)
    while server.connections == 0:
        next(stream)
    began = time.monotonic()
    stream.close()  # type: ignore[attr-defined]
    assert time.monotonic() - began < 0.5


@pytest.mark.slow
def test_heartbeats_come_while_a_host_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        source = create(f"ws://127.0.0.1:{mute.getsockname()[1]}", Options(compress=False))
        stream = source.read(None)
        began = time.monotonic()
        for _ in range(3):
            batch, cursor = next(stream)
            assert (batch.num_rows, cursor) == (0, {})
        assert time.monotonic() - began < 3
        began = time.monotonic()
        stream.close()  # type: ignore[attr-defined]
        assert time.monotonic() - began < 0.5


@pytest.mark.parametrize("cursor", [{}, {"time_us": "x"}, {"time_us": -1, "seq": True, "gaps": None, "last_gap": 7}])
def test_a_damaged_cursor_counts_as_none(server: JetstreamServer, cursor: Cursor) -> None:
    stream = source_of(server).read(cursor)
    while server.connections == 0:
        next(stream)
    assert "cursor=" not in server.requests[-1]
    stream.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("host", ["a..b", "x" * 70 + ".example", "ünknown.invalid", "ws://[::1]:1"])
def test_a_name_that_cannot_be_one_is_a_host_that_cannot_be_reached(host: str) -> None:
    source = create(host, Options(compress=True))
    stream = source.read(None)
    while not source.reconnects:
        next(stream)
    stream.close()  # type: ignore[attr-defined]


def test_the_registry_makes_it_from_a_uri() -> None:
    source: Source = registry.create("sources", "bluesky:")
    assert source.name == "bluesky"
    same: Source = create("", Options())
    assert same.name == source.name
    registry.create("sources", "bluesky:ws://127.0.0.1:1/subscribe?raw=true&rewind_s=3&authors=did:plc:a,did:web:b.c")


@pytest.mark.parametrize(
    "uri",
    [
        "bluesky:?wire=v3",
        "bluesky:,",
        "bluesky:?hosts=",
        "bluesky:?authors=alice.bsky.social",
        "bluesky:ftp://host",
        "bluesky:ws://user:word@host",
        "bluesky:ws://host:port",
        "bluesky:?dictionary=/nowhere",
        "bluesky:?unknown=1",
    ],
)
def test_a_wrong_option_is_a_config_error(uri: str) -> None:
    with pytest.raises(ConfigError):
        registry.create("sources", uri)


@pytest.mark.slow
@pytest.mark.parametrize("wire", WIRES)
def test_a_server_that_hangs_up_within_the_rewound_stretch_does_not_hold_us_for_ever(
    server: JetstreamServer, wire: str
) -> None:
    server.faults.drop_after = 60
    start = now_us() - 1_000_000
    server.publish(*(post(start + i * 1000, i) for i in range(100)))
    read(source_of(server, wire=wire, rewind_s=60), start_cursor(start), has(99))
