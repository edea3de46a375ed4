"""Cores are those that the process was given, not those of the machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from feltwire.cores import cores

needs_affinity = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux alone ties processes to cores")


@needs_affinity
def test_the_affinity_counts() -> None:
    script = """
import os
from feltwire.cores import cores

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
print(cores())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


@pytest.mark.parametrize(
    ("written", "most"),
    [("50000 100000", 1), ("100000 100000", 1), ("1 100000", 1), ("max 100000", None), ("", None), ("0 0", None)],
)
def test_a_containers_quota_counts(tmp_path: Path, written: str, most: int | None) -> None:
    """Half a core is one; without a limit, or with one that cannot be read, the machine's count."""
    quota = tmp_path / "cpu.max"
    quota.write_text(written)
    everything = cores(tmp_path / "absent")
    assert cores(quota) == (everything if most is None else most)


def test_no_quota_gives_more_than_there_is(tmp_path: Path) -> None:
    quota = tmp_path / "cpu.max"
    quota.write_text("100000000 100000")
    assert cores(quota) == cores(tmp_path / "absent")
