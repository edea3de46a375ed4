"""Records of Bluesky in the making: a row a post, an edit, a withdrawal or a refusal, and rows as a batch. No I/O."""

import re
from hashlib import sha256
from typing import Final, NamedTuple, TypeAlias

import pyarrow as pa

from feltwire import schema, times

NAME: Final = "bluesky"

FrameBytes: TypeAlias = bytes | bytearray

_is_tid: Final = re.compile(r"[2-7a-j][2-7a-z]{12}").fullmatch
_TID_DIGITS: Final = str.maketrans("234567abcdefghijklmnopqrstuvwxyz", "0123456789abcdefghijklmnopqrstuv")


class Row(NamedTuple):
    """A record of `schema.RECORD` without its constant columns; `created_at` is still text."""

    kind: str
    id: str | None = None
    revision: int = 0
    author_id: str | None = None
    text: str | None = None
    lang: str | None = None
    created_at: str | None = None
    conversation_id: str | None = None
    reply_to_id: str | None = None
    quote_of_id: str | None = None
    url: str | None = None
    hashtags: list[str] | None = None
    mentions: list[str] | None = None
    links: list[str] | None = None
    raw: str | None = None
    refusal: str | None = None
    payload: str | None = None


def refused(frame: FrameBytes, reason: str) -> Row:
    """The refusal of a frame. Its id is made of the frame's bytes, so that a replay repeats it."""
    payload = bytes(frame[: 4 * schema.MAX_PAYLOAD_CHARS]).decode("utf-8", "replace")
    return Row(
        schema.REFUSAL,
        f"{NAME}:{sha256(frame).hexdigest()[:32]}",
        refusal=reason[:500],
        payload=payload[: schema.MAX_PAYLOAD_CHARS].replace("\0", "\ufffd"),
    )


def to_batch(rows: list[Row]) -> pa.RecordBatch:
    """Rows as a batch of `schema.RECORD`."""
    given = dict(zip(Row._fields, zip(*rows, strict=True), strict=True)) if rows else {}
    arrays = []
    for field in schema.RECORD:
        if field.name == "source":
            arrays.append(pa.array([NAME] * len(rows), field.type))
        elif field.name == "live":
            arrays.append(pa.array([True] * len(rows), field.type))
        elif field.name == "created_at" and rows:
            arrays.append(times.parse_times(list(given["created_at"])))
        elif field.name in given:
            arrays.append(pa.array(given[field.name], field.type))
        else:
            arrays.append(pa.nulls(len(rows), field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=schema.RECORD)


def tid_number(tid: str) -> int | None:
    """A timestamp identifier (https://atproto.com/specs/tid) as the int64 that it writes; None if it is none.

    53 bits of microseconds since 1970, then 10 bits of a clock's number: later is larger.
    """
    return int(tid.translate(_TID_DIGITS), 32) if _is_tid(tid) else None


def tid_time_us(tid: str) -> int | None:
    """When a timestamp identifier was made, in microseconds since 1970; None if it is none."""
    number = tid_number(tid)
    return None if number is None else number >> 10
