"""Which tracks a post belongs to, and with that what becomes of every record: kept, filtered, duplicate or dead."""

from collections.abc import Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from feltwire import schema
from feltwire import tracks as matching
from feltwire.stages._columns import open_posts, placed, with_columns

NO_TEXT: Final = "a post without a text"
TOO_LONG: Final = f"a text of more than {schema.MAX_TEXT_CHARS:,} characters"
UNKNOWN_KIND: Final = "a record of no known kind"


def match(batch: pa.RecordBatch, *, tracks: Sequence[matching.Track]) -> pa.RecordBatch:
    """Add `tracks` (the names of those that a post matches) and `outcome`.

    A post or edit is kept when it matches a track or none is given, else filtered; without a text, or with one of
    more than MAX_TEXT_CHARS characters, it is dead and `refusal` says why. Refusals and records of unknown kind are
    dead, duplicates are duplicates, withdrawals have no outcome. `tracks` is null in rows that are no readable posts.
    An outcome that an earlier stage gave stays.
    """
    posts = open_posts(batch)
    text = batch.column("text")
    too_long = pc.fill_null(pc.greater(pc.utf8_length(text), schema.MAX_TEXT_CHARS), False)
    readable = pc.and_(posts, pc.and_not(pc.is_valid(text), too_long))
    names = _matched(batch, readable, tracks)
    kept = readable if not tracks else pc.and_(readable, pc.greater(pc.list_value_length(names), 0))
    outcome = pc.case_when(
        pc.make_struct(kept, readable, posts),
        pa.scalar(schema.KEPT),
        pa.scalar(schema.FILTERED),
        pa.scalar(schema.DEAD),
        _of_others(batch.column("kind")),
    )
    if "outcome" in batch.schema.names:
        outcome = pc.coalesce(batch.column("outcome"), outcome)
    why = pc.case_when(
        pc.make_struct(pc.and_(posts, too_long), pc.and_(posts, pc.is_null(text)), _unknown(batch, outcome)),
        pa.scalar(TOO_LONG),
        pa.scalar(NO_TEXT),
        pa.scalar(UNKNOWN_KIND),
        batch.column("refusal"),
    )
    return with_columns(
        batch,
        {"tracks": names, "outcome": outcome, "refusal": why},
    )


def _matched(batch: pa.RecordBatch, readable: pa.BooleanArray, tracks: Sequence[matching.Track]) -> pa.ListArray:
    """The names of the matched tracks of the readable rows; null in the others, whose texts nobody reads."""
    if not tracks:
        empty = pa.array([[]], schema.STRINGS)
        return empty.take(pc.if_else(readable, pa.scalar(0), pa.scalar(None, pa.int64())))
    if pc.all(readable).as_py():
        return matching.match(batch, tracks)
    return placed(readable, matching.match(batch.filter(readable), tracks))


def _of_others(kinds: pa.StringArray) -> pa.StringArray:
    """The outcome of what is no post."""
    return pc.if_else(
        pc.fill_null(pc.equal(kinds, schema.WITHDRAWAL), False),
        pa.scalar(None, pa.string()),
        pc.if_else(pc.fill_null(pc.equal(kinds, schema.DUPLICATE), False), schema.DUPLICATE, schema.DEAD),
    )


def _unknown(batch: pa.RecordBatch, outcome: pa.StringArray) -> pa.BooleanArray:
    """Dead records that are no post and no refusal, and that nobody has given a reason."""
    kinds = pa.array([schema.POST, schema.EDIT, schema.REFUSAL])
    stray = pc.and_not(pc.fill_null(pc.equal(outcome, schema.DEAD), False), pc.is_in(batch.column("kind"), kinds))
    return pc.and_(stray, pc.is_null(batch.column("refusal")))
