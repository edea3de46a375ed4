"""How soon it is there, and how much it takes: `python -m benchmarks startup`."""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks._commands import feltwire
from benchmarks._results import percentile

ROOT = Path(__file__).parent.parent


def measure(*, times: int = 11) -> dict[str, Any]:
    """Seconds, medians of `times` runs; the size of a virtual environment with the base install, in MB."""
    empty = _median([sys.executable, "-c", "pass"], times)
    return {
        "python_s": empty,
        "import_feltwire_s": round(_median([sys.executable, "-c", "import feltwire"], times), 3),
        "help_s": round(_median(feltwire("--help"), times), 3),
        "base_install_mb": _base_install_mb(),
    }


def _median(command: Sequence[str], times: int) -> float:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        taken.append(time.perf_counter() - began)
    return percentile(taken, 0.5)


def _base_install_mb() -> float:
    """An empty environment with the pinned requirements and the project."""
    with tempfile.TemporaryDirectory() as folder:
        python = f"{folder}/bin/python"
        uv = shutil.which("uv") or str(Path(sys.executable).parent / "uv")
        for command in (
            [uv, "venv", "--quiet", folder, "--python", sys.executable, "--clear"],
            [uv, "pip", "install", "--quiet", "--python", python, "--require-hashes", "-r", "requirements/base.txt"],
            [uv, "pip", "install", "--quiet", "--python", python, "--no-deps", "."],
        ):
            subprocess.run(command, check=True, cwd=ROOT)
        files = (path for path in Path(folder).rglob("*") if path.is_file() and not path.is_symlink())
        return round(sum(path.stat().st_size for path in files) / 1e6)
