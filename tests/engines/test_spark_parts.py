"""The parts of the Spark engine that need no Spark to run."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql.streaming.datasource import ReadAllAvailable

from feltwire import errors, registry, schema
from feltwire.engines import _spark_session, spark
from feltwire.engines._commit import Committer
from feltwire.engines._opened import Opened
from feltwire.engines._spark_log import FeltwireLogReader, Job, read_span, shared_out
from feltwire.engines._spark_pieces import PIECES, Span, piece, read_pieces
from feltwire.engines._spark_wire import WIRE, decode, encode, failure
from feltwire.engines._spark_work import work_on_span
from feltwire.engines._work import Settled, gap, work
from feltwire.errors import ClaimError, ConfigError, FatalError, FeltwireError, LogError, MissingExtraError
from feltwire.interfaces import Position
from feltwire.lake import Owner, create_lake
from feltwire.lake.storage import Location
from feltwire.logs.memory import MemoryLog, Options
from feltwire.pipeline import Pipeline, build
from feltwire.plan import Plan
from feltwire.sources import simulator

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
GAPS = frozenset({0, 3, 4, 9})


class GappyLog:
    """A log of ten offsets, some of which nobody gets: as a broker's, whose control records take offsets too."""

    identity = "gappy"

    def ends(self) -> Position:
        return {0: 10}

    def read(self, partition: int, after: int, max_rows: int) -> pa.RecordBatch:
        offsets = [offset for offset in range(after, 10) if offset not in GAPS][:max_rows]
        rows: list[dict[str, object]] = [{"kind": "post", "log_partition": 0, "log_offset": one} for one in offsets]
        return schema.records(rows, schema.LOGGED)


@pytest.fixture(scope="module")
def logged() -> pa.RecordBatch:
    """Three hundred invented records of all kinds, as they stand in a log."""
    log = MemoryLog(Options())
    block = next(simulator.generate(simulator.Options(seed=3, mess=0.4, start=T0.isoformat()), 1))
    log.append(block.slice(0, 300), source="simulator", cursor=None)
    return log.read(0, 0, 300)


@pytest.fixture
def lake(tmp_path: Path) -> Location:
    return create_lake(str(tmp_path / "lake"), Owner("main", "some-log")).location


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return build(Plan(log="memory:", model="lexicon:vader"))


def test_a_span_is_read_by_its_offsets_alone() -> None:
    assert read(Span(0, 2, 7)) == [(Span(0, 2, 7), [2, 5, 6])]
    assert read(Span(0, 2, 4)) == [(Span(0, 2, 3), [2]), (Span(0, 3, 4), None)]
    assert read(Span(0, 3, 5)) == [(Span(0, 3, 5), None)]
    assert read(Span(0, 9, 10)) == [(Span(0, 9, 10), None)]
    assert read(Span(0, 4, 4)) == []


def read(span: Span) -> list[tuple[Span, list[int] | None]]:
    found = [each for batch in read_span(GappyLog(), span) for each in read_pieces(batch)]
    return [(part, None if records is None else records["log_offset"].to_pylist()) for part, records in found]


@pytest.mark.parametrize(
    ("waiting", "rows", "shares"),
    [
        ({"0": 5, "1": 100, "2": 100}, 65, {"0": 5, "1": 30, "2": 30}),
        ({"0": 5, "1": 0}, 100, {"0": 5, "1": 0}),
        ({"0": 50}, 20, {"0": 20}),
        ({}, 20, {}),
    ],
)
def test_a_batch_is_shared_out_between_partitions(waiting: Any, rows: int, shares: Any) -> None:
    assert shared_out(waiting, rows) == shares


def _reader(**changed: Any) -> FeltwireLogReader:
    given: dict[str, Any] = {
        "log": "memory:", "identity": "x", "lake": "l", "pipeline": "p", "partitions": (0, 1), "log_partitions": 2,
        "starts": {}, "max_rows": 10_000, "task_rows": 3_000, "tasks": 2,
    }  # fmt: skip
    return FeltwireLogReader(Job.from_json(Job(**{**given, **changed}).to_json()))


def test_spans_cover_a_batch_without_gap_or_overlap() -> None:
    spans = [one.span for one in _reader().partitions({"0": 7, "1": 0}, {"0": 8_007, "1": 500})]
    assert spans == [Span(0, 7, 3_007), Span(0, 3_007, 6_007), Span(0, 6_007, 8_007), Span(1, 0, 500)]
    assert _reader().partitions({"0": 7}, {"0": 7}) == []
    assert len(_reader().partitions({"0": 0}, {"0": 1_500})) == 2  # small batches are spread too


