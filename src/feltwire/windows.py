"""Aggregates are sums, and sums add: what a batch of posts contributes to `windows`, `terms` and `ledger`.

All functions are pure. Because counts are integers and probabilities are multiples of 2**-20 (`schema`), partial
sums may be merged in any order and grouping and give the same numbers to the last bit; a withdrawal adds the
negative of what its post contributed.
"""

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from feltwire import schema
from feltwire.errors import ConfigError

LATE: Final = timedelta(minutes=5)  # behind its arrival by more than this, a post counts as late
MAX_TERM_CHARS: Final = 100

_DOMAIN: Final = r"^(?i:[a-z][a-z0-9+.-]*://)?(?:[^/?#@]*@)?(?i:www\.)?(?P<domain>[^/?#:]+).*$"
_EVERY: Final = re.compile(r"(\d*)\s*(min|minutes?|m|hours?|h|days?|d|weeks?|w)")
_UNIT_MINUTES: Final = {"m": 1, "h": 60, "d": 1440, "w": 10_080}


def window_sums(posts: pa.RecordBatch) -> pa.RecordBatch:
    """Sums by minute, track, source and language, as `schema.WINDOWS`; a post counts once in each of its tracks.

    `posts` needs the columns event_time, tracks, source, lang, scored, sentiment and the four p_.
    """
    rows, tracks = _explode_tracks(posts)
    columns = _keys(posts, rows, tracks)
    ones = pa.repeat(pa.scalar(1, pa.int64()), len(rows))
    columns["n"] = ones
    columns["n_scored"] = pc.cast(pc.take(pc.fill_null(posts["scored"], False), rows), pa.int64())
    sentiment = pc.take(posts["sentiment"], rows)
    for label in schema.SENTIMENTS:
        columns[f"n_{label}"] = _count(sentiment, label)
        p = pc.cast(pc.fill_null(posts[f"p_{label}"], 0.0), pa.float64())
        columns[f"sum_p_{label}"] = pc.take(p, rows)
    return merge([pa.RecordBatch.from_pydict(columns)], schema.WINDOWS)


def term_sums(posts: pa.RecordBatch) -> pa.RecordBatch:
    """Counts by minute, track, source, language, kind and term, as `schema.TERMS`.

    A term counts once a post, however often the post has it. Needs the columns of `window_sums` and hashtags,
    links, emoji_used, emoji, entities, category and emotion.
    """
    owners, kinds, terms = _post_terms(posts)
    if not len(terms):
        return schema.empty(schema.TERMS)
    # From (post, term) to (post in a track, term): every post has as many tracks as its list is long, and `*`.
    track_counts = pc.add(pc.cast(pc.fill_null(pc.list_value_length(posts["tracks"]), 0), pa.int64()), 1)
    if pc.max(track_counts).as_py() == 1:
        rows, tracks = owners, pa.repeat(schema.ALL_TRACKS, len(owners))
    else:
        rows, tracks, picked = _cross_with_tracks(posts, owners)
        kinds, terms = pc.take(kinds, picked), pc.take(terms, picked)
    columns = _keys(posts, rows, tracks)
    sentiment = pc.take(posts["sentiment"], rows)
    columns |= {
        "kind": kinds,
        "term": terms,
        "n": pa.repeat(pa.scalar(1, pa.int64()), len(rows)),
        "n_negative": _count(sentiment, "negative"),
        "n_positive": _count(sentiment, "positive"),
    }
    return merge([pa.RecordBatch.from_pydict(columns)], schema.TERMS)


def post_terms(posts: pa.RecordBatch) -> pa.Table:
    """(row, kind, term) of every different term of every post, as `term_sums` counts them; `row` counts from 0.

    `posts` needs the columns hashtags, links, emoji_used, emoji, entities, category and emotion.
    """
    return pa.table(dict(zip(("row", "kind", "term"), _post_terms(posts), strict=True)))


