"""`bundle:PATH`: a model that lies in a directory: `model.json` and the files of its format."""

from pathlib import Path

from feltwire.errors import ConfigError
from feltwire.interfaces import Model
from feltwire.models._formats import BundleOptions, open_bundle

Options = BundleOptions


def create(rest: str, options: BundleOptions) -> Model:
    """`bundle:PATH`; raises ModelError for a bundle that cannot be used."""
    if not rest:
        raise ConfigError("model 'bundle:' needs a folder: bundle:PATH")
    return open_bundle(Path(rest).expanduser(), **dict(options))
