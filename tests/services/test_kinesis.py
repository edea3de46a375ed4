"""The Kinesis log against a server over HTTP: resharded, throttled, cut off, killed, and filled by others."""

import json
import os
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from hashlib import md5
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import PROVING
from tests.contract.test_logs import ROWS
from tests.engines import exact
from tests.engines.children import polling, started
from tests.engines.stream import Story, Truth, file_source
from tests.services import kinesis_server as server
from tests.services.proxy import Proxy

from feltwire import doctor
from feltwire.errors import ClaimError, ConfigError, LogError, PositionError
from feltwire.lake import Lake, open_lake
from feltwire.lake.withdraw import remove_withdrawn
from feltwire.logs import _kinesis_append, _kinesis_index, _kinesis_listing, _kinesis_reader, _kinesis_s3, kinesis
from feltwire.logs._kinesis_client import Client
from feltwire.logs._kinesis_listing import Share
from feltwire.logs.kinesis import KinesisLog, Options
from feltwire.schema import DUPLICATE, EDIT, LAST_REVISION, POST, REFUSAL, WITHDRAWAL, records

SEED = 31
KILLS = 30 if PROVING else 2

pytestmark = [pytest.mark.slow, pytest.mark.prove]


@pytest.fixture(autouse=True)
def _no_faults() -> Iterator[None]:
    """What a test has the server refuse, it refuses in that test alone."""
    yield
    server.FAULTS.__dict__.update(server.Faults().__dict__)


def uri(stream: str, folder: Path, endpoint: str | None = None, **more: Any) -> str:
    options = {
        "endpoint_url": endpoint or server.endpoint(),
        "region": server.REGION,
        "state": folder / "state.sqlite",
        **more,
    }
    return f"kinesis:{stream}?" + "&".join(f"{name}={value}" for name, value in options.items())


def open_log(stream: str, folder: Path, **more: Any) -> KinesisLog:
    options = {"endpoint_url": server.endpoint(), "region": server.REGION, "state": str(folder / "state.sqlite")}
    return KinesisLog(stream, Options(**{**options, **more}))


def post(number: int, **more: object) -> dict[str, object]:
    return {"kind": POST, "id": f"x:{number}", "revision": 0, "source": "x", "live": True, "text": "hi", **more}


def append(log: KinesisLog, *rows: dict[str, object]) -> int:
    return log.append(records(list(rows)), source="test", cursor=None)


def put(stream: str, *payloads: bytes, key: str = "k") -> None:
    client = server.client()
    for payload in payloads:
        client.put_record(StreamName=stream, Data=payload, PartitionKey=key)


def everything(log: KinesisLog) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for partition, end in log.ends().items():
        after = log.begins()[partition]
        while after < end:
            batch = log.read(partition, after, 1000)
            rows += batch.to_pylist()
            after += batch.num_rows
    return rows


def aggregate(*data: bytes, key: bytes = b"someone") -> bytes:
    """What the Kinesis Producer Library makes of some user records."""

    def field(number: int, value: bytes) -> bytes:
        return bytes([number << 3 | 2, *_varint(len(value))]) + value

    message = field(1, key)
    for one in data:
        message += field(3, b"\x08\x00" + field(3, one))
    return b"\xf3\x89\x9a\xc2" + message + md5(message).digest()


def _varint(value: int) -> Iterator[int]:
    while value > 0x7F:
        yield value & 0x7F | 0x80
        value >>= 7
    yield value


def assert_exact(path: Path, log: KinesisLog, truth: Truth) -> None:
    """Fail unless every post is in the lake exactly once and every sum is right.

    What was given again after a kill stands in the ledger as received and as a duplicate. A withdrawal may stand in
    several partitions.
    """
    lake = open_lake(str(path))
    remove_withdrawn(lake.location, lake.owner)
    exact._posts_once(lake, truth)
    exact._sums(lake)
    exact._positions(lake, log)
    found = {row["source"]: Counter({name: row[name] for name in truth.ledger["file"]}) for row in _ledger(lake)}
    for source, wanted in truth.ledger.items():
        again = found[source]["duplicate"] - wanted["duplicate"]
        assert again >= 0
        assert found[source]["received"] - wanted["received"] == again
        assert found[source]["withdrawn"] >= wanted["withdrawn"]
        for name in ("kept", "filtered", "dead", "edited"):
            assert found[source][name] == wanted[name], name
    assert not [finding for finding in doctor.examine(lake, log) if not finding.ok]


