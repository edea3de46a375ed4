"""Cross-validation: which rows are held out when, and a grid whose cells are kept, so that it goes on where it was."""

import json
from collections.abc import Callable, Sequence
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from feltwire.lab.interfaces import Dataset, Run
from feltwire.models._terms import Ints

Choice = TypeVar("Choice")

SHOWN: Final = "searching the grid"


def folds_of(labels: Ints, folds: int, seed: int) -> Ints:
    """The fold of each row, of every class as many in each as can be."""
    dice = np.random.default_rng(seed)
    found = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        rows = dice.permutation(np.flatnonzero(labels == label))
        found[rows] = (np.arange(len(rows)) + dice.integers(folds)) % folds
    return found


def kept_in(options: Any, train: Dataset, run: Run) -> Path:
    """The file of a search, by all that its cells depend on."""
    agreed = [options.model_dump(mode="json"), run.profile, run.seed, train.names, train.labels.tolist()]
    digest = sha256(json.dumps(agreed).encode())
    digest.update("\0".join(train.texts).encode("utf-8", "surrogatepass"))
    return run.folder / f"grid-{digest.hexdigest()[:16]}.json"


def search(
    choices: Sequence[Choice],
    folds: int,
    path: Path,
    score: Callable[[Choice, int], float],
    run: Run,
) -> tuple[Choice, dict[Choice, float]]:
    """(the best choice, {choice: its mean score over the folds}); of equals the first. Fold by fold.

    What was reached before lies in the file `path`.
    """
    done: dict[str, float] = json.loads(path.read_text()) if path.is_file() else {}
    for i, (fold, choice) in enumerate(product(range(folds), choices)):
        key = f"{choice} {fold}"
        if key not in done:
            done[key] = score(choice, fold)
            part = path.with_suffix(".part")
            part.write_text(json.dumps(done))
            part.replace(path)
        run.progress(SHOWN, (i + 1) / (len(choices) * folds), {"score": done[key]})
    table = {choice: float(np.mean([done[f"{choice} {fold}"] for fold in range(folds)])) for choice in choices}
    return max(choices, key=lambda choice: table[choice]), table
