"""From a recipe and a folder of labelled sets to examples: cleaned texts, each with what is known for every head."""

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq

from feltwire.errors import ConfigError
from feltwire.lab import invented
from feltwire.lab.data import place_of
from feltwire.lab.recipe import HeadSpec, Recipe, SetSpec
from feltwire.text import clean

_SELECTOR: Final = "\ufe0f"  # a label is an emoji without it
_log = logging.getLogger(__name__)

Shares = dict[str, float]
"""{label: its probability}, summing to 1 for a head of classes."""


@dataclass(slots=True)
class Example:
    """A cleaned text and its labels."""

    text: str
    shares: dict[str, Shares] = field(default_factory=dict)  # {head: …}
    among: dict[str, tuple[str, ...]] = field(default_factory=dict)  # {head: the labels that it decides between}
    tags: dict[str, list[tuple[int, int, str]]] = field(default_factory=dict)  # {head: (start, end, tag) a token}
    repeat: int = 1


@dataclass(frozen=True, slots=True)
class Source:
    """A file that examples came from."""

    name: str
    sha256: str
    rows: int


@dataclass(frozen=True, slots=True)
class Examples:
    """What a model is trained with, and what it is judged by."""

    train: tuple[Example, ...]
    validation: Mapping[str, tuple[Example, ...]]
    """{`file:head`: examples}; no text of theirs is in `train`."""
    sources: tuple[Source, ...]


def gather(recipe: Recipe, data: Path) -> Examples:
    """Read all sets of the recipe. The same text in several sets becomes one example with all their labels.

    Raises ConfigError when a file or column is missing, or a label is unknown.
    """
    train: dict[str, Example] = {}
    judges: dict[str, dict[str, Example]] = {}
    sources: dict[str, Source] = {}
    for one in recipe.sets:
        rows, source = _rows(one, data)
        sources[one.file] = source
        for example in _examples(one, recipe.heads[one.head], recipe.profile, rows):
            if one.validates or place_of(example.text) < one.hold:
                _merge(judges.setdefault(f"{source.name}:{one.head}", {}), example, 1)
            else:
                _merge(train, example, one.repeat)
    held = {key for part in judges.values() for key in part}
    _log.info("%d texts are kept from training: they validate", sum(key in held for key in train))
    return Examples(
        tuple(example for key, example in train.items() if key not in held),
        {name: tuple(part.values()) for name, part in judges.items()},
        tuple(sources.values()),
    )


def _merge(into: dict[str, Example], example: Example, repeat: int) -> None:
    """The first set that says something of a head is believed; entities bring their own tokens."""
    there = into.setdefault(_key(example.text), example)
    there.repeat = max(there.repeat, repeat)
    for head, shares in example.shares.items():
        if head not in there.shares:
            there.shares[head] = shares
            there.among.update({head: example.among[head]} if head in example.among else {})
    if there.text == example.text:
        there.tags.update({head: tags for head, tags in example.tags.items() if head not in there.tags})


def _key(text: str) -> str:
    return " ".join(text.lower().split())


def _rows(one: SetSpec, data: Path) -> tuple[list[dict[str, Any]], Source]:
    if one.file.startswith("invented:"):
        name = one.file.partition(":")[2]
        rows = invented.rows(name)
        digest = hashlib.sha256(repr(rows).encode()).hexdigest()
        return rows, Source(f"feltwire/{name}", digest, len(rows))
    path = data / one.file
    if not path.is_file():
        raise ConfigError(f"the recipe wants {one.file}, which is not in {data}: see docs/models.md for the sets")
    wanted = {one.tokens or one.text, *one.where} | (set() if one.value else {one.label})
    missing = wanted - set(pq.read_schema(path).names)
    if missing:
        raise ConfigError(f"{path} has no column {', '.join(sorted(missing))}: {pq.read_schema(path).names}")
    rows = pq.read_table(path, columns=sorted(wanted)).to_pylist()
    return rows, Source(one.file.removesuffix(".parquet"), hashlib.sha256(path.read_bytes()).hexdigest(), len(rows))


def _examples(one: SetSpec, head: HeadSpec, profile: str, rows: list[dict[str, Any]]) -> Iterator[Example]:
    rows = [row for row in rows if all(row[key] in allowed for key, allowed in one.where.items())]
    if head.kind == "spans":
        yield from _tagged(one, head, profile, rows)
        return
    for row, text in zip(rows, clean([row[one.text] or "" for row in rows], profile), strict=True):
        if not text or place_of(text + "\0fraction") >= one.fraction:
            continue
        given = one.value or row[one.label]
        names = _names(one, head, given if isinstance(given, list) else [given])
        if names or (head.kind == "multi" and isinstance(given, list)):
            yield Example(text, {one.head: _shares(one, head, names)}, {one.head: one.among} if one.among else {})


def _names(one: SetSpec, head: HeadSpec, given: Sequence[str | None]) -> list[str]:
    found = []
    for raw in given:
        label = (raw or "").replace(_SELECTOR, "")
        label = one.rename.get(label, label)
        if label in head.labels:
            found.append(label)
        elif label and not one.others:
            raise ConfigError(f"{one.file}: label {label!r} is none of {', '.join(head.labels)}: rename it")
    return list(dict.fromkeys(found))


def _shares(one: SetSpec, head: HeadSpec, names: list[str]) -> Shares:
    if head.kind == "multi":
        return dict.fromkeys(names, 1.0)
    if one.trust < 1:
        others = [label for label in head.labels if label not in names]
        return {names[0]: one.trust} | dict.fromkeys(others, (1 - one.trust) / len(others))
    return dict.fromkeys(names, 1 / len(names))


def _tagged(one: SetSpec, head: HeadSpec, profile: str, rows: list[dict[str, Any]]) -> Iterator[Example]:
    """Tokens are cleaned one by one, so that each keeps its tag; one that cleaning empties is left out."""
    for row in rows:
        parts: list[str] = []
        tags: list[tuple[int, int, str]] = []
        at = 0
        for token, raw in zip(clean(row[one.tokens], profile), row[one.label], strict=True):
            tag = one.rename.get(raw, raw)
            if tag not in head.labels:
                raise ConfigError(f"{one.file}: tag {raw!r} is none of {', '.join(head.labels)}")
            if token:
                tags.append((at, at + len(token), tag))
                parts.append(token)
                at += len(token) + 1
        if parts:
            yield Example(" ".join(parts), tags={one.head: tags})
