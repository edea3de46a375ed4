"""`bundle:PATH`: a model that lies in a directory as `model.json`, `model.onnx` and `tokenizer.json`."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from feltwire.errors import ConfigError
from feltwire.models._onnx import OnnxModel


class Options(BaseModel):
    """How the graph runs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    threads: Annotated[int, Field(ge=1, le=256, description="threads of one pass through the graph")] = 1


def create(rest: str, options: Options) -> OnnxModel:
    """`bundle:PATH`; raises ModelError for a bundle that cannot be used."""
    if not rest:
        raise ConfigError("model 'bundle:' needs a folder: bundle:PATH")
    return OnnxModel(Path(rest).expanduser(), threads=options.threads)
