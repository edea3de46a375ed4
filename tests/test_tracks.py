"""Tracks: what a query says, what it means, and that the columns say the same as reading row by row."""

import pickle
import unicodedata
from contextlib import suppress
from functools import partial
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.stages.batches import NOON, Row, batch_of

from feltwire import query, text
from feltwire.errors import ConfigError
from feltwire.query import And, Expression, Not, Or, Term
from feltwire.tracks import Track, match, parse, terms, to_string


def word(value: str, *, prefix: bool = False) -> Term:
    return Term("word", value, prefix)


@pytest.mark.parametrize(
    ("given_query", "expected"),
    [
        ("delta", word("delta")),
        ("delta united", And((word("delta"), word("united")))),
        ("delta AND united", And((word("delta"), word("united")))),
        ("a b OR c d", Or((And((word("a"), word("b"))), And((word("c"), word("d")))))),
        ("a (b OR c) d", And((word("a"), Or((word("b"), word("c"))), word("d")))),
        ("-a", Not(word("a"))),
        ("NOT a", Not(word("a"))),
        ("-(a OR b)", Not(Or((word("a"), word("b"))))),
        ("--a", word("a")),
        ("NOT NOT -a", Not(word("a"))),
        ("-(-a)", word("a")),
        ("((((a))))", word("a")),
        ("delt*", word("delt", prefix=True)),
        ("#Late*", Term("hashtag", "Late", prefix=True)),
        ("#late @United", And((Term("hashtag", "late"), Term("mention", "united")))),
        ('"exact  words"', Term("phrase", "exact words")),
        (r'"a \"b\" \\ c"', Term("phrase", r'a "b" \ c')),
        ("check-in or and not", And((word("check-in"), word("or"), word("and"), word("not")))),
        ("ORANGE ANDROID NOTE", And((word("ORANGE"), word("ANDROID"), word("NOTE")))),
        ('"OR"', Term("phrase", "OR")),
        ("10:30", word("10:30")),
        ("from:@Handle", Term("from", "handle")),
        ("FROM:handle", Term("from", "handle")),
        ("lang:pt-BR", Term("lang", "pt")),
        ("lang:und", Term("lang", "und")),
        ('place:"New York"', Term("place", "New York")),
        ("source:Bluesky", Term("source", "bluesky")),
        ("is:Reply has:EMOJI", And((Term("is", "reply"), Term("has", "emoji")))),
        ("url:https://www.Example.org/path", Term("url", "example.org")),
        ("cafe\u0301", word("café")),
        ("a\u00a0b\nc", And((word("a"), word("b"), word("c")))),
    ],
)
def test_a_query_is_read(given_query: str, expected: Expression) -> None:
    assert parse(given_query) == expected
    assert parse(to_string(expected)) == expected


