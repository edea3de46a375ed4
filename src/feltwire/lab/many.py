"""Build a bundle with many heads: gather, train (or distil), calibrate, judge, describe."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.parquet as pq
import torch
from tokenizers import Tokenizer

from feltwire.errors import ConfigError
from feltwire.interfaces import Model
from feltwire.lab import many_card
from feltwire.lab.batches import Encoded, encode
from feltwire.lab.encoder import ManyHeads, start_encoder
from feltwire.lab.examples import Example, Examples, gather
from feltwire.lab.export import write_graph
from feltwire.lab.judge import answers, judge, temperature
from feltwire.lab.multitask import Progress, Settings, train
from feltwire.lab.quantise import Feed
from feltwire.lab.recipe import HeadSpec, Recipe
from feltwire.lab.student import Student
from feltwire.lab.teaching import as_taught, ask, distilled, known, load_teachers, thinned
from feltwire.lab.words import with_words
from feltwire.models._bundle import GRAPH, SCHEMA_VERSION, TOKENIZER, Manifest, sha256, write_manifest
from feltwire.models._case import case_types
from feltwire.models._formats import open_bundle
from feltwire.text import clean

WORK: Final = "work"
WEIGHTS: Final = "weights.pt"
_TRAIN_TOKENS: Final = 72  # a longer text is cut in training: few are
STUDENT_RATE: Final = 2e-3
_HARD: Final = 0.3  # the share of people's labels in what a student learns …
_HARD_EQUAL: Final = 0.5  # … and in what a network learns from one of its own size
_CALIBRATING: Final = 300  # texts by which the ranges of eight-bit products are found


@dataclass(frozen=True, slots=True)
class Naming:
    """What the bundle is called."""

    name: str
    version: str
    description: str
    languages: tuple[str, ...] = ("en",)


@dataclass(frozen=True, slots=True)
class Start:
    """Earlier builds to begin with."""

    folders: tuple[Path, ...]
    """What was their `out`. Of several, the mean of the weights: Wortsman et al., ICML 2022 (model soups)."""
    keep: float = 0.0
    """The share that these weights keep in the mean with what was trained: Wortsman et al., CVPR 2022 (WiSE-FT)."""


def build(
    recipe: Recipe,
    data: Path,
    out: Path,
    *,
    checkpoint: Path,
    naming: Naming,
    settings: Settings,
    progress: Progress,
    start: Start | None = None,
    teachers: Sequence[str] = (),
) -> Path:
    """Fine-tune the encoder in `checkpoint` by the recipe and write the bundle into `out`.

    With `teachers` (URIs) it learns half by what these say. Started again with the same arguments, it goes on where it
    was. Raises ConfigError for what is missing.
    """
    smoothing = 0.0 if teachers else recipe.smoothing  # what a teacher says is smooth
    settings = replace(settings, dropout=recipe.dropout, masked=recipe.masked, smoothing=smoothing)
    heads = recipe.heads
    own = {name: head for name, head in heads.items() if not head.helper}
    guides = load_teachers(teachers, own)
    examples = gather(recipe, data)
    tokenizer = read_tokenizer(checkpoint)
    encoded = encode(examples.train, recipe.heads, tokenizer)
    if teachers:
        encoded = _taught(
            encoded, own, examples, tokenizer, guides=guides, work=out / WORK, seed=settings.seed, progress=progress
        )
        heads = {name: head if head.helper else as_taught(head) for name, head in heads.items()}
    torch.manual_seed(settings.seed)
    model = ManyHeads(start_encoder(checkpoint, settings.dropout), heads)
    lean = recipe.heads if teachers else {}  # a teacher leans already
    _train(model, encoded, heads, tokenizer, out, settings=settings, progress=progress, start=start, learned_lean=lean)
    _lean(model, recipe.heads)
    return finish(model, recipe, examples, tokenizer, out, naming=naming, settings=settings, token_types="case")


def _taught(
    encoded: Encoded,
    own: Mapping[str, HeadSpec],
    examples: Examples,
    tokenizer: Tokenizer,
    *,
    guides: Sequence[Model],
    work: Path,
    seed: int,
    progress: Progress,
) -> Encoded:
    """The examples with what the teachers say of them, for the heads `own`, which are no helpers."""
    texts = [known(example, own) for example in examples.train]
    said = ask(guides, texts, work, progress)
    mixed = distilled(encoded, texts, said, own, tokenizer, hard=_HARD_EQUAL)
    return thinned(mixed, encoded, own, seed)


def distil(
    recipe: Recipe,
    data: Path,
    out: Path,
    *,
    teachers: Sequence[str],
    naming: Naming,
    settings: Settings,
    progress: Progress,
    start: Start | None = None,
) -> Path:
    """Train the small network by what the models `teachers` (URIs) say of the recipe's texts and of unlabelled ones.

    Of several, the student learns the mean of their probabilities, and the entities of the first, whose tokenizer
    it has. Raises ConfigError for a teacher without the recipe's heads and labels.
    """
    heads = {name: as_taught(head) for name, head in recipe.heads.items() if not head.helper}
    guides = load_teachers(teachers, heads)
    examples = gather(recipe, data)
    tokenizer = read_tokenizer(_folder(guides[0]))
    texts = [known(example, heads) for example in (*examples.train, *_unlabelled(recipe, data, examples))]
    said = ask(guides, texts, out / WORK, progress)
    encoded = distilled(encode(texts, heads, tokenizer), texts, said, heads, tokenizer, hard=_HARD)
    torch.manual_seed(settings.seed)
    model = Student(tokenizer.get_vocab_size(), heads)
    _train(model, encoded, heads, tokenizer, out, settings=settings, progress=progress, start=start)
    lean = recipe.model_copy(update={"heads": heads})
    return finish(model, lean, examples, tokenizer, out, naming=naming, settings=settings, token_types="none")


def _train(
    model: Any,
    encoded: Encoded,
    heads: Mapping[str, HeadSpec],
    tokenizer: Tokenizer,
    out: Path,
    *,
    settings: Settings,
    progress: Progress,
    start: Start | None,
    learned_lean: Mapping[str, HeadSpec] | None = None,
) -> None:
    """Train in place, from earlier builds where there are some, and keep the weights, which lean nowhere, for later."""
    before = None if start is None else _mean([_weights(folder, model) for folder in start.folders])
    if before is not None:
        model.load_state_dict(before)
    train(model, encoded, heads, tokenizer, out / WORK, settings=settings, progress=progress)
    _lean(model, learned_lean or {}, -1.0)
    if start is not None and before is not None:
        model.load_state_dict(_mean([before, model.state_dict()], [start.keep, 1 - start.keep]))
    torch.save(model.state_dict(), out / WORK / WEIGHTS)


def finish(
    model: Any,
    recipe: Recipe,
    examples: Examples,
    tokenizer: Tokenizer,
    out: Path,
    *,
    naming: Naming,
    settings: Settings,
    token_types: str,
) -> Path:
    """Write the files, fit a temperature for every head, judge what is served, and write the card."""
    out.mkdir(parents=True, exist_ok=True)
    inputs = ("input_ids", "attention_mask", "token_type_ids")[: 3 if token_types == "case" else 2]
    feeds = _feeds(examples, tokenizer, inputs)
    model = with_words(model, recipe.heads, examples.train, tokenizer)
    write_graph(model, recipe.heads, tokenizer, out, max_tokens=recipe.max_tokens, inputs=inputs, feeds=feeds)
    manifest = _manifest(recipe, examples, naming, token_types, out)
    write_manifest(out, manifest)
    bundle = open_bundle(out, threads=settings.threads, runtime="onnxruntime")
    calibrating: dict[str, Sequence[Example]] = {}
    for key, part in examples.validation.items():
        calibrating.setdefault(key.rpartition(":")[2], part)  # of several sets, the one that the recipe puts first
    heads = dict(manifest.heads)
    for name, head in manifest.heads.items():
        if head.kind == "classes" and name in calibrating:
            found = temperature(answers(bundle, calibrating[name], name), calibrating[name], name, head.labels)
            heads[name] = head.model_copy(update={"temperature": round(found, 4)})
    manifest = manifest.model_copy(update={"heads": heads})
    write_manifest(out, manifest)
    figures = judge(open_bundle(out, threads=settings.threads, runtime="onnxruntime"), examples.validation)
    flat = {f"{key}:{name}": value for key, part in figures.items() for name, value in part.items()}
    manifest = manifest.model_copy(update={"metrics": flat})
    write_manifest(out, manifest)
    many_card.write(out, manifest, examples, figures, asdict(settings))
    return out


def _feeds(examples: Examples, tokenizer: Tokenizer, inputs: Sequence[str]) -> list[Feed]:
    """Some of the texts, from all sets, as inputs of the graph."""
    texts = [example.text for example in examples.train[:: max(1, len(examples.train) // _CALIBRATING)]]
    feeds: list[Feed] = []
    for text, encoding in zip(texts, tokenizer.encode_batch(texts), strict=True):
        given = (encoding.ids, [1] * len(encoding.ids), case_types(text, encoding))
        feeds.append({name: np.array([one], np.int64) for name, one in zip(inputs, given, strict=False)})
    return feeds


def read_tokenizer(checkpoint: Path) -> Tokenizer:
    """The tokenizer of a checkpoint's folder; raises ConfigError where there is none."""
    path = checkpoint / TOKENIZER
    if not path.is_file():
        raise ConfigError(f"{checkpoint} holds no {TOKENIZER}: give the folder of a checkpoint with a fast tokenizer")
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length=_TRAIN_TOKENS)
    return tokenizer


