"""What Bluesky's rows have in common: the source's name, refusals, and timestamp identifiers. No I/O."""

import re
from typing import Final, TypeAlias

import pyarrow as pa

from feltwire.sources import _records
from feltwire.sources._records import Row

NAME: Final = "bluesky"

FrameBytes: TypeAlias = bytes | bytearray

_is_tid: Final = re.compile(r"[2-7a-j][2-7a-z]{12}").fullmatch
_TID_DIGITS: Final = str.maketrans("234567abcdefghijklmnopqrstuvwxyz", "0123456789abcdefghijklmnopqrstuv")


def refused(frame: FrameBytes, reason: str) -> Row:
    """The refusal of a frame."""
    return _records.refusal(NAME, frame, reason)


def to_batch(rows: list[Row]) -> pa.RecordBatch:
    """Rows as a batch of `schema.RECORD`."""
    return _records.to_batch(NAME, rows)


def tid_number(tid: str) -> int | None:
    """A timestamp identifier (https://atproto.com/specs/tid) as the int64 that it writes; None if it is none.

    53 bits of microseconds since 1970, then 10 bits of a clock's number: later is larger.
    """
    return int(tid.translate(_TID_DIGITS), 32) if _is_tid(tid) else None


def tid_time_us(tid: str) -> int | None:
    """When a timestamp identifier was made, in microseconds since 1970; None if it is none."""
    number = tid_number(tid)
    return None if number is None else number >> 10
