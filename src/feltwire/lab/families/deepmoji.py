"""The DeepMoji network (Felbo et al., EMNLP 2017) and its way of fine-tuning.

An embedding of 256 under a tanh, two bidirectional LSTMs of 512 whose gates are hard sigmoids, attention over
[lstm2, lstm1, embedding], a softmax. Chain-thaw trains the new layer first, then each layer alone from the first
on, then all, and stops each early.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from feltwire.lab.families._extra import needs_train
from feltwire.lab.interfaces import Dataset, Fitted, Run

PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {
    "deepmoji": {"method": "chain-thaw"},
    "deepmoji-full": {"method": "full"},
    "deepmoji-last": {"method": "last"},
}
PROFILE: Final = "deepmoji"
"""The cleaning profile that the network was made for."""


class Options(BaseModel):
    """The network and its training."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    checkpoint: Annotated[
        str, Field(description="folder of a bundle of this network to start from; empty: random weights")
    ] = ""
    method: Annotated[
        Literal["chain-thaw", "full", "last"], Field(description="all layers in turn, all at once, or the new one only")
    ] = "chain-thaw"
    words: Annotated[
        int, Field(ge=11, le=1_000_000, description="size of the vocabulary; with a checkpoint it has its own")
    ] = 50_000
    new_words: Annotated[
        int, Field(ge=0, le=1_000_000, description="frequent words that a checkpoint's vocabulary gets on top")
    ] = 10_000
    embedding: Annotated[int, Field(ge=1, le=4096, description="width of a word's vector")] = 256
    units: Annotated[int, Field(ge=1, le=4096, description="units of an LSTM, each direction")] = 512
    embedding_dropout: Annotated[float, Field(ge=0, lt=1, description="of whole channels of the embedding")] = 0.25
    dropout: Annotated[float, Field(ge=0, lt=1, description="before the softmax")] = 0.5
    max_tokens: Annotated[int, Field(ge=4, le=8192, description="words of a text that are read")] = 128
    learning_rate: Annotated[float, Field(gt=0, le=1, description="for new layers")] = 1e-3
    thaw_rate: Annotated[float, Field(gt=0, le=1, description="for layers that were trained before")] = 1e-4
    weight_decay: Annotated[float, Field(ge=0, le=1, description="of AdamW")] = 0.0
    batch: Annotated[int, Field(ge=1, le=65_536, description="texts of an update")] = 64
    epochs: Annotated[int, Field(ge=1, le=10_000, description="of each stage, at most")] = 30
    patience: Annotated[int, Field(ge=1, le=1000, description="epochs without a better score that end a stage")] = 3
    clip: Annotated[float, Field(gt=0, description="the norm that gradients are cut to")] = 1.0
    bf16: Annotated[bool, Field(description="compute in bfloat16 where that is safe")] = False


def fit(train: Dataset, validation: Dataset, options: Options, run: Run) -> Fitted:
    """See `lab.interfaces.Family`. Raises ConfigError for a checkpoint that is none, or of another profile."""
    with needs_train("the DeepMoji network"):
        from feltwire.lab.families import _deepmoji
    return _deepmoji.fit(train, validation, options, run)
