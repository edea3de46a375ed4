"""What flows: every batch and table as an Arrow schema. Nothing else in the code names a column's type.

Types are only string, bool, int32, int64, float32, float64 (sums), timestamp[us, UTC], list and struct: what
Arrow, Delta and Spark agree on. `VERSION` grows by one whenever a column is added; see `lake.tables.migrate`.
"""

from typing import Final

import pyarrow as pa

from feltwire.errors import SchemaError

VERSION: Final = 1

# What kind of record the log holds.
POST: Final = "post"  # a post as its source gave it
EDIT: Final = "edit"  # a later revision of a post: withdraws the older ones and is a post itself
WITHDRAWAL: Final = "withdrawal"  # a post (`id`), or all posts of an author (`author_id`), was taken back
REFUSAL: Final = "refusal"  # what a source received and could not read: `payload` and `refusal`
DUPLICATE: Final = "duplicate"  # written by the log alone: a record that it had already seen

# What became of a record in the pipeline: the column `outcome`. A withdrawal has none (null).
KEPT: Final = "kept"
FILTERED: Final = "filtered"
DEAD: Final = "dead"

ALL_TRACKS: Final = "*"  # the track that every post counts in
LAST_REVISION: Final = 2**63 - 1  # a withdrawal of this revision withdraws every revision
MAX_PAYLOAD_CHARS: Final = 65_536  # of a refused input, this much is kept
MAX_TEXT_CHARS: Final = 65_536  # a longer text is refused: no network has posts of that length

# Probabilities are stored as multiples of 2**-20, so that their float64 sums are exact in any order up to
# 2**33 posts, and a sum by SQL over `posts` equals `windows` to the last bit.
PROBABILITY_STEPS: Final = 2**20

TIME: Final = pa.timestamp("us", tz="UTC")
STRINGS: Final = pa.list_(pa.string())

_AUTHORED = [
    pa.field("author_id", pa.string()),
    pa.field("author_handle", pa.string()),
    pa.field("author_name", pa.string()),
    pa.field("author_verified", pa.bool_()),
    pa.field("author_location", pa.string()),
    pa.field("text", pa.string()),
    pa.field("lang", pa.string()),
    pa.field("created_at", TIME),
    pa.field("ingested_at", TIME),
    pa.field("conversation_id", pa.string()),
    pa.field("reply_to_id", pa.string()),
    pa.field("quote_of_id", pa.string()),
    pa.field("repost_of_id", pa.string()),
    pa.field("likes", pa.int64()),
    pa.field("reposts", pa.int64()),
    pa.field("replies", pa.int64()),
    pa.field("url", pa.string()),
    pa.field("hashtags", STRINGS),
    pa.field("mentions", STRINGS),
    pa.field("links", STRINGS),
    pa.field("raw", pa.string()),
]

RECORD: Final = pa.schema(
    [
        pa.field("kind", pa.string()),
        pa.field("id", pa.string()),
        pa.field("revision", pa.int64()),
        pa.field("source", pa.string()),
        pa.field("live", pa.bool_()),  # from a live source: an old `created_at` is then not believed
        *_AUTHORED,
        pa.field("refusal", pa.string()),  # why it was refused …
        pa.field("payload", pa.string()),  # … and what it was, at most MAX_PAYLOAD_CHARS of it
    ]
)
"""One row is one thing that a source received. `ingested_at` is null until the log stamps it."""

_LOGGED = [pa.field("log_partition", pa.int32()), pa.field("log_offset", pa.int64())]

LOGGED: Final = pa.schema([*RECORD, *_LOGGED])
"""A record read back from the log, with its place there."""

SENTIMENTS: Final = ("negative", "neutral", "positive", "mixed")

ENTITY: Final = pa.struct(
    [
        ("text", pa.string()),
        ("label", pa.string()),
        ("start", pa.int32()),
        ("end", pa.int32()),
        ("p", pa.float32()),
    ]
)
EMOJI: Final = pa.struct([("emoji", pa.string()), ("p", pa.float32())])

SCORES: Final = pa.schema(
    [
        pa.field("scored", pa.bool_()),
        pa.field("truncated", pa.bool_()),  # the model saw only the beginning of the text
        pa.field("sentiment", pa.string()),
        pa.field("p_negative", pa.float32()),
        pa.field("p_neutral", pa.float32()),
        pa.field("p_positive", pa.float32()),
        pa.field("p_mixed", pa.float32()),
        pa.field("confidence", pa.float32()),
        pa.field("emoji", pa.list_(EMOJI)),
        pa.field("emotion", pa.string()),
        pa.field("p_emotion", pa.float32()),
        pa.field("irony", pa.string()),
        pa.field("p_irony", pa.float32()),
        pa.field("offensive", pa.string()),
        pa.field("p_offensive", pa.float32()),
        pa.field("hate", pa.string()),
        pa.field("p_hate", pa.float32()),
        pa.field("complaint", pa.bool_()),
        pa.field("p_complaint", pa.float32()),
        pa.field("category", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("urgency", pa.string()),
        pa.field("topic", pa.string()),
        pa.field("entities", pa.list_(ENTITY)),
        pa.field("model", pa.string()),
    ]
)
"""What a model says of one post."""

POSTS: Final = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("revision", pa.int64()),
        *_LOGGED,
        pa.field("day", pa.string()),  # of ingested_at, YYYY-MM-DD; the partition column
        pa.field("event_time", TIME),
        pa.field("source", pa.string()),
        *_AUTHORED,
        pa.field("emoji_used", STRINGS),
        pa.field("tracks", STRINGS),
        pa.field("redated", pa.bool_()),
        *SCORES,
    ]
)

