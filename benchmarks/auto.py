"""Where `auto:` should stop believing the fast model: `python -m benchmarks.auto DATA`.

DATA is a folder of labelled sets as `feltwire leaderboard` takes it. For each threshold: which share of the texts base
scores, and what is reached on the three tasks of sentiment, beside fast and base alone.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks._results import draw_lines, save
from feltwire.lab import tasks
from feltwire.lab.evaluate import probabilities
from feltwire.lab.metrics import measure as measures_of
from feltwire.loading import load

TASKS = ("tweeteval_sentiment", "sentiment140", "airline_sentiment")
THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)


def measure(data: Path) -> dict[str, Any]:
    """{task: {"fast", "base", threshold: {"share_of_base", and the task's measure}}}."""
    found: dict[str, Any] = {}
    models = {name: load(f"bundled:{name}") for name in ("fast", "base")}
    for name in TASKS:
        task = tasks.load(data, name)
        p = {key: probabilities(model, task.validation, "sentiment") for key, model in models.items()}
        whole = _sentiment(models["fast"], task.validation.texts)
        figures: dict[str, Any] = {key: _value(task, given) for key, given in p.items()}
        for threshold in THRESHOLDS:
            unsure = whole.max(axis=1) < threshold
            mixed = np.where(unsure[:, None], p["base"], p["fast"])
            figures[str(threshold)] = {
                "share_of_base": round(float(unsure.mean()), 4),
                task.measure: _value(task, mixed),
            }
        found[name] = {"measure": task.measure, "rows": len(task.validation), **figures}
    panels = []
    for name, given in found.items():
        reached = [given[str(threshold)][given["measure"]] for threshold in THRESHOLDS]
        shares = [given[str(threshold)]["share_of_base"] for threshold in THRESHOLDS]
        line = {"of base": [given["base"]] * 2, "reached": reached}
        panels.append(
            (
                f"{name}, {given['measure']}",
                "",
                {"reached": (shares, line["reached"]), "base alone": ((0, 1), line["of base"])},
            )
        )
    draw_lines("auto", panels, xlabel="share of the texts that base scores")
    return found


def _sentiment(model: Any, texts: tuple[str, ...]) -> npt.NDArray[np.float32]:
    """All three probabilities, by which `auto:` decides."""
    from feltwire.text import clean

    given: npt.NDArray[np.float32] = model.predict(clean(texts, model.profile))["sentiment"]
    return given


def _value(task: tasks.Task, p: Any) -> float:
    given = measures_of(task.validation.labels, p, task.validation.names).to_json()
    return round(float(given[task.measure]), 4)


if __name__ == "__main__":
    save("auto", measure(Path(sys.argv[1])), command="python -m benchmarks.auto DATA")
