"""The engine on a log whose offsets have gaps, as those of a broker do: between records, and behind the last one."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from feltwire import doctor, schema
from feltwire.engines import _commit, _processing
from feltwire.engines._processing import Processing
from feltwire.engines._work import gap
from feltwire.errors import ClaimError
from feltwire.interfaces import Position
from feltwire.lake import open_lake
from feltwire.logs.memory import MemoryLog, Options
from feltwire.plan import Plan
from feltwire.schema import POST, records

EVERY = 7  # records, behind each of which …
GAP = 3  # … so many offsets are skipped
TRAILING = 5  # offsets without a record, behind every append


class GappyLog:
    """A log in memory with its offsets spread."""

    def __init__(self, partitions: int = 1) -> None:
        self.inner = MemoryLog(Options(partitions=partitions))
        self.identity = self.inner.identity
        self._appends: list[Position] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def append(self, numbers: range) -> None:
        self.inner.append(_posts(numbers), source="s", cursor=None)
        self._appends.append(self.inner.ends())

    def ends(self) -> Position:
        return {p: self._spread(p, end) for p, end in self.inner.ends().items()}

    def register(self, pipeline: str, position: Position) -> None:
        pass

    def read(self, partition: int, after: int, max_rows: int) -> pa.RecordBatch:
        inner, end = 0, self.inner.ends()[partition]
        while inner < end and self._spread(partition, inner) < after:
            inner += 1
        found = self.inner.read(partition, inner, max_rows)
        spread = pa.array([self._spread(partition, offset) for offset in found["log_offset"].to_pylist()], pa.int64())
        return found.set_column(found.schema.get_field_index("log_offset"), "log_offset", spread)

    def _spread(self, partition: int, offset: int) -> int:
        appends = sum(1 for ends in self._appends if ends[partition] <= offset)
        return offset + offset // EVERY * GAP + appends * TRAILING


class Dealt:
    """Partitions as the test says."""

    def __init__(self) -> None:
        self.mine: frozenset[int] | None = None

    def partitions(self) -> frozenset[int] | None:
        return self.mine

    def __enter__(self) -> "Dealt":
        return self

    def __exit__(self, *_: object) -> None:
        pass


def _posts(numbers: range) -> pa.RecordBatch:
    return records([{"kind": POST, "id": f"x:{n}", "source": "x", "text": f"good {n}", "lang": "en"} for n in numbers])


@pytest.fixture
def resources() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def _work(processing: Processing) -> None:
    for _ in range(2000):
        processing._try_at = 0.0
        processing.step()
        processing._read_at = float("-inf")
        if processing.idle():
            processing.committer.rest()
            return
    raise AssertionError(f"not at its end: lag {processing.lag()}, {processing.waiting}")


def _check(path: Path, log: Any, count: int) -> None:
    lake = open_lake(str(path))
    assert sorted(lake.sql("select id from posts_all")["id"].to_pylist()) == sorted(f"x:{n}" for n in range(count))
    assert all(position == log.ends() for position in lake.positions().values())
    assert [finding for finding in doctor.examine(lake, log) if not finding.ok] == []
    (account,) = lake.ledger().to_pylist()
    assert account["received"] == account["kept"] == count


@pytest.mark.parametrize("chunk", [3, 7, 10, 5000])
def test_gaps_are_passed(chunk: int, tmp_path: Path, resources: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_processing, "CHUNK_ROWS", chunk)
    log: Any = GappyLog()
    log.append(range(40))
    plan = Plan(log="test", lake=str(tmp_path / "lake"), processes=0)
    processing = Processing.open(plan, log, resources)
    _work(processing)
    log.append(range(40, 49))
    _work(processing)
    assert processing.processed == 49
    processing.close()
    _check(tmp_path / "lake", log, 49)


def test_tables_are_levelled_over_gaps(tmp_path: Path, resources: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped between posts and the sums, the next start levels them from the rows and from the log."""
    monkeypatch.setattr(_commit, "_LEVEL_ROWS", 13)
    log: Any = GappyLog()
    log.append(range(40))
    plan = Plan(log="test", lake=str(tmp_path / "lake"), processes=0)
    first = Processing.open(plan, log, resources)
    append = first.committer._append

    def stop_there(table: str, *args: Any) -> None:
        if table == "windows":
            raise KeyboardInterrupt
        append(table, *args)

    monkeypatch.setattr(first.committer, "_append", stop_there)
    with pytest.raises(KeyboardInterrupt):
        _work(first)
    resources.close()
    second = Processing.open(plan, log, resources)
    _work(second)
    second.close()
    _check(tmp_path / "lake", log, 40)


def test_partitions_that_are_dealt_out(tmp_path: Path, resources: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are taken over from where the lake is, given up with what was under way, and a rival is no end."""
    monkeypatch.setattr(_processing, "CHUNK_ROWS", 5)
    log: Any = GappyLog(partitions=3)
    deals = [Dealt(), Dealt(), Dealt()]
    waiting = iter(deals)
    log.share = lambda pipeline: next(waiting)
    plan = Plan(log="test", lake=str(tmp_path / "lake"), processes=0)
    first, second = (Processing.open(plan, log, resources) for _ in range(2))
    assert not first.step()
    assert first.idle()  # there is nothing yet
    log.append(range(60))
    assert not first.idle()  # nothing was dealt yet
    deals[0].mine, deals[1].mine = frozenset({0, 1}), frozenset({2})
    for _ in range(6):
        first.step()
    deals[0].mine, deals[1].mine = frozenset({1}), frozenset({0, 2})
    for _ in range(6):
        second.step()
        first.step()
    deals[0].mine = frozenset({0, 1, 2})  # for a moment both believe that they have them
    for _ in range(40):
        first.step()
        second.step()
    deals[1].mine = frozenset()
    log.append(range(60, 70))
    second.step()
    assert not second.lag()  # of what is its own
    assert not second.idle()  # what others have is not in the lake
    assert "not all of the log partitions [0, 1, 2]" in second.waiting
    _work(first)
    assert set(first.following) == {0, 1, 2}
    assert not second.idle()  # looked up a moment ago
    monkeypatch.setattr(second, "_look_at", 0.0)
    assert second.idle()
    assert not second.waiting
    assert Processing.open(plan, log, resources).idle()  # one that nothing is dealt to has nothing to wait for
    first.close()
    second.close()
    _check(tmp_path / "lake", log, 70)


def test_a_rival_ends_a_worker_whose_partitions_are_its_own_choice(tmp_path: Path, resources: ExitStack) -> None:
    log: Any = GappyLog()
    log.claim = lambda *_: ExitStack()
    log.append(range(10))
    plan = Plan(log="test", lake=str(tmp_path / "lake"), processes=0, partitions=(0,))
    first, second = (Processing.open(plan, log, resources) for _ in range(2))
    _work(first)
    with pytest.raises(ClaimError, match="another worker"):
        _work(second)


def test_a_gap_has_the_tables_columns() -> None:
    done = gap(1, 4, 9)
    assert (done.partition, done.start, done.end, done.records) == (1, 4, 9, 0)
    assert all(rows.num_rows == 0 for rows in done.rows.values())
    assert set(done.rows) == set(schema.STREAMED) - {"posts"}
