"""Records in the making, of sources that bring posts one by one: a row each, and rows as a batch. No I/O."""

from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

import pyarrow as pa

from feltwire import schema, times


class Row(NamedTuple):
    """A record of `schema.RECORD` without its source; `created_at` is still text."""

    kind: str
    id: str | None = None
    revision: int = 0
    live: bool = True
    author_id: str | None = None
    author_handle: str | None = None
    author_name: str | None = None
    author_verified: bool | None = None
    author_location: str | None = None
    text: str | None = None
    lang: str | None = None
    created_at: str | None = None
    conversation_id: str | None = None
    reply_to_id: str | None = None
    quote_of_id: str | None = None
    repost_of_id: str | None = None
    likes: int | None = None
    reposts: int | None = None
    replies: int | None = None
    url: str | None = None
    hashtags: list[str] | None = None
    mentions: list[str] | None = None
    links: list[str] | None = None
    raw: str | None = None
    refusal: str | None = None
    payload: str | None = None


def refusal(source: str, payload: bytes | bytearray, reason: str) -> Row:
    """The refusal of what came. Its id is made of its bytes, so that a replay repeats it."""
    shown = bytes(payload[: 4 * schema.MAX_PAYLOAD_CHARS]).decode("utf-8", "replace")
    return Row(
        schema.REFUSAL,
        f"{source}:{sha256(payload).hexdigest()[:32]}",
        refusal=reason[:500],
        payload=shown[: schema.MAX_PAYLOAD_CHARS].replace("\0", "\ufffd"),
    )


def to_batch(source: str, rows: Sequence[Row]) -> pa.RecordBatch:
    """Rows as a batch of `schema.RECORD`."""
    given = dict(zip(Row._fields, zip(*rows, strict=True), strict=True)) if rows else {}
    arrays = []
    for field in schema.RECORD:
        if field.name == "source":
            arrays.append(pa.array([source] * len(rows), field.type))
        elif field.name == "created_at" and rows:
            arrays.append(times.parse_times(list(given["created_at"])))
        elif field.name in given:
            arrays.append(pa.array(given[field.name], field.type))
        else:
            arrays.append(pa.nulls(len(rows), field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=schema.RECORD)
