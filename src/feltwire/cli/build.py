"""`feltwire build`: the models that ship, or one of your own with many heads, by a recipe."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from feltwire.cli import _lab
from feltwire.cli._lab import Threads
from feltwire.errors import ConfigError


def build(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A shipped recipe (base), or a .toml file.")],
    data: Annotated[Path, typer.Argument(metavar="DATA", help="The folder of labelled sets that the recipe names.")],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where to, or where to go on.")],
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", metavar="FOLDER", help="The encoder to start from.")
    ] = None,
    teacher: Annotated[
        list[str] | None,
        typer.Option(
            "--teacher",
            metavar="MODEL",
            help="Learn from this model too, or from the mean of several; without --checkpoint, a small network does.",
        ),
    ] = None,
    start: Annotated[
        list[Path] | None,
        typer.Option(
            "--start", metavar="FOLDER", help="An earlier build's --out to begin with, or the mean of several."
        ),
    ] = None,
    keep: Annotated[
        float,
        typer.Option("--keep", metavar="SHARE", min=0, max=1, help="Of --start's weights in the mean with the new."),
    ] = 0.0,
    passes: Annotated[float, typer.Option("--passes", metavar="N", min=0, help="Passes over the texts.")] = 2.0,
    rate: Annotated[
        float | None,
        typer.Option("--rate", metavar="N", help="Peak learning rate."),
    ] = None,
    batch_rows: Annotated[int, typer.Option("--batch-rows", metavar="N", min=1, help="Texts a step.")] = 64,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="The same seed makes the same model.")] = 1,
    compiled: Annotated[
        bool, typer.Option("--compile/--no-compile", help="Compile the network first; takes a C++ compiler.")
    ] = True,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="The model's. Default: the folder's.")] = "",
    version: Annotated[str, typer.Option("--version", metavar="VERSION", help="The model's version.")] = "1",
    threads: Threads = 2,
) -> None:
    """Train a model with many heads by a recipe: which labelled sets teach which heads.

    \b
      feltwire build base ./sets --checkpoint ./all-MiniLM-L6-v2 --out ./base
      feltwire build base ./sets --teacher ./base --passes 8 --batch-rows 256 --out ./fast
      feltwire build base ./sets --checkpoint ./all-MiniLM-L6-v2 --teacher ./base --out ./better

    Interrupted, the same command goes on where it was.
    """
    if checkpoint is None and not teacher:
        raise ConfigError("build: give --checkpoint, to fine-tune an encoder, or --teacher, to distil a model, or both")
    from feltwire.lab import many
    from feltwire.lab.multitask import Settings
    from feltwire.lab.recipe import read_recipe

    read = read_recipe(recipe)
    out = out.expanduser()
    naming = many.Naming(name or out.name, version, read.description)
    settings = Settings(passes=passes, batch_rows=batch_rows, seed=seed, threads=threads, compiled=compiled)
    begin = many.Start(tuple(one.expanduser() for one in start), keep) if start else None
    with _lab.training_bar(naming.name) as progress:
        if checkpoint is not None:
            rate = rate or settings.rate
            settings = replace(settings, rate=rate, head_rate=rate / settings.rate * settings.head_rate)
            many.build(
                read, data.expanduser(), out, checkpoint=checkpoint.expanduser(), naming=naming, settings=settings,
                progress=progress, start=begin, teachers=teacher or (),
            )  # fmt: skip
        else:
            settings = replace(settings, head_rate=rate or many.STUDENT_RATE)
            many.distil(
                read, data.expanduser(), out, teachers=teacher or (), naming=naming, settings=settings,
                progress=progress, start=begin,
            )  # fmt: skip
    typer.echo(f"{out}: see {out / 'CARD.md'}")


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(build)
