"""What is read from a lake is what a plain recompute over its posts gives, whichever table answers."""

import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.lake.building import NOON, Builder, post

from feltwire.errors import ConfigError
from feltwire.lake.reader import Snapshot
from feltwire.mood import View, moments, read
from feltwire.tracks import Track

HOSTILE = [
    "'",
    "' or 1=1 --",
    "\\",
    "\\'",
    "%_*?",
    "(",
    "a" * 5_000,
    "\x00",
    '"',
    "🤬",
    "\n",
    "{}",
    "$1",
    "\\p{L}",
    "=x",
]
WORDS = ["good sea", "bad flight", "mixed bag", "silent night", "so what", "bad crew, lost it"]
MINUTE = timedelta(minutes=1)
ALL = View(start=NOON, end=NOON + 120 * MINUTE, every_s=600)


def rows() -> list[dict[str, Any]]:
    """Posts over two hours, some in tracks, some with tags, links and emoji, one hostile."""
    pick = random.Random(7)
    found = []
    for number in range(400):
        text = pick.choice(WORDS) + pick.choice(["", " #sun", " #sun #moon", " https://www.News.example/1", " 😀"])
        when = NOON + pick.random() ** 2 * 119 * MINUTE
        lang = pick.choice(["en", "de", None])
        found.append(
            post(number, text, created_at=when, lang=lang, source=pick.choice(["x", "y"]), author_id=f"a{number}")
        )
    hostile = "bad '; drop table posts; -- \\ \" <script>alert(1)</script>"
    return [*found, post(400, hostile, created_at=NOON + MINUTE, author_handle="O'Neil")]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    tracks = (Track("flights", "flight OR crew"), Track("sea's", "sea"), Track("rest", "-flight -crew -sea"))
    builder = Builder(Path(tmp_path_factory.mktemp("lake")), tracks=tracks)
    at = NOON + 120 * MINUTE
    for start in range(0, 401, 200):
        builder.store(*rows()[start : start + 200], at=at)
    return builder


@pytest.fixture(scope="module")
def snapshot(built: Builder) -> Snapshot:
    return read.snapshot(built.lake)


@pytest.fixture(scope="module")
def stored(built: Builder) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = built.lake.sql("select * from posts").to_pylist()
    assert len(found) == 401
    return found


Keep = Callable[[dict[str, Any]], bool]


def domain(row: dict[str, Any]) -> bool:
    return any("news.example" in link.lower() for link in row["links"] or ())


def during(minutes: int = 120, **more: Any) -> View:
    return View(start=NOON, end=NOON + minutes * MINUTE, **more)


CASES: list[tuple[View, Keep]] = [
    (ALL, lambda row: True),
    (ALL.of("flights"), lambda row: "flights" in row["tracks"]),
    (ALL.of("sea's", "flights"), lambda row: bool({"sea's", "flights"} & set(row["tracks"]))),
    (during(25, sources=("y",)), lambda row: row["source"] == "y"),
    (during(60, langs=("de", "und")), lambda row: row["lang"] in ("de", None)),
    (during(60, langs=("und",), tracks=("rest",)), lambda row: row["lang"] is None and "rest" in row["tracks"]),
    (during(filters={"hashtag": "moon"}), lambda row: "moon" in row["hashtags"]),
    (during(filters={"emoji_used": "😀"}), lambda row: "😀" in row["emoji_used"]),
    (during(filters={"domain": "news.example"}), domain),
    (during(filters={"word": "crew"}), lambda row: "crew" in row["text"]),
    (during(filters={"word": "sun"}), lambda row: False),
    (
        during(filters={"sentiment": "mixed", "hashtag": "sun"}),
        lambda row: row["sentiment"] == "mixed" and "sun" in row["hashtags"],
    ),
    (during(query="flight OR #moon"), lambda row: "flight" in row["text"] or "moon" in row["hashtags"]),
    (during(query='"lost it" -has:emoji'), lambda row: "lost it" in row["text"] and not row["emoji_used"]),
    (during(query="from:o'neil"), lambda row: row["author_handle"] == "O'Neil"),
    (during(query="url:news.example lang:de"), lambda row: domain(row) and row["lang"] == "de"),
    (during(query='bad ("cre'), lambda row: False),
    (during(query="BAD (crew"), lambda row: "bad" in row["text"] and "crew" in row["text"]),
]


