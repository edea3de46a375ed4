"""A linear part over tokens beside a network, for a head whose labels hang on single words.

Labels that come from a topic model or from keyword rules are such: logistic regression over words finds them better
than an encoder does, which looks at what a post means. The two together find them better than either.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from scipy.sparse import csr_matrix  # type: ignore[import-untyped]
from sklearn.linear_model import LogisticRegression
from tokenizers import Tokenizer
from torch import nn

from feltwire.errors import ConfigError
from feltwire.lab.examples import Example
from feltwire.lab.recipe import HeadSpec

_STRENGTH: Final = 10.0  # the inverse of the penalty on weights
_ROUNDS: Final = 300


class Words(nn.Module):
    """(input_ids, attention_mask), int64[rows, tokens], to logits float32[rows, labels].

    A row's tokens count by how rare they are (inverse document frequency), and its vector has the length 1.
    """

    def __init__(self, weights: Any, idf: Any, bias: Any) -> None:
        """`weights`, float[tokens of the vocabulary, labels], `idf`, float[tokens of the vocabulary], float[labels]."""
        super().__init__()
        table = np.concatenate([weights * idf[:, None], np.square(idf)[:, None]], axis=1).astype(np.float32)
        self.table = nn.Embedding.from_pretrained(torch.from_numpy(table))
        self.register_buffer("bias", torch.from_numpy(np.asarray(bias, np.float32)))

    def forward(self, input_ids: Any, attention_mask: Any) -> Any:
        sums = (self.table(input_ids) * attention_mask.unsqueeze(-1)).sum(dim=1)
        length = torch.sqrt(sums[:, -1:]).clamp(min=1e-3)
        return sums[:, :-1] / length + self.bias


class WithWords(nn.Module):
    """A network whose logits are, for some heads, a mean with those of `Words`."""

    def __init__(self, network: nn.Module, words: Mapping[str, Words], shares: Mapping[str, float]) -> None:
        super().__init__()
        self.network = network
        self.words = nn.ModuleDict(words)
        self.shares = dict(shares)

    def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any = None) -> dict[str, Any]:
        logits: dict[str, Any] = self.network(input_ids, attention_mask, token_type_ids)
        for name, part in self.words.items():
            share = self.shares[name]
            logits[name] = (1 - share) * logits[name] + share * part(input_ids, attention_mask)
        return logits


def with_words(
    network: nn.Module, heads: Mapping[str, HeadSpec], examples: Sequence[Example], tokenizer: Tokenizer
) -> nn.Module:
    """The network, with linear parts fitted to the examples for those heads that want them (`HeadSpec.words`)."""
    wanted = {name: head for name, head in heads.items() if head.words}
    if not wanted:
        return network
    parts = {name: _fit(name, head, examples, tokenizer) for name, head in wanted.items()}
    return WithWords(network, parts, {name: head.words for name, head in wanted.items()})


def _fit(name: str, head: HeadSpec, examples: Sequence[Example], tokenizer: Tokenizer) -> Words:
    known = [example for example in examples if name in example.shares and name not in example.among]
    labels = np.array([head.labels.index(max(e.shares[name], key=e.shares[name].__getitem__)) for e in known])
    there = np.unique(labels)
    if len(there) < 2:
        raise ConfigError(f"words of {name}: the sets have {len(there)} of its labels; two are needed at least")
    counts = _counts([example.text for example in known], tokenizer)
    texts_with = np.asarray((counts > 0).sum(axis=0)).ravel()
    idf = np.where(texts_with > 0, np.log((1 + len(known)) / (1 + texts_with)) + 1, 0.0)  # unseen tokens do not count
    vectors = counts.multiply(idf).tocsr()
    # The length as `Words` has it, where the square of a token's idf counts as often as the token.
    lengths = np.sqrt(np.asarray(counts.multiply(np.square(idf)).sum(axis=1)).ravel())
    vectors = vectors.multiply(1 / np.maximum(lengths, 1e-3)[:, None]).tocsr()
    fitted = LogisticRegression(C=_STRENGTH, max_iter=_ROUNDS).fit(vectors, labels)
    of_two = len(there) == 2  # scikit-learn then has one row, for the second
    rows = np.concatenate([-fitted.coef_ / 2, fitted.coef_ / 2]) if of_two else fitted.coef_
    starts = np.concatenate([-fitted.intercept_ / 2, fitted.intercept_ / 2]) if of_two else fitted.intercept_
    weights = np.zeros((tokenizer.get_vocab_size(), len(head.labels)), np.float32)
    bias = np.full(len(head.labels), starts.min(), np.float32)
    weights[:, there], bias[there] = rows.T, starts
    return Words(weights, idf, bias)


def _counts(texts: Sequence[str], tokenizer: Tokenizer) -> Any:
    """How often each token stands in each text, without special tokens: sparse float32[texts, vocabulary]."""
    rows, columns = [], []
    for row, encoding in enumerate(tokenizer.encode_batch(list(texts))):
        inner = [
            token for token, special in zip(encoding.ids, encoding.special_tokens_mask, strict=True) if not special
        ]
        rows += [row] * len(inner)
        columns += inner
    ones = np.ones(len(rows), np.float32)
    return csr_matrix((ones, (rows, columns)), (len(texts), tokenizer.get_vocab_size()))
