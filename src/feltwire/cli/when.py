"""Times on the command line: ISO 8601, or how long ago."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from feltwire.errors import ConfigError

_AGO: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)(?:\s+ago)?", re.IGNORECASE)
_SECONDS: Final = {
    "s": 1, "sec": 1, "second": 1, "min": 60, "minute": 60, "h": 3600, "hour": 3600, "d": 86_400, "day": 86_400,
    "w": 604_800, "week": 604_800,
}  # fmt: skip


def parse_when(text: str | None, option: str, *, now: datetime | None = None) -> datetime | None:
    """A time in UTC; None for None. `2h`, `30min ago` and `now` count from `now`; without a zone a time is UTC.

    Raises ConfigError, naming the option.
    """
    from feltwire.times import parse_time

    if text is None:
        return None
    current = now or datetime.now(UTC)
    plain = text.strip()
    if plain.lower() == "now":
        return current
    ago = _AGO.fullmatch(plain)
    if ago:
        unit = ago[2].lower()
        seconds = _SECONDS.get(unit) or _SECONDS.get(unit.removesuffix("s"))
        if seconds:
            try:
                return current - timedelta(seconds=float(ago[1]) * seconds)
            except OverflowError:
                pass
    found = parse_time(plain)
    if found is None:
        raise ConfigError(
            f"{option} {text!r}: expected a time as 2026-11-21T08:00 (UTC), or how long ago as 90s, 30min, 2h, 7d"
        )
    return found
