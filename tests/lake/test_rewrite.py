"""Merging files and taking rows out of them: nothing changes but the files, and rivals give way."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.lake.building import NOON, Builder, post, withdrawal

from feltwire import schema
from feltwire.lake import rewrite
from feltwire.lake.append import position
from feltwire.lake.maintain import Maintainer, vacuum
from feltwire.lake.rewrite import File
from feltwire.lake.tables import FILES_ID, open_table


@pytest.fixture
def built(tmp_path: Path) -> Builder:
    return Builder(tmp_path / "lake", partitions=2)


def merge(built: Builder, table: str) -> bool:
    """Put the files of a table, of one partition of the log where it has any, into one."""
    handle = open_table(built.lake.location, table)
    files = rewrite.list_files(handle, table)
    partitions = [file.log_partition for file in files]
    files = [file for file in files if file.log_partition == max(partitions, key=partitions.count)]
    return rewrite.merge(built.lake.location, table, handle, files, now=built.now)


def content(built: Builder, table: str) -> list[dict[str, Any]]:
    """A table's rows; of sums, added up."""
    if table not in rewrite.SUMMED:
        rows: list[dict[str, Any]] = built.lake.sql(f"select * from {table}_all").to_pylist()
        return sorted(rows, key=lambda row: (row["log_partition"], row["log_offset"]))
    columns = rewrite.SUMMED[table]
    keys = [name for name in columns.names if name not in (*schema.SUMS, *schema.P_SUMS, *schema.LEDGER_COUNTS)]
    sums = ", ".join(f"sum({name}) {name}" for name in columns.names if name not in keys)
    by = ", ".join(keys)
    found: list[dict[str, Any]] = built.lake.sql(
        f"select {by}, {sums} from {table} group by {by} order by {by}"
    ).to_pylist()
    return found


@pytest.mark.parametrize("table", schema.STREAMED)
def test_merging_changes_files_alone(built: Builder, table: str) -> None:
    for n in range(0, 9, 3):
        built.store(post(n, "good #tag"), post(n + 1, None), post(n + 2, "bad #tag"), withdrawal(n))  # type: ignore[arg-type]
    before, positions = content(built, table), built.lake.positions()
    files = built.lake.sizes()[table]["files"]
    assert merge(built, table)
    assert built.lake.sizes()[table]["files"] < files
    assert content(built, table) == before
    assert built.lake.positions() == positions
    assert position(open_table(built.lake.location, table), FILES_ID) == 1
    built.store(post(100))  # the worker's handles, opened before, go on
    assert built.lake.sql("select sum(n) n from windows where track = '*'")["n"].to_pylist() == [7]


def test_a_merged_file_of_posts_holds_one_partition_in_order(built: Builder) -> None:
    for n in range(0, 12, 4):
        built.store(*(post(i) for i in range(n, n + 4)))
    location = built.lake.location
    for partition in range(2):
        handle = open_table(location, "posts")
        files = [file for file in rewrite.list_files(handle, "posts") if file.log_partition == partition]
        assert rewrite.merge(location, "posts", handle, files, now=NOON)
    for file in rewrite.list_files(open_table(location, "posts"), "posts"):
        rows = pa.Table.from_batches(location.read("posts", file.name))
        assert set(rows["log_partition"].to_pylist()) == {file.log_partition}
        offsets = rows["log_offset"].to_pylist()
        assert offsets == sorted(offsets)
        assert (file.rows, file.first, file.last) == (len(offsets), offsets[0], offsets[-1])
        assert file.newest == max(rows["ingested_at"].to_pylist())


def test_two_maintainers_merge_once(built: Builder) -> None:
    for n in range(4):
        built.store(post(n))
    location = built.lake.location
    first, second = (open_table(location, "windows") for _ in range(2))
    files = rewrite.list_files(first, "windows")
    assert rewrite.merge(location, "windows", first, files, now=NOON)
    assert not rewrite.merge(location, "windows", second, files, now=NOON)
    assert not rewrite.merge(location, "windows", second, files[:2], now=NOON)
    assert built.mood() == [("*", 4, 0, 4)]


