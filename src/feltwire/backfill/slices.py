"""A period cut into slices."""

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import import_module
from typing import Any, Final

from feltwire.errors import ConfigError, MissingExtraError

MAX_SLICES: Final = 100_000

_PART: Final = re.compile(r"(\d*)(D|h|H|min|T|s|S)")
_UNIT: Final = {
    "D": timedelta(days=1),
    "h": timedelta(hours=1),
    "H": timedelta(hours=1),
    "min": timedelta(minutes=1),
    "T": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "S": timedelta(seconds=1),
}
_SECOND: Final = timedelta(seconds=1)


@dataclass(frozen=True, order=True)
class Slice:
    """From `start` on, before `end`; whole seconds, in UTC."""

    start: datetime
    end: datetime

    @property
    def name(self) -> str:
        """The slice as a part of a file's name; names sort as their slices do."""
        return f"{self.start:%Y%m%dT%H%M%SZ}-{self.end:%Y%m%dT%H%M%SZ}"


def cut(start: datetime, end: datetime, alias: str) -> list[Slice]:
    """The slices from `start` on, before `end`, each as long as a pandas offset alias says; the last may be shorter.

    A single second that is left at the end, as of an end that is included, belongs to the slice before it.
    Of an alias that has no fixed length (`MS`, `W`, `B`) the slices begin where pandas' dates lie, and the first one
    at `start`. Raises ConfigError for an alias that is none, for no period, and for more than MAX_SLICES slices.
    """
    start, end = start.replace(microsecond=0), end.replace(microsecond=0)
    if start >= end:
        raise ConfigError(f"--start {start:%Y-%m-%dT%H:%M:%S} is not before --end {end:%Y-%m-%dT%H:%M:%S} (UTC)")
    step = fixed_length(alias)
    bounds = [start]
    last = end - _SECOND
    for at in _by_pandas(start, last, alias) if step is None else _steps(start, last, step):
        if at > bounds[-1]:
            bounds.append(at)
        if len(bounds) > MAX_SLICES:
            raise ConfigError(f"--slice {alias!r} gives more than {MAX_SLICES:,} slices: take longer ones")
    return [Slice(one, following) for one, following in zip(bounds, [*bounds[1:], end], strict=True)]


def fixed_length(alias: str) -> timedelta | None:
    """The length that an alias stands for (`15min`, `1h30min`, `D`), which needs no pandas; None: not a fixed one.

    Raises ConfigError for a length of nothing.
    """
    text, at, total = alias.strip(), 0, timedelta()
    for part in _PART.finditer(text):
        if part.start() != at:
            return None
        at = part.end()
        total += int(part[1] or 1) * _UNIT[part[2]]
    if not text or at != len(text):
        return None
    if not total:
        raise ConfigError(f"--slice {alias!r} is no length of time: expected 15min, 1h, D and the like")
    return total


def _steps(start: datetime, end: datetime, step: timedelta) -> Iterator[datetime]:
    at = start
    while (at := at + step) < end:
        yield at


def _by_pandas(start: datetime, end: datetime, alias: str) -> Iterator[datetime]:
    """The dates before `end` that pandas gives for an alias. Raises ConfigError."""
    try:
        pandas: Any = import_module("pandas")
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"--slice {alias!r} needs the library 'pandas': pip install 'feltwire[backfill]', or write it in days, "
            "hours, minutes and seconds, as 7D, 1h30min, 15min"
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # older names of aliases
            offset = pandas.tseries.frequencies.to_offset(alias)
        if offset is None or offset.n < 1:
            raise ValueError("not forward in time")
        at = offset.rollforward(pandas.Timestamp(start))
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"--slice {alias!r} is no pandas offset alias: expected 15min, 1h, D, W, MS and the like"
        ) from error
    while (when := at.floor("s").to_pydatetime()) < end:
        yield when
        following = at + offset
        if following < at + _SECOND:
            raise ConfigError(f"--slice {alias!r} is too short: a slice is a second at least")
        at = following


def spans(slices: list[Slice], most: int) -> list[Slice]:
    """The same period in few pieces: slices that touch become one, and all one where more than `most` were left."""
    found: list[Slice] = []
    for one in sorted(slices):
        if found and found[-1].end == one.start:
            found[-1] = Slice(found[-1].start, one.end)
        else:
            found.append(one)
    return found if len(found) <= most else [Slice(found[0].start, found[-1].end)]