@pytest.mark.parametrize(
    ("given_query", "position", "message"),
    [
        ("", 1, "the query ended; allowed: a word"),
        ("a OR", 5, "the query ended; allowed: a word"),
        ("OR a", 1, "'OR' came; allowed: a word"),
        ("a AND OR b", 7, "'OR' came; allowed: a word"),
        ("(a", 3, "the query ended; allowed: )"),
        ("a)", 2, "')' came; allowed: the end"),
        ("()", 2, "')' came; allowed: a word"),
        ('say "a b', 5, "a quotation mark came that no other one closes"),
        ("a - b", 3, "'-' came; allowed: a word"),
        ("a -", 3, "'-' came; allowed: a word"),
        ('a ""', 3, "empty quotation marks came; allowed: words between them"),
        ("a foo:b", 3, "the operator 'foo:' came; allowed: from:, lang:, place:, source:, is:, has:, url:"),
        ("http://x.example", 1, "the operator 'http:' came"),
        ("is:retweet", 1, "'is:retweet' came; allowed: is:repost, is:reply, is:quote, is:verified"),
        ("has:", 1, "'has:' came; allowed: has:links, has:hashtags, has:emoji, has:mentions"),
        ("lang:english", 1, "'lang:english' came; allowed: an ISO 639-1 code"),
        ("from:", 1, "'from:' without a name came; allowed: from:name"),
        ("place:", 1, "'place:' without a value came; allowed: place:value"),
        ("url:/", 1, "'url:/' came; allowed: a domain"),
        ("#1", 1, "'#1' came; allowed: a hashtag with a letter in it"),
        ("@", 1, "'@' without a name came; allowed: @name"),
        ("a*b", 1, "'a*b' came; allowed: letters, and one '*' at the end"),
        ("*", 1, "'*' came; allowed: letters"),
        ("#*", 1, "'#*' came; allowed: letters"),
    ],
)
def test_a_bad_query_is_told_in_one_line(given_query: str, position: int, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(given_query)
    told = str(caught.value)
    assert "\n" not in told
    assert f"position {position}: " in told
    assert message in told


@pytest.mark.parametrize("given_query", ["a" * 5_000, "(" * 51 + "a" + ")" * 51, "-(a " * 51 + "b" + ")" * 51])
def test_a_query_has_bounds(given_query: str) -> None:
    with pytest.raises(ConfigError, match=r"at most 4,096 are allowed|more than 50 parentheses deep"):
        parse(given_query)


def test_a_query_at_its_bounds_is_read() -> None:
    deep = "-(a (b OR " * 25 + "c" + "))" * 25
    assert parse(to_string(parse(deep))) == parse(deep)
    assert parse("-" * 4_095 + "a") == Not(word("a"))
    many = " OR ".join(f"w{number}" for number in range(500))
    assert match(batch_of({"text": "so w499"}), [Track("many", many)]).to_pylist() == [["many"]]


def test_a_track_is_checked_when_it_is_made() -> None:
    with pytest.raises(ConfigError, match=r"track 'air': query 'a OR', position 5"):
        Track("air", "a OR")
    for name in ("", " ", "*", "a\nb"):
        with pytest.raises(ConfigError, match="allowed: any printable text but '\\*'"):
            Track(name, "a")


def test_a_track_can_be_pickled_and_compared() -> None:
    track = Track("air", "(delta OR united) -football")
    copy = pickle.loads(pickle.dumps(track))
    assert copy == track
    assert hash(copy) == hash(track)
    assert copy.expression == track.expression


def test_two_tracks_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="two tracks of one name came: a, a"):
        match(batch_of({}), [Track("a", "x"), Track("a", "y")])


def test_terms_are_what_a_track_wants_to_read() -> None:
    track = Track("air", '(delta OR #Late) "lost bag" -football -(x OR -y) @United lang:en delta is:reply')
    assert terms(track) == ["delta", "#Late", "lost bag", "y", "@united"]


def matches(given_query: str, **row: Any) -> bool:
    (names,) = match(batch_of(row), [Track("t", given_query)]).to_pylist()
    return bool(names)


