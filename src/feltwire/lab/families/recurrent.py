"""Recurrent networks over words: a bi-GRU and a bi-LSTM.

10,000 words and 500 buckets for all others, an embedding of 200, two bidirectional layers of 100, one of 200 that
reads forward and whose last state is classified.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from feltwire.lab.families._extra import needs_train
from feltwire.lab.interfaces import Dataset, Fitted, Run

PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {"bigru": {"cell": "gru"}, "bilstm": {"cell": "lstm"}}


class Options(BaseModel):
    """The network and its training."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cell: Annotated[Literal["gru", "lstm"], Field(description="the kind of every layer")] = "gru"
    words: Annotated[int, Field(ge=1, le=1_000_000, description="the most frequent words, which get a vector")] = 10_000
    oov_buckets: Annotated[int, Field(ge=1, le=100_000, description="vectors that all other words share")] = 500
    embedding: Annotated[int, Field(ge=1, le=4096, description="width of a word's vector")] = 200
    layers: Annotated[tuple[int, ...], Field(min_length=1, max_length=8, description="units of each direction")] = (
        100,
        100,
    )
    last: Annotated[int, Field(ge=1, le=4096, description="units of the last layer, which reads forward")] = 200
    dropout: Annotated[float, Field(ge=0, lt=1, description="behind the embedding and every layer")] = 0.3
    max_tokens: Annotated[int, Field(ge=4, le=8192, description="words of a text that are read")] = 128
    learning_rate: Annotated[float, Field(gt=0, le=1, description="of AdamW")] = 1e-3
    weight_decay: Annotated[float, Field(ge=0, le=1, description="of AdamW")] = 0.01
    batch: Annotated[int, Field(ge=1, le=65_536, description="texts of an update")] = 64
    epochs: Annotated[int, Field(ge=1, le=10_000, description="at most so many")] = 30
    patience: Annotated[int, Field(ge=1, le=1000, description="epochs without a better score that end it")] = 4
    clip: Annotated[float, Field(gt=0, description="the norm that gradients are cut to")] = 1.0
    bf16: Annotated[bool, Field(description="compute in bfloat16 where that is safe")] = False


def fit(train: Dataset, validation: Dataset, options: Options, run: Run) -> Fitted:
    """See `lab.interfaces.Family`."""
    with needs_train("a recurrent network"):
        from feltwire.lab.families import _recurrent
    return _recurrent.fit(train, validation, options, run)
