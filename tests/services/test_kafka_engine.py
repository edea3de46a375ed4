"""The local engine on a real Kafka broker: separate processes, killed, cut off and dealt partitions, end exact."""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytest
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic  # type: ignore[attr-defined]
from tests.conftest import PROVING
from tests.engines.children import DEADLINE_S, polling, started
from tests.engines.exact import assert_exact
from tests.engines.runner import FAILED
from tests.engines.stream import Story, file_source
from tests.services.kafka.broker import Broker

from feltwire import doctor, registry
from feltwire.lake import open_lake

SEED = 30
KILLS = 30 if PROVING else 3
STRIKES = 30 if PROVING else 1  # at the broker, which takes its time to come again
OPEN_S = 16.0  # after so long the broker ends a transaction that it was killed in: the log grows by a mark
AWAY_S = 60.0 if PROVING else 0.0  # that the broker stays away

pytestmark = [pytest.mark.slow, pytest.mark.prove]


def _ingest(log: str, inbox: Path, *options: str) -> dict[str, Any]:
    """A job that only ingests what lies in the inbox."""
    return {"plan": {"log": log, "sources": [file_source(inbox, *options)]}}


def _process(log: str, lake: Path, **more: Any) -> dict[str, Any]:
    """A job that only processes."""
    return {"plan": {"log": log, "lake": str(lake), "processes": 0, **more}}


def _finish(folder: Path, log: str, lake: Path, **more: Any) -> dict[str, Any]:
    with started(folder, _process(log, lake, until_idle=True, **more)) as last:
        report = last.report()
    assert report["code"] == 0, report
    return report


def test_ingest_and_process_apart(broker: Broker, tmp_path: Path, inbox: Path) -> None:
    """The one ends, the other takes what it left; the gaps that transactions leave are passed."""
    log, lake = broker.uri("apart"), tmp_path / "lake"
    story = Story(SEED)
    story.write(inbox / "a.jsonl", 1500)
    with started(tmp_path, _ingest(log, inbox)) as child:
        assert child.report()["received"] == 1500
    report = _finish(tmp_path, log, lake)
    assert report["processed"] == 1500
    assert report["lag"] == 0
    assert_exact(lake, log, story.truth)


def test_both_killed_at_any_instant(broker: Broker, tmp_path: Path, inbox: Path) -> None:
    """Ingest and process are killed again and again, each while the other goes on: every record once."""
    log, lake = broker.uri("killed?session_s=2"), tmp_path / "lake"
    story, chance = Story(SEED + 1), random.Random(SEED)
    for number in range(4):
        story.write(inbox / f"{number}.jsonl", 400)
    slow = {"chunk_rows": 60, "keep_s": 0.3, "idle_move_s": 0.3}
    for _ in range(KILLS):
        ingest = _ingest(log, inbox, "mode=replay", "rate=300")
        with (
            started(tmp_path, ingest) as first,
            started(tmp_path, {**_process(log, lake), "patch": slow}) as second,
        ):
            second.until(lambda progress: progress["processed"] > 0 or progress["lag"] == 0)
            time.sleep(chance.random())
            for child in chance.sample([first, second], 2):
                if child.process.poll() is None:
                    child.kill()
                time.sleep(chance.random() / 2)
    with started(tmp_path, _ingest(log, inbox)) as last:
        assert last.report()["code"] == 0
    _finish(tmp_path, log, lake)
    assert_exact(lake, log, story.truth)


def test_a_broker_that_stops_and_comes_again(own_broker: Broker, tmp_path: Path, inbox: Path) -> None:
    """While it is away both wait and say so; then they go on, and nothing is lost or doubled."""
    log, lake = own_broker.uri("away"), tmp_path / "lake"
    story = Story(SEED + 2)
    story.write(inbox / "a.jsonl", 1500)
    with (
        started(tmp_path, _ingest(log, inbox, "mode=replay", "rate=60")) as first,
        started(tmp_path, _process(log, lake)) as second,
    ):
        second.until(lambda progress: progress["processed"] > 100)
        own_broker.kill()
        first.until(lambda progress: "the log takes nothing" in progress["waiting"])
        second.until(lambda progress: "the log cannot be read" in progress["waiting"])
        time.sleep(AWAY_S)
        assert first.process.poll() is second.process.poll() is None
        own_broker.start()
        assert first.report()["code"] == 0
        second.until(lambda progress: _has(1500, progress) and not progress["lag"] and not progress["waiting"])
        assert second.stop()["code"] == 0
    _finish(tmp_path, log, lake)
    assert_exact(lake, log, story.truth)


