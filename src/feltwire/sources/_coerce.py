"""Values of any kind to one Arrow type each, value by value: what cannot be read becomes null, nothing raises.

`Values` is a list of Python values as JSON has them, or an Arrow array of any type. A value's result never
depends on the values beside it; the quick ways below are taken only where they give the same as the slow ones.
"""

import math
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feltwire.schema import STRINGS, TIME
from feltwire.times import MAX_CHARS, parse_time, parse_times

Values: TypeAlias = list[Any] | pa.Array

_YES: Final = frozenset({"true", "t", "yes", "y", "1"})
_NO: Final = frozenset({"false", "f", "no", "n", "0"})
_INTEGER: Final = re.compile(r"\s*([+-]?[0-9]{1,19})(?:\.0*)?\s*", re.ASCII)
_SEPARATORS: Final = re.compile(r"[\s,;|\[\]'\"]+")
_EPOCH: Final = re.compile(r"[0-9]{9,19}(?:\.[0-9]{1,9})?", re.ASCII)
_SPACED_ZONE: Final = re.compile(r"(\d) +([+-]\d\d:?\d\d)$", re.ASCII)
_TWITTER: Final = re.compile(
    r"[A-Z][a-z]{2} ([A-Z][a-z]{2}) (\d{1,2}) (\d\d:\d\d:\d\d) (\+0000|UTC|GMT|PDT|PST|[+-]\d{4}) (\d{4})", re.ASCII
)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_START: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_US: Final = -62_135_596_800_000_000  # the year 1 …
_LAST_US: Final = 253_402_300_799_999_999  # … to 9999, which is what Python's datetime holds
_UNIT_US: Final = {"s": 1_000_000.0, "ms": 1_000.0, "us": 1.0, "ns": 0.001}


def strings(values: Values) -> pa.Array:
    """As text: numbers as they are written, bytes as UTF-8; lists, objects and booleans are no text."""
    if isinstance(values, pa.Array):
        text = _text_array(values)
        if text is not None:
            return text
        values = _listed(values)
    try:
        return pa.array(values, pa.string())
    except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError):
        return pa.array([_string(value) for value in values], pa.string())


def integers(values: Values) -> pa.Array:
    """As int64: numbers, or text that is one; fractions are cut off, what does not fit is null."""
    if isinstance(values, pa.Array):
        if pa.types.is_signed_integer(values.type):
            return values.cast(pa.int64())
        values = _listed(values)
    if set(map(type, values)) <= {int, type(None)}:
        with suppress(OverflowError):
            return pa.array(values, pa.int64())
    return pa.array([_integer(value) for value in values], pa.int64())


def booleans(values: Values) -> pa.Array:
    """As bool: true and false, 1 and 0, yes and no, as values or as text (the text "False" is false)."""
    if isinstance(values, pa.Array):
        if pa.types.is_boolean(values.type):
            return values
        values = _listed(values)
    return pa.array([_boolean(value) for value in values], pa.bool_())


def times(values: Values) -> pa.Array:
    """As `schema.TIME`: ISO 8601, the dates of mail and of Twitter, or seconds (ms, us, ns) since 1970."""
    if isinstance(values, pa.Array):
        if pa.types.is_timestamp(values.type) or pa.types.is_date(values.type):
            return _time_array(values)
        values = _listed(values)
    texts = [value if isinstance(value, str) else None for value in values]
    parsed = parse_times(texts)
    if parsed.null_count == values.count(None):
        return parsed
    unread = np.flatnonzero(np.asarray(parsed.is_null())).tolist()
    odd = [i for i in unread if values[i] is not None]
    known = parsed.to_pylist()
    for i in odd:
        known[i] = _odd_time(values[i])
    return pa.array(known, TIME)


def string_lists(values: Values) -> pa.Array:
    """As lists of text, without a leading # or @: from lists, or from one text cut at blanks and commas."""
    return pa.array(
        [_strings(value) for value in (_listed(values) if isinstance(values, pa.Array) else values)], STRINGS
    )


CONVERTERS: Final[dict[pa.DataType, Callable[[Values], pa.Array]]] = {
    pa.string(): strings,
    pa.int64(): integers,
    pa.bool_(): booleans,
    TIME: times,
    STRINGS: string_lists,
}
"""{an Arrow type of `schema.RECORD`: what makes it}."""


def _string(value: object) -> str | None:
    text: str | None = None
    if isinstance(value, str):
        text = None if _SURROGATE.search(value) else value
    elif isinstance(value, bytes):
        with suppress(UnicodeDecodeError):
            text = value.decode()
    elif isinstance(value, float):
        text = str(int(value)) if value.is_integer() and abs(value) < 2**63 else str(value)
    elif isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**127:
        text = str(value)
    return text


