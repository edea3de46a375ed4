"""Records as messages of a topic: a JSON object each, its null members left out, times in ISO 8601.

One record a message, so that a log offset is a Kafka offset and any tool can read the topic. The way back goes through
Arrow's own JSON reader, whole batches at a time.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import repeat
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from feltwire.logs._decoders import Decoder, Message
from feltwire.logs._intake import RECEIVED
from feltwire.schema import DUPLICATE, LOGGED, RECORD, TIME, conform, empty

MAX_MESSAGE_BYTES: Final = 16 * 2**20  # the topic's limit; the longest text takes 0.4 MB, `raw` may take more

_KINDS: Final = pa.array([*RECEIVED, DUPLICATE])
_TYPES: Final = {
    pa.string(): str, pa.bool_(): bool, pa.int64(): int, TIME: str, pa.list_(pa.string()): list
}  # fmt: skip
_Record: Final = msgspec.defstruct(
    "Record", [(field.name, _TYPES[field.type] | None, None) for field in RECORD], omit_defaults=True
)
_encode: Final = msgspec.json.Encoder().encode
_PARSING: Final = pyarrow.json.ParseOptions(
    explicit_schema=RECORD, newlines_in_values=False, unexpected_field_behavior="ignore"
)


class Fetched(NamedTuple):
    """Messages of one partition, in order."""

    values: list[bytes | None]
    keys: list[bytes | None]
    offsets: list[int]
    times_ms: list[int]  # since 1970, when each was produced or appended; -1: the topic does not say


class Place(NamedTuple):
    """A partition of a topic, this by its identity."""

    topic: str
    partition: int


def to_messages(records: pa.RecordBatch) -> list[tuple[bytes | None, bytes]]:
    """(key, value) for each record of `schema.RECORD`; a post, its edits and its withdrawal have one key."""
    made = list(map(_Record, *(_values(column) for column in records.columns)))
    values = [_encode(record) for record in made]
    for i, value in enumerate(values):
        if len(value) > MAX_MESSAGE_BYTES // 2:  # `raw` is a convenience, and nothing else grows so large
            values[i] = _encode(msgspec.structs.replace(made[i], raw=None))
    keys = pc.coalesce(records["id"], records["source"]).cast(pa.binary()).to_pylist()
    return list(zip(keys, values, strict=True))


def from_messages(fetched: Fetched, decoder: Decoder, place: Place) -> pa.RecordBatch:
    """Messages as `schema.LOGGED`. What Feltwire did not write itself is read by `decoder`."""
    if not fetched.values:
        return empty(LOGGED)
    records = _parsed(fetched.values)
    known = _ours(records)
    if not known.all():
        records = _mend(records, known, fetched, partial(_foreign, decoder=decoder, place=place))
    return placed(records, place.partition, np.asarray(fetched.offsets, dtype=np.int64))


def decoded(fetched: Fetched, decoder: Decoder, place: Place) -> pa.RecordBatch:
    """Messages of a topic that others fill as `schema.LOGGED`, stamped with the topic's own times."""
    if not fetched.values:
        return empty(LOGGED)
    records = _foreign(fetched, range(len(fetched.values)), decoder, place)
    return placed(records, place.partition, np.asarray(fetched.offsets, dtype=np.int64))


def placed(records: pa.RecordBatch, partition: int, offsets: npt.NDArray[np.int64]) -> pa.RecordBatch:
    """Records with their places."""
    columns = [pa.repeat(pa.scalar(partition, pa.int32()), records.num_rows), pa.array(offsets)]
    return pa.RecordBatch.from_arrays([*records.columns, *columns], schema=LOGGED)


def _values(column: pa.Array) -> Any:
    """A column as Python values, times as text. By way of NumPy, which is several times as fast as `to_pylist`."""
    if column.null_count == len(column):
        return repeat(None, len(column))
    if pa.types.is_timestamp(column.type):
        plain = column.cast(pa.timestamp("us")).cast(pa.string())
        column = pc.binary_join_element_wise(pc.utf8_replace_slice(plain, 10, 11, "T"), "Z", "")
    if pa.types.is_list(column.type):
        return _lists(column)
    if pa.types.is_string(column.type) or not column.null_count:
        return column.to_numpy(zero_copy_only=False).tolist()
    return column.to_pylist()


def _lists(column: pa.Array) -> list[list[str | None] | None]:
    flat = column.flatten().to_numpy(zero_copy_only=False).tolist()
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    ends = np.cumsum(lengths)
    starts, stops, known = (ends - lengths).tolist(), ends.tolist(), column.is_valid().to_pylist()
    return [flat[a:b] if valid else None for a, b, valid in zip(starts, stops, known, strict=True)]


def _parsed(values: Sequence[bytes | None]) -> pa.RecordBatch:
    """The values as `schema.RECORD`; one that is no JSON object of these types becomes a row of nulls."""
    lines = [value if value and b"\n" not in value else b"{}" for value in values]
    block = b"\n".join(lines)
    try:
        reading = pyarrow.json.ReadOptions(use_threads=False, block_size=len(block) + 1)
        table = pyarrow.json.read_json(pa.BufferReader(block), read_options=reading, parse_options=_PARSING)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
        table = None
    if table is not None and table.num_rows == len(lines):
        batches = table.combine_chunks().to_batches()
        return conform(batches[0], RECORD) if batches else empty(RECORD)
    if len(lines) == 1:
        return pa.RecordBatch.from_pylist([{}], schema=RECORD)
    middle = len(lines) // 2
    return pa.concat_batches([_parsed(lines[:middle]), _parsed(lines[middle:])])


def _ours(records: pa.RecordBatch) -> npt.NDArray[np.bool_]:
    """Which rows Feltwire wrote: they have a kind, and the stamp that only a log gives."""
    ours = pc.and_(pc.is_in(records["kind"], value_set=_KINDS), records["ingested_at"].is_valid())
    return np.asarray(ours.to_numpy(zero_copy_only=False), dtype=np.bool_)


def _mend(
    records: pa.RecordBatch,
    known: npt.NDArray[np.bool_],
    fetched: Fetched,
    read: Callable[[Fetched, Sequence[int]], pa.RecordBatch],
) -> pa.RecordBatch:
    """The records with those that others wrote between ours, as `read` makes them."""
    others = np.flatnonzero(~known)
    made = read(fetched, others.tolist())
    order = np.arange(len(known))
    order[others] = len(known) + np.arange(len(others))
    return pa.concat_batches([records, made]).take(pa.array(order))


def _foreign(fetched: Fetched, rows: Sequence[int], decoder: Decoder, place: Place) -> pa.RecordBatch:
    where = f"{place.topic}/{place.partition}/"
    records = decoder([Message(fetched.values[i], fetched.keys[i], f"{where}{fetched.offsets[i]}") for i in rows])
    times = pa.array([max(0, fetched.times_ms[i]) * 1000 for i in rows], pa.int64()).cast(TIME)
    column = RECORD.get_field_index("ingested_at")
    return records.set_column(column, RECORD.field(column), times)
