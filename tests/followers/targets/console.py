"""Reads back `console:`, by what it writes."""

import io
import re
from pathlib import Path
from typing import Any

from feltwire.followers.console import ConsoleFollower


class Target:
    uri = "console:"
    durable = True
    exact = False

    def __init__(self, folder: Path) -> None:
        self.options: dict[str, Any] = {"state": str(folder / "console.state"), "since_s": 1e12}
        self.shown = io.StringIO()

    def attach(self, follower: ConsoleFollower) -> None:
        follower.console.file = self.shown

    def posts(self) -> list[tuple[int, int]]:
        found = re.findall(r"flight (\d+)-(\d+)", self.shown.getvalue())
        return [(int(partition), int(offset)) for partition, offset in found]

    def withdrawn(self) -> None:
        return None

    def close(self) -> None:
        pass
