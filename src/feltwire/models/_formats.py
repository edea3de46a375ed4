"""Which runtime reads which format of bundle."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from feltwire.interfaces import Model
from feltwire.models._bundle import Band, read_manifest
from feltwire.models._linear import LinearModel
from feltwire.models._onnx import OnnxModel
from feltwire.models._session import RuntimeName
from feltwire.models._trees import TreesModel


class BundleOptions(BaseModel):
    """How a bundle runs, wherever it lies."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    threads: Annotated[int, Field(ge=1, le=256, description="threads of one pass through the model")] = 1
    runtime: Annotated[
        RuntimeName,
        Field(description="onnxruntime, openvino, or auto: the second for a bundle and a CPU with bfloat16"),
    ] = "auto"
    neutral_band: Annotated[
        Band | None, Field(description="of two sentiments: from which to which p(positive) a post is neutral: 0.4-0.6")
    ] = None


def open_bundle(
    folder: Path,
    *,
    threads: int = 1,
    runtime: RuntimeName = "auto",
    neutral_band: tuple[float, float] | None = None,
) -> Model:
    """The model in a bundle's folder; raises ModelError for one that cannot be used.

    `threads` are those of one pass through the model, `runtime` is that of ONNX graphs. `neutral_band` goes before
    the one of the manifest.
    """
    manifest = read_manifest(folder)
    if neutral_band is not None:
        manifest = manifest.with_band(neutral_band)
    if manifest.format == "linear":
        return LinearModel(folder, manifest, threads=threads)
    if manifest.format == "trees":
        return TreesModel(folder, manifest, threads=threads)
    return OnnxModel(folder, manifest, threads=threads, runtime=runtime)
