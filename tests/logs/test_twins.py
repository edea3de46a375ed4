"""The SQLite log, opened twice and reopened at will, answers as its in-memory twin does."""

from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feltwire.errors import FeltwireError
from feltwire.logs.memory import MemoryLog
from feltwire.logs.sqlite import Options, SqliteLog
from feltwire.schema import EDIT, POST, WITHDRAWAL, records

RECORDS = st.one_of(
    st.tuples(st.sampled_from([POST, EDIT, WITHDRAWAL]), st.integers(0, 12), st.integers(0, 1)),
    st.tuples(st.just("account"), st.integers(0, 2), st.integers(0, 1)),
)
NAMES = st.sampled_from(["p", "q"])
STEPS = st.one_of(
    st.tuples(st.just("append"), st.integers(0, 1), st.lists(RECORDS, max_size=8)),
    st.tuples(st.just("append"), st.integers(0, 1), st.lists(RECORDS, max_size=8)),
    st.tuples(st.just("reopen"), st.integers(0, 1)),
    st.tuples(st.just("wait"), st.sampled_from([0.001, 100.0])),  # far less, or far more, than is remembered
    st.tuples(st.just("register"), NAMES, st.integers(0, 2), st.integers(0, 20)),
    st.tuples(st.just("unregister"), NAMES),
    st.tuples(st.just("trim")),
    st.tuples(st.just("read"), st.integers(0, 2), st.integers(0, 25), st.integers(1, 9)),
)


def batch(drawn: list[tuple[str, int, int]]) -> pa.RecordBatch:
    rows: list[dict[str, object]] = []
    for kind, number, revision in drawn:
        if kind == "account":
            at = datetime(2026, 1, 1, tzinfo=UTC) if revision else None
            rows.append({"kind": WITHDRAWAL, "source": "x", "author_id": f"a{number}", "created_at": at})
        else:
            rows.append({"kind": kind, "source": "x", "id": f"x:{number}", "revision": revision})
    return records(rows)


def answer(log: MemoryLog | SqliteLog, step: tuple[Any, ...]) -> object:
    """What the log says to a step; of an error, its type."""
    said: object = None
    try:
        match step:
            case ("append", source, drawn):
                said = log.append(batch(drawn), source=f"s{source}", cursor={"n": len(drawn)})
            case ("register", name, partition, offset):
                log.register(name, {partition: offset})
            case ("unregister", name):
                log.unregister(name)
            case ("trim",):
                said = log.trim()
            case ("read", partition, after, most):
                said = log.read(partition, after, most).to_pylist()
    except FeltwireError as error:
        said = type(error)
    return said


@pytest.mark.slow
@given(steps=st.lists(STEPS, max_size=30), partitions=st.integers(1, 2))
@settings(max_examples=60)
def test_the_twins_agree(
    steps: list[tuple[Any, ...]], partitions: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("twin") / "log.db"
    waited = [datetime(2026, 3, 1, tzinfo=UTC)]

    def clock() -> datetime:
        return waited[-1]

    options = Options(partitions=partitions, retention_h=48, recent_h=24)
    twin = MemoryLog(options, clock=clock)
    with ExitStack() as stack:
        logs = [stack.enter_context(SqliteLog(path, options, clock=clock)) for _ in range(2)]
        for number, step in enumerate(steps):
            if step[0] == "wait":
                waited.append(clock() + timedelta(hours=step[1]))
            elif step[0] == "reopen":
                logs[step[1]].close()
                logs[step[1]] = stack.enter_context(SqliteLog(path, options, clock=clock))
            else:
                log = logs[step[1] if step[0] == "append" else number % 2]
                assert answer(log, step) == answer(twin, step)
        for log in logs:
            assert (log.begins(), log.ends(), log.positions()) == (twin.begins(), twin.ends(), twin.positions())
            assert log.tail(100).equals(twin.tail(100))
            assert [log.backlog(name) for name in "pq"] == [twin.backlog(name) for name in "pq"]
            ours, theirs = log.stats(), twin.stats()
            assert all(ours[key] == theirs[key] for key in ("records", "partitions", "pipelines", "sources"))