SUMS: Final = ("n", "n_scored", "n_negative", "n_neutral", "n_positive", "n_mixed")
P_SUMS: Final = ("sum_p_negative", "sum_p_neutral", "sum_p_positive", "sum_p_mixed")
WINDOW_KEYS: Final = ("minute", "track", "source", "lang")

_WINDOW_KEY_FIELDS = [
    pa.field("minute", TIME),
    pa.field("track", pa.string()),
    pa.field("source", pa.string()),
    pa.field("lang", pa.string()),
]

WINDOWS: Final = pa.schema(
    [
        *_WINDOW_KEY_FIELDS,
        *(pa.field(name, pa.int64()) for name in SUMS),
        *(pa.field(name, pa.float64()) for name in P_SUMS),
    ]
)

TERM_KINDS: Final = ("hashtag", "entity", "domain", "category", "emotion", "emoji_used", "emoji")
TERM_KEYS: Final = (*WINDOW_KEYS, "kind", "term")

TERMS: Final = pa.schema(
    [
        *_WINDOW_KEY_FIELDS,
        pa.field("kind", pa.string()),
        pa.field("term", pa.string()),
        pa.field("n", pa.int64()),
        pa.field("n_negative", pa.int64()),
        pa.field("n_positive", pa.int64()),
    ]
)

LEDGER_COUNTS: Final = (
    "received",
    "kept",
    "duplicate",
    "filtered",
    "dead",
    "edited",
    "withdrawn",
    "unscored",
    "late",
    "redated",
)

LEDGER: Final = pa.schema(
    [
        pa.field("minute", TIME),
        pa.field("source", pa.string()),
        pa.field("log_partition", pa.int32()),
        *(pa.field(name, pa.int64()) for name in LEDGER_COUNTS),
    ]
)
"""A minute's account of one source: received = kept + duplicate + filtered + dead.

`minute` is of `ingested_at`. `edited` counts edits (also in received), `withdrawn` counts withdrawals (not in
received: they are no posts), `unscored`, `late` and `redated` are parts of kept.
"""

DEAD_LETTERS: Final = pa.schema(
    [
        pa.field("received_at", TIME),
        pa.field("source", pa.string()),
        pa.field("id", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("payload", pa.string()),
        *_LOGGED,
    ]
)

WITHDRAWN: Final = pa.schema(
    [
        pa.field("id", pa.string()),  # one post …
        pa.field("source", pa.string()),
        pa.field("author_id", pa.string()),  # … or, where id is null, every post of this author of this source
        pa.field("revision", pa.int64()),  # this revision and the ones before it
        pa.field("at", TIME),
        *_LOGGED,
    ]
)
"""A withdrawal hides the posts of its own log partition that stand before it in the log."""

SCORES_TABLE: Final = pa.schema(
    [pa.field("id", pa.string()), pa.field("revision", pa.int64()), pa.field("at", TIME), *SCORES]
)

CORRECTIONS: Final = pa.schema(
    [
        pa.field("post_id", pa.string()),
        pa.field("field", pa.string()),
        pa.field("value", pa.string()),
        pa.field("by", pa.string()),
        pa.field("at", TIME),
    ]
)

TABLES: Final[dict[str, pa.Schema]] = {
    "dead_letters": DEAD_LETTERS,
    "withdrawn": WITHDRAWN,
    "posts": POSTS,
    "windows": WINDOWS,
    "terms": TERMS,
    "ledger": LEDGER,
    "scores": SCORES_TABLE,
    "corrections": CORRECTIONS,
}

STREAMED: Final = ("dead_letters", "withdrawn", "posts", "windows", "terms", "ledger")
"""The tables that a pipeline fills, in the order in which a batch is committed to them."""


def conform(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Select the columns of `schema` by name and cast them to its types; other columns are left out.

    Raises SchemaError when a column is missing or cannot be cast without loss. Nothing downstream may rely on
    the order of columns: Spark assigns by position and would swap two strings without a word.
    """
    arrays = []
    for field in schema:
        index = batch.schema.get_field_index(field.name)
        if index < 0:
            raise SchemaError(f"a batch lacks the column {field.name!r}: it has {', '.join(batch.schema.names)}")
        array = batch.column(index)
        if array.type != field.type:
            try:
                array = array.cast(field.type)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise SchemaError(
                    f"the column {field.name!r} came as {array.type} and cannot become {field.type}: {error}"
                ) from error
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def records(rows: list[dict[str, object]], schema: pa.Schema = RECORD) -> pa.RecordBatch:
    """Rows as dictionaries to a batch; a key that is absent becomes null, one that is unknown is an error."""
    names = set(schema.names)
    for row in rows:
        if not names.issuperset(row):
            raise SchemaError(f"unknown columns {sorted(set(row) - names)}; known are {', '.join(schema.names)}")
    return pa.RecordBatch.from_pylist(rows, schema=schema)


def empty(schema: pa.Schema = RECORD) -> pa.RecordBatch:
    """A batch of no rows: what a source yields as a heartbeat."""
    return pa.RecordBatch.from_pylist([], schema=schema)
