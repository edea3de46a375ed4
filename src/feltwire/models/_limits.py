"""How often a remote model may be called: so many calls at a time, so many a second, so much money a day.

The limits hold over all processes of this machine that call the same address. What they share lies in small files:
locks on single bytes, which the system releases when a process dies, and a record of the next call's time and of the
money that was spent.
"""

import asyncio
import fcntl
import hashlib
import json
import os
import random
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from feltwire.config import data_folder
from feltwire.errors import ConfigError

Period = Literal["day", "month", "total"]

_RECORD_BYTES: Final = 512
_POLL_S: Final = 0.02
_CATCH_UP_S: Final = 0.02  # a sleep that ends late is made up for, by so much at most
_MICRO: Final = 1_000_000

T = TypeVar("T")


class LimitOptions(BaseModel):
    """What every remote model lets its user set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    concurrency: int = Field(default=8, ge=1, le=4096, description="calls at a time")
    rate: float | None = Field(default=None, gt=0, description="calls a second at most")
    spend_limit: float | None = Field(default=None, gt=0, description="money that may be spent in a `spend_period`")
    spend_period: Period = Field(default="day", description="day and month are UTC's")
    cost_per_1000: float = Field(default=0.0, ge=0, description="what 1,000 calls cost, in the money of `spend_limit`")
    state: str = Field(default="", description="the folder that keeps what was spent")


class SpentError(Exception):
    """The spend limit is reached; the message says until when."""

    def __init__(self, message: str, wait_s: float) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class Limits:
    """The limits of one address. `enter` before a call, `leave` after it."""

    def __init__(self, address: str, options: LimitOptions) -> None:
        """`address` names the far side, without a secret. Raises ConfigError where its files cannot be made."""
        key = hashlib.sha256(address.encode()).hexdigest()[:24]
        self._options = options
        self._turn = asyncio.Lock()
        fleeting = _folder(Path(tempfile.gettempdir()) / f"feltwire-{os.getuid()}", private=True)
        self._slots = _slots(str(fleeting / f"{key}.slots"))
        self._pace = _Record(fleeting / f"{key}.rate") if options.rate else None
        self._spent = None
        if options.spend_limit is not None:
            if not options.cost_per_1000:
                raise ConfigError("spend_limit needs cost_per_1000: what 1,000 calls cost")
            folder = Path(options.state).expanduser() if options.state else data_folder() / "spent"
            self._spent = _Record(_folder(folder) / f"{key}.json")

    async def enter(self, price: float) -> int:
        """Wait for a place and for the pace, and note the price; the place is handed back to `leave`.

        Raises SpentError where the price is beyond what may be spent.
        """
        while (slot := self._slots.take(self._options.concurrency)) is None:
            await asyncio.sleep(_POLL_S)
        try:
            if self._spent:
                self._spent.change(lambda record: self._spend(record, price))
            if self._pace:
                async with self._turn:  # one at a time, or a killed process would leave times that nobody uses
                    await asyncio.sleep(self._pace.change(self._next_time))
        except BaseException:
            self._slots.give(slot)
            raise
        return slot

    def leave(self, slot: int) -> None:
        """The call has ended."""
        self._slots.give(slot)

    def refund(self, price: float) -> None:
        """A call was not made after all."""
        if self._spent:
            self._spent.change(lambda record: self._spend(record, -price))

    def _next_time(self, record: dict[str, Any]) -> float:
        """Seconds until the next call may begin."""
        every_s = (1 + _CATCH_UP_S) / (self._options.rate or 1.0)
        now = time.time()
        begin = max(now - _CATCH_UP_S, float(record.get("next", 0.0)))
        if begin > now + 2 * every_s + 60:  # the clock was set back
            begin = now
        record["next"] = begin + every_s
        return max(0.0, begin - now)

    def _spend(self, record: dict[str, Any], price: float) -> None:
        limit = self._options.spend_limit or 0.0
        name, left_s = _period(self._options.spend_period, datetime.now(UTC))
        spent = int(record.get("spent", 0)) if record.get("period") == name else 0
        if price > 0 and spent + round(price * _MICRO) > round(limit * _MICRO):
            when = "for good" if left_s is None else f"until the {self._options.spend_period} ends (UTC)"
            raise SpentError(
                f"the spend limit of {limit:g} is reached: its posts wait {when}, or until spend_limit is raised",
                60.0 if left_s is None else left_s,
            )
        record.update(period=name, spent=max(0, spent + round(price * _MICRO)))


def _period(period: Period, now: datetime) -> tuple[str, float | None]:
    """The name of a time's period, and the seconds that are left of it."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    match period:
        case "day":
            return f"{now:%Y-%m-%d}", (midnight + timedelta(days=1) - now).total_seconds()
        case "month":
            return f"{now:%Y-%m}", ((midnight.replace(day=1) + timedelta(days=32)).replace(day=1) - now).total_seconds()
        case "total":
            return "total", None


def _folder(path: Path, *, private: bool = False) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError(f"{path}, where remote models keep their limits, cannot be made: {error.strerror}") from error
    if private and path.stat().st_uid != os.getuid():
        raise ConfigError(f"{path} belongs to somebody else: remote models would keep their limits there")
    return path


class _Record:
    """A few values in a file, changed by one process at a time."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"{path} cannot be written: {error.strerror}") from error
        self._path = path

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)

    def change(self, change: Callable[[dict[str, Any]], T]) -> T:
        """Let a function change the values; raises what it raises, with nothing changed."""
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            text = os.pread(self._file, _RECORD_BYTES, 0).strip(b" \0")
            try:
                record = json.loads(text or b"{}")
            except ValueError as error:
                raise ConfigError(f"{self._path} is no record of limits: remove it") from error
            result = change(record)
            os.pwrite(self._file, json.dumps(record).encode().ljust(_RECORD_BYTES), 0)
            return result
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)


class _Slots:
    """Places in a row, each a byte that one process locks.

    Such locks belong to the process: closing any handle on the file would release them all, so it stays open.
    """

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._used: set[int] = set()
        self._mutex = threading.Lock()
        self._full_until = 0.0

    def take(self, places: int) -> int | None:
        """One of the first `places`, if one is free."""
        with self._mutex:
            if len(self._used) >= places or time.monotonic() < self._full_until:
                return None
            first = random.randrange(places)
            order: list[int] = [*range(first, places), *range(first)]
            for slot in order:
                if slot not in self._used:
                    try:
                        fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, slot)
                    except OSError:  # another process has it
                        continue
                    self._used.add(slot)
                    return slot
            self._full_until = time.monotonic() + _POLL_S
            return None

    def give(self, slot: int) -> None:
        with self._mutex:
            self._used.discard(slot)
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, slot)


_open_slots: dict[tuple[int, str], _Slots] = {}
_opening = threading.Lock()


def _slots(path: str) -> _Slots:
    with _opening:
        key = (os.getpid(), path)
        if key not in _open_slots:
            _open_slots[key] = _Slots(path)
        return _open_slots[key]
