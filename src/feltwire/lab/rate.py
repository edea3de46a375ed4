"""Posts a second: texts through cleaning and a model, in processes of their own, each on one core.

`python -m feltwire.lab.rate MODEL FILE SECONDS CORE` is such a process: it says `ready` once the model is warm,
waits for a line, works for so many seconds, and says what it did.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from feltwire.cores import cores
from feltwire.errors import ModelError
from feltwire.lab import peers
from feltwire.text import clean

CHUNK_ROWS: Final = 256
START_LIMIT_S: Final = 120.0


def _numbers() -> list[int]:
    """The cores that this process may use, by their numbers; empty where the system does not tell."""
    return sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []


def posts_per_s(uri: str, texts: Sequence[str], processes: int, seconds: float) -> float | None:
    """How many texts a second so many processes clean and score together, one core each.

    None where this machine has fewer cores. Raises ModelError when a process fails.
    """
    if cores() < processes:
        return None
    there = _numbers()
    with TemporaryDirectory(prefix="feltwire-rate-") as folder:
        file = Path(folder) / "texts.json"
        file.write_text(json.dumps(list(texts)), encoding="utf-8")
        started = [_start(uri, file, seconds, there[i] if there else -1) for i in range(processes)]
        try:
            for one in started:
                _expect(one, "ready", uri)
            for one in started:
                _send(one)
            return sum(float(_expect(one, "", uri)) for one in started)
        finally:
            for one in started:
                one.kill()
                one.communicate()


def _start(uri: str, file: Path, seconds: float, core: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "feltwire.lab.rate", uri, str(file), str(seconds), str(core)]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    )


def _send(process: "subprocess.Popen[str]") -> None:
    if process.stdin is not None:
        process.stdin.write("go\n")
        process.stdin.flush()


def _expect(process: "subprocess.Popen[str]", word: str, uri: str) -> str:
    """The next line that the process says; raises ModelError where it ended instead."""
    line = process.stdout.readline().strip() if process.stdout is not None else ""
    if not line or (word and line != word):
        _, said = process.communicate()
        last = said.strip().splitlines()[-1:] or ["it said nothing"]
        raise ModelError(f"the rate of {uri} could not be measured: {last[0]}")
    return line


def work(uri: str, file: Path, seconds: float, core: int) -> None:
    """What one process does; see above."""
    if core >= 0 and sys.platform == "linux":
        os.sched_setaffinity(0, {core})
    texts: list[str] = json.loads(file.read_text(encoding="utf-8"))
    model = peers.load(uri)
    model.predict(clean(texts[:16], model.profile))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    done, begun, now = 0, time.perf_counter(), 0.0
    while now < seconds:
        start = done % len(texts)
        chunk = texts[start : start + CHUNK_ROWS]
        model.predict(clean(chunk, model.profile))
        done += len(chunk)
        now = time.perf_counter() - begun
    sys.stdout.write(f"{done / now}\n")


if __name__ == "__main__":
    work(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
