"""Reading a topic that others fill: through a decoder, repeats within a block of offsets made bare.

Blocks lie at fixed offsets, so that a record is a repeat, or is none, however it is read: in one go, in small bites, or
again after a crash.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feltwire.logs._decoders import Decoder
from feltwire.logs._kafka_read import PartitionReader
from feltwire.logs._kafka_records import Place, decoded
from feltwire.recent import NO_ID, Hashes, hashes
from feltwire.schema import DUPLICATE, LOGGED, empty

BLOCK: Final = 8_192  # offsets within which a repeat is recognised

_KEPT: Final = frozenset({"source", "ingested_at", "log_partition", "log_offset"})  # of a repeat


class ForeignReader:
    """Reads one partition of such a topic. Used by one thread at a time."""

    def __init__(self, reader: PartitionReader, decoder: Decoder, place: Place) -> None:
        self._reader = reader
        self._decoder = decoder
        self._place = place
        self._next = -1  # up to here the hashes of its block are known
        self._seen: Hashes = np.empty(0, dtype=np.uint64)

    def read(self, after: int, first: int, end: int, max_rows: int) -> pa.RecordBatch:
        """At most `max_rows` records of `schema.LOGGED` from `after` on, of one block; empty at `end` only.

        `first` is the oldest offset that is kept: a block that begins before it begins there.
        """
        while after < end and max_rows > 0:
            begin, stop = after // BLOCK * BLOCK, min(end, after // BLOCK * BLOCK + BLOCK)
            if after == begin:
                self._forget()
            elif after != self._next:
                self._forget()
                self._go_over(max(begin, first), after)
            records, self._next = self._fetch(after, stop, max_rows)
            if records.num_rows:
                return self._bare(records)
            after = self._next
        return empty(LOGGED)

    def close(self) -> None:
        """Close the client."""
        self._reader.close()

    def _go_over(self, start: int, stop: int) -> None:
        """Take in what stands in the block before the place where reading begins."""
        while start < stop:
            records, start = self._fetch(start, stop, BLOCK)
            self._bare(records)

    def _fetch(self, after: int, stop: int, max_rows: int) -> tuple[pa.RecordBatch, int]:
        fetched, reached = self._reader.read(after, stop, max_rows)
        while fetched.offsets and fetched.offsets[-1] >= stop:  # the client goes on to the next record behind a gap
            reached = stop
            for column in fetched:
                column.pop()
        return decoded(fetched, self._decoder, self._place), min(reached, stop)

    def _bare(self, records: pa.RecordBatch) -> pa.RecordBatch:
        found = hashes(records)
        every = np.concatenate([self._seen, found])
        fresh = np.zeros(len(every), dtype=np.bool_)
        fresh[np.unique(every, return_index=True)[1]] = True
        repeated = ~(fresh | (every == NO_ID))[len(self._seen) :]
        self._seen = every
        return bare(records, repeated) if repeated.any() else records

    def _forget(self) -> None:
        self._seen = self._seen[:0]


def bare(records: pa.RecordBatch, repeated: npt.NDArray[np.bool_]) -> pa.RecordBatch:
    """The records with the repeats among them as bare `duplicate` records."""
    mask = pa.array(repeated)
    columns = []
    for field, column in zip(records.schema, records.columns, strict=True):
        if field.name == "kind":
            columns.append(pc.if_else(mask, DUPLICATE, column))
        elif field.name in _KEPT:
            columns.append(column)
        else:
            columns.append(column.take(pa.array(np.arange(len(column)), mask=repeated)))
    return pa.RecordBatch.from_arrays(columns, schema=records.schema)
