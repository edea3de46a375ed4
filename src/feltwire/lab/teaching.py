"""Learning from models: what teachers say of texts, beside what people said of some (Hinton et al. 2015, distillation).

A student hears of every head on every text, where people told one or two. A network of the same size that learns so
from one like itself gets better than that one (Furlanello et al., ICML 2018, born-again networks).
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from tokenizers import Tokenizer

from feltwire.errors import ConfigError
from feltwire.interfaces import Model, Predictions
from feltwire.lab.batches import IGNORED, Encoded
from feltwire.lab.examples import Example
from feltwire.lab.multitask import Progress
from feltwire.lab.recipe import HeadSpec
from feltwire.models._bundle import OUTSIDE
from feltwire.scoring import load

_CHUNK: Final = 4_096


def load_teachers(uris: Sequence[str], heads: Mapping[str, HeadSpec]) -> list[Model]:
    """The teachers; raises ConfigError for one without these heads and labels."""
    guides = [load(uri) for uri in uris]
    for uri, guide in zip(uris, guides, strict=True):
        for name, head in heads.items():
            if name not in guide.heads or (head.kind != "spans" and tuple(guide.heads[name]) != head.labels):
                raise ConfigError(f"the teacher {uri} has no head {name} with the recipe's {len(head.labels)} labels")
    return guides


def ask(guides: Sequence[Model], examples: Sequence[Example], work: Path, progress: Progress) -> dict[str, Any]:
    """The mean of what the teachers say of all texts; spans are the first's."""
    return together([_said(guide, examples, work, progress) for guide in guides])


def as_taught(head: HeadSpec) -> HeadSpec:
    """A head without adjustment and words of its own: they are in what a teacher says."""
    return head.model_copy(update={"adjust": 0.0, "words": 0.0})


def known(example: Example, heads: Mapping[str, HeadSpec]) -> Example:
    """An example with what it says of these heads alone."""
    shares = {name: part for name, part in example.shares.items() if name in heads}
    return replace(example, shares=shares, tags={name: part for name, part in example.tags.items() if name in heads})


def _said(guide: Any, examples: Sequence[Example], work: Path, progress: Progress) -> dict[str, Any]:
    """What the teacher says of all texts; kept in the work folder by teacher and texts, for it takes its time."""
    work.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[Any]] = {}
    for start in range(0, len(examples), _CHUNK):
        texts = [example.text for example in examples[start : start + _CHUNK]]
        digest = hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
        shares, spans = work / f"said-{guide.name}-{digest}.npz", work / f"said-{guide.name}-{digest}.json"
        if not spans.is_file():
            answer = {name: given for name, given in guide.predict(texts).items() if name in guide.heads}
            classes = {name: given.astype(np.float16) for name, given in answer.items() if not isinstance(given, list)}
            np.savez(shares, **classes)
            spans.write_text(json.dumps({name: given for name, given in answer.items() if isinstance(given, list)}))
        with np.load(shares, allow_pickle=False) as kept:
            for name in kept.files:
                found.setdefault(name, []).append(kept[name].astype(np.float32))
        for name, given in json.loads(spans.read_bytes()).items():
            found.setdefault(name, []).append(given)
        progress("ask the teacher", min(1.0, (start + _CHUNK) / len(examples)), {})
    return {
        name: [row for part in parts for row in part] if isinstance(parts[0], list) else np.concatenate(parts)
        for name, parts in found.items()
    }


def together(said: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The mean of what several teachers say; spans are the first's."""
    return {
        name: first if isinstance(first, list) else np.mean([one[name] for one in said], axis=0)
        for name, first in said[0].items()
    }


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


def thinned(encoded: Encoded, before: Encoded, heads: Mapping[str, HeadSpec], seed: int) -> Encoded:
    """The distilled examples without a part of what only a teacher says: each head keeps the share `taught` of it.

    `before` are the examples as people labelled them.
    """
    chance = np.random.default_rng(seed)
    known, tags = dict(encoded.known), dict(encoded.tags)
    for name, head in heads.items():
        kept = chance.random(len(encoded)) < head.taught
        known[name] = before.known[name] | kept
        if name in tags:
            tags[name] = {row: given for row, given in tags[name].items() if kept[row] or row in before.tags[name]}
    return replace(encoded, known=known, tags=tags)


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
