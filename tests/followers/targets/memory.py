"""Reads back `memory:`."""

from pathlib import Path
from typing import Any

from feltwire.followers.memory import MemoryFollower


class Target:
    uri = "memory:"
    durable = False
    exact = True

    def __init__(self, folder: Path) -> None:
        self.options: dict[str, Any] = {}
        self.follower: MemoryFollower | None = None

    def attach(self, follower: MemoryFollower) -> None:
        self.follower = follower

    def posts(self) -> list[tuple[int, int]]:
        rows = [] if self.follower is None else self.follower.posts
        return [(row["log_partition"], row["log_offset"]) for row in rows]

    def withdrawn(self) -> list[tuple[int, int]]:
        rows = [] if self.follower is None else self.follower.withdrawn
        return [(row["log_partition"], row["log_offset"]) for row in rows]

    def close(self) -> None:
        self.follower = None
