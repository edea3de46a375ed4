"""Which runtime reads which format of bundle."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from feltwire.interfaces import Model
from feltwire.models._bundle import read_manifest
from feltwire.models._linear import LinearModel
from feltwire.models._onnx import OnnxModel

_RUNTIMES: Final[dict[str, Callable[..., Model]]] = {"onnx": OnnxModel, "linear": LinearModel}


def open_bundle(folder: Path, *, threads: int = 1, neutral_band: tuple[float, float] | None = None) -> Model:
    """The model in a bundle's folder; raises ModelError for one that cannot be used.

    `threads` are those of one pass through the model. `neutral_band` goes before the one of the manifest.
    """
    manifest = read_manifest(folder)
    if neutral_band is not None:
        manifest = manifest.with_band(neutral_band)
    return _RUNTIMES[manifest.format](folder, manifest, threads=threads)
