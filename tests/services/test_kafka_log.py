"""The Kafka log on a real broker: gaps, fencing, transactions that fail, retention, what others write."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic  # type: ignore[attr-defined]
from tests.engines.children import polling
from tests.models.far_side import certified
from tests.services.kafka.broker import Broker, jars

from feltwire import registry
from feltwire.errors import ClaimError, ConfigError, FatalError, LogError, PositionError
from feltwire.logs import _kafka_client
from feltwire.logs.kafka import KafkaLog, Options
from feltwire.schema import DUPLICATE, EDIT, LAST_REVISION, POST, WITHDRAWAL, records

pytestmark = pytest.mark.slow


def posts(numbers: range, **more: object) -> pa.RecordBatch:
    return records(
        [{"kind": POST, "id": f"x:{n}", "revision": 0, "source": "x", "text": "hi", **more} for n in numbers]
    )


def opened(broker: Broker, topic: str, **options: Any) -> KafkaLog:
    return KafkaLog(broker.address, topic, Options(**options))


def rows(log: KafkaLog, *, step: int = 1000, after: int | None = None) -> list[dict[str, Any]]:
    """All that is kept of partition 0, or what is behind an offset."""
    found: list[dict[str, Any]] = []
    place = log.begins()[0] if after is None else after
    while (batch := log.read(0, place, step)).num_rows:
        found += batch.to_pylist()
        place = found[-1]["log_offset"] + 1
    return found


@pytest.fixture
def topic(request: pytest.FixtureRequest) -> str:
    """A topic of the test's own."""
    return str(request.node.originalname).replace("_", "-")


def test_it_reads_over_gaps_of_any_kind(broker: Broker, topic: str) -> None:
    """Ends of transactions and messages of aborted ones take offsets; nothing of them is seen, and the end is
    reached."""
    with opened(broker, topic) as log:
        log.append(posts(range(2)), source="s", cursor={})
        _abort(broker, topic, 5)
        log.append(posts(range(2, 4)), source="s", cursor={})
        _abort(broker, topic, 3)
        for _ in polling(10):  # the broker answers before it has written the mark of a transaction's end
            if log.ends() == {0: 16}:
                break
        assert log.ends() == {0: 16}  # 2 and a mark, 5 and a mark, 2 and a mark, 3 and a mark
        for step in (1, 2, 100):
            got = rows(log, step=step)
            assert [(row["id"], row["log_offset"]) for row in got] == [("x:0", 0), ("x:1", 1), ("x:2", 9), ("x:3", 10)]
        for after in range(17):
            found = [row["log_offset"] for row in rows(log, after=after)]
            assert found == [offset for offset in (0, 1, 9, 10) if offset >= after]
        assert log.read(0, 11, 10).num_rows == 0
        with pytest.raises(PositionError, match="the log ends at 16"):
            log.read(0, 17, 10)
        assert log.tail(3)["id"].to_pylist() == ["x:1", "x:2", "x:3"]


def _abort(broker: Broker, topic: str, count: int) -> None:
    producer = Producer({**broker.client(), "transactional.id": f"other-{topic}"})
    producer.init_transactions(20)
    producer.begin_transaction()
    for _ in range(count):
        producer.produce(topic, b'{"text": "never said"}', partition=0)
    producer.flush()
    producer.abort_transaction(20)


def test_a_second_ingest_of_a_source_fences_the_first(broker: Broker, topic: str) -> None:
    with opened(broker, topic) as first, opened(broker, topic) as second:
        first.append(posts(range(2)), source="s", cursor={"n": 1})
        second.append(posts(range(2, 4)), source="other", cursor={"n": 7})  # welcome
        second.append(posts(range(4, 6)), source="s", cursor={"n": 2})
        with pytest.raises(ClaimError, match=r"process \d+ on .* ingests the source 's'"):
            first.append(posts(range(6, 8)), source="s", cursor={"n": 3})
        assert second.cursor("s") == first.cursor("s") == {"n": 2}
        assert [row["id"] for row in rows(second)] == [f"x:{n}" for n in range(6)]
        first.append(posts(range(8, 9)), source="withdraw", cursor=None)  # what has no place needs no turn
        second.append(posts(range(9, 10)), source="s", cursor={"n": 4})


def test_repeats_are_known_to_the_next_writer_and_to_one_beside_it(broker: Broker, topic: str) -> None:
    with opened(broker, topic, partitions=3) as first:
        assert first.append(posts(range(10)), source="s", cursor={}) == 0
        with opened(broker, topic) as second:
            assert second.append(posts(range(5, 15)), source="t", cursor={}) == 5
            time.sleep(0.5)  # a transaction is seen by others some milliseconds after its end
            assert first.append(posts(range(20)), source="s", cursor={}) == 15
            time.sleep(0.5)
            assert second.append(posts(range(20)), source="t", cursor={}) == 20
    with opened(broker, topic) as third:
        assert third.append(posts(range(25)), source="s", cursor={}) == 20
        assert third.stats()["sources"].keys() == {"s", "t"}


