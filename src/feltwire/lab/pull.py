"""Any sequence or token classifier of transformers as a bundle: `models pull`."""

import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from feltwire.errors import ConfigError, ModelError
from feltwire.lab.families._extra import needs_train
from feltwire.loading import check_heads
from feltwire.models._bundle import GRAPH, SCHEMA_VERSION, TOKENIZER, Head, Manifest, sha256, write_manifest
from feltwire.models._formats import open_bundle
from feltwire.models._pulled import HUB, place
from feltwire.registry import validate

HEADS: Final[Mapping[str, frozenset[str]]] = {
    "sentiment": frozenset({"negative", "neutral", "positive", "mixed"}),
    "emotion": frozenset({"anger", "joy", "optimism", "sadness"}),
    "irony": frozenset({"irony", "non_irony"}),
    "offensive": frozenset({"offensive", "not-offensive"}),
    "hate": frozenset({"hate", "not-hate"}),
}
"""Heads that are known by their labels."""

_SPELLINGS: Final = {
    "neg": "negative",
    "neu": "neutral",
    "pos": "positive",
    "non-irony": "non_irony",
    "not_irony": "non_irony",
    "non-offensive": "not-offensive",
    "not_offensive": "not-offensive",
    "non-hate": "not-hate",
    "not_hate": "not-hate",
    "nothate": "not-hate",
}
_GENERIC: Final = re.compile(r"LABEL_\d+")
_TASKS: Final = ("ForSequenceClassification", "ForTokenClassification")
_NO_NAME: Final = re.compile(r"[^A-Za-z0-9._-]+")


def pull(
    source: str,
    out: Path | None = None,
    *,
    head: str = "",
    labels: Mapping[str, str] | None = None,
    profile: str = "social",
    name: str = "",
    version: str = "",
    languages: Sequence[str] = (),
    max_tokens: int | None = None,
) -> Path:
    """Make a bundle of a checkpoint and return its folder.

    `source` is a folder or `hf:org/name[@revision]`, which is fetched. `out` must be absent or empty; without it, a
    bundle of the hub goes where the model `hf:org/name` looks for it, in place of one that was pulled before.
    `head` is the head's name; without it, it follows from the labels. `labels` renames {the checkpoint's: ours}.
    `max_tokens` is by default what the checkpoint can read, at most 512.

    Raises ConfigError or ModelError, in one line, for a checkpoint that is no classifier, has no names for its
    labels, or holds its weights as a pickle; MissingExtraError without the extra `train`.
    """
    with needs_train("models pull"):
        from feltwire.lab.families import _checkpoints
    target = place(source) if out is None and source.startswith(HUB) else out
    if target is None:
        raise ConfigError(f"{source} is a folder: name the bundle's folder by --out")
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is not empty: name another folder by --out")
    checkpoint = _checkpoints.find(source)
    settings = _checkpoints.settings(checkpoint)
    task = _task(settings, source)
    heads = _heads(settings, task, head, labels or {}, source)
    manifest = _manifest(checkpoint, source, heads, name, version)
    manifest |= {"profile": profile, "languages": sorted(languages) or None, "max_tokens": max_tokens or 4}
    validate(Manifest, manifest, where="the bundle")  # before the long part; max_tokens is said again below
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".pull-", dir=target.parent) as made:
        folder = Path(made) / "bundle"
        folder.mkdir()
        most = _write(checkpoint, task, folder, next(iter(heads)), max_tokens)
        manifest |= {"max_tokens": most, "sha256": {file: sha256(folder / file) for file in (GRAPH, TOKENIZER)}}
        write_manifest(folder, Manifest.model_validate(manifest))
        check_heads(open_bundle(folder).heads, source)
        shutil.rmtree(target, ignore_errors=True)
        folder.rename(target)
    return target


