"""What an executor does: the pipeline over its span of the log, Parquet files of posts, and sums for the driver."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

import pyarrow as pa

from feltwire import metrics, schema
from feltwire.engines._spark_mark import Span, read_mark
from feltwire.engines._spark_wire import encode, failure
from feltwire.engines._work import Done, Settled, gap, work
from feltwire.errors import ModelBusyError
from feltwire.lake import Location
from feltwire.pipeline import Pipeline

_MOST_BYTES: Final = 64 * 2**20  # of records, which are worked on at a time


def work_on_span(
    batches: Iterable[pa.RecordBatch], *, pipeline: Pipeline, location: Location, settled: Mapping[int, Settled]
) -> Iterator[pa.RecordBatch]:
    """Work on one span of the log, which ends with its mark; yields rows of `WIRE`.

    Several, one behind the other, where the span is large. A failure is a row as well: the driver decides by its type
    what follows, and Spark itself repeats only what has lost its process. A repeated task leaves files that no commit
    names.
    """
    pa.set_cpu_count(1)
    metrics.take_counts()  # what a task that was broken off has counted
    span = Span(-1, 0, 0)
    done: list[Done] = []
    try:
        pieces: list[pa.RecordBatch] = []
        ending: pa.RecordBatch | None = None
        for came in batches:
            batch = schema.conform(came, schema.LOGGED)
            if not batch.num_rows:
                continue
            if batch["kind"][-1].as_py() is None:
                ending, batch = batch.slice(batch.num_rows - 1), batch.slice(0, batch.num_rows - 1)
            pieces += [batch] if batch.num_rows else []
            if sum(piece.nbytes for piece in pieces) > _MOST_BYTES:
                done.append(_work(pipeline, location, pieces, settled))
                pieces = []
        if ending is None:  # a task without any record: Spark asked for none
            return
        span, error = read_mark(ending)
        if error:
            raise error
        if pieces or not done:
            done.append(
                _work(pipeline, location, pieces, settled) if pieces else gap(span.partition, span.start, span.end)
            )
        yield from (encode(each) for each in _joined(done, span))
    except Exception as error:  # noqa: BLE001 - whatever failed, the driver is told, and not in a post's words
        yield failure(span, error)


def _work(pipeline: Pipeline, location: Location, pieces: list[pa.RecordBatch], settled: Mapping[int, Settled]) -> Done:
    batch = pa.concat_batches(pieces)
    known = settled.get(batch["log_partition"][0].as_py(), Settled())
    while True:
        try:
            return replace(work(pipeline, location, batch, known), counts=metrics.take_counts())
        except ModelBusyError:  # what it has answered is kept in this process alone
            continue


def _joined(done: list[Done], span: Span) -> Iterator[Done]:
    """The same, one beginning where the other ends, over the whole span: what lies between are gaps of the log."""
    start = span.start
    for number, each in enumerate(done):
        end = span.end if number == len(done) - 1 else each.end
        yield replace(each, start=start, end=end)
        start = end
