"""A feed in memory, the twin of the lake, and small invented posts to fill it with."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from feltwire import schema
from feltwire.interfaces import Position

NOON = datetime(2026, 7, 4, 12, tzinfo=UTC)
SCORES = ("negative", "neutral", "positive", "mixed")


def post(partition: int, offset: int, **columns: Any) -> dict[str, Any]:
    """A post with everything that a reader may want to see; `columns` replaces."""
    at = columns.pop("at", NOON + timedelta(seconds=offset))
    share = 7 * 2.0**-20
    row: dict[str, Any] = {
        "id": f"simulator:{partition}-{offset}",
        "revision": 0,
        "log_partition": partition,
        "log_offset": offset,
        "day": f"{at:%Y-%m-%d}",
        "event_time": at,
        "source": "simulator",
        "author_id": f"a{offset % 5}",
        "author_handle": "delta.fan",
        "text": f"my flight {partition}-{offset} is late",
        "lang": "en",
        "created_at": at,
        "ingested_at": at,
        "likes": offset,
        "hashtags": ["delay"],
        "mentions": [],
        "links": [],
        "emoji_used": [],
        "tracks": ["delta"] if offset % 2 else ["united", "delta"],
        "redated": False,
        "scored": True,
        "sentiment": SCORES[offset % 4],
        "p_negative": 1 - 3 * share,
        "p_neutral": share,
        "p_positive": share,
        "p_mixed": share,
        "emoji": [{"emoji": "😡", "p": 0.5}],
        "complaint": offset % 3 == 0,
        "entities": [{"text": "Delta", "label": "corporation", "start": 0, "end": 5, "p": 0.75}],
        "model": "tiny@1",
        "raw": '{"secret": 1}',
    }
    return {**row, **columns}


def withdrawal(partition: int, offset: int, **columns: Any) -> dict[str, Any]:
    """A withdrawal of every revision of a post, unless `columns` says otherwise."""
    row: dict[str, Any] = {
        "id": None,
        "source": "simulator",
        "author_id": None,
        "revision": schema.LAST_REVISION,
        "at": NOON + timedelta(seconds=offset),
        "log_partition": partition,
        "log_offset": offset,
    }
    return {**row, **columns}


def batch(rows: list[dict[str, Any]], of: pa.Schema = schema.POSTS) -> pa.RecordBatch:
    """Rows as a batch; what they do not say is null."""
    return pa.RecordBatch.from_pylist(rows, schema=of)


class MemoryFeed:
    """Implements `interfaces.Feed` over lists of rows that may be added to at any time."""

    def __init__(self, partitions: int = 1) -> None:
        self.rows: list[dict[str, Any]] = []
        self.withdrawals: list[dict[str, Any]] = []
        self.ends: Position = dict.fromkeys(range(partitions), 0)

    def add(self, rows: list[dict[str, Any]], withdrawals: list[dict[str, Any]] | None = None) -> None:
        """Commit posts and withdrawals; their offsets may leave gaps."""
        self.rows = sorted([*self.rows, *rows], key=_place)
        self.withdrawals = sorted([*self.withdrawals, *(withdrawals or [])], key=_place)
        for row in [*rows, *(withdrawals or [])]:
            partition = row["log_partition"]
            self.ends[partition] = max(self.ends.get(partition, 0), row["log_offset"] + 1)

    def hidden(self, row: dict[str, Any]) -> bool:
        """Whether a withdrawal behind this post takes it back."""
        return any(
            told["log_partition"] == row["log_partition"]
            and told["log_offset"] >= row["log_offset"]
            and told["revision"] >= row["revision"]
            and (told["id"] == row["id"] if told["id"] is not None else told["author_id"] == row["author_id"])
            for told in self.withdrawals
        )

    def changes(self, after: Position, max_posts: int) -> tuple[pa.RecordBatch, pa.RecordBatch, Position]:
        rows = [row for row in self.rows if row["log_offset"] >= after.get(row["log_partition"], 0)]
        rows = [row for row in rows if not self.hidden(row)]
        end = dict(self.ends)
        if len(rows) > max_posts:
            rows = rows[:max_posts]
            partition, offset = _place(rows[-1])
            end = {p: n if p < partition else after.get(p, 0) for p, n in self.ends.items()}
            end[partition] = offset + 1
        told = [
            row
            for row in self.withdrawals
            if after.get(row["log_partition"], 0) <= row["log_offset"] < end[row["log_partition"]]
        ]
        return batch(rows), batch(told, schema.WITHDRAWN), end


def story(seed: int, posts: int, partitions: int = 2) -> MemoryFeed:
    """A feed of posts with edits, withdrawals and gaps: the same for the same seed."""
    chance = random.Random(seed)
    feed = MemoryFeed(partitions)
    offsets = dict.fromkeys(range(partitions), 0)
    for _ in range(posts):
        partition = chance.randrange(partitions)
        offset = offsets[partition] = offsets[partition] + chance.choice([1, 1, 1, 2, 5])
        known = [row for row in feed.rows if row["log_partition"] == partition]
        what = chance.random()
        if what < 0.1 and known:
            feed.add([], [withdrawal(partition, offset, id=chance.choice(known)["id"])])
        elif what < 0.2 and known:
            old = chance.choice(known)
            edit = post(
                partition,
                offset,
                id=old["id"],
                revision=old["revision"] + 1,
                text=f"flight {partition}-{offset} was on time",
            )
            feed.add([edit], [withdrawal(partition, offset, id=old["id"], revision=old["revision"])])
        elif what < 0.21:
            feed.add([], [withdrawal(partition, offset, author_id=f"a{offset % 5}")])
        else:
            feed.add([post(partition, offset, at=NOON + timedelta(hours=offset))])
    return feed


def _place(row: dict[str, Any]) -> tuple[int, int]:
    return row["log_partition"], row["log_offset"]
