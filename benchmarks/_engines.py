"""An engine at work on a log that is full: how fast its records come into a lake."""

import os
import threading
import time
from pathlib import Path

from feltwire import registry
from feltwire.plan import Plan, Progress, SourcePlan


def fill(log: str, records: int) -> None:
    """Have the simulator's posts, always the same, in a log."""
    source = SourcePlan(key="s", uri="simulator:", options={"seed": 1, "rate": 50_000, "count": records})
    registry.load("engines", "local").run(Plan(log=log, sources=(source,), until_idle=True), stop=threading.Event())


def filled(folder: Path, records: int) -> str:
    """An SQLite log below a folder with so many of them; filled once."""
    file = folder / f"{records}.sqlite"
    log = f"sqlite:{file}?partitions=2"
    if not file.exists():
        fill(log, records)
    return log


def into_lake(engine: str, log: str, lake: Path, model: str) -> dict[str, float]:
    """Take a log into a new lake, on all cores.

    `posts_per_s` is what was committed behind the first commit, by the time since: starting and loading a model, once
    a run, is in `first_commit_s`.
    """
    seen: list[tuple[float, int]] = []

    def observe(progress: Progress) -> None:
        seen.append((time.perf_counter(), progress.processed))

    plan = Plan(
        log=log, lake=str(lake), pipeline=lake.name, model=model, until_idle=True, master=f"local[{os.cpu_count()}]"
    )
    began = time.perf_counter()
    report = registry.load("engines", engine).run(plan, stop=threading.Event(), observe=observe)
    ended = time.perf_counter()
    first_at, first = next(((at, done) for at, done in seen if done), (began, 0))
    rest = report.processed - first
    return {
        "posts_per_s": round(rest / (ended - first_at)) if rest else 0,
        "first_commit_s": round(first_at - began, 1),
        "seconds": round(ended - began, 1),
    }
