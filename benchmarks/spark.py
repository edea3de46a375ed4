"""The same log by the local engine and by Spark on this machine's cores: `python -m benchmarks spark`.

A rate is what was committed behind the first commit, by the time since: starting Spark and loading a model, once a run,
is told apart.
"""

import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from feltwire import registry
from feltwire.plan import Plan, Progress, SourcePlan

MODELS = ("lexicon:vader", "bundled:fast")


def measure(*, records: int = 400_000, models: tuple[str, ...] = MODELS) -> dict[str, Any]:
    """{model: {engine: {posts_per_s, first_commit_s, seconds}, spark_to_local}}."""
    found: dict[str, Any] = {"records": records, "load_before": round(os.getloadavg()[0], 1)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = f"sqlite:{folder / 'log.sqlite'}?partitions=2"
        source = SourcePlan(key="s", uri="simulator:", options={"seed": 1, "rate": 50_000, "count": records})
        registry.load("engines", "local").run(Plan(log=log, sources=(source,), until_idle=True), stop=threading.Event())
        for number, model in enumerate(models):
            rates = {engine: _run(engine, log, folder / f"{engine}-{number}", model) for engine in ("local", "spark")}
            found[model] = rates | {"spark_to_local": _ratio(rates)}
    found["load_after"] = round(os.getloadavg()[0], 1)
    return found


def _run(engine: str, log: str, lake: Path, model: str) -> dict[str, float]:
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


def _ratio(rates: dict[str, dict[str, float]]) -> float:
    return round(rates["spark"]["posts_per_s"] / max(1, rates["local"]["posts_per_s"]), 2)
