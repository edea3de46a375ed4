"""The tokenizer of words: buckets for unknown words, places in the text, and that bundles are served through it."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feltwire.models._words import WordTokenizer, is_words

WORDS = ("the", "flight", "was", "late", "don't", ":(", "#fail", "@user")


def tokenizer(split: str = "words", max_tokens: int = 6) -> WordTokenizer:
    return WordTokenizer(WORDS, split=split, oov_buckets=3, max_tokens=max_tokens)


def test_numbers_padding_buckets_words() -> None:
    one = tokenizer().encode("The FLIGHT  was la­te")
    assert one.ids[:3] == [4, 5, 6]
    assert all(1 <= number <= 3 for number in one.ids[3:])
    assert tokenizer().size == 1 + 3 + len(WORDS)


def test_splits_between_words_and_signs() -> None:
    said = "@user don't: #fail :( well-known!!!!! ชอบมาก"
    assert tokenizer().split(said) == ["@user", "don't", ":", "#fail", ":(", "well-known", "!!!!", "!", "ชอบมาก"]
    assert tokenizer("blanks").split(said) == said.split()


def test_case_matters_only_where_blanks_split() -> None:
    assert tokenizer().encode("LATE").ids == [7]
    assert tokenizer("blanks").encode("LATE").ids != [7]


def test_too_long_is_cut_and_said() -> None:
    assert not tokenizer().encode("a b c d e f").overflowing
    cut = tokenizer().encode("a b c d e f g")
    assert cut.overflowing
    assert len(cut.ids) == len(cut.offsets) == len(cut.word_ids) == 6


def test_a_bucket_is_the_same_everywhere() -> None:
    """XXH64 with seed 0 of "zebra" is 6883668372237776442 at every place and time: bundles last."""
    by_hash = WordTokenizer((), split="words", oov_buckets=1_000_000, max_tokens=4)
    assert by_hash.encode("zebra Zebra").ids == [1 + 6883668372237776442 % 1_000_000] * 2


@given(st.text(st.characters()))
def test_every_text_has_words_in_their_places(text: str) -> None:
    for split in ("words", "blanks"):
        made = tokenizer(split, max_tokens=1000)
        one = made.encode(text)
        assert [text[start:end] for start, end in one.offsets] == made.split(text)
        assert "".join(made.split(text)) == "".join(text.split())
        assert all(1 <= number < made.size for number in one.ids)


def test_the_file_gives_the_same_tokenizer(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    tokenizer().write(path)
    assert is_words(path)
    assert WordTokenizer.read(path, max_tokens=6).encode("the zebra was late") == tokenizer().encode(
        "the zebra was late"
    )
    first = path.read_bytes()
    WordTokenizer.read(path, max_tokens=6).write(path)
    assert path.read_bytes() == first


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [("words", ["a", "a"], "twice"), ("oov_buckets", 0, "oov_buckets"), ("split", "(a+)+", "split"), ("x", 1, "x")],
)
def test_a_wrong_file_is_refused(tmp_path: Path, key: str, value: object, says: str) -> None:
    path = tmp_path / "tokenizer.json"
    tokenizer().write(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(ValueError, match=says):
        WordTokenizer.read(path, max_tokens=6)
