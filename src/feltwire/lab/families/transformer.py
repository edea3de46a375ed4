"""Fine-tuning of transformers, from any checkpoint.

`bert` is the recipe that BERT's authors published (Devlin et al., NAACL 2019), with the rate and the two epochs of
the field's comparisons; `minilm` starts from the small encoder all-MiniLM-L6-v2 and trains until it gets no better.
"""

from collections.abc import Mapping
from typing import Any, Final

from feltwire.lab.families._extra import needs_train
from feltwire.lab.families._options import TransformerOptions
from feltwire.lab.interfaces import Dataset, Fitted, Run

PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {
    "bert": {"checkpoint": "hf:google-bert/bert-base-uncased"},
    "minilm": {
        "checkpoint": "minilm",
        "pooling": "mean",
        "learning_rate": 5e-5,
        "epochs": 6,
        "patience": 2,
    },
}


Options = TransformerOptions


def fit(train: Dataset, validation: Dataset, options: TransformerOptions, run: Run) -> Fitted:
    """See `lab.interfaces.Family`. Raises ConfigError or ModelError for a checkpoint that cannot be used."""
    with needs_train("fine-tuning a transformer"):
        from feltwire.lab.families import _transformer
    return _transformer.fit(train, validation, options, run)
