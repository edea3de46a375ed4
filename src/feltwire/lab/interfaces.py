"""What the lab's rooms hand to each other."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel


@dataclass(frozen=True, slots=True)
class Dataset:
    """Labelled texts: row i has the text `texts[i]` and the class `names[labels[i]]`."""

    name: str
    texts: tuple[str, ...]
    """As they were written: cleaning is the business of whoever reads them."""
    labels: npt.NDArray[np.int64]
    names: tuple[str, ...]
    sha256: str
    """Of the file that it came from, in hexadecimal."""

    def __len__(self) -> int:
        return len(self.texts)

    def rows(self, chosen: npt.NDArray[np.int64]) -> "Dataset":
        """The chosen rows, in that order."""
        return Dataset(self.name, tuple(self.texts[i] for i in chosen), self.labels[chosen], self.names, self.sha256)


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a learning curve."""

    step: int
    """Texts seen so far, repeats counted."""
    train_loss: float
    score: float | None
    """On the validation set, the measure that the run stops by; None where it was not taken."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a family is told about one training."""

    folder: Path
    """Its checkpoints lie here: a run that is started again in the same folder goes on where it was."""
    bundle: Path
    """An empty folder: the family writes its model's files here, all but `model.json`."""
    head: str
    """The name of the one head: what the graph's output is called."""
    profile: str
    """The cleaning profile of `text.py`."""
    seed: int
    threads: int
    progress: Callable[[str, float, Mapping[str, float]], None]
    """(what is being done, share that is done from 0 to 1, figures to show beside it)."""
    spark: Mapping[str, str] = field(default_factory=dict)
    """Where and how Spark runs, by its own names (`spark.master`); what is trained does not depend on it."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a family says about what it wrote."""

    format: Literal["onnx", "linear", "trees"]
    max_tokens: int
    curve: tuple[Point, ...] = ()
    licence: str = ""
    """What the weights that it started from ask for."""
    note: str = ""
    """One sentence for the model card."""


class Family(Protocol):
    """A module of `lab/families`: models that are trained in the same way."""

    PRESETS: Mapping[str, Mapping[str, Any]]
    """{preset: the options that it stands for}; the name of a preset is unique over all families."""
    Options: type[BaseModel]

    def fit(self, train: Dataset, validation: Dataset, options: Any, run: Run) -> Fitted:
        """Train to convergence, write the model's files into `run.bundle`, and say what they are.

        What is evaluated afterwards is the bundle, through the code that serves it. The same data, options and
        seed give the same bundle on the same machine.
        """
        ...