def test_a_broker_killed_at_any_instant(
    own_broker: Broker, tmp_path: Path, inbox: Path, record_property: Callable[[str, object], None]
) -> None:
    """In the middle of transactions and reads: both go on by themselves, and every record is there once."""
    log, lake = own_broker.uri("struck"), tmp_path / "lake"
    story, chance = Story(SEED + 4), random.Random(SEED + 4)
    story.write(inbox / "000.jsonl", 300)
    with (
        started(tmp_path, _ingest(log, inbox, "mode=follow")) as first,
        started(tmp_path, {**_process(log, lake), "patch": {"chunk_rows": 60}}) as second,
    ):
        second.until(lambda progress: progress["processed"] > 0)
        for kill in range(STRIKES):
            story.write(inbox / f"{kill + 1:03}.jsonl", 300)
            time.sleep(chance.random() * 1.5)
            own_broker.kill()
            time.sleep(chance.random())
            own_broker.start()
            second.until(partial(_has, 300 * (kill + 2)), timeout_s=120)
        assert first.stop()["code"] == second.stop()["code"] == 0
    time.sleep(OPEN_S)
    _finish(tmp_path, log, lake)
    assert_exact(lake, log, story.truth)
    record_property("kills", STRIKES)


def test_workers_join_leave_and_die(broker: Broker, tmp_path: Path, inbox: Path) -> None:
    """Partitions are dealt anew each time; a post is stored once, whoever had it."""
    log, lake = broker.uri("dealt?partitions=4&session_s=2"), tmp_path / "lake"
    slow = {"chunk_rows": 20}
    with (
        started(tmp_path, _ingest(log, inbox, "mode=follow")) as ingest,
        started(tmp_path, {**_process(log, lake), "patch": slow}) as first,
        _Trickle(inbox) as posts,
    ):
        first.until(lambda progress: progress["processed"] > 50)
        with started(tmp_path, {**_process(log, lake), "patch": slow}) as second:
            second.until(lambda progress: progress["processed"] > 50)
            before = first.observed()[-1]["processed"]
            first.until(lambda progress: progress["processed"] > before + 50)  # both work
            second.kill()
        with started(tmp_path, {**_process(log, lake), "patch": slow}) as third:
            third.until(lambda progress: progress["processed"] > 50)
            assert first.stop()["code"] == 0
            left = third.observed()[-1]
            third.until(lambda progress: progress["processed"] > left["processed"] + 50)  # alone
            posts.end()
            ingest.until(lambda progress: progress["received"] == posts.written)
            assert ingest.stop()["code"] == 0
            whole = _stored(lake, posts.written)
            third.until(lambda progress: progress["at"] > whole and progress["lag"] == 0)
            assert third.stop()["code"] == 0
    _finish(tmp_path, log, lake)
    _assert_whole(log, lake, posts.written)


def test_until_idle_waits_for_what_another_worker_has(broker: Broker, tmp_path: Path, inbox: Path) -> None:
    """The group has dealt everything to a worker that does nothing: it is not the end before that is in the lake."""
    log, lake = broker.uri("held?session_s=2"), tmp_path / "lake"
    _posts(inbox / "a.jsonl", 200)
    with started(tmp_path, _ingest(log, inbox)) as child:
        assert child.report()["code"] == 0
    with registry.create("logs", log) as other, other.share("main") as share:
        for _ in polling(30.0):
            if share.partitions():
                break
        with started(tmp_path, _process(log, lake, until_idle=True)) as worker:
            worker.until(lambda progress: "not all of the log partitions [0]" in progress["waiting"])
            for _ in polling(3.0):
                assert share.partitions()
                assert worker.process.poll() is None, worker.errors()
            share.close()
            report = worker.report()
    assert (report["processed"], report["waiting"]) == (200, "")
    _assert_whole(log, lake, 200)


def test_two_workers_forced_onto_one_partition(broker: Broker, tmp_path: Path, inbox: Path) -> None:
    """One leaves at its first commit, told why; nothing is doubled."""
    log, lake = broker.uri("forced"), tmp_path / "lake"
    story = Story(SEED + 3)
    story.write(inbox / "a.jsonl", 800)
    with started(tmp_path, _ingest(log, inbox, "mode=replay", "rate=30")):
        job = {**_process(log, lake, partitions=[0]), "patch": {"chunk_rows": 20, "idle_move_s": 0.3}}
        with started(tmp_path, job) as first:
            first.until(lambda progress: progress["processed"] > 0)
            with started(tmp_path, job) as second:
                for _ in polling(60.0):
                    ended = [child for child in (first, second) if child.process.poll() is not None]
                    if ended:
                        break
                told = ended[0].report()
                assert (told["code"], told["error"]) == (FAILED, "ClaimError"), told
                assert "another worker" in told["message"]
    with started(tmp_path, _ingest(log, inbox)) as rest:
        assert rest.report()["code"] == 0
    _finish(tmp_path, log, lake, partitions=[0])
    assert_exact(lake, log, story.truth)