def _weights(folder: Path, model: Any) -> dict[str, Any]:
    """What an earlier build of the same network had learned; raises ConfigError where it is of another, or of none."""
    path = folder / WORK / WEIGHTS
    if not path.is_file():
        raise ConfigError(f"{folder} has no {WORK}/{WEIGHTS}: --start takes the --out of an earlier feltwire build")
    weights: dict[str, Any] = torch.load(path, weights_only=True)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    if {name: tensor.shape for name, tensor in weights.items()} != shapes:
        raise ConfigError(f"{folder} is a build of another network: --start takes one of the same recipe and kind")
    return weights


def _mean(weights: Sequence[Mapping[str, Any]], shares: Sequence[float] | None = None) -> dict[str, Any]:
    """The mean of weights of one shape each; evenly where no shares are given."""
    shares = shares or [1 / len(weights)] * len(weights)
    return {
        name: sum(share * one[name] for share, one in zip(shares, weights, strict=True))
        if first.is_floating_point()
        else first
        for name, first in weights[0].items()
    }


def _lean(model: Any, heads: Mapping[str, HeadSpec], share: float = 1.0) -> None:
    """Add `share` of what the recipe says to the logits of single labels."""
    with torch.no_grad():
        for name, head in heads.items():
            for label, shift in head.lean.items():
                model.heads[name].bias[head.labels.index(label)] += share * shift


