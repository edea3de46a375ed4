"""`bundle:PATH`: a model that lies in a directory: `model.json` and the files of its format."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from feltwire.errors import ConfigError
from feltwire.interfaces import Model
from feltwire.models._bundle import Band
from feltwire.models._formats import open_bundle


class Options(BaseModel):
    """How the graph runs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    threads: Annotated[int, Field(ge=1, le=256, description="threads of one pass through the graph")] = 1
    neutral_band: Annotated[
        Band | None, Field(description="of two sentiments: from which to which p(positive) a post is neutral: 0.4-0.6")
    ] = None


def create(rest: str, options: Options) -> Model:
    """`bundle:PATH`; raises ModelError for a bundle that cannot be used."""
    if not rest:
        raise ConfigError("model 'bundle:' needs a folder: bundle:PATH")
    return open_bundle(Path(rest).expanduser(), threads=options.threads, neutral_band=options.neutral_band)