@pytest.mark.parametrize("case", range(len(CASES)))
def test_every_number_is_that_of_a_recompute(case: int, snapshot: Snapshot, stored: list[dict[str, Any]]) -> None:
    view, keep = CASES[case]
    found = [row for row in stored if view.start <= row["event_time"] < view.end and keep(row)]
    labels = ("negative", "mixed", "neutral", "positive")
    totals = read.totals(snapshot, view)
    scored = [row for row in found if row["scored"]]
    assert (
        (totals.n, totals.n_scored) == (len(found), len(scored)) == (read.count_posts(snapshot, view), totals.n_scored)
    )
    for label in labels:
        assert getattr(totals, f"n_{label}") == sum(row["sentiment"] == label for row in found)
        mean = sum(row[f"p_{label}"] for row in scored) / max(1, len(scored))
        assert getattr(totals, f"avg_{label}") == pytest.approx(mean)
    series = read.series(snapshot, view)
    assert series.schema == read.SERIES
    assert series.num_rows == view.windows
    for row in series.to_pylist():
        inside = [one for one in found if row["window"] <= one["event_time"] < row["window"] + view.every]
        assert row["n"] == len(inside)
        assert row["n_negative"] == sum(one["sentiment"] == "negative" for one in inside)
        worth = [{"positive": 100, "negative": -100}.get(one["sentiment"], 0) for one in inside if one["scored"]]
        assert row["net"] == (pytest.approx(sum(worth) / len(worth)) if worth else None)
    newest = sorted(found, key=lambda row: (row["event_time"], row["id"]), reverse=True)
    assert read.posts(snapshot, view, 1_000)["id"].to_pylist() == [row["id"] for row in newest]
    for kind, of in (("hashtag", "hashtags"), ("emoji_used", "emoji_used")):
        counted = {row["term"]: row["n"] for row in read.terms(snapshot, view, kind, 100).to_pylist()}
        assert counted == {
            term: n
            for term in {one for row in found for one in row[of]}
            if (n := sum(term in row[of] for row in found))
        }
    words = {row["term"]: row for row in read.terms(snapshot, view, "word", 100).to_pylist()}
    crew = [row for row in found if "crew" in row["text"]]
    assert words["crew"]["n"] == len(crew) if crew else "crew" not in words
    assert sum(read.breakdown(snapshot, view, "lang")["n"].to_pylist()) == len(found)


@pytest.mark.parametrize("every_s", [600, 3_600], ids=["of posts", "of sums"])
def test_complaints_are_counted_by_window(every_s: int, snapshot: Snapshot, stored: list[dict[str, Any]]) -> None:
    view = View(start=NOON, end=NOON + 120 * MINUTE, every_s=every_s, tracks=("flights",))
    at = [
        (row["event_time"] - NOON) // view.every
        for row in stored
        if row["category"] == "lost" and "flights" in row["tracks"]
    ]
    assert read.category_series(snapshot, view) == [at.count(i) for i in range(view.windows)]
    assert sum(read.category_series(snapshot, view)) > 20


def test_posts_come_page_by_page(snapshot: Snapshot) -> None:
    whole = read.posts(snapshot, ALL, 1_000)["id"].to_pylist()
    pages: list[str] = []
    before = None
    while page := read.posts(snapshot, ALL, 90, before).to_pylist():
        pages += [row["id"] for row in page]
        before = (page[-1]["event_time"], page[-1]["id"])
    assert pages == whole


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_a_value(text: str, snapshot: Snapshot) -> None:
    """In every place where a person's or a post's words can stand: no error, and no post found by a trick."""
    for kind in ("hashtag", "entity", "domain", "category", "emotion", "emoji_used", "emoji", "word", "sentiment"):
        view = View(start=ALL.start, end=ALL.end, filters={kind: text})
        assert read.totals(snapshot, view).n == 0
    for view in (ALL.of(text), ALL.of(text, "x"), View(start=ALL.start, end=ALL.end, sources=(text,), langs=(text,))):
        assert read.count_posts(snapshot, view) == 0
        assert read.terms(snapshot, view, "hashtag").num_rows == 0
    for query in (text, f"from:{text}", f'"{text}', f"-{text} bad", f"url:{text}", f"place:{text} #{text}*"):
        if len(query) < 4_096:
            read.posts(snapshot, View(start=ALL.start, end=ALL.end, query=query), 5)
    assert read.posts(snapshot, ALL, 5, (NOON, text)).num_rows == 0


def test_tracks_and_what_sets_a_span_apart(built: Builder) -> None:
    assert read.tracks_of(built.lake) == ["rest", "flights", "sea's"] or set(read.tracks_of(built.lake)) == {
        "rest", "flights", "sea's",
    }  # fmt: skip
    found = read.explain(built.lake, ALL, NOON, NOON + 10 * MINUTE, windows_before=3)
    assert found.n > 0
    assert found.n_before == 0
    assert found.terms == ()
    assert not found.sampled
    assert moments.find(read.series(built.lake, ALL.led(60)), ALL.every) == []


def test_a_sample_is_scaled_and_says_so(
    snapshot: Snapshot, stored: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read, "MAX_WORD_POSTS", 100)
    found = read.terms(snapshot, ALL, "word", 3)
    assert found.schema.metadata
    sampled = int(found.schema.metadata[b"sampled"])
    assert 40 < sampled < 200
    (bad,) = [row["n"] for row in found.to_pylist() if row["term"] == "bad"]
    assert bad == pytest.approx(sum("bad" in row["text"] for row in stored), rel=0.6)


def test_what_cannot_be_counted(snapshot: Snapshot) -> None:
    with pytest.raises(ConfigError, match="kind of term 'colour'"):
        read.terms(snapshot, ALL, "colour")
    with pytest.raises(ConfigError, match="counted by 'text'"):
        read.breakdown(snapshot, ALL, "text")
