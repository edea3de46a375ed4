"""`registry:NAME[@VERSION]`: a model out of a registry of versioned bundles; without a version, the promoted one."""

from typing import Annotated

from pydantic import Field

from feltwire.errors import ConfigError
from feltwire.interfaces import Model
from feltwire.models import _store
from feltwire.models._formats import BundleOptions, open_bundle
from feltwire.models._places import open_place


class Options(BundleOptions):
    """Where the registry is, and how the model runs."""

    at: Annotated[str, Field(description="the registry: a folder or s3://bucket/prefix; unset: the user's own")] = ""


def pin(rest: str, options: Options) -> str:
    """What stands behind the colon, with the version that is promoted now. Raises as `_store.current`."""
    name, at, version = rest.partition("@")
    if not name or (at and not version):
        raise ConfigError(f"model 'registry:{rest}': expected registry:NAME or registry:NAME@VERSION")
    return rest if version else f"{name}@{_store.current(open_place(options.at), name)}"


def create(rest: str, options: Options) -> Model:
    """`registry:NAME[@VERSION]`; raises ConfigError for an unknown one, ModelError for one that cannot be used."""
    name, _, version = pin(rest, options).partition("@")
    folder = _store.fetch(open_place(options.at), name, version)
    model = open_bundle(folder, **{key: value for key, value in options if key != "at"})
    model.name = f"{name}@{version}"  # as it is registered, which need not be how the bundle calls itself
    return model