@pytest.mark.parametrize(
    ("given_query", "given_text", "expected"),
    [
        ("delta", "Delta!", True),
        ("DELTA", "my delta's late", True),
        ("delta", "deltas", False),
        ("delta", "subdelta", False),
        ("delta", "delta_air", False),
        ("delta", "delta2", False),
        ("delta", "#delta @delta https://delta.example", True),
        ("delta*", "deltas", True),
        ("delta*", "subdeltas", False),
        ("delta", "1delta deltá delta", True),
        ("cafe", "café", False),
        ("cafe", "cafe\u0301", False),
        ("café", "CAFE\u0301", True),
        ("CAFE\u0301", "café", True),
        ("straße", "STRAẞE", True),
        ("σας", "ΣΑΣ", True),
        ("delta", "乘坐delta航空", True),
        ("航空", "乘坐delta航空公司", True),
        ("हिन्दी", "मैं हिन्दी।", True),
        ("हिन", "हिन्दी", False),
        ("c++", "I like C++.", True),
        ("😂", "so😂😂", True),
        ("at&t", "AT&amp;T is down", True),
        ("at&t", "AT&T is down", True),
        ("check-in", "pre-check-in-desk", True),
        ("check-in", "precheck-in", False),
        ('"lost bag"', "They lost  bag\n", True),
        ('"lost bag"', "LOST\u00a0BAG", True),
        ('"lost bag"', "lost my bag", False),
        ('"lost bag"', "lost baggage", False),
        ("#late", "so #LATE!", True),
        ("#late", "so late", False),
        ("#late", "#lately x#late", False),
        ("#late*", "#lately", True),
        ("@united", "hey @United.", True),
        ("@united", "hey @unitedair @united.com me@united", False),
        ("@bob", "hey @bob@m.example", True),
        ("@bob@m.example", "hey @bob@m.example", True),
        ("-football", "airline", True),
        ("-football", "football", False),
        ("a OR b c", "b", False),
        ("a OR b c", "c b", True),
        ("(a OR b) c", "a", False),
        ("has:links", "see www.example.org", True),
        ("has:links", "see example.org", False),
        ("has:hashtags", "#1 #", False),
        ("has:hashtags", "&#35;a", True),
        ("has:mentions", "x@y.example", False),
        ("has:emoji", "❤", True),
        ("has:emoji", "&#x1F602;", True),
        ("has:emoji", "© é", False),
        ("url:example.org", "https://EXAMPLE.org:80/x", True),
        ("url:example.org", "http://news.example.org", True),
        ("url:example.org", "http://notexample.org http://a.example/example.org", False),
        ("url:example.org", "http://example.org@evil.example", False),
    ],
)
def test_what_a_query_means_for_a_text(given_query: str, given_text: str, expected: bool) -> None:
    assert matches(given_query, text=given_text) is expected


@pytest.mark.parametrize(
    ("given_query", "row", "expected"),
    [
        ("from:united", {"author_handle": "United"}, True),
        ("from:united", {"author_handle": "united2", "author_id": None}, False),
        ("from:did:plc:abc", {"author_id": "did:plc:abc"}, True),
        ("lang:en", {"lang": "en"}, True),
        ("lang:en", {"lang": None}, False),
        ("-lang:en", {"lang": None}, True),
        ("lang:und", {"lang": None}, True),
        ("lang:und", {"lang": "en"}, False),
        ("place:london", {"author_location": "Greater London, UK"}, True),
        ("place:london", {"author_location": "Londonderry"}, False),
        ('place:"new york"', {"author_location": "NEW YORK"}, True),
        ("place:london", {"author_location": None, "text": "london"}, False),
        ("source:bluesky", {"source": "bluesky"}, True),
        ("source:x", {"source": "bluesky"}, False),
        ("is:repost", {"repost_of_id": "x:1"}, True),
        ("is:reply", {"reply_to_id": "x:1"}, True),
        ("is:quote", {"quote_of_id": "x:1"}, True),
        ("is:reply OR is:quote OR is:repost", {}, False),
        ("is:verified", {"author_verified": True}, True),
        ("is:verified", {"author_verified": None}, False),
        ("-is:verified", {"author_verified": False}, True),
        ("#late", {"hashtags": [None, "LATE"]}, True),
        ("#late", {"hashtags": ["#late"]}, True),
        ("#late", {"hashtags": ["later"]}, False),
        ("@united", {"mentions": ["@United"]}, True),
        ("has:hashtags", {"hashtags": ["x"]}, True),
        ("has:hashtags", {"hashtags": []}, False),
        ("has:links", {"links": ["https://a.example"]}, True),
        ("has:mentions", {"mentions": ["a"]}, True),
        ("url:a.example", {"links": ["https://user:secret@www.a.example/x"]}, True),
        ("url:a.example", {"links": ["http://[", None, "a.example"]}, True),
        ("word", {"text": None}, False),
        ("-word", {"text": None}, True),
    ],
)
def test_what_a_query_means_for_a_row(given_query: str, row: Row, expected: bool) -> None:
    assert matches(given_query, **row) is expected


def test_every_printable_character_can_be_a_word() -> None:
    for code in range(33, 127):
        char = chr(code)
        if char not in '()"*#@-':
            assert matches(char, text=f"so {char}")
        assert matches(f'"\\{char}x"', text=f"so {char}X!")


# --- the columns against reading row by row -------------------------------------------------------------------------

