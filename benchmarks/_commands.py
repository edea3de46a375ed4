"""Running the whole command as its user would, and watching its memory."""

import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Watched:
    """A finished command: how long it took, and the memory of it and its children, sampled over time."""

    seconds: float
    samples_mb: list[tuple[float, float]] = field(default_factory=list)  # (seconds since start, MB)

    @property
    def peak_mb(self) -> float:
        """The largest sample."""
        return max((mb for _, mb in self.samples_mb), default=0.0)


def feltwire(*arguments: str) -> list[str]:
    """The command line of Feltwire with this interpreter."""
    return [sys.executable, "-c", "from feltwire.cli import main; main()", *arguments]


def watch(command: Sequence[str], *, every_s: float = 0.25) -> Watched:
    """Run a command to its end. Raises CalledProcessError when it fails.

    Memory is the proportional set size (shared pages counted once) of the process and all that it started.
    """
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    samples: list[tuple[float, float]] = []

    def sample() -> None:
        while process.poll() is None:
            samples.append((time.perf_counter() - began, memory_mb(process.pid)))
            time.sleep(every_s)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    _, errors = process.communicate()
    seconds = time.perf_counter() - began
    thread.join()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, stderr=errors)
    return Watched(seconds, samples)


def memory_mb(pid: int) -> float:
    """PSS of a process and its descendants, in MB."""
    return sum(_pss_kb(each) for each in [pid, *_descendants(pid)]) / 1024


def _descendants(pid: int) -> list[int]:
    try:
        children = [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except OSError:
        return []
    return [each for child in children for each in [child, *_descendants(child)]]


def _pss_kb(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
