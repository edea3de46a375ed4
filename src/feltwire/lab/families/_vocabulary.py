"""Words that a vocabulary holds: the most frequent of the training texts."""

from collections import Counter
from collections.abc import Iterable


def most_frequent(texts: Iterable[Iterable[str]], count: int) -> list[str]:
    """The `count` most frequent words of texts, the most frequent first, ties in the order of the alphabet."""
    counted: Counter[str] = Counter()
    for words in texts:
        counted.update(words)
    return sorted(counted, key=lambda word: (-counted[word], word))[:count]