WORDS = (
    *("delta", "Delta", "deltas", "united", "café", "cafe\u0301", "cafe", "STRASSE", "straße", "σας", "ΣΑΣ"),
    *("at&t", "c++", "😂", "航空", "हिन्दी", "हिन", "1st", "i", "I", "ı", "İ", "aa", "a-a", "_x"),
)
BETWEEN = (" ", "  ", "\n", "", "-", "&", "&amp;", "#", "@", ".", "é", "\u0301", "_", "空", "©", "'", "\u200b")
TEXTS = st.lists(st.sampled_from([*WORDS, *BETWEEN, "#late", "@bob", "https://a.example/x", "❤️"]), max_size=9)
texts = TEXTS.map("".join)
LISTS = st.none() | st.lists(
    st.sampled_from([None, "", "late", "#LATE", "bob", "https://b.a.example", "x"]), max_size=2
)

rows = st.fixed_dictionaries(
    {
        "text": st.none() | texts,
        "author_location": st.none() | texts,
        "author_handle": st.sampled_from([None, "Bob", "alice", ""]),
        "author_id": st.sampled_from([None, "bob", "7"]),
        "author_verified": st.sampled_from([None, True, False]),
        "lang": st.sampled_from([None, "en", "de"]),
        "source": st.sampled_from(["test", "Other", None]),
        "reply_to_id": st.sampled_from([None, "x:1"]),
        "quote_of_id": st.sampled_from([None, "x:2"]),
        "repost_of_id": st.sampled_from([None, "x:3"]),
        "hashtags": LISTS,
        "mentions": LISTS,
        "links": LISTS,
    }
)

phrases = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join)


def normal(value: str) -> str:
    return unicodedata.normalize("NFC", value)


term_kinds = st.one_of(
    st.builds(Term, st.just("word"), st.sampled_from(WORDS).map(normal), st.booleans()),
    st.builds(Term, st.just("phrase"), phrases.map(normal)),
    st.builds(Term, st.just("hashtag"), st.sampled_from(["late", "LA", "delta", "café"]), st.booleans()),
    st.builds(Term, st.just("mention"), st.sampled_from(["bob", "delta"])),
    st.builds(Term, st.just("from"), st.sampled_from(["bob", "7"])),
    st.builds(Term, st.just("lang"), st.sampled_from(["en", "und"])),
    st.builds(Term, st.just("place"), phrases.map(normal)),
    st.builds(Term, st.just("source"), st.sampled_from(["test", "other"])),
    st.builds(Term, st.just("is"), st.sampled_from(query.IS)),
    st.builds(Term, st.just("has"), st.sampled_from(query.HAS)),
    st.builds(Term, st.just("url"), st.sampled_from(["a.example", "b.a.example", "example"])),
)


def negated(part: Expression) -> Expression:
    return part.part if isinstance(part, Not) else Not(part)


