"""The simulator's authors: invented people, the same in every run, some far busier and better known than others."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feltwire.sources._phrases import words

_SEED: Final = 20_260_101
_COUNTS: Final = {"en": 6_000, "es": 600, "fr": 400, "de": 400, "pt": 400, "it": 250, "ja": 250}


@dataclass(frozen=True, slots=True)
class People:
    """Authors as columns, those of a language beside each other; a language's are starts to starts + counts."""

    columns: dict[str, pa.Array]
    followers: npt.NDArray[np.int64]
    starts: dict[str, int]
    counts: dict[str, int]


@lru_cache(maxsize=1)
def people() -> People:
    """All authors; row 0 is the airline itself."""
    rng = np.random.default_rng(_SEED)
    names, handles, places = ["Larkwing"], ["larkwing"], ["Port Ellery"]
    lists = words("people").lists
    left, right = lists["left"], lists["right"]
    starts = {}
    for lang, count in _COUNTS.items():
        starts[lang] = len(names)
        first, last, where = (lists[f"{lang} {part}"] for part in ("first", "last", "place"))
        for a, b, c, d, e, f in rng.integers(0, 1 << 30, size=(count, 6)).tolist():
            names.append(f"{first[a % len(first)]} {last[b % len(last)]}" if a % 7 else left[a % len(left)].title())
            handles.append(f"{left[c % len(left)]}{right[d % len(right)]}{e % 10}{len(names)}")
            places.append(where[f % len(where)] if f % 3 else "")
    total = len(names)
    followers = (40 * (1 + rng.pareto(0.9, size=total))).clip(max=9e6).astype(np.int64)
    followers[0] = 812_400
    verified = (followers > 20_000) | (rng.random(total) < 0.01)
    verified[0] = True
    columns = {
        "author_id": pa.array([f"sim-{number:05d}" for number in range(total)]),
        "author_handle": pa.array(handles),
        "author_name": pa.array(names),
        "author_verified": pa.array(verified),
        "author_location": pa.array([place or None for place in places], pa.string()),
        "raw": pa.array([f'{{"followers":{number}}}' for number in followers.tolist()]),
    }
    return People(columns, followers, starts, dict(_COUNTS))
