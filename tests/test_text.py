"""The cleaner: its profiles case by case, what it finds in a text, and that no text stops it or slows it down."""

import json
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.stages.batches import PIECES, cases, texts

from feltwire import text
from feltwire.errors import ConfigError

anything = texts | st.text(st.characters())
"""Texts with all that a Python string can hold: lone surrogates too."""


@pytest.mark.parametrize("profile", text.profiles())
@pytest.mark.parametrize("case", cases("text"), ids=lambda case: case["title"])
def test_case(case: Any, profile: str) -> None:
    assert text.clean([case["given"]], profile) == [case[profile]]


def test_profiles_are_named_and_others_are_refused() -> None:
    assert text.profiles()[:4] == ("social", "letters", "plain", "lemma")
    with pytest.raises(ConfigError, match="unknown cleaning profile 'none': known are social, letters, plain, lemma"):
        text.clean([], "none")


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("#One two #one #TWO", ["one", "two"]),
        ("#ÜBER ＃全角 #हिन्दी #Straße", ["über", "全角", "हिन्दी", "straße"]),
        ("#covid19 #1 #123 #_ #_a #2nd", ["covid19", "_a", "2nd"]),
        ("a#b ##c &#39; https://x.example/#frag #", []),
        ("(#a,#b)#c", ["a", "b", "c"]),
        ("&#35;late &amp;#35;again", ["late", "again"]),
        ("#cafe\u0301", ["café"]),
        ("#love❤️ #️⃣", ["love"]),
    ],
)
def test_hashtags(given_text: str, expected: list[str]) -> None:
    assert text.hashtags(given_text) == expected


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("@United, @united and @delta.", ["United", "delta"]),
        ("@a.bsky.social @my-name.example.org: hi", ["a.bsky.social", "my-name.example.org"]),
        ("@bob@mastodon.example!", ["bob@mastodon.example"]),
        ("me@example.org @@x @ @. ＠full", ["full"]),
        ("@josé @under_score", ["josé", "under_score"]),
        ("https://m.example/@bob", []),
    ],
)
def test_mentions(given_text: str, expected: list[str]) -> None:
    assert text.mentions(given_text) == expected


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("https://t.co/a http://T.co/b HTTPS://C.example", ["https://t.co/a", "http://T.co/b", "HTTPS://C.example"]),
        ("www.example.org/x and https://www.example.org/x", ["https://www.example.org/x"]),
        ('(https://e.example/a_(b)), "https://e.example/c".', ["https://e.example/a_(b)", "https://e.example/c"]),
        ("https://e.example/?a=1&amp;b=2&copy=3", ["https://e.example/?a=1&b=2&copy=3"]),
        ("cut off: https://t.co/abc… https://t.co/abc...", []),
        ("https:// http://... www. example.org/x", []),
        ("https://de.wikipedia.org/wiki/Köln见", ["https://de.wikipedia.org/wiki/Köln"]),
    ],
)
def test_links(given_text: str, expected: list[str]) -> None:
    assert text.links(given_text) == expected


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("😂😂 🔥😂", ["😂", "🔥"]),
        ("❤ ❤️ ☀", ["❤️", "☀️"]),
        ("👍🏽👍🏿👍", ["👍🏽", "👍🏿", "👍"]),
        ("👨‍👩‍👧🇺🇸🇩🇪1️⃣#️⃣🏴󠁧󠁢󠁥󠁮󠁧󠁿", ["👨‍👩‍👧", "🇺🇸", "🇩🇪", "1️⃣", "#️⃣", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"]),
        ("© ™ ☀︎ 1 # → 🇽🇽", []),
        ("©️ &#x1F602; &#128514;", ["©️", "😂"]),
    ],
)
def test_emoji_used(given_text: str, expected: list[str]) -> None:
    assert text.emoji_used(given_text) == expected


@pytest.mark.prove
@given(drawn=st.lists(anything, max_size=4))
def test_no_text_raises_and_each_is_cleaned_by_itself(drawn: list[str]) -> None:
    for profile in text.profiles():
        cleaned = text.clean(drawn, profile)
        assert cleaned == [text.clean([one], profile)[0] for one in drawn]
        pa.array(cleaned, pa.string())  # what a column can hold
        for one in cleaned:
            assert one == " ".join(one.split())
            assert not any(unicodedata.category(char) in ("Cc", "Cs") for char in one)
    found = text.extract([text.decode(one) for one in drawn])
    functions = (text.hashtags, text.mentions, text.links, text.emoji_used)
    for column, function in zip(found, functions, strict=True):
        assert column == [function(one) for one in drawn]
        pa.array(column, pa.list_(pa.string()))
        assert all(len(set(row)) == len(row) for row in column)


