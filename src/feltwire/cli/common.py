"""What the commands share: their common options, and how they come to settings, lake and log."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from feltwire.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from feltwire.config import Settings
    from feltwire.lake import Lake

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE", help="The settings. Without: ./feltwire.toml, if there is one."),
]
LakePath = Annotated[
    str | None,
    typer.Option(
        "--lake", "-l", metavar="DIR", help="The lake: a folder, or s3://bucket/path. Without: the settings'."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="For a program: JSON on the standard output.")]
Sources = Annotated[
    list[str] | None,
    typer.Option("--source", "-s", metavar="URI", help="A source, instead of the settings'; may be repeated."),
]
Tracks = Annotated[
    list[str] | None,
    typer.Option("--track", "-t", metavar="[NAME=]QUERY", help="A track, instead of the settings'; may be repeated."),
]
ModelUri = Annotated[
    str | None, typer.Option("--model", "-m", metavar="URI", help="The model, instead of the settings'.")
]
OneTrack = Annotated[str | None, typer.Option("--track", "-t", metavar="NAME", help="Only this track.")]
Since = Annotated[
    str | None, typer.Option(metavar="TIME", help="From this time on: 2026-11-21T08:00, or how long ago: 2h, 30min.")
]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Up to this time, which is excluded.")]
AsOf = Annotated[str | None, typer.Option("--as-of", metavar="TIME", help="As the lake was at this time.")]


class Group(Protocol):
    """A module of commands."""

    def add_to(self, app: typer.Typer) -> None:
        """Register its commands."""
        ...


def adder(commands: Mapping[str, Callable[..., None]], panel: str) -> Callable[[typer.Typer], None]:
    """An `add_to` for commands by name, shown under one heading of `feltwire --help`."""

    def add_to(app: typer.Typer) -> None:
        for name, command in commands.items():
            app.command(name, rich_help_panel=panel)(command)

    return add_to


def load_settings(
    config: Path | None = None,
    *,
    lake: str | None = None,
    sources: Sequence[str] | None = None,
    tracks: Sequence[str] | None = None,
    model: str | None = None,
    other: Mapping[str, Any] | None = None,
) -> "Settings":
    """The settings with what the command line says laid over them. Raises ConfigError."""
    from feltwire import config as settings

    over: dict[str, Any] = dict(other or {})
    if lake is not None:
        over["lake"] = {"path": lake}
    if sources:
        over["sources"] = [{"uri": uri} for uri in sources]
    if tracks:
        over["tracks"] = [parse_track(track) for track in tracks]
    if model is not None:
        over["model"] = {"uri": model}
    return settings.load(config, over=over)


def parse_track(text: str) -> dict[str, str]:
    """`NAME=QUERY`, or a query, which is then its own name."""
    name, equals, query = text.partition("=")
    if equals and name.strip() and all(char.isalnum() or char in " _-." for char in name):
        return {"name": name.strip(), "query": query.strip()}
    return {"name": text.strip(), "query": text}


def open_the_lake(config: Path | None, lake: str | None) -> "Lake":
    """The lake that a command speaks of. Raises ConfigError where there is none."""
    from feltwire.lake import open_lake

    settings = load_settings(config, lake=lake)
    return open_lake(settings.lake.path, storage_options=settings.lake.storage_options)


def open_the_log(settings: "Settings") -> Any:
    """The log of the settings, which must be there already. Raises ConfigError where it is not."""
    from feltwire import registry

    uri = settings.log_uri
    name, _, rest = uri.partition(":")
    if name == "sqlite" and not Path(rest.partition("?")[0]).expanduser().exists():
        raise ConfigError(f"there is no log at {uri}: `feltwire run` makes one; [log] names another")
    there = {"create": False} if "create" in registry.load("logs", name).Options.model_fields else {}
    return registry.create("logs", uri, {**settings.log.options, **there})


def talk(text: str) -> None:
    """Say something to the person, beside the data."""
    typer.echo(text, err=True)


def console(*, stderr: bool = False) -> "Console":
    """A terminal for people, without highlighting of what only looks like a number or a path."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=not (sys.stderr if stderr else sys.stdout).isatty())
