"""Questions: SQL, what followers follow, and the lake as of a time."""

from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from tests.lake.building import NOON, Builder, edit, post, withdrawal

from feltwire import schema
from feltwire.errors import ConfigError, LakeError, PositionError
from feltwire.interfaces import Position
from feltwire.lake import rewrite
from feltwire.lake.maintain import vacuum
from feltwire.lake.reader import check_reading, literal, tables_of
from feltwire.lake.tables import open_table
from feltwire.lake.withdraw import remove_withdrawn
from feltwire.tracks import Track


@pytest.fixture
def built(tmp_path: Path) -> Builder:
    return Builder(tmp_path / "lake", partitions=2)


@pytest.fixture(scope="module")
def one_post(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    """A lake that is only asked."""
    built = Builder(tmp_path_factory.mktemp("reader") / "lake")
    built.store(post(1))
    return built


READING = (
    "select 1",
    "  SELECT 1;",
    "(select 1) union all (select 2)",
    "with a as (select 1) select * from a",
    "values (1)",
    "explain select 1",
    "explain analyze select 1",
    "explain verbose select 1",
    "describe posts",
)
WRITING = (
    "",
    ";",
    "show tables",
    "drop table posts",
    "create table a as select 1",
    "copy (select 1) to 'a.csv'",
    "insert into posts select * from posts",
    "with a as (select * from corrections) insert into corrections_all select * from a",
    "explain verbose with a as (select 1) insert into corrections_all select * from a",
    "delete from posts",
    "update posts set text = ''",
    "explain analyze copy (select 1) to 'a.csv'",
    "set datafusion.execution.batch_size = 1",
    "-- select\ndrop view posts",
)


@pytest.mark.parametrize("statement", READING)
def test_statements_that_read(one_post: Builder, statement: str) -> None:
    assert check_reading(statement)
    one_post.lake.sql(statement)


@pytest.mark.parametrize("statement", [*WRITING, "select 1; drop table posts"])
def test_statements_that_do_not(one_post: Builder, statement: str) -> None:
    with pytest.raises(ConfigError):
        one_post.lake.sql(statement)
    assert one_post.ids() == ["x:1"]


@pytest.mark.parametrize("statement", ["select nothing from posts", "select * from elsewhere", "select ' from posts"])
def test_bad_sql_is_told_in_datafusions_words(one_post: Builder, statement: str) -> None:
    with pytest.raises(ConfigError, match="SQL: "):
        one_post.lake.sql(statement)


def test_tables_by_name() -> None:
    assert tables_of("select * from Posts p join terms using (lang)") == ["posts", "terms"]
    assert tables_of("select posts_allowed from withdrawn_all") == ["withdrawn"]


@pytest.mark.parametrize("text", ["it's", "' or 1 = 1 --", "a'';b", "\\'"])
def test_literals_are_quoted(one_post: Builder, text: str) -> None:
    found = one_post.lake.sql(f"select {literal(text)} a")
    assert found["a"].to_pylist() == [text]


def test_times_are_literal_to_the_microsecond(one_post: Builder) -> None:
    at = NOON + timedelta(microseconds=1)
    assert one_post.lake.sql(f"select {literal(at)} a")["a"].to_pylist() == [at]


def test_sql_sees_the_lake_as_it_is_when_it_is_asked(built: Builder) -> None:
    built.store(post(1))
    assert built.ids() == ["x:1"]
    built.store(post(2), withdrawal(1))
    assert built.ids() == ["x:2"]
    both = "select p.id, w.id gone from posts_all p left join withdrawn w on w.id = p.id order by 1"
    assert built.lake.sql(both).to_pylist() == [{"id": "x:1", "gone": "x:1"}, {"id": "x:2", "gone": None}]


def test_a_post_without_a_revision_can_be_withdrawn(built: Builder) -> None:
    built.store(post(1, revision=None), post(2))
    built.store(withdrawal(1))
    assert built.ids() == ["x:2"]
    assert remove_withdrawn(built.lake.location, built.owner) == 1
    assert built.ids("posts_all") == ["x:2"]


def test_sums_in_sql_are_those_of_windows_to_the_last_bit(built: Builder) -> None:
    for n in range(3):
        built.store(*(post(10 * n + i, "good" if i % 3 else "bad") for i in range(10)))
    mean = "select sum(cast(p_negative as double)) a, sum(cast(p_mixed as double)) b from posts"
    sums = "select sum(sum_p_negative) a, sum(sum_p_mixed) b from windows where track = '*'"
    assert built.lake.sql(mean).to_pylist() == built.lake.sql(sums).to_pylist()


# What followers follow


def follow(built: Builder, max_posts: int = 3, after: Position | None = None) -> tuple[list[str], list[str], Position]:
    """Ids of posts and of withdrawals, from a position to the end of the lake."""
    position: Position = {} if after is None else after
    posts: list[str] = []
    withdrawn: list[str] = []
    while True:
        batch, gone, reached = built.lake.changes(position, max_posts)
        assert batch.num_rows <= max_posts
        assert batch.schema == schema.POSTS
        assert gone.schema == schema.WITHDRAWN
        posts += batch["id"].to_pylist()
        withdrawn += gone["id"].to_pylist()
        if reached == position:
            return posts, withdrawn, position
        position = reached


def test_a_backfill_and_what_comes_after(built: Builder) -> None:
    built.store(*(post(n) for n in range(10)))
    posts, _, position = follow(built)
    assert sorted(posts) == sorted(f"x:{n}" for n in range(10))
    assert position == built.lake.positions()["posts"] == built.log.ends()
    built.store(post(10), withdrawal(3))
    assert follow(built, after=position)[:2] == (["x:10"], ["x:3"])


@pytest.mark.parametrize("max_posts", [1, 2, 7, 1000])
def test_every_post_comes_once_in_the_order_of_the_log(built: Builder, max_posts: int) -> None:
    for n in range(0, 30, 10):
        built.store(*(post(n + i) for i in range(10)))
    batch, _, _ = built.lake.changes({}, max_posts)
    places = list(zip(batch["log_partition"].to_pylist(), batch["log_offset"].to_pylist(), strict=True))
    assert places == sorted(places)
    assert sorted(follow(built, max_posts)[0]) == sorted(f"x:{n}" for n in range(30))


def test_a_follower_behind_compaction(built: Builder) -> None:
    for n in range(4):
        built.store(post(2 * n), post(2 * n + 1))
    before = follow(built, 2)
    handle = open_table(built.lake.location, "posts")
    files = [file for file in rewrite.list_files(handle, "posts") if file.log_partition == 0]
    assert rewrite.merge(built.lake.location, "posts", handle, files, now=NOON)
    vacuum(open_table(built.lake.location, "posts"), retention_h=0)
    assert follow(built, 2) == before


def test_the_end_is_the_position_and_not_the_last_post(tmp_path: Path) -> None:
    """Records that were filtered, or are no posts, leave gaps that a follower has to get across."""
    built = Builder(tmp_path / "lake", tracks=(Track("good", "good"),))
    built.store(post(1), *(post(n, "nothing") for n in range(2, 40)), post(40), withdrawal(1), post(50, "nothing"))
    posts, withdrawn, position = follow(built, 1)
    assert (posts, withdrawn) == (["x:40"], ["x:1"])
    assert position == {0: 42}


def test_a_withdrawal_does_not_overtake_its_post(built: Builder) -> None:
    """It comes with the position that covers it, even when posts and withdrawals are far apart."""
    built.store(*(post(n) for n in range(6)))
    _, _, position = built.lake.changes({}, 2)
    built.store(withdrawal(0), withdrawal(5))
    known: set[str] = set(built.lake.changes({}, 2)[0]["id"].to_pylist())
    known |= set(follow(built, 2, position)[0])
    for n in (0, 5):
        assert f"x:{n}" not in known or f"x:{n}" in follow(built, 2, position)[1]


def test_a_follower_of_another_lake(built: Builder) -> None:
    built.store(post(1))
    with pytest.raises(PositionError, match="followed another lake"):
        built.lake.changes({0: 1000}, 10)


def test_an_empty_lake(built: Builder) -> None:
    posts, withdrawn, position = built.lake.changes({}, 10)
    assert (posts.num_rows, withdrawn.num_rows) == (0, 0)
    assert built.lake.changes(position, 10)[2] == position
    assert list(built.lake.export()) == []
    assert built.lake.windows().num_rows == 0
    assert built.lake.terms().num_rows == 0
    assert built.lake.ledger().num_rows == 0


# As of a time


def test_as_of_a_time(built: Builder) -> None:
    built.store(post(1, "good #a"), post(2, "bad #b"))
    first = built.now
    built.store(post(3, "bad #a"))
    second = built.now
    built.store(edit(1, 1, "bad #a"), withdrawal(2), post(4, None))  # type: ignore[arg-type]
    assert built.ids(as_of=first - timedelta(seconds=1)) == []
    assert built.ids(as_of=first) == []  # both were taken back since
    assert built.ids(as_of=second) == ["x:3"]
    assert built.ids(as_of=built.now) == built.ids() == ["x:1", "x:3"]
    assert built.ids("dead_letters", as_of=second) == []
    assert built.ids("dead_letters", as_of=built.now) == ["x:4"]
    assert built.mood(as_of=second) == [("*", 1, 1, 0)]
    assert [row["term"] for row in built.lake.terms(as_of=second).to_pylist()] == ["a"]
    exported = [row["id"] for batch in built.lake.export(as_of=second) for row in batch.to_pylist()]
    assert exported == ["x:3"]


def test_as_of_holds_across_compaction_clean_up_and_vacuum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewrite, "FAN_IN", 2)
    built = Builder(tmp_path / "lake")
    answers = {}
    for n in range(5):
        built.store(post(n, "good #a"), post(10 + n, "bad #b"))
        answers[built.now] = (built.ids(as_of=built.now), built.mood(as_of=built.now))
    location = built.lake.location
    for table in ("posts", "windows", "terms"):
        handle = open_table(location, table)
        assert rewrite.merge(location, table, handle, rewrite.list_files(handle, table), now=built.now)
        handle = open_table(location, table)
        handle.alter.set_table_properties({"delta.logRetentionDuration": "interval 0 seconds"})
        handle.create_checkpoint()
        handle.cleanup_metadata()
        vacuum(open_table(location, table), retention_h=0)
    for at, answer in answers.items():
        assert (built.ids(as_of=at), built.mood(as_of=at)) == answer


