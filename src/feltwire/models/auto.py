"""`auto:`: a fast model scores everything, and a better one what the fast one is unsure of."""

from typing import Annotated
from urllib.parse import quote, urlencode

from pydantic import BaseModel, ConfigDict, Field

from feltwire.errors import ConfigError
from feltwire.loading import load
from feltwire.loading import pin as pin_uri
from feltwire.models._auto import AutoModel, Limits


class Options(BaseModel):
    """Which two models, and who scores what."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fast: Annotated[str, Field(min_length=1, description="the model that scores everything")] = "bundled:fast"
    base: Annotated[str, Field(min_length=1, description="the model that scores what `fast` is unsure of")] = (
        "bundled:base"
    )
    threshold: Annotated[
        float, Field(ge=0, le=1, description="`fast` is unsure where its largest sentiment probability is below")
    ] = 0.55
    share: Annotated[
        float, Field(gt=0, le=1, description="of the texts of a batch, `base` scores at most this share")
    ] = 1.0
    target_ms: Annotated[
        float | None, Field(gt=0, description="a batch should take no longer; unset: it takes what it takes")
    ] = None


def pin(rest: str, options: Options) -> str:
    """The URI with the versions of both models decided. Raises as `loading.pin`."""
    given = options.model_dump(exclude_unset=True)
    given |= {"fast": pin_uri(options.fast), "base": pin_uri(options.base)}
    return f"auto:{rest}?{urlencode(given, safe=':/@', quote_via=quote)}"


def create(rest: str, options: Options) -> AutoModel:
    """`auto:`; raises ConfigError or ModelError for models that cannot be used, or not together."""
    if rest:
        raise ConfigError(f"model 'auto:{rest}': auto: takes options only: auto:?fast=URI&base=URI")
    limits = Limits(options.threshold, options.share, None if options.target_ms is None else options.target_ms / 1000)
    return AutoModel(load(options.fast), load(options.base), limits)
