"""The simulator's words, read from the files in `_words`.

A file has lists, `name = a|b|c`, and sections, `[name]` with one sentence a line. In a sentence `[a|b|c]` is a
choice and `{name}` one out of a list; a choice may hold lists.
"""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from typing import Final

import numpy as np

LANGUAGES: Final = ("en", "es", "fr", "de", "pt", "it", "ja")

_LIST: Final = re.compile(r"([\w ]+) = (.+)")
_SECTION: Final = re.compile(r"\[([\w ]+)\]")
_CHOICE: Final = re.compile(r"\[([^\[\]]*)\]|\{(\w+)\}")
_SENTENCE: Final = re.compile(r"(?:^|[.!?] )[a-zà-ü]")
_PICKS: Final = 12  # more than any sentence has choices


@dataclass(slots=True)
class Words:
    """One file: {list: its words} and {section: its sentences}."""

    lists: dict[str, tuple[str, ...]] = field(default_factory=dict)
    sections: dict[str, tuple[str, ...]] = field(default_factory=dict)


@lru_cache
def words(name: str) -> Words:
    """The file `_words/<name>.txt`."""
    found = Words()
    section = ""
    for line in (files("feltwire.sources") / "_words" / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("# "):
            continue
        if match := _LIST.fullmatch(line):
            found.lists[match[1]] = tuple(match[2].split("|"))
        elif match := _SECTION.fullmatch(line):
            section = match[1]
            found.sections[section] = ()
        else:
            found.sections[section] += (line,)
    return found


def written(name: str, section: str, count: int, rng: np.random.Generator) -> list[str]:
    """Distinct sentences out of a section: at most `count`, fewer where it does not give as many."""
    source = words(name)
    templates = source.sections[section]
    chosen = rng.integers(len(templates), size=count).tolist()
    picks = rng.integers(0, 1 << 30, size=(count, _PICKS)).tolist()
    return list(dict.fromkeys(_filled(templates[i], row, source.lists) for i, row in zip(chosen, picks, strict=True)))


def _filled(template: str, picks: list[int], lists: dict[str, tuple[str, ...]]) -> str:
    """One sentence; a list never gives the same word twice in it."""
    used: set[str] = set()

    def choose(match: re.Match[str]) -> str:
        options = match[1].split("|") if match[2] is None else lists[match[2]]
        fresh = [option for option in options if option not in used] or list(options)
        option = fresh[picks.pop() % len(fresh)]
        used.add(option)
        return option

    text = _CHOICE.sub(choose, _CHOICE.sub(choose, template))  # twice: lists stand inside choices too
    return _SENTENCE.sub(lambda match: match[0].upper(), text)