def test_a_merge_beside_appends(built: Builder) -> None:
    """A merge that began before other commits landed takes nothing from them."""
    for n in range(4):
        built.store(post(n))
    location = built.lake.location
    handle = open_table(location, "posts")
    files = rewrite.list_files(handle, "posts")
    built.store(post(10))
    partition = files[0].log_partition
    assert rewrite.merge(location, "posts", handle, [f for f in files if f.log_partition == partition], now=NOON)
    assert len(built.ids()) == 5


def test_a_merge_is_no_change_of_data(built: Builder) -> None:
    for n in range(3):
        built.store(post(n))
    assert merge(built, "windows")
    entries = sorted((Path(built.lake.location.path) / "windows" / "_delta_log").glob("*.json"))
    assert '"dataChange":false' in entries[-1].read_text()
    assert '"dataChange":true' not in entries[-1].read_text()


def test_dropping_rows(built: Builder) -> None:
    built.store(*(post(n) for n in range(10)))
    location = built.lake.location
    rows = built.lake.sql("select id, log_partition, log_offset from posts order by id").to_pylist()
    handle, rival = (open_table(location, "posts") for _ in range(2))
    gone = [row for row in rows if row["log_partition"] == 1]
    offsets = {1: [row["log_offset"] for row in gone]}
    assert rewrite.drop_rows(location, "posts", handle, offsets, {"x": 1})
    assert built.ids() == [row["id"] for row in rows if row not in gone]
    assert {file.log_partition for file in rewrite.list_files(open_table(location, "posts"), "posts")} == {0}
    assert not rewrite.drop_rows(location, "posts", rival, offsets, {"x": 1})
    assert rewrite.drop_rows(location, "posts", open_table(location, "posts"), {0: [10_000]}, {"x": 2})
    handle = open_table(location, "posts")
    assert (position(handle, "x"), position(handle, FILES_ID)) == (2, 1)


def file(n: int, size: int, *, folder: str = "day=2026-03-01/", partition: int | None = 0, rows: int = 10) -> File:
    return File(f"{n:05}", size, rows, folder, partition, n * 10, n * 10 + 9, None)


def test_small_neighbours_are_chosen_in_the_order_of_the_log() -> None:
    fan_in = rewrite.FAN_IN
    few = [file(n, 100) for n in range(fan_in - 1)]
    assert rewrite.choose(few, "posts") == []
    enough = [file(n, 100) for n in range(fan_in)]
    assert rewrite.choose(enough, "posts") == enough
    large = file(3, 500 * 2**20)
    parted = [*enough[:3], large, *(file(n, 100) for n in range(4, fan_in + 4))]
    assert rewrite.choose(parted, "posts") == parted[4:]
    mixed = [file(n, 100, partition=n % 2) for n in range(2 * fan_in - 2)]
    assert rewrite.choose(mixed, "posts") == []


