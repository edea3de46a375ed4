"""The options of the neural families: apart from them, so that listing presets does not load torch."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _listed(given: Any) -> Any:
    """Whole numbers as the command line gives them: `100,100`."""
    return given.split(",") if isinstance(given, str) else given


Words = Annotated[int, Field(ge=4, le=8192, description="words of a text that are read")]
Width = Annotated[int, Field(ge=1, le=4096, description="width of a word's vector")]
Decay = Annotated[float, Field(ge=0, le=1, description="of AdamW; not for biases and norms")]
Batch = Annotated[int, Field(ge=1, le=65_536, description="texts of an update")]
Clip = Annotated[float, Field(gt=0, description="the norm that gradients are cut to")]
Bf16 = Annotated[bool, Field(description="compute in bfloat16 where that is safe")]


class RecurrentOptions(BaseModel):
    """The network and its training."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cell: Annotated[Literal["gru", "lstm"], Field(description="the kind of every layer")] = "gru"
    words: Annotated[int, Field(ge=1, le=1_000_000, description="the most frequent words, which get a vector")] = 10_000
    oov_buckets: Annotated[int, Field(ge=1, le=100_000, description="vectors that all other words share")] = 500
    embedding: Width = 200
    layers: Annotated[
        tuple[int, ...],
        BeforeValidator(_listed),
        Field(min_length=1, max_length=8, description="units of each direction, layer by layer"),
    ] = (100, 100)
    last: Annotated[int, Field(ge=1, le=4096, description="units of the last layer, which reads forward")] = 200
    dropout: Annotated[float, Field(ge=0, lt=1, description="behind the embedding and every layer")] = 0.3
    max_tokens: Words = 128
    learning_rate: Annotated[float, Field(gt=0, le=1, description="of AdamW")] = 1e-3
    weight_decay: Decay = 0.01
    batch: Batch = 64
    epochs: Annotated[int, Field(ge=1, le=10_000, description="at most so many")] = 30
    patience: Annotated[int, Field(ge=1, le=1000, description="epochs without a better score that end it")] = 4
    clip: Clip = 1.0
    bf16: Bf16 = False


class DeepMojiOptions(BaseModel):
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
    embedding: Width = 256
    units: Annotated[int, Field(ge=1, le=4096, description="units of an LSTM, each direction")] = 512
    embedding_dropout: Annotated[float, Field(ge=0, lt=1, description="of whole channels of the embedding")] = 0.25
    dropout: Annotated[float, Field(ge=0, lt=1, description="before the softmax")] = 0.5
    max_tokens: Words = 128
    learning_rate: Annotated[float, Field(gt=0, le=1, description="for new layers")] = 1e-3
    thaw_rate: Annotated[float, Field(gt=0, le=1, description="for layers that were trained before")] = 1e-4
    weight_decay: Decay = 0.0
    batch: Batch = 64
    epochs: Annotated[int, Field(ge=1, le=10_000, description="of each stage, at most")] = 30
    patience: Annotated[int, Field(ge=1, le=1000, description="epochs without a better score that end a stage")] = 3
    clip: Clip = 1.0
    bf16: Bf16 = False


class TransformerOptions(BaseModel):
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
    weight_decay: Decay = 0.01
    batch: Batch = 32
    epochs: Annotated[int, Field(ge=1, le=10_000, description="passes over the texts, at most")] = 2
    patience: Annotated[
        int, Field(ge=0, le=1000, description="epochs without a better score that end it; 0: all are run")
    ] = 0
    clip: Clip = 1.0
    bf16: Bf16 = False
