"""What the linear families share: texts to rows of terms, fitted by the code that serves them."""

from collections import Counter as Tally
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Annotated, Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import BeforeValidator, Field

from feltwire.errors import ConfigError
from feltwire.lab.interfaces import Dataset
from feltwire.models._terms import Counter, Floats, Ints, Rows, Terms, grams, tokens
from feltwire.text import clean

MAX_TOKENS: Final = 512

_Length = Annotated[int, Field(ge=1, le=8)]


def _list(given: Any) -> Any:
    """`1-3` and `1,3`, as a command line has them, are lists."""
    return given.replace("-", ",").split(",") if isinstance(given, str) else given


Lengths = Annotated[tuple[_Length, _Length], BeforeValidator(_list)]
Many = BeforeValidator(_list)


def words_of(data: Dataset, profile: str) -> list[str]:
    """The texts as the served model will see them."""
    return clean(data.texts, profile)


def vocabulary(texts: Sequence[str], ngrams: tuple[int, int], limit: int, min_rows: int = 1) -> tuple[str, ...]:
    """The most frequent n-grams, at most `limit`, the most frequent first, the alphabet deciding between equals.

    Left out is what stands in fewer than `min_rows` texts. Exact, in little memory: once the limit can be filled
    with terms that come twice, a longer n-gram is only counted where both of its parts came twice.
    """
    split = [tokens(text)[:MAX_TOKENS] for text in texts]
    chosen: Tally[str] = Tally()
    shorter: Tally[str] | None = None
    for n in range(1, ngrams[1] + 1):
        prune = shorter is not None and sum(count > 1 for count in chosen.values()) >= limit
        counted: Tally[str] = Tally()
        for words in split:
            if prune and shorter is not None:
                counted.update(_repeated(words, n, shorter))
            else:
                counted.update(grams(words, (n, n)))
        if n >= ngrams[0]:
            chosen.update(counted)
        shorter = counted
    if min_rows > 1:
        in_texts: Tally[str] = Tally()
        for words in split:
            in_texts.update({term for term in grams(words, ngrams) if term in chosen})
        chosen = Tally({term: count for term, count in chosen.items() if in_texts[term] >= min_rows})
    if not chosen:
        raise ConfigError("no term comes in enough texts: there is too little to learn from")
    best = sorted(chosen.items(), key=lambda item: (-item[1], item[0]))
    return tuple(term for term, _ in islice(best, limit))


def _repeated(words: Sequence[str], n: int, shorter: Tally[str]) -> Iterable[str]:
    """The n-grams whose two parts of n - 1 words came more than once."""
    often = [shorter[part] > 1 for part in grams(words, (n - 1, n - 1))]
    return [term for i, term in enumerate(grams(words, (n, n))) if often[i] and often[i + 1]]


def counted(texts: Sequence[str], terms: Terms) -> Rows:
    """The counts of the terms, text by text."""
    return Counter(terms, MAX_TOKENS).count(texts)[0]


def idf_of(rows: Rows, width: int) -> Floats:
    """ln((1 + texts) / (1 + texts with the term)) + 1, as scikit-learn has it by default."""
    texts = len(rows.starts) - 1
    seen = np.bincount(rows.ids, minlength=width)
    found: Floats = np.log((1 + texts) / (1 + seen)) + 1
    # What is served holds it as float32: what is trained on is the same number.
    return found.astype(np.float32).astype(np.float64)


def matrix(rows: Rows, width: int) -> Any:
    """As a matrix of SciPy's."""
    from scipy.sparse import csr_matrix  # type: ignore[import-untyped]

    return csr_matrix((rows.values, rows.ids, rows.starts), shape=(len(rows.starts) - 1, width))


def picked(rows: Rows, chosen: Ints) -> Rows:
    """The chosen rows, in that order."""
    lengths = np.diff(rows.starts)[chosen]
    starts = np.concatenate([[0], np.cumsum(lengths)])
    places: npt.NDArray[np.int64] = np.repeat(rows.starts[chosen] - starts[:-1], lengths) + np.arange(starts[-1])
    return Rows(starts, rows.ids[places], rows.values[places])