@pytest.mark.parametrize("table", ["windows", "terms"])
def test_sums_have_no_past_in_sql(one_post: Builder, table: str) -> None:
    with pytest.raises(ConfigError, match=f"{table} cannot be read by SQL as of a time"):
        one_post.lake.sql(f"select * from {table}", as_of=NOON)


# The rest of the door


def test_export_by_time_and_track(tmp_path: Path) -> None:
    built = Builder(tmp_path / "lake", tracks=(Track("it's good", "good"), Track("bad", "bad")))
    built.store(post(1, "good"), post(2, "bad", created_at=NOON - timedelta(hours=3)), at=NOON)
    built.store(post(3, "good bad"), at=NOON + timedelta(days=1))

    def ids(**options: object) -> list[str]:
        found = list(built.lake.export(**options))  # type: ignore[arg-type]
        assert all(batch.schema == schema.POSTS for batch in found)
        return [name for batch in found for name in batch["id"].to_pylist()]

    assert ids() == ["x:1", "x:2", "x:3"]
    assert ids(track="it's good") == ["x:1", "x:3"]
    assert ids(track="*", until=NOON) == ["x:2"]
    assert ids(since=NOON) == ["x:1", "x:3"]
    assert ids(track="none") == []


def test_corrections(built: Builder) -> None:
    built.store(post(1))
    built.lake.correct("x:1", "sentiment", "negative", "ann")
    built.lake.correct("x:1", "sentiment", "mixed", "bob")
    rows = built.lake.sql("select post_id, field, value, by from corrections order by at").to_pylist()
    assert [(row["value"], row["by"]) for row in rows] == [("negative", "ann"), ("mixed", "bob")]
    with pytest.raises(ConfigError, match="no post 'x:2'"):
        built.lake.correct("x:2", "sentiment", "negative", "ann")
    with pytest.raises(ConfigError, match="'text' cannot be corrected"):
        built.lake.correct("x:1", "text", "negative", "ann")


