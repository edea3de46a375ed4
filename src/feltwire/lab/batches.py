"""Examples as arrays: encoded once, then batched by length, with the targets of every head."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from feltwire.errors import ConfigError
from feltwire.lab.examples import Example
from feltwire.lab.recipe import HeadSpec
from feltwire.models._case import case_types

IGNORED: Final = -100
_POOL: Final = 50  # batches that are sorted by length together: little padding, and still much chance

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Encoded:
    """All examples of a set. Row i of `targets[head]` sums to 1 (classes), or to 0 where nothing is known."""

    ids: list[npt.NDArray[np.int32]]
    types: list[npt.NDArray[np.int8]]
    targets: dict[str, Floats]  # {head of classes or multi: [rows, labels]}
    known: dict[str, npt.NDArray[np.bool_]]  # {head: rows}
    allowed: dict[str, npt.NDArray[np.bool_]]  # {head: [rows, labels]}: what the row decides between
    tags: dict[str, dict[int, npt.NDArray[np.int64]]]  # {head of spans: {row: a tag a token, or IGNORED}}
    repeat: Ints

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows, padded."""

    rows: Ints
    ids: Ints
    mask: Ints
    types: Ints


def encode(examples: Sequence[Example], heads: Mapping[str, HeadSpec], tokenizer: Tokenizer) -> Encoded:
    """Tokens, case and targets of the examples; the tokenizer's truncation bounds them."""
    n = len(examples)
    encodings = tokenizer.encode_batch([example.text for example in examples])
    targets = {name: np.zeros((n, len(h.labels)), np.float32) for name, h in heads.items() if h.kind != "spans"}
    allowed = {name: np.ones((n, len(heads[name].labels)), np.bool_) for name in targets}
    known = {name: np.zeros(n, np.bool_) for name in heads}
    tags: dict[str, dict[int, Ints]] = {name: {} for name, head in heads.items() if head.kind == "spans"}
    for row, (example, encoding) in enumerate(zip(examples, encodings, strict=True)):
        for name, shares in example.shares.items():
            labels = heads[name].labels
            known[name][row] = True
            for label, share in shares.items():
                targets[name][row, labels.index(label)] = share
            if name in example.among:
                allowed[name][row] = [label in example.among[name] for label in labels]
        for name, given in example.tags.items():
            known[name][row] = True
            tags[name][row] = _token_tags(encoding, given, heads[name].labels)
    return Encoded(
        [np.array(one.ids, np.int32) for one in encodings],
        [np.array(case_types(e.text, one), np.int8) for e, one in zip(examples, encodings, strict=True)],
        targets,
        known,
        allowed,
        tags,
        np.array([example.repeat for example in examples], np.int64),
    )


def _token_tags(encoding: Any, given: list[tuple[int, int, str]], labels: Sequence[str]) -> Ints:
    """The tag of each word at its first token, as serving reads them; the tokenizer's words may be smaller."""
    tags = np.full(len(encoding.ids), IGNORED, np.int64)
    at, last = 0, None
    for i, (word, (start, _)) in enumerate(zip(encoding.word_ids, encoding.offsets, strict=True)):
        if word is None or word == last:
            continue
        last = word
        while at + 1 < len(given) and given[at][1] <= start:
            at += 1
        first, _, tag = given[at]
        inner = tag[:2] == "B-" and start > first
        tags[i] = labels.index(f"I-{tag[2:]}" if inner else tag)
    return tags


def one_pass(encoded: Encoded, batch_rows: int, seed: int) -> list[Ints]:
    """The rows of every batch of one pass over the examples, each as often as it is to be repeated."""
    chance = np.random.default_rng(seed)
    order = chance.permutation(np.repeat(np.arange(len(encoded)), encoded.repeat))
    lengths = np.array([len(one) for one in encoded.ids])
    batches: list[Ints] = []
    for start in range(0, len(order), batch_rows * _POOL):
        pool = order[start : start + batch_rows * _POOL]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches += [pool[i : i + batch_rows] for i in range(0, len(pool), batch_rows)]
    return [batches[i] for i in chance.permutation(len(batches))]


def padded(encoded: Encoded, rows: Ints, pad: int) -> Batch:
    """The rows' tokens as rectangles."""
    length = max(len(encoded.ids[row]) for row in rows)
    ids = np.full((len(rows), length), pad, np.int64)
    mask, types = np.zeros_like(ids), np.zeros_like(ids)
    for i, row in enumerate(rows):
        n = len(encoded.ids[row])
        ids[i, :n], mask[i, :n], types[i, :n] = encoded.ids[row], 1, encoded.types[row]
    return Batch(rows, ids, mask, types)


def mask_tokens(batch: Batch, mean: float, tokenizer: Tokenizer, chance: np.random.Generator) -> None:
    """Replace tokens of the batch by [MASK], in place: of each row a share between 0 and twice `mean`.

    A row that never comes the same twice is hard to learn by heart. First and last token stay. Raises ConfigError where
    the tokenizer has no [MASK].
    """
    masked = tokenizer.token_to_id("[MASK]")
    if masked is None:
        raise ConfigError("masked: the checkpoint's tokenizer has no [MASK]; set masked = 0 in the recipe")
    inner = np.zeros(batch.mask.shape, np.bool_)
    inner[:, 1:-1] = (batch.mask[:, 1:-1] & batch.mask[:, 2:]) > 0
    share = chance.uniform(0, 2 * mean, (len(batch.ids), 1))
    batch.ids[inner & (chance.random(batch.ids.shape) < share)] = masked


def tag_targets(encoded: Encoded, head: str, batch: Batch) -> Ints | None:
    """int64[rows, tokens] for a head of spans, IGNORED where nothing is known; None where no row knows anything."""
    there = encoded.tags[head]
    if not any(int(row) in there for row in batch.rows):
        return None
    targets = np.full(batch.ids.shape, IGNORED, np.int64)
    for i, row in enumerate(batch.rows):
        if int(row) in there:
            targets[i, : len(there[int(row)])] = there[int(row)]
    return targets
