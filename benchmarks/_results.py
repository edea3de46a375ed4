"""Where results go: JSON with the machine and the command beside the figures, and a drawing."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "results"
INK, SERIES = "#3b4252", ("#2a6f97", "#c8553d", "#588157", "#7b2d8b")


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    cpu = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    memory_kb = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(memory_kb / 2**20, 1),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "deltalake": version("deltalake"),
        "pyarrow": version("pyarrow"),
    }


def save(name: str, figures: Mapping[str, Any], *, command: str) -> Path:
    """Write one benchmark's figures; what was there before is replaced."""
    path = FOLDER / f"{name}.json"
    now = datetime.now(UTC).isoformat(timespec="seconds")
    path.write_text(json.dumps({"at": now, "command": command, "machine": machine(), **figures}, indent=2) + "\n")
    return path


def draw_lines(
    name: str, panels: Sequence[tuple[str, str, Mapping[str, Sequence[Sequence[float]]]]], *, xlabel: str
) -> Path:
    """Draw panels one under the other: (title, unit, {series: (x, y)}); return the SVG's path."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = name
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(len(panels), 1, figsize=(8, 2.3 * len(panels)), sharex=True, squeeze=False)
    for axis, (title, unit, series) in zip(axes[:, 0], panels, strict=True):
        for color, (label, (x, y)) in zip(SERIES * 3, series.items(), strict=False):
            axis.plot(x, y, label=label, color=color, linewidth=1.4)
        axis.set_title(title, loc="left", fontsize=10, color=INK)
        axis.set_ylabel(unit, fontsize=9)
        axis.set_ylim(bottom=0)
        axis.spines[["top", "right"]].set_visible(False)
        if len(series) > 1:
            axis.legend(fontsize=8, frameon=False, ncols=4)
    axes[-1, 0].set_xlabel(xlabel, fontsize=9)
    figure.tight_layout()
    path = FOLDER / f"{name}.svg"
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return path


def draw_bars(name: str, title: str, unit: str, bars: Mapping[str, float]) -> Path:
    """Draw one figure of horizontal bars; return the SVG's path."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = name
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(8, 0.6 + 0.45 * len(bars)))
    drawn = axis.barh(list(bars), list(bars.values()), color=SERIES[0], height=0.6)
    axis.bar_label(drawn, fmt="{:,.0f}", padding=4, fontsize=9, color=INK)
    axis.invert_yaxis()
    axis.set_title(title, loc="left", fontsize=10, color=INK)
    axis.set_xlabel(unit, fontsize=9)
    axis.spines[["top", "right", "left"]].set_visible(False)
    figure.tight_layout()
    path = FOLDER / f"{name}.svg"
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return path


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-int(len(ordered) * share * 1000) // 1000) - 1))]


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
