"""WordPiece at a lexicon's rate: words are looked up in a cache, and only new ones go through the tokenizer.

For tokenizers of BERT's kind (lower case, words and signs apart, each word cut into pieces by itself), what a word
becomes does not depend on the words beside it. Text beyond ASCII goes through the tokenizer whole.
"""

import json
import re
from collections.abc import Sequence
from typing import Final, TypeAlias

from tokenizers import Encoding, Tokenizer

Word: TypeAlias = tuple[int, int, int]
"""The number of its first token, and its start and end in the text, in characters."""

_WORD: Final = re.compile(r"[a-z0-9]+|[^\sa-z0-9]")
_MAX_CACHED: Final = 200_000  # words; bounds the memory against an endless stream of new ones


class PieceEncoding:
    """A text as numbers. Places in the text are worked out only when they are asked for."""

    __slots__ = ("_text", "_tokenizer", "_whole", "ids", "overflowing")

    def __init__(self, text: str, ids: list[int], tokenizer: "PieceTokenizer", *, overflowing: bool) -> None:
        self.ids = ids
        self.overflowing = overflowing
        self._text = text
        self._tokenizer = tokenizer
        self._whole: Encoding | None = None

    def _encoding(self) -> Encoding:
        if self._whole is None:
            self._whole = self._tokenizer.whole(self._text)
        return self._whole

    def words(self) -> list[Word] | None:
        """The text's words; None where the text was cut off."""
        return self._tokenizer.words(self._text, len(self.ids))

    @property
    def offsets(self) -> list[tuple[int, int]]:
        """Of each token in the text: start and end, in characters."""
        return self._encoding().offsets

    @property
    def word_ids(self) -> list[int | None]:
        """Of each token the number of its word; None for tokens that stand in no text."""
        return self._encoding().word_ids


class PieceTokenizer:
    """A tokenizer for which `fits` holds; truncation is enabled in it already."""

    def __init__(self, tokenizer: Tokenizer, max_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._cache: dict[str, tuple[int, ...]] = {}
        whole = tokenizer.encode("a").ids
        inner = tokenizer.encode("a", add_special_tokens=False).ids
        at = whole.index(inner[0])
        self._before, self._after = whole[:at], whole[at + len(inner) :]
        self._room = max_tokens - len(self._before) - len(self._after)

    def encode(self, text: str) -> PieceEncoding | Encoding:
        """One text."""
        # "[SEP]" in a text is a token of its own to the tokenizer; control characters it drops.
        if not text.isascii() or "[" in text or not text.isprintable():
            return self._tokenizer.encode(text)
        ids = self._before.copy()
        cache = self._cache
        for word in _WORD.findall(text.lower()):
            pieces = cache.get(word)
            ids += self._new(word) if pieces is None else pieces
        inner = len(ids) - len(self._before)
        if inner > self._room:
            del ids[len(self._before) + self._room :]
        ids += self._after
        return PieceEncoding(text, ids, self, overflowing=inner > self._room)

    def whole(self, text: str) -> Encoding:
        """What the tokenizer itself makes of a text: the slow way, for its places."""
        return self._tokenizer.encode(text)

    def words(self, text: str, count: int) -> list[Word] | None:
        """The words of a text that `encode` took word by word into `count` tokens; None where it cut one off."""
        found: list[Word] = []
        cache, token = self._cache, len(self._before)
        for match in _WORD.finditer(text.lower()):
            word = match[0]
            found.append((token, match.start(), match.end()))
            token += len(cache.get(word) or self._new(word))
        return found if token + len(self._after) == count else None

    def encode_batch(self, texts: Sequence[str]) -> list[PieceEncoding | Encoding]:
        """One encoding a text."""
        return [self.encode(text) for text in texts]

    encode_batch_fast = encode_batch

    def _new(self, word: str) -> tuple[int, ...]:
        if len(self._cache) >= _MAX_CACHED:
            self._cache.clear()
        pieces = tuple(self._tokenizer.encode(word, add_special_tokens=False).ids)
        self._cache[word] = pieces
        return pieces


def fits(tokenizer: Tokenizer) -> bool:
    """Whether it is of BERT's kind, lower case."""
    given = json.loads(tokenizer.to_str())
    normalizer, splitter = given.get("normalizer") or {}, given.get("pre_tokenizer") or {}
    return bool(
        given["model"].get("type") == "WordPiece"
        and normalizer.get("type") == "BertNormalizer"
        and normalizer.get("lowercase")
        and splitter.get("type") == "BertPreTokenizer"
    )
