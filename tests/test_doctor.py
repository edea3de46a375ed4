"""The doctor: silent over a whole lake, and it finds each kind of damage."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from tests.engines.stream import Story, file_source

from feltwire import doctor, schema
from feltwire.engines import local
from feltwire.errors import LakeError
from feltwire.lake import Lake, open_lake
from feltwire.lake.append import write_transaction
from feltwire.lake.reader import Snapshot, one_batch
from feltwire.lake.rewrite import file_schema, list_files, replace
from feltwire.lake.tables import open_table
from feltwire.lake.withdraw import remove_withdrawn
from feltwire.logs.sqlite import Options, SqliteLog
from feltwire.plan import Plan, SourcePlan


def make(folder: Path, story: Story, *others: str) -> Path:
    """A folder with a lake of three batches and its log."""
    inbox = folder / "inbox"
    inbox.mkdir()
    (inbox / "more.jsonl").write_text("".join(f"{line}\n" for line in others))
    for number in range(3):
        story.write(inbox / f"{number}.jsonl", 100)
        source = SourcePlan(**file_source(inbox))
        log, lake = f"sqlite:{folder / 'log.db'}", str(folder / "lake")
        local.run(Plan(log=log, lake=lake, sources=(source,), until_idle=True, processes=0), stop=Event())
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("whole"), Story(5))


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without a withdrawal or an edit, so that nothing may be missing."""
    return make(tmp_path_factory.mktemp("calm"), Story(6, mess=0.0), '{"text": "cut o', "[]")


@pytest.fixture
def lake(whole: Path, tmp_path: Path) -> Lake:
    """A copy to be damaged."""
    shutil.copytree(whole / "lake", tmp_path / "lake")
    return open_lake(str(tmp_path / "lake"))


@pytest.fixture
def calm_lake(calm: Path, tmp_path: Path) -> Lake:
    """A copy of the calm one to be damaged."""
    shutil.copytree(calm / "lake", tmp_path / "calm")
    return open_lake(str(tmp_path / "calm"))


@pytest.fixture
def log(whole: Path, tmp_path: Path) -> Iterator[SqliteLog]:
    """A copy of the lake's log."""
    for path in whole.glob("log.db*"):
        if path.is_file():
            shutil.copy(path, tmp_path)
    with SqliteLog(tmp_path / "log.db", Options()) as opened:
        yield opened


def failing(lake: Lake, log: SqliteLog | None = None) -> dict[str, str]:
    """{what the doctor finds wrong: its words}."""
    return {finding.name: finding.detail for finding in doctor.examine(lake, log) if not finding.ok}


def append(lake: Lake, table: str, rows: pa.RecordBatch, folder: str = "") -> None:
    """Rows that no engine wrote."""
    file = lake.location.write(table, [rows], rows.schema, folder)
    write_transaction(open_table(lake.location, table), table, [file.action()], {})


def test_a_whole_lake(lake: Lake, log: SqliteLog) -> None:
    assert failing(lake, log) == {}
    names = [finding.name for finding in doctor.examine(lake, log)]
    assert names == [finding.name for finding in doctor.examine(lake)] + [
        "the log is the lake's",
        *(f"{table} within the log" for table in schema.STREAMED),
    ]


def test_a_whole_lake_without_its_withdrawn_posts(lake: Lake, log: SqliteLog) -> None:
    assert remove_withdrawn(lake.location, lake.owner) > 0
    assert failing(lake, log) == {}


def test_an_empty_lake(tmp_path: Path) -> None:
    plan = Plan(log=f"sqlite:{tmp_path / 'log.db'}", lake=str(tmp_path / "lake"), until_idle=True, processes=0)
    local.run(plan, stop=Event())
    with SqliteLog(tmp_path / "log.db", Options()) as log:
        assert failing(open_lake(str(tmp_path / "lake")), log) == {}


def test_a_doubled_file_of_posts(lake: Lake) -> None:
    handle = open_table(lake.location, "posts")
    file = list_files(handle, "posts")[0]
    rows = one_batch([pa.Table.from_batches(lake.location.read("posts", file.name))], file_schema("posts"))
    append(lake, "posts", rows, file.folder)
    found = failing(lake)
    assert {"posts are unique", "windows equal a recompute", "posts match the ledger"} <= found.keys()
    assert "file:p" in found["posts are unique"]


@pytest.mark.parametrize("table", ["posts", "windows", "ledger"])
def test_a_missing_file(lake: Lake, table: str) -> None:
    name = list_files(open_table(lake.location, table), table)[0].name
    (Path(lake.location.path) / table / name).unlink()
    with pytest.raises((LakeError, pa.ArrowException), match=name):
        doctor.examine(lake)


