"""A page's address: what it says is what is shown, whatever else stands in it."""

from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feltwire.schema import ALL_TRACKS
from feltwire.web.dashboard.view import MAX_BARS, WINDOWS, Filter, View, parse

NOON = datetime(2026, 3, 1, 12, 7, tzinfo=UTC)
TEXT = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"], exclude_characters="\x7f"), max_size=30)


def test_an_empty_address_is_the_last_hour_of_all_posts() -> None:
    view = parse("")
    assert view == View()
    assert (view.track, view.length, view.window_name, view.custom) == (ALL_TRACKS, timedelta(hours=1), "1m", False)
    assert view.query() == ""
    mood = view.mood(NOON)
    assert (mood.start, mood.end, mood.tracks) == (NOON - timedelta(minutes=59), NOON + timedelta(minutes=1), ())


def test_everything_that_an_address_can_say() -> None:
    query = (
        "?page=compare&track=air&track=sea&from=2026-03-01T10:00:00Z&to=2026-03-01T12:00:00Z&window=5m&source=x"
        "&lang=en&lang=und&f=hashtag:down&q=crew%20-good&mode=shares&emoji=felt&terms=tags&table=1&posts=all"
        "&at=2026-03-01T11:00:00Z&with=sea"
    )
    view = parse(query)
    assert (view.page, view.tracks, view.sources, view.langs) == ("compare", ("air", "sea"), ("x",), ("en", "und"))
    assert (view.length, view.every_s, view.custom) == (timedelta(hours=2), 300, True)
    assert (view.filters, view.text, view.narrowed) == ((Filter(kind="hashtag", value="down"),), "crew -good", True)
    assert (view.mode, view.emoji, view.terms, view.table, view.every_post) == ("shares", "felt", "tags", True, True)
    assert view.extra_value("with") == "sea"
    assert "?" + view.query() == query
    mood = view.mood(NOON)
    assert (mood.tracks, mood.filters, mood.query) == (("air",), {"hashtag": "down"}, "crew -good")
    assert view.mood(NOON, "sea").tracks == ("sea",)
    assert view.mood(NOON, ALL_TRACKS).tracks == ()


@pytest.mark.parametrize(
    "query",
    [
        "page=tickets", "range=2h", "window=7m", "mode=pie", "emoji=all", "terms=names", "f=down", "f=nothing:x",
        "f=hashtag:", "lang=1", "from=2026-03-01", "to=2026-03-01", "from=2026-03-02&to=2026-03-01",
        "from=1000-01-01&to=2026-03-01", "from=soon&to=later", "at=never", "track=%20", "track=a%00b", "source=%0a",
        "q=%20%20", "track=" + "a" * 201,
    ],
)  # fmt: skip
def test_what_is_not_understood_is_left_out(query: str) -> None:
    assert parse(query) == View()


def test_a_window_that_makes_too_many_bars_is_not_taken() -> None:
    assert parse("range=30d&window=1m").window == ""
    for name, every_s in WINDOWS.items():
        view = parse(f"range=7d&window={name}")
        assert (view.window == name) == (7 * 86_400 / every_s <= MAX_BARS)


def test_one_filter_of_a_kind_the_last_that_came() -> None:
    view = parse("f=hashtag:a&f=word:b&f=hashtag:c")
    assert view.filters == (Filter(kind="hashtag", value="c"), Filter(kind="word", value="b"))


@given(track=TEXT, value=TEXT, text=TEXT, junk=TEXT)
def test_an_address_is_written_in_one_way(track: str, value: str, text: str, junk: str) -> None:
    query = f"track={quote(track)}&f=word:{quote(value)}&q={quote(text)}&{quote(junk)}={quote(junk)}&{junk}"
    view = parse(query)
    assert parse(view.query()) == view
    assert parse(view.query()).query() == view.query()
