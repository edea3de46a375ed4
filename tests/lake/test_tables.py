"""Whose lake it is, and of which schema version."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.transaction import AddAction, RemoveAction
from tests.lake.building import NOON, Builder, post, withdrawal

from feltwire import schema
from feltwire.errors import ConfigError, LakeError, PositionError, SchemaError
from feltwire.lake import Owner, create_lake, open_lake, rewrite
from feltwire.lake.storage import PARTITIONED, STATS, Location
from feltwire.lake.tables import check_schema, migrate, open_table, read_positions

OWNER = Owner("main", "log-1", 2)
NEW = ("links", "emoji_used")  # the columns of `posts` that the older lake below has not


def describe(location: Location, table: str, **changes: Any) -> None:
    handle = open_table(location, table)
    described = json.loads(handle.metadata().description or "{}") | changes
    handle.alter.set_table_description(json.dumps(described))


def columns(location: Location, table: str) -> list[str]:
    return [column.name for column in open_table(location, table).schema().fields]


def test_a_lake_has_every_table(tmp_path: Path) -> None:
    lake = create_lake(str(tmp_path / "lake"), OWNER)
    for table, wanted in schema.TABLES.items():
        handle = open_table(lake.location, table)
        assert [column.name for column in handle.schema().fields] == wanted.names
        assert handle.metadata().partition_columns == ([PARTITIONED[table]] if table in PARTITIONED else [])
        configuration = handle.metadata().configuration
        assert configuration["delta.dataSkippingStatsColumns"] == ",".join(STATS[table])
        assert "delta.setTransactionRetentionDuration" not in configuration
    assert lake.sizes()["posts"]["rows"] == 0
    assert open_lake(str(tmp_path / "lake")).owner == OWNER


def test_opening_again_changes_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "lake")
    before = create_lake(path, OWNER).sizes()
    assert create_lake(path, OWNER).sizes() == before
    assert open_lake(path).sizes() == before


@pytest.mark.parametrize("other", [Owner("main", "log-2", 2), Owner("second", "log-1", 2)])
def test_a_lake_of_another_pipeline_or_log_is_refused(tmp_path: Path, other: Owner) -> None:
    create_lake(str(tmp_path / "lake"), OWNER)
    with pytest.raises(PositionError, match="belongs to pipeline 'main' over log log-1"):
        create_lake(str(tmp_path / "lake"), other)
    assert open_lake(str(tmp_path / "lake")).owner == OWNER


def test_a_lake_of_another_is_not_completed(tmp_path: Path) -> None:
    """A table that is lacking is not made in somebody else's name."""
    lake = create_lake(str(tmp_path / "lake"), OWNER)
    moved = tmp_path / "corrections"
    (tmp_path / "lake" / "corrections").rename(moved)
    with pytest.raises(PositionError):
        create_lake(str(tmp_path / "lake"), Owner("second", "log-1", 2))
    assert not (tmp_path / "lake" / "corrections").exists()
    create_lake(str(tmp_path / "lake"), OWNER)
    assert lake.sizes()["corrections"]["version"] == 0


def test_more_partitions_than_before_are_noted(tmp_path: Path) -> None:
    path = str(tmp_path / "lake")
    create_lake(path, Owner("main", "log-1", 1))
    lake = create_lake(path, Owner("main", "log-1", 3))
    assert open_lake(path).owner.partitions == 3
    assert create_lake(path, Owner("main", "log-1", 2)).location == lake.location
    assert open_lake(path).owner.partitions == 3


def test_no_lake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no lake"):
        open_lake(str(tmp_path / "nothing"))
    with pytest.raises(LakeError):
        open_table(Location(str(tmp_path / "nothing")), "posts")


@pytest.mark.parametrize("description", [None, "mine", "[]", '{"pipeline": "main"}'])
def test_a_table_that_feltwire_did_not_make(tmp_path: Path, description: str | None) -> None:
    write_deltalake(str(tmp_path / "posts"), pa.table({"a": [1]}), description=description)
    with pytest.raises(ConfigError, match="not made by Feltwire"):
        open_lake(str(tmp_path))


def test_a_newer_lake_is_refused(tmp_path: Path) -> None:
    lake = create_lake(str(tmp_path / "lake"), OWNER)
    describe(lake.location, "terms", schema=schema.VERSION + 1)
    with pytest.raises(SchemaError, match="use a newer Feltwire"):
        open_lake(lake.location.path)
    with pytest.raises(SchemaError, match="use a newer Feltwire"):
        create_lake(lake.location.path, OWNER)


