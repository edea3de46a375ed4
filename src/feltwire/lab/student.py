"""The small network for firehose rates: token embeddings, two convolutions over neighbours, all heads.

It learns what a larger model says of every text, beside what people said of some (Hinton et al. 2015, distillation).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn

from feltwire.interfaces import Predictions
from feltwire.lab.batches import IGNORED, Encoded
from feltwire.lab.examples import Example
from feltwire.lab.recipe import HeadSpec
from feltwire.models._bundle import OUTSIDE

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


def distilled(
    encoded: Encoded,
    examples: Sequence[Example],
    said: Predictions,
    heads: Mapping[str, HeadSpec],
    tokenizer: Tokenizer,
    *,
    hard: float,
) -> Encoded:
    """The examples with what a teacher says of all of them: (1 - hard) of its probabilities and `hard` of people's.

    A row on which people decided between some labels alone keeps the teacher's share of the others.
    """
    targets, known, allowed, tags = (
        dict(encoded.targets),
        dict(encoded.known),
        dict(encoded.allowed),
        dict(encoded.tags),
    )
    for name, head in heads.items():
        given = said[name]
        if isinstance(given, list):
            tags[name] = encoded.tags[name] | _tagged(examples, given, head.labels, tokenizer, encoded.tags[name])
            known[name] = np.ones(len(encoded), np.bool_)
            continue
        teacher = given / given.sum(axis=1, keepdims=True) if head.kind == "classes" else given
        theirs = encoded.targets[name]
        among = encoded.allowed[name]
        theirs = np.where(among, theirs * (teacher * among).sum(axis=1, keepdims=True), teacher)
        mixed = (1 - hard) * teacher + hard * theirs
        targets[name] = np.where(encoded.known[name][:, None], mixed, teacher).astype(np.float32)
        known[name] = np.ones(len(encoded), np.bool_)
        allowed[name] = np.ones_like(among)
    return replace(encoded, targets=targets, known=known, allowed=allowed, tags=tags)


def _tagged(
    examples: Sequence[Example],
    spans: Sequence[Any],
    labels: Sequence[str],
    tokenizer: Tokenizer,
    sure: Mapping[int, Any],
) -> dict[int, Any]:
    """The teacher's spans as a tag a token, for the rows that people did not tag."""
    found = {}
    rows = [row for row in range(len(examples)) if row not in sure]
    for start in range(0, len(rows), 4_096):
        part = rows[start : start + 4_096]
        for row, encoding in zip(part, tokenizer.encode_batch([examples[i].text for i in part]), strict=True):
            found[row] = _tags(encoding, spans[row], labels)
    return found


def _tags(encoding: Any, spans: Sequence[tuple[int, int, str, float]], labels: Sequence[str]) -> Any:
    tags = np.full(len(encoding.ids), IGNORED, np.int64)
    outside = labels.index(OUTSIDE)
    places, last = encoding.offsets if spans else None, None
    for i, word in enumerate(encoding.word_ids):
        if word is None or word == last:
            continue
        last = word
        tags[i] = outside
        for first, end, label, _ in spans:
            if places is not None and first <= places[i][0] < end:
                tags[i] = labels.index(f"{'B' if places[i][0] == first else 'I'}-{label}")
    return tags
