"""The same log by the local engine and by Spark on this machine's cores: `python -m benchmarks spark`."""

import os
import tempfile
from pathlib import Path
from typing import Any

from benchmarks._engines import filled, into_lake

MODELS = {"lexicon:vader": 400_000, "bundled:fast": 400_000, "bundled:base": 120_000}  # and the records for each


def measure(*, models: dict[str, int] = MODELS) -> dict[str, Any]:
    """{model: {records, engine: {posts_per_s, first_commit_s, seconds}, spark_to_local}}."""
    found: dict[str, Any] = {"load_before": round(os.getloadavg()[0], 1)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, (model, records) in enumerate(models.items()):
            log = filled(folder, records)
            rates = {
                engine: into_lake(engine, log, folder / f"{engine}-{number}", model) for engine in ("local", "spark")
            }
            ratio = round(rates["spark"]["posts_per_s"] / max(1, rates["local"]["posts_per_s"]), 2)
            found[model] = {"records": records, **rates, "spark_to_local": ratio}
    found["load_after"] = round(os.getloadavg()[0], 1)
    return found
