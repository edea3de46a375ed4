"""`bundled:NAME`: a bundle that ships with Feltwire."""

from pathlib import Path

from feltwire.errors import ConfigError
from feltwire.interfaces import Model
from feltwire.models._formats import BundleOptions, open_bundle

FOLDER = Path(__file__).parents[1] / "bundles"


Options = BundleOptions


def create(rest: str, options: BundleOptions) -> Model:
    """`bundled:NAME`; raises ConfigError when no such bundle ships."""
    shipped = sorted(path.parent.name for path in FOLDER.glob("*/model.json"))
    if rest not in shipped:
        known = ", ".join(shipped) or "none in this version; bundle:PATH takes one of your own"
        raise ConfigError(f"model 'bundled:{rest}' does not ship with Feltwire: known are {known}")
    return open_bundle(FOLDER / rest, **dict(options))
