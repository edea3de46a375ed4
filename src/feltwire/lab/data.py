"""Labelled texts: read from CSV, JSONL and Parquet whatever their columns and labels are called, and split."""

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from feltwire.errors import ConfigError
from feltwire.lab.interfaces import Dataset
from feltwire.schema import SENTIMENTS

ENDINGS: Final = {
    ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reading:
    """How a file of labelled texts is read."""

    text: str = "text"
    label: str = "label"
    rename: Mapping[str, str] | None = None
    """{label as it stands in the file: as it is to be called}; "" leaves its rows out. The others keep their names."""
    where: Mapping[str, str] | None = None
    """Only rows whose columns have these values, compared as texts."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a file gave."""

    data: Dataset
    no_label: int
    """Rows left out because they have no label, or one that was renamed to nothing …"""
    no_text: int
    """… or no text."""


def read(path: Path, reading: Reading | None = None, *, name: str = "") -> Loaded:
    """The labelled texts of a file. Raises ConfigError in one line: no file, no such column, nothing in it.

    The classes are those that occur, in alphabetical order; those of sentiment as negative, neutral, positive, mixed.
    """
    how = reading or Reading()
    wanted = list(dict.fromkeys([how.text, how.label, *(how.where or {})]))
    columns = read_columns(path, wanted)
    renamed = how.rename or {}
    keep = [True] * len(columns[how.text])
    for column, value in (how.where or {}).items():
        keep = [kept and _as_text(came) == value for kept, came in zip(keep, columns[column], strict=True)]
    texts: list[str] = []
    labels: list[str] = []
    no_label = no_text = 0
    for kept, text, label in zip(keep, columns[how.text], columns[how.label], strict=True):
        if not kept:
            continue
        words, called = _as_text(text), _as_text(label)
        called = renamed.get(called, called) if called is not None else None
        if called is None or not called.strip():
            no_label += 1
        elif words is None or not words.strip():
            no_text += 1
        else:
            texts.append(words)
            labels.append(called)
    if not texts:
        raise ConfigError(f"{path}: no row has both a text and a label ({no_text} no text, {no_label} no label)")
    unknown = sorted(set(renamed) - {_as_text(label) for label in columns[how.label]})
    if unknown:
        raise ConfigError(f"{path}: --label-names: no row has the label {unknown[0]!r}: it has {_some(labels)}")
    data = make(name or path.stem, texts, labels, sha256=_sha256(path))
    return Loaded(data, no_label, no_text)


def make(name: str, texts: Sequence[str], labels: Sequence[str], *, sha256: str = "") -> Dataset:
    """A data set of texts and labels by name; `sha256` is by default that of its content."""
    names = ordered(set(labels))
    places = {label: i for i, label in enumerate(names)}
    numbers = np.array([places[label] for label in labels], np.int64)
    return Dataset(name, tuple(texts), numbers, names, sha256 or _sha256_of(texts, labels))


def ordered(labels: Iterable[str]) -> tuple[str, ...]:
    """Class names in their order: alphabetical, those of sentiment as the columns have them."""
    names = set(labels)
    if names <= set(SENTIMENTS):
        return tuple(label for label in SENTIMENTS if label in names)
    return tuple(sorted(names))


def counts(data: Dataset) -> dict[str, int]:
    """{class: rows}."""
    return dict(zip(data.names, np.bincount(data.labels, minlength=len(data.names)).tolist(), strict=True))


def renumbered(data: Dataset, names: tuple[str, ...]) -> Dataset:
    """The same rows with their labels as places in `names`. Raises ConfigError where a row's class is none of them."""
    there = counts(data)
    unknown = [label for label in data.names if label not in names and there[label]]
    if unknown:
        raise ConfigError(f"{data.name} has the label {unknown[0]!r}, which is none of {', '.join(names)}")
    places = np.array([names.index(label) if label in names else -1 for label in data.names], np.int64)
    return replace(data, labels=places[data.labels], names=names)


def split(data: Dataset, share: float, seed: int) -> tuple[Dataset, Dataset]:
    """(train, validation): of every class `share` goes to validation, at least one row where it has two.

    Equal texts go the same way, so that nothing is validated on what was trained on. The same seed gives the same
    split; both parts keep the order of the rows. Raises ConfigError where a part would be empty.
    """
    if not 0 < share < 1:
        raise ConfigError(f"a split of {share}: expected a share between 0 and 1, such as 0.1")
    chosen = np.zeros(len(data), np.bool_)
    dice = np.random.default_rng(seed)
    for number in range(len(data.names)):
        rows = dice.permutation(np.flatnonzero(data.labels == number))
        take = round(share * len(rows))
        if len(rows) > 1:
            take = min(max(take, 1), len(rows) - 1)
        chosen[rows[:take]] = True
    held = {text for text, held in zip(data.texts, chosen, strict=True) if held}
    chosen = np.array([text in held for text in data.texts])
    if chosen.all() or not chosen.any():
        raise ConfigError(f"{data.name} has too few rows ({len(data)}) to split off {share}: give a validation file")
    return data.rows(np.flatnonzero(~chosen)), data.rows(np.flatnonzero(chosen))


def place_of(text: str) -> float:
    """A number from 0 to 1 that depends on a text's words alone: below a share, the text is held back.

    So a text is held back from everything that is ever trained here, or from nothing.
    """
    words = " ".join(text.lower().split())
    return int.from_bytes(hashlib.sha256(words.encode()).digest()[:6], "big") / 2**48


def without(data: Dataset, other: Dataset) -> Dataset:
    """The rows whose text is none of the other's."""
    texts = set(other.texts)
    return data.rows(np.array([i for i, text in enumerate(data.texts) if text not in texts], np.int64))


def corrected(data: Dataset, texts: Sequence[str], values: Sequence[str]) -> tuple[Dataset, Dataset, int]:
    """(the data with people's corrections, these alone, how many were left out: their label is no class of the data).

    A corrected text that the data have gets the new label; one that they do not have is added.
    """
    known = set(data.names)
    said = {text: value for text, value in zip(texts, values, strict=True) if value in known and text.strip()}
    places = {label: i for i, label in enumerate(data.names)}
    labels = np.array(
        [places[said[text]] if text in said else number for text, number in zip(data.texts, data.labels, strict=True)],
        np.int64,
    )
    have = set(data.texts)
    new = [text for text in said if text not in have]
    all_labels = np.concatenate([labels, np.array([places[said[text]] for text in new], np.int64)])
    theirs = make("corrections", list(said), list(said.values())) if said else data.rows(np.zeros(0, np.int64))
    return replace(data, texts=(*data.texts, *new), labels=all_labels), theirs, len(texts) - len(said)


def read_columns(path: Path, wanted: Sequence[str]) -> dict[str, list[Any]]:
    """{column: its values} of a CSV, JSONL or Parquet file. Raises ConfigError, which lists the columns."""
    kind = ENDINGS.get(path.suffix.lower())
    if kind is None:
        raise ConfigError(f"{path}: unknown ending {path.suffix!r}; expected one of {', '.join(ENDINGS)}")
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such file")
    try:
        if kind == "parquet":
            return _read_parquet(path, wanted)
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _read_csv(file, path, wanted) if kind == "csv" else _read_jsonl(file, path, wanted)
    except (OSError, pa.ArrowException, csv.Error, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as {kind}: {error}") from error


def _read_parquet(path: Path, wanted: Sequence[str]) -> dict[str, list[Any]]:
    with pq.ParquetFile(path) as file:
        _expect(path, wanted, file.schema_arrow.names)
        table = file.read(columns=list(wanted))
    return {name: table.column(name).to_pylist() for name in wanted}


def _read_csv(file: Iterable[str], path: Path, wanted: Sequence[str]) -> dict[str, list[Any]]:
    csv.field_size_limit(2**27)
    reader = csv.reader(file)
    names = next(reader, [])
    _expect(path, wanted, names)
    places = [names.index(name) for name in wanted]
    rows = [row for row in reader if row]
    short = next((i for i, row in enumerate(rows) if len(row) != len(names)), None)
    if short is not None:
        raise ConfigError(f"{path}: row {short + 1} has {len(rows[short])} fields, the head has {len(names)}")
    return {name: [row[place] for row in rows] for name, place in zip(wanted, places, strict=True)}


def _read_jsonl(file: Iterator[str], path: Path, wanted: Sequence[str]) -> dict[str, list[Any]]:
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{path}: line {number} is no JSON: {error}") from error
        if not isinstance(row, dict):
            raise ConfigError(f"{path}: line {number}: expected an object, came {type(row).__name__}")
        rows.append(row)
    _expect(path, wanted, dict.fromkeys(key for row in rows for key in row))
    return {name: [row.get(name) for row in rows] for name in wanted}


def _expect(path: Path, wanted: Sequence[str], there: Iterable[str]) -> None:
    names = list(there)
    missing = [name for name in wanted if name not in names]
    if missing:
        raise ConfigError(f"{path} has no column {missing[0]!r}: it has {', '.join(names) or 'none'}")


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else str(value)


def _some(labels: Sequence[str]) -> str:
    return ", ".join(label for label, _ in Counter(labels).most_common(12))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256_of(texts: Sequence[str], labels: Sequence[str]) -> str:
    content = json.dumps([list(texts), list(labels)], ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(content.encode()).hexdigest()


def subsample(data: Dataset, rows: int, seed: int) -> Dataset:
    """At most so many rows, drawn with the seed, in their order."""
    if len(data) <= rows:
        return data
    chosen: npt.NDArray[np.int64] = np.sort(np.random.default_rng(seed).permutation(len(data))[:rows])
    return data.rows(chosen)
