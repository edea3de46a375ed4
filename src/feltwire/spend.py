"""What was spent, kept in small files that all processes of this machine share."""

import fcntl
import hashlib
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from feltwire.config import data_folder
from feltwire.errors import ConfigError

Period = Literal["day", "month", "total"]

MICRO: Final = 1_000_000

_RECORD_BYTES: Final = 512

T = TypeVar("T")


class SpentError(Exception):
    """The spend limit is reached; the message says until when."""

    def __init__(self, message: str, wait_s: float) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class Record:
    """A few values in a file, changed by one process at a time."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigError where the file cannot be written."""
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


class Purse:
    """Money spent at one far side, by a period. A limit of None limits nothing, and what is spent is still known."""

    def __init__(self, address: str, *, limit: float | None, period: Period, folder: Path | None = None) -> None:
        """`address` names the far side, without a secret. Raises ConfigError where its file cannot be made."""
        key = hashlib.sha256(address.encode()).hexdigest()[:24]
        self._limit = limit
        self._period: Period = period
        self._record = Record(made_folder(folder or data_folder() / "spent") / f"{key}.json")

    def spend(self, price: float) -> None:
        """Note a price before it is paid; a negative one is given back. Raises SpentError beyond the limit."""
        self._record.change(lambda record: self._spend(record, round(price * MICRO), forced=False))

    def note(self, price: float) -> None:
        """Note a price that is paid already, whatever the limit."""
        self._record.change(lambda record: self._spend(record, round(price * MICRO), forced=True))

    def left(self) -> float | None:
        """What may be spent yet in this period, 0 at least; None: there is no limit."""
        return None if self._limit is None else max(0.0, self._limit - self.spent())

    def spent(self) -> float:
        """What was spent in this period."""
        name, _ = period_of(self._period, datetime.now(UTC))
        return self._record.change(lambda record: _spent(record, name)) / MICRO

    def reached(self) -> SpentError:
        """What to raise now that the limit is reached."""
        _, left_s = period_of(self._period, datetime.now(UTC))
        when = "for good" if left_s is None else f"until the {self._period} ends (UTC)"
        return SpentError(
            f"the spend limit of {self._limit or 0.0:g} is reached: its posts wait {when}, or until spend_limit is "
            "raised",
            60.0 if left_s is None else left_s,
        )

    def _spend(self, record: dict[str, Any], price: int, *, forced: bool) -> None:
        name, _ = period_of(self._period, datetime.now(UTC))
        spent = _spent(record, name)
        if self._limit is not None and not forced and price > 0 and spent + price > round(self._limit * MICRO):
            raise self.reached()
        record.update(period=name, spent=max(0, spent + price))


def _spent(record: dict[str, Any], period: str) -> int:
    return int(record.get("spent", 0)) if record.get("period") == period else 0


def period_of(period: Period, now: datetime) -> tuple[str, float | None]:
    """The name of a time's period, and the seconds that are left of it."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    match period:
        case "day":
            return f"{now:%Y-%m-%d}", (midnight + timedelta(days=1) - now).total_seconds()
        case "month":
            return f"{now:%Y-%m}", ((midnight.replace(day=1) + timedelta(days=32)).replace(day=1) - now).total_seconds()
        case "total":
            return "total", None


def made_folder(path: Path, *, private: bool = False) -> Path:
    """The folder, made where it is not there. Raises ConfigError where it cannot be made or is somebody else's."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError(f"{path}, where limits are kept, cannot be made: {error.strerror}") from error
    if private and path.stat().st_uid != os.getuid():
        raise ConfigError(f"{path} belongs to somebody else: limits would be kept there")
    return path
