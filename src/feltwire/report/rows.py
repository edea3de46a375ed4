"""What stands in the reports, out of posts and their sums. Pure, and the same under every engine."""

import json
from datetime import UTC, datetime
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feltwire import schema

UNITS: Final = 10_000  # four decimals

_LABELS: Final = ("positive", "negative", "neutral", "mixed")
_SHOWN: Final = ("positive", "neutral", "mixed", "negative")
_SHARED: Final = ("positive", "neutral", "negative", "mixed")
_MONDAY_US: Final = int(datetime(1970, 1, 5, tzinfo=UTC).timestamp()) * 1_000_000  # windows are counted from here
_REFERENCES: Final = {"repost_of_id": "retweeted", "quote_of_id": "quoted", "reply_to_id": "replied_to"}

TWEET: Final = pa.schema(
    [
        pa.field("tweet_id", pa.string()),
        pa.field("created_at", schema.TIME),
        *(pa.field(name, pa.string()) for name in ("text", "user_id", "username", "name")),
        pa.field("verified", pa.bool_()),
        *(pa.field(name, pa.string()) for name in ("location", "referenced_tweets", "label")),
        *(pa.field(name, pa.float64()) for name in _LABELS),
    ]
)
"""A post: no nulls but, where nobody knows it, `verified` is false and a text is empty; four decimals that sum to 1."""

SENTIMENT: Final = pa.schema(
    [
        pa.field("time_window", schema.TIME),
        pa.field("count_tweets", pa.int64()),
        *(pa.field(f"avg_{label}", pa.float64()) for label in _SHOWN),
        *(pa.field(f"perc_tweet_{label}", pa.float64()) for label in _SHARED),
    ]
)
"""A window that has posts, by its start: the averages sum to 1, the shares too; all are 0 where nothing was scored."""

POST_COLUMNS: Final = (
    "id",
    "source",
    "created_at",
    "event_time",
    "text",
    "author_id",
    "author_handle",
    "author_name",
    "author_verified",
    "author_location",
    *_REFERENCES,
    "sentiment",
    *(f"p_{label}" for label in _LABELS),
)
"""What `tweets` needs of a post."""

SUMS: Final = ("n", *(f"n_{label}" for label in _LABELS), *(f"sum_p_{label}" for label in _LABELS))

# By minute; SQL that DataFusion and Spark read alike.
SUMS_SQL: Final = ", ".join(
    [
        "date_trunc('minute', event_time) as minute",
        "count(*) as n",
        *(f"count(case when sentiment = '{label}' then 1 end) as n_{label}" for label in _LABELS),
        *(f"sum(cast(coalesce(p_{label}, 0) as double)) as sum_p_{label}" for label in _LABELS),
    ]
)


def tweets(posts: pa.RecordBatch) -> pa.RecordBatch:
    """Posts (`POST_COLUMNS`) as rows of `TWEET`, in their order."""
    n = posts.num_rows
    p = [pc.fill_null(posts[f"p_{label}"], 0.0).cast(pa.float64()).to_numpy() for label in _LABELS]
    parts = shares(np.stack(p, axis=1) if n else np.zeros((0, 4)))
    columns = {
        "tweet_id": pa.array(
            [
                _bare(key, source)
                for key, source in zip(posts["id"].to_pylist(), posts["source"].to_pylist(), strict=True)
            ],
            pa.string(),
        ),
        "created_at": pc.coalesce(posts["created_at"], posts["event_time"]),
        "text": posts["text"],
        "user_id": posts["author_id"],
        "username": posts["author_handle"],
        "name": posts["author_name"],
        "verified": pc.fill_null(posts["author_verified"], False),
        "location": posts["author_location"],
        "referenced_tweets": _references(posts),
        "label": posts["sentiment"],
        **{label: pa.array(parts[:, i]) for i, label in enumerate(_LABELS)},
    }
    arrays = []
    for field in TWEET:
        array = columns[field.name].cast(field.type)
        arrays.append(pc.fill_null(array, "") if pa.types.is_string(field.type) else array)
    return pa.RecordBatch.from_arrays(arrays, schema=TWEET)


def sentiment(sums: pa.Table, minutes: int) -> pa.Table:
    """Sums by minute (columns `minute` and `SUMS`) as windows of so many minutes, `SENTIMENT`, oldest first."""
    step = minutes * 60_000_000
    ticks = sums["minute"].cast(schema.TIME).cast(pa.int64()).to_numpy()
    starts = (ticks - _MONDAY_US) // step * step + _MONDAY_US
    named = sums.select(list(SUMS)).append_column("window", pa.array(starts, pa.int64()))
    found = named.group_by("window", use_threads=False).aggregate([(name, "sum") for name in SUMS]).sort_by("window")
    average = shares(np.stack([found[f"sum_p_{label}_sum"].to_numpy() for label in _SHOWN], axis=1))
    share = shares(np.stack([found[f"n_{label}_sum"].to_numpy().astype(np.float64) for label in _SHARED], axis=1))
    columns = {
        "time_window": found["window"].cast(schema.TIME),
        "count_tweets": found["n_sum"].cast(pa.int64()),
        **{f"avg_{label}": pa.array(average[:, i]) for i, label in enumerate(_SHOWN)},
        **{f"perc_tweet_{label}": pa.array(share[:, i]) for i, label in enumerate(_SHARED)},
    }
    return pa.table([columns[name] for name in SENTIMENT.names], schema=SENTIMENT)


def shares(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """float64[rows, k] as shares of their rows with four decimals, which sum to 1; a row of zeros stays zeros.

    By the largest remainder: every share is rounded down, and the units that are missing go to the largest
    remainders, of equal ones to the first.
    """
    total = values.sum(axis=1, keepdims=True)
    scaled = values * UNITS / np.where(total > 0, total, 1.0)
    units = np.floor(scaled)
    missing = np.where(total[:, 0] > 0, UNITS - units.sum(axis=1), 0.0)
    rank = np.argsort(np.argsort(-(scaled - units), axis=1, kind="stable"), axis=1, kind="stable")
    units += rank < missing[:, None]
    return units / UNITS


def _bare(key: str | None, source: str | None) -> str | None:
    """The network's own id."""
    return key.removeprefix(f"{source}:") if key else key


def _references(posts: pa.RecordBatch) -> pa.Array:
    """The posts that a post speaks of, as JSON in X's words: `[{"type": "retweeted", "id": "…"}]`."""
    columns = [posts[name].to_pylist() for name in _REFERENCES]
    sources = posts["source"].to_pylist()
    texts = []
    for source, *ids in zip(sources, *columns, strict=True):
        found = [
            {"type": kind, "id": _bare(key, source)} for kind, key in zip(_REFERENCES.values(), ids, strict=True) if key
        ]
        texts.append(json.dumps(found, ensure_ascii=False) if found else "[]")
    return pa.array(texts, pa.string())
