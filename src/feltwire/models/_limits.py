"""How often a remote model may be called: so many calls at a time, so many a second, so much money a day.

The limits hold over all processes of this machine that call the same address. What they share lies in small files:
locks on single bytes, which the system releases when a process dies, and a record of the next call's time and of the
money that was spent.
"""

import asyncio
import fcntl
import hashlib
import os
import random
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from feltwire.errors import ConfigError
from feltwire.spend import Period, Purse, Record, SpentError, made_folder

__all__ = ["LimitOptions", "Limits", "SpentError"]

_POLL_S: Final = 0.02
_CATCH_UP_S: Final = 0.02  # a sleep that ends late is made up for, by so much at most


class LimitOptions(BaseModel):
    """What every remote model lets its user set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    concurrency: int = Field(default=8, ge=1, le=4096, description="calls at a time")
    rate: float | None = Field(default=None, gt=0, description="calls a second at most")
    spend_limit: float | None = Field(default=None, gt=0, description="money that may be spent in a `spend_period`")
    spend_period: Period = Field(default="day", description="day and month are UTC's")
    cost_per_1000: float = Field(default=0.0, ge=0, description="what 1,000 calls cost, in the money of `spend_limit`")
    state: str = Field(default="", description="the folder that keeps what was spent")


class Limits:
    """The limits of one address. `enter` before a call, `leave` after it."""

    def __init__(self, address: str, options: LimitOptions) -> None:
        """`address` names the far side, without a secret. Raises ConfigError where its files cannot be made."""
        key = hashlib.sha256(address.encode()).hexdigest()[:24]
        self._options = options
        self._turn = asyncio.Lock()
        fleeting = made_folder(Path(tempfile.gettempdir()) / f"feltwire-{os.getuid()}", private=True)
        self._slots = _slots(str(fleeting / f"{key}.slots"))
        self._pace = Record(fleeting / f"{key}.rate") if options.rate else None
        self._spent = None
        if options.spend_limit is not None:
            if not options.cost_per_1000:
                raise ConfigError("spend_limit needs cost_per_1000: what 1,000 calls cost")
            folder = Path(options.state).expanduser() if options.state else None
            self._spent = Purse(address, limit=options.spend_limit, period=options.spend_period, folder=folder)

    async def enter(self, price: float) -> int:
        """Wait for a place and for the pace, and note the price; the place is handed back to `leave`.

        Raises SpentError where the price is beyond what may be spent.
        """
        while (slot := self._slots.take(self._options.concurrency)) is None:
            await asyncio.sleep(_POLL_S)
        try:
            if self._spent:
                self._spent.spend(price)
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
            self._spent.spend(-price)

    def _next_time(self, record: dict[str, Any]) -> float:
        """Seconds until the next call may begin."""
        every_s = (1 + _CATCH_UP_S) / (self._options.rate or 1.0)
        now = time.time()
        begin = max(now - _CATCH_UP_S, float(record.get("next", 0.0)))
        if begin > now + 2 * every_s + 60:  # the clock was set back
            begin = now
        record["next"] = begin + every_s
        return max(0.0, begin - now)


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
