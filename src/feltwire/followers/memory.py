"""`memory:`: the in-memory twin of every destination. It is gone with its process."""

import threading
from typing import Any

import pyarrow as pa

from feltwire.followers._options import Filter, select
from feltwire.followers._positions import ahead, fresh, log_order
from feltwire.followers._rows import rows
from feltwire.interfaces import Position


class Options(Filter):
    """`memory:?track=NAME`."""


class MemoryFollower:
    """Keeps rows as dictionaries; may be read from any thread."""

    def __init__(self, options: Options) -> None:
        self.posts: list[dict[str, Any]] = []
        self.withdrawn: list[dict[str, Any]] = []
        self.events: list[tuple[str, dict[str, Any]]] = []
        """("post" or "withdrawn", row), in the order of arrival."""
        self._options = options
        self._position: Position | None = None
        self._lock = threading.Lock()

    def position(self) -> Position | None:
        return None if self._position is None else dict(self._position)

    def apply(self, posts: pa.RecordBatch, withdrawn: pa.RecordBatch, position: Position) -> None:
        with self._lock:
            posts = select(fresh(posts, self._position), self._options)
            withdrawn = fresh(withdrawn, self._position)
            kept, told = rows(posts), rows(withdrawn)
            both = [*(("withdrawn", row) for row in told), *(("post", row) for row in kept)]
            self.events += [both[row] for row in log_order(posts, withdrawn).tolist()]
            self.posts += kept
            self.withdrawn += told
            self._position = ahead(self._position or {}, position)


def create(rest: str, options: Options) -> MemoryFollower:
    """A new, empty one; `rest` is a name for people."""
    return MemoryFollower(options)