def test_a_column_of_another_type_is_refused(tmp_path: Path) -> None:
    lake = create_lake(str(tmp_path / "lake"), OWNER)
    changed = schema.TERMS.set(schema.TERMS.get_field_index("n"), pa.field("n", pa.string()))
    described = open_table(lake.location, "terms").metadata().description
    DeltaTable.create(lake.location.uri("terms"), changed, mode="overwrite", description=described)
    with pytest.raises(SchemaError, match=r"column terms\.n is"):
        open_lake(lake.location.path)
    with pytest.raises(SchemaError, match=r"column terms\.n is"):
        check_schema(open_table(lake.location, "terms"), "terms")


def older(built: Builder, path: Path) -> Builder:
    """A copy of a lake as an older version would have left it: `posts` lacks some columns, no table has a version."""
    location = Location(str(path))
    described = json.dumps({"pipeline": built.owner.pipeline, "log": built.owner.log})
    for table, wanted in schema.TABLES.items():
        known = pa.schema([column for column in wanted if column.name not in NEW])
        stats = {"delta.dataSkippingStatsColumns": ",".join(STATS[table])}
        partition_by = PARTITIONED.get(table)
        handle = DeltaTable.create(
            location.uri(table), known, partition_by=partition_by, description=described, configuration=stats
        )
        source = open_table(built.lake.location, table)
        moves = {built.owner.position_id(0): read_positions(source, built.owner).get(0, 0)}
        in_files = pa.schema([column for column in known if column.name != partition_by])
        actions: list[AddAction | RemoveAction] = [
            location.write(
                table,
                [schema.conform(batch, in_files) for batch in built.lake.location.read(table, file.name)],
                in_files,
                file.folder,
            ).action()
            for file in rewrite.list_files(source, table)
        ]
        transactions = CommitProperties(app_transactions=[Transaction(*move) for move in moves.items()])
        handle.create_write_transaction(
            actions, "append", known, partition_by=partition_by, commit_properties=transactions
        )
    return Builder(path, given=built.log)


def test_an_older_lake_gains_the_new_columns(tmp_path: Path) -> None:
    built = Builder(tmp_path / "new")
    built.store(post(1, "good https://example.org/a"), post(2, "bad 😡"))
    old = older(built, tmp_path / "old")
    assert set(old.lake.sql("select * from posts").schema.names) == set(schema.POSTS.names)
    assert old.lake.sql("select links, emoji_used from posts").to_pylist() == [{"links": None, "emoji_used": None}] * 2
    for table in schema.TABLES:
        described = json.loads(open_table(old.lake.location, table).metadata().description or "")
        assert described["schema"] == schema.VERSION
    assert migrate(old.lake.location) == []

    old.store(post(3, "good https://example.org/b"), withdrawal(1))
    assert old.ids() == ["x:2", "x:3"]
    assert old.mood() == [("*", 3, 1, 2)]  # its removal is still to come
    posts, _, _ = old.lake.changes({}, 10)
    assert posts.schema == schema.POSTS
    assert posts["links"].to_pylist() == [None, ["https://example.org/b"]]


def test_older_and_newer_files_merge(tmp_path: Path) -> None:
    built = Builder(tmp_path / "new")
    for n in range(3):
        built.store(post(n, "good #tag"))
    old = older(built, tmp_path / "old")
    old.store(post(3, "good #tag https://example.org/b"))
    for table in ("posts", "terms"):
        handle = open_table(old.lake.location, table)
        files = rewrite.list_files(handle, table)
        assert len(files) == 4
        assert rewrite.merge(old.lake.location, table, handle, files, now=NOON)
        assert len(rewrite.list_files(open_table(old.lake.location, table), table)) == 1
    links = old.lake.sql("select links from posts order by log_offset")["links"].to_pylist()
    assert links == [None, None, None, ["https://example.org/b"]]
    terms = old.lake.terms(kind="hashtag").to_pylist()
    assert [(row["term"], row["n"]) for row in terms] == [("tag", 4)]


def test_a_lake_that_waits_for_its_migration_takes_nothing(tmp_path: Path) -> None:
    """A worker that meets an older table in the middle of its work says so, and writes nothing."""
    built = Builder(tmp_path / "new")
    old = older(built, tmp_path / "old").lake.location
    known = pa.schema([column for column in schema.POSTS if column.name not in NEW])
    described = open_table(old, "posts").metadata().description
    handle = DeltaTable.create(old.uri("posts"), known, mode="overwrite", partition_by=["day"], description=described)
    with pytest.raises(SchemaError, match="lacks the columns links, emoji_used"):
        check_schema(handle, "posts")
