"""When a post happened: `event_time`, which windows use, and the day that its row is stored under."""

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from feltwire import schema
from feltwire.stages._columns import open_posts, where, with_columns

MINUTE_US: Final = 60 * 1_000_000
AHEAD_US: Final = 5 * MINUTE_US  # clocks differ: a post this far in the future is believed
BEHIND_US: Final = 24 * 60 * MINUTE_US  # a live post older than this is an import, or dated 1971
LATE_US: Final = 5 * MINUTE_US


def date(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Add `event_time`, `redated`, `late` and `day` to posts and edits; the columns are null in other rows.

    `event_time` is `created_at`. Where that is missing, more than 5 minutes after `ingested_at` or, from a live
    source, more than a day before it, it is `ingested_at`, and `redated` is true. `late`: `event_time` lies more
    than 5 minutes before `ingested_at`. `day`: of `ingested_at`, UTC, YYYY-MM-DD. No clock is read.
    """
    posts = open_posts(batch)
    created, ingested = batch.column("created_at"), batch.column("ingested_at")
    created_us, ingested_us = created.cast(pa.int64()), ingested.cast(pa.int64())
    ahead = pc.greater(created_us, pc.add(ingested_us, AHEAD_US))
    behind = pc.and_(
        pc.fill_null(batch.column("live"), False),
        pc.less(created_us, pc.subtract(ingested_us, BEHIND_US)),
    )
    redated = pc.or_(pc.is_null(created), pc.fill_null(pc.or_(ahead, behind), False))
    event = pc.if_else(redated, ingested, created)
    late = pc.fill_null(pc.less(event.cast(pa.int64()), pc.subtract(ingested_us, LATE_US)), False)
    return with_columns(
        batch,
        {
            "event_time": where(posts, event),
            "redated": where(posts, redated),
            "late": where(posts, late),
            "day": where(posts, _day(ingested)),
        },
    )


def _day(times: pa.TimestampArray) -> pa.StringArray:
    """YYYY-MM-DD of each time; a batch holds few days, so each is written out once."""
    days = times.cast(pa.date32(), safe=False).dictionary_encode()
    return days.dictionary.cast(pa.string()).take(days.indices).cast(schema.POSTS.field("day").type)