def _integer(value: object) -> int | None:
    if isinstance(value, str):
        match = _INTEGER.fullmatch(value)
        value = int(match[1]) if match else None
    elif isinstance(value, float):
        value = int(value) if math.isfinite(value) else None
    if isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63:
        return value
    return None


def _boolean(value: object) -> bool | None:
    if isinstance(value, bool):
        return value
    word = _string(value)
    if word is None:
        return None
    word = word.strip().lower()
    return True if word in _YES else False if word in _NO else None


def _strings(value: object) -> list[str] | None:
    if isinstance(value, str):
        value = _SEPARATORS.split(value)
    if not isinstance(value, list):
        return None
    words = (_string(item.get("text", item.get("tag")) if isinstance(item, dict) else item) for item in value)
    return [word for word in ((word or "").strip().lstrip("#@") for word in words) if word]


def _odd_time(value: object) -> datetime | None:
    """What is no plain ISO 8601: `2015-02-24 11:35:52 -0800`, mail's and Twitter's dates, numbers."""
    if isinstance(value, str):
        text = value.strip()
        if _EPOCH.fullmatch(text):
            return _epoch(float(text))
        return None if len(text) > MAX_CHARS else parse_time(_SPACED_ZONE.sub(r"\1\2", text)) or _mail_time(text)
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return _epoch(float(value))
    return None


def _mail_time(text: str) -> datetime | None:
    """`Mon, 06 Apr 2009 22:19:45 -0700`, and Twitter's order of the same."""
    match = _TWITTER.fullmatch(text)
    if match:
        month, day, clock, zone, year = match.groups()
        text = f"{day} {month} {year} {clock} {zone}"
    try:
        time = parsedate_to_datetime(text)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def _epoch(number: float) -> datetime | None:
    """Seconds since 1970 up to the year 5138; larger numbers are milli-, micro- or nanoseconds."""
    for limit, scale in ((1e11, 1.0), (1e14, 1e3), (1e17, 1e6), (1e20, 1e9)):
        if abs(number) < limit:
            try:
                return _START + timedelta(microseconds=round(number / scale * 1e6))
            except OverflowError:
                return None
    return None


def _listed(array: pa.Array) -> list[Any]:
    """An array as Python values; of types that JSON has no values for, as nulls."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        array = array.dictionary_decode()
        kind = array.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return strings(array).to_pylist()  # type: ignore[no-any-return]
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        if not _plain(kind.value_type):
            return [None] * len(array)
        items = strings(array.flatten())
        lengths = pc.fill_null(pc.list_value_length(array), 0)
        ends = np.cumsum(np.asarray(lengths, dtype=np.int64))
        flat = items.to_pylist()
        starts = ends - np.asarray(lengths, dtype=np.int64)
        valid = array.is_valid().to_pylist()
        return [flat[a:b] if known else None for a, b, known in zip(starts, ends, valid, strict=True)]
    if pa.types.is_decimal(kind):
        return array.cast(pa.float64()).to_pylist()  # type: ignore[no-any-return]
    return array.to_pylist() if _plain(kind) else [None] * len(array)


def _plain(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
    )


def _text_array(array: pa.Array) -> pa.Array | None:
    """A text-like array as strings, invalid UTF-8 as null; None when it is of another type."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind = array.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        try:
            array.validate(full=True)
            return array.cast(pa.string())
        except pa.ArrowInvalid:
            array = array.cast(pa.binary())
            kind = array.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        try:
            return array.cast(pa.string())
        except pa.ArrowInvalid:
            return pa.array([_string(value) for value in array.to_pylist()], pa.string())
    return None


def _time_array(array: pa.Array) -> pa.Array:
    """Timestamps and dates of any unit; a timestamp without a zone is UTC, one that Python cannot hold null."""
    if pa.types.is_date32(array.type):
        unit, numbers = 86_400_000_000.0, array.cast(pa.int32()).cast(pa.int64())
    elif pa.types.is_date64(array.type):
        unit, numbers = 1_000.0, array.cast(pa.int64())
    else:
        unit, numbers = _UNIT_US[array.type.unit], array.cast(pa.int64())
    known = np.asarray(numbers.is_valid())
    counts = np.asarray(pc.fill_null(numbers, 0), dtype=np.int64)
    inside = known & (counts * unit >= _FIRST_US) & (counts * unit <= _LAST_US)
    safe = np.where(inside, counts, 0)
    micros = safe * int(unit) if unit >= 1 else safe // 1_000
    return pa.array(micros, pa.int64(), mask=~inside).cast(TIME)
