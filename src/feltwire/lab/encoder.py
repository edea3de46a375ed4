"""The network of models with many heads: a BERT-like encoder, and for every head a look of its own at the tokens."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn
from transformers import AutoModel

from feltwire.lab.recipe import HeadSpec
from feltwire.models._case import UPPER

_DROPOUT: Final = 0.1


class RowDropout(nn.Dropout):
    """Dropout that drops the same features of all tokens of a row: float[rows, tokens, width] to the same.

    Gal & Ghahramani, NIPS 2016. Drawing numbers for every token costs more on a CPU than the encoder does.
    """

    def forward(self, states: Any) -> Any:
        if not self.training or self.p == 0:
            return states
        return states * super().forward(torch.ones_like(states[:, :1]))


class ManyHeads(nn.Module):
    """(input_ids, attention_mask, token_type_ids), int64[rows, tokens] each, to {head: logits}.

    A head of classes pools the tokens by an attention that it learns (one query a head; it starts as the mean); a
    head of spans reads every token. Token types hold the case of the words, see `models/_case.py`.
    """

    def __init__(self, encoder: nn.Module, heads: Mapping[str, HeadSpec]) -> None:
        super().__init__()
        self.encoder = encoder
        width = encoder.config.hidden_size
        self.pooled = tuple(name for name, head in heads.items() if head.kind != "spans")
        self.spans = tuple(name for name, head in heads.items() if head.kind == "spans")
        self.queries = nn.Linear(width, len(self.pooled), bias=False)
        nn.init.zeros_(self.queries.weight)
        self.dropout = RowDropout(_DROPOUT)
        self.heads = nn.ModuleDict({name: nn.Linear(width, len(head.labels)) for name, head in heads.items()})

    def depth(self, parameter: str) -> int | None:
        """See `multitask.Network`."""
        parts = parameter.split(".")
        if parts[0] != "encoder":
            return None
        layers = len(self.encoder.encoder.layer)
        return layers - int(parts[3]) - 1 if parts[1] == "encoder" else layers

    def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> dict[str, Any]:
        states = self.encoder(
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
        ).last_hidden_state
        hidden = (1 - attention_mask).unsqueeze(-1) * -1e4
        shares = torch.softmax(self.queries(states) + hidden, dim=1)  # [rows, tokens, heads]
        states = self.dropout(states)
        pooled = torch.matmul(shares.transpose(1, 2), states)  # [rows, heads, width]
        logits = {name: self.heads[name](pooled[:, i]) for i, name in enumerate(self.pooled)}
        if self.spans:
            logits |= {name: self.heads[name](states) for name in self.spans}
        return logits


def start_encoder(checkpoint: Path, dropout: float = 0.0) -> nn.Module:
    """The encoder of a checkpoint in a folder (config.json, model.safetensors), with token types for case.

    `dropout` is the share of features that each sublayer leaves out of a row in training.
    """
    encoder = AutoModel.from_pretrained(
        checkpoint,
        attn_implementation="eager",  # on CPUs, the faster one for short texts
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        add_pooling_layer=False,
    )
    old = encoder.embeddings.token_type_embeddings.weight.detach()
    types = nn.Embedding(UPPER + 1, old.shape[1])
    with torch.no_grad():
        types.weight.copy_(old[:1].expand(UPPER + 1, -1))
    encoder.embeddings.token_type_embeddings = types
    encoder.config.type_vocab_size = UPPER + 1
    encoder.embeddings.dropout = RowDropout(dropout)
    for layer in encoder.encoder.layer:
        layer.attention.output.dropout = RowDropout(dropout)
        layer.output.dropout = RowDropout(dropout)
    return encoder
