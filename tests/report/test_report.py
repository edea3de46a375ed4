"""The two reports: their columns, four decimals, shares that sum to 1, and the same rows by both engines."""

import csv
import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.lake.building import NOON, Builder, edit, post, withdrawal

from feltwire.errors import ConfigError, DestinationError
from feltwire.report import rows
from feltwire.report.files import Folder
from feltwire.report.local import Asked, write
from feltwire.tracks import Track

TWEET = (
    "tweet_id,created_at,text,user_id,username,name,verified,location,referenced_tweets,label,"
    "positive,negative,neutral,mixed"
)
SENTIMENT = (
    "time_window,count_tweets,avg_positive,avg_neutral,avg_mixed,avg_negative,"
    "perc_tweet_positive,perc_tweet_neutral,perc_tweet_negative,perc_tweet_mixed"
)
QUARTER = timedelta(minutes=15)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    """Three windows: two posts of three labels and a withdrawn one, an edited one, one that is not scored."""
    built = Builder(
        tmp_path_factory.mktemp("lake") / "lake", tracks=(Track("it's \\ all", "good OR bad OR silent OR plain"),)
    )
    odd = 'bad "quoted", with\na line, and 😊'
    built.store(
        post(1, "good", author_handle="ann", author_name="Ann", author_verified=True, author_location="Ulm"),
        post(2, odd, created_at=NOON + timedelta(minutes=3, milliseconds=7), repost_of_id="x:9", reply_to_id="x:8"),
        post(3, "plain", created_at=NOON + timedelta(minutes=14, seconds=59)),
        post(4, "good gone", created_at=NOON + timedelta(minutes=5)),
        post(5, "good before", created_at=NOON + QUARTER),
        post(6, "silent", created_at=NOON + 3 * QUARTER),
        at=NOON + 4 * QUARTER,
    )
    built.store(withdrawal(4), {**edit(5, 1, "bad after"), "created_at": NOON + QUARTER})
    return built


def folders(folder: Path) -> tuple[Folder, Folder]:
    return Folder(str(folder / "one")), Folder(str(folder / "two"))


