"""Sums add: however posts are batched, ordered, merged, taken back or late, every bit of them is the same."""

import os
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feltwire import schema, windows
from feltwire.errors import ConfigError

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
KINDS = {
    "windows": (schema.WINDOWS, windows.window_sums),
    "terms": (schema.TERMS, windows.term_sums),
    "ledger": (schema.LEDGER, windows.ledger_sums),
}
ALL = pytest.mark.parametrize("name", KINDS)
OF_POSTS = pytest.mark.parametrize("name", ["windows", "terms"])
PROVING = bool(os.environ.get("FELTWIRE_PROVE"))
LAW = settings(max_examples=1000 if PROVING else 40)
EXTRA = [pa.field("kind", pa.string()), pa.field("outcome", pa.string()), pa.field("late", pa.bool_())]
COLUMNS = pa.schema([*schema.POSTS, *EXTRA])

times = st.one_of(
    st.datetimes(datetime(2026, 3, 1, 11, 58), datetime(2026, 3, 1, 12, 2)),  # noqa: DTZ001 - the zone is added
    st.datetimes(datetime(1901, 1, 1), datetime(2199, 1, 1)),  # noqa: DTZ001
).map(lambda at: at.replace(tzinfo=UTC))
words = st.sampled_from(["a", "b", "A", "", "ä", "😀", "x" * 150])
lists = st.none() | st.lists(st.none() | words, max_size=3)
links = st.none() | st.lists(
    st.sampled_from(["https://www.Example.com/a", "example.com", "http://example.com:80?x", "", "https://b.org#c"]),
    max_size=3,
)


@st.composite
def probabilities(draw: st.DrawFn) -> list[float]:
    """Four multiples of 2**-20 that sum to 1."""
    cuts = sorted(draw(st.lists(st.integers(0, schema.PROBABILITY_STEPS), min_size=3, max_size=3)))
    edges = [0, *cuts, schema.PROBABILITY_STEPS]
    return [(b - a) / schema.PROBABILITY_STEPS for a, b in pairwise(edges)]


@st.composite
def rows(draw: st.DrawFn) -> dict[str, Any]:
    """A row of a pipeline's output."""
    kind = draw(st.sampled_from([schema.POST, schema.EDIT, schema.REFUSAL, schema.DUPLICATE, schema.WITHDRAWAL]))
    outcomes: dict[str, list[str | None]] = {
        schema.REFUSAL: [schema.DEAD],
        schema.DUPLICATE: [schema.DUPLICATE],
        schema.WITHDRAWAL: [None],
    }
    row: dict[str, Any] = {
        "kind": kind,
        "outcome": draw(st.sampled_from(outcomes.get(kind, [schema.KEPT, schema.FILTERED, schema.DEAD]))),
        "event_time": draw(times),
        "ingested_at": draw(times),
        "source": draw(st.sampled_from(["x", "y"])),
        "log_partition": draw(st.integers(0, 1)),
        "lang": draw(st.sampled_from(["en", "de", None])),
        "tracks": draw(st.none() | st.lists(st.sampled_from(["one", "two", "three"]), unique=True, max_size=3)),
        "scored": draw(st.sampled_from([True, True, False, None])),
        "late": draw(st.booleans() | st.none()),
        "redated": draw(st.booleans() | st.none()),
        "hashtags": draw(lists),
        "emoji_used": draw(lists),
        "links": draw(links),
        "category": draw(st.none() | words),
        "emotion": draw(st.none() | words),
        "emoji": draw(st.none() | st.lists(words.map(lambda emoji: {"emoji": emoji, "p": 0.5}), max_size=3)),
        "entities": draw(st.none() | st.lists(words.map(lambda text: {"text": text, "label": "person"}), max_size=3)),
    }
    if row["scored"]:
        row["sentiment"] = draw(st.sampled_from([*schema.SENTIMENTS, None]))
        row |= {f"p_{label}": p for label, p in zip(schema.SENTIMENTS, draw(probabilities()), strict=True)}
    return row


many = st.lists(rows(), max_size=12)


