"""Every model on every task: a cell each, kept as a file, so that what was done once is not done again."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from feltwire.errors import ConfigError, FeltwireError
from feltwire.lab import data, peers, presets, rate, tasks
from feltwire.lab.evaluate import evaluate
from feltwire.lab.interfaces import Dataset
from feltwire.lab.metrics import LESS_IS_BETTER, MEASURES
from feltwire.lab.tasks import Task
from feltwire.lab.train import Plan, Progress, train
from feltwire.loading import pin
from feltwire.models import bundled
from feltwire.models._bundle import FILES, MANIFEST

CELLS: Final = "cells"
MODELS: Final = "models"
PEERS: Final = ("lexicon:vader", "textblob:")
RATED_TEXTS: Final = 2_000
FORMAT: Final = 1  # of a cell's file: one of another number is made anew


@dataclass(frozen=True, slots=True)
class Entry:
    """A contender: a preset with a cleaning profile, or a model that is there already."""

    preset: str = ""
    profile: str = ""
    uri: str = ""

    @property
    def name(self) -> str:
        """What it is called in the table."""
        return self.uri or f"{self.preset} ({self.profile})"

    @property
    def slug(self) -> str:
        """What its files are called."""
        if self.preset:
            return f"{self.preset}--{self.profile}"
        kept = "".join(char if char.isalnum() or char in "._-" else "-" for char in self.uri.rstrip("/")[-60:])
        return f"{kept}--{sha256(self.uri.encode()).hexdigest()[:8]}"


@dataclass(frozen=True, slots=True)
class Cell:
    """What one contender reached on one task."""

    task: str
    name: str
    model: str
    """`name@version`."""
    folder: str
    """Of the bundle that was trained for it, inside the leaderboard's; empty for a model that was there."""
    head: str
    train_rows: int
    measures: dict[str, Any]
    """`Measures` as JSON."""
    size: int | None
    """Of the bundle's files, in bytes; None for what is no bundle."""
    rates: dict[str, float | None]
    """{number of cores: posts a second}."""
    note: str = ""

    def value(self, measure: str) -> float | None:
        """One of MEASURES."""
        given = self.measures.get(measure)
        return None if given is None else float(given)


@dataclass(frozen=True, slots=True)
class Board:
    """A finished leaderboard."""

    cells: tuple[Cell, ...]
    skipped: dict[str, str] = field(default_factory=dict)
    """{task and contender: why it has no cell}: a model without the head, a library that is missing."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How the contenders are trained and timed."""

    seed: int = 1
    threads: int = 1
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """{preset: options laid over its own}."""
    max_rows: int = 0
    """Train on so many rows at most, drawn with the seed; 0: on all."""
    seconds: float = 3.0
    """How long each rate is measured; 0: not at all."""
    spark: Mapping[str, str] = field(default_factory=dict)
    """See `train.Plan`."""


def entries(preset_names: Sequence[str], profiles: Sequence[str], uris: Sequence[str]) -> list[Entry]:
    """All contenders: every preset with every profile (`NAME@PROFILE` with that one alone), then the models."""
    found = []
    for given in preset_names:
        name, _, own = given.partition("@")
        found += [Entry(preset=name, profile=profile) for profile in ([own] if own else profiles)]
    return [*found, *(Entry(uri=uri) for uri in uris)]


def run(
    folder: Path,
    out: Path,
    *,
    task_names: Sequence[str],
    contenders: Sequence[Entry],
    settings: Settings,
    kept: bool = False,
    bar: Callable[[str], AbstractContextManager[Progress]] = lambda title: nullcontext(_silent),
) -> Board:
    """Fill the leaderboard in `out`; cells that lie there already, made of the same, are taken as they are.

    `kept`: those of other contenders that lie there for the same tasks are shown beside them. `bar(title)` gives the
    progress of one cell. A contender that cannot be trained or loaded is skipped, with the
    reason. Raises ConfigError for an unknown task or preset.
    """
    for entry in contenders:
        if entry.preset:
            presets.find(entry.preset).options(settings.options.get(entry.preset, {}))
    (out / CELLS).mkdir(parents=True, exist_ok=True)
    cells: list[Cell] = []
    skipped: dict[str, str] = {}
    for name in task_names:
        task = tasks.load(folder, name)
        if settings.max_rows:
            task = replace(task, train=data.subsample(task.train, settings.max_rows, settings.seed))
        for entry in contenders:
            try:
                with bar(f"{name}: {entry.name}") as progress:
                    cells.append(_cell(out, task, entry, settings, progress))
            except FeltwireError as error:
                skipped[f"{name}: {entry.name}"] = " ".join(str(error).split())
    if kept:
        there = {(cell.task, cell.name) for cell in cells}
        cells += [cell for cell in _kept(out, task_names) if (cell.task, cell.name) not in there]
    return Board(tuple(cells), skipped)


def _kept(out: Path, task_names: Sequence[str]) -> list[Cell]:
    """Every cell of these tasks that lies in `out`, whatever it was made of."""
    paths = [path for name in task_names for path in sorted((out / CELLS).glob(f"{name}--*.json"))]
    return [Cell(**json.loads(path.read_bytes())["cell"]) for path in paths]


def _silent(what: str, share: float, figures: Mapping[str, float]) -> None:
    """No bar."""


def check_measure(measure: str) -> None:
    """Raises ConfigError for an unknown one."""
    if measure not in MEASURES:
        raise ConfigError(f"unknown measure {measure!r}: known are {', '.join(MEASURES)}")