def asked(**more: Any) -> Asked:
    return Asked(minutes=15, **more)


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_both_reports(built: Builder, tmp_path: Path) -> None:
    written = write(built.lake, asked(), *folders(tmp_path))
    assert (written.tweets, written.windows) == (5, 3)
    lines = (tmp_path / "one" / "tweet.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0].replace('"', "") == TWEET
    head = (tmp_path / "two" / "sentiment.csv").read_text(encoding="utf-8").splitlines()[0]
    assert head.replace('"', "") == SENTIMENT
    tweets = read_csv(tmp_path / "one" / "tweet.csv")
    assert [row["tweet_id"] for row in tweets] == ["1", "2", "3", "5", "6"]
    assert tweets[0] | {"positive": ""} == {
        "tweet_id": "1", "created_at": "2026-03-01T12:00:00.000Z", "text": "good", "user_id": "a", "username": "ann",
        "name": "Ann", "verified": "true", "location": "Ulm", "referenced_tweets": "[]", "label": "positive",
        "positive": "", "negative": "0.1250", "neutral": "0.1250", "mixed": "0.1250",
    }  # fmt: skip
    assert tweets[1]["text"] == 'bad "quoted", with\na line, and 😊'
    assert tweets[1]["created_at"] == "2026-03-01T12:03:00.007Z"
    references = [{"type": "retweeted", "id": "9"}, {"type": "replied_to", "id": "8"}]
    assert json.loads(tweets[1]["referenced_tweets"]) == references
    assert tweets[3]["text"] == "bad after"
    assert [tweets[4][name] for name in ("label", "positive", "verified")] == ["", "0.0000", "false"]
    windows = read_csv(tmp_path / "two" / "sentiment.csv")
    assert windows[0] == {
        "time_window": "2026-03-01T12:00:00.000Z", "count_tweets": "3", "avg_positive": "0.2917",
        "avg_neutral": "0.2917", "avg_mixed": "0.1250", "avg_negative": "0.2916", "perc_tweet_positive": "0.3334",
        "perc_tweet_neutral": "0.3333", "perc_tweet_negative": "0.3333", "perc_tweet_mixed": "0.0000",
    }  # fmt: skip
    assert [row["time_window"][11:16] for row in windows] == ["12:00", "12:15", "12:45"]
    assert set(list(windows[2].values())[2:]) == {"0.0000"}


def test_parquet_says_what_csv_says(built: Builder, tmp_path: Path) -> None:
    write(built.lake, asked(), *folders(tmp_path))
    for name, schema in (("one/tweet", rows.TWEET), ("two/sentiment", rows.SENTIMENT)):
        table = pq.read_table(tmp_path / f"{name}.parquet")
        assert table.schema.equals(schema)
        assert all(not column.null_count for column in table.columns)
        shown = read_csv(tmp_path / f"{name}.csv")
        for field in schema:
            given = table[field.name].to_pylist()
            if pa.types.is_floating(field.type):
                assert [f"{value:.4f}" for value in given] == [row[field.name] for row in shown]
            elif pa.types.is_string(field.type):
                assert given == [row[field.name] for row in shown]


def test_a_time_a_track_and_a_time_of_asking(built: Builder, tmp_path: Path) -> None:
    since = asked(since=NOON + QUARTER, until=NOON + 2 * QUARTER)
    assert write(built.lake, since, *folders(tmp_path)).tweets == 1
    assert write(built.lake, asked(track="it's \\ all"), *folders(tmp_path)).tweets == 5
    assert write(built.lake, asked(track="it's none"), *folders(tmp_path)).tweets == 0
    assert (tmp_path / "two" / "sentiment.csv").read_text(encoding="utf-8").replace('"', "") == SENTIMENT + "\n"
    assert write(built.lake, asked(as_of=datetime(2020, 1, 1, tzinfo=UTC)), *folders(tmp_path)).windows == 0


def test_a_folder_that_is_none(built: Builder, tmp_path: Path) -> None:
    (tmp_path / "one").write_text("")
    with pytest.raises(DestinationError, match="cannot be written"):
        write(built.lake, asked(), *folders(tmp_path))
    with pytest.raises(ConfigError, match="expected a folder or s3"):
        Folder("gs://bucket")


def test_a_failed_report_leaves_the_old_one(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    row = rows.tweets(pa.RecordBatch.from_pylist([], schema=_posts()))
    folder.write("tweet", [row], rows.TWEET)
    before = sorted(tmp_path.iterdir())

    def broken() -> Iterable[pa.RecordBatch]:
        yield row
        raise OSError("gone")

    with pytest.raises(DestinationError, match="gone"):
        folder.write("tweet", broken(), rows.TWEET)
    assert sorted(tmp_path.iterdir()) == before


def _posts() -> pa.Schema:
    from feltwire import schema

    return pa.schema([schema.POSTS.field(name) for name in rows.POST_COLUMNS])


@given(
    st.lists(
        st.lists(st.integers(0, 10**9) | st.floats(0, 1e9, allow_subnormal=False), min_size=4, max_size=4), min_size=1
    )
)
def test_shares_sum_to_one_and_are_near(values: list[list[float]]) -> None:
    given = np.array(values, np.float64)
    found = rows.shares(given)
    for before, after in zip(given, found, strict=True):
        exact = [Decimal(f"{share:.4f}") for share in after]
        assert sum(exact) == (1 if before.sum() > 0 else 0)
        assert [float(share) for share in exact] == after.tolist()
        if before.sum() > 0:
            assert np.abs(after - before / before.sum()).max() <= 1.0001e-4


@pytest.mark.slow
def test_spark_writes_the_same_rows(built: Builder, tmp_path: Path, absent: Callable[[str], None]) -> None:
    try:
        from feltwire.report import spark
    except ImportError:
        absent("no pyspark: pip install 'feltwire[spark]'")
    local, cluster = folders(tmp_path / "local"), folders(tmp_path / "cluster")
    (tmp_path / "cluster" / "one").mkdir(parents=True)
    (tmp_path / "cluster" / "one" / "tweet-00007.csv").write_text("of an earlier run")
    for options in ({}, {"since": NOON + timedelta(minutes=1), "track": "it's \\ all"}):
        mine = write(built.lake, asked(**options), *local)
        theirs = spark.write(built.lake, asked(**options), *cluster, master="local[2]")
        assert theirs == mine
        for name in ("one", "two"):
            whole = [sorted((tmp_path / side / name).glob("*.parquet")) for side in ("local", "cluster")]
            here, there = (pa.concat_tables(map(pq.read_table, paths)) for paths in whole)
            assert there.equals(here)
            texts = [
                [row for path in sorted((tmp_path / side / name).glob("*.csv")) for row in read_csv(path)]
                for side in ("local", "cluster")
            ]
            assert texts[0] == texts[1]
