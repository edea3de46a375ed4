"""Train one encoder with many heads, by a recipe: all heads in every batch, each row teaching what it knows."""

import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch
import torch.nn.functional as nnf
from tokenizers import Tokenizer

from feltwire.lab.batches import IGNORED, Batch, Encoded, mask_tokens, one_pass, padded, tag_targets
from feltwire.lab.recipe import HeadSpec

_OUT: Final = -1e4  # the logit of a label that a row does not decide between
_KEEP_EVERY_S: Final = 300.0
_SAY_EVERY: Final = 50
STATE: Final = "state.pt"

_log = logging.getLogger(__name__)
Progress = Callable[[str, float, Mapping[str, float]], None]


class Network(Protocol):
    """A torch module from (input_ids, attention_mask, token_type_ids) to {head: logits}."""

    def depth(self, parameter: str) -> int | None:
        """How many layers lie above the parameter of that name; None: it is new, and learns at the heads' rate."""
        ...


@dataclass(frozen=True, slots=True)
class Settings:
    """How to train."""

    passes: float = 2.0
    batch_rows: int = 64
    rate: float = 1.5e-4  # of the uppermost layer at its peak
    layer_decay: float = 0.9  # each layer below learns so much more slowly
    head_rate: float = 1e-3
    warm_up: float = 0.04
    weight_decay: float = 0.01
    dropout: float = 0.0  # these three: see `recipe.Recipe`
    masked: float = 0.0
    smoothing: float = 0.0
    seed: int = 1
    threads: int = 2
    compiled: bool = True


def train(
    model: Any,
    encoded: Encoded,
    heads: Mapping[str, HeadSpec],
    tokenizer: Tokenizer,
    folder: Path,
    *,
    settings: Settings,
    progress: Progress,
) -> list[dict[str, float]]:
    """Train `model`, a `Network`, in place; returns the learning curve, {"step", <head>: the mean loss of its rows}.

    Every five minutes the state is written into `folder`: started again there with the same settings, it goes on.
    """
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    batches = _plan(encoded, settings)
    optimizer = torch.optim.AdamW(_groups(model, settings), fused=True)
    peaks = [group["lr"] for group in optimizer.param_groups]
    priors = {name: _log_prior(encoded, name, head) for name, head in heads.items() if head.kind == "classes"}
    curve: list[dict[str, float]] = []
    first = _resume(folder, model, optimizer, curve, settings)
    run = torch.compile(model, dynamic=True) if settings.compiled else model
    pad = int(tokenizer.token_to_id("[PAD]") or 0)
    model.train()
    sums: dict[str, list[float]] = {}
    kept_s = time.monotonic()
    for step in range(first, len(batches)):
        share = _schedule(step, len(batches), settings.warm_up)
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * share
        batch = padded(encoded, batches[step], pad)
        if settings.masked:
            mask_tokens(batch, settings.masked, tokenizer, np.random.default_rng([settings.seed, step]))
        with torch.autocast("cpu", torch.bfloat16):
            logits = run(*(torch.from_numpy(part) for part in (batch.ids, batch.mask, batch.types)))
        parts = losses(logits, encoded, batch, heads, priors, smoothing=settings.smoothing)
        loss = sum(heads[name].weight * part for name, part in parts.items())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        for name, part in parts.items():
            sums.setdefault(name, []).append(float(part.detach()) * len(batch.rows) / _count(encoded, name, batch))
        if (step + 1) % _SAY_EVERY == 0 or step + 1 == len(batches):
            curve.append({"step": step + 1, **{name: float(np.mean(part)) for name, part in sums.items()}})
            progress("train", (step + 1) / len(batches), curve[-1])
            sums.clear()
        if time.monotonic() - kept_s > _KEEP_EVERY_S:
            _keep(folder, model, optimizer, curve, settings=settings, step=step + 1)
            kept_s = time.monotonic()
    _keep(folder, model, optimizer, curve, settings=settings, step=len(batches))
    return curve


def _plan(encoded: Encoded, settings: Settings) -> list[Any]:
    """The rows of all batches of the whole run; a last part of a pass where `passes` is no whole number."""
    batches: list[Any] = []
    for number in range(math.ceil(settings.passes)):
        part = one_pass(encoded, settings.batch_rows, settings.seed * 1_000 + number)
        batches += part[: round(len(part) * min(1.0, settings.passes - number))]
    return batches


