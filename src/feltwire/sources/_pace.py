"""Delivering rows by the clock: which rows of a batch are due, and a heartbeat while none is."""

import time
from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

HEARTBEAT_S: Final = 0.5
_STEP_S: Final = 0.02  # rows due within it go together, so that a high rate makes no tiny batches


def slices(due_s: npt.NDArray[np.float64], start_s: float) -> Iterator[tuple[int, int]]:
    """(first, stop) of the rows that are due, as they become due; equal ones are a heartbeat.

    `due_s` are the rows' times, not falling, in seconds behind `start_s`, a reading of `time.monotonic()`.
    """
    first, count = 0, len(due_s)
    spoke_s = time.monotonic()
    while first < count:
        now_s = time.monotonic()
        stop = int(np.searchsorted(due_s, now_s - start_s, side="right"))
        if stop > first:
            yield first, stop
            first = stop
            spoke_s = time.monotonic()
            continue
        if now_s - spoke_s >= HEARTBEAT_S:
            yield first, first
            spoke_s = time.monotonic()
            continue
        wait_s = start_s + float(due_s[first]) - now_s
        time.sleep(min(max(wait_s, _STEP_S), HEARTBEAT_S))
