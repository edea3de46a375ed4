"""Reads back `webhook:`, as a receiver that keeps the keys of what it has taken."""

from pathlib import Path
from typing import Any

from tests.followers.receiver import Receiver


class Target:
    durable = True
    exact = True

    def __init__(self, folder: Path) -> None:
        self.receiver = Receiver()
        self.uri = f"webhook:{self.receiver.url}"
        self.options: dict[str, Any] = {"state": str(folder / "hook.state"), "max_posts": 4}

    def rows(self, table: str) -> list[dict[str, Any]]:
        if self.receiver.contradictions:
            raise RuntimeError("a key came twice with different bytes")
        return [row for body in self.receiver.taken.values() for row in body[table]]

    def attach(self, follower: Any) -> None:
        pass

    def posts(self) -> list[tuple[int, int]]:
        return [(row["log_partition"], row["log_offset"]) for row in self.rows("posts")]

    def withdrawn(self) -> list[tuple[int, int]]:
        return [(row["log_partition"], row["log_offset"]) for row in self.rows("withdrawn")]

    def close(self) -> None:
        self.receiver.close()
