"""Recurrent networks over words: a bi-GRU and a bi-LSTM.

10,000 words and 500 buckets for all others, an embedding of 200, two bidirectional layers of 100, one of 200 that
reads forward and whose last state is classified.
"""

from collections.abc import Mapping
from typing import Any, Final

from feltwire.lab.families._extra import needs_train
from feltwire.lab.families._options import RecurrentOptions
from feltwire.lab.interfaces import Dataset, Fitted, Run

PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {"bigru": {"cell": "gru"}, "bilstm": {"cell": "lstm"}}


Options = RecurrentOptions


def fit(train: Dataset, validation: Dataset, options: RecurrentOptions, run: Run) -> Fitted:
    """See `lab.interfaces.Family`."""
    with needs_train("a recurrent network"):
        from feltwire.lab.families import _recurrent
    return _recurrent.fit(train, validation, options, run)
