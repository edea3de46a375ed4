"""Two workers on one lake, and a lake that contradicts its log."""

import multiprocessing
import random
import time
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from tests.lake.building import NOON, Builder, post, withdrawal

from feltwire import schema, windows
from feltwire.engines._commit import Committer
from feltwire.errors import ClaimError, LakeError, PositionError
from feltwire.lake import Owner, create_lake, open_lake
from feltwire.lake.maintain import Maintainer
from feltwire.lake.rewrite import SUMMED
from feltwire.lake.tables import open_table
from feltwire.logs.memory import MemoryLog, Options

PARTITIONS = 2


def check_exact(built: Builder, ids: list[str], dead: list[str]) -> None:
    """Every post once, every dead letter once, all tables at the log's end, and the sums those of the posts."""
    assert built.ids("posts_all") == ids
    assert built.ids("dead_letters") == dead
    ends = {partition: end for partition, end in built.log.ends().items() if end}
    assert built.lake.positions() == dict.fromkeys(schema.STREAMED, ends)
    stored = built.lake.sql("select * from posts_all").to_batches()
    posts = [schema.conform(batch, schema.POSTS) for batch in stored] or [schema.empty(schema.POSTS)]
    for table, sum_up in (("windows", windows.window_sums), ("terms", windows.term_sums)):
        keys = [(key, "ascending") for key in windows.keys_of(SUMMED[table])]
        found = [
            schema.conform(batch, SUMMED[table]) for batch in built.lake.sql(f"select * from {table}").to_batches()
        ]
        expected = windows.merge([sum_up(batch) for batch in posts], SUMMED[table])
        assert windows.merge(found, SUMMED[table]).sort_by(keys) == expected.sort_by(keys)
    for row in built.lake.ledger().to_pylist():
        assert row["received"] == row["kept"] + row["duplicate"] + row["filtered"] + row["dead"]
    assert sum(row["received"] for row in built.lake.ledger().to_pylist()) == len(ids) + len(dead)


@pytest.mark.parametrize("fails_on", ["", "bad"])
@pytest.mark.parametrize("rows", [4, 2, 1000])
def test_the_second_worker_is_refused_at_its_first_commit(tmp_path: Path, rows: int, fails_on: str) -> None:
    """Whatever its batches, and whatever its model fails on, it leaves nothing behind."""
    built = Builder(tmp_path / "lake")
    first, second = built.worker(), built.worker()
    built.append(*(post(n, "good #a" if n % 2 else "bad #b") for n in range(6)))
    batch = built.work(second, max_rows=rows, fails_on=fails_on)
    first.commit(built.work(first, max_rows=4))
    with pytest.raises(ClaimError, match="another worker"):
        second.commit(batch)
    first.commit(built.work(first))
    first.rest()
    second.rest()
    check_exact(built, [f"x:{n}" for n in range(6)], [])
    with pytest.raises(ClaimError):
        second.commit(built.work(second))


def test_the_one_that_commits_first_has_the_batch(tmp_path: Path) -> None:
    """A rival that began between two commits of a batch goes on from there, and the first one leaves."""
    built = Builder(tmp_path / "lake")
    built.append(*(post(n, "good #a") for n in range(4)), post(4, "bad"))
    first = built.worker()
    done = built.work(first)
    real = DeltaTable.create_write_transaction
    with pytest.MonkeyPatch.context() as patch:

        def beside(handle: DeltaTable, *args: object, **kwargs: object) -> None:
            real(handle, *args, **kwargs)  # type: ignore[arg-type]
            if handle.table_uri.rstrip("/").endswith("/posts"):
                patch.setattr(DeltaTable, "create_write_transaction", real)
                second = built.worker()
                second.commit(built.work(second) or [])

        patch.setattr(DeltaTable, "create_write_transaction", beside)
        with pytest.raises(ClaimError):
            first.commit(done)
    first.rest()
    check_exact(built, [f"x:{n}" for n in range(5)], [])


@pytest.mark.slow
def test_a_worker_that_stopped_half_way_is_not_rested_over(tmp_path: Path) -> None:
    """Its sums are still to come: levelling has to find their place as it was."""
    for table in schema.STREAMED:
        built = Builder(tmp_path / table)
        built.append(*(post(n, "good #a") for n in range(4)), post(4, "bad #b"), withdrawal(9))
        worker = built.worker()
        done = built.work(worker, fails_on="bad")
        real = DeltaTable.create_write_transaction
        with pytest.MonkeyPatch.context() as patch:

            def failing(
                handle: DeltaTable, *args: object, _table: str = table, _real: Any = real, **kwargs: object
            ) -> None:
                if handle.table_uri.rstrip("/").endswith(f"/{_table}"):
                    raise OSError("disk full")
                _real(handle, *args, **kwargs)

            patch.setattr(DeltaTable, "create_write_transaction", failing)
            with pytest.raises(Exception, match="disk full"):
                worker.commit(done)
        worker.rest()
        successor = built.worker()
        successor.commit(built.work(successor) or [])
        successor.rest()
        dead = ["x:4"] if table != "dead_letters" else []
        kept = [f"x:{n}" for n in range(5) if f"x:{n}" not in dead]
        check_exact(built, kept, dead)


