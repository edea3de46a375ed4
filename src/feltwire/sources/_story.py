"""The simulator's story: an airline's bad day, and the sentences that people write while it passes.

The story takes a number of minutes and then begins again. Its parts, as shares of that time:
calm until 0.20; the airline's systems fail, and the mood turns within 0.03; anger until 0.55, at first about
delays, later about bags and refunds; then an apology, and a slow recovery until 0.90; calm.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feltwire.sources import _phrases

INCIDENT: Final = 0.20
APOLOGY: Final = 0.55
CALM: Final = 0.90
_TURN: Final = 0.03

MOODS: Final = ("negative", "neutral", "positive")
SUBJECTS: Final = ("airline", "football", "phone", "strike", "film", "weather", "coffee")
LANGUAGE_SHARES: Final = (0.80, 0.06, 0.04, 0.04, 0.03, 0.015, 0.015)
COMPLAINT_SHARES: Final[dict[str, tuple[float, float]]] = {
    "lost baggage": (0.10, 0.30),
    "delays": (0.50, 0.15),
    "extra charges": (0.08, 0.12),
    "refunds": (0.06, 0.23),
    "seats": (0.06, 0.05),
    "online booking": (0.12, 0.05),
    "customer service": (0.08, 0.10),
}
"""Of the complaints, how many are of each category when the incident begins, and at its end."""

_SEED: Final = 20_260_102
_PER_POOL: Final = 240


@dataclass(frozen=True, slots=True)
class Sentences:
    """All sentences in one array; a pool's are texts[starts[pool] : starts[pool] + sizes[pool]]."""

    texts: pa.Array
    pools: dict[tuple[str, str, str], int]
    """{(language, subject, mood or category): pool}."""
    starts: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]


def severity(phase: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """How bad it is, from 0 to 1, at each phase of the story (the time passed as a share of its length)."""
    return np.interp(phase, [0.0, INCIDENT, INCIDENT + _TURN, APOLOGY, CALM, 1.0], [0.0, 0.0, 1.0, 1.0, 0.0, 0.0])


def complaint_shares(progress: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """[rows, categories]: the shares of the complaint categories, cumulated, at each progress from 0 to 1."""
    first = np.array([begin for begin, _ in COMPLAINT_SHARES.values()])
    last = np.array([end for _, end in COMPLAINT_SHARES.values()])
    shares: npt.NDArray[np.float64] = np.cumsum(first + (last - first) * progress[:, None], axis=1)
    return shares / shares[:, -1:]


@lru_cache(maxsize=1)
def sentences() -> Sentences:
    """Every pool of sentences, written out. The same in every run."""
    rng = np.random.default_rng(_SEED)
    pools: dict[tuple[str, str, str], int] = {}
    texts: list[str] = []
    starts: list[int] = []
    for lang in _phrases.LANGUAGES:
        for section in _phrases.words(lang).sections:
            subject, _, mood = section.partition(" ")
            if subject in SUBJECTS or subject == "other":
                pools[lang, subject, mood] = len(starts)
                starts.append(len(texts))
                texts += _phrases.written(lang, section, _PER_POOL, rng)
    bounds = np.array([*starts, len(texts)], dtype=np.int64)
    return Sentences(pa.array(texts, pa.string()), pools, bounds[:-1], np.diff(bounds))
