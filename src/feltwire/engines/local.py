"""The local engine: ingest threads and one processing loop, in one process or, under load, a few."""

import threading
from collections.abc import Callable

from feltwire.engines._engine import run_engine
from feltwire.engines._processing import Processing
from feltwire.plan import Plan, Progress, Report


def run(plan: Plan, *, stop: threading.Event, observe: Callable[[Progress], None] | None = None) -> Report:
    """Ingest and process until `stop` is set or, with `until_idle`, until nothing is left to do.

    See `run_engine` for what is observed and raised.
    """
    return run_engine(plan, Processing.open, stop=stop, observe=observe)