def _manifest(checkpoint: Path, source: str, heads: Mapping[str, Any], name: str, version: str) -> dict[str, Any]:
    """What `model.json` says of where the model comes from."""
    from feltwire.lab.families import _checkpoints

    hub = source.startswith(HUB)
    called = name or _NO_NAME.sub("-", source.removeprefix(HUB).partition("@")[0].rpartition("/")[2]).strip("-._")
    return {
        "schema_version": SCHEMA_VERSION,
        "format": "onnx",
        "name": called or "pulled",
        "version": version or (checkpoint.name[:12] if hub else "1"),
        "description": f"{source}, a checkpoint of the Hugging Face hub" if hub else f"The checkpoint {called}",
        "licence": _checkpoints.licence(checkpoint),
        "heads": heads,
    }


def _task(settings: Mapping[str, Any], source: str) -> str:
    """The ending of the checkpoint's class that says what it does."""
    classes = [str(one) for one in settings.get("architectures") or ()]
    for task in _TASKS:
        if any(one.endswith(task) for one in classes):
            return task
    raise ConfigError(
        f"{source} is {', '.join(classes) or 'of no stated class'}: expected one of {', '.join(_TASKS)}; "
        "an encoder without classes is a start for training: feltwire train --preset minilm"
    )


def _heads(
    settings: Mapping[str, Any], task: str, name: str, renamed: Mapping[str, str], source: str
) -> dict[str, dict[str, Any]]:
    """The one head, as `model.json` has it: labels in the order of the checkpoint's numbers."""
    said = _said(settings, source)
    unknown = [label for label in renamed if label not in said]
    if unknown:
        raise ConfigError(f"{source} has no label {unknown[0]!r}: it has {', '.join(said)}")
    labels = [renamed.get(label, label) for label in said]
    if any(_GENERIC.fullmatch(label) for label in labels):
        example = " ".join(f"--labels {label}=…" for label in said[:3])
        raise ConfigError(f"{source} has no names for its labels ({', '.join(said)}): give them by {example}")
    if task == "ForTokenClassification":
        name, kind = name or "entities", "spans"
    else:
        if len(labels) < 2:
            raise ConfigError(f"{source} has one output, so it is no classifier")
        kind = "multi" if settings.get("problem_type") == "multi_label_classification" else "classes"
        spelled = [_SPELLINGS.get(label.lower(), label.lower()) for label in labels]
        found = [known for known, allowed in HEADS.items() if set(spelled) <= allowed and name in ("", known)]
        if found:
            name, labels = found[0], spelled
    if not name:
        raise ConfigError(
            f"{source} has the labels {', '.join(labels)}, which tell no head: name it by --head; known by their "
            f"labels are {', '.join(HEADS)}"
        )
    try:
        return {name: Head.model_validate({"labels": labels, "kind": kind}).model_dump(mode="json")}
    except ValidationError as error:
        raise ConfigError(f"{source}: labels: {error.errors()[0]['msg']}") from error


def _said(settings: Mapping[str, Any], source: str) -> list[str]:
    """The labels as the checkpoint has them, in the order of their numbers."""
    given = settings.get("id2label")
    if given is None:
        return [f"LABEL_{number}" for number in range(int(settings.get("num_labels") or 2))]
    if not isinstance(given, dict) or {str(key) for key in given} != {str(number) for number in range(len(given))}:
        raise ModelError(f"{source}: id2label of config.json does not number its labels from 0 on")
    return [str(given[str(number)]) for number in range(len(given))]


def _write(checkpoint: Path, task: str, folder: Path, head: str, max_tokens: int | None) -> int:
    """The graph and the tokenizer; returns how many tokens a text may have."""
    with needs_train("models pull"):
        import transformers

        from feltwire.lab.families import _checkpoints
        from feltwire.lab.families._export import Logits, export
    model = _checkpoints.load(checkpoint, getattr(transformers, f"AutoModel{task}"))
    tokenizer = _checkpoints.tokenizer(checkpoint)
    most = _checkpoints.room(model, checkpoint)
    if max_tokens is not None and not 4 <= max_tokens <= most:
        raise ConfigError(f"max_tokens = {max_tokens}: this checkpoint reads 4 to {most}")
    most = max_tokens or most
    tokens = min(model.config.vocab_size, tokenizer.get_vocab_size())
    export(Logits(model), folder / GRAPH, output=head, max_tokens=most, tokens=tokens)
    (folder / TOKENIZER).write_text(tokenizer.to_str(), encoding="utf-8")
    return most