def test_the_ledger_and_the_sizes(built: Builder) -> None:
    built.store(post(1), post(1), post(2, None), withdrawal(1))  # type: ignore[arg-type]
    (row,) = built.lake.ledger().to_pylist()
    assert {
        name: row[name] for name in ("source", "received", "kept", "duplicate", "filtered", "dead", "withdrawn")
    } == {
        "source": "x",
        "received": 3,
        "kept": 1,
        "duplicate": 1,
        "filtered": 0,
        "dead": 1,
        "withdrawn": 1,
    }
    sizes = built.lake.sizes()
    assert {table: sizes[table]["rows"] for table in ("posts", "dead_letters", "withdrawn")} == dict.fromkeys(
        ("posts", "dead_letters", "withdrawn"), 1
    )
    assert sizes["posts"]["bytes"] > 0


def test_a_lake_that_is_away(built: Builder) -> None:
    path = Path(built.lake.location.path)
    path.rename(path.with_name("away"))
    for question in (built.lake.positions, built.lake.sizes, lambda: built.lake.changes({}, 1), built.ids):
        with pytest.raises(LakeError):
            question()
    path.with_name("away").rename(path)
    assert built.ids() == []


def test_questions_of_many_batches_keep_their_schema(built: Builder) -> None:
    """Every column of `posts` comes back as it was written, lists and structs among them."""
    built.store(post(1, "good #a @b https://example.org/c 😀", likes=3, author_verified=True))
    (batch,) = built.lake.export()
    row = batch.to_pylist()[0]
    assert (row["hashtags"], row["mentions"], row["links"]) == (["a"], ["b"], ["https://example.org/c"])
    assert (row["emoji_used"], row["likes"], row["author_verified"]) == (["😀"], 3, True)
    assert row["created_at"] == row["event_time"] == NOON
    assert row["day"] == "2026-03-01"
    assert pa.Table.from_batches([batch]).num_rows == 1


def test_the_model_and_the_last_windows_are_found_without_reading_rows(tmp_path: Path) -> None:
    builder = Builder(tmp_path)
    assert builder.lake.windows_before("15min", 96) is None
    assert builder.lake.model() is None
    late = NOON + timedelta(minutes=20)
    builder.store(post(1, created_at=NOON), post(2, created_at=late), at=late)
    builder.store(post(3, created_at=NOON - timedelta(days=2)), at=NOON + timedelta(hours=1))
    assert builder.lake.windows_before("15min", 2) == NOON
    assert builder.lake.windows_before("1d", 1) == NOON.replace(hour=0)
    assert builder.lake.windows_before("15min", 1, NOON) == NOON - timedelta(minutes=15), "`until` is excluded"
    assert builder.lake.model() == "word@1"