def ledger_sums(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The account of a batch of the pipeline's output, as `schema.LEDGER`.

    Needs the columns ingested_at, source, log_partition, kind, outcome, scored, late and redated.
    """
    outcome, kind = batch["outcome"], batch["kind"]
    kept = _is(outcome, schema.KEPT)
    flags = {
        "received": pc.is_valid(outcome),
        "kept": kept,
        "duplicate": _is(outcome, schema.DUPLICATE),
        "filtered": _is(outcome, schema.FILTERED),
        "dead": _is(outcome, schema.DEAD),
        "edited": _is(kind, schema.EDIT),
        "withdrawn": _is(kind, schema.WITHDRAWAL),
        "unscored": pc.and_not(kept, pc.fill_null(batch["scored"], False)),
        "late": pc.and_(kept, pc.fill_null(batch["late"], False)),
        "redated": pc.and_(kept, pc.fill_null(batch["redated"], False)),
    }
    columns = {
        "minute": pc.floor_temporal(batch["ingested_at"], unit="minute"),
        "source": batch["source"],
        "log_partition": batch["log_partition"],
        **{name: pc.cast(flag, pa.int64()) for name, flag in flags.items()},
    }
    return merge([pa.RecordBatch.from_pydict(columns)], schema.LEDGER)


def merge(batches: Sequence[pa.RecordBatch], sums_schema: pa.Schema) -> pa.RecordBatch:
    """Add up batches of sums by their keys; groups whose every sum is zero vanish.

    `sums_schema` is WINDOWS, TERMS or LEDGER: the leading columns that are no sums are the keys.
    """
    table = pa.Table.from_batches([schema.conform(batch, sums_schema) for batch in batches], schema=sums_schema)
    keys, sums = keys_of(sums_schema), sums_of(sums_schema)
    grouped = table.group_by(keys, use_threads=False).aggregate([(name, "sum") for name in sums])
    grouped = grouped.rename_columns(
        [name.removesuffix("_sum") if name not in keys else name for name in grouped.column_names]
    )
    alive = pc.not_equal(grouped[sums[0]], 0)
    for name in sums[1:]:
        alive = pc.or_(alive, pc.not_equal(grouped[name], 0))
    return schema.conform(_one_batch(grouped.filter(alive)), sums_schema)


def negate(sums: pa.RecordBatch, sums_schema: pa.Schema) -> pa.RecordBatch:
    """The same keys with every sum negated: what takes a withdrawn post out again."""
    names = set(sums_of(sums_schema))
    arrays = [pc.negate(sums[field.name]) if field.name in names else sums[field.name] for field in sums_schema]
    return pa.RecordBatch.from_arrays(arrays, schema=sums_schema)


def keys_of(sums_schema: pa.Schema) -> list[str]:
    """The columns that a row of sums is summed by."""
    return [field.name for field in sums_schema if field.name not in _SUM_NAMES]


def sums_of(sums_schema: pa.Schema) -> list[str]:
    """The columns of a row of sums that add."""
    return [field.name for field in sums_schema if field.name in _SUM_NAMES]


_SUM_NAMES: Final = frozenset({*schema.SUMS, *schema.P_SUMS, *schema.LEDGER_COUNTS})


def parse_every(text: str) -> int:
    """The length of a window in minutes, from `15min`, `1h`, `1 day`, `2w`. Raises ConfigError."""
    found = _EVERY.fullmatch(text.strip().lower())
    minutes = int(found[1] or 1) * _UNIT_MINUTES[found[2][0]] if found else 0
    if not 1 <= minutes <= 525_600:
        raise ConfigError(f"{text!r} is no window length: write a number and min, h, d or w, such as 15min or 1d")
    return minutes


def _is(values: pa.Array, wanted: str) -> pa.Array:
    return pc.fill_null(pc.equal(values, wanted), False)


def _count(values: pa.Array, wanted: str) -> pa.Array:
    return pc.cast(_is(values, wanted), pa.int64())


def _one_batch(table: pa.Table) -> pa.RecordBatch:
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)


def _keys(posts: pa.RecordBatch, rows: pa.Array, tracks: pa.Array) -> dict[str, pa.Array]:
    return {
        "minute": pc.take(pc.floor_temporal(posts["event_time"], unit="minute"), rows),
        "track": tracks,
        "source": pc.take(posts["source"], rows),
        "lang": pc.take(posts["lang"], rows),
    }


def _explode_tracks(posts: pa.RecordBatch) -> tuple[pa.Array, pa.Array]:
    """(row, track) for every post and track, `*` first."""
    every = pa.array(range(posts.num_rows), pa.int64())
    rows, tracks = _flatten(posts["tracks"])
    stars = pa.repeat(schema.ALL_TRACKS, posts.num_rows)
    return pa.concat_arrays([every, rows]), pa.concat_arrays([stars, tracks])


def _flatten(lists: pa.Array) -> tuple[pa.Array, pa.Array]:
    """(row, value) for every value of a list column."""
    return pc.cast(pc.list_parent_indices(lists), pa.int64()), pc.list_flatten(lists)


def _cross_with_tracks(posts: pa.RecordBatch, owners: pa.Array) -> tuple[pa.Array, pa.Array, pa.Array]:
    """(row, track, index into owners) for each owner row repeated for each of its tracks and `*`."""
    with_track = pa.table({"row": pa.array(range(posts.num_rows), pa.int64())})
    rows, tracks = _explode_tracks(posts)
    with_track = pa.table({"row": rows, "track": tracks})
    left = pa.table({"row": owners, "picked": pa.array(range(len(owners)), pa.int64())})
    joined = left.join(with_track, keys="row", join_type="inner", use_threads=False)
    return tuple(joined[name].combine_chunks() for name in ("row", "track", "picked"))


def _post_terms(posts: pa.RecordBatch) -> tuple[pa.Array, pa.Array, pa.Array]:
    """(row, kind, term) for every distinct term of every post."""
    every = pa.array(range(posts.num_rows), pa.int64())
    link_rows, links = _flatten(posts["links"])
    emoji_rows, emoji = _flatten(posts["emoji"])
    entity_rows, entities = _flatten(posts["entities"])
    found = {
        "hashtag": _flatten(posts["hashtags"]),
        "entity": (entity_rows, pc.struct_field(entities, "text")),
        "domain": (link_rows, pc.utf8_lower(pc.struct_field(pc.extract_regex(links, _DOMAIN), "domain"))),
        "category": (every, posts["category"]),
        "emotion": (every, posts["emotion"]),
        "emoji_used": _flatten(posts["emoji_used"]),
        "emoji": (emoji_rows, pc.struct_field(emoji, "emoji")),
    }
    table = (
        pa.concat_tables(
            pa.table({"row": rows, "kind": pa.repeat(kind, len(rows)), "term": pc.cast(terms, pa.string())})
            for kind, (rows, terms) in found.items()
            if len(terms) > terms.null_count
        )
        if any(len(terms) > terms.null_count for _, terms in found.values())
        else None
    )
    if table is None:
        return every[:0], pa.array([], pa.string()), pa.array([], pa.string())
    table = table.set_column(2, "term", pc.utf8_slice_codeunits(table["term"], 0, MAX_TERM_CHARS))
    table = table.filter(pc.fill_null(pc.not_equal(table["term"], ""), False))
    table = table.group_by(["row", "kind", "term"], use_threads=False).aggregate([]).combine_chunks()
    return tuple(table[name].combine_chunks() for name in ("row", "kind", "term"))