def test_a_transaction_whose_end_is_unknown_is_stored_once(
    broker: Broker, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same call again finds out whether it was committed, and does not store it twice."""
    with opened(broker, topic) as log:
        log.append(posts(range(1)), source="s", cursor={"n": 0})
        for committed in (True, False):
            start = 10 if committed else 20
            producer = _Broken(log._appender()._producers["s"], committed=committed)
            monkeypatch.setitem(log._appender()._producers, "s", producer)
            with pytest.raises(LogError):
                log.append(posts(range(start, start + 2)), source="s", cursor={"n": start})
            assert log.append(posts(range(start, start + 2)), source="s", cursor={"n": start}) == 0
            assert log.append(posts(range(start, start + 2)), source="s", cursor={"n": start}) == 2
        kept = [row["id"] for row in rows(log) if row["kind"] != DUPLICATE]
        assert kept == ["x:0", "x:10", "x:11", "x:20", "x:21"]
        assert log.cursor("s") == {"n": 20}


class _Broken:
    """A producer whose answer to a commit is lost, before or after it."""

    def __init__(self, inner: Producer, *, committed: bool) -> None:
        self._inner = inner
        self._committed = committed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def commit_transaction(self, timeout: float) -> None:
        if self._committed:
            self._inner.commit_transaction(timeout)
        raise LogError("no answer")


def test_withdrawals_find_their_post_after_the_topic_has_grown(
    broker: Broker, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_kafka_client, "_LOOK_S", 0.2)
    with opened(broker, topic) as log:
        log.append(posts(range(20)), source="s", cursor={})
        admin = AdminClient(broker.client())
        admin.create_partitions([NewPartitions(topic, 4)])[topic].result()
        for _ in polling(10):
            with suppress(LogError):  # the new partitions have no leader yet
                if len(log.ends()) == 4:
                    break
        log.append(posts(range(20, 40)), source="s", cursor={})
        edit = records([{"kind": EDIT, "id": "x:3", "revision": 1, "source": "x", "text": "ho"}])
        log.append(edit, source="s", cursor={})
        gone = [{"kind": WITHDRAWAL, "id": f"x:{n}", "revision": LAST_REVISION, "source": "x"} for n in range(20)]
        log.append(records(gone), source="s", cursor={})
        assert all(log.ends().values())
        where_posts_were = rows(log)
        taken = {row["id"] for row in where_posts_were if row["kind"] == WITHDRAWAL and row["revision"]}
        assert taken == {f"x:{n}" for n in range(20)}
        of_the_edited = [(row["kind"], row["revision"]) for row in where_posts_were if row["id"] == "x:3"][:2]
        assert of_the_edited in ([(POST, 0), (WITHDRAWAL, 0)], [(POST, 0), (EDIT, 1)])


def test_what_the_brokers_removed_is_told(broker: Broker, topic: str) -> None:
    """Retention is the topic's; a pipeline behind it is told where the records begin."""
    admin = AdminClient(broker.client())
    config = {"retention.ms": "1000", "segment.ms": "1000", "segment.bytes": str(2**20)}
    admin.create_topics([NewTopic(topic, 1, config=config)])[topic].result()
    time.sleep(1)
    with opened(broker, topic) as log:
        log.append(posts(range(10)), source="s", cursor={})
        log.register("p", {0: 3})
        time.sleep(2.5)
        log.append(posts(range(10, 12)), source="s", cursor={})
        assert log.trim() == 0
        for _ in polling(30, every_s=0.5):
            if log.begins()[0] > 3:
                break
        with pytest.raises(PositionError, match=r"before \d+ is trimmed away"):
            log.read(0, 3, 10)
        assert log.positions() == {"p": {0: 3}}


def test_a_topic_that_was_made_anew_is_another_log(broker: Broker, topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_kafka_client, "_LOOK_S", 0.2)
    with opened(broker, topic) as log:
        log.append(posts(range(2)), source="s", cursor={})
        admin = AdminClient(broker.client())
        admin.delete_topics([topic])[topic].result()
        for _ in polling(10):
            if _kafka_client.Cluster(broker.address, Options()).identity(topic) is None:
                break
        with opened(broker, topic) as again:
            assert again.identity != log.identity
            with pytest.raises(FatalError, match="removed or replaced"):
                [log.ends() for _ in polling(10)]


def test_stats(broker: Broker, topic: str) -> None:
    with opened(broker, topic, partitions=2) as log:
        log.append(posts(range(9)), source="s", cursor={"n": 1})
        ends = log.ends()
        log.register("p", {0: 1, 1: ends[1]})
        stats = log.stats()
        at = rows(log)[0]["ingested_at"].isoformat()
        assert stats["uri"] == broker.uri(topic)
        assert stats["identity"] == log.identity
        assert stats["bytes"] is None
        assert stats["partitions"][0] == {"first_offset": 0, "next_offset": ends[0], "oldest": at, "newest": at}
        assert stats["pipelines"]["p"]["position"] == {0: 1, 1: ends[1]}
        assert stats["pipelines"]["p"]["backlog"] == log.backlog("p") == ends[0] - 1
        assert stats["sources"] == {"s": {"cursor": {"n": 1}, "at": at}}
        log.unregister("p")
        assert log.positions() == {}


def test_repeats_of_a_topic_that_others_fill(broker: Broker, topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are recognised within a block of offsets, the same however the topic is read."""
    monkeypatch.setattr("feltwire.logs._kafka_foreign.BLOCK", 8)
    admin = AdminClient(broker.client())
    admin.create_topics([NewTopic(topic, 1)])[topic].result()
    time.sleep(1)
    broker.produce(topic, *((None, b'{"id": %d, "text": "hi"}' % (n % 3)) for n in range(12)))
    with opened(broker, topic, decoder="post", source="net") as log:
        whole = rows(log)
        assert [row["id"] for row in whole] == ["net:0", "net:1", "net:2", *[None] * 5, "net:2", "net:0", "net:1", None]
        for step in (1, 3, 5):
            assert rows(log, step=step) == whole
        for after in (2, 5, 9, 11):
            assert rows(log, after=after) == whole[after:]
        with pytest.raises(ConfigError, match="it is only read"):
            log.append(posts(range(1)), source="s", cursor={})
    for options in ({"decoder": "post"}, {"create": False}):
        with pytest.raises(ConfigError, match="there is no topic 'nowhere'"):
            opened(broker, "nowhere", **options)


@pytest.fixture
def guarded(absent: Any, tmp_path: Path) -> Iterator[Broker]:
    """A broker that asks for a password."""
    broker = Broker(tmp_path / "guarded", jars(absent), users={"feltwire": "open sesame"})
    broker.start()
    yield broker
    broker.kill()


def test_sasl(guarded: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"security_protocol": "sasl_plaintext", "username": "feltwire"}
    with registry.create("logs", guarded.uri("sasl"), {**options, "password": "open sesame"}) as log:
        log.append(posts(range(2)), source="s", cursor={})
        assert len(rows(log)) == 2
        assert "sesame" not in str(log.stats())
    monkeypatch.setattr(_kafka_client, "TIMEOUT_S", 2.0)
    with pytest.raises((LogError, ConfigError)) as refused:
        registry.create("logs", guarded.uri("sasl"), {**options, "password": "wrong"})
    assert "wrong" not in str(refused.value)


def test_scram_over_tls(absent: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the certificate it is trusted and used; without it, or with another password, it is refused in one line."""
    certified(tmp_path)
    broker = Broker(tmp_path / "broker", jars(absent), users={"feltwire": "open-sesame"}, tls=tmp_path)
    broker.start()
    account = {"security_protocol": "sasl_ssl", "sasl_mechanism": "SCRAM-SHA-512", "username": "feltwire"}
    trusted = {**account, "ssl_ca": str(tmp_path / "cert.pem")}
    try:
        with registry.create("logs", broker.uri("tls"), {**trusted, "password": "open-sesame"}) as log:
            log.append(posts(range(3)), source="s", cursor={"n": 1})
            assert [row["id"] for row in rows(log)] == ["x:0", "x:1", "x:2"]
        monkeypatch.setattr(_kafka_client, "TIMEOUT_S", 3.0)
        for given in ({**trusted, "password": "wrong"}, {**account, "password": "open-sesame"}):
            with pytest.raises((ConfigError, LogError)) as refused:
                registry.create("logs", broker.uri("tls"), given)
            assert "\n" not in str(refused.value)
    finally:
        broker.kill()


def test_a_log_that_several_make_at_once_can_be_used_by_each(broker: Broker) -> None:
    """Whoever finds the topic that another has just made waits until it has its leaders."""

    def open_and_ask(uri: str) -> int:
        with registry.create("logs", uri) as log:
            return len(log.ends()) + len(log.begins())

    with ThreadPoolExecutor(4) as threads:
        for number in range(5):
            uri = broker.uri(f"at-once-{number}?partitions=16")
            assert list(threads.map(open_and_ask, [uri] * 4)) == [32] * 4
