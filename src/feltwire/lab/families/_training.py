"""The loop that all neural families are trained by: stages, early stopping, checkpoints.

A training that was stopped at any instant and is started again in the same folder ends with the same weights as
one that was never stopped: the order of the rows follows from seed, stage and epoch, the dropout of an update from
seed, stage and update, and all else that changes stands in the checkpoint.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel
from torch import nn

from feltwire.errors import ConfigError
from feltwire.lab.interfaces import Dataset, Point, Run

Labels: TypeAlias = npt.NDArray[np.int64]

CHECKPOINT: Final = "checkpoint.pt"
POOL: Final = 50  # batches: within so many, rows of like length come together, so that little is padding
POINTS: Final = 10  # of the learning curve, an epoch
MAX_VALIDATION_TOKENS: Final = 16_384  # of one pass without gradients, padding counted
SAVE_EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class Rows:
    """Texts as numbers."""

    ids: Sequence[Sequence[int]]
    labels: Labels
    padding: int

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of a training: which weights move, how fast, and how long at most."""

    name: str
    learning_rate: float
    epochs: int
    patience: int | None
    """Epochs without a better score on the validation set until it stops; None: all epochs are run."""
    moves: Callable[[str], bool] = lambda _: True
    """Whether the parameter of this name is trained."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How every stage is trained."""

    batch: int
    weight_decay: float
    clip: float
    """The norm that a batch's gradients are cut to."""
    bf16: bool = False
    warmup: float | None = None
    """The share of a stage's updates in which the rate rises; it falls to 0 from there. None: a constant rate."""


@dataclass(slots=True)
class _State:
    """All that changes in the course of a training, beside the weights and the optimiser."""

    stage: int = 0
    epoch: int = 0
    batch: int = 0
    update: int = 0
    """Of this stage."""
    seen: int = 0
    loss: float = 0.0
    """Summed over `summed` texts since the last point."""
    summed: int = 0
    best: float = -1.0
    waited: int = 0


def key(family: str, options: BaseModel, train: Dataset, validation: Dataset, run: Run) -> str:
    """What a checkpoint must agree with to be gone on with: everything that a training depends on."""
    digest = sha256()
    settings = [family, options.model_dump(mode="json"), run.head, run.profile, run.seed]
    digest.update(json.dumps(settings, sort_keys=True).encode())
    for data in (train, validation):
        digest.update(json.dumps([data.names, data.labels.tolist()]).encode())
        for text in data.texts:
            digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()


@contextmanager
def reproducible(run: Run) -> Iterator[torch.device]:
    """Torch seeded and with the run's threads, and as it was afterwards; gives the device to train on."""
    threads = torch.get_num_threads()
    torch.set_num_threads(run.threads)
    try:
        with torch.random.fork_rng():
            torch.manual_seed(run.seed)
            yield torch.device("cuda" if torch.cuda.is_available() else "cpu")
    finally:
        torch.set_num_threads(threads)


def train(
    net: nn.Module,
    rows: Rows,
    validation: Rows,
    *,
    stages: Sequence[Stage],
    settings: Settings,
    run: Run,
    agreed: str,
) -> tuple[Point, ...]:
    """Train the network in place, leave the weights that did best on the validation set in it.

    `net(ids, mask)` gives logits; both are int64[rows, tokens]. Best is the highest macro-F1; a stage begins with
    the best weights of those before it. `agreed` is the training's `key`. Raises ConfigError for a folder with the
    checkpoint of another training.
    """
    return _Training(net, rows, validation, settings=settings, run=run, agreed=agreed).run(stages)


