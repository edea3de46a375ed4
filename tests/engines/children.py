"""Processes for the proofs: started, watched, killed, and looked for afterwards."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

RUNNER = Path(__file__).with_name("runner.py")
DEADLINE_S = 120.0

_numbers = count()


class Child:
    """A running job. Its process leads a session of its own, by which its helpers are found even when it is gone."""

    def __init__(self, folder: Path, job: dict[str, Any]) -> None:
        name = f"job-{next(_numbers)}"
        self.folder = folder
        self._observed = folder / f"{name}.observed"
        self._report = folder / f"{name}.report"
        self._errors = folder / f"{name}.stderr"
        job = {**job, "observe": str(self._observed), "report": str(self._report)}
        job_file = folder / f"{name}.json"
        job_file.write_text(json.dumps(job))
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, str(RUNNER), str(job_file)], stderr=errors, start_new_session=True
            )

    def kill(self) -> None:
        """SIGKILL, to the process alone."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self, timeout_s: float = DEADLINE_S) -> dict[str, Any]:
        """Ask it to stop; its report."""
        self.process.send_signal(signal.SIGTERM)
        return self.report(timeout_s)

    def report(self, timeout_s: float = DEADLINE_S) -> dict[str, Any]:
        """Wait for its end; its report. Fails when it ended by anything else than one of Feltwire's errors."""
        code = self.process.wait(timeout_s)
        assert self._report.exists(), f"exit code {code}: {self.errors()}"
        found: dict[str, Any] = json.loads(self._report.read_text())
        return found | {"code": code}

    def observed(self) -> list[dict[str, Any]]:
        """What it has reported so far, second by second."""
        if not self._observed.exists():
            return []
        return [json.loads(line) for line in self._observed.read_text().splitlines(keepends=True) if line[-1] == "\n"]

    def until(self, condition: Callable[[dict[str, Any]], bool], timeout_s: float = DEADLINE_S) -> dict[str, Any]:
        """Wait until a progress fulfils a condition."""
        seen = 0
        for _ in polling(timeout_s):
            lines = self.observed()
            for line in lines[seen:]:
                if condition(line):
                    return line
            seen = len(lines)
            assert self.process.poll() is None, f"it ended: {self.errors()}"
        raise AssertionError(f"not within {timeout_s} s; last came {self.observed()[-1:]}; {self.errors()}")

    def errors(self) -> str:
        """The end of what it wrote to stderr, and its report if there is one."""
        report = self._report.read_text() if self._report.exists() else ""
        return self._errors.read_text(errors="replace")[-4000:] + report

    def helpers(self) -> list[int]:
        """The processes of its session that are alive, itself aside."""
        return [pid for pid in _session(self.process.pid) if pid != self.process.pid]

    def workers(self) -> list[int]:
        """Those of its helpers that score."""
        return [pid for pid in self.helpers() if b"spawn_main" in _read(f"/proc/{pid}/cmdline")]

    def seconds_until_alone(self, timeout_s: float) -> float:
        """How long it takes until no process of its session is left; fails after `timeout_s`."""
        began = time.monotonic()
        for _ in polling(timeout_s, every_s=0.05):
            if not self.helpers():
                return time.monotonic() - began
        raise AssertionError(f"still there {timeout_s} s after the kill: {self.helpers()}")


@contextmanager
def started(folder: Path, job: dict[str, Any]) -> Iterator[Child]:
    """A child that does not outlive the block."""
    child = Child(folder, job)
    try:
        yield child
    finally:
        if child.process.poll() is None:
            child.kill()


class Forge:
    """Forks a fresh process for each job, without its imports: some milliseconds instead of seconds."""

    def __init__(self, folder: Path) -> None:
        self._errors = folder / "forge.stderr"
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, str(RUNNER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            )

    def run(self, job: dict[str, Any]) -> int:
        """Run a job to its end; its exit code, or minus the signal that ended it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, self.errors()
        return os.waitstatus_to_exitcode(int(answer))

    def errors(self) -> str:
        """The end of what its processes wrote to stderr."""
        return self._errors.read_text(errors="replace")[-4000:]

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


def polling(timeout_s: float, every_s: float = 0.1) -> Iterator[None]:
    """Yields until the time is over."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        yield
        time.sleep(every_s)


def _session(leader: int) -> list[int]:
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            fields = _read(f"/proc/{entry.name}/stat").rpartition(b")")[2].split()
            if len(fields) > 3 and int(fields[3]) == leader and fields[0] != b"Z":
                found.append(int(entry.name))
    return found


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""
