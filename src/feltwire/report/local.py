"""The reports by this process alone: both out of one snapshot of the posts, so that they agree."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
from deltalake.exceptions import DeltaError

from feltwire import schema
from feltwire.errors import LakeError
from feltwire.lake import Lake
from feltwire.lake.reader import Snapshot, literal
from feltwire.report import rows
from feltwire.report.files import Folder

TWEETS = "tweet"
SENTIMENT = "sentiment"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the reports are of: a time (`until` excluded), a track (None: all posts), as of a time."""

    minutes: int
    """The length of a window."""
    since: datetime | None = None
    until: datetime | None = None
    track: str | None = None
    as_of: datetime | None = None


@dataclass(frozen=True)
class Written:
    """How many rows each report has."""

    tweets: int
    windows: int


def write(lake: Lake, asked: Asked, tweets: Folder, sentiment: Folder) -> Written:
    """Write both reports. Raises LakeError, DestinationError."""
    where = "true"
    if asked.since:
        where += f" and event_time >= {literal(asked.since)}"
    if asked.until:
        where += f" and event_time < {literal(asked.until)}"
    if asked.track not in (None, schema.ALL_TRACKS):
        where += f" and array_has(tracks, {literal(str(asked.track))})"
    try:
        snapshot = Snapshot(lake.location, lake.owner, ["posts"], as_of=asked.as_of)
        found = snapshot.query(
            f"select {', '.join(rows.POST_COLUMNS)} from posts where {where} order by event_time, id, revision"
        )
        sums = snapshot.table(f"select {rows.SUMS_SQL} from posts where {where} group by 1")
        n = tweets.write(TWEETS, _tweets(found), rows.TWEET)
    except (DeltaError, OSError) as error:
        raise LakeError(f"the lake {lake.location.path!r} cannot be read: {error}") from error
    tweets.remove(f"{TWEETS}-")
    windows = rows.sentiment(sums, asked.minutes)
    sentiment.write(SENTIMENT, windows.to_batches(), rows.SENTIMENT)
    return Written(n, windows.num_rows)


def _tweets(found: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    wanted = pa.schema([schema.POSTS.field(name) for name in rows.POST_COLUMNS])
    for batch in found:
        yield rows.tweets(schema.conform(batch, wanted))