@pytest.mark.prove
@given(one=anything)
def test_social_is_composed_and_bounded(one: str) -> None:
    (cleaned,) = text.clean([one], "social")
    assert unicodedata.is_normalized("NFC", cleaned)
    for char in set(cleaned) - set("0123456789"):
        assert char.isdecimal() or char * (text.MAX_REPEATS + 1) not in cleaned


@pytest.mark.prove
@given(one=anything)
def test_letters_are_letters(one: str) -> None:
    (cleaned,) = text.clean([one], "letters")
    for char in cleaned:
        assert char in " #" or unicodedata.category(char)[0] in "LMN"
        assert not char.isdecimal()
    assert "# " not in cleaned


def seconds(work: Callable[[], object]) -> float:
    """The processor time of a piece of work: the least of three tries."""
    tries = []
    for _ in range(3):
        begun = time.process_time()
        work()
        tries.append(time.process_time() - begun)
    return min(tries)


HOSTILE: dict[str, str] = {
    "at signs": "@",
    "hashes": "#",
    "ampersands": "&",
    "entities in entities": "&amp;",
    "entities that never end": "&#11111111111111",
    "letters": "a",
    "words": "lorem ipsum ",
    "dots": ".",
    "dotted words": "a.",
    "hyphens": "a-",
    "handles that run on": "@a",
    "handles and dots": "@a.b-c.",
    "links that begin": "http://",
    "links of nothing": "http://.",
    "links that end in dots": "https://a.example/....",
    "shown links": "a.com/",
    "almost shown links": "a.com ",
    "brackets": "https://a.example/)",
    "emoji": "😂",
    "two emoji": "😂🔥",
    "joiners": "👩\u200d",
    "endless families": "👩\u200d👩\u200d",
    "skin": "🏽",
    "flags": "🇺🇸🇩",
    "keycaps": "1\u20e3",
    "tags": "🏴\U000e0067",
    "marks of two classes": "\u0300\u0316",
    "marks far out": "\U0001d165\U0001d16e",
    "decomposed": "e\u0301",
    "Hangul in parts": "\u1100\u1161\u11a8",
    "controls": "\u0000\u202e",
    "blanks": " \n",
    "apostrophes": "a'",
    "repeats": "aaaa!!!!",
    "Indic": "हिन्दी#",
}


@pytest.mark.parametrize("piece", HOSTILE.values(), ids=HOSTILE.keys())
def test_time_is_linear_in_the_length(piece: str) -> None:
    """Four times the text may take a little more than four times as long, never sixteen times."""

    def work(length: int) -> Callable[[], object]:
        hostile = (piece * (length // len(piece) + 1))[:length]

        def run() -> None:
            for profile in text.profiles():
                text.clean([hostile], profile)
            text.extract([text.decode(hostile)])

        return run

    assert seconds(work(80_000)) < 9 * seconds(work(20_000)) + 0.005


@pytest.mark.slow
def test_a_megabyte_of_everything_is_cleaned() -> None:
    hostile = "".join(PIECES)
    hostile *= 1_000_000 // len(hostile) + 1
    for profile in text.profiles():
        assert text.clean([hostile], profile)[0]
    assert all(text.extract([text.decode(hostile)]))


def test_labelled_data_has_the_emoji_that_it_says(test_data: Path) -> None:
    """Emoji as the TweetEval task labels them are all found: as one emoji, with a name."""
    labels = pq.read_table(test_data / "tweeteval_emoji" / "validation.parquet", columns=["label"])["label"]
    for label in labels.unique().to_pylist():
        (found,) = text.emoji_used(f"so {label}!")
        assert found.replace("\ufe0f", "") == label.replace("\ufe0f", "")
        assert text.clean([label], "social")[0].replace(" ", "").isalnum()


def test_recorded_posts_go_through_whole(test_data: Path) -> None:
    events = pq.read_table(test_data / "bluesky_jetstream_v1" / "events.parquet", columns=["raw_json"])
    records = [json.loads(one).get("commit", {}).get("record", {}) for one in events["raw_json"].to_pylist()]
    posts = [record["text"] for record in records if "text" in record]
    assert posts
    for profile in text.profiles():
        assert len(text.clean(posts, profile)) == len(posts)