def _unlabelled(recipe: Recipe, data: Path, examples: Examples) -> list[Example]:
    """Cleaned texts without labels; none that validates."""
    held = {example.text for part in examples.validation.values() for example in part}
    found: dict[str, None] = {}
    for name in recipe.unlabelled:
        texts = pq.read_table(data / name, columns=["text"])["text"].to_pylist()
        found |= dict.fromkeys(clean([text or "" for text in texts], recipe.profile))
    return [Example(text) for text in found if text and text not in held]


def _folder(guide: Any) -> Path:
    folder = getattr(guide, "folder", None)
    if folder is None:
        raise ConfigError(f"the teacher {guide.name} is no bundle: its tokenizer is needed")
    return Path(folder)


def _manifest(recipe: Recipe, examples: Examples, naming: Naming, token_types: str, out: Path) -> Manifest:
    given = {
        "schema_version": SCHEMA_VERSION,
        "name": naming.name,
        "version": naming.version,
        "description": naming.description,
        "licence": recipe.licence,
        "languages": naming.languages or None,
        "profile": recipe.profile,
        "max_tokens": recipe.max_tokens,
        "token_types": token_types,
        "bf16": token_types == "case",  # of the encoder; the small network is as fast without
        "clauses": True,
        "heads": {
            name: {"labels": head.labels, "kind": head.kind, "floor": head.floor}
            for name, head in recipe.heads.items()
            if not head.helper
        },
        "training": [{"name": one.name, "sha256": one.sha256, "rows": one.rows} for one in examples.sources],
        "sha256": {name: sha256(out / name) for name in (GRAPH, TOKENIZER)},
    }
    return Manifest.model_validate(given)
