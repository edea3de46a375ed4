"""What stands in a Kinesis record: our own envelope of many records, or what others put there.

An envelope is a magic number, who wrote it and the how manieth of his it is, the log partition, and the records as a
Zstandard frame around an Arrow IPC stream. Others give one post, a JSON array of posts, or an aggregate of the
Kinesis Producer Library with either in each user record. How many log records a Kinesis record holds depends on its
bytes alone: offsets are counted by it.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import zstandard

from feltwire.errors import SchemaError
from feltwire.logs import _kpl
from feltwire.logs._decoders import Decoder, Message
from feltwire.recent import NO_ID, hashes
from feltwire.schema import DUPLICATE, RECORD, REFUSAL, TIME, conform, records

MAX_BYTES: Final = 1_000_000  # of a Kinesis record that we write; the service takes 1 MiB, the partition key included
MAX_UNPACKED: Final = 256 * 2**20  # bytes of an envelope's records: what claims more is refused
PARTITION_KEY: Final = "feltwire"  # where a record goes is said by its explicit hash key

_MAGIC: Final = b"\xf7FWK1"
_HEADER: Final = struct.Struct(">16sQi")
_ARRAY: Final = msgspec.json.Decoder(list[msgspec.Raw])
_BARE: Final = frozenset({"kind", "source", "ingested_at"})


class Envelope(NamedTuple):
    """The head of a Kinesis record that Feltwire wrote."""

    writer: str
    number: int  # grows with each of this writer's
    partition: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Raw:
    """A record as GetRecords gives it."""

    shard: str
    sequence: str
    data: bytes
    key: str
    arrived_at: datetime


def seal(batch: pa.RecordBatch, *, writer: bytes, number: int, partition: int) -> bytes:
    """The bytes of an envelope; `writer` has 16 bytes."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    packed = zstandard.ZstdCompressor(level=3, write_checksum=True).compress(sink.getvalue())
    return _MAGIC + _HEADER.pack(writer, number, partition) + packed


def envelope(data: bytes) -> Envelope | None:
    """The head of an envelope; None: somebody else wrote it."""
    if not data.startswith(_MAGIC) or len(data) < len(_MAGIC) + _HEADER.size:
        return None
    writer, number, partition = _HEADER.unpack_from(data, len(_MAGIC))
    return Envelope(writer.hex(), number, partition, data[len(_MAGIC) + _HEADER.size :])


def opened(head: Envelope, raw: Raw, source: str) -> pa.RecordBatch:
    """The records of an envelope (`schema.RECORD`); a refusal where they cannot be read."""
    try:
        size = zstandard.frame_content_size(head.body)
        if not 0 <= size <= MAX_UNPACKED:
            raise SchemaError(f"{size} bytes")
        content = zstandard.ZstdDecompressor().decompress(head.body)
        with pa.ipc.open_stream(content) as stream:
            table = stream.read_all()
        table.validate(full=True)
        batch = _with_all_columns(table.combine_chunks())
    except (zstandard.ZstdError, pa.ArrowException, SchemaError, OSError, ValueError, KeyError) as error:
        batch = _refused(raw, source, f"an envelope that cannot be opened: {type(error).__name__}")
    return _stamped(batch, raw.arrived_at) if batch["ingested_at"].null_count else batch


def decode(raws: Sequence[Raw], decoder: Decoder, source: str) -> list[pa.RecordBatch]:
    """The records of what others wrote, one batch of at least one row a Kinesis record, stamped with its arrival.

    What repeats itself within one Kinesis record is a bare record of kind `duplicate`.
    """
    messages: list[Message] = []
    spans: list[tuple[int, int]] = []
    faults: dict[int, str] = {}
    for i, raw in enumerate(raws):
        found, fault = _messages(raw)
        if fault is not None:
            faults[i] = fault
        spans.append((len(messages), len(found)))
        messages += found
    decoded = decoder(messages)
    result = []
    for i, (raw, (start, n)) in enumerate(zip(raws, spans, strict=True)):
        batch = _refused(raw, source, faults[i]) if i in faults else decoded.slice(start, n)
        result.append(_stamped(_without_repeats(batch), raw.arrived_at))
    return result


def to_raw(shard: str, record: Mapping[str, Any]) -> Raw:
    """One of the `Records` of GetRecords."""
    return Raw(
        shard,
        str(record["SequenceNumber"]),
        bytes(record["Data"]),
        str(record.get("PartitionKey", "")),
        record["ApproximateArrivalTimestamp"],
    )


def _messages(raw: Raw) -> tuple[list[Message], str | None]:
    """The single posts in a Kinesis record, and what is wrong with it as a whole."""
    place = f"{raw.shard}/{raw.sequence}"
    if not _kpl.is_aggregate(raw.data):
        return list(_posts(raw.data, raw.key, place)), None
    try:
        users = _kpl.user_records(raw.data)
    except _kpl.NoAggregateError as error:
        return [], f"an aggregate of the Kinesis Producer Library that cannot be read: {error}"
    found = [post for i, user in enumerate(users) for post in _posts(user.data, user.key, f"{place}/{i}")]
    return (found, None) if found else ([], "an aggregate of the Kinesis Producer Library without a record")


def _posts(data: bytes, key: str, place: str) -> Iterator[Message]:
    """The elements of a JSON array, or the data as it is; never nothing."""
    encoded = key.encode("utf-8", "replace")
    if data.lstrip()[:1] == b"[":
        try:
            elements = _ARRAY.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            elements = []  # told by the decoder
        if elements:
            yield from (Message(bytes(one), encoded, f"{place}/{i}") for i, one in enumerate(elements))
            return
    yield Message(data, encoded, place)


def _refused(raw: Raw, source: str, why: str) -> pa.RecordBatch:
    key = f"{source}:{raw.shard}/{raw.sequence}"
    payload = raw.data[:1024].decode("utf-8", "replace")
    return records([{"kind": REFUSAL, "id": key, "source": source, "refusal": why, "payload": payload}])


def _stamped(batch: pa.RecordBatch, at: datetime) -> pa.RecordBatch:
    index = RECORD.get_field_index("ingested_at")
    return batch.set_column(index, RECORD.field(index), pa.repeat(pa.scalar(at, TIME), batch.num_rows))


def _without_repeats(batch: pa.RecordBatch) -> pa.RecordBatch:
    if batch.num_rows < 2:
        return batch
    keys = hashes(batch)
    first = np.zeros(len(keys), dtype=np.bool_)
    first[np.unique(keys, return_index=True)[1]] = True
    again = pa.array(~first & (keys != NO_ID))
    if not pc.any(again).as_py():
        return batch
    columns = []
    for field in RECORD:
        column = batch[field.name]
        if field.name == "kind":
            column = pc.if_else(again, DUPLICATE, column)
        elif field.name not in _BARE:
            places = pa.array(np.arange(batch.num_rows), mask=again.to_numpy(zero_copy_only=False))
            column = column.take(places)
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, schema=RECORD)


def _with_all_columns(table: pa.Table) -> pa.RecordBatch:
    """The one batch of a table with the columns of a record; one that did not exist when it was written is null."""
    batches = table.to_batches()
    if len(batches) != 1 or not batches[0].num_rows:
        raise SchemaError("an envelope without records")
    batch = batches[0]
    if batch.schema.equals(RECORD):
        return batch
    for field in RECORD:
        if batch.schema.get_field_index(field.name) < 0:
            batch = batch.append_column(field, pa.nulls(batch.num_rows, field.type))
    return conform(batch, RECORD)
