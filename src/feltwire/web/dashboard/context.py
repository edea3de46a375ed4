"""What the page's functions are given: the service's state, and how to ask its lake."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from feltwire.errors import ConfigError, LakeError
from feltwire.lake import Lake
from feltwire.lake.reader import Snapshot
from feltwire.mood import read
from feltwire.tracks import Track
from feltwire.web.context import State

__all__ = ["Context", "State"]


T = TypeVar("T")


class NotYetError(LakeError):
    """There is no lake yet; the engine of this process will make it."""


@dataclass
class Context:
    """One page application: what it shows and nothing of who looks at it."""

    state: State
    """`lake`, `log`, `progress` and `pipeline`: callables that are asked anew each time and may fail."""
    _snapshot: Snapshot | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    kept: dict[str, tuple[float, Any]] = field(default_factory=dict)
    """{name: (when it is asked anew, value)} of what changes seldom."""

    def lake(self) -> Lake:
        """The lake. Raises FeltwireError while there is none: NotYetError where the engine is about to make it."""
        if self.state.lake is None:
            raise LakeError("this process has no lake: it only ingests. Start the page where posts are processed")
        try:
            return self.state.lake()
        except ConfigError as error:
            if self.state.progress is not None and "there is no lake" in str(error):
                raise NotYetError(str(error)) from error
            raise

    def snapshot(self) -> Snapshot:
        """The lake as it was after the last commit that `forget` was told of: one for all regions, since opening the
        tables takes longer than most questions. Raises FeltwireError while there is none."""
        with self._lock:
            if self._snapshot is None:
                self._snapshot = read.snapshot(self.lake())
            return self._snapshot

    def keep(self, name: str, seconds: float, ask: Callable[[], T]) -> T:
        """What `ask` gives, asked at most every so many seconds."""
        due, value = self.kept.get(name, (0.0, None))
        if time.monotonic() >= due:
            value = ask()
            self.kept[name] = (time.monotonic() + seconds, value)
        found: T = value
        return found

    def forget(self) -> None:
        """There is something new: the next `snapshot` is made anew."""
        with self._lock:
            self._snapshot = None

    def tracks(self) -> tuple[Track, ...]:
        """The tracks of the settings, as far as the state knows them."""
        found: tuple[Track, ...] = getattr(self.state, "tracks", ())
        return found

    def model(self) -> str:
        """The URI of the model that scores."""
        return str(getattr(self.state, "model", "none:"))

    def now(self) -> datetime:
        """The time that ranges end at."""
        return datetime.now(UTC)
