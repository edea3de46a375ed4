"""Reads back `csv:`, with the csv module."""

import csv
from pathlib import Path
from typing import Any


class Target:
    durable = True
    exact = True

    def __init__(self, folder: Path) -> None:
        self.path = folder / "out" / "posts.csv"
        self.uri = f"csv:{self.path}"
        self.options: dict[str, Any] = {}

    def rows(self, pattern: str = "posts*.csv") -> list[dict[str, str]]:
        rows = []
        for path in sorted(self.path.parent.glob(pattern)):
            if pattern == "posts*.csv" and "withdrawn" in path.name:
                continue
            with path.open(encoding="utf-8", newline="") as lines:
                rows += list(csv.DictReader(lines, strict=True))
        return rows

    def attach(self, follower: Any) -> None:
        pass

    def posts(self) -> list[tuple[int, int]]:
        return [(int(row["log_partition"]), int(row["log_offset"])) for row in self.rows()]

    def withdrawn(self) -> list[tuple[int, int]]:
        return [(int(row["log_partition"]), int(row["log_offset"])) for row in self.rows("*withdrawn*.csv")]

    def close(self) -> None:
        pass