def _beyond(reached: int, progress: dict[str, Any]) -> bool:
    return bool(progress["processed"] > reached)


def _has_received(truth: Truth, progress: dict[str, Any]) -> bool:
    """Whether all that was written is in the log."""
    return bool(progress["received"] >= sum(exact.log_counts(truth)))


def _has_all(truth: Truth, progress: dict[str, Any]) -> bool:
    """Whether all that was written has gone through this engine, and nothing waits."""
    through = progress["processed"] >= sum(exact.log_counts(truth))
    return _has_received(truth, progress) and through and not progress["lag"] and not progress["waiting"]


def _ledger(lake: Lake) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = lake.ledger().to_pylist()
    return rows


# Offsets


def test_offsets_outlive_the_process_and_mean_the_same_records(tmp_path: Path) -> None:
    stream = server.make_stream(2)
    with open_log(stream, tmp_path) as log:
        for start in range(0, 200, 20):
            append(log, *(post(number) for number in range(start, start + 20)))
        identity, before = log.identity, everything(log)
    with open_log(stream, tmp_path) as log:
        assert log.identity == identity
        assert everything(log) == before
        for partition, end in log.ends().items():
            for after in range(0, end, 7):
                row = log.read(partition, after, 1).to_pylist()[0]
                assert row in before
                assert (row["log_partition"], row["log_offset"]) == (partition, after)


def test_reads_of_any_size_from_anywhere_over_many_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One answer of GetRecords holds little of what is asked for, and anchors are rare."""
    monkeypatch.setattr(_kinesis_reader, "_CALL_RECORDS", 7)
    monkeypatch.setattr(_kinesis_reader, "_CALL_ANCHORS", 1)
    monkeypatch.setattr(_kinesis_reader, "PREFETCH_ROWS", 40)
    monkeypatch.setattr(_kinesis_index, "MAX_ANCHORS", 4)
    stream = server.make_stream(1)
    put(stream, *(json.dumps([{"id": f"{n}.{i}", "text": "hi"} for i in range(1 + n % 3)]).encode() for n in range(90)))
    ids = [f"kinesis:{n}.{i}" for n in range(90) for i in range(1 + n % 3)]
    dice = random.Random(SEED)
    with open_log(stream, tmp_path) as log:
        assert log.ends() == {0: len(ids)}
        for _ in range(40):
            after, most = dice.randrange(len(ids)), dice.choice([1, 5, 50, 500])
            rows = log.read(0, after, most)
            assert rows["id"].to_pylist() == ids[after : after + most]
            assert rows["log_offset"].to_pylist() == list(range(after, min(len(ids), after + most)))
    with open_log(stream, tmp_path, poll_s=0.2) as log, log.claim("p", 0):
        after = 0
        while after < len(ids):  # as an engine does
            assert log.ends()[0] >= after
            rows = log.read(0, after, 25)
            assert rows["id"].to_pylist() == ids[after : after + rows.num_rows]
            after += rows.num_rows


def test_a_second_reader_counts_the_same(tmp_path: Path) -> None:
    """Two processes that read one stream with one state agree, whoever was first."""
    stream = server.make_stream(1)
    with open_log(stream, tmp_path) as one, open_log(stream, tmp_path) as other:
        for start in range(0, 60, 10):
            append(one, *(post(number) for number in range(start, start + 10)))
            for reader in (one, other) if start % 20 else (other, one):
                reader._polled.clear()
                reader.ends()
        assert everything(one) == everything(other)
        assert len(everything(other)) == 60


def test_repeats_are_known_from_the_streams_tail(tmp_path: Path) -> None:
    stream = server.make_stream(2)
    with open_log(stream, tmp_path) as log:
        log.append(records([post(n) for n in range(50)]), source="s", cursor={"n": 50})
    with open_log(stream, tmp_path) as log:
        assert log.cursor("s") == {"n": 50}
        assert append(log, *(post(n) for n in range(40, 60))) == 10
    server.split(stream)
    with open_log(stream, tmp_path) as log:
        assert append(log, *(post(n) for n in range(60))) == 60
        assert Counter(row["kind"] for row in everything(log)) == {POST: 60, DUPLICATE: 70}


def test_the_state_belongs_to_its_stream(tmp_path: Path) -> None:
    with open_log(server.make_stream(1), tmp_path):
        pass
    with pytest.raises(PositionError, match="belongs to the stream"):
        open_log(server.make_stream(1), tmp_path)


@pytest.fixture
def s3_state(monkeypatch: pytest.MonkeyPatch) -> str:
    """A place for a state in S3, at an address that boto3 finds for itself."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.endpoint())
    monkeypatch.setenv("AWS_DEFAULT_REGION", server.REGION)
    name = f"state-{time.time_ns()}"
    boto3.client("s3").create_bucket(Bucket=name)
    return f"s3://{name}/log"


