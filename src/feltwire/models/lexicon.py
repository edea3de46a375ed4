"""`lexicon:vader`: VADER, a lexicon with rules for English (vaderSentiment 3.3.2). No file, no warm-up, no GPU."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Final

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from feltwire.errors import ConfigError
from feltwire.interfaces import Predictions
from feltwire.models._vader import Vader

LABELS: Final = ("negative", "neutral", "positive")
THRESHOLD: Final = 0.05  # Hutto & Gilbert 2014: positive from 0.05 on, negative up to -0.05, neutral between
_STEPS: Final = 10_000  # VADER rounds its compound score to four decimals
_SHARPNESS: Final = 2.0


class Options(BaseModel):
    """VADER has no options."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def probabilities(compound: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """float32[rows, 3] (negative, neutral, positive) from compound scores of four decimals.

    VADER gives no probabilities. With c the compound score, u = sign(c) * sqrt(|c|), t = sqrt(0.04995) and a = 2:

        p = softmax(a * (-u - t), 0, a * (u - t))

    It is monotone in c, symmetric, and its most probable label is the one of the published rule: positive where
    c >= 0.05, negative where c <= -0.05, else neutral (t lies half a step below, so that 0.05 itself is no tie).
    The root and `a` keep to what people said of public posts: of those that VADER gives 0.8 and more, about
    0.8 are positive. They are a rough calibration, not a measurement of the text.
    """
    u = np.sign(compound) * np.sqrt(np.abs(compound))
    t = np.sqrt(THRESHOLD - 0.5 / _STEPS)
    odds = np.exp(_SHARPNESS * np.stack([-u - t, np.zeros_like(u), u - t], axis=-1))
    shares: npt.NDArray[np.float32] = (odds / odds.sum(axis=-1, keepdims=True)).astype(np.float32)
    return shares


class VaderModel:
    """VADER as a model: one head, `sentiment`."""

    name: str = f"vader@{version('vaderSentiment')}"
    languages: frozenset[str] | None = frozenset({"en"})
    heads: Mapping[str, tuple[str, ...]] = {"sentiment": LABELS}
    profile: str = "plain"

    def __init__(self) -> None:
        self._vader = Vader()
        # One row for every score that there is: from -1 to 1 in steps of 0.0001.
        self._table = probabilities(np.arange(-_STEPS, _STEPS + 1) / _STEPS)

    def predict(self, texts: Sequence[str]) -> Predictions:
        """{"sentiment": float32[rows, 3]}; linear in the length of the texts."""
        compound = np.fromiter(map(self._vader.compound, texts), np.float64, len(texts))
        return {"sentiment": self._table[np.rint(compound * _STEPS).astype(np.int64) + _STEPS]}


def create(rest: str, options: Options) -> VaderModel:
    """`lexicon:vader`."""
    if rest != "vader":
        raise ConfigError(f"model 'lexicon:{rest}': the only lexicon is vader: write lexicon:vader")
    return VaderModel()