def nested(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    several = st.lists(inner, min_size=2, max_size=4).map(tuple)
    return inner.map(negated) | several.map(And) | several.map(Or)


leaves: st.SearchStrategy[Expression] = term_kinds
expressions = st.recursive(leaves, nested, max_leaves=8)


def letter(char: str) -> bool:
    """A character that words are made of, in a script that has blanks between words."""
    code = ord(char)
    unspaced = 0x0E00 <= code <= 0x0EFF or 0x1000 <= code <= 0x109F or 0x1780 <= code <= 0x17FF
    unspaced = unspaced or 0x2E80 <= code <= 0x9FFF or 0xF900 <= code <= 0xFAFF
    mark = unicodedata.category(char)[0] == "M" and not 0xFE00 <= code <= 0xFE0F and not 0x20D0 <= code <= 0x20FF
    return not unspaced and (char.isalnum() or char == "_" or mark)


FOLD = {"ı": "i", "I": "i", "İ": "İ", "ς": "σ", "ẞ": "ß"}


def fold(value: str) -> str:
    return "".join(FOLD.get(char) or FOLD.get(char.lower()) or char.lower() for char in value)


def stands_in(value: str | None, term: Term) -> bool:
    """Whether the term's words stand in the value, tried at every position."""
    if value is None:
        return False
    escaped = term.value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    forms = {unicodedata.normalize(form, one) for form in ("NFC", "NFD") for one in (term.value, escaped)}
    return any(begins_at(value, start, form, term.prefix) for form in forms for start in range(len(value)))


def begins_at(value: str, start: int, form: str, prefix: bool) -> bool:
    if letter(form[0]) and start > 0 and letter(value[start - 1]):
        return False
    place = start
    for char in form:
        if char == " ":
            rest = value[place:].lstrip()
            if len(rest) == len(value) - place:
                return False
            place = len(value) - len(rest)
        elif place < len(value) and fold(value[place]) == fold(char):
            place += 1
        else:
            return False
    return prefix or not letter(form[-1]) or place == len(value) or not letter(value[place])


def same_tag(term: Term, tag: str | None) -> bool:
    tag = normal((tag or "").removeprefix("#").lower())
    wanted = term.value.lower()
    return tag.startswith(wanted) if term.prefix else tag == wanted


def same_site(term: Term, link: str | None) -> bool:
    host = (link or "").partition("://")[2] or (link or "")
    host = host.partition("/")[0]
    return host == term.value or host.endswith("." + term.value)


def holds(term: Term, row: Row) -> bool:  # noqa: PLR0911
    body = row["text"] or ""
    match term.kind:
        case "word" | "phrase":
            return stands_in(row["text"], term)
        case "place":
            return stands_in(row["author_location"], term)
        case "hashtag":
            return any(map(partial(same_tag, term), [*text.hashtags(body), *filter(None, row["hashtags"] or [])]))
        case "mention":
            handles = [*text.mentions(body), *filter(None, row["mentions"] or [])]
            return any(term.value in (one.lower(), one.lower().partition("@")[0]) for one in handles)
        case "url":
            return any(map(partial(same_site, term), [*text.links(body), *(row["links"] or [])]))
        case "from":
            return term.value in ((row["author_handle"] or "").lower(), row["author_id"])
        case "lang":
            return (row["lang"] or "und") == term.value
        case "source":
            return (row["source"] or "").lower() == term.value
        case "is":
            column = {"verified": "author_verified"}.get(term.value, term.value)
            column = {"repost": "repost_of_id", "reply": "reply_to_id", "quote": "quote_of_id"}.get(column, column)
            return bool(row[column])
        case _:
            own = {"emoji": [None]}.get(term.value) or row[term.value] or []
            found = {"emoji": text.emoji_used, "links": text.links, "hashtags": text.hashtags}
            return any(own) or bool(found.get(term.value, text.mentions)(body))


def naive(expression: Expression, row: Row) -> bool:
    match expression:
        case Term():
            return holds(expression, row)
        case Not(part):
            return not naive(part, row)
        case And(parts):
            return all(naive(part, row) for part in parts)
        case Or(parts):
            return any(naive(part, row) for part in parts)


@pytest.mark.prove
@given(drawn=st.lists(rows, max_size=4), wanted=st.lists(expressions, max_size=3), skipped=st.integers(0, 2))
def test_columns_say_what_rows_say(drawn: list[Row], wanted: list[Expression], skipped: int) -> None:
    tracks = [Track(str(number), to_string(expression)) for number, expression in enumerate(wanted)]
    assert [track.expression for track in tracks] == wanted
    batch = batch_of(*({**row, "created_at": NOON} for row in drawn)).slice(skipped)
    expected = [[track.name for track in tracks if naive(track.expression, row)] for row in drawn[skipped:]]
    result = match(batch, tracks)
    assert result.type == pa.list_(pa.string())
    assert result.to_pylist() == expected


@pytest.mark.prove
@given(drawn=st.text() | st.lists(st.sampled_from(['"', "(", ")", "-", "a", " ", "OR", "NOT", "is:", "#", "*", "\\"])))
def test_any_text_is_a_query_or_a_mistake(drawn: str | list[str]) -> None:
    drawn = "".join(drawn)
    expression = None
    with suppress(ConfigError):
        expression = parse(drawn)
    if expression is not None:
        assert parse(to_string(expression)) == expression
        match(batch_of({}, {"text": drawn}), [Track("t", drawn)])
