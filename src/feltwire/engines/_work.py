"""What a worker does with a span of the log: run the pipeline, write the posts, return everything else.

Pure but for the Parquet files that it writes, which nobody sees until the driver commits them; so a span that is
worked on twice costs a file that vacuum removes, and no more. Runs in the engine's own thread, in a process beside
it, or in an executor of a cluster.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feltwire import metrics, schema, windows
from feltwire.errors import FeltwireError
from feltwire.lake.rewrite import file_schema
from feltwire.lake.storage import Location, Written
from feltwire.pipeline import Pipeline, dead_letters_of, posts_of, withdrawn_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Settled:
    """Up to `before`, an earlier run has committed its dead letters: which records they are is decided."""

    before: int = 0
    dead: frozenset[int] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Done:
    """A span of one log partition, worked on: what has to be committed for it."""

    partition: int
    start: int
    end: int
    written: tuple[Written, ...] = ()  # of `posts`
    rows: Mapping[str, pa.RecordBatch] = field(default_factory=dict)  # table: rows, of the other streamed tables
    records: int = 0
    kept: int = 0
    oldest: pa.TimestampScalar | None = None  # ingested_at of the first post
    counts: metrics.Counts = field(default_factory=dict)  # of the models, where they worked in another process
    seconds: float = field(default=0.0, compare=False)  # of work


def work(pipeline: Pipeline, location: Location, batch: pa.RecordBatch, settled: Settled) -> Done:
    """Work on consecutive records of one log partition (`schema.LOGGED`, at least one)."""
    began = time.perf_counter()
    result = keep_settled(run_safely(pipeline, batch), settled)
    posts = posts_of(result)
    written = tuple(write_posts(location, posts))
    rows = {
        "dead_letters": dead_letters_of(result),
        "withdrawn": withdrawn_of(result),
        "windows": windows.window_sums(posts),
        "terms": windows.term_sums(posts),
        "ledger": windows.ledger_sums(result),
    }
    return Done(
        partition=batch["log_partition"][0].as_py(),
        start=batch["log_offset"][0].as_py(),
        end=batch["log_offset"][-1].as_py() + 1,
        written=written,
        rows=rows,
        records=batch.num_rows,
        kept=posts.num_rows,
        oldest=posts["ingested_at"][0] if posts.num_rows else None,
        seconds=time.perf_counter() - began,
    )


def gap(partition: int, start: int, end: int) -> Done:
    """A span of a log partition in which there is no record: nothing to commit but that it is passed."""
    rows = {table: schema.empty(schema.TABLES[table]) for table in schema.STREAMED if table != "posts"}
    return Done(partition=partition, start=start, end=end, rows=rows)


def run_safely(pipeline: Pipeline, batch: pa.RecordBatch) -> pa.RecordBatch:
    """Run the pipeline; a record on which it fails even alone becomes a dead letter instead of stopping the stream.

    What may pass by itself (an unreachable model, a full disk, no memory) is raised.
    """
    try:
        return pipeline(batch)
    except (FeltwireError, OSError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever a hostile record provokes, it must not stop the stream
        if batch.num_rows == 1:
            logger.error("the pipeline failed on one record: %s", type(error).__name__)
            return _refused(batch, f"pipeline: {type(error).__name__}")
    middle = batch.num_rows // 2
    halves = [run_safely(pipeline, half) for half in (batch.slice(0, middle), batch.slice(middle))]
    wanted = max((half.schema for half in halves), key=len)
    return pa.concat_batches([schema.conform(half, wanted) for half in halves])


def _refused(record: pa.RecordBatch, reason: str) -> pa.RecordBatch:
    """One record as the pipeline would have given it, dead; withdrawals and repeats stay what they are.

    It has all that a row of `posts` must have, since `keep_settled` may keep it.
    """
    outcome = _OF_OTHERS.get(record["kind"][0].as_py(), schema.DEAD)
    day = pc.strftime(record["ingested_at"], format="%Y-%m-%d")
    columns = {name: record[name] for name in record.schema.names}
    columns |= {
        "outcome": pa.array([outcome], pa.string()),
        "refusal": pa.array([reason if outcome == schema.DEAD else None], pa.string()),
        "event_time": record["ingested_at"],
        "redated": pa.array([True]),
        "day": day,
        "tracks": pa.array([[]], schema.STRINGS),
        "scored": pa.array([False]),
        "truncated": pa.array([False]),
    }
    for column in [*schema.POSTS, pa.field("late", pa.bool_()), pa.field("clean_text", pa.string())]:
        columns.setdefault(column.name, pa.nulls(1, column.type))
    return pa.RecordBatch.from_pydict(columns)


_OF_OTHERS: Final[dict[str, str | None]] = {schema.WITHDRAWAL: None, schema.DUPLICATE: schema.DUPLICATE}


def write_posts(location: Location, posts: pa.RecordBatch) -> list[Written]:
    """Write posts, all of one log partition, one file for each day."""
    wanted = file_schema("posts")
    written = []
    for day in pc.unique(posts["day"]).to_pylist():
        rows = schema.conform(posts.filter(pc.equal(posts["day"], day)), wanted)
        written.append(location.write("posts", [rows], wanted, f"day={day}/"))
    return written


def keep_settled(result: pa.RecordBatch, settled: Settled) -> pa.RecordBatch:
    """Make a second run agree with the dead letters that a first one committed before it was stopped.

    A model or a remote scorer does not repeat its failures. What is a dead letter stays one; what was none then
    and fails now is kept without a score.
    """
    offsets = result["log_offset"].to_numpy()
    decided = offsets < settled.before
    if not decided.any():
        return result
    is_dead = pc.fill_null(pc.equal(result["outcome"], schema.DEAD), False).to_numpy(zero_copy_only=False)
    was_dead = np.isin(offsets, np.fromiter(settled.dead, np.int64, len(settled.dead)))
    outcome = pc.if_else(pa.array(decided & was_dead), schema.DEAD, result["outcome"])
    outcome = pc.if_else(pa.array(decided & is_dead & ~was_dead), schema.KEPT, outcome)
    return result.set_column(result.schema.get_field_index("outcome"), "outcome", outcome)
