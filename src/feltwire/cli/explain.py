"""`feltwire explain`: which words moved a score."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from feltwire.cli import common
from feltwire.cli.common import ConfigFile, ModelUri

if TYPE_CHECKING:
    from rich.text import Text

    from feltwire.explain import Explanation


class Method(StrEnum):
    """How it is found out."""

    auto = "auto"
    exact = "exact"
    sampled = "sampled"
    attention = "attention"


class Form(StrEnum):
    """How it is shown."""

    table = "table"
    json = "json"


def explain(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The post.")],
    *,
    head: Annotated[str, typer.Option(metavar="HEAD", help="Whose label: sentiment, emotion, irony, …")] = "sentiment",
    label: Annotated[
        str | None, typer.Option(metavar="LABEL", help="Which probability; without it the largest.")
    ] = None,
    method: Annotated[Method, typer.Option(help="How; auto: exact for a short post, sampled for a long one.")] = (
        Method.auto
    ),
    samples: Annotated[
        int | None, typer.Option(metavar="N", help="Sample so many orders of the words: an even number.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="S", help="The same seed samples the same orders.")] = 0,
    form: Annotated[Form, typer.Option("--format", "-f", help="How it is shown.")] = Form.table,
    model: ModelUri = None,
    config: ConfigFile = None,
) -> None:
    """Which words moved a score, and by how much: each is left out, and the post scored again.

    \b
      feltwire explain "Great crew, but they lost my bag" --model bundled:base
      feltwire explain "Great. Another delay." --head irony --format json
    """
    from feltwire.cli import output
    from feltwire.explain import explain as explained

    uri = common.load_settings(config, model=model).model.uri
    found = explained(text, uri, head=head, label=label, method=method.value, samples=samples, seed=seed)
    if form is Form.json:
        output.write_json(found.to_dict())
    else:
        _show(found)


def _show(found: "Explanation") -> None:
    """The post with its words in colour, and a line for each that did something."""
    from rich.table import Table
    from rich.text import Text

    from feltwire.cli.output import harmless

    console = common.console()
    console.print(Text.assemble((f"{found.head} {found.label}", "bold"), f"  p = {found.p:.3f}  by {found.model}"))
    console.print(_coloured(found))
    shown = Table.grid(padding=(0, 2))
    shown.add_column(justify="right")
    shown.add_column(justify="right", style="bright_black")
    shown.add_column()
    for word in sorted(found.words, key=lambda word: -abs(word.value)):
        if abs(word.value) >= 0.0005:
            error = "" if word.error is None else f"± {word.error:.3f}"
            shown.add_row(Text(f"{word.value:+.3f}", _colour(word.value)), error, Text(harmless(word.text)))
    console.print(shown)
    if found.method == "attention":
        console.print("The shares of the model's attention; they have no sign.", style="bright_black")
    else:
        console.print(
            f"{found.method}: p is {found.p_without:.3f} without words; {found.unexplained:+.3f} is what words do "
            f"together ({found.evaluations:,} texts scored)",
            style="bright_black",
        )


def _coloured(found: "Explanation") -> "Text":
    from rich.text import Text

    from feltwire.cli.output import harmless

    text = Text(harmless(found.text))
    most = max((abs(word.value) for word in found.words), default=0.0)
    for word in found.words:
        if word.start is not None and word.end is not None and abs(word.value) >= max(0.1 * most, 0.0005):
            weight = "bold " if abs(word.value) > 0.5 * most else ""
            text.stylize(weight + _colour(word.value), word.start, word.end)
    return text


def _colour(value: float) -> str:
    return "green" if value > 0 else "red"


add_to = common.adder({"explain": explain}, "Ask")
