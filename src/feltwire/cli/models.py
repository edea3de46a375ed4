"""`feltwire models`: the registry of models, and what becomes a model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from feltwire.cli import common
from feltwire.cli.common import AsJson, ConfigFile
from feltwire.cli.help import HelpGroup

if TYPE_CHECKING:
    from feltwire.models._place import Place

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
      feltwire models pull hf:org/name
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


@models.command()
def pull(
    source: Annotated[
        str, typer.Argument(metavar="CHECKPOINT", help="hf:org/name, hf:org/name@revision, or a folder.")
    ],
    *,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FOLDER", help="Of the bundle. Default: where the model hf:org/name is."),
    ] = None,
    head: Annotated[str, typer.Option("--head", metavar="NAME", help="Default: what the labels tell.")] = "",
    labels: Annotated[
        list[str] | None, typer.Option("--labels", metavar="OLD=NEW", help="What a label is called here. Repeatable.")
    ] = None,
    profile: Annotated[str, typer.Option("--profile", metavar="NAME", help="How texts are cleaned.")] = "social",
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Default: the checkpoint's.")] = "",
    version: Annotated[
        str, typer.Option("--version", metavar="VERSION", help="Default: the hub's revision; of a folder, 1.")
    ] = "",
    language: Annotated[
        list[str] | None, typer.Option("--language", metavar="CODE", help="That it reads. Repeatable. Without: any.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", metavar="N", help="Of a text. Default: what it can read, up to 512.")
    ] = None,
) -> None:
    """Make a bundle of a checkpoint of transformers that classifies texts or tokens.

    \b
      feltwire models pull hf:org/name
      feltwire score --model hf:org/name "Lost my bag. Again."
      feltwire models pull ./checkpoint --labels LABEL_0=negative --labels LABEL_1=positive --out ./mine
    """
    from feltwire.cli import _lab
    from feltwire.lab.pull import pull as made_of

    folder = made_of(
        source,
        out,
        head=head,
        labels=_lab.pairs(labels, "--labels"),
        profile=profile,
        name=name,
        version=version,
        languages=language or (),
        max_tokens=max_tokens,
    )
    common.talk(f"{folder}: feltwire score --model {source if out is None else folder}")


import_from = typer.Typer(
    name="import",
    cls=HelpGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Make a bundle of weights that others published.",
)
models.add_typer(import_from)


@import_from.command()
def deepmoji(
    *,
    weights: Annotated[Path, typer.Option("--weights", metavar="FILE", help="deepmoji_weights.hdf5.")],
    vocabulary: Annotated[Path, typer.Option("--vocabulary", metavar="FILE", help="vocabulary.json.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Of the bundle: new or empty.")],
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="The model's.")] = "deepmoji",
    version: Annotated[str, typer.Option("--version", metavar="VERSION", help="The model's.")] = "1",
) -> None:
    """The published weights of DeepMoji: 64 emoji, English.

    \b
      feltwire models import deepmoji --weights deepmoji_weights.hdf5 --vocabulary vocabulary.json --out ./deepmoji
      feltwire score --model ./deepmoji "I love mom's cooking"
    """
    from feltwire.lab.deepmoji_weights import import_deepmoji

    folder = import_deepmoji(weights, vocabulary, out, name=name, version=version)
    common.talk(f"{folder}: feltwire score --model {folder}")


def add_to(app: typer.Typer) -> None:
    """Register `feltwire models`."""
    app.add_typer(models, rich_help_panel="Models")
