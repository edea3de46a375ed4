"""What sets posts apart: evidence as its authors define it, and mood without a term as a recompute gives it."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feltwire import schema
from feltwire.mood import apart
from feltwire.mood.read import LISTED
from feltwire.mood.words import words

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
POSTS = pa.schema([schema.POSTS.field(name) for name in LISTED])
SPAN = (NOON, NOON + timedelta(minutes=8))
BEFORE = (NOON - timedelta(hours=1), NOON)


def posts(rows: Sequence[dict[str, Any]], start: datetime = NOON) -> pa.Table:
    """Posts a second apart; `text`, `sentiment` (None: unscored) and what else is given."""
    whole = []
    for i, row in enumerate(rows):
        post = dict.fromkeys(LISTED) | {"id": f"x:{start:%H%M}{i}", "event_time": start + timedelta(seconds=i)}
        post |= {"source": "x", "lang": "en", "scored": row.get("sentiment") is not None, "author_id": f"a{i}"}
        post |= {name: [] for name in ("hashtags", "mentions", "links", "emoji_used", "tracks", "emoji", "entities")}
        whole.append(post | row)
    return pa.Table.from_pylist(whole, schema=POSTS)


def compare(now: list[dict[str, Any]], before: list[dict[str, Any]]) -> apart.Apart:
    start = NOON - timedelta(hours=1)
    return apart.set_apart(posts(now), posts(before, start), span=SPAN, before_span=BEFORE)


Rows = list[dict[str, Any]]
CALM: Rows = [{"text": f"nice view {i} of the sea", "sentiment": ("positive", "neutral")[i % 2]} for i in range(600)]
UPSET: Rows = [
    *({"text": f"flight cancelled again {i}", "sentiment": "negative", "hashtags": ["down"], "category": "Delay"}
      for i in range(60)),
    *({"text": f"nice view {i} of the sea", "sentiment": ("positive", "neutral")[i % 2]} for i in range(60)),
]  # fmt: skip


def test_the_terms_of_an_incident() -> None:
    found = compare(UPSET, CALM)
    assert {(one.kind, one.term) for one in found.terms} == {
        ("category", "Delay"), ("word", "cancelled"), ("word", "flight"), ("hashtag", "down"),
    }  # fmt: skip
    for one in found.terms:
        assert (one.n, one.n_before, one.share, one.share_before, one.times) == (60, 0, 50.0, 0.0, None)
        assert (one.mood, one.mood_without) == (-100.0, 50.0)
    assert found.driver is not None
    assert found.newest is not None
    assert found.first is not None
    assert found.first["id"] == "x:12000"
    assert (found.mood, found.mood_before) == (-25.0, 50.0)
    assert found.times == pytest.approx(120 / 8 / (600 / 60))
    assert found.headline.endswith("went from 0% to 50% of all posts.")
    assert found.rest == (
        "Mood fell from +50 to −25; without those posts it would be +50. 120 posts in 8 minutes, 1.5× the usual."
    )
    assert "caused" not in found.headline + found.rest
    assert [trait.differs for trait in found.traits] == [False, False]
    assert len(found.typical) == 1, "copies of one text are one"


def test_a_language_that_comes_in_is_said_to_differ() -> None:
    found = compare([{"text": "x", "sentiment": "neutral", "lang": "de"}] * 100, CALM)
    (_, language) = found.traits
    assert (language.differs, language.value, language.share, language.share_before) == (True, "de", 100.0, 0.0)


def test_nothing_sets_apart_what_is_alike() -> None:
    found = compare(CALM[:200], CALM)
    assert found.terms == ()
    assert found.driver is None
    assert found.first is None
    assert found.headline == "No word, hashtag, name or category sets these posts apart."
    assert found.rest.startswith("Mood is +50, as before. 200 posts in 8 minutes")


@pytest.mark.parametrize(("now", "before"), [([], CALM), (UPSET, []), ([], [])])
def test_no_posts(now: list[dict[str, Any]], before: list[dict[str, Any]]) -> None:
    found = compare(now, before)
    assert found.terms == ()
    assert found.rest


def test_fewer_than_20_posts_are_no_evidence() -> None:
    some = [{"text": "lost", "sentiment": "negative"}] * 19
    assert compare([*some, *CALM[:100]], CALM).terms == ()
    assert compare([*some, *some[:1], *CALM[:100]], CALM).terms != ()


def test_with_both_ways_what_is_gone_counts_too() -> None:
    found = apart.contrast(posts(UPSET[:60]), posts(CALM), both=True)
    gone = {one.term: one.z for one in found if one.z < 0}
    assert "sea" in gone


@given(y=st.integers(0, 500), x=st.integers(0, 500), n=st.integers(1, 5_000), m=st.integers(1, 5_000))
def test_evidence_by_hand(y: int, x: int, n: int, m: int) -> None:
    """Monroe et al. (2008), equations 16, 20 and 22, a post at a time."""
    y, x = min(y, n), min(x, m)
    (z,) = apart.log_odds_z(np.array([y], float), np.array([x], float), n, m)
    if not y + x:
        return
    prior = 100.0
    a = prior * (y + x) / (n + m)
    if prior - a < 1e-6:
        return
    delta = math.log((y + a) / (n + prior - y - a)) - math.log((x + a) / (m + prior - x - a))
    assert z == pytest.approx(delta / math.sqrt(1 / (y + a) + 1 / (x + a)))
    (other,) = apart.log_odds_z(np.array([x], float), np.array([y], float), m, n)
    assert other == pytest.approx(-z)


vocabulary = st.lists(st.sampled_from(["sun", "rain", "wind", "snow", "hail"]), max_size=3)
many = st.lists(
    st.tuples(vocabulary, vocabulary, st.sampled_from(["negative", "positive", "neutral", "mixed", None])),
    min_size=1,
    max_size=40,
)


@settings(deadline=None, max_examples=25)
@given(now=many, before=many)
def test_mood_without_a_term_is_that_of_the_other_posts(now: list[Any], before: list[Any]) -> None:
    """Recomputed post by post."""
    rows, rows_before = (
        [{"text": " ".join(text), "hashtags": sorted(set(tags)), "sentiment": label} for text, tags, label in side]
        for side in (now, before)
    )
    worth = {"positive": 100, "negative": -100}
    for one in apart.contrast(posts(rows), posts(rows_before), both=True, least=1):

        def has(row: dict[str, Any], kind: str = one.kind, term: str = one.term) -> bool:
            return term in (row["text"].split() if kind == "word" else row["hashtags"])

        assert one.n == sum(map(has, rows))
        assert one.n_before == sum(map(has, rows_before))
        for found, side in ((one.mood, True), (one.mood_without, False)):
            scores = [worth.get(row["sentiment"], 0) for row in rows if has(row) is side and row["sentiment"]]
            assert found == (pytest.approx(sum(scores) / len(scores)) if scores else None)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("They CANCELLED it, they cancelled it!", {"cancelled"}),
        ("don’t can't 'quoted' o'clock", {"can't", "quoted", "o'clock"}),
        ("#down @air.example https://a.example/flight www.b.example/x me@c.example", set()),
        ("3rd 42 a I é née", {"née"}),
        ("日本 Ελλάδα हिन्दी &amp; x", {"日本", "ελλάδα", "हिन्दी"}),
        ("<script>alert(1)</script>", {"script", "alert"}),
        (None, set()),
    ],
)
def test_what_a_word_is(text: str | None, found: set[str]) -> None:
    _, each = words(pa.array([text], pa.string()))
    assert set(each.to_pylist()) == found
