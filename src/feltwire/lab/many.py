"""Build a bundle with many heads: gather, train (or distil), calibrate, judge, describe."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.parquet as pq
import torch
from tokenizers import Tokenizer

from feltwire.errors import ConfigError
from feltwire.lab import many_card
from feltwire.lab.batches import encode
from feltwire.lab.encoder import ManyHeads, start_encoder
from feltwire.lab.examples import Example, Examples, gather
from feltwire.lab.export import write_graph
from feltwire.lab.judge import answers, judge, temperature
from feltwire.lab.multitask import Progress, Settings, train
from feltwire.lab.recipe import HeadSpec, Recipe
from feltwire.lab.student import Student, distilled
from feltwire.models._bundle import GRAPH, MANIFEST, SCHEMA_VERSION, TOKENIZER, Manifest, sha256
from feltwire.models._formats import open_bundle
from feltwire.scoring import load
from feltwire.text import clean

WORK: Final = "work"
_TRAIN_TOKENS: Final = 72  # a longer text is cut in training: few are
STUDENT_RATE: Final = 2e-3
_HARD: Final = 0.3  # the share of people's labels in what a student learns
_CHUNK: Final = 4_096

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Naming:
    """What the bundle is called."""

    name: str
    version: str
    description: str
    languages: tuple[str, ...] = ("en",)


def build(
    recipe: Recipe, data: Path, out: Path, *, checkpoint: Path, naming: Naming, settings: Settings, progress: Progress
) -> Path:
    """Fine-tune the encoder in `checkpoint` by the recipe and write the bundle into `out`.

    Started again with the same arguments, it goes on where it was. Raises ConfigError for what is missing.
    """
    examples = gather(recipe, data)
    tokenizer = read_tokenizer(checkpoint)
    encoded = encode(examples.train, recipe.heads, tokenizer)
    torch.manual_seed(settings.seed)
    model = ManyHeads(start_encoder(checkpoint), recipe.heads)
    train(model, encoded, recipe.heads, tokenizer, out / WORK, settings=settings, progress=progress)
    return finish(model, recipe, examples, tokenizer, out, naming=naming, settings=settings, token_types="case")


def distil(
    recipe: Recipe, data: Path, out: Path, *, teacher: str, naming: Naming, settings: Settings, progress: Progress
) -> Path:
    """Train the small network by what the model `teacher` (a URI) says of the recipe's texts and of unlabelled ones."""
    examples = gather(recipe, data)
    heads = {name: _unadjusted(head) for name, head in recipe.heads.items() if not head.helper}
    guide = load(teacher)
    missing = [name for name in heads if name not in guide.heads]
    if missing:
        raise ConfigError(f"the teacher {teacher} has no head {', '.join(missing)}")
    tokenizer = Tokenizer.from_file(str(_folder(guide) / TOKENIZER))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length=_TRAIN_TOKENS)
    texts = [_known(example, heads) for example in (*examples.train, *_unlabelled(recipe, data, examples))]
    said = _said(guide, texts, out / WORK, progress)
    encoded = distilled(encode(texts, heads, tokenizer), texts, said, heads, tokenizer, hard=_HARD)
    torch.manual_seed(settings.seed)
    model = Student(tokenizer.get_vocab_size(), heads)
    train(model, encoded, heads, tokenizer, out / WORK, settings=settings, progress=progress)
    lean = recipe.model_copy(update={"heads": heads})
    return finish(model, lean, examples, tokenizer, out, naming=naming, settings=settings, token_types="none")


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
    write_graph(model, recipe.heads, tokenizer, out, max_tokens=recipe.max_tokens, inputs=inputs)
    manifest = _manifest(recipe, examples, naming, token_types, out)
    _write(out, manifest)
    bundle = open_bundle(out, threads=settings.threads, runtime="onnxruntime")
    heads = dict(manifest.heads)
    for key, part in examples.validation.items():
        head = key.rpartition(":")[2]
        # The first set of a head calibrates it: it is the one that the recipe puts first.
        if head in heads and heads[head].kind == "classes" and heads[head].temperature == 1.0:
            found = temperature(answers(bundle, part, head), part, head, heads[head].labels)
            heads[head] = heads[head].model_copy(update={"temperature": round(found, 4)})
    manifest = manifest.model_copy(update={"heads": heads})
    _write(out, manifest)
    figures = judge(open_bundle(out, threads=settings.threads, runtime="onnxruntime"), examples.validation)
    flat = {f"{key}:{name}": value for key, part in figures.items() for name, value in part.items()}
    manifest = manifest.model_copy(update={"metrics": flat})
    _write(out, manifest)
    many_card.write(out, manifest, examples, figures, asdict(settings))
    return out


def read_tokenizer(checkpoint: Path) -> Tokenizer:
    """The tokenizer of a checkpoint's folder; raises ConfigError where there is none."""
    path = checkpoint / TOKENIZER
    if not path.is_file():
        raise ConfigError(f"{checkpoint} holds no {TOKENIZER}: give the folder of a checkpoint with a fast tokenizer")
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length=_TRAIN_TOKENS)
    return tokenizer


def _unadjusted(head: HeadSpec) -> HeadSpec:
    """A head without adjustment: what a teacher says is adjusted already."""
    return head.model_copy(update={"adjust": 0.0})


def _known(example: Example, heads: Mapping[str, HeadSpec]) -> Example:
    """An example with what it says of these heads alone."""
    shares = {name: part for name, part in example.shares.items() if name in heads}
    return replace(example, shares=shares, tags={name: part for name, part in example.tags.items() if name in heads})


def _unlabelled(recipe: Recipe, data: Path, examples: Examples) -> list[Example]:
    """Cleaned texts without labels; none that validates."""
    held = {example.text for part in examples.validation.values() for example in part}
    found: dict[str, None] = {}
    for name in recipe.unlabelled:
        texts = pq.read_table(data / name, columns=["text"])["text"].to_pylist()
        found |= dict.fromkeys(clean([text or "" for text in texts], recipe.profile))
    return [Example(text) for text in found if text and text not in held]


def _said(guide: Any, texts: Sequence[Example], work: Path, progress: Progress) -> dict[str, Any]:
    """What the teacher says of all texts; kept in the work folder, for it takes its time."""
    work.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[Any]] = {}
    for start in range(0, len(texts), _CHUNK):
        shares, spans = work / f"said-{guide.name}-{start}.npz", work / f"said-{guide.name}-{start}.json"
        if not spans.is_file():
            answer = guide.predict([example.text for example in texts[start : start + _CHUNK]])
            of_classes = {name: answer[name].astype(np.float16) for name in guide.heads if name not in _SPANS}
            np.savez(shares, **of_classes)
            spans.write_text(json.dumps({name: answer[name] for name in guide.heads if name in _SPANS}))
        with np.load(shares, allow_pickle=False) as kept:
            for name in kept.files:
                found.setdefault(name, []).append(kept[name].astype(np.float32))
        for name, given in json.loads(spans.read_bytes()).items():
            found.setdefault(name, []).append(given)
        progress("ask the teacher", min(1.0, (start + _CHUNK) / len(texts)), {})
    return {
        name: [row for part in parts for row in part] if name in _SPANS else np.concatenate(parts)
        for name, parts in found.items()
    }


_SPANS: Final = frozenset({"entities"})


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


def _write(out: Path, manifest: Manifest) -> None:
    given = {"schema_version": manifest.schema_version, **manifest.model_dump(mode="json", exclude_defaults=True)}
    (out / MANIFEST).write_text(json.dumps(given, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
