"""Windows of any length and the terms of a time."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.lake.building import NOON, Builder, post

from feltwire import schema
from feltwire.errors import ConfigError
from feltwire.tracks import Track

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    """Posts of one Sunday afternoon, one late by ten days, one before the epoch of windows."""
    tracks = (Track("gate", "gate"), Track("it's", "delay"))
    built = Builder(tmp_path_factory.mktemp("rollup") / "lake", tracks=tracks)
    texts = ("good gate #sun", "bad gate #rain", "bad delay #rain #sun", "plain gate delay #sun")
    times = (NOON + timedelta(minutes=7 * n) for n in range(4))
    rows = (post(n, text, created_at=at) for n, (text, at) in enumerate(zip(texts, times, strict=True)))
    built.store(*rows, at=NOON + timedelta(hours=1))
    late = {"created_at": NOON - timedelta(days=10), "live": False}
    built.store(post(10, "mixed gate #old", **late))
    built.store(post(11, "good gate", created_at=datetime(1969, 12, 31, 23, 59, tzinfo=UTC), lang=None))
    return built


def rows(built: Builder, **options: Any) -> list[tuple[Any, ...]]:
    found = built.lake.windows(**options).to_pylist()
    return [(row["window"], row["track"], row["n"]) for row in found]


def test_windows_are_counted_from_a_monday(built: Builder) -> None:
    weeks = rows(built, every="1w", tracks=["*"])
    assert weeks[-1] == (MONDAY - timedelta(weeks=1), "*", 4)
    assert [window.weekday() for window, _, _ in weeks] == [0, 0, 0]
    quarters = rows(built, every="15min", tracks=["*"], since=NOON)
    assert quarters == [(NOON, "*", 3), (NOON + timedelta(minutes=15), "*", 1)]


def test_a_late_post_lies_in_its_own_window(built: Builder) -> None:
    assert (datetime(2026, 2, 19, tzinfo=UTC), "*", 1) in rows(built, every="1d")


def test_windows_before_1970(built: Builder) -> None:
    day = rows(built, every="1d", tracks=["*"])[0]
    assert day == (datetime(1969, 12, 31, tzinfo=UTC), "*", 1)


def test_tracks_and_times(built: Builder) -> None:
    assert rows(built, every="1d", tracks=["it's"]) == [(datetime(2026, 3, 1, tzinfo=UTC), "it's", 2)]
    assert rows(built, every="1h", tracks=["gate"], since=NOON, until=NOON + timedelta(minutes=7)) == [
        (NOON, "gate", 1)
    ]
    assert {track for _, track, _ in rows(built, every="1w")} == {"*", "gate", "it's"}
    assert rows(built, every="1d", tracks=["none"]) == []


def test_shares_are_of_scored_posts(built: Builder) -> None:
    (row,) = built.lake.windows(every="1d", tracks=["*"], since=NOON).to_pylist()
    assert (row["n"], row["n_scored"], row["n_negative"], row["n_positive"]) == (4, 4, 2, 1)
    assert (row["share_negative"], row["share_positive"], row["share_neutral"]) == (0.5, 0.25, 0.25)
    assert row["net"] == -0.25
    assert sum(row[f"share_{label}"] for label in schema.SENTIMENTS) == 1.0
    assert sum(row[f"avg_{label}"] for label in schema.SENTIMENTS) == 1.0


def test_nothing_scored_divides_by_nothing(tmp_path: Path) -> None:
    built = Builder(tmp_path / "lake")
    built.store(post(1, "silent"))
    (row,) = built.lake.windows(every="1d").to_pylist()
    assert (row["n"], row["share_positive"], row["avg_positive"], row["net"]) == (1, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("every", ["1min", "7min", "15min", "1h", "1d", "2w"])
def test_as_of_now_is_now(built: Builder, every: str) -> None:
    """The two ways of rolling up, from the stored sums and from the posts, agree in every column."""
    assert built.lake.windows(every=every, as_of=built.now) == built.lake.windows(every=every)
    span = {"since": NOON - timedelta(days=20), "until": NOON + timedelta(minutes=10), "tracks": ["gate"]}
    assert built.lake.windows(every=every, as_of=built.now, **span) == built.lake.windows(every=every, **span)  # type: ignore[arg-type]


def test_terms(built: Builder) -> None:
    found = [(row["kind"], row["term"], row["n"], row["n_negative"]) for row in built.lake.terms().to_pylist()]
    assert found == [("hashtag", "sun", 3, 1), ("hashtag", "rain", 2, 2), ("hashtag", "old", 1, 0)]
    assert built.lake.terms(limit=1).num_rows == 1
    assert [row["term"] for row in built.lake.terms(track="it's").to_pylist()] == ["sun", "rain"]
    assert [row["term"] for row in built.lake.terms(until=NOON).to_pylist()] == ["old"]
    assert built.lake.terms(kind="emoji").num_rows == 0
    for options in ({}, {"kind": "hashtag"}, {"track": "gate", "limit": 2}, {"since": NOON}):
        assert built.lake.terms(as_of=built.now, **options) == built.lake.terms(**options)
    with pytest.raises(ConfigError, match="unknown kind of term 'word'"):
        built.lake.terms(kind="word")


@pytest.mark.parametrize("every", ["0min", "a day", "1y", "", "-1h", "1.5h", "999999d"])
def test_no_window_length(built: Builder, every: str) -> None:
    with pytest.raises(ConfigError, match="no window length"):
        built.lake.windows(every=every)
