"""Times as people and programs write them: a lenient ISO 8601 parser, one value or a column at a time.

Posts carry whatever their client wrote as the time of creation, so nothing here raises: what is no time is None.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

import pyarrow as pa

from feltwire import schema

MAX_CHARS: Final = 64  # no ISO 8601 time is longer; a longer text is not looked at

_LEAP_SECOND: Final = re.compile(r"(\d\d:\d\d):60(?!\d)")
_SECOND: Final = timedelta(seconds=1)


def parse_time(text: str) -> datetime | None:
    """An ISO 8601 date or time as an aware datetime in UTC, or None if it is none.

    Without a zone it is UTC. A leap second (`23:59:60`) is the second after `23:59:59`. Digits finer than a
    microsecond are cut off. A time whose UTC year is outside 1 to 9999 is None.
    """
    if len(text) > MAX_CHARS or "\0" in text:  # fromisoformat stops reading at a NUL
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return _parse_odd(text)
    try:
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except OverflowError:
        return None


def parse_times(texts: list[str | None]) -> pa.Array:
    """`parse_time` of each text as an array of `schema.TIME`; None, and what is no time, become null."""
    return pa.array([None if text is None else parse_time(text) for text in texts], schema.TIME)


def _parse_odd(text: str) -> datetime | None:
    """What `fromisoformat` refuses and is yet clear: blanks around it, small letters, a leap second."""
    plain, leaps = _LEAP_SECOND.subn(r"\1:59", text.strip().upper())
    try:
        time = datetime.fromisoformat(plain)
        time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
        return time + _SECOND if leaps else time
    except (ValueError, OverflowError):
        return None
