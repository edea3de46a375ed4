"""The source `simulator:`: the same posts always, the mess that was promised, the story, and the pace."""

import json
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sources.reading import Row, reading, rows_of
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from feltwire import registry, schema
from feltwire.errors import ConfigError
from feltwire.interfaces import Cursor, Source
from feltwire.sources import _phrases, _story, simulator
from feltwire.sources._blocks import BLOCK_ROWS

START = "2026-03-01T12:00:00Z"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def make(**options: Any) -> Source:
    source: Source = registry.create("sources", "simulator:", options)
    return source


def table(blocks: int, **options: Any) -> pa.Table:
    return pa.Table.from_batches(simulator.generate(simulator.Options(**{"start": START, **options}), blocks))


def test_what_comes_is_what_generate_says() -> None:
    rows = rows_of("simulator:", start=START, rate=50_000, count=2_500, seed=5)
    assert rows == table(3, rate=50_000, seed=5).to_pylist()[:2_500]
    assert rows != table(3, rate=50_000, seed=6).to_pylist()[:2_500]


@settings(max_examples=10)
@given(st.lists(st.integers(0, 2_999), max_size=4), st.integers(0, 10))
def test_resuming_anywhere_repeats_and_loses_nothing(stops: list[int], seed: int) -> None:
    options: dict[str, Any] = {"start": START, "rate": 50_000, "count": 3_000, "seed": seed}
    whole = table(3, rate=50_000, seed=seed).to_pylist()
    found: list[Row] = []
    cursor: Cursor | None = None
    for stop in [*sorted(stops), 3_000]:
        with reading(make(**options), cursor) as batches:
            while len(found) < stop:
                batch, cursor = next(batches)
                found += batch.to_pylist()
                cursor = json.loads(json.dumps(cursor))
    assert found == whole
    with reading(make(**options), cursor) as batches:
        assert list(batches) == []


def test_records_are_sound() -> None:
    records = table(20, mess=0.2)
    records.validate(full=True)
    assert records.schema.equals(schema.RECORD)
    rows = records.to_pylist()
    first = {row["id"]: i for i, row in reversed(list(enumerate(rows)))}
    for i, row in enumerate(rows):
        kind = row["kind"]
        assert (kind == "refusal") == (row["refusal"] is not None) == (row["payload"] is not None)
        assert (kind in ("post", "edit")) == (row["text"] is not None) == (row["created_at"] is not None)
        for name in ("reply_to_id", "quote_of_id", "repost_of_id"):
            assert row[name] is None or first[row[name]] < i
        if kind in ("edit", "withdrawal"):
            assert first[row["id"]] < i
        assert row["live"]
        assert row["ingested_at"] is None
    edits = Counter(row["id"] for row in rows if row["kind"] in ("edit", "withdrawal"))
    assert max(edits.values()) == 1


def test_the_mess_is_as_large_as_asked_for() -> None:
    rows = table(30, mess=0.2).to_pylist()
    seen: set[tuple[str, str, int]] = set()
    count: Counter[str] = Counter()
    for row in rows:
        identity = (row["kind"], row["id"], row["revision"])
        count["duplicate" if identity in seen else row["kind"]] += 1
        count["late"] += row["created_at"] is not None and abs(row["created_at"] - NOON) > timedelta(hours=6)
        seen.add(identity)
    for name, share in (("edit", 0.04), ("withdrawal", 0.03), ("duplicate", 0.04), ("refusal", 0.04)):
        assert 0.6 * share < count[name] / len(rows) < 1.2 * share, name
    assert count["late"] > 0
    years = {row["created_at"].year for row in rows if row["created_at"]}
    assert 1970 in years or 1971 in years
    clean = table(5, mess=0).to_pylist()
    assert {row["kind"] for row in clean} == {"post"}
    assert len({row["id"] for row in clean}) == len(clean)


def test_a_duplicate_is_exactly_the_same_record() -> None:
    first: dict[tuple[str, str, int], Row] = {}
    repeats = 0
    for row in table(10, mess=0.3).to_pylist():
        known = first.setdefault((row["kind"], row["id"], row["revision"]), row)
        assert known == row
        repeats += known is not row
    assert repeats > 100


def test_texts_are_many_and_in_seven_languages() -> None:
    records = table(50)
    assert pc.count_distinct(records["text"]).as_py() > 20_000
    shares = Counter(records["lang"].to_pylist())
    assert {lang for lang in shares if lang} == set(_phrases.LANGUAGES)
    assert 0.7 < shares["en"] / records.num_rows < 0.85
    for mark in "[]{}|":
        assert not pc.any(pc.match_substring(records["text"], mark)).as_py()
    authors = Counter(records["author_id"].to_pylist())
    assert len(authors) > 3_000
    assert sum(number for _, number in authors.most_common(100)) > 0.15 * records.num_rows


