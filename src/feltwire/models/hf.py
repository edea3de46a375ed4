"""`hf:org/name`: a checkpoint of the Hugging Face hub, once `feltwire models pull hf:org/name` made a bundle of it.

Nothing is fetched here: a stream that starts again must not depend on what somebody else uploaded meanwhile.
"""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from feltwire.errors import ConfigError
from feltwire.interfaces import Model
from feltwire.models._bundle import MANIFEST
from feltwire.models._formats import BundleOptions, open_bundle
from feltwire.models._pulled import place


class Options(BundleOptions):
    """Where pulled bundles lie, and how they run."""

    at: Annotated[str, Field(description="the folder that pulled bundles lie in; unset: the user's own cache")] = ""


def create(rest: str, options: Options) -> Model:
    """`hf:org/name[@revision]`, or the folder of a bundle; raises ConfigError for one that was not pulled."""
    if not rest:
        raise ConfigError("model 'hf:' needs a name: hf:org/name")
    given = Path(rest).expanduser()
    local = given.is_absolute() or rest.startswith((".", "~")) or (given / MANIFEST).is_file()
    folder = given if local else place(rest, options.at)
    if not (folder / MANIFEST).is_file():
        if local:
            raise ConfigError(f"model 'hf:{rest}': no bundle lies there: feltwire models pull {rest} --out FOLDER")
        raise ConfigError(f"model 'hf:{rest}' is not on this machine: feltwire models pull hf:{rest}")
    return open_bundle(folder, **options.model_dump(exclude={"at"}))
