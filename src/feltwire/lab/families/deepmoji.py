"""The DeepMoji network (Felbo et al., EMNLP 2017) and its way of fine-tuning.

An embedding of 256 under a tanh, two bidirectional LSTMs of 512 whose gates are hard sigmoids, attention over
[lstm2, lstm1, embedding], a softmax. Chain-thaw trains the new layer first, then each layer alone from the first
on, then all, and stops each early.
"""

from collections.abc import Mapping
from typing import Any, Final

from feltwire.lab.families._extra import needs_train
from feltwire.lab.families._options import DeepMojiOptions
from feltwire.lab.interfaces import Dataset, Fitted, Run

PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {
    "deepmoji": {"method": "chain-thaw"},
    "deepmoji-full": {"method": "full"},
    "deepmoji-last": {"method": "last"},
}
PROFILE: Final = "deepmoji"
"""The cleaning profile that the network was made for: train with it unless there is a reason not to."""


Options = DeepMojiOptions


def fit(train: Dataset, validation: Dataset, options: DeepMojiOptions, run: Run) -> Fitted:
    """See `lab.interfaces.Family`. Raises ConfigError for a checkpoint that is none, or of another profile."""
    with needs_train("the DeepMoji network"):
        from feltwire.lab.families import _deepmoji
    return _deepmoji.fit(train, validation, options, run)
