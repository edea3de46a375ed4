"""Tracks in X's language, and rules that are kept in step with them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feltwire.errors import ConfigError
from feltwire.sources._x_rules import MAX_RULE_CHARS, Query, Rule, changes, query_of, rules_of
from feltwire.tracks import Track


def asked(query: str) -> tuple[list[str], list[str]]:
    found = query_of(Track("t", query))
    return found.packed(512), found.left_out


@pytest.mark.parametrize(
    ("query", "rules"),
    [
        ("(delta OR united) -football lang:en", ["(delta OR united) lang:en -football"]),
        ('a OR (b c) OR "d e"', ['a OR (b c) OR "d e"']),
        ("-(a OR b) c", ["c -a -b"]),
        ("(lang:en OR lang:he) cats", ["(lang:en OR lang:iw) cats"]),
        ("at&t or", ['"at&t" "or"']),
        ("#late @united from:amy url:example.org", ['#late @united from:amy url:"example.org"']),
        ("cats is:repost has:links -is:reply", ["cats is:retweet has:links -is:reply"]),
        ("source:x cats", ["cats"]),
        ("source:bluesky cats", []),
        ("source:bluesky OR cats", ["cats"]),
        ("@bob@example.org OR cats", ["cats"]),
    ],
)
def test_what_x_can_be_asked(query: str, rules: list[str]) -> None:
    assert asked(query) == (rules, [])


@pytest.mark.parametrize(
    ("query", "rules", "left_out"),
    [
        ("cats place:london", ["cats"], ["place:london"]),
        ("cats -place:london", ["cats"], ["-place:london"]),
        ("a (b OR -c)", ["a"], ["b OR -c"]),
        ("a (b OR c*)", ["a"], ["c*"]),
        ("c -(a b)", ["c"], ["a b"]),
        ('"lost bag" OR (#x has:emoji)', ['"lost bag" OR #x'], ["has:emoji"]),
    ],
)
def test_what_x_cannot_be_asked_widens_the_question(query: str, rules: list[str], left_out: list[str]) -> None:
    assert asked(query) == (rules, left_out)


@pytest.mark.parametrize("query", ["delt* OR cats", "a OR -b", "lang:en", "-a", "place:london", "cats OR lang:en"])
def test_a_track_of_which_nothing_is_left_is_refused(query: str) -> None:
    with pytest.raises(ConfigError, match="X cannot be asked for it"):
        asked(query)


def test_a_long_track_takes_several_rules() -> None:
    words = [f"word{i:04d}" for i in range(600)]
    rules = rules_of([("long", query_of(Track("long", " OR ".join(words[:300]) + " OR " + '"last one"')))])
    assert len(rules) > 1
    assert all(len(rule.value) <= MAX_RULE_CHARS and rule.tag == "feltwire:long" for rule in rules)
    found = " OR ".join(rule.value for rule in rules).split(" OR ")
    assert found == [*words[:300], '"last one"']


def test_one_alternative_that_is_too_long_is_refused() -> None:
    with pytest.raises(ConfigError, match="allowed: shorten"):
        query_of(Track("long", " ".join(f"word{i}" for i in range(200)))).packed(512)


def test_rules_are_changed_only_where_they_differ() -> None:
    existing = [
        {"id": "1", "value": "a", "tag": "feltwire:t"},
        {"id": "2", "value": "b", "tag": "feltwire:t"},
        {"id": "3", "value": "a", "tag": "feltwire:t"},
        {"id": "4", "value": "z", "tag": "mine"},
        {"id": "5", "value": "y"},
    ]
    added, deleted = changes(existing, [Rule("a", "feltwire:t"), Rule("c", "feltwire:t")])
    assert added == [Rule("c", "feltwire:t")]
    assert deleted == ["2", "3"]


_rules = st.lists(
    st.fixed_dictionaries(
        {"value": st.sampled_from("abc"), "tag": st.sampled_from(["feltwire:t", "feltwire:u", "else", ""])}
    ),
    max_size=8,
)


@given(_rules, st.lists(st.sampled_from([Rule(v, f"feltwire:{t}") for v in "abc" for t in "tu"]), max_size=4))
def test_after_the_changes_ours_are_the_wanted_ones_and_others_stay(
    given_rules: list[dict[str, str]], wanted: list[Rule]
) -> None:
    existing = [{"id": str(i), **rule} for i, rule in enumerate(given_rules)]
    added, deleted = changes(existing, wanted)
    left = [Rule(rule["value"], rule["tag"]) for rule in existing if rule["id"] not in deleted]
    ours = [rule for rule in left if rule.tag.startswith("feltwire:")] + added
    assert sorted(ours) == sorted(set(wanted))
    assert [rule for rule in left if not rule.tag.startswith("feltwire:")] == [
        Rule(rule["value"], rule["tag"]) for rule in existing if not rule["tag"].startswith("feltwire:")
    ]
    assert changes([{"id": "n", **rule._asdict()} for rule in ours], wanted) == ([], [])


def test_alternatives_are_packed_as_they_are() -> None:
    assert Query(["a b", "c"]).packed(100) == ["(a b) OR c"]
    assert Query(["a b"]).packed(100) == ["a b"]