def _groups(model: Any, settings: Settings) -> list[dict[str, Any]]:
    """Parameters with their rates: the deeper, the slower; no decay for biases and norms."""
    groups: dict[tuple[float, float], list[Any]] = {}
    for name, parameter in model.named_parameters():
        depth = model.depth(name)
        rate = settings.head_rate if depth is None else settings.rate * settings.layer_decay**depth
        decay = 0.0 if parameter.ndim == 1 else settings.weight_decay
        groups.setdefault((rate, decay), []).append(parameter)
    return [{"params": part, "lr": rate, "weight_decay": decay} for (rate, decay), part in groups.items()]


def _schedule(step: int, steps: int, warm_up: float) -> float:
    """Up in a line, then down in a line to nothing."""
    start = max(1, round(steps * warm_up))
    return min((step + 1) / start, (steps - step) / max(1, steps - start))


def _log_prior(encoded: Encoded, name: str, head: HeadSpec) -> Any:
    """adjust * log of the labels' shares among the rows that decide between all of them."""
    whole = encoded.known[name] & encoded.allowed[name].all(axis=1)
    counts = (encoded.targets[name][whole] * encoded.repeat[whole][:, None]).sum(axis=0) + 1.0
    return torch.from_numpy((head.adjust * np.log(counts / counts.sum())).astype(np.float32))


def losses(
    logits: Mapping[str, Any],
    encoded: Encoded,
    batch: Batch,
    heads: Mapping[str, HeadSpec],
    priors: Mapping[str, Any],
    *,
    smoothing: float,
) -> dict[str, Any]:
    """{head: the sum of its rows' losses over the number of rows of the batch}; a head that no row knows is absent."""
    parts = {}
    for name, head in heads.items():
        if head.kind == "spans":
            tags = tag_targets(encoded, name, batch)
            if tags is not None:
                flat = logits[name].float().flatten(0, 1)
                target = torch.from_numpy(tags).flatten()
                total = nnf.cross_entropy(flat, target, ignore_index=IGNORED, reduction="sum")
                parts[name] = total / _TOKENS_A_ROW / len(batch.rows)
            continue
        known = np.flatnonzero(encoded.known[name][batch.rows])
        if not len(known):
            continue
        rows = batch.rows[known]
        target = torch.from_numpy(encoded.targets[name][rows])
        given = logits[name][torch.from_numpy(known)].float()
        if head.kind == "multi":
            total = nnf.binary_cross_entropy_with_logits(given, target, reduction="sum") / target.shape[1] * 3
        else:
            among = encoded.allowed[name][rows]
            whole = torch.from_numpy(among.all(axis=1, keepdims=True))
            given = given + priors[name] * whole
            given = given.masked_fill(torch.from_numpy(~among), _OUT)
            evenly = torch.from_numpy((among / among.sum(axis=1, keepdims=True)).astype(np.float32))
            target = (1 - smoothing) * target + smoothing * evenly
            total = -(target * torch.log_softmax(given, dim=-1)).sum()
        parts[name] = total / len(batch.rows)
    return parts


_TOKENS_A_ROW: Final = 20.0  # a post of spans weighs as much as one of classes


def _count(encoded: Encoded, name: str, batch: Batch) -> int:
    return max(1, int(encoded.known[name][batch.rows].sum()))


def _keep(
    folder: Path, model: Any, optimizer: Any, curve: list[dict[str, float]], *, settings: Settings, step: int
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{STATE}.part"
    torch.save(
        {
            "step": step,
            "settings": json.dumps(asdict(settings)),
            "curve": json.dumps(curve),
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "random": torch.get_rng_state(),
        },
        part,
    )
    part.replace(folder / STATE)


def _resume(folder: Path, model: Any, optimizer: Any, curve: list[dict[str, float]], settings: Settings) -> int:
    """The step to go on with; 0 where nothing was kept, or with other settings."""
    path = folder / STATE
    if not path.is_file():
        return 0
    state = torch.load(path, weights_only=True)
    if state["settings"] != json.dumps(asdict(settings)):
        _log.warning("%s was kept with other settings: begun anew", path)
        return 0
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["random"])
    curve += json.loads(state["curve"])
    return int(state["step"])
