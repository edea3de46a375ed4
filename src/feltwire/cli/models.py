"""`feltwire models`: the registry of models, and what becomes a model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from feltwire.cli import common
from feltwire.cli.common import AsJson, ConfigFile
from feltwire.cli.help import HelpGroup

if TYPE_CHECKING:
    from feltwire.models._places import Place

Registry = Annotated[
    str | None,
    typer.Option("--registry", "-r", metavar="PLACE", help="A folder, or s3://bucket/prefix. Without: the settings'."),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The model's name in the registry.")]

models = typer.Typer(
    name="models",
    cls=HelpGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Models by name and version: what serves, what served, what could.

    \b
      feltwire models add ./my-bundle
      feltwire models promote my-bundle 2
      feltwire run --model registry:my-bundle
    """,
)


@models.command("list")
def list_models(*, registry: Registry = None, as_json: AsJson = False, config: ConfigFile = None) -> None:
    """The models that ship with Feltwire, and those in the registry.

    \b
      feltwire models list --registry s3://models/feltwire
    """
    from feltwire.cli import _models

    _models.write_list(_place(registry, config), as_json=as_json)


@models.command()
def show(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="NAME, NAME@VERSION, or any model's URI or folder (bundled:fast).")
    ],
    *,
    registry: Registry = None,
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> None:
    """What a model is: heads and labels, metrics, training data, and which runtime serves it on this machine."""
    from feltwire.cli import _models

    _models.write_model(_place(registry, config), model, as_json=as_json)


@models.command()
def add(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The bundle's folder.")],
    *,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Default: the bundle's own.")] = None,
    version: Annotated[
        str | None, typer.Option("--version", metavar="VERSION", help="Default: the bundle's own.")
    ] = None,
    then_promote: Annotated[bool, typer.Option("--promote", help="And have it serve under its name.")] = False,
    registry: Registry = None,
    config: ConfigFile = None,
) -> None:
    """Check a bundle and copy it into the registry. A version that is there with other content is refused."""
    from feltwire.models import _store

    place = _place(registry, config)
    added = _store.add(place, path.expanduser(), name=name, version=version)
    there = "" if added.new else " was there already"
    common.talk(f"{added.name}@{added.version}{there}: registry:{added.name}@{added.version} in {place.where}")
    if then_promote:
        _promote(place, added.name, added.version)


@models.command()
def promote(
    name: Name,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="One that was added.")],
    *,
    registry: Registry = None,
    config: ConfigFile = None,
) -> None:
    """Have `registry:NAME` mean this version. An engine that runs takes it with its next batch."""
    _promote(_place(registry, config), name, version)


@models.command()
def rollback(name: Name, *, registry: Registry = None, config: ConfigFile = None) -> None:
    """Have `registry:NAME` mean the version that it meant before; again, and it goes further back."""
    from feltwire.models import _store

    common.talk(f"registry:{name} is {name}@{_store.rollback(_place(registry, config), name)} again.")


def _promote(place: "Place", name: str, version: str) -> None:
    from feltwire.models import _store

    already = "" if _store.promote(place, name, version) else " already"
    common.talk(f"registry:{name} is {name}@{version}{already}.")


def _place(registry: str | None, config: Path | None) -> "Place":
    """The registry that a command speaks of."""
    from feltwire.models._places import open_place

    other: dict[str, Any] = {} if registry is None else {"model": {"registry": registry}}
    return open_place(common.load_settings(config, other=other).model.registry or "")


# What becomes a model: `models pull URI` and `models import KIND …` are added here.


def add_to(app: typer.Typer) -> None:
    """Register `feltwire models`."""
    app.add_typer(models, rich_help_panel="Models")
