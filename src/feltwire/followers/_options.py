"""Options that several destinations share: which posts they want, which columns of them, and a path."""

from pathlib import Path
from typing import Annotated, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from feltwire import schema
from feltwire.errors import ConfigError

DEFAULT_FIELDS: Final = tuple(name for name in schema.POSTS.names if name != "raw")
"""Every column but `raw`: the source's own JSON, which repeats the others at twice their size."""


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


def _known(fields: tuple[str, ...]) -> tuple[str, ...]:
    if fields == ("*",):
        return tuple(schema.POSTS.names)
    for name in fields:
        if name not in schema.POSTS.names:
            raise ValueError(f"unknown field {name!r}; known are {', '.join(schema.POSTS.names)}, or * for all")
    if len(set(fields)) != len(fields):
        raise ValueError("a field is named twice")
    return fields


Names = Annotated[tuple[str, ...], BeforeValidator(_split)]
"""Several names: `a,b` in a URI, `["a", "b"]` in a file."""

Fields = Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_known)]
"""Columns of `posts`, in the order wanted; `*` is all of them."""


class Filter(BaseModel):
    """Which posts a destination takes. What is set must hold, all of it; withdrawals are never filtered."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    track: Names = ()
    """Posts of one of these tracks."""
    sentiment: Literal["negative", "neutral", "positive", "mixed"] | None = None
    """Posts of this sentiment."""
    complaint: bool | None = None
    """`true`: complaints only; `false`: the others only."""


def select(posts: pa.RecordBatch, wanted: Filter) -> pa.RecordBatch:
    """The posts that pass the filter, in order, with all their columns."""
    if wanted.track and schema.ALL_TRACKS not in wanted.track:
        tracks = posts.column("tracks")
        hits = pc.is_in(pc.list_flatten(tracks), value_set=pa.array(wanted.track, pa.string()))
        rows = pc.list_parent_indices(tracks).filter(hits).to_numpy(zero_copy_only=False)
        posts = posts.take(pa.array(np.unique(rows), pa.int64()))
    if wanted.sentiment is not None:
        posts = posts.filter(pc.equal(posts.column("sentiment"), wanted.sentiment))
    if wanted.complaint is not None:
        posts = posts.filter(pc.equal(posts.column("complaint"), wanted.complaint))
    return posts


def file_path(rest: str, kind: str) -> Path:
    """The path in a URI. Raises ConfigError when there is none."""
    if not rest:
        raise ConfigError(f"follower {kind!r}: no path given; expected {kind}:PATH")
    return Path(rest).expanduser()