def test_a_day_that_is_over_is_put_together_from_fewer_files() -> None:
    over = [file(n, 100, folder="day=2026-02-28/") for n in range(rewrite.FAN_IN // 4)]
    assert rewrite.choose([*over, file(99, 100)], "posts") == over


def test_merging_ends() -> None:
    """However many small files come, each row is rewritten a few times only, and then left alone."""
    files: list[File] = []
    rewritten = 0
    for n in range(5_000):
        files.append(file(n, 20_000))
        while chosen := rewrite.choose(files, "posts"):
            size = sum(each.size for each in chosen)
            rewritten += len(chosen)
            files = [each for each in files if each not in chosen]
            joined = File(f"j{n}-{rewritten}", size, 0, chosen[0].folder, 0, chosen[0].first, chosen[-1].last, None)
            files = sorted([*files, joined], key=lambda each: each.first)
    assert len(files) < 5 * rewrite.FAN_IN
    assert rewritten < 2 * 5_000


def test_sums_are_chosen_by_their_rows() -> None:
    fan_in = rewrite.FAN_IN
    sums = [file(n, 10**6, partition=None, folder="", rows=50 + n) for n in range(fan_in)]
    assert rewrite.choose(sums[:-1], "windows") == []
    assert rewrite.choose(list(reversed(sums)), "windows") == sums
    huge = file(0, 10**9, partition=None, folder="", rows=10**7)
    assert rewrite.choose([huge] * 100, "terms") == []


def test_old_terms_become_hours_and_the_rarest_one() -> None:
    old, young = NOON - timedelta(hours=60), NOON
    keys = {"track": "*", "source": "x", "lang": "en", "kind": "hashtag"}
    counts = {"n": 1, "n_negative": 1, "n_positive": 0}
    rows = [
        {**keys, "minute": old + timedelta(minutes=m), "term": term, **counts}
        for m, terms in enumerate((["often", "rare"], ["often", "once"], ["often"]))
        for term in terms
    ]
    rows.append({**keys, "minute": young, "term": "rare", **counts})
    batch = pa.RecordBatch.from_pylist(rows, schema=schema.TERMS)
    folded = rewrite.fold_old_terms(batch, before=NOON - rewrite.KEEP_MINUTES).to_pylist()
    found = {(row["minute"], row["term"]): (row["n"], row["n_negative"]) for row in folded}
    assert found == {(old, "often"): (3, 3), (old, rewrite.OTHER): (2, 2), (young, "rare"): (1, 1)}


def test_a_withdrawn_term_that_was_folded_keeps_the_totals() -> None:
    """What was rare and is taken back is taken from what the rare ones became."""
    row = {
        "minute": NOON,
        "track": "*",
        "source": "x",
        "lang": "en",
        "kind": "hashtag",
        "n_negative": 0,
        "n_positive": 0,
    }
    later = NOON + timedelta(days=3)
    there = pa.RecordBatch.from_pylist(
        [{**row, "term": "a", "n": 1}, {**row, "term": "b", "n": 1}], schema=schema.TERMS
    )
    folded = rewrite.fold_old_terms(there, before=later)
    taken = pa.RecordBatch.from_pylist([{**row, "term": "a", "n": -1}], schema=schema.TERMS)
    both = pa.concat_batches([folded, taken])
    assert [(r["term"], r["n"]) for r in rewrite.fold_old_terms(both, before=later).to_pylist()] == [("other", 1)]


def test_a_maintainer_tidies_up(built: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feltwire.lake.maintain.CHECKPOINT_EVERY", 5)
    monkeypatch.setattr(rewrite, "FAN_IN", 4)
    for n in range(7):
        built.store(post(n, "good #tag"), withdrawal(n - 1))
    account = content(built, "ledger")
    maintainer = Maintainer(built.lake.location, built.owner, clock=lambda: built.now, withdraw_every_s=0.0)
    visible = built.ids()
    maintainer.tick()
    sizes = built.lake.sizes()
    assert content(built, "ledger") == account
    assert sizes["windows"]["files"] < 6
    assert built.ids() == visible == built.ids("posts_all")
    assert built.mood() == [("*", 1, 0, 1)]
    assert list((Path(built.lake.location.path) / "posts" / "_delta_log").glob("*.checkpoint.parquet"))


def test_an_error_of_one_table_does_not_keep_the_others_waiting(
    built: Builder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rewrite, "FAN_IN", 4)
    for n in range(5):
        built.store(post(n))
    (Path(built.lake.location.path) / "dead_letters").rename(Path(built.lake.location.path) / "away")
    Maintainer(built.lake.location, built.owner).tick()
    assert "tidying dead_letters failed" in caplog.text
    assert len(rewrite.list_files(open_table(built.lake.location, "windows"), "windows")) < 5


def test_vacuum_deletes_what_left_the_table(built: Builder) -> None:
    for n in range(4):
        built.store(post(n))
    orphan = built.lake.location.write("posts", [], rewrite.file_schema("posts"), "day=2026-03-01/")
    assert merge(built, "windows")
    handle = open_table(built.lake.location, "windows")
    assert vacuum(handle, retention_h=1) == []
    assert len(vacuum(handle, retention_h=0)) == 4
    assert built.mood() == [("*", 4, 0, 4)]
    with pytest.raises(ValueError, match="24 h"):
        vacuum(open_table(built.lake.location, "posts"), retention_h=1, full=True)
    assert vacuum(open_table(built.lake.location, "posts"), retention_h=0) == []
    assert (Path(built.lake.location.path) / "posts" / orphan.name).exists()