def test_the_state_in_s3_serves_several_machines(
    s3_state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = server.make_stream(2)
    with open_log(stream, tmp_path, state=s3_state) as one, open_log(stream, tmp_path, state=s3_state) as other:
        assert one.identity == other.identity
        one.append(records([post(n) for n in range(30)]), source="s", cursor={"n": 30})
        assert other.cursor("s") == {"n": 30}
        assert everything(one) == everything(other)
        one.register("p", one.ends())
        assert other.positions() == {"p": one.ends()}
        with one.claim("main", 0), one.lease_writer():
            with pytest.raises(ClaimError, match=rf"held by process {os.getpid()} on "), other.claim("main", 0):
                pass
            with pytest.raises(ClaimError, match="ingest into"), other.lease_writer():
                pass
            with other.claim("main", 1):
                pass
        with other.claim("main", 0), other.lease_writer():
            pass


def test_a_lease_of_a_killed_process_ends(s3_state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    state = _kinesis_s3.S3State(s3_state)
    monkeypatch.setattr(_kinesis_s3, "LEASE_S", 3.0)
    state._acquire("claims/name", "of somebody who was killed", "it")
    with pytest.raises(ClaimError), state.claim("name", "it"):
        pass
    time.sleep(3.2)
    monkeypatch.setattr(_kinesis_s3, "RENEW_S", 0.2)
    with state.claim("name", "it"):
        time.sleep(3.5)  # renewed meanwhile
        with pytest.raises(ClaimError), state.claim("name", "it"):
            pass
    with state.claim("name", "it"):
        pass
    with pytest.raises(ConfigError, match="expected s3://bucket/prefix"):
        _kinesis_s3.S3State("s3://bucket")
    with pytest.raises(ConfigError, match="NoSuchBucket"):
        _kinesis_s3.S3State("s3://nobodys-bucket/log").get("stream")
    state.close()


def test_what_has_expired_is_told(tmp_path: Path) -> None:
    stream = server.make_stream(1)
    with open_log(stream, tmp_path) as log:
        for number in range(5):
            append(log, post(number))
        assert log.ends() == {0: 5}
    server.expire(stream, "shardId-000000000000", 2)
    with open_log(stream, tmp_path) as log:
        with pytest.raises(PositionError, match="expired"):
            log.read(0, 1, 5)
        assert [row["id"] for row in log.read(0, 3, 5).to_pylist()] == ["x:3", "x:4"]


def test_shards_that_are_gone_are_passed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A shard that was split expires in the end: nothing stops, and what could not be read is told."""
    stream = server.make_stream(1)
    with open_log(stream, tmp_path) as log:
        append(log, *(post(n) for n in range(10)))
        assert log.ends() == {0: 10}
        server.split(stream)
        append(log, *(post(n) for n in range(10, 20)))
        assert sum(log.ends().values()) == 20
    server.forget(stream, "shardId-000000000000")
    with open_log(stream, tmp_path) as log:
        assert append(log, *(post(n) for n in range(15, 30))) == 5
        assert sum(log.ends().values()) == 35
        assert "may be missing" not in caplog.text
        with pytest.raises(PositionError, match="expired"):
            log.read(0, 0, 5)
    server.split(stream)
    append_id = server.open_shards(stream)[0]["ParentShardId"]
    server.forget(stream, append_id)
    with open_log(stream, tmp_path, state=str(tmp_path / "other.sqlite")) as log:
        assert len(log.ends()) >= 2


@given(batches=st.lists(st.lists(ROWS, max_size=5), min_size=1, max_size=6))
@settings(max_examples=15)
def test_any_records_come_back(
    batches: list[list[dict[str, object]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    with open_log(server.make_stream(2), tmp_path_factory.mktemp("any")) as log:
        expected: list[dict[str, Any]] = []
        for rows in batches:
            batch = records(rows)
            log.append(batch, source="any", cursor=None)
            expected += batch.drop_columns(["ingested_at"]).to_pylist()
        got = [row for row in everything(log) if row["kind"] != DUPLICATE]
        for row in got:
            del row["log_partition"], row["log_offset"], row["ingested_at"]
            assert row in expected


def test_a_stream_is_made_where_asked_and_missed_otherwise(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no stream nowhere"):
        open_log("nowhere", tmp_path)
    with open_log("made-here", tmp_path, create=2) as log:
        assert log.ends() == {0: 0, 1: 0}


# What others put there


def test_posts_arrays_and_aggregates(tmp_path: Path) -> None:
    stream = server.make_stream(1)
    one, two, three, four = (json.dumps({"id": f"{n}", "text": f"text {n}"}).encode() for n in range(4))
    broken = bytearray(aggregate(one))
    broken[-1] ^= 1
    put(stream, one, b"[" + two + b"," + two + b"," + three + b"]", aggregate(four, b"[" + one + b"]"), bytes(broken))
    put(stream, b"{no json", b"[]", b"\xf3\x89\x9a\xc2")
    with open_log(stream, tmp_path, source="firehose") as log:
        rows = everything(log)
    assert [(row["kind"], row["id"], row["text"]) for row in rows[:6]] == [
        (POST, "firehose:0", "text 0"),
        (POST, "firehose:1", "text 1"),
        (DUPLICATE, None, None),
        (POST, "firehose:2", "text 2"),
        (POST, "firehose:3", "text 3"),
        (POST, "firehose:0", "text 0"),
    ]
    assert [row["kind"] for row in rows[6:]] == [REFUSAL] * 4
    assert "checksum" in rows[6]["refusal"]
    assert [row["log_offset"] for row in rows] == list(range(10))
    assert all(row["ingested_at"] is not None for row in rows)


def test_texts_by_the_author_that_the_key_names(tmp_path: Path) -> None:
    stream = server.make_stream(1)
    put(stream, "Grüße".encode(), aggregate(b"hello", key=b"ann"), key="bob")
    with open_log(stream, tmp_path, decoder="text", source="chat") as log:
        rows = everything(log)
    assert [(row["text"], row["author_handle"], row["source"]) for row in rows] == [
        ("Grüße", "bob", "chat"),
        ("hello", "ann", "chat"),
    ]


# Resharding


def test_a_withdrawal_finds_its_post_through_splits_and_merges(tmp_path: Path) -> None:
    """Whatever a stream went through, an edit and a withdrawal reach the partition where the post stands."""
    stream = server.make_stream(2)
    dice = random.Random(SEED)
    with open_log(stream, tmp_path) as log:
        for step in range(6):
            append(log, *(post(step * 30 + n) for n in range(30)))
            (server.split if step % 2 == 0 else server.merge)(stream, dice.randrange(2))
            if step % 3 == 2:
                log._shards.refresh()
        append(log, *(post(n, kind=EDIT, revision=1) for n in range(0, 180, 2)))
        append(log, *(post(n, kind=WITHDRAWAL, revision=LAST_REVISION, text=None) for n in range(180)))
        rows = everything(log)
    homes = {row["id"]: row["log_partition"] for row in rows if row["kind"] == POST}
    assert len(homes) == 180
    for kind, numbers in ((WITHDRAWAL, range(180)), (WITHDRAWAL, range(0, 180, 2))):
        meant = [row for row in rows if row["kind"] == kind and row["revision"] == LAST_REVISION]
        reached = {(row["id"], row["log_partition"]) for row in meant}
        assert {(f"x:{n}", homes[f"x:{n}"]) for n in numbers} <= reached
    edits = [row for row in rows if row["kind"] in (EDIT, WITHDRAWAL) and row["revision"] < 2]
    edited = {(row["id"], row["log_partition"]) for row in edits}
    assert {(f"x:{n}", homes[f"x:{n}"]) for n in range(0, 180, 2)} <= edited


def test_a_parent_is_read_to_its_end_before_its_child(tmp_path: Path) -> None:
    stream = server.make_stream(1)
    with open_log(stream, tmp_path) as log:
        append(log, *(post(n) for n in range(10)))
        server.split(stream)
        log._shards.refresh()
        server.FAULTS.reads = lambda shard: shard == "shardId-000000000000"
        append(log, *(post(n) for n in range(10, 50)))
        assert set(log.ends()) == {0}
        server.FAULTS.reads = lambda shard: False
        assert set(log.ends()) == {0, 1}
        assert sum(log.ends().values()) == 50


def test_a_worker_takes_what_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_kinesis_listing, "CLAIM_S", 0.0)
    monkeypatch.setattr(kinesis, "_BESIDE_S", 0.2)
    stream = server.make_stream(2)
    with open_log(stream, tmp_path, poll_s=0.2) as one, open_log(stream, tmp_path, poll_s=0.2) as other:
        with one.share("main") as mine, other.share("main") as theirs, other.share("second") as second:
            assert mine.partitions() == frozenset({0, 1})
            assert theirs.partitions() is None
            assert second.partitions() == frozenset({0, 1})
            server.split(stream)
            assert _soon(mine) == frozenset({0, 1, 2})
            assert theirs.partitions() is None
        with other.share("main") as theirs:
            assert _soon(theirs) == frozenset({0, 1, 2})


def _soon(share: Share) -> frozenset[int] | None:
    """The partitions of a worker once there are three."""
    for _ in polling(10.0):
        if len(share.partitions() or ()) == 3:
            break
    return share.partitions()


def test_resharded_under_a_running_engine(
    tmp_path: Path, inbox: Path, record_property: Callable[[str, object], None]
) -> None:
    """Split and merged under load: nothing lost or doubled, and what was withdrawn is not to be seen."""
    story = Story(SEED)
    stream = server.make_stream(1)
    plan = {
        "log": uri(stream, tmp_path, poll_s=0.2),
        "lake": str(tmp_path / "lake"),
        "sources": [file_source(inbox, "mode=follow")],
        "processes": 0,
    }
    with started(tmp_path, {"plan": plan, "patch": {"chunk_rows": 200}}) as child:
        for number, step in enumerate((server.split, server.split, server.merge)):
            story.write(inbox / f"{number}-first.jsonl", 400)
            child.until(partial(_has_received, story.truth))  # the writer knows of all shards now
            reached = child.observed()[-1]["processed"]
            story.write(inbox / f"{number}-then.jsonl", 400)
            child.until(partial(_beyond, reached))
            step(stream)
        story.write(inbox / "last.jsonl", 400)
        child.until(partial(_has_all, story.truth))
        report = child.stop()
        assert report["code"] == 0, report
    with started(tmp_path, {"plan": {**plan, "sources": [], "until_idle": True}}) as child:
        assert child.report()["code"] == 0
    with open_log(stream, tmp_path) as log:
        ends = log.ends()
        assert len(ends) == 3
        assert_exact(tmp_path / "lake", log, story.truth)
    record_property("records by partition", ends)


# Bad days


def test_throttled_writes_and_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Single records of a call are refused, and reads too: all is stored once, in order, in the end."""
    stream = server.make_stream(3)
    dice = random.Random(SEED)
    server.FAULTS.puts = lambda _: dice.random() < 0.5
    server.FAULTS.reads = lambda _: dice.random() < 0.5
    with open_log(stream, tmp_path) as log:
        for start in range(0, 100, 10):
            rows = [post(number) for number in range(start, start + 10)]
            append(log, *rows, *(row | {"kind": EDIT, "revision": 1} for row in rows))
        server.FAULTS.reads = lambda _: False
        found = everything(log)
        assert sorted(row["id"] for row in found if row["kind"] == POST) == sorted(f"x:{n}" for n in range(100))
        seen: set[str] = set()
        for row in found:
            assert row["kind"] == POST or row["id"] in seen
            seen.add(row["id"])
        monkeypatch.setattr(_kinesis_append, "_GIVE_UP_S", 0.2)
        server.FAULTS.puts = lambda _: True
        with pytest.raises(LogError, match="takes no more now: ProvisionedThroughputExceeded"):
            append(log, post(1000))
        server.FAULTS.puts = lambda _: False
        assert append(log, post(1000)) == 0


def test_an_answer_that_is_cut_off_in_its_head_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """To botocore it is an empty one: whoever asked is told that the stream cannot be reached."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with socket.create_server(("127.0.0.1", 0)) as far:

        def answer() -> None:
            with suppress(OSError):
                while True:
                    near, _ = far.accept()
                    near.recv(65_536)
                    near.sendall(b"HTTP/1.1 200 OK\r\n")
                    near.close()

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"http://127.0.0.1:{far.getsockname()[1]}"
        client = Client("posts", region=server.REGION, endpoint_url=url, timeout_s=5.0)
        calls: list[Callable[[], object]] = [
            client.describe,
            client.shards,
            lambda: client.iterator("shard", "TRIM_HORIZON"),
            lambda: client.records("iterator", 10),
            lambda: client.put([{"Data": b"x", "PartitionKey": "y"}]),
        ]
        for call in calls:
            with pytest.raises(LogError, match=r"the stream posts cannot be reached now: its answer to .* has no"):
                call()
        far.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_an_answer_that_is_lost_doubles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = server.make_stream(2)
    answers = iter([True, False, True, True, False] + [False] * 100)
    server.FAULTS.lost_answers = lambda: next(answers)
    with open_log(stream, tmp_path) as log:
        for start in range(0, 40, 10):
            append(log, *(post(number) for number in range(start, start + 10)))
        rows = everything(log)
        assert sorted(row["id"] for row in rows) == sorted(f"x:{n}" for n in range(40))
        # Given up after it was stored: the next try finds it in the stream.
        monkeypatch.setattr(_kinesis_append, "_GIVE_UP_S", 0.0)
        answers = iter([True] + [False] * 100)
        with pytest.raises(LogError):
            append(log, post(100))
        assert append(log, post(100), post(101)) == 1


def test_killed_at_any_instant(tmp_path: Path, inbox: Path, record_property: Callable[[str, object], None]) -> None:
    """kill -9 of ingest and processing in one: every post once, and the ledger balances."""
    dice = random.Random(SEED)
    story = Story(SEED)
    stream = server.make_stream(1)
    plan = {
        "log": uri(stream, tmp_path, poll_s=0.2),
        "lake": str(tmp_path / "lake"),
        "sources": [file_source(inbox, "mode=replay", "rate=200")],
        "processes": 0,
    }
    for kill in range(KILLS):
        story.write(inbox / f"{kill:03}.jsonl", 200)
        with started(tmp_path, {"plan": plan, "patch": {"chunk_rows": 50}}) as child:
            time.sleep(2.0 + 4.0 * dice.random())
            assert child.process.poll() is None, child.errors()
            child.kill()
    plan |= {"sources": [file_source(inbox)], "until_idle": True}
    with started(tmp_path, {"plan": plan}) as child:
        report = child.report()
        assert report["code"] == 0, report
    with open_log(stream, tmp_path) as log:
        assert_exact(tmp_path / "lake", log, story.truth)
    ledger = open_lake(str(tmp_path / "lake")).ledger().to_pylist()
    record_property("kills", KILLS)
    record_property("given again after a kill", sum(row["duplicate"] for row in ledger))


def test_the_service_is_gone_and_back(
    tmp_path: Path, inbox: Path, record_property: Callable[[str, object], None]
) -> None:
    """Cut off from Kinesis, the engine says so and waits; in reach again, it goes on: nothing lost or doubled."""
    story = Story(SEED)
    story.write(inbox / "0.jsonl", 700)
    stream = server.make_stream(2)
    address = urlsplit(server.endpoint())
    proxy = Proxy((str(address.hostname), int(address.port or 0)))
    plan = {
        "log": uri(stream, tmp_path, f"http://{proxy.address[0]}:{proxy.address[1]}", poll_s=0.2),
        "lake": str(tmp_path / "lake"),
        "sources": [file_source(inbox, "mode=follow")],
        "processes": 0,
    }
    with started(tmp_path, {"plan": plan}) as child:
        child.until(lambda progress: progress["processed"] > 0)
        proxy.cut()
        cut_at = time.monotonic()
        story.write(inbox / "1.jsonl", 800)
        told = child.until(lambda progress: bool(progress["waiting"]))
        assert "the stream" in told["waiting"]
        assert "\n" not in told["waiting"]
        told_s = time.monotonic() - cut_at
        time.sleep(2.0)
        proxy.restore()
        child.until(partial(_has_all, story.truth))
        report = child.stop()
        assert report["code"] == 0, report
    with started(tmp_path, {"plan": {**plan, "sources": [], "until_idle": True}}) as child:
        assert child.report()["code"] == 0
    proxy.cut()
    with open_log(stream, tmp_path) as log:
        assert_exact(tmp_path / "lake", log, story.truth)
    record_property("seconds until it said so", round(told_s, 1))
