"""Compare, Health and the explanation: what they say of a small lake, also of one that people mean harm with."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.lake.building import NOON, Builder, post

from feltwire import metrics
from feltwire.errors import LakeError
from feltwire.mood import moments, read
from feltwire.tracks import Track
from feltwire.web.app import FollowerState
from feltwire.web.dashboard import chart, compare, comparison, data, explanation, health, vitals, words
from feltwire.web.dashboard.context import Context, State
from feltwire.web.dashboard.live import encode
from feltwire.web.dashboard.view import parse

NOW = NOON + timedelta(minutes=60)
HOSTILE = "<img src=x onerror=alert(1)> [x](javascript:alert(1)) {{7*7}} \u202e"


class At(Context):
    """At a time of its own."""

    def now(self) -> datetime:
        return NOW


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """An hour of calm, with an incident in its last ten minutes."""
    tracks = (Track("<b>air</b>", "flight"), Track("sea", "sea"))
    builder = Builder(Path(tmp_path_factory.mktemp("lake")), tracks=tracks)
    rows: list[dict[str, Any]] = []
    for minute in range(-60, 60):
        bad = minute >= 50
        for i in range(12 if bad else 6):
            text = f"bad flight cancelled {HOSTILE} #down" if bad else f"{('good', 'so')[i % 2]} flight over the sea"
            at = NOON + timedelta(minutes=minute, seconds=i % 60)
            more = {"url": "javascript:alert(1)", "author_handle": "<script>", "author_id": f"a{len(rows)}"}
            rows.append(post(len(rows), text, created_at=at, **more))
    for start in range(0, len(rows), 1_000):
        builder.store(*rows[start : start + 1_000], at=NOW)
    follower = FollowerState(name="<i>desk</i>", position={0: 10}, alive=True, posts=5, error="<u>refused</u>")
    return At(State(lake=lambda: builder.lake, followers=lambda: (follower,)))


def nodes(value: Any) -> Iterator[Any]:
    """Every element and text of what is sent."""
    if isinstance(value, list) and value and isinstance(value[0], str) and isinstance(value[1], dict):
        yield value
        for child in value[2]:
            yield from nodes(child)
    elif isinstance(value, list):
        for child in value:
            yield from nodes(child)
    else:
        yield value


def text_of(sent: str) -> str:
    return " ".join(str(one) for one in nodes(json.loads(sent)) if not isinstance(one, list))


def check_harmless(sent: str) -> None:
    """No element that runs or loads anything, no handler, no link that is not one of the web's or the page's own."""
    for one in nodes(json.loads(sent)):
        if isinstance(one, list):
            tag, attributes, _ = one
            assert tag not in {"script", "img", "iframe", "style", "object"}
            assert not [name for name in attributes if name.startswith("on") or name == "srcdoc"]
            assert str(attributes.get("href", "?")).startswith(("?", "/_page/", "/api/v1/", "http://", "https://"))


def test_the_explanation(context: Context) -> None:
    at = (NOON + timedelta(minutes=50)).strftime("%Y-%m-%dT%H:%M:%SZ")
    parts = explanation.region(context, parse(f"at={at}&window=5m&track=%3Cb%3Eair%3C/b%3E"), UTC).compute()
    check_harmless(parts["children:aside"])
    said = text_of(parts["children:aside"])
    assert "12:50 – 12:59" in said
    assert "against 07:50 – 12:49" in said
    assert "Mood fell from +50 to −100; without those posts it would be –" not in said
    assert "120 posts in 10 minutes, 5.5× the usual." in said
    assert "cancelled" in said
    assert "#down" in said
    assert HOSTILE in said, "what people wrote is text"
    assert "Not different: source" in said
    assert "caused" not in said
    start, end, before, _ = json.loads(parts["span"])
    assert (end - start, start - before) == (600.0, 300.0 * moments.LEAD)


def test_the_moment_that_is_explained_has_its_flag(context: Context) -> None:
    view = parse("window=5m")
    board = data.read_board(read.snapshot(context.lake()), view, NOW, UTC)
    assert board.flags, "the incident"
    inside = replace(view, at=board.flags[-1].until - timedelta(minutes=1))
    pressed = [
        one for one in nodes(json.loads(encode(chart.flags(replace(board, view=inside))))) if isinstance(one, list)
    ]
    said = [one[1].get("aria-pressed") for one in pressed if one[0] == "button"]
    assert said.count("true") == 1
    ranks = {one[1]["aria-pressed"]: one[1]["data-rank"] for one in pressed if one[0] == "button"}
    assert ranks["true"] == "0", "it says all that it has to say"


def test_a_moment_that_is_asked_for_is_flagged_among_greater_ones() -> None:
    def moment(minute: int, size: float) -> moments.Moment:
        start = NOON + timedelta(minutes=minute)
        end = start + timedelta(minutes=1)
        return moments.Moment(
            kind="spike", start=start, end=end, by=("mood",), rising=True, before=0.0, now=size, times=None, n=50
        )

    found = [moment(i, 10.0 - i) for i in range(8)]
    assert [one.at.minute for one in data.flags_of(found, UTC, timedelta(minutes=1))] == [0, 1, 2, 3, 4]
    wanted = data.flags_of(found, UTC, timedelta(minutes=1), NOON + timedelta(minutes=7))
    assert [(one.number, one.at.minute) for one in wanted] == [(1, 0), (2, 1), (3, 2), (4, 3), (5, 7)]


def test_no_moment_no_panel(context: Context) -> None:
    parts = explanation.region(context, parse(""), UTC).compute()
    assert parts == {"children:aside": "[]", "span": "null"}
    shown = explanation.region(context, parse(""), UTC).failed(LakeError("<b>away</b>"))
    assert "<b>away</b>" in text_of(shown["children:aside"])


@pytest.mark.parametrize(
    "query", ["page=compare&track=sea", "page=compare&by=range&range=15m", "page=compare&show=complaints"]
)
def test_compare(context: Context, query: str) -> None:
    (region,) = compare.build(context, parse(query), UTC)
    parts = region.compute()
    for name in ("children:scope", "children:other"):
        check_harmless(parts[name])
    said = text_of(parts["children:other"])
    assert "Side by side" in said
    assert "100.0%" in said or "Share of" in said
    figure = json.loads(parts["figure:cmpplot"])
    assert all(
        "<i" not in str(one["text"]) and "<b>a" not in str(one["text"]) for one in figure["layout"]["annotations"]
    )


def test_shares_of_voice_add_up(context: Context) -> None:
    lake = read.snapshot(context.lake())
    pair = comparison.read_pair(lake, parse("track=sea"), "<b>air</b>", NOW, UTC)
    assert (pair.a.totals.n, pair.b.totals.n) == (49 * 6, 49 * 6 + 10 * 12)
    assert pair.finding.startswith("sea is ")


def test_health(context: Context) -> None:
    history = vitals.History(context)
    history.note(NOW)
    (region,) = health.build(context, parse("page=health&ledger=today"), UTC, history)
    parts = region.compute()
    check_harmless(parts["children:other"])
    said = text_of(parts["children:other"])
    assert "Every post is accounted for" in said
    assert "<u>refused</u>" in said
    assert "Trying again" in said
    assert "Records behind Lag" in said, "of followers"
    assert "Table Rows Files Size Compacted" in said
    assert json.loads(parts["figure:lagplot"])["data"]


def test_a_follower_s_lag_is_the_age_of_what_it_lacks(context: Context) -> None:
    lake = read.snapshot(context.lake())
    end = dict(lake.positions("posts"))
    follower = FollowerState(name="desk", position=end, alive=True, posts=5, error=None)
    level = vitals._following(lake, follower, NOW)
    assert (level.behind, level.lag_s) == (0, 0.0)
    late = vitals._following(lake, replace(follower, position={0: end[0] - 5}), NOW + timedelta(seconds=90))
    assert late.behind == 5
    assert 85.0 < late.lag_s < 95.0
    assert vitals._following(lake, replace(follower, position={}), NOW).behind == end[0]


def test_compacted_is_said_where_this_process_has_done_it() -> None:
    sizes = {"posts": {"rows": 2, "files": 1, "bytes": 10}, "terms": {"rows": 0, "files": 0, "bytes": 0}}
    metrics.MERGED_AT.labels(table="terms").set(NOW.timestamp())
    merged = {one.name: one.merged for one in vitals._tables(sizes)}
    assert merged["terms"] == NOW


def test_what_happened_begins_lasts_and_ends(context: Context) -> None:
    history = vitals.History(context)
    history._say(NOW, "engine", "disk full", "The engine goes on")
    history._say(NOW, "engine", "disk full", "The engine goes on")
    assert [(one.text, one.open) for one in history.events] == [("disk full", True)]
    history._say(NOW, "engine", "disk still full", "The engine goes on")
    history._say(NOW, "engine", "", "The engine goes on")
    assert [(one.text, one.open) for one in history.events] == [("disk full", False), ("The engine goes on", False)]


@pytest.mark.parametrize(
    ("size", "said"), [(0, ("0", "B")), (999, ("999", "B")), (4_200_000_000, ("4.2", "GB")), (61_000, ("61.0", "kB"))]
)
def test_sizes(size: int, said: tuple[str, str]) -> None:
    assert words.size_words(size) == said


@pytest.mark.parametrize(
    ("seconds", "said"), [(41, "41 s"), (400, "6 min"), (11_520, "3 h 12 min"), (6 * 86_400 + 4 * 3_600, "6 d 4 h")]
)
def test_durations(seconds: int, said: str) -> None:
    assert words.duration(timedelta(seconds=seconds)) == said
