"""The leaderboard's tasks: which files of a data folder, and which rows are held back to choose by."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from feltwire.errors import ConfigError
from feltwire.lab import data
from feltwire.lab.data import Reading
from feltwire.lab.interfaces import Dataset
from feltwire.text import clean

HELD_BACK: Final = 0.1
RANDOM_HELD_BACK: Final = 0.3  # of Sentiment140's rows marked `random`
PROFILE: Final = "social"  # what is held back follows from texts that were cleaned so
TOPIC_NAMES: Final = {"Phone and Online Booking": "Online Booking"}


@dataclass(frozen=True, slots=True)
class Task:
    """What models are compared on."""

    name: str
    head: str
    train: Dataset
    validation: Dataset
    measure: str
    """The measure that the field reports for it."""


def names() -> tuple[str, ...]:
    """The names of all tasks."""
    return tuple(_TASKS)


def measure_of(name: str) -> str:
    """The measure that a task is ranked by; accuracy for one that is not known."""
    return _TASKS[name][1] if name in _TASKS else "accuracy"


def load(folder: Path, name: str) -> Task:
    """A task's rows out of a data folder. Raises ConfigError for an unknown name, or where its files are missing."""
    if name not in _TASKS:
        raise ConfigError(f"unknown task {name!r}: known are {', '.join(_TASKS)}")
    head, measure, make = _TASKS[name]
    train, validation = make(folder)
    # Classes that validation has and training lacks, or the other way round, keep their place in both.
    classes = data.ordered({*train.names, *validation.names})
    validation = data.renumbered(validation, classes)
    return Task(name, head, data.without(data.renumbered(train, classes), validation), validation, measure)


def _sentiment140(folder: Path) -> tuple[Dataset, Dataset]:
    """Two classes. Held back: rows that represent the whole set; most others come in blocks of one label."""
    path = folder / "sentiment140" / "train.parquet"
    every = data.read(path, name="sentiment140").data
    sampled = data.read_columns(path, ["text", "label", "sample"])
    kept = [
        sample
        for text, label, sample in zip(sampled["text"], sampled["label"], sampled["sample"], strict=True)
        if text and text.strip() and label
    ]
    return _apart(every, RANDOM_HELD_BACK, np.array(kept) == "random")


def _with_validation(name: str) -> Callable[[Path], tuple[Dataset, Dataset]]:
    def make(folder: Path) -> tuple[Dataset, Dataset]:
        parts = (data.read(folder / name / f"{part}.parquet", name=name).data for part in ("train", "validation"))
        train, validation = parts
        return train, validation

    return make


def _split_off(name: str, rename: Mapping[str, str] | None = None) -> Callable[[Path], tuple[Dataset, Dataset]]:
    def make(folder: Path) -> tuple[Dataset, Dataset]:
        path = folder / name / "train.parquet"
        present = {label: new for label, new in (rename or {}).items() if label in _labels(path)}
        every = data.read(path, Reading(rename=present), name=name).data
        return _apart(every, HELD_BACK, np.ones(len(every), np.bool_))

    return make


def _apart(every: Dataset, share: float, may: npt.NDArray[np.bool_]) -> tuple[Dataset, Dataset]:
    """(train, validation): held back is this share of the rows that may be, the same that the recipes hold back."""
    places = np.array([data.place_of(text) for text in clean(every.texts, PROFILE)])
    held = may & (places < share)
    if held.all() or not held.any():
        raise ConfigError(f"{every.name}: {len(every)} rows are too few to hold back {share:.0%} of them")
    return every.rows(np.flatnonzero(~held)), every.rows(np.flatnonzero(held))


def _labels(path: Path) -> set[str]:
    return {label for label in data.read_columns(path, ["label"])["label"] if label is not None}


_TASKS: Final[dict[str, tuple[str, str, Callable[[Path], tuple[Dataset, Dataset]]]]] = {
    "sentiment140": ("sentiment", "accuracy", _sentiment140),
    "tweeteval_sentiment": ("sentiment", "macro_recall", _with_validation("tweeteval_sentiment")),
    "airline_sentiment": ("sentiment", "macro_f1", _split_off("airline_sentiment")),
    "airline_topics": ("category", "accuracy", _split_off("airline_topics", TOPIC_NAMES)),
}
