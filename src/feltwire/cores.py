"""How many cores this process may use: of a machine, of a part of it, or of a container."""

import math
import os
from pathlib import Path
from typing import Final

QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")  # of a container: microseconds of CPU, in so many microseconds


def cores(quota: Path = QUOTA) -> int:
    """Cores, at least one: those that the process's affinity allows, and no more than its container's quota pays for.

    The format of `quota` is that of Linux's cgroups v2: docs.kernel.org/admin-guide/cgroup-v2.html.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        runtime_us, period_us = quota.read_text(encoding="ascii").split()
        paid = math.ceil(int(runtime_us) / int(period_us))
    except (OSError, ValueError, ZeroDivisionError):  # not in a container, or "max": without a limit
        return allowed
    return max(1, min(allowed, paid))
