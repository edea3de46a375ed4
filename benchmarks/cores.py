"""From one core to two: `python -m benchmarks cores`. The same log into a lake, by the local engine, tied to cores."""

import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks._engines import filled, into_lake
from benchmarks._results import draw_bars

MODELS = {"lexicon:vader": 400_000, "bundled:fast": 200_000, "bundled:base": 80_000}  # and the records for each


def measure(*, models: dict[str, int] = MODELS) -> dict[str, Any]:
    """{model: {records, one, two: {posts_per_s, …}, growth}}: everything, the commits included, on so many cores."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, (model, records) in enumerate(models.items()):
            log = filled(folder, records)
            one, two = (_tied(cores, log, folder / f"{cores}-{number}", model) for cores in (1, 2))
            growth = round(two["posts_per_s"] / max(1, one["posts_per_s"]), 2)
            found[model] = {"records": records, "one": one, "two": two, "growth": growth}
    bars = {f"{model}, {word}": found[model][word]["posts_per_s"] for model in models for word in ("one", "two")}
    draw_bars("cores", "A full log into the lake, on one core and on two", "posts/s", bars)
    return found


def _tied(cores: int, log: str, lake: Path, model: str) -> dict[str, float]:
    """`into_lake` in a process that may use so many cores. Raises ValueError where there are fewer."""
    there = sorted(os.sched_getaffinity(0))
    if len(there) < cores:
        raise ValueError(f"this machine lends {len(there)} cores, and {cores} are to be compared")
    with ProcessPoolExecutor(1, get_context("spawn"), os.sched_setaffinity, (0, there[:cores])) as pool:
        return pool.submit(into_lake, "local", log, lake, model).result()
