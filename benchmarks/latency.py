"""From receipt until a query sees it: `python -m benchmarks latency`.

`feltwire run` takes the simulator at a fixed rate; another process asks the lake for what is new, again and again,
and notes for every post how long ago it was received (`ingested_at`).
"""

import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from benchmarks._commands import feltwire
from feltwire.errors import FeltwireError
from feltwire.lake import open_lake

RUNS = (
    ("local", "bundled:fast", 100),
    ("local", "bundled:fast", 1_000),
    ("local", "bundled:fast", 5_000),
    ("local", "lexicon:vader", 5_000),
    ("spark", "bundled:fast", 1_000),  # with its trigger of 5 s
)


def measure(
    *, runs: tuple[tuple[str, str, int], ...] = RUNS, seconds: float = 30.0, warm_up_s: float = 10.0
) -> dict[str, Any]:
    """Seconds for each (engine, model, posts/s), over `seconds` behind a warm-up."""
    return {f"{run[0]}, {run[1]}, {run[2]} posts/s": _run(*run, seconds, warm_up_s) for run in runs}


def _run(engine: str, model: str, rate: int, seconds: float, warm_up_s: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        lake = Path(folder) / "lake"
        arguments = ["--source", f"simulator:?rate={rate}", "--lake", str(lake), "--port", "0"]
        arguments += ["--engine", engine, "--model", model]
        running = subprocess.Popen(feltwire("run", *arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            latencies, posts = _listen(str(lake), seconds, warm_up_s * (3 if engine == "spark" else 1))
        finally:
            running.terminate()
            running.wait(60)
    return {
        "posts": posts,
        "posts_per_s": round(posts / seconds),
        "p50_s": round(float(np.quantile(latencies, 0.5)), 3),
        "p99_s": round(float(np.quantile(latencies, 0.99)), 3),
        "max_s": round(float(latencies.max()), 3),
    }


def _listen(path: str, seconds: float, warm_up_s: float) -> tuple[Any, int]:
    lake = _wait_for_lake(path)
    began = time.monotonic()
    position: dict[int, int] = {}
    found = []
    while time.monotonic() - began < warm_up_s + seconds:
        posts, _, position = lake.changes(position, 1_000_000)
        now = time.time()
        if posts.num_rows and time.monotonic() - began >= warm_up_s:
            received_us = pc.cast(posts["ingested_at"], "int64").to_numpy()
            found.append(now - received_us / 1e6)
        time.sleep(0.01)
    latencies = np.concatenate(found)
    return latencies, len(latencies)


def _wait_for_lake(path: str) -> Any:
    until = time.monotonic() + 120
    while True:
        try:
            lake = open_lake(path)
            lake.changes({}, 1)
        except FeltwireError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)
        else:
            return lake
