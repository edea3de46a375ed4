"""What the lab's commands share: how labelled data are named, progress, and tables of measures."""

import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from feltwire.errors import ConfigError

if TYPE_CHECKING:
    from feltwire.lab.data import Reading
    from feltwire.lab.metrics import Measures

TextColumn = Annotated[str, typer.Option("--text", metavar="COLUMN", help="The column that holds the text.")]
LabelColumn = Annotated[str, typer.Option("--label", metavar="COLUMN", help="The column that holds the label.")]
LabelNames = Annotated[
    list[str] | None,
    typer.Option("--label-names", metavar="OLD=NEW", help="Rename a label; `OLD=` leaves its rows out. Repeatable."),
]
Where = Annotated[
    list[str] | None,
    typer.Option("--where", metavar="COLUMN=VALUE", help="Only rows that have this value. Repeatable."),
]
Head = Annotated[str, typer.Option("--head", metavar="NAME", help="What the labels are of: sentiment, emotion, …")]
Threads = Annotated[int, typer.Option("--threads", metavar="N", min=1, max=256, help="Threads to work with.")]
Master = Annotated[
    str, typer.Option("--master", metavar="URL", help="Of the presets spark-…: local[2], spark://…, yarn.")
]
SparkConf = Annotated[
    list[str] | None,
    typer.Option("--spark-conf", metavar="KEY=VALUE", help="A setting of Spark's: spark.driver.memory=8g. Repeatable."),
]

_log = logging.getLogger(__name__)

LOG_EVERY_S = 10.0
MOST_CLASSES = 12  # with more, no confusion matrix is printed


def reading(text: str, label: str, label_names: list[str] | None, where: list[str] | None) -> "Reading":
    """How the file is read. Raises ConfigError for what is no pair."""
    from feltwire.lab.data import Reading

    return Reading(text, label, rename=pairs(label_names, "--label-names"), where=pairs(where, "--where"))


def pairs(given: list[str] | None, option: str) -> dict[str, str]:
    """`["a=b"]` as {"a": "b"}. Raises ConfigError for what is no pair."""
    found = {}
    for one in given or ():
        key, equals, value = one.partition("=")
        if not (equals and key):
            raise ConfigError(f"{option} {one!r}: expected a pair, such as {option} old=new")
        found[key] = value
    return found


def spark(master: str, conf: list[str] | None) -> dict[str, str]:
    """Where and how Spark runs, as `lab.interfaces.Run.spark` has it. Raises ConfigError for what is no pair."""
    return {**({"spark.master": master} if master else {}), **pairs(conf, "--spark-conf")}


@contextmanager
def training_bar(title: str) -> Iterator[Callable[[str, float, Mapping[str, float]], None]]:
    """A bar for `lab.interfaces.Run.progress`; where nobody looks, a line of the log every LOG_EVERY_S."""
    if not sys.stderr.isatty():
        yield _logged(title)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = [
        TextColumn(title, markup=False),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[figures]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    ]
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=1.0, figures="")
        doing = ""

        def show(what: str, share: float, figures: Mapping[str, float]) -> None:
            nonlocal doing
            if what != doing:
                progress.reset(task)
                doing = what
            said = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
            progress.update(task, description=what, completed=share, figures=said)

        yield show


def _logged(title: str) -> Callable[[str, float, Mapping[str, float]], None]:
    last = time.monotonic()

    def log(what: str, share: float, figures: Mapping[str, float]) -> None:
        nonlocal last
        if time.monotonic() - last >= LOG_EVERY_S:
            last = time.monotonic()
            said = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
            _log.info("%s: %s %.0f%% %s", title, what, 100 * share, said)

    return log


def write_measures(measures: "Measures") -> None:
    """The measures for people, on the standard output."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from feltwire.cli.common import console
    from feltwire.cli.output import harmless

    terminal = console()
    figures = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    figures.add_column("measure")
    figures.add_column("value", justify="right")
    figures.add_row("rows", f"{measures.rows:,}")
    for name, value in measures.numbers().items():
        figures.add_row(name.replace("_", " "), f"{value:.4f}")
    terminal.print(figures)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column("label")
    for title in ("precision", "recall", "F1", "rows"):
        table.add_column(title, justify="right")
    for name, one in measures.classes.items():
        table.add_row(
            Text(harmless(name)), f"{one.precision:.3f}", f"{one.recall:.3f}", f"{one.f1:.3f}", f"{one.rows:,}"
        )
    terminal.print(table)
    if len(measures.classes) > MOST_CLASSES:
        return
    confusion = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    confusion.add_column("label, and what was answered")
    for name in measures.classes:
        confusion.add_column(Text(harmless(name)), justify="right", overflow="fold")
    for name, answers in zip(measures.classes, measures.confusion, strict=True):
        confusion.add_row(Text(harmless(name)), *(f"{count:,}" for count in answers))
    terminal.print(confusion)
