"""The features of linear models: n-grams of words, counted and weighed (TF-IDF), the same in training and serving.

`terms.json` says which: a list of terms, whose places in it are the features, or a number of buckets that terms are
hashed into (the lower bits of XXH32 of the term in UTF-8; with `"hash": "murmur3"` of MurmurHash3, as Spark has it).
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from xxhash import xxh32_intdigest

from feltwire.characters import MARKS, WORD
from feltwire.errors import ModelError
from feltwire.models._murmur import murmur3

Ints: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]

TERMS_VERSION: Final = 1
_TOKEN: Final = re.compile(rf"[#@]?{WORD}+(?:['’]{WORD}+)*|[^\w\s{MARKS}]{{1,8}}")


class Terms(BaseModel):
    """`terms.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = TERMS_VERSION
    analyzer: Literal["words"] = "words"  # see `tokens`
    ngrams: tuple[Annotated[int, Field(ge=1, le=8)], Annotated[int, Field(ge=1, le=8)]] = (1, 1)  # from, to
    terms: tuple[str, ...] | None = None
    buckets: Annotated[int, Field(ge=2, le=2**24)] | None = None  # a power of two
    hash: Literal["murmur3"] | None = None  # of buckets; none: XXH32
    sublinear: bool = False  # 1 + ln(count) in place of the count
    norm: Literal["l2", "none"] = "l2"

    @model_validator(mode="after")
    def _one_way(self) -> "Terms":
        if (self.terms is None) == (self.buckets is None):
            raise ValueError("expected either terms or buckets")
        if self.buckets is not None and self.buckets & (self.buckets - 1):
            raise ValueError("buckets: expected a power of two")
        if self.hash is not None and self.buckets is None:
            raise ValueError("hash: a list of terms has none")
        if self.terms is not None and len(set(self.terms)) != len(self.terms):
            raise ValueError("a term stands twice")
        if self.ngrams[0] > self.ngrams[1]:
            raise ValueError("ngrams: expected the shorter length first")
        return self

    @property
    def width(self) -> int:
        """The number of features."""
        return len(self.terms) if self.terms is not None else self.buckets or 0


class Rows(NamedTuple):
    """A sparse matrix, row by row: row i has the features ids[starts[i]:starts[i + 1]], ascending, and their values."""

    starts: Ints
    ids: Ints
    values: Floats

    def weighed(self, idf: Floats | None, *, sublinear: bool, norm: bool) -> "Rows":
        """Of counts: TF-IDF. tf is the count (or 1 + ln of it), times `idf`; `norm` makes each row's length 1."""
        values = 1 + np.log(self.values) if sublinear else self.values
        if idf is not None:
            values = values * idf[self.ids]
        if norm:
            lengths = np.sqrt(np.bincount(self.of, values * values, minlength=len(self.starts) - 1))
            values = values / np.where(lengths > 0, lengths, 1)[self.of]
        return Rows(self.starts, self.ids, values)

    @property
    def of(self) -> Ints:
        """The row that each entry belongs to."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))

    def chosen(self, features: Ints) -> "Rows":
        """Of these features only (ascending), which get the numbers 0, 1, … in their order."""
        places = np.searchsorted(features, self.ids)
        kept = places < len(features)
        kept[kept] = features[places[kept]] == self.ids[kept]
        counts = np.bincount(self.of[kept], minlength=len(self.starts) - 1)
        return Rows(np.concatenate([[0], np.cumsum(counts)]), places[kept], self.values[kept])


def read_terms(path: Path) -> Terms:
    """`terms.json`; raises ModelError in one line."""
    try:
        return Terms.model_validate(json.loads(path.read_bytes()))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ModelError(f"bundle {path.parent}: {path.name}, {where or 'as a whole'}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"bundle {path.parent}: {path.name} is no JSON: {error}") from error


def tokens(text: str) -> list[str]:
    """The words of a text in lower case, hashtags and handles with their sign; of what is no word, runs (`:)`)."""
    return _TOKEN.findall(text.lower())


def grams(words: Sequence[str], ngrams: tuple[int, int]) -> Iterator[str]:
    """The n-grams of a row of words, joined by blanks: the shorter ones first."""
    for n in range(ngrams[0], ngrams[1] + 1):
        if n == 1:
            yield from words
        else:
            yield from map(" ".join, zip(*(words[i:] for i in range(n)), strict=False))


class Counter:
    """Texts to counts of terms."""

    def __init__(self, terms: Terms, max_tokens: int) -> None:
        self._ngrams = terms.ngrams
        self._places = None if terms.terms is None else {term: i for i, term in enumerate(terms.terms)}
        self._width = terms.width
        self._max_tokens = max_tokens
        self._hash = murmur3 if terms.hash == "murmur3" else _xxh32

    def count(self, texts: Iterable[str]) -> tuple[Rows, npt.NDArray[np.bool_]]:
        """(the counts of each text's terms, bool[texts]: it has more tokens than `max_tokens` and was cut there)."""
        found: list[int] = []
        seen: dict[str, int] = {}  # of buckets: the number of each term, which is hashed once
        lengths: list[int] = []
        cut: list[bool] = []
        for text in texts:
            words = tokens(text)
            cut.append(len(words) > self._max_tokens)
            before = len(found)
            found += self._features(words[: self._max_tokens], seen)
            lengths.append(len(found) - before)
        ids = np.array(found, np.int64)
        if self._places is None:
            ids = (self._hash(list(seen)) & (self._width - 1))[ids]
        keys = np.repeat(np.arange(len(lengths)), lengths) * self._width + ids
        keys, counts = np.unique(keys, return_counts=True)
        rows, ids = np.divmod(keys, max(self._width, 1))
        starts = np.searchsorted(rows, np.arange(len(lengths) + 1))
        return Rows(starts, ids, counts.astype(np.float64)), np.array(cut, np.bool_)

    def _features(self, words: list[str], seen: dict[str, int]) -> list[int]:
        every = grams(words, self._ngrams)
        if self._places is None:
            return [seen.setdefault(term, len(seen)) for term in every]
        get = self._places.get
        return [place for term in every if (place := get(term)) is not None]


def _xxh32(terms: Sequence[str]) -> Ints:
    return np.array([xxh32_intdigest(term.encode("utf-8", "replace")) for term in terms], np.int64)


def to_json(terms: Terms) -> Any:
    """What stands in `terms.json`."""
    return terms.model_dump(mode="json", exclude_none=True)
