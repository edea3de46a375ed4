"""Outside scorers that models are compared with: `textblob:` beside every URI that `scoring.load` knows."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from feltwire.errors import MissingExtraError
from feltwire.interfaces import Model, Predictions
from feltwire.scoring import load as load_model

TEXTBLOB: Final = "textblob:"
_SHARPNESS: Final = 2.0
_EDGE: Final = 1e-3  # polarities that are rounding alone are none


class TextBlobModel:
    """TextBlob's sentiment by its lexicon of adjectives (PatternAnalyzer): one head, `sentiment`.

    Its polarity c, from -1 to 1, says negative below 0, positive above, and neutral at 0. It gives no probabilities;
    as with VADER they are softmax(a(-u - t), 0, a(u - t)), u = sign(c) sqrt(|c|), a = 2, t next to nothing.
    """

    languages: frozenset[str] | None = frozenset({"en"})
    heads: Mapping[str, tuple[str, ...]] = {"sentiment": ("negative", "neutral", "positive")}
    profile: str = "plain"

    def __init__(self) -> None:
        try:
            from importlib.metadata import version

            from textblob.en.sentiments import PatternAnalyzer
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                f"the peer 'textblob:' needs the library {error.name!r}: pip install 'feltwire[train]'"
            ) from error
        self.name = f"textblob@{version('textblob')}"
        self._analyzer = PatternAnalyzer()

    def predict(self, texts: Sequence[str]) -> Predictions:
        """{"sentiment": float32[rows, 3]}."""
        said = np.array([self._analyzer.analyze(text).polarity for text in texts], np.float64)
        return {"sentiment": shares(said)}


def shares(polarity: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """float32[rows, 3] from polarities, the most probable being what the sign says."""
    u = np.sign(polarity) * np.sqrt(np.abs(polarity))
    t = np.sqrt(_EDGE) / 2
    odds = np.exp(_SHARPNESS * np.stack([-u - t, np.zeros_like(u), u - t], axis=-1))
    found: npt.NDArray[np.float32] = (odds / odds.sum(axis=-1, keepdims=True)).astype(np.float32)
    return found


def load(uri: str) -> Model:
    """A model by its URI or folder, or a peer. Raises as `scoring.load`; MissingExtraError for a missing library."""
    return TextBlobModel() if uri == TEXTBLOB else load_model(uri)
