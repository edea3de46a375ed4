"""Words that a vocabulary holds: the most frequent of the training texts."""

from collections import Counter
from collections.abc import Iterable, Sequence


def most_frequent(words: Iterable[Sequence[str]], count: int) -> list[str]:
    """The `count` most frequent words, the most frequent first, ties in the order of the alphabet."""
    counted: Counter[str] = Counter()
    for row in words:
        counted.update(row)
    return sorted(counted, key=lambda word: (-counted[word], word))[:count]
