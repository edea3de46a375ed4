"""MurmurHash3: the published values, and that a text's hash does not depend on those beside it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feltwire.models._murmur import murmur3

SEED = 0x9747B28C


@pytest.mark.parametrize(
    ("text", "seed", "expected"),
    [
        ("", 0, 0),
        ("", 1, 0x514E28B7),
        ("test", 0, 0xBA6BD213),
        ("Hello, world!", 0, 0xC0363E43),
        ("The quick brown fox jumps over the lazy dog", 0, 0x2E4FF723),
        ("a", SEED, 0x7FA09EA6),
        ("aa", SEED, 0x5D211726),
        ("aaa", SEED, 0x283E0130),
        ("aaaa", SEED, 0x5A97808A),
        ("abcd", SEED, 0xF0478627),
    ],
)
def test_published_values(text: str, seed: int, expected: int) -> None:
    assert murmur3([text], seed).tolist() == [expected]


def plain(text: str, seed: int) -> int:
    """The same, a byte at a time."""
    given, mask = text.encode("utf-8", "replace"), 2**32 - 1

    def scrambled(k: int) -> int:
        k = k * 0xCC9E2D51 & mask
        return ((k << 15 | k >> 17) & mask) * 0x1B873593 & mask

    found, whole = seed, len(given) // 4 * 4
    for at in range(0, whole, 4):
        found ^= scrambled(int.from_bytes(given[at : at + 4], "little"))
        found = ((found << 13 | found >> 19) & mask) * 5 + 0xE6546B64 & mask
    found ^= scrambled(int.from_bytes(given[whole:], "little")) ^ len(given)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        found = (found ^ found >> shift) * factor & mask
    return found ^ found >> 16


@given(st.lists(st.text(max_size=40), max_size=12), st.integers(0, 2**32 - 1))
def test_a_batch_is_its_texts(texts: list[str], seed: int) -> None:
    assert murmur3(texts, seed).tolist() == [plain(text, seed) for text in texts]