@pytest.mark.parametrize("table", ["scores", "corrections"])
def test_a_missing_file_that_no_sum_reads(lake: Lake, table: str) -> None:
    append(lake, table, schema.records([{"at": None}], schema.TABLES[table]))
    name = list_files(open_table(lake.location, table), table)[0].name
    (Path(lake.location.path) / table / name).unlink()
    found = failing(lake)
    assert list(found) == ["every file is there"]
    assert name in found["every file is there"]


def test_a_file_that_is_cut_off(lake: Lake) -> None:
    append(lake, "scores", schema.records([{"id": "file:p1"}], schema.SCORES_TABLE))
    path = Path(lake.location.path) / "scores" / list_files(open_table(lake.location, "scores"), "scores")[0].name
    path.write_bytes(path.read_bytes()[:-7])
    assert "1 missing or cut off" in failing(lake)["every file is there"]


def _ledger_row(lake: Lake) -> dict[str, object]:
    row: dict[str, object] = (
        Snapshot(lake.location, lake.owner, ["ledger"]).table("select * from ledger").to_pylist()[0]
    )
    return {**row, **dict.fromkeys(schema.LEDGER_COUNTS, 0)}


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        ({"received": 1}, {"the ledger balances"}),
        ({"received": 1, "kept": 1}, {"posts match the ledger"}),
        ({"received": -1, "kept": -1}, {"posts match the ledger"}),
        ({"received": 1, "dead": 1}, {"dead letters match the ledger"}),
        ({"kept": -1, "dead": 1}, {"posts match the ledger", "dead letters match the ledger"}),
    ],
)
def test_a_ledger_that_is_off_by_one(calm_lake: Lake, wrong: dict[str, int], found: set[str]) -> None:
    assert failing(calm_lake) == {}
    append(calm_lake, "ledger", schema.records([{**_ledger_row(calm_lake), **wrong}], schema.LEDGER))
    assert failing(calm_lake).keys() == found


@pytest.mark.parametrize(
    ("wrong", "found"),
    [({"received": -1, "kept": -1}, "posts match the ledger"), ({"duplicate": 1}, "the ledger balances")],
)
def test_a_ledger_that_is_off_where_posts_were_withdrawn(lake: Lake, wrong: dict[str, int], found: str) -> None:
    append(lake, "ledger", schema.records([{**_ledger_row(lake), **wrong}], schema.LEDGER))
    assert list(failing(lake)) == [found]


@pytest.mark.parametrize("table", ["windows", "terms"])
def test_a_sum_that_is_off(lake: Lake, table: str) -> None:
    row = Snapshot(lake.location, lake.owner, [table]).table(f"select * from {table}_all limit 1").to_pylist()[0]
    columns = schema.TABLES[table]
    row |= {name: 0 for name in row if name.startswith(("n", "sum_"))} | {"n": 1}
    append(lake, table, schema.records([row], columns))
    found = failing(lake)
    assert list(found) == [f"{table} equal a recompute"]
    assert "1 of" in found[f"{table} equal a recompute"]
    assert "first by 1 at" in found[f"{table} equal a recompute"]


def test_a_probability_that_is_off_by_the_last_bit(lake: Lake) -> None:
    handle = open_table(lake.location, "windows")
    file = list_files(handle, "windows")[0]
    rows = one_batch([pa.Table.from_batches(lake.location.read("windows", file.name))], schema.WINDOWS)
    index = schema.WINDOWS.get_field_index("sum_p_positive")
    nudged = pc.add(rows.column(index), 2.0**-20)
    rows = rows.set_column(index, schema.WINDOWS.field(index), nudged)
    written = lake.location.write("windows", [rows], schema.WINDOWS)
    assert replace(handle, "windows", [file], [written], {}, data_change=True)
    assert list(failing(lake)) == ["windows equal a recompute"]


def test_another_log(lake: Lake, tmp_path: Path) -> None:
    with SqliteLog(tmp_path / "other.db", Options()) as other:
        assert list(failing(lake, other)) == ["the log is the lake's"]


@pytest.mark.parametrize("table", schema.STREAMED)
def test_a_table_past_the_logs_end(lake: Lake, log: SqliteLog, table: str) -> None:
    move = {lake.owner.position_id(0): log.ends()[0] + 1}
    write_transaction(open_table(lake.location, table), table, [], move)
    assert "past the log's end in partitions [0]" in failing(lake, log)[f"{table} within the log"]
