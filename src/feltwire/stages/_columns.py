"""What the stages share: which rows are open posts, and setting columns by name."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feltwire import schema

_POSTS = pa.array([schema.POST, schema.EDIT], pa.string())


def open_posts(batch: pa.RecordBatch) -> pa.BooleanArray:
    """True (never null) for the posts and edits that no earlier stage has decided on: their `outcome` is null."""
    posts = pc.is_in(batch.column("kind"), value_set=_POSTS)
    if "outcome" not in batch.schema.names:
        return posts
    return pc.and_(posts, pc.is_null(batch.column("outcome")))


def with_columns(batch: pa.RecordBatch, columns: Mapping[str, pa.Array]) -> pa.RecordBatch:
    """The batch with these columns, each in the place of its name where there is one, else at the end."""
    merged = {**dict(zip(batch.schema.names, batch.columns, strict=True)), **columns}
    return pa.RecordBatch.from_arrays(list(merged.values()), names=list(merged))


def where(mask: pa.BooleanArray, array: pa.Array) -> pa.Array:
    """The array, null where the mask is false."""
    return pc.if_else(mask, array, pa.scalar(None, array.type))


def placed(mask: pa.BooleanArray, values: pa.Array, elsewhere: pa.Array | None = None) -> pa.Array:
    """An array as long as the mask: `values`, in order, in the rows where it is true, `elsewhere` (or null) in the
    others. `values` has one element for each true row; the mask has no nulls."""
    if len(values) == len(mask):
        return values
    rows = mask.to_numpy(zero_copy_only=False)
    places = np.cumsum(rows) - 1
    if elsewhere is None:
        return values.take(pa.array(places, mask=~rows))
    places = np.where(rows, len(mask) + places, np.arange(len(mask)))
    return pa.concat_arrays([elsewhere, values]).take(pa.array(places))
