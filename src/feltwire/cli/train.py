"""`feltwire train`: a model of one's own, out of labelled texts, with one command."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from feltwire.cli import _lab, common
from feltwire.cli._lab import Head, LabelColumn, LabelNames, Master, SparkConf, TextColumn, Threads, Where
from feltwire.cli.common import AsJson
from feltwire.errors import ConfigError

if TYPE_CHECKING:
    from feltwire.lab.data import Reading
    from feltwire.lab.interfaces import Dataset
    from feltwire.lab.train import Trained


def _list_presets(wanted: bool) -> None:
    if wanted:
        from feltwire.lab import presets

        for name, family in presets.names().items():
            typer.echo(f"{name:<20} {family}")
        raise typer.Exit


def train(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Labelled texts: CSV, JSONL or Parquet.")],
    *,
    preset: Annotated[str, typer.Option("--preset", "-p", metavar="NAME", help="What to train; see --list.")] = "lr",
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where to: a new folder, or one to go on with.")
    ],
    text: TextColumn = "text",
    label: LabelColumn = "label",
    label_names: LabelNames = None,
    where: Where = None,
    head: Head = "sentiment",
    profile: Annotated[str, typer.Option("--profile", metavar="NAME", help="How texts are cleaned.")] = "social",
    validation: Annotated[
        Path | None, typer.Option("--validation", metavar="FILE", help="Held-back texts, in columns of the same names.")
    ] = None,
    split: Annotated[
        float, typer.Option("--split", metavar="SHARE", help="Without such a file, hold back this share.")
    ] = 0.1,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="The same seed makes the same model.")] = 1,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="OPTION=VALUE", help="An option of the preset. Repeatable.")
    ] = None,
    corrections: Annotated[
        str | None,
        typer.Option("--with-corrections", metavar="LAKE", help="Learn from what people corrected in this lake."),
    ] = None,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="The model's. Default: preset and head.")] = "",
    version: Annotated[str, typer.Option("--version", metavar="VERSION", help="The model's version.")] = "1",
    languages: Annotated[
        list[str] | None, typer.Option("--language", metavar="CODE", help="A language it speaks. Default: any.")
    ] = None,
    licence: Annotated[str, typer.Option("--licence", metavar="TEXT", help="Of the model, for its card.")] = "",
    neutral_band: Annotated[
        str | None,
        typer.Option("--neutral-band", metavar="LOW-HIGH", help="Of two sentiments: 0.4-0.6 between is neutral."),
    ] = None,
    threads: Threads = 1,
    master: Master = "",
    spark_conf: SparkConf = None,
    as_json: AsJson = False,
    list_presets: Annotated[
        bool, typer.Option("--list", callback=_list_presets, is_eager=True, help="Show the presets and stop.")
    ] = False,
) -> None:
    """Train a model on labelled texts: a bundle that serves at once, with a card that says what it is worth.

    \b
      feltwire train tweets.csv --text body --label mood --out ./mine
      feltwire train posts.parquet --preset svm --profile letters --set c=0.3 --out ./svm
      feltwire train --list
      feltwire score --model ./mine "Lost my bag. Again."

    Interrupted, the same command goes on where it was; finished, it only says what it reached.
    """
    from feltwire.lab.data import read, without
    from feltwire.lab.train import Plan
    from feltwire.lab.train import train as run

    how = _lab.reading(text, label, label_names, where)
    loaded = read(data.expanduser(), how)
    _tell(loaded.no_text, loaded.no_label)
    labelled, remarks, theirs = loaded.data, [], None
    if corrections is not None:
        labelled, theirs, remark = _correct(labelled, corrections, head)
        remarks.append(remark)
    trained, held = _held_back(labelled, validation, how, split, seed)
    sets = (trained,) if theirs is None else (without(trained, theirs), without(theirs, held))
    plan = Plan(
        preset, head, profile, seed, threads, _lab.pairs(settings, "--set"),
        name=name, version=version, licence=licence, languages=tuple(languages or ()),
        neutral_band=_band(neutral_band), spark=_lab.spark(master, spark_conf),
    )  # fmt: skip
    with _lab.training_bar(preset) as progress:
        done = run(plan, trained, held, out.expanduser(), sets=sets, remarks=tuple(remarks), progress=progress)
    _show(done, as_json)


def _tell(no_text: int, no_label: int) -> None:
    if no_text or no_label:
        common.talk(f"Left out: {no_text:,} rows without a text, {no_label:,} without a label.")


def _correct(data: "Dataset", lake: str, head: str) -> "tuple[Dataset, Dataset, str]":
    """(the data with people's corrections, these alone, what the card says of them)."""
    from feltwire.lab.data import corrected
    from feltwire.lake import open_lake
    from feltwire.lake.corrections import labelled

    texts, values = labelled(open_lake(lake), head)
    fixed, theirs, left_out = corrected(data, texts, values)
    said = f"{len(theirs):,} corrections by people"
    if left_out:
        said += f" ({left_out:,} more name no class of these data)"
    common.talk(said + ".")
    return fixed, theirs, f"With {said}."


def _held_back(
    data: "Dataset", validation: Path | None, how: "Reading", share: float, seed: int
) -> "tuple[Dataset, Dataset]":
    """(to train on, to validate on)."""
    from dataclasses import replace

    from feltwire.lab import data as datasets

    if validation is None:
        return datasets.split(data, share, seed)
    # A label that the training file renames need not occur in the other one.
    path = validation.expanduser()
    there = set(map(str, datasets.read_columns(path, [how.label])[how.label])) if how.rename else set()
    same = replace(how, rename={old: new for old, new in (how.rename or {}).items() if old in there})
    held = datasets.renumbered(datasets.read(path, same).data, data.names)
    return datasets.without(data, held), held


def _band(given: str | None) -> tuple[float, float] | None:
    if given is None:
        return None
    low, dash, high = given.partition("-")
    try:
        return (float(low), float(high if dash else "none"))
    except ValueError:
        raise ConfigError(f"--neutral-band {given!r}: expected two shares, such as 0.4-0.6") from None


def _show(done: "Trained", as_json: bool) -> None:
    from feltwire.cli.output import write_json

    if as_json:
        write_json({"folder": str(done.folder), "again": done.again, **done.measures.to_json()})
        return
    name = f"{done.manifest.name}@{done.manifest.version}"
    common.talk(f"{name} was trained before: {done.folder}" if done.again else f"Trained {name}: {done.folder}")
    _lab.write_measures(done.measures)
    common.talk(f"Its card is {done.folder / 'CARD.md'}; score with it: feltwire score --model {done.folder} TEXT")


add_to = common.adder({"train": train}, "Models")