def best(cells: Sequence[Cell], task: str, measure: str) -> Cell:
    """The best cell of a task by a measure; of equals the fastest, then the first.

    Raises ConfigError for an unknown measure, and where no cell of the task has it.
    """
    check_measure(measure)
    there = [(cell, cell.value(measure)) for cell in cells if cell.task == task]
    sign = -1 if measure in LESS_IS_BETTER else 1
    ranked = [(sign * value, cell.rates.get("1") or 0.0, cell) for cell, value in there if value is not None]
    if not ranked:
        raise ConfigError(f"no model has a {measure} on the task {task!r}")
    return max(ranked, key=lambda one: one[:2])[2]


def promotable(cells: Sequence[Cell], task: str, measure: str, out: Path) -> tuple[Cell, Path, str]:
    """(the best cell that is a trained bundle, its folder, a version by its content): what a registry takes."""
    cell = best([cell for cell in cells if cell.folder], task, measure)
    folder = out / cell.folder
    manifest = (folder / MANIFEST).read_bytes()
    version = str(json.loads(manifest)["version"])
    return cell, folder, f"{version}-{sha256(manifest).hexdigest()[:8]}"


def _cell(out: Path, task: Task, entry: Entry, settings: Settings, progress: Progress) -> Cell:
    """The cell of a task and a contender, from its file or made."""
    path = out / CELLS / f"{task.name}--{entry.slug}.json"
    key = _key(task, entry, settings)
    if path.is_file():
        kept = json.loads(path.read_bytes())
        if kept.get("key") == key:
            return Cell(**kept["cell"])
    cell = _trained(out, task, entry, settings, progress) if entry.preset else _given(task, entry, progress)
    if settings.seconds:
        progress("timing", 0.5, {})
        uri = str(out / cell.folder) if cell.folder else entry.uri
        texts = task.validation.texts[:RATED_TEXTS]
        rates = {str(n): _rounded(rate.posts_per_s(uri, texts, n, settings.seconds)) for n in (1, 2)}
        cell = replace(cell, rates=rates)
    part = path.with_suffix(".part")
    part.write_text(json.dumps({"key": key, "cell": asdict(cell)}, ensure_ascii=False, indent=1), encoding="utf-8")
    part.replace(path)
    return cell


def _key(task: Task, entry: Entry, settings: Settings) -> str:
    """What a cell depends on; how long it was timed is no part of it, but whether."""
    given: list[Any] = [FORMAT, task.name, task.head, asdict(entry), bool(settings.seconds)]
    given += [_of_data(task.validation)]
    if entry.preset:
        preset = presets.find(entry.preset)
        options = preset.options(settings.options.get(entry.preset, {}))
        given += [_of_data(task.train), settings.seed, options.model_dump(mode="json")]
    else:
        given += [_identity(entry.uri)]
    return sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()


def _of_data(given: Dataset) -> list[Any]:
    return [given.sha256, len(given), list(given.names)]


def _folder_of(uri: str) -> Path:
    """Where a bundle lies; of another model, a path at which nothing is."""
    plain = uri.partition("?")[0]
    if plain.startswith("bundled:"):
        return bundled.FOLDER / plain.removeprefix("bundled:")
    return Path(plain.removeprefix("bundle:")).expanduser()


def _identity(uri: str) -> str:
    """What a URI stands for today: of a bundle, the hash of its manifest, which names its files' hashes."""
    path = _folder_of(uri) / MANIFEST
    return sha256(path.read_bytes()).hexdigest() if path.is_file() else pin(uri)


def _trained(out: Path, task: Task, entry: Entry, settings: Settings, progress: Progress) -> Cell:
    name = f"{task.name}--{entry.slug}"
    over = dict(settings.options.get(entry.preset, {}))
    plan = Plan(
        entry.preset,
        task.head,
        profile=entry.profile,
        seed=settings.seed,
        threads=settings.threads,
        options=over,
        name=f"{entry.preset}-{task.name}",
        spark=settings.spark,
    )
    folder = out / MODELS / _distinct(name, task, settings, over)
    done = train(plan, task.train, task.validation, folder, progress=progress)
    size = sum((folder / file).stat().st_size for file in (MANIFEST, *FILES[done.manifest.format]))
    return Cell(
        task=task.name,
        name=entry.name,
        model=f"{done.manifest.name}@{done.manifest.version}",
        folder=str(folder.relative_to(out)),
        head=task.head,
        train_rows=len(task.train),
        measures=done.measures.to_json(),
        size=size,
        rates={},
        note=json.loads((folder / "training.json").read_bytes())["note"],
    )


def _distinct(name: str, task: Task, settings: Settings, over: Mapping[str, Any]) -> str:
    """A folder's name of its own for what is trained otherwise than by default."""
    if settings.seed == 1 and not settings.max_rows and not over:
        return name
    rest = json.dumps([settings.seed, len(task.train), over], sort_keys=True, default=str)
    return f"{name}--{sha256(rest.encode()).hexdigest()[:8]}"


def _given(task: Task, entry: Entry, progress: Progress) -> Cell:
    model = peers.load(entry.uri)
    measures = evaluate(model, task.validation, task.head, lambda share: progress("measuring", share, {}))
    folder = _folder_of(entry.uri)
    size = None
    if (folder / MANIFEST).is_file():
        files = (MANIFEST, *FILES[json.loads((folder / MANIFEST).read_bytes()).get("format", "onnx")])
        size = sum((folder / file).stat().st_size for file in files if (folder / file).is_file())
    return Cell(
        task=task.name,
        name=model.name,
        model=model.name,
        folder="",
        head=task.head,
        train_rows=0,
        measures=measures.to_json(),
        size=size,
        rates={},
    )


def _rounded(given: float | None) -> float | None:
    return None if given is None else round(given, 1)
