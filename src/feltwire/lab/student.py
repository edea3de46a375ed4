"""The small network for firehose rates: token embeddings, two convolutions over neighbours, all heads.

It learns from a larger model, see `teaching`.
"""

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import nn

from feltwire.lab.recipe import HeadSpec

EMBEDDING: Final = 128
STATES: Final = 160
_DROPOUT: Final = 0.1
_NEAR: Final = 1  # tokens to each side that the first convolution sees …
_FAR: Final = 2  # … and how far off those of the second are: together, three tokens to each side


class Student(nn.Module):
    """(input_ids, attention_mask, …), int64[rows, tokens], to {head: logits}. Padding is zero in every layer, so a
    row's logits do not depend on how long the others are."""

    def __init__(self, words: int, heads: Mapping[str, HeadSpec]) -> None:
        super().__init__()
        self.pooled = tuple(name for name, head in heads.items() if head.kind != "spans")
        self.spans = tuple(name for name, head in heads.items() if head.kind == "spans")
        self.embedding = nn.Embedding(words, EMBEDDING)
        nn.init.normal_(self.embedding.weight, std=0.05)
        self.near = nn.Linear(3 * EMBEDDING, STATES)
        self.far = nn.Linear(3 * STATES, STATES)
        self.norm = nn.LayerNorm(STATES)
        self.queries = nn.Linear(STATES, len(self.pooled), bias=False)
        self.dropout = nn.Dropout(_DROPOUT)
        width = {name: STATES if head.kind == "spans" else 2 * STATES for name, head in heads.items()}
        self.heads = nn.ModuleDict({name: nn.Linear(width[name], len(head.labels)) for name, head in heads.items()})

    def depth(self, parameter: str) -> int | None:
        """See `multitask.Network`: everything is new."""
        return None

    def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any = None) -> dict[str, Any]:
        there = attention_mask.unsqueeze(-1).to(torch.float32)
        states = self.dropout(self.embedding(input_ids)) * there
        states = nn.functional.relu(self.near(_neighbours(states, _NEAR))) * there
        states = self.norm(states + nn.functional.relu(self.far(_neighbours(states, _FAR)))) * there
        shares = torch.softmax(self.queries(states) + (1 - there) * -1e4, dim=1)
        means = torch.matmul(shares.transpose(1, 2), states)  # [rows, heads, width]
        most = (states + (1 - there) * -1e4).amax(dim=1)
        pooled = {name: torch.cat([means[:, i], most], dim=-1) for i, name in enumerate(self.pooled)}
        logits = {name: self.heads[name](self.dropout(pooled[name])) for name in self.pooled}
        return logits | {name: self.heads[name](states) for name in self.spans}


def _neighbours(states: Any, step: int) -> Any:
    """[rows, tokens, 3 * width]: each token between the ones `step` before and behind it, zeros beyond the ends."""
    tokens = states.shape[1]
    wide = nn.functional.pad(states, (0, 0, step, step))
    return torch.cat([wide[:, :tokens], states, wide[:, 2 * step :]], dim=-1)
