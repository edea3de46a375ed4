"""What every log promises. A new log is added to `OPENERS`, and then passes."""

import os
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feltwire import registry
from feltwire.errors import ClaimError, ConfigError, PositionError, SchemaError
from feltwire.logs import kafka, kinesis, memory, sqlite
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
    empty,
    records,
)

START = datetime(2026, 3, 1, 12, tzinfo=UTC)

AnyLog: TypeAlias = sqlite.SqliteLog | memory.MemoryLog | kafka.KafkaLog | kinesis.KinesisLog
Row: TypeAlias = dict[str, object]


@dataclass
class Clock:
    """A clock that stands still until it is moved."""

    at: datetime = START

    def __call__(self) -> datetime:
        return self.at

    def pass_(self, **time: float) -> None:
        self.at += timedelta(**time)


class Opener(Protocol):
    def __call__(self, folder: Path, clock: Clock, /, **options: Any) -> AnyLog: ...


def open_sqlite(folder: Path, clock: Clock, /, **options: Any) -> AnyLog:
    return sqlite.SqliteLog(folder / "log.db", sqlite.Options(**options), clock=clock)


def open_memory(folder: Path, clock: Clock, /, **options: Any) -> AnyLog:
    return memory.MemoryLog(memory.Options(**options), clock=clock)


def open_kafka(folder: Path, clock: Clock, /, **options: Any) -> AnyLog:
    address = os.environ["FELTWIRE_TEST_BROKER"]  # set by `opener`, once there is one
    return kafka.KafkaLog(address, f"contract-{uuid.uuid4()}", kafka.Options(**options), clock=clock)


def open_kinesis(folder: Path, clock: Clock, /, *, partitions: int = 1, **options: Any) -> AnyLog:
    from tests.services import kinesis_server  # a server's library, which not every test needs

    place = {"endpoint_url": kinesis_server.endpoint(), "region": kinesis_server.REGION}
    stream = kinesis_server.make_stream(partitions, hours=8760)
    return kinesis.KinesisLog(
        stream, kinesis.Options(**options, **place, state=str(folder / "state.sqlite")), clock=clock
    )


OPENERS: dict[str, Opener] = {
    "kafka": open_kafka,
    "kinesis": open_kinesis,
    "memory": open_memory,
    "sqlite": open_sqlite,
}

BROKERS = {"kafka"}

# Logs that need a server, however fast it is.
SLOW = {"kinesis", *BROKERS}

DURABLE = sorted(set(OPENERS) - {"memory", *SLOW})

_RETENTION = "a broker removes records by its own clock, whoever has read them"
_GAPS = "a broker's offsets have gaps: tests/services/test_kafka_log.py has the same with them"
NOT_OF_A_BROKER = {
    "test_trimming_waits_for_age_and_for_the_slowest_pipeline": _RETENTION,
    "test_with_no_pipeline_age_alone_decides": _RETENTION,
    "test_a_pipeline_that_has_not_told_where_it_is_in_a_partition_holds_all_of_it": _RETENTION,
    "test_a_pipeline_may_start_again_from_the_start": _RETENTION,
    "test_threads_append_read_and_trim_at_once": _RETENTION,
    "test_reads_from_anywhere_and_of_any_size": _GAPS,
    "test_stats_are_json_data": _GAPS,
    "test_a_claim_is_on_a_partition_of_a_pipeline": "no lock reaches across machines: the lake refuses the second",
}
"""What cannot hold for a log on a broker, and why."""

