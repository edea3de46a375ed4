"""`none:`: no model. Every post is kept, summed and stored unscored."""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from feltwire.errors import ConfigError
from feltwire.interfaces import Predictions


class Options(BaseModel):
    """There is nothing to set."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NoModel:
    """A model without heads, which speaks no language."""

    name: str = "none"
    languages: frozenset[str] | None = frozenset()
    heads: Mapping[str, tuple[str, ...]] = {}
    profile: str = "plain"

    def predict(self, texts: Sequence[str]) -> Predictions:
        """No head, no probabilities."""
        return {}


def create(rest: str, options: Options) -> NoModel:
    """`none:`."""
    if rest:
        raise ConfigError(f"model 'none:{rest}': none: takes nothing behind the colon")
    return NoModel()
