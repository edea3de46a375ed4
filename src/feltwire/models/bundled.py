"""`bundled:NAME`: a bundle that ships with Feltwire."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from feltwire.errors import ConfigError
from feltwire.interfaces import Model
from feltwire.models._bundle import Band
from feltwire.models._formats import open_bundle

FOLDER = Path(__file__).parents[1] / "bundles"


class Options(BaseModel):
    """How the graph runs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    threads: Annotated[int, Field(ge=1, le=256, description="threads of one pass through the graph")] = 1
    neutral_band: Annotated[
        Band | None, Field(description="of two sentiments: from which to which p(positive) a post is neutral: 0.4-0.6")
    ] = None


def create(rest: str, options: Options) -> Model:
    """`bundled:NAME`; raises ConfigError when no such bundle ships."""
    shipped = sorted(path.parent.name for path in FOLDER.glob("*/model.json"))
    if rest not in shipped:
        known = ", ".join(shipped) or "none in this version; bundle:PATH takes one of your own"
        raise ConfigError(f"model 'bundled:{rest}' does not ship with Feltwire: known are {known}")
    return open_bundle(FOLDER / rest, threads=options.threads, neutral_band=options.neutral_band)
