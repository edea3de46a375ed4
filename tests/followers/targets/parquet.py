"""Reads back `parquet:`, as one who lists the folder."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq


class Target:
    durable = True
    exact = True

    def __init__(self, folder: Path) -> None:
        self.path = folder / "out"
        self.uri = f"parquet:{self.path}"
        self.options: dict[str, Any] = {}

    def rows(self, table: str) -> list[dict[str, Any]]:
        files = sorted((self.path / table).glob("*.parquet"))
        return [row for path in files for row in pq.ParquetFile(path).read().to_pylist()]

    def attach(self, follower: Any) -> None:
        pass

    def posts(self) -> list[tuple[int, int]]:
        return [(row["log_partition"], row["log_offset"]) for row in self.rows("posts")]

    def withdrawn(self) -> list[tuple[int, int]]:
        return [(row["log_partition"], row["log_offset"]) for row in self.rows("withdrawn")]

    def close(self) -> None:
        pass
