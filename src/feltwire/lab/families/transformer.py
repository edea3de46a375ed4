"""Fine-tuning of transformers, from any checkpoint.

`bert` is the recipe that BERT's authors published (Devlin et al., NAACL 2019), with the rate and the two epochs of
the field's comparisons; `minilm` starts from the small encoder all-MiniLM-L6-v2 and trains until it gets no better.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from feltwire.lab.families._extra import needs_train
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


class Options(BaseModel):
    """Where it starts, and how it is trained."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    checkpoint: Annotated[
        str, Field(min_length=1, description="a folder, hf:org/name[@revision], or minilm: what the weights start from")
    ]
    pooling: Annotated[
        Literal["pooler", "mean"],
        Field(description="what is classified: the pooled first token, or the mean over the tokens"),
    ] = "pooler"
    dropout: Annotated[float, Field(ge=0, lt=1, description="before the classes")] = 0.1
    max_tokens: Annotated[int, Field(ge=4, le=512, description="of a text, special ones counted")] = 128
    learning_rate: Annotated[float, Field(gt=0, le=1, description="of AdamW, at its highest")] = 1e-5
    warmup: Annotated[float, Field(ge=0, lt=1, description="share of the updates in which the rate rises")] = 0.1
    weight_decay: Annotated[float, Field(ge=0, le=1, description="of AdamW; not for biases and norms")] = 0.01
    batch: Annotated[int, Field(ge=1, le=65_536, description="texts of an update")] = 32
    epochs: Annotated[int, Field(ge=1, le=10_000, description="passes over the texts, at most")] = 2
    patience: Annotated[
        int | None, Field(ge=1, le=1000, description="epochs without a better score that end it; null: all are run")
    ] = None
    clip: Annotated[float, Field(gt=0, description="the norm that gradients are cut to")] = 1.0
    bf16: Annotated[bool, Field(description="compute in bfloat16 where that is safe")] = False


def fit(train: Dataset, validation: Dataset, options: Options, run: Run) -> Fitted:
    """See `lab.interfaces.Family`. Raises ConfigError or ModelError for a checkpoint that cannot be used."""
    with needs_train("fine-tuning a transformer"):
        from feltwire.lab.families import _transformer
    return _transformer.fit(train, validation, options, run)
