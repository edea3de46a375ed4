"""MurmurHash3 (x86, 32 bits) of many texts at once, as Spark's `HashingTF` has it: seed 42, of the bytes in UTF-8.

The function is Austin Appleby's (https://github.com/aappleby/smhasher, MurmurHash3_x86_32, public domain).
"""

from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

SPARK_SEED: Final = 42

Words: TypeAlias = npt.NDArray[np.uint32]


def murmur3(texts: Sequence[str], seed: int = SPARK_SEED) -> npt.NDArray[np.int64]:
    """int64[texts], from 0 to 2^32 - 1: the lower bits are Spark's non-negative remainder by a power of two."""
    encoded = [text.encode("utf-8", "replace") for text in texts]
    lengths = np.array([len(one) for one in encoded], np.int64)
    blocks, rest = lengths // 4, lengths % 4
    # Each text begins at a multiple of four bytes, with nothing but zeros behind it.
    buffer = b"".join(one + b"\0" * (4 - len(one) % 4) for one in encoded)
    words = np.frombuffer(buffer, "<u4").astype(np.uint32)
    starts = np.concatenate([[0], np.cumsum(blocks + 1)])[:-1]
    order = np.argsort(-blocks, kind="stable")  # those that still have a block stand in front
    left = np.searchsorted(-blocks[order], -np.arange(blocks.max(initial=0)), side="left")
    hashes = np.full(len(encoded), seed, np.uint32)
    for at, many in enumerate(left):
        hashes[:many] = _mixed(hashes[:many], words[starts[order[:many]] + at])
    found = np.empty_like(hashes)
    found[order] = hashes
    tail = rest > 0
    found[tail] ^= _scrambled(words[(starts + blocks)[tail]])
    return _finished(found ^ lengths.astype(np.uint32)).astype(np.int64)


def _scrambled(words: Words) -> Words:
    words = words * np.uint32(0xCC9E2D51)
    return _rotated(words, 15) * np.uint32(0x1B873593)


def _mixed(hashes: Words, words: Words) -> Words:
    return _rotated(hashes ^ _scrambled(words), 13) * np.uint32(5) + np.uint32(0xE6546B64)


def _rotated(words: Words, bits: int) -> Words:
    return (words << np.uint32(bits)) | (words >> np.uint32(32 - bits))


def _finished(hashes: Words) -> Words:
    hashes = (hashes ^ (hashes >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    hashes = (hashes ^ (hashes >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return hashes ^ (hashes >> np.uint32(16))