def test_what_is_read_once_is_fixed_when_the_log_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that is away when a run of what stands in it begins is waited for, and what comes later is not read."""
    answers: Iterator[Position | LogError] = iter([LogError("away"), {0: 5, 1: 0}, {0: 9, 1: 9}])

    class Log:
        def ends(self) -> Position:
            answer = next(answers)
            if isinstance(answer, LogError):
                raise answer
            return answer

    monkeypatch.setattr(Job, "open_log", lambda _: Log())
    reader = _reader()
    reader.prepareForTriggerAvailableNow()
    start = {"0": 0, "1": 0}
    assert reader.latestOffset(start, ReadAllAvailable()) == start
    assert reader.latestOffset(start, ReadAllAvailable()) == {"0": 5, "1": 0}
    assert reader.latestOffset({"0": 5, "1": 0}, ReadAllAvailable()) == {"0": 5, "1": 0}


TRACEBACK = """[PYTHON_ERROR] Failed when it planned: Traceback (most recent call last):
  File "a.py", line 3, in ends
    raise LogError("first")
feltwire.errors.LogError: first

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "b.py", line 4, in plan
    one()
feltwire.errors.ConfigError: no credentials

\tat org.apache.spark.Planner.plan(Planner.scala:1)
Caused by: java.io.IOException: the pipe is broken
"""


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (TRACEBACK, "feltwire.errors.ConfigError: no credentials"),
        ("[X] failed\n\tat a.B\nCaused by: one\n\tat c.D\nCaused by: two\n\tat e.F", "two"),
        ("[X] failed\n\tat a.B", "[X] failed"),
        ("[X] failed: Traceback (most recent call last):", "[X] failed: Traceback (most recent call last):"),
        ("", "RuntimeError"),
    ],
)
def test_the_cause_of_a_failure_is_one_line(said: str, cause: str) -> None:
    assert spark._cause(RuntimeError(said)) == cause


def test_what_was_done_survives_the_way(logged: pa.RecordBatch, lake: Location, pipeline: Pipeline) -> None:
    done = work(pipeline, lake, logged, Settled())
    back = decode(pa.Table.from_batches([encode(done)]))[0]
    assert back == done
    assert [file.action().stats for file in back.written] == [file.action().stats for file in done.written]
    (empty,) = decode(pa.Table.from_batches([encode(gap(1, 2, 3))]))
    assert (empty.partition, empty.start, empty.end, empty.written, empty.kept) == (1, 2, 3, (), 0)


def _pieces(batch: pa.RecordBatch, span: Span, rows: int) -> Iterator[pa.RecordBatch]:
    """A span as Spark hands it to a task: in pieces, several in a batch or one; the last may be a gap."""
    pieces = []
    for start in range(0, batch.num_rows, rows):
        part = batch.slice(start, rows)
        pieces.append(piece(Span(0, start, start + part.num_rows), part))
    if span.end > batch.num_rows:
        pieces.append(piece(Span(0, batch.num_rows, span.end)))
    yield pa.concat_batches(pieces[:2])
    yield from pieces[2:]


@pytest.mark.parametrize("rows", [300, 150, 7])
def test_a_task_works_on_its_span(rows: int, logged: pa.RecordBatch, lake: Location, pipeline: Pipeline) -> None:
    span = Span(0, 0, 317)  # its last records are a gap
    told = list(work_on_span(_pieces(logged, span, rows), pipeline=pipeline, location=lake, settled={}))
    (done,) = decode(pa.Table.from_batches(told))
    assert (done.start, done.end) == (0, 317)
    assert done.kept == sum(file.rows for file in done.written) > 200
    assert sum(done.rows["ledger"]["received"].to_pylist()) + sum(done.rows["ledger"]["withdrawn"].to_pylist()) == 300


def test_a_large_span_is_worked_on_in_parts(
    logged: pa.RecordBatch, lake: Location, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feltwire.engines._spark_work._MOST_BYTES", 10_000)
    span = Span(0, 0, 301)
    told = list(work_on_span(_pieces(logged, span, 50), pipeline=pipeline, location=lake, settled={}))
    parts = decode(pa.Table.from_batches(told))
    assert len(parts) > 3
    assert [part.start for part in parts] == [0, *(part.end for part in parts[:-1])]
    assert parts[-1].end == 301


def test_an_empty_span_moves_positions(lake: Location, pipeline: Pipeline) -> None:
    told = list(work_on_span([piece(Span(0, 4, 9))], pipeline=pipeline, location=lake, settled={}))
    (done,) = decode(pa.Table.from_batches(told))
    assert (done.start, done.end, done.kept) == (4, 9, 0)


def test_a_task_without_pieces_says_nothing(lake: Location, pipeline: Pipeline) -> None:
    assert list(work_on_span([], pipeline=pipeline, location=lake, settled={})) == []
    none = PIECES.empty_table().to_batches() or [pa.RecordBatch.from_pylist([], schema=PIECES)]
    assert list(work_on_span(none, pipeline=pipeline, location=lake, settled={})) == []


def test_errors_keep_their_type(lake: Location, pipeline: Pipeline) -> None:
    away = piece(Span(0, 4, 9), error=LogError("away"))
    told = list(work_on_span([away], pipeline=pipeline, location=lake, settled={}))
    with pytest.raises(LogError, match=r"^away$"):
        decode(pa.Table.from_batches(told))
    both = [failure(LogError("away")), failure(ConfigError("wrong"))]
    with pytest.raises(ConfigError):
        decode(pa.Table.from_batches(both))


def test_the_words_of_a_fault_are_not_told(lake: Location) -> None:
    class Broken(Pipeline):
        def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
            raise FatalError("stop")

    rows: list[dict[str, object]] = [{"kind": "post", "log_partition": 0, "log_offset": 0}]
    given = [piece(Span(0, 0, 1), schema.records(rows, schema.LOGGED))]
    told = list(work_on_span(given, pipeline=Broken(()), location=lake, settled={}))
    assert told[0].schema == WIRE
    with pytest.raises(FatalError, match=r"^stop$"):
        decode(pa.Table.from_batches(told))
    (row,) = failure(ValueError("a secret post")).to_pylist()
    assert "secret" not in row["message"]
    assert row["error"] == "FatalError"


def test_a_batch_that_does_not_follow_is_refused(lake: Location) -> None:
    class Log(GappyLog):
        identity = "some-log"

    opened = create_lake(lake.path, Owner("main", "some-log"))
    committer = Committer(opened, Log(), [0])
    committer.check_follows([gap(0, 0, 3), gap(0, 3, 5)], {0: 0})
    for spans in ([(1, 2)], [(0, 3), (4, 5)]):
        with pytest.raises(ClaimError, match="another worker"):
            committer.check_follows([gap(0, start, end) for start, end in spans], {0: 0})
    with pytest.raises(ClaimError, match="another worker"):  # who stood at 2, where `posts` is no longer
        committer.check_follows([gap(0, 2, 3)], {0: 2})


@pytest.mark.parametrize("version", ["4.1.1", "3.5.0", "4.0", "unknown"])
def test_an_older_spark_is_refused_in_one_line(version: str) -> None:
    with pytest.raises(ConfigError, match=r"4\.2 or newer is needed") as caught:
        _spark_session.check_version(version, "the cluster")
    assert "\n" not in str(caught.value)
    for good in ("4.2.0", "4.3.0", "5.0.0.dev0"):
        _spark_session.check_version(good, "the cluster")


def test_without_java_one_line_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(ConfigError, match="needs Java 17"):
        _spark_session.check_java()
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(ConfigError, match="JAVA_HOME"):
        _spark_session.check_java()


def test_without_pyspark_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] in ("pyspark", "py4j")]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.startswith("feltwire.engines") and "spark" in name]:
        monkeypatch.delitem(sys.modules, name)

    class Absent:
        def find_spec(self, name: str, *_: object) -> None:
            if name.partition(".")[0] in ("pyspark", "py4j"):
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(sys, "meta_path", [Absent(), *sys.meta_path])
    with pytest.raises(MissingExtraError, match=r"feltwire\[spark\]"):
        registry.load("engines", "spark")


def test_every_error_can_travel() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, FeltwireError)]
    for kind in kinds:
        with pytest.raises(kind) as caught:
            list(read_pieces(piece(Span(0, 0, 1), error=kind("why"))))
        assert type(caught.value) is kind


class GrowingLog(MemoryLog):
    """Has two partitions, of which the second is seen later."""

    seen = 1

    def ends(self) -> Position:
        return {p: end for p, end in super().ends().items() if p < self.seen}


def test_partitions_that_a_log_gets_are_claimed(tmp_path: Path) -> None:
    log = GrowingLog(Options(partitions=2))
    with ExitStack() as resources:
        plan = Plan(log="memory:", lake=str(tmp_path / "lake"), model="none:")
        opened = Opened.open(plan, log, resources)
        assert not opened.grow(resources)
        log.seen = 2
        assert opened.grow(resources)
        assert opened.partitions == (0, 1)
        assert opened.lake.owner.partitions == 2
        with pytest.raises(ClaimError), log.claim("main", 1):
            pass
        assert not opened.grow(resources)
    with ExitStack() as resources, log.claim("main", 1):
        log.seen = 1
        opened = Opened.open(plan, log, resources)
        log.seen = 2
        assert not opened.grow(resources)  # another worker has it