def test_every_subject_has_sentences_in_every_mood() -> None:
    pools = _story.sentences().pools
    for subject in _story.SUBJECTS:
        for mood in _story.MOODS:
            name = "airline" if subject == "airline" else "other"
            assert ("en", subject, mood) in pools or (subject, mood) == ("airline", "negative")
            assert all((lang, name, mood) in pools for lang in _phrases.LANGUAGES[1:])
    assert all(("en", "airline", category) in pools for category in _story.COMPLAINT_SHARES)


def test_the_story_turns_the_mood_and_it_recovers() -> None:
    rate = 10_000 / 60  # a story of one minute in ten blocks
    score = SentimentIntensityAnalyzer().polarity_scores
    moods = []
    for block in simulator.generate(simulator.Options(start=START, rate=rate, story_minutes=1), 10):
        english = [row["text"] for row in block.to_pylist() if row["lang"] == "en"][:250]
        moods.append(sum(score(text)["compound"] for text in english) / len(english))
    calm, angry, late = moods[0] + moods[1], moods[3] + moods[4], moods[9]
    assert calm / 2 > 0.08
    assert angry / 2 < -0.05
    assert late > 0.05


def test_the_airline_speaks_only_after_its_failure() -> None:
    blocks = list(simulator.generate(simulator.Options(start=START, rate=10_000 / 60, story_minutes=1), 10))
    spoken = [sum(row["author_handle"] == "larkwing" for row in block.to_pylist()) for block in blocks]
    assert sum(spoken[:5]) == 0
    assert sum(spoken) > 0


def test_created_at_runs_with_the_rate() -> None:
    times = [row["created_at"] for row in table(1, rate=4, mess=0).to_pylist()]
    assert times[:3] == [NOON, NOON + timedelta(milliseconds=250), NOON + timedelta(milliseconds=500)]


@pytest.mark.parametrize("rate", [37.0, 20_000.0])
def test_the_rate_is_kept_by_the_clock(rate: float) -> None:
    """Never ahead of it; and whoever was held up, as on a busy machine, catches up with it."""
    begun_s = time.monotonic()
    given = 0
    kept = False
    with reading(make(rate=rate, start=START)) as batches:
        while not kept:
            given += next(batches)[0].num_rows
            passed_s = time.monotonic() - begun_s
            assert given <= rate * passed_s + 1
            assert passed_s < 20, given
            kept = passed_s > 0.5 and given >= 0.95 * rate * passed_s - 1


def test_a_slow_rate_has_heartbeats() -> None:
    with reading(make(rate=0.01)) as batches:
        assert next(batches)[0].num_rows == 1
        begun_s = time.monotonic()
        assert next(batches)[0].num_rows == 0
        assert time.monotonic() - begun_s < 1.5


def test_by_default_posts_are_of_now_also_after_a_pause() -> None:
    cursor: Cursor | None = None
    for shift in (timedelta(0), timedelta(hours=-5), timedelta(hours=5)):
        if cursor:
            cursor["start"] = (datetime.fromisoformat(cursor["start"]) + shift).isoformat()
        with reading(make(rate=1_000, mess=0), cursor) as batches:
            batch, cursor = next(batches)
        made = batch.column("created_at")[0].as_py()
        assert abs(made - datetime.now(UTC)) < timedelta(seconds=5)
    assert cursor is not None
    assert cursor["block"] * BLOCK_ROWS + cursor["row"] >= 3


def test_history_comes_at_once_and_then_the_present() -> None:
    begun_s = time.monotonic()
    rows: list[Row] = []
    with reading(make(rate=100, history_minutes=2, mess=0)) as batches:
        while len(rows) < 12_000:
            rows += next(batches)[0].to_pylist()
        assert time.monotonic() - begun_s < 5.0
        given = len(rows)
        while time.monotonic() - begun_s < 2.0:
            given += next(batches)[0].num_rows
    assert given < 12_000 + 100 * (time.monotonic() - begun_s) + 100
    age = datetime.now(UTC) - rows[0]["created_at"]
    assert timedelta(minutes=2) <= age < timedelta(minutes=2, seconds=10)


@pytest.mark.parametrize("cursor", [{}, {"seed": 1}, {"seed": 1, "block": "x", "row": None, "start": 7}, {"seed": 2}])
def test_a_cursor_of_something_else_is_the_beginning(cursor: Cursor) -> None:
    with reading(make(seed=1, start=START, rate=100), cursor) as batches:
        assert next(batches)[0].to_pylist()[0]["id"] == "simulator:1-0"


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("simulator:fast", "takes nothing behind its colon"),
        ("simulator:?rate=50001", "rate"),
        ("simulator:?rate=0", "rate"),
        ("simulator:?start=tomorrow", "is no time"),
        ("simulator:?seed=-1", "seed"),
        ("simulator:?mess=2", "mess"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(uri: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        registry.create("sources", uri)
    assert "\n" not in str(caught.value)
