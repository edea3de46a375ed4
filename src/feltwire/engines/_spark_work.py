"""What an executor does: the pipeline over its span of the log, Parquet files of posts, and sums for the driver."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

import pyarrow as pa

from feltwire import metrics, schema
from feltwire.engines._spark_pieces import Span, read_pieces
from feltwire.engines._spark_wire import encode, failure
from feltwire.engines._work import Done, Settled, gap, work
from feltwire.errors import ModelBusyError
from feltwire.lake import Location
from feltwire.pipeline import Pipeline

_MOST_BYTES: Final = 64 * 2**20  # of records, which are worked on at a time


def work_on_span(
    batches: Iterable[pa.RecordBatch], *, pipeline: Pipeline, location: Location, settled: Mapping[int, Settled]
) -> Iterator[pa.RecordBatch]:
    """Work on one span of the log, which comes in `PIECES`; yields rows of `WIRE`.

    Several, one behind the other, where the span is large. A failure is a row as well: the driver decides by its type
    what follows, and Spark itself repeats only what has lost its process. A repeated task leaves files that no commit
    names.
    """
    pa.set_cpu_count(1)
    metrics.take_counts()  # what a task that was broken off has counted
    done: list[Done] = []
    try:
        spans: list[Span] = []
        pieces: list[pa.RecordBatch] = []
        for batch in batches:
            for span, records in read_pieces(batch):
                spans.append(span)
                pieces += [schema.conform(records, schema.LOGGED)] if records is not None else []
                if sum(piece.nbytes for piece in pieces) > _MOST_BYTES:
                    done.append(_work(pipeline, location, spans, pieces, settled))
                    spans, pieces = [], []
        if spans:
            done.append(_work(pipeline, location, spans, pieces, settled))
        yield from map(encode, done)
    except Exception as error:  # noqa: BLE001 - whatever failed, the driver is told, and not in a post's words
        yield failure(error)


def _work(
    pipeline: Pipeline,
    location: Location,
    spans: list[Span],
    pieces: list[pa.RecordBatch],
    settled: Mapping[int, Settled],
) -> Done:
    """Work on spans that follow each other. What has no records between them are gaps of the log."""
    whole = Span(spans[0].partition, spans[0].start, spans[-1].end)
    if not pieces:
        return gap(whole.partition, whole.start, whole.end)
    batch = pa.concat_batches(pieces)
    while True:
        try:
            done = work(pipeline, location, batch, settled.get(whole.partition, Settled()))
            return replace(done, start=whole.start, end=whole.end, counts=metrics.take_counts())
        except ModelBusyError:  # what it has answered is kept in this process alone
            continue
