"""`feltwire leaderboard`: every preset and every model on the same tasks."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from feltwire.cli import _lab, common
from feltwire.cli._lab import Master, SparkConf, Threads
from feltwire.cli.common import AsJson, ConfigFile
from feltwire.errors import ConfigError, FeltwireError

if TYPE_CHECKING:
    from feltwire.lab.leaderboard import Board, Cell

_TITLES = ("model", "accuracy", "P", "R", "F1", "AUC", "ECE", "posts/s", "on 2 cores", "size")
_DEFAULT_PRESETS = "lr,svm,nb,hashing-lr,count-chi2-lr"


def leaderboard(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="The folder with the tasks' data.")],
    *,
    tasks: Annotated[
        str, typer.Option("--tasks", metavar="NAME,…", help="On what: sentiment140, airline_topics, … Default: all.")
    ] = "",
    presets: Annotated[
        str, typer.Option("--presets", metavar="NAME,…", help="What is trained; an empty text: nothing.")
    ] = _DEFAULT_PRESETS,
    profiles: Annotated[
        str, typer.Option("--profiles", metavar="NAME,…", help="Each preset with each of these cleaning profiles.")
    ] = "social",
    models: Annotated[
        str | None,
        typer.Option("--models", metavar="URI,…", help="What is there already. Default: lexicon:vader,textblob:"),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where cells, models, table and picture go.")
    ] = Path("leaderboard"),
    kept: Annotated[
        bool, typer.Option("--kept", help="Show what earlier runs have left in --out for these tasks, too.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of every training.")] = 1,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PRESET.OPTION=VALUE", help="An option of a preset. Repeatable."),
    ] = None,
    max_rows: Annotated[
        int, typer.Option("--max-rows", metavar="N", min=0, help="Train on at most so many rows; 0: on all.")
    ] = 0,
    seconds: Annotated[
        float, typer.Option("--seconds", metavar="S", min=0, help="How long each rate is measured; 0: not at all.")
    ] = 3.0,
    threads: Threads = 1,
    master: Master = "",
    spark_conf: SparkConf = None,
    promote: Annotated[
        tuple[str, str] | None,
        typer.Option("--promote", metavar="MEASURE NAME", help="Put the best trained model under this name."),
    ] = None,
    registry: Annotated[
        str | None, typer.Option("--registry", "-r", metavar="PLACE", help="Where --promote puts it.")
    ] = None,
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> None:
    """Compare models on the same tasks: what each reaches, how fast it is, how large.

    \b
      feltwire leaderboard ./data --tasks airline_sentiment --presets lr,svm --profiles social,letters,lemma
      feltwire leaderboard ./data --presets lr --models lexicon:vader,textblob:,bundled:fast,./mine
      feltwire leaderboard ./data --tasks airline_sentiment --promote macro_f1 airline

    What was done once is not done again: interrupt it, add a preset, run it anew.
    """
    from feltwire.lab import board as boards
    from feltwire.lab import tasks as known
    from feltwire.lab.leaderboard import PEERS, Settings, check_measure, entries, run

    names = _listed(tasks) or list(known.names())
    if promote is not None:
        check_measure(promote[0])
        if len(names) != 1:
            raise ConfigError(f"--promote needs one task: expected --tasks {names[0]}, or another")
    uris = list(PEERS) if models is None else _listed(models)
    contenders = entries(_listed(presets), _listed(profiles), uris)
    how = Settings(seed, threads, _options(settings), max_rows, seconds, _lab.spark(master, spark_conf))
    place = out.expanduser()
    board = run(
        data.expanduser(),
        place,
        task_names=names,
        contenders=contenders,
        settings=how,
        kept=kept,
        bar=_lab.training_bar,
    )
    if board.skipped and not board.cells:
        raise FeltwireError(f"nothing could be measured: {next(iter(board.skipped.values()))}")
    options = [("--tasks", tasks), ("--presets", presets), ("--profiles", profiles), ("--models", models or "")]
    options += [("--set", one) for one in settings or ()]
    options += [("--seed", str(seed)), ("--max-rows", str(max_rows or ""))]
    command = ["feltwire", "leaderboard", "DATA", *(word for pair in options if pair[1] for word in pair)]
    command += ["--kept"] if kept else []
    boards.write(place, board, shlex.join(command))
    _show(board, place, as_json)
    if promote is not None:
        settled = common.load_settings(config, other={"model": {"registry": registry}} if registry else {})
        _promote(board, names[0], promote, place, settled.model.registry or "")


def _listed(given: str) -> list[str]:
    return [one.strip() for one in given.split(",") if one.strip()]


def _options(given: list[str] | None) -> dict[str, dict[str, str]]:
    """{preset: its options} out of `PRESET.OPTION=VALUE`."""
    found: dict[str, dict[str, str]] = {}
    for key, value in _lab.pairs(given, "--set").items():
        preset, dot, option = key.partition(".")
        if not (dot and option):
            raise ConfigError(f"--set {key!r}: expected PRESET.OPTION=VALUE, such as --set lr.c=2")
        found.setdefault(preset, {})[option] = value
    return found


def _show(board: "Board", out: Path, as_json: bool) -> None:
    from dataclasses import asdict

    from feltwire.cli.output import write_json
    from feltwire.lab import board as boards

    if as_json:
        write_json({"cells": [asdict(cell) for cell in board.cells], "skipped": board.skipped})
    else:
        for name, measure, cells in boards.by_task(board):
            _write_task(name, measure, cells)
    for what, why in board.skipped.items():
        common.talk(f"Skipped {what}: {why}")
    common.talk(f"Table, JSON and picture: {out / boards.TABLE}, {boards.DATA}, {boards.PICTURE}")


def _write_task(name: str, measure: str, cells: "list[Cell]") -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from feltwire.cli.output import harmless
    from feltwire.lab import board as boards

    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", title=f"{name}, by {measure.replace('_', ' ')}",
        title_justify="left",
    )  # fmt: skip
    rows = [[harmless(value) for value in boards.values(cell)] for cell in cells]
    for at, title in enumerate(_TITLES):
        width = max(len(title), *(len(row[at]) for row in rows))
        table.add_column(title, justify="right" if at else "left", no_wrap=True, min_width=width)
    for row in rows:
        table.add_row(*map(Text, row))
    common.console().print(table, crop=False)  # a narrow terminal breaks the lines, and loses nothing


def _promote(board: "Board", task: str, promote: tuple[str, str], out: Path, registry: str) -> None:
    """The best bundle into the registry, and under the name that it is to serve by."""
    from feltwire.lab.leaderboard import promotable
    from feltwire.models import _store
    from feltwire.models._places import open_place

    measure, name = promote
    cell, folder, version = promotable(board.cells, task, measure, out)
    place = open_place(registry)
    _store.add(place, folder, name=name, version=version)
    already = "" if _store.promote(place, name, version) else " already"
    value = cell.value(measure)
    common.talk(f"registry:{name} is {name}@{version}{already}: {cell.name}, {measure} {value or 0:.4f} on {task}.")


add_to = common.adder({"leaderboard": leaderboard}, "Models")