@pytest.mark.slow
def test_a_commit_goes_on_where_it_stopped(tmp_path: Path) -> None:
    for table in schema.STREAMED:
        built = Builder(tmp_path / table / "lake")
        built.append(*(post(n, "good #a") for n in range(4)), post(4, "bad #b"), withdrawal(9))
        worker = built.worker()
        done = built.work(worker, fails_on="bad")
        folder, away = tmp_path / table / "lake" / table, tmp_path / "away"
        folder.rename(away)
        with pytest.raises((LakeError, OSError)):
            worker.commit(done)
        away.rename(folder)
        worker.commit(done)
        worker.rest()
        check_exact(built, [f"x:{n}" for n in range(4)], ["x:4"])


# A lake and a log that contradict each other


def test_a_position_past_the_end_of_the_log(tmp_path: Path) -> None:
    built = Builder(tmp_path / "lake")
    built.store(post(1), post(2), post(3))
    shorter = Builder(tmp_path / "other").log
    shorter.identity = built.log.identity
    shorter.append(schema.records([post(1)]), source="x", cursor=None)
    with pytest.raises(PositionError, match="the log was cut, or this is not the lake's log"):
        Committer(built.lake, shorter, [0])


def test_posts_without_a_position(tmp_path: Path) -> None:
    """What `restore()` or an overwrite leave behind."""
    built = Builder(tmp_path / "lake")
    built.append(post(1))
    (done,) = built.work()
    handle = open_table(built.lake.location, "posts")
    handle.create_write_transaction(
        [file.action() for file in done.written], "append", schema.POSTS, partition_by=["day"]
    )
    with pytest.raises(PositionError, match="no position in it: it was restored or overwritten"):
        built.worker()


def test_posts_that_a_rival_has_just_brought_are_no_contradiction(tmp_path: Path) -> None:
    built = Builder(tmp_path / "lake")
    built.append(post(1))
    real = Committer._check_against_log

    def late(committer: Committer) -> None:
        built.drain()
        real(committer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Committer, "_check_against_log", late)
        rival = Committer(built.lake, built.log, [0])
    assert rival.position("posts", 0) == 0
    with pytest.raises(ClaimError):
        rival.commit(built.work(rival))


# Two processes


def _fill(path: Path, identity: str, posts: int, partition: int | None = None) -> Builder:
    """The same log in every process."""
    log = MemoryLog(Options(partitions=PARTITIONS), clock=lambda: NOON)
    log.identity = identity
    for start in range(0, posts, 20):
        log.append(schema.records([post(n, "good #a") for n in range(start, start + 20)]), source="x", cursor=None)
    return Builder(path, partitions=PARTITIONS, given=log, worker_of=None if partition is None else [partition])


def _run(path: Path, identity: str, posts: int, partition: int) -> None:
    built = _fill(path, identity, posts, partition)
    maintainer = Maintainer(built.lake.location, built.owner, clock=lambda: NOON, withdraw_every_s=0.0)
    dice = random.Random(partition)
    while done := built.work(max_rows=dice.randint(1, 40)):
        built.committer.commit(done)
        if dice.random() < 0.3:
            maintainer.tick()
    built.committer.rest()


@pytest.mark.slow
def test_two_processes_on_two_partitions_with_maintenance_in_both(tmp_path: Path) -> None:
    path, identity, posts = tmp_path / "lake", "one log", 600
    create_lake(str(path), Owner("main", identity, PARTITIONS))
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_run, args=(path, identity, posts, p)) for p in range(PARTITIONS)]
    for worker in workers:
        worker.start()
    deadline = time.monotonic() + 240
    for worker in workers:
        worker.join(max(1.0, deadline - time.monotonic()))
    assert [worker.exitcode for worker in workers] == [0, 0]
    built = _fill(path, identity, posts)
    check_exact(built, sorted(f"x:{n}" for n in range(posts)), [])
    assert open_lake(str(path)).sizes()["windows"]["files"] < 32
