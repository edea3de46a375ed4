"""A tokenizer of words: a vocabulary, and hash buckets for the words that are not in it.

It stands in a bundle's `tokenizer.json` in place of one of the `tokenizers` library, which knows no buckets, and
is the one code path of training and serving. The file:

    {"format": "feltwire-words", "split": "words", "oov_buckets": 500, "words": ["the", "i", …]}

Number 0 is padding, 1 to `oov_buckets` are the buckets, the words follow in their order. A word outside the
vocabulary falls into the bucket that the xxHash (XXH64, seed 0) of its UTF-8 bytes names, modulo their number.
"""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple

import xxhash
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from feltwire.characters import WORD

MARK: Final = b'{"format": "feltwire-words"'
"""What the file begins with."""
MAX_WORD: Final = 100  # characters; a longer word is cut: a hash should not have to read a whole text

# A word with what is tied to it by a quote or hyphen, with the sign of a hashtag or handle; or a few signs, which
# keeps emoticons together.
_WORD: Final = re.compile(rf"[#@]?{WORD}+(?:['’-]{WORD}+)*|(?:(?!{WORD})\S){{1,4}}")
_NO_BLANK: Final = re.compile(r"\S+")


class WordEncoding(NamedTuple):
    """A text as numbers; the fields are those that the encodings of the `tokenizers` library have."""

    ids: list[int]
    offsets: list[tuple[int, int]]
    """Of each word in the text: start and end, in characters."""
    word_ids: list[int]
    overflowing: bool
    """Whether words were left off at the end."""


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["feltwire-words"] = "feltwire-words"
    split: Literal["words", "blanks"]
    """`words`: at blanks and between words and signs, in lower case. `blanks`: at blanks, as it is."""
    oov_buckets: Annotated[int, Field(ge=1, le=1_000_000)]
    words: tuple[str, ...]

    @model_validator(mode="after")
    def _distinct(self) -> "_File":
        if len(set(self.words)) != len(self.words):
            raise ValueError("a word stands twice")
        return self


class WordTokenizer:
    """Words to numbers. Raises ValueError for options that are none."""

    def __init__(self, words: Sequence[str], *, split: str, oov_buckets: int, max_tokens: int) -> None:
        try:
            self._file = _File.model_validate({"split": split, "oov_buckets": oov_buckets, "words": tuple(words)})
        except ValidationError as error:
            raise ValueError(_first(error)) from error
        self.max_tokens = max_tokens
        self.size = 1 + oov_buckets + len(self._file.words)
        """How many numbers there are."""
        self.words = self._file.words
        self._numbers = {word: number for number, word in enumerate(self._file.words, 1 + oov_buckets)}
        self._find = _finder(split)

    @classmethod
    def read(cls, path: Path, *, max_tokens: int) -> "WordTokenizer":
        """The tokenizer in a file; raises ValueError for a file that is none."""
        try:
            file = _File.model_validate(json.loads(path.read_bytes()))
        except ValidationError as error:
            raise ValueError(_first(error)) from error
        return cls(file.words, split=file.split, oov_buckets=file.oov_buckets, max_tokens=max_tokens)

    def write(self, path: Path) -> None:
        """Store it. The same tokenizer gives the same bytes."""
        path.write_text(json.dumps(self._file.model_dump(), ensure_ascii=False) + "\n", encoding="utf-8")

    def split(self, text: str) -> list[str]:
        """The words of a text, all of them."""
        return [text[start:end] for start, end in self._find(text)]

    def encode(self, text: str) -> WordEncoding:
        """The first `max_tokens` words of a text."""
        places = self._find(text)
        kept = places[: self.max_tokens]
        return WordEncoding(
            [self.number(text[start:end]) for start, end in kept], kept, [*range(len(kept))], len(places) > len(kept)
        )

    def encode_batch(self, texts: Sequence[str]) -> list[WordEncoding]:
        """One encoding a text."""
        return [self.encode(text) for text in texts]

    encode_batch_fast = encode_batch

    def form(self, word: str) -> str:
        """A word of a text as it stands in the vocabulary."""
        return word.lower() if self._file.split == "words" else word

    def number(self, word: str) -> int:
        """The number of a word as `split` gives it."""
        word = self.form(word)
        known = self._numbers.get(word)
        if known is not None:
            return known
        return 1 + xxhash.xxh64_intdigest(word[:MAX_WORD].encode("utf-8", "replace")) % self._file.oov_buckets


def is_words(path: Path) -> bool:
    """Whether a file holds a tokenizer of this kind."""
    with path.open("rb") as file:
        return file.read(len(MARK)) == MARK


def _finder(split: str) -> Callable[[str], list[tuple[int, int]]]:
    pattern = _WORD if split == "words" else _NO_BLANK

    def find(text: str) -> list[tuple[int, int]]:
        return [match.span() for match in pattern.finditer(text)]

    return find


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
