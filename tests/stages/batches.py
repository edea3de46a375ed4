"""Batches for the tests of the stages: made of rows, drawn by hypothesis, and read from case files."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from feltwire import schema
from feltwire.interfaces import Stage

CASES = Path(__file__).parents[1] / "cases"
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)

Row = dict[str, Any]


def batch_of(*rows: Row) -> pa.RecordBatch:
    """A batch of `schema.LOGGED`; what a row does not name has the value of a plain post."""
    plain: Row = {
        "kind": schema.POST,
        "id": "test:1",
        "revision": 0,
        "source": "test",
        "live": True,
        "text": "A plain post",
        "lang": "en",
        "created_at": NOON,
        "ingested_at": NOON,
        "log_partition": 0,
        "log_offset": 0,
    }
    return schema.records([{**plain, **row} for row in rows], schema.LOGGED)


def cases(name: str) -> list[Any]:
    """The cases of a file in tests/cases: one JSON object a line, {title, given, expected}."""
    lines = (CASES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.strip()]


def moment(text: str | None) -> datetime | None:
    """A time of a case file."""
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC)


# What networks send and what enemies send: entities, links, handles, emoji in all their forms, marks, controls.
PIECES = (
    *("delta", "Delta", "united", "ДЕЛЬТА", "straße", "café", "cafe\u0301", "σάς", "हिन्दी", "航空", "สวัสดี"),
    *("#late", "#ÜBER", "＃tag", "#1", "#", "@united", "@a.bsky.social", "@bob@m.example", "@", "x@example.org"),
    *("https://example.org/a_(b)", "www.example.org.", "http://", "nytimes.com/2024/1...", "https://t.co/x…"),
    *("&amp;", "&amp;lt;3", "&#39;", "&#x1F602;", "&#0;", "&#99999999;", "&nosuch;", "&", ";"),
    *("😂", "❤", "❤️", "👍🏽", "🇺🇸", "🇽🇽", "1️⃣", "👨‍👩‍👧", "☀︎", "©", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "\u200d", "\ufe0f"),
    *(" ", "\n", "\t", "\u00a0", "\u2028", ".", "!!!!", "...", "…", "(", ")", '"', "soooooo", "1000000", "<b>"),
    *("\x00", "\x1b", "\u200b", "\u202e", "\u0300\u0316", "\ufffd", "\uffff", "\U0010ffff"),
)

texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=8), max_size=12).map("".join)
"""Texts that a column can hold: no lone surrogates."""

_TIMES = (
    None,
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(1971, 1, 1, tzinfo=UTC),
    NOON,
    NOON + timedelta(minutes=5),
    NOON - timedelta(days=1),
    NOON - timedelta(days=1, microseconds=1),
    NOON - timedelta(minutes=5),
    datetime(2024, 2, 29, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
)
_KINDS = (schema.POST, schema.EDIT, schema.WITHDRAWAL, schema.REFUSAL, schema.DUPLICATE)
_LANGS = (None, "en", "en-US", "und", "", "zh-Hant", "iw", "EN", "a\nb", "日本語")
_lists = st.none() | st.lists(st.none() | st.sampled_from(PIECES), max_size=3)

# The columns that the stages read; the others are null, filled, or at the ends of their types.
_READ: dict[str, st.SearchStrategy[Any]] = {
    "kind": st.sampled_from([*_KINDS, schema.POST, schema.POST, schema.POST, None, "", "like"]),
    "live": st.sampled_from([None, True, False]),
    "author_handle": st.sampled_from([None, "", "united", "United"]),
    "text": st.none() | texts,
    "lang": st.sampled_from(_LANGS),
    "created_at": st.sampled_from(_TIMES),
    "ingested_at": st.sampled_from(_TIMES),
    "hashtags": _lists,
    "mentions": _lists,
    "links": _lists,
    "refusal": st.sampled_from([None, "no JSON"]),
}
_FILLED: dict[pa.DataType, Any] = {pa.string(): "did:plc:é", pa.bool_(): True, pa.int32(): 7, pa.int64(): 7}
_EXTREME: dict[pa.DataType, Any] = {pa.string(): "\x00", pa.bool_(): False, pa.int32(): -(2**31), pa.int64(): 2**63 - 1}
_UNREAD = [field for field in schema.LOGGED if field.name not in _READ]
_BACKGROUNDS = [{field.name: values.get(field.type) for field in _UNREAD} for values in ({}, _FILLED, _EXTREME)]

rows = st.builds(lambda read, unread: {**unread, **read}, st.fixed_dictionaries(_READ), st.sampled_from(_BACKGROUNDS))
"""Rows of `schema.LOGGED` with anything in them."""

batches = st.lists(rows, max_size=4).map(lambda drawn: schema.records(drawn, schema.LOGGED))


def check_laws(stage: Stage, first: pa.RecordBatch, second: pa.RecordBatch) -> pa.RecordBatch:
    """The laws of every stage, over two batches of one schema; returns what it makes of both together.

    As many rows out as in; every column that was there is there; f(a ++ b) = f(a) ++ f(b); and a slice of a larger
    array is as good as an array of its own.
    """
    both = pa.Table.from_batches([first, second]).combine_chunks().to_batches()
    whole = both[0] if both else first
    result = stage(whole)
    parts = pa.Table.from_batches([stage(whole.slice(0, len(first))), stage(whole.slice(len(first)))])
    assert pa.Table.from_batches([stage(first), stage(second)]).to_pylist() == parts.to_pylist()
    assert len(result) == len(first) + len(second)
    assert result.schema.names[: len(whole.schema.names)] == whole.schema.names
    assert parts.schema == result.schema
    assert parts.to_pylist() == result.to_pylist()
    return result
