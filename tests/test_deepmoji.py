"""The words of a text as the DeepMoji network reads them."""

import pytest

from feltwire import text
from feltwire.deepmoji import words


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", []),
        ("I LOVE mom's cooking", ["i", "love", "mom's", "cooking"]),
        ("200K words!", ["CUSTOM_NUMBER", "k", "words", "!"]),
        ("sooooo goood!!!!", ["soo", "good", "!!"]),
        ("@Delta and me@example.org", ["CUSTOM_AT", "and", "CUSTOM_AT"]),
        ("see www.example.org/x or https://t.co/a?b=1.", ["see", "CUSTOM_URL", "or", "CUSTOM_URL"]),
        ("#fail the#1 #", ["#fail", "the", "#1", "#"]),
        ("<3 <333 </3 ~<3~", ["<3", "<33", "</3", "~", "<3", "~"]),
        (":) :-((( >:-( ;) =D -_- ^_^ (:", [":)", ":-((", ">:-(", ";)", "=d", "-_-", "^_^", "(:"]),
        ("no?!?!; a.m. Mr. X .s.u", ["no", "?", "!", "?", "!", ";", "a.m.", "mr.", "x", ".", "s", ".", "u"]),
        ("a well-known thing--ok", ["a", "well-known", "thing", "--", "ok"]),
        ("15:00 9/14", ["CUSTOM_NUMBER", ":", "CUSTOM_NUMBER", "CUSTOM_NUMBER", "/", "CUSTOM_NUMBER"]),
        ("1,000 f5162", ["CUSTOM_NUMBER", ",", "CUSTOM_NUMBER", "f", "CUSTOM_NUMBER"]),
        (
            "one\ntwo\r\nthree\\nfour<br>",
            ["one", "CUSTOM_BREAK", "two", "CUSTOM_BREAK", "three", "CUSTOM_BREAK", "four", "CUSTOM_BREAK"],
        ),
        ("don’t — “ok” …", ["don't", "--", '"', "ok", '"', ".."]),
        ("i💖you ♫♪", ["i", "💖", "you", "♫", "♪"]),
        ("café ＡＢＣ ٣", ["caf", "é", "abc", "CUSTOM_NUMBER"]),
    ],
)
def test_words(given: str, expected: list[str]) -> None:
    assert words(given) == expected


def test_the_profile_is_these_words() -> None:
    cleaned = text.clean(["@Delta &amp; co: LATE❤️\nagain 3 hrs"], "deepmoji")
    assert cleaned == ["CUSTOM_AT & co : late ❤ CUSTOM_BREAK again CUSTOM_NUMBER hrs"]
