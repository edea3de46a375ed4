"""A source in memory that can be asked for a period, and fails as it is told to."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa

from feltwire import schema
from feltwire.errors import SourceError
from feltwire.times import parse_time


class Memory:
    """Implements `interfaces.Searchable`: posts of {id, text, at}, two a page."""

    name = "memory"
    cost_per_post = 0.5

    def __init__(self, posts: Sequence[tuple[str, str, datetime]], *, counts: bool = True) -> None:
        self.posts = list(posts)
        self.counts = counts
        self.searched: list[datetime] = []
        self.before: Callable[[datetime], None] = lambda start: None
        """Called before a search; what it raises, the search raises."""
        self._lock = threading.Lock()

    @property
    def asked(self) -> str:
        return "everything"

    def search(self, start: datetime, end: datetime, *, limit: int | None = None) -> Iterator[bytes | None]:
        with self._lock:
            self.searched.append(start)
        self.before(start)
        found = [post for post in self.posts if start <= post[2] < end]
        for first in range(0, len(found), 2):
            if limit is not None and first >= limit:
                return
            yield None
            yield json.dumps([(key, text, at.isoformat()) for key, text, at in found[first : first + 2]]).encode()

    def parse(self, pages: Sequence[bytes], *, limit: int | None = None) -> pa.RecordBatch:
        posts = [post for page in pages for post in json.loads(page)][:limit]
        rows: list[dict[str, Any]] = [
            {
                "kind": schema.POST, "id": f"memory:{key}", "revision": 0, "source": "memory", "live": False,
                "text": text, "lang": "en", "created_at": parse_time(at),
            }
            for key, text, at in posts
        ]  # fmt: skip
        return schema.records(rows)

    def count(self, start: datetime, end: datetime) -> int:
        if not self.counts:
            raise SourceError("it does not say")
        return sum(start <= at < end for _, _, at in self.posts)
