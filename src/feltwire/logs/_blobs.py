"""Records as one blob: an Arrow IPC record batch message, without its schema, as a Zstandard frame.

Of 1,000 posts that take 331 bytes each in memory, the frame takes 82 bytes a post and is made at 2 million posts a
second on one core; lz4 takes 121 and is twice as fast; Arrow's own compression, column by column, 73 and a third as
fast, and for a batch of five posts 800 against 190 bytes a post.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
import pyarrow as pa

from feltwire.schema import conform

MAX_ROWS: Final = 4096  # of one blob
MAX_BYTES: Final = 16 * 2**20  # of one blob before compression, unless it is a single record


def cut(records: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """The records in pieces of blob size."""
    rows = records.num_rows
    step = max(1, min(MAX_ROWS, MAX_BYTES * rows // max(1, records.nbytes)))
    for start in range(0, rows, step):
        yield records.slice(start, step)


def encode(records: pa.RecordBatch) -> tuple[bytes, int]:
    """The blob, and its size before compression."""
    message = records.serialize()
    return pa.compress(message, codec="zstd", asbytes=True), message.size


def decode(blob: bytes, size: int, written: pa.Schema, wanted: pa.Schema) -> pa.RecordBatch:
    """The records of a blob that was written by the schema `written`, with the columns of `wanted`.

    A column that did not exist yet is null. Raises SchemaError when one has changed its type beyond a cast.
    """
    message = pa.decompress(blob, decompressed_size=size, codec="zstd")
    records = pa.ipc.read_record_batch(message, written)
    if written.equals(wanted):
        return records
    for field in wanted:
        if written.get_field_index(field.name) < 0:
            records = records.append_column(field, pa.nulls(records.num_rows, field.type))
    return conform(records, wanted)


def place(records: pa.RecordBatch, partition: int, first_offset: int, schema: pa.Schema) -> pa.RecordBatch:
    """The records with their log partition and offsets, `schema` being that of the result."""
    rows = records.num_rows
    offsets = np.arange(first_offset, first_offset + rows, dtype=np.int64)
    columns = [pa.repeat(pa.scalar(partition, pa.int32()), rows), pa.array(offsets)]
    return pa.RecordBatch.from_arrays([*records.columns, *columns], schema=schema)