def batch(some: Sequence[dict[str, Any]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(list(some), schema=COLUMNS)


def totals(sums: pa.RecordBatch) -> dict[Any, tuple[Any, ...]]:
    """{keys: sums}; floats as what they are, bit for bit."""
    keys, names = windows.keys_of(sums.schema), windows.sums_of(sums.schema)
    found = {
        tuple(row[key] for key in keys): tuple(
            row[name].hex() if isinstance(row[name], float) else row[name] for name in names
        )
        for row in sums.to_pylist()
    }
    assert len(found) == sums.num_rows, "a key stands in two rows"
    return found


def sum_of(name: str, some: Sequence[dict[str, Any]]) -> pa.RecordBatch:
    sums_schema, sum_up = KINDS[name]
    found = sum_up(batch(some))
    assert found.schema == sums_schema
    return found


def cut(some: Sequence[Any], places: Sequence[int]) -> list[Sequence[Any]]:
    edges = [0, *sorted(place % (len(some) + 1) for place in places), len(some)]
    return [some[a:b] for a, b in pairwise(edges)]


@pytest.mark.prove
@ALL
@LAW
@given(some=many, places=st.lists(st.integers(0, 100), max_size=4))
def test_rebatching_changes_nothing(name: str, some: list[dict[str, Any]], places: list[int]) -> None:
    """The sums of a batch are those of its parts, wherever it is cut."""
    parts = [sum_of(name, part) for part in cut(some, places)]
    assert totals(windows.merge(parts, KINDS[name][0])) == totals(sum_of(name, some))


@pytest.mark.prove
@ALL
@LAW
@given(some=many, order=st.randoms(use_true_random=False))
def test_partial_sums_merge_in_any_order_and_grouping(name: str, some: list[dict[str, Any]], order: Any) -> None:
    """Sums of sums are the same, whatever is added to what first."""
    parts = [sum_of(name, [row]) for row in some]
    while len(parts) > 1:
        order.shuffle(parts)
        n = order.randint(2, len(parts))
        parts = [windows.merge(parts[:n], KINDS[name][0]), *parts[n:]]
    found = parts[0] if parts else schema.empty(KINDS[name][0])
    assert totals(found) == totals(sum_of(name, some))


@ALL
@LAW
@given(some=many)
def test_the_order_of_posts_is_of_no_weight(name: str, some: list[dict[str, Any]]) -> None:
    assert totals(sum_of(name, some[::-1])) == totals(sum_of(name, some))


@pytest.mark.prove
@OF_POSTS
@LAW
@given(stay=many, go=many)
def test_a_negative_takes_posts_out_again(name: str, stay: list[dict[str, Any]], go: list[dict[str, Any]]) -> None:
    """Withdrawals and edits leave the sums of a recompute, and nothing where nothing is left."""
    sums_schema = KINDS[name][0]
    taken = windows.negate(sum_of(name, go), sums_schema)
    left = windows.merge([sum_of(name, [*stay, *go]), taken], sums_schema)
    assert totals(left) == totals(sum_of(name, stay))
    assert windows.merge([sum_of(name, go), taken], sums_schema).num_rows == 0


@pytest.mark.prove
@LAW
@given(some=many, late=rows(), minutes=st.integers(0, 60 * 24 * 400))
def test_a_late_post_lands_in_its_window(some: list[dict[str, Any]], late: dict[str, Any], minutes: int) -> None:
    """However much later it comes, it adds to the minute in which it happened, and to no other."""
    late |= {"event_time": NOON - timedelta(minutes=minutes, seconds=-7), "ingested_at": NOON}
    before, after = totals(sum_of("windows", some)), totals(sum_of("windows", [*some, late]))
    changed = {key[0] for key in {*before, *after} if before.get(key) != after.get(key)}
    assert changed == {NOON - timedelta(minutes=minutes)}
    parts = windows.merge([sum_of("windows", some), sum_of("windows", [late])], schema.WINDOWS)
    assert totals(parts) == after


@LAW
@given(some=many)
def test_windows_by_hand(some: list[dict[str, Any]]) -> None:
    """Counts are counts, and sums of probabilities are exact: the fractions that they stand for add up."""
    counts: Counter[Any] = Counter()
    exact: dict[Any, list[Fraction]] = {}
    for row in some:
        for track in ("*", *(row["tracks"] or ())):
            key = (row["event_time"].replace(second=0, microsecond=0), track, row["source"], row["lang"])
            counts[key, "n"] += 1
            counts[key, "n_scored"] += bool(row["scored"])
            counts[key, f"n_{row.get('sentiment')}"] += 1
            p = [Fraction(row.get(f"p_{label}") or 0.0) for label in schema.SENTIMENTS]
            exact[key] = [a + b for a, b in zip(exact.get(key, [Fraction(0)] * 4), p, strict=True)]
    found = {tuple(row[key] for key in schema.WINDOW_KEYS): row for row in sum_of("windows", some).to_pylist()}
    assert set(found) == set(exact)
    for key, row in found.items():
        assert [row[name] for name in schema.SUMS] == [counts[key, name] for name in schema.SUMS]
        assert [Fraction(row[name]) for name in schema.P_SUMS] == exact[key]


@LAW
@given(some=many)
def test_the_total_is_a_track_of_its_own(some: list[dict[str, Any]]) -> None:
    found = sum_of("windows", some).to_pylist()
    assert sum(row["n"] for row in found if row["track"] == schema.ALL_TRACKS) == len(some)
    assert sum(row["n"] for row in found) == len(some) + sum(len(row["tracks"] or ()) for row in some)


@LAW
@given(some=many)
def test_a_term_counts_once_a_post(some: list[dict[str, Any]]) -> None:
    """However often a post has it; too long ones are cut, empty ones are none."""
    expected: Counter[Any] = Counter()
    for row in some:
        terms = {("hashtag", term) for term in row["hashtags"] or ()}
        terms |= {("emoji_used", term) for term in row["emoji_used"] or ()}
        terms |= {("emoji", each["emoji"]) for each in row["emoji"] or ()}
        terms |= {("entity", each["text"]) for each in row["entities"] or ()}
        terms |= {(name, row[name]) for name in ("category", "emotion")}
        terms = {(kind, term[: windows.MAX_TERM_CHARS]) for kind, term in terms if term}
        expected.update((kind, term, track) for kind, term in terms for track in ("*", *(row["tracks"] or ())))
    found: Counter[Any] = Counter()
    for row in sum_of("terms", some).to_pylist():
        if row["kind"] != "domain":
            found[row["kind"], row["term"], row["track"]] += row["n"]
    assert found == expected


@pytest.mark.parametrize(
    ("link", "domain"),
    [
        ("https://www.Example.com/a/b?c#d", "example.com"),
        ("http://user:secret@news.example.org:8080/", "news.example.org"),
        ("example.net", "example.net"),
        ("HTTPS://WWW.EXAMPLE.COM", "example.com"),
        ("https://example.com?u=a@b.org", "example.com"),
        ("https://bücher.example/x", "bücher.example"),
    ],
)
def test_domains(link: str, domain: str) -> None:
    some = [{"event_time": NOON, "source": "x", "links": [link, link, f"{link}"], "tracks": []}]
    (row,) = sum_of("terms", some).to_pylist()
    assert (row["kind"], row["term"], row["n"]) == ("domain", domain, 1)


@LAW
@given(some=many)
def test_the_ledger_balances(some: list[dict[str, Any]]) -> None:
    found = sum_of("ledger", some).to_pylist()
    for row in found:
        assert row["received"] == row["kept"] + row["duplicate"] + row["filtered"] + row["dead"]
        assert row["kept"] >= max(row["unscored"], row["late"], row["redated"])
    assert sum(row["received"] for row in found) == sum(row["kind"] != schema.WITHDRAWAL for row in some)
    assert sum(row["withdrawn"] for row in found) == sum(row["kind"] == schema.WITHDRAWAL for row in some)
    assert sum(row["edited"] for row in found) == sum(row["kind"] == schema.EDIT for row in some)


def test_more_posts_than_a_float_holds_by_and_by() -> None:
    """A million posts, added one batch at a time and at once: the same bits."""
    steps = schema.PROBABILITY_STEPS
    third = round(steps / 3) / steps
    row = {"event_time": NOON, "source": "x", "lang": "en", "tracks": [], "scored": True, "sentiment": "neutral"}
    row |= dict(zip((f"p_{label}" for label in schema.SENTIMENTS), (third, third, third, 1 - 3 * third), strict=True))
    part = windows.window_sums(batch([row] * 1000))
    at_once = windows.merge([part] * 1000, schema.WINDOWS)
    by_and_by = schema.empty(schema.WINDOWS)
    for _ in range(1000):
        by_and_by = windows.merge([by_and_by, part], schema.WINDOWS)
    assert totals(at_once) == totals(by_and_by)
    (found,) = at_once.to_pylist()
    assert Fraction(found["sum_p_negative"]) == Fraction(third) * 10**6


@ALL
def test_no_posts_make_no_sums(name: str) -> None:
    assert sum_of(name, []).num_rows == 0
    assert windows.merge([], KINDS[name][0]) == schema.empty(KINDS[name][0])


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("15min", 15), ("1 min", 1), ("min", 1), ("h", 60), ("2 hours", 120), ("1d", 1440), ("1 Week", 10_080), ("7m", 7)],
)
def test_lengths_of_windows(text: str, minutes: int) -> None:
    assert windows.parse_every(text) == minutes


@pytest.mark.parametrize("text", ["", "0h", "-1h", "1.5h", "15", "a week", "1mo", "53w"])
def test_what_is_no_length_of_a_window(text: str) -> None:
    with pytest.raises(ConfigError):
        windows.parse_every(text)
