"""The aggregates of the Kinesis Producer Library: many user records in one Kinesis record.

Magic number, a protobuf message (proto2) `AggregatedRecord {repeated string partition_key_table = 1; repeated string
explicit_hash_key_table = 2; repeated Record records = 3}` with `Record {required uint64 partition_key_index = 1;
optional uint64 explicit_hash_key_index = 2; required bytes data = 3; repeated Tag tags = 4}`, and the MD5 of the
message: `aggregation-format.md` of awslabs/amazon-kinesis-producer; the wire format:
protobuf.dev/programming-guides/encoding.
"""

from collections.abc import Iterator
from hashlib import md5
from typing import Final, NamedTuple

MAGIC: Final = b"\xf3\x89\x9a\xc2"
_DIGEST_BYTES: Final = 16

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class UserRecord(NamedTuple):
    """What a producer gave to the library."""

    key: str  # its partition key
    data: bytes


class NoAggregateError(ValueError):
    """The bytes begin as an aggregate and are none: cut off, or not what their checksum says."""


def is_aggregate(data: bytes) -> bool:
    """Whether the bytes begin as an aggregate does."""
    return data.startswith(MAGIC)


def user_records(data: bytes) -> list[UserRecord]:
    """The user records of an aggregate, in order. Raises NoAggregateError."""
    message, digest = data[len(MAGIC) : -_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if len(data) < len(MAGIC) + _DIGEST_BYTES or not is_aggregate(data):
        raise NoAggregateError("too short for an aggregate")
    if md5(message, usedforsecurity=False).digest() != digest:
        raise NoAggregateError("its checksum does not fit")
    keys: list[str] = []
    records: list[bytes] = []
    for field, value in _fields(message):
        if field == 1 and isinstance(value, bytes):
            keys.append(value.decode("utf-8", "replace"))
        elif field == 3 and isinstance(value, bytes):
            records.append(value)
    return [_user_record(record, keys) for record in records]


def _user_record(message: bytes, keys: list[str]) -> UserRecord:
    index: int | None = None
    data: bytes | None = None
    for field, value in _fields(message):
        if field == 1 and isinstance(value, int):
            index = value
        elif field == 3 and isinstance(value, bytes):
            data = value
    if index is None or data is None or index >= len(keys):
        raise NoAggregateError("a user record lacks its data, or its key is not in the table")
    return UserRecord(keys[index], data)


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(number, value) of each field of a protobuf message; groups do not occur in proto2 messages of this kind."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        field, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            number, at = _varint(message, at)
            yield field, number
            continue
        if kind == _BYTES:
            size, at = _varint(message, at)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise NoAggregateError(f"a field of wire type {kind}")
        if at + size > len(message):
            raise NoAggregateError("a field is cut off")
        yield field, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """(value, place behind it) of a base-128 number, the lowest seven bits first; ten bytes at most."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise NoAggregateError("a number is cut off")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise NoAggregateError("a number of more than ten bytes")
