"""Reads back `jsonl:`."""

import json
from pathlib import Path
from typing import Any


class Target:
    durable = True
    exact = True

    def __init__(self, folder: Path) -> None:
        self.path = folder / "out" / "posts.jsonl"
        self.uri = f"jsonl:{self.path}"
        self.options: dict[str, Any] = {}

    def rows(self) -> list[dict[str, Any]]:
        files = sorted(self.path.parent.glob("*.jsonl"))
        return [json.loads(line) for path in files for line in path.read_text(encoding="utf-8").split("\n")[:-1]]

    def attach(self, follower: Any) -> None:
        pass

    def posts(self) -> list[tuple[int, int]]:
        return [(row["log_partition"], row["log_offset"]) for row in self.rows() if "withdrawn" not in row]

    def withdrawn(self) -> list[tuple[int, int]]:
        told = [row["withdrawn"] for row in self.rows() if "withdrawn" in row]
        return [(row["log_partition"], row["log_offset"]) for row in told]

    def close(self) -> None:
        pass