class _Training:
    def __init__(
        self, net: nn.Module, rows: Rows, validation: Rows, *, settings: Settings, run: Run, agreed: str
    ) -> None:
        self.net, self.rows, self.validation, self.settings, self.told = net, rows, validation, settings, run
        self.agreed = agreed
        self.path = run.folder / CHECKPOINT
        self.device = next(net.parameters()).device
        self.state = _State()
        self.curve: list[Point] = []
        self.best: dict[str, Any] | None = None
        self.saved = time.monotonic()

    def run(self, stages: Sequence[Stage]) -> tuple[Point, ...]:
        optimiser_state = self._load()
        while self.state.stage < len(stages):
            stage = stages[self.state.stage]
            optimiser = self._optimiser(stage)
            if optimiser_state is not None:
                optimiser.load_state_dict(optimiser_state)
                optimiser_state = None
            while self.state.epoch < stage.epochs:
                self._epoch(stage, optimiser, len(stages))
                if stage.patience is not None and self.state.waited >= stage.patience:
                    break
                self._save(optimiser)
            if self.best is not None:
                self.net.load_state_dict(self.best)
            state = self.state
            state.stage, state.epoch, state.update, state.waited = state.stage + 1, 0, 0, 0
            self._save(None)
        self.net.eval()
        return tuple(self.curve)

    def _epoch(self, stage: Stage, optimiser: Any, stages: int) -> None:
        """The rest of an epoch, and the validation at its end."""
        state, size = self.state, self.settings.batch
        order = batches(self.rows, size, np.random.default_rng([self.told.seed, state.stage, state.epoch]))
        total = stage.epochs * len(order)
        every = -(-len(order) // POINTS)
        while state.batch < len(order):
            loss = self._update(order[state.batch], stage, optimiser, total)
            state.batch += 1
            if state.batch % every == 0 and state.batch < len(order):
                self._point(None)
            share = (state.stage + (state.epoch + state.batch / len(order)) / stage.epochs) / stages
            if state.batch < len(order) and time.monotonic() - self.saved >= SAVE_EVERY_S:
                self._save(optimiser)
            self.told.progress(f"training {stage.name}", share, {"loss": loss, "score": max(state.best, 0.0)})
        score = macro_f1(self.validation.labels, self._classes(self.validation))
        self._point(score)
        state.epoch, state.batch, state.waited = state.epoch + 1, 0, state.waited + 1
        if score > state.best:
            state.best, state.waited = score, 0
            self.best = {name: tensor.detach().cpu().clone() for name, tensor in self.net.state_dict().items()}

    def _update(self, chosen: npt.NDArray[np.int64], stage: Stage, optimiser: Any, total: int) -> float:
        state = self.state
        torch.manual_seed(_seed(self.told.seed, state.stage, state.update))
        for group in optimiser.param_groups:
            group["lr"] = stage.learning_rate * _share(state.update, total, self.settings.warmup)
        self.net.train()
        ids, mask = collate([self.rows.ids[row] for row in chosen], self.rows.padding)
        labels = torch.from_numpy(self.rows.labels[chosen]).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.bf16):
            logits = self.net(ids.to(self.device), mask.to(self.device))
        loss = nn.functional.cross_entropy(logits.float(), labels)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_([one for one in self.net.parameters() if one.requires_grad], self.settings.clip)
        optimiser.step()
        value = float(loss.detach())
        state.update, state.seen = state.update + 1, state.seen + len(chosen)
        state.loss, state.summed = state.loss + value * len(chosen), state.summed + len(chosen)
        return value

    def _classes(self, rows: Rows) -> Labels:
        """The most probable class of each row."""
        self.net.eval()
        found = np.zeros(len(rows), np.int64)
        order = np.argsort([len(one) for one in rows.ids], kind="stable")[::-1]
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.bf16):
            start = 0
            while start < len(order):
                longest = max(1, len(rows.ids[order[start]]))
                chosen = order[start : start + max(1, MAX_VALIDATION_TOKENS // longest)]
                ids, mask = collate([rows.ids[row] for row in chosen], rows.padding)
                found[chosen] = self.net(ids.to(self.device), mask.to(self.device)).argmax(-1).cpu().numpy()
                start += len(chosen)
        return found

    def _point(self, score: float | None) -> None:
        state = self.state
        self.curve.append(Point(state.seen, state.loss / max(1, state.summed), score))
        state.loss, state.summed = 0.0, 0

    def _optimiser(self, stage: Stage) -> Any:
        """AdamW over what this stage trains. Biases and norms do not decay, as BERT's authors have it."""
        decaying: list[Any] = []
        others: list[Any] = []
        for name, parameter in self.net.named_parameters():
            parameter.requires_grad_(stage.moves(name))
            if parameter.requires_grad:
                (decaying if parameter.ndim > 1 else others).append(parameter)
        groups: list[dict[str, Any]] = [
            {"params": decaying, "weight_decay": self.settings.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        return torch.optim.AdamW([group for group in groups if group["params"]], lr=stage.learning_rate)

    def _save(self, optimiser: Any) -> None:
        """Replace the checkpoint, whole or not at all."""
        state = self.state
        content = {
            "key": self.agreed,
            "state": {name: getattr(state, name) for name in _State.__slots__},
            "curve": [[point.step, point.train_loss, point.score] for point in self.curve],
            "net": self.net.state_dict(),
            "best": self.best,
            "optimiser": optimiser.state_dict() if optimiser is not None else None,
        }
        self.told.folder.mkdir(parents=True, exist_ok=True)
        new = self.path.with_suffix(".new")
        torch.save(content, new)
        os.replace(new, self.path)
        self.saved = time.monotonic()

    def _load(self) -> Any:
        """Take up the checkpoint, if there is one; returns the state of its optimiser."""
        if not self.path.exists():
            return None
        content = _read(self.path)
        if content.get("key") != self.agreed:
            raise ConfigError(
                f"{self.path} is the checkpoint of another training (other data, options, seed or profile): "
                "train in another folder, or remove it"
            )
        self.state = _State(**content["state"])
        self.curve = [Point(*one) for one in content["curve"]]
        self.best = content["best"]
        self.net.load_state_dict(content["net"])
        return content["optimiser"]


def _read(path: Path) -> dict[str, Any]:
    """A checkpoint: tensors and plain values only, never an object that was pickled."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ConfigError(f"{path} cannot be read as a checkpoint: remove it to start anew") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} is no checkpoint of a training: remove it to start anew")
    return content


def batches(rows: Rows, size: int, random: np.random.Generator) -> list[npt.NDArray[np.int64]]:
    """All rows once, in random batches of rows of like length."""
    lengths = np.array([len(one) for one in rows.ids], np.int64)
    order = random.permutation(len(rows))
    made = []
    for start in range(0, len(order), POOL * size):
        pool = order[start : start + POOL * size]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        made += [pool[first : first + size] for first in range(0, len(pool), size)]
    return [made[number] for number in random.permutation(len(made))]


def collate(ids: Sequence[Sequence[int]], padding: int) -> tuple[Any, Any]:
    """int64[rows, tokens] ids and mask as the serving code pads them: a text without tokens has one of padding."""
    longest = max(1, *(len(one) for one in ids)) if len(ids) > 1 else max(1, len(ids[0]))
    padded = np.full((len(ids), longest), padding, np.int64)
    mask = np.zeros((len(ids), longest), np.int64)
    for row, one in enumerate(ids):
        padded[row, : len(one)] = one
        mask[row, : max(1, len(one))] = 1
    return torch.from_numpy(padded), torch.from_numpy(mask)


def macro_f1(labels: Labels, predicted: Labels) -> float:
    """The mean F1 over the classes that occur in either."""
    scores = []
    for label in np.union1d(labels, predicted):
        right = int(((labels == label) & (predicted == label)).sum())
        scores.append(2 * right / int((labels == label).sum() + (predicted == label).sum()))
    return float(np.mean(scores)) if scores else 0.0


def _seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])


def _share(update: int, total: int, warmup: float | None) -> float:
    """The share of the full rate at an update."""
    if warmup is None:
        return 1.0
    rising = max(1, round(warmup * total))
    if update < rising:
        return (update + 1) / rising
    return max(0.0, (total - update) / max(1, total - rising))
