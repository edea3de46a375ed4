"""Invented labelled texts for the lab's tests."""

from pathlib import Path

import numpy as np

from feltwire.lab.data import make
from feltwire.lab.interfaces import Dataset, Run

_GOOD = ("love", "great", "thanks", "happy", "best", ":)")
_BAD = ("hate", "late", "lost", "rude", "worst", ":(")
_SAME = ("the", "flight", "crew", "bag", "today", "@united", "was", "so", "it", "!")


def invented(rows: int = 60, seed: int = 1, names: tuple[str, ...] = ("negative", "neutral", "positive")) -> Dataset:
    """Short texts whose words give their class away, most of the time."""
    dice = np.random.default_rng(seed)
    words = {"negative": _BAD, "positive": _GOOD}
    texts, labels = [], []
    for i in range(rows):
        label = names[i % len(names)]
        said = [*dice.choice(_SAME, 4), *dice.choice(words.get(label, _SAME), 2)]
        texts.append(" ".join([*dice.permutation(said), f"w{i}"]))
        labels.append(label)
    return make("invented", texts, labels)


def run_in(folder: Path, *, profile: str = "social", head: str = "sentiment", seed: int = 1) -> Run:
    """A run whose checkpoints and bundle lie in a folder of the test's."""
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    (folder / "bundle").mkdir(exist_ok=True)
    return Run(folder / "checkpoints", folder / "bundle", head, profile, seed, 1, lambda what, share, figures: None)