Open: TypeAlias = Callable[..., AnyLog]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in registry.names("logs")]
)
def opener(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Opener:
    if request.param in BROKERS:
        if request.node.originalname in NOT_OF_A_BROKER:
            pytest.skip(NOT_OF_A_BROKER[request.node.originalname])
        monkeypatch.setenv("FELTWIRE_TEST_BROKER", request.getfixturevalue("broker").address)
    if request.param not in OPENERS:
        pytest.fail(f"the log {request.param!r} is not tested: add it to OPENERS")
    return OPENERS[request.param]


@pytest.fixture
def open_log(opener: Opener, tmp_path: Path, clock: Clock) -> Iterator[Open]:
    """`open_log(partitions=4, …)`: a new log."""
    with ExitStack() as stack:

        def new(**options: Any) -> AnyLog:
            folder = tmp_path / str(len(list(tmp_path.iterdir())))
            folder.mkdir()
            log = opener(folder, clock, **options)
            stack.callback(log.close)
            return log

        yield new


def post(number: int, **more: object) -> Row:
    return {"kind": POST, "id": f"x:{number}", "revision": 0, "source": "x", "live": True, "text": "hi", **more}


def posts(numbers: range) -> pa.RecordBatch:
    return records([post(number) for number in numbers])


def append(log: AnyLog, *rows: Row) -> int:
    return log.append(records(list(rows)), source="test", cursor=None)


def everything(log: AnyLog, *, step: int = 1000) -> list[dict[str, Any]]:
    """All kept records, partition by partition."""
    rows: list[dict[str, Any]] = []
    for partition, first in log.begins().items():
        after = first
        while (batch := log.read(partition, after, step)).num_rows:
            assert batch.schema == LOGGED
            after = batch["log_offset"][-1].as_py() + 1
            rows += batch.to_pylist()
        assert after == log.ends()[partition] or (after < log.ends()[partition] and has_gaps(log))
    return rows


def has_gaps(log: AnyLog) -> bool:
    """Whether its offsets have gaps."""
    return isinstance(log, kafka.KafkaLog)


# Storing


def test_records_come_back_in_order_stamped_and_with_their_offsets(open_log: Open, clock: Clock) -> None:
    log = open_log()
    first, second = posts(range(3)), posts(range(3, 5))
    assert log.append(first, source="s", cursor=None) == 0
    clock.pass_(seconds=1)
    assert log.append(second, source="s", cursor=None) == 0

    got = log.read(0, 0, 100)
    assert got.schema == LOGGED
    assert got["log_offset"].to_pylist() == ([0, 1, 2, 4, 5] if has_gaps(log) else [0, 1, 2, 3, 4])
    assert got["log_partition"].to_pylist() == [0] * 5
    assert got["ingested_at"].to_pylist() == [START] * 3 + [clock.at] * 2
    names = [name for name in RECORD.names if name != "ingested_at"]
    assert got.select(names).to_pylist() == pa.concat_batches([first, second]).select(names).to_pylist()
    assert log.ends() == {0: 7 if has_gaps(log) else 5}
    assert log.begins() == {0: 0}


def test_a_stamp_that_a_source_gave_is_replaced(open_log: Open) -> None:
    log = open_log()
    append(log, post(1, ingested_at=START - timedelta(days=9)))
    assert everything(log)[0]["ingested_at"] == START


def test_time_never_runs_back(open_log: Open, clock: Clock) -> None:
    log = open_log(partitions=2)
    append(log, post(1))
    clock.pass_(hours=-3)
    append(log, post(2), post(3), post(4))
    clock.pass_(hours=4)
    append(log, post(5))
    times = sorted(row["ingested_at"] for row in everything(log))
    assert times == [START] * 4 + [START + timedelta(hours=1)]


def test_cursors_are_kept_by_source(open_log: Open) -> None:
    log = open_log()
    assert log.cursor("a") is None
    cursor = {"seq": 2**60, "hosts": ["é", None], "at": 1.5}
    log.append(posts(range(1)), source="a", cursor=cursor)
    log.append(empty(), source="b", cursor={"n": 1})
    log.append(posts(range(1, 2)), source="a", cursor=None)
    log.append(empty(), source="a", cursor=None)
    assert log.cursor("a") == cursor
    assert log.cursor("b") == {"n": 1}
    log.append(empty(), source="b", cursor={})
    assert log.cursor("b") == {}
    assert [row["id"] for row in everything(log)] == ["x:0", "x:1"]


@pytest.mark.parametrize(
    ("batch", "cursor", "said"),
    [
        (posts(range(1)), {"at": START}, "no JSON data"),
        (posts(range(1)), {"at": float("nan")}, "no JSON data"),
        (records([post(1), post(2, kind="like")]), {}, "kind 'like' came: a source gives post"),
        (records([post(1, kind=None)]), {}, "kind None"),
        (records([post(1, kind=DUPLICATE)]), {}, "kind 'duplicate'"),
        (posts(range(1)).drop_columns(["text"]), {}, "lacks the column 'text'"),
        (posts(range(1)).set_column(2, "revision", pa.array(["one"])), {}, "'revision'"),
    ],
)
def test_what_no_log_can_hold_is_refused_whole(
    open_log: Open, batch: pa.RecordBatch, cursor: dict[str, Any], said: str
) -> None:
    log = open_log()
    log.append(empty(), source="s", cursor={"n": 1})
    with pytest.raises(SchemaError, match=said):
        log.append(batch, source="s", cursor=cursor)
    assert log.ends() == {0: 0}
    assert log.cursor("s") == {"n": 1}
    assert append(log, post(0), post(1)) == 0  # nothing was remembered


def test_columns_may_come_in_any_order_and_others_are_left_out(open_log: Open) -> None:
    log = open_log()
    batch = posts(range(2)).append_column("extra", pa.array([1, 2]))
    log.append(batch.select(list(reversed(batch.schema.names))), source="s", cursor=None)
    assert [row["id"] for row in everything(log)] == ["x:0", "x:1"]


# Repeats


def test_a_repeat_is_stored_bare(open_log: Open, clock: Clock) -> None:
    log = open_log()
    append(log, post(1, author_id="me", hashtags=["a"], likes=3))
    clock.pass_(seconds=1)
    assert append(log, post(2), post(1, text="changed", source="y", hashtags=["b"])) == 1
    bare = dict.fromkeys(RECORD.names) | {"kind": DUPLICATE, "source": "y", "ingested_at": clock.at}
    assert everything(log)[2] == bare | {"log_partition": 0, "log_offset": 3 if has_gaps(log) else 2}
    assert everything(log)[1]["id"] == "x:2"


def test_repeats_within_a_batch(open_log: Open) -> None:
    log = open_log()
    assert append(log, post(1), post(2), post(1, text="again"), post(1)) == 2
    assert [(row["kind"], row["text"]) for row in everything(log)] == [
        (POST, "hi"),
        (POST, "hi"),
        (DUPLICATE, None),
        (DUPLICATE, None),
    ]


def test_an_edit_or_a_withdrawal_is_no_repeat_of_its_post(open_log: Open) -> None:
    log = open_log()
    edit = post(1, kind=EDIT, revision=1)
    withdrawal = post(1, kind=WITHDRAWAL, revision=LAST_REVISION, text=None)
    assert append(log, post(1), edit, withdrawal) == 0
    assert append(log, post(1, kind=EDIT, revision=2), post(1, revision=3), post(1, revision=None)) == 0
    assert append(log, post(1), edit, withdrawal) == 3


def test_refusals_are_repeats_by_their_id_only(open_log: Open) -> None:
    log = open_log()
    unknown: Row = {"kind": REFUSAL, "source": "x", "refusal": "no JSON", "payload": "{"}
    known = unknown | {"id": "x:file:3"}
    assert append(log, unknown, known) == 0
    assert append(log, unknown, unknown, known) == 1


def test_withdrawals_of_accounts(open_log: Open) -> None:
    log = open_log()
    gone: Row = {"kind": WITHDRAWAL, "source": "x", "author_id": "me", "revision": LAST_REVISION, "created_at": START}
    assert append(log, gone, gone | {"author_id": "you"}, gone | {"created_at": START + timedelta(seconds=1)}) == 0
    assert append(log, gone, gone | {"source": "y"}) == 1
    undated = gone | {"created_at": None}  # may be a new one each time: never taken for a repeat
    assert append(log, undated, undated) == 0


def test_a_repeat_is_recognised_for_the_horizon(open_log: Open, clock: Clock) -> None:
    log = open_log(recent_h=16)
    append(log, post(1))
    for _ in range(16):
        clock.pass_(hours=1)
        assert append(log, post(1)) == 1
    clock.pass_(hours=2)
    assert append(log, post(1)) == 0


def test_no_fewer_ids_are_remembered_than_promised(open_log: Open) -> None:
    log = open_log(recent_max=1600)
    log.append(posts(range(2000)), source="s", cursor=None)
    assert log.append(posts(range(500, 2000)), source="s", cursor=None) == 1500
    assert log.append(posts(range(300)), source="s", cursor=None) == 0


# Partitions


def test_a_post_its_edits_and_its_withdrawal_meet_in_one_partition(open_log: Open) -> None:
    log = open_log(partitions=4)
    for number in range(40):
        append(log, post(number, author_id=f"a{number % 7}"))
        append(log, post(number, kind=EDIT, revision=1), post(number, kind=WITHDRAWAL, revision=LAST_REVISION))
    homes: dict[str, set[int]] = {}
    kinds: dict[str, list[str]] = {}
    for row in everything(log):
        homes.setdefault(row["id"], set()).add(row["log_partition"])
        kinds.setdefault(row["id"], []).append(row["kind"])
    assert {len(partitions) for partitions in homes.values()} == {1}
    assert all(order == [POST, EDIT, WITHDRAWAL] for order in kinds.values())
    assert set(log.ends()) == {0, 1, 2, 3}
    assert min(log.ends().values()) > 10


def test_the_withdrawal_of_an_account_reaches_every_partition(open_log: Open) -> None:
    log = open_log(partitions=3)
    gone: Row = {"kind": WITHDRAWAL, "source": "x", "author_id": "me", "created_at": START}
    before = [post(number, author_id="me") for number in range(30)]
    assert append(log, *before, gone) == 0
    for partition, end in log.ends().items():
        last = log.read(partition, end - 1 - has_gaps(log), 1).to_pylist()[0]
        assert (last["kind"], last["author_id"], last["log_partition"]) == (WITHDRAWAL, "me", partition)
    ends = log.ends()
    assert append(log, gone) == 1
    assert sum(log.ends().values()) == sum(ends.values()) + 1 + has_gaps(log)  # a repeat is counted once


def test_partitions_are_dense_whatever_repeats(open_log: Open) -> None:
    log = open_log(partitions=3)
    total = 0
    for start in range(0, 100, 10):
        total += log.append(posts(range(start, start + 20)), source="s", cursor=None)
    rows = everything(log)
    assert total == 90
    assert sum(row["kind"] == DUPLICATE for row in rows) == total
    assert sorted(row["id"] for row in rows if row["kind"] == POST) == sorted(f"x:{n}" for n in range(110))
    for partition, end in log.ends().items():
        offsets = [row["log_offset"] for row in rows if row["log_partition"] == partition]
        assert offsets == (sorted(offsets) if has_gaps(log) else list(range(end)))


# Reading


def test_reads_from_anywhere_and_of_any_size(open_log: Open) -> None:
    log = open_log()
    start = 0
    for size in (1, 4, 2, 7, 1, 5):
        log.append(posts(range(start, start + size)), source="s", cursor=None)
        start += size
    for after in range(start + 1):
        for most in (0, 1, 2, 3, 8, 100):
            got = log.read(0, after, most)
            assert got.schema == LOGGED
            assert got["log_offset"].to_pylist() == list(range(after, min(start, after + most)))
            assert got["id"].to_pylist() == [f"x:{n}" for n in range(after, min(start, after + most))]


def test_reads_past_the_end_or_of_no_partition_are_refused(open_log: Open) -> None:
    log = open_log(partitions=2)
    assert log.read(0, 0, 5).num_rows == 0
    with pytest.raises(PositionError, match="the log ends at 0"):
        log.read(0, 1, 5)
    with pytest.raises(PositionError, match="has no partition 2"):
        log.read(2, 0, 5)
    with pytest.raises(PositionError):
        log.read(0, -1, 5)


def test_tail(open_log: Open, clock: Clock) -> None:
    log = open_log(partitions=3)
    assert log.tail(5).num_rows == 0
    for start in range(0, 40, 10):
        clock.pass_(seconds=1)
        log.append(posts(range(start, start + 10)), source="s", cursor=None)
    last = log.tail(15)
    assert last.schema == LOGGED
    ids = [int(name[2:]) for name in last["id"].to_pylist()]
    assert set(ids[5:]) == set(range(30, 40))
    assert set(ids[:5]) < set(range(20, 30))
    assert log.tail(1000).num_rows == 40


TEXTS = (
    st.none()
    | st.text(max_size=20)
    | st.sampled_from(["", "\0", "\u202e\ufeff", "👩‍👩‍👧‍👦🇦🇽", "𝔘𝔫𝔦", "\uffff\U0010ffff", "e\u0301"])
)
TIMES = st.none() | st.datetimes(timezones=st.just(UTC))
VALUES = {
    pa.string(): TEXTS,
    pa.int64(): st.none() | st.integers(-(2**63), 2**63 - 1),
    pa.bool_(): st.none() | st.booleans(),
    TIME: TIMES,
    STRINGS: st.none() | st.lists(TEXTS, max_size=3),
}
ROWS = st.fixed_dictionaries(
    {"kind": st.sampled_from([POST, EDIT, WITHDRAWAL, REFUSAL])},
    optional={field.name: VALUES[field.type] for field in RECORD if field.name != "kind"},
)


@given(batches=st.lists(st.lists(ROWS, max_size=6), max_size=4), partitions=st.integers(1, 3))
@pytest.mark.parametrize("name", ["memory", *(pytest.param(name, marks=pytest.mark.slow) for name in DURABLE)])
def test_any_records_come_back_as_they_went_in(
    name: str, batches: list[list[Row]], partitions: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("log")
    with OPENERS[name](folder, Clock(), partitions=partitions) as log:
        repeats, expected = 0, []
        for rows in batches:
            batch = records(rows)
            repeats += log.append(batch, source="any", cursor={"n": len(rows)})
            expected += batch.drop_columns(["ingested_at"]).to_pylist()
        got = everything(log, step=2)
        assert sum(row["kind"] == DUPLICATE for row in got) == repeats
        assert all(row.pop("ingested_at") == START for row in got)
        kept = [row for row in got if row["kind"] != DUPLICATE]
        for row in kept:
            del row["log_partition"], row["log_offset"]
            assert row in expected
        broadcast = [r for r in kept if r["kind"] == WITHDRAWAL and r["id"] is None and r["author_id"] is not None]
        assert len(kept) - len(broadcast) + len(broadcast) // partitions == len(expected) - repeats
        if partitions == 1 and not repeats:
            assert kept == expected


# Keeping


def test_trimming_waits_for_age_and_for_the_slowest_pipeline(open_log: Open, clock: Clock) -> None:
    log = open_log(retention_h=24)
    for start in (0, 10, 20):
        log.append(posts(range(start, start + 10)), source="s", cursor=None)
        clock.pass_(hours=10)
    log.register("fast", {0: 30})
    assert log.trim() == 10  # the others are younger than a day
    clock.pass_(hours=100)
    log.register("slow", {0: 15})
    assert log.trim() == 0  # a batch goes as a whole
    log.register("slow", {0: 29})
    assert log.trim() == 10
    assert log.begins() == {0: 20}
    assert log.positions() == {"fast": {0: 30}, "slow": {0: 29}}
    assert (log.backlog("fast"), log.backlog("slow"), log.backlog("new")) == (0, 1, 10)
    log.unregister("slow")
    log.unregister("never known")
    assert log.trim() == 10
    assert (log.begins(), log.ends()) == ({0: 30}, {0: 30})
    assert log.read(0, 30, 5).num_rows == 0
    with pytest.raises(PositionError, match="before 30 is trimmed away: start at 30"):
        log.read(0, 29, 5)
    log.append(posts(range(30, 31)), source="s", cursor=None)
    assert everything(log)[0]["log_offset"] == 30


def test_with_no_pipeline_age_alone_decides(open_log: Open, clock: Clock) -> None:
    log = open_log(partitions=2)
    log.append(posts(range(20)), source="s", cursor=None)
    assert log.trim() == 0
    clock.pass_(hours=24)
    assert log.trim() == 20
    assert log.trim() == 0


def test_a_pipeline_that_has_not_told_where_it_is_in_a_partition_holds_all_of_it(open_log: Open, clock: Clock) -> None:
    log = open_log(partitions=2, retention_h=0)
    log.append(posts(range(20)), source="s", cursor=None)
    ends = log.ends()
    clock.pass_(hours=1)
    log.register("p", {0: ends[0]})
    assert log.trim() == ends[0]
    log.register("p", {1: ends[1]})
    assert log.positions() == {"p": ends}
    assert log.trim() == ends[1]


def test_a_pipeline_may_start_again_from_the_start(open_log: Open, clock: Clock) -> None:
    log = open_log(retention_h=0)
    log.append(posts(range(5)), source="s", cursor=None)
    clock.pass_(hours=1)
    log.register("p", {0: 5})
    log.register("p", {0: 0})
    assert log.trim() == 0


@pytest.mark.parametrize("position", [{0: 60}, {1: 0}, {0: -1}])
def test_positions_that_cannot_be_are_refused(open_log: Open, position: dict[int, int]) -> None:
    log = open_log()
    log.append(posts(range(5)), source="s", cursor=None)
    with pytest.raises(PositionError):
        log.register("p", position)
    assert log.positions() == {}


def test_stats_are_json_data(open_log: Open, clock: Clock) -> None:
    log = open_log(retention_h=0)
    log.append(posts(range(5)), source="s", cursor={"n": 1})
    log.register("p", {0: 2})
    stats = log.stats()
    assert stats["identity"] == log.identity
    assert stats["bytes"] > 0
    assert stats["records"] == 5
    at = START.isoformat()
    assert stats["partitions"] == {0: {"first_offset": 0, "next_offset": 5, "oldest": at, "newest": at}}
    assert stats["pipelines"] == {"p": {"position": {0: 2}, "backlog": 3, "seen_at": at}}
    assert stats["sources"] == {"s": {"cursor": {"n": 1}, "at": at}}
    clock.pass_(hours=1)
    log.unregister("p")
    log.trim()
    assert log.stats()["partitions"][0] == {"first_offset": 5, "next_offset": 5, "oldest": None, "newest": None}


def test_two_logs_have_two_identities(open_log: Open) -> None:
    assert open_log().identity != open_log().identity


# Claims


def test_a_claim_is_on_a_partition_of_a_pipeline(open_log: Open) -> None:
    log = open_log(partitions=2)
    with log.claim("main", 0), log.claim("main", 1), log.claim("../other pipeline", 0), log.lease_writer():
        with (
            pytest.raises(ClaimError, match=r"partition 0 of pipeline 'main'.* held by process \d+"),
            log.claim("main", 0),
        ):
            pass
        with pytest.raises(ClaimError, match=r"held by process \d+"), log.lease_writer():
            pass
        assert append(log, post(1)) == 0  # single appends need no lease
    with log.claim("main", 0), log.lease_writer():
        pass


# Several threads


@contextmanager
def running(*works: Callable[[], None]) -> Iterator[None]:
    """Run in threads beside the block; what fails in one fails here."""
    errors: list[BaseException] = []

    def run(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join()
    assert not errors, errors


def test_threads_append_read_and_trim_at_once(open_log: Open, clock: Clock) -> None:
    log = open_log(retention_h=0)
    done = threading.Event()
    seen: list[str] = []

    def write(worker: int) -> None:
        for step in range(15):
            start = worker * 1000 + step * 10
            log.append(posts(range(start, start + 12)), source=f"w{worker}", cursor={"step": step})

    def follow() -> None:
        log.register("p", {0: 0})
        after = 0
        while not (done.is_set() and after == log.ends()[0]):
            batch = log.read(0, after, 7)
            seen.extend(name for name in batch["id"].to_pylist() if name is not None)
            after += batch.num_rows
            log.register("p", {0: after})

    def trim() -> None:
        while not done.wait(0.002):
            log.trim()

    with running(follow, trim):
        try:
            with running(*(lambda worker=worker: write(worker) for worker in range(3))):
                pass
        finally:
            done.set()
    assert len(seen) == len(set(seen)) == 3 * 152
    log.trim()
    assert log.begins() == log.ends() == {0: 3 * 180}
    assert [log.cursor(f"w{worker}") for worker in range(3)] == [{"step": 14}] * 3


# By URI


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("sqlite:", "no path"),
        ("sqlite::memory:", "no path"),
        ("memory:name", "it has no name"),
        ("sqlite:log.db?partitions=0", "partitions"),
        ("memory:?colour=red", "unknown option 'colour'"),
        ("memory:?retention_h=-1", "retention_h"),
        ("memory:?recent_max=3", "recent_max"),
    ],
)
def test_wrong_options_are_named(uri: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=said):
        registry.create("logs", uri)


def test_logs_are_made_by_uri(tmp_path: Path) -> None:
    for uri in (f"sqlite:{tmp_path}/deep/er/log.db?partitions=2", "memory:?partitions=2"):
        with registry.create("logs", uri) as log:
            log.append(posts(range(3)), source="s", cursor=None)
            assert sum(log.ends().values()) == 3
            assert abs(log.tail(1)["ingested_at"][0].as_py() - datetime.now(UTC)) < timedelta(minutes=1)