def test_a_topic_that_is_given_more_partitions(broker: Broker, tmp_path: Path, inbox: Path) -> None:
    """A running worker takes the new ones over; a running ingest fills them."""
    log, lake = broker.uri("grown"), tmp_path / "lake"
    with (
        started(tmp_path, _ingest(log, inbox, "mode=follow")) as ingest,
        started(tmp_path, _process(log, lake)) as worker,
    ):
        with _Trickle(inbox) as posts:
            worker.until(lambda progress: progress["processed"] > 50)
            admin = AdminClient(broker.client())
            admin.create_partitions([NewPartitions("grown", 3)])["grown"].result()
            with registry.create("logs", log) as opened:
                for _ in polling(60.0):
                    if [*opened.ends()] == [0, 1, 2] and all(opened.ends().values()):
                        break
        ingest.until(lambda progress: progress["received"] == posts.written)
        assert ingest.stop()["code"] == 0
        worker.until(partial(_has, posts.written))
        assert worker.stop()["code"] == 0
    _finish(tmp_path, log, lake)
    assert _assert_whole(log, lake, posts.written) == {0, 1, 2}


def test_two_pipelines_with_two_models_on_one_topic(broker: Broker, tmp_path: Path, inbox: Path) -> None:
    """Each has everything, and neither knows of the other."""
    log = broker.uri("two")
    _posts(inbox / "a.jsonl", 400)
    with started(tmp_path, _ingest(log, inbox)) as child:
        assert child.report()["code"] == 0
    models = {"one": "lexicon:vader", "two": "none:"}
    for name, model in models.items():
        _finish(tmp_path, log, tmp_path / name, pipeline=name, model=model)
        _assert_whole(log, tmp_path / name, 400)
    scored = {
        name: open_lake(str(tmp_path / name)).sql("select sum(n_scored) n from windows")["n"][0] for name in models
    }
    assert {name: n.as_py() for name, n in scored.items()} == {"one": 400, "two": 0}
    with registry.create("logs", log) as opened:
        assert set(opened.positions()) == {"one", "two"}


def test_a_topic_that_others_fill(broker: Broker, tmp_path: Path) -> None:
    """It is read through its decoder, and what cannot be read becomes a dead letter."""
    admin = AdminClient(broker.client())
    admin.create_topics([NewTopic("others", 2)])["others"].result()
    time.sleep(1.0)
    for partition in (0, 1):
        broker.produce("others", *((b"ana", f"good {n % 40}".encode()) for n in range(50)), partition=partition)
    broker.produce("others", (None, b"\xff"), (None, None))
    log, lake = f"{broker.uri('others')}?decoder=text&source=chat", tmp_path / "lake"
    report = _finish(tmp_path, log, lake)
    assert report["processed"] == 102
    (account,) = open_lake(str(lake)).ledger().to_pylist()
    assert (account["source"], account["received"], account["kept"], account["dead"]) == ("chat", 102, 100, 2)
    with started(tmp_path, _ingest(log, tmp_path / "none.jsonl")) as refused:
        assert "it is only read" in refused.report()["message"]


def _has(processed: int, progress: dict[str, Any]) -> bool:
    return bool(progress["processed"] == processed)


def _stored(lake: Path, count: int) -> float:
    """Wait until the lake has so many posts; when it had them."""
    opened, stored = open_lake(str(lake)), -1
    for _ in polling(DEADLINE_S):
        stored = opened.sql("select count(*) n from posts_all")["n"][0].as_py()
        if stored == count:
            return time.time()
    raise AssertionError(f"{stored} of {count} posts after {DEADLINE_S} s")


def _posts(path: Path, count: int, first: int = 0) -> None:
    """Plain posts: in a log of several partitions only what has an id has an order."""
    began, numbers = datetime.now(UTC).isoformat(), range(first, first + count)
    lines = [json.dumps({"id": n, "text": f"a good day {n}", "created_at": began, "lang": "en"}) for n in numbers]
    path.write_text("\n".join(lines) + "\n")


class _Trickle:
    """Some 200 posts a second until its end, however long a busy machine takes over what they are for."""

    def __init__(self, inbox: Path) -> None:
        self.written = 0
        self._inbox = inbox
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Write no more."""
        self._ended.set()
        self._thread.join()

    def _write(self) -> None:
        while not self._ended.wait(0.5):
            _posts(self._inbox / f"{self.written:06}.jsonl", 100, first=self.written)
            self.written += 100


def _assert_whole(log: str, path: Path, count: int) -> set[int]:
    """Every post once, the ledger and the sums right; the partitions that they came from."""
    lake = open_lake(str(path))
    rows = lake.sql("select id, log_partition from posts_all")
    assert Counter(rows["id"].to_pylist()) == Counter(f"file:{n}" for n in range(count))
    (account,) = lake.ledger().to_pylist()
    assert (account["received"], account["kept"]) == (count, count)
    with registry.create("logs", log) as opened:
        findings = doctor.examine(lake, opened)
        assert lake.positions()["posts"] == opened.ends()
    assert not [finding for finding in findings if not finding.ok]
    return set(rows["log_partition"].to_pylist())
