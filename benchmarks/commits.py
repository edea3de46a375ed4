"""What 20,000 commits a table do to a lake: `python -m benchmarks commits`.

Batches of a few posts are committed as fast as they go, with maintenance beside them, as in a running engine.
Drawn over the commits: the time of a commit of all tables, the time to open a table, the number of its files.
"""

import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks._results import draw_lines, percentile
from benchmarks._texts import batches
from feltwire.engines._commit import Committer
from feltwire.engines._work import Settled, work
from feltwire.lake import Owner, create_lake
from feltwire.lake.maintain import Maintainer
from feltwire.lake.rewrite import list_files
from feltwire.lake.tables import open_table
from feltwire.logs.memory import MemoryLog, Options
from feltwire.pipeline import build
from feltwire.plan import Plan

TABLES = ("posts", "windows", "terms", "ledger")


def measure(*, commits: int = 20_000, rows: int = 20, every: int = 250) -> dict[str, Any]:
    """Seconds are medians over `every` commits; a commit is one batch into all tables."""
    with tempfile.TemporaryDirectory() as folder:
        log = MemoryLog(Options())
        lake = create_lake(str(Path(folder) / "lake"), Owner("bench", log.identity))
        committer = Committer(lake, log, [0])
        pipeline = build(Plan(log="memory:", model="none:"))
        maintainer = Maintainer(lake.location, lake.owner)
        stop = threading.Event()
        keeper = threading.Thread(target=_keep, args=(maintainer, stop), daemon=True)
        keeper.start()
        marks: list[dict[str, Any]] = []
        times: list[float] = []
        for number, batch in enumerate(batches(commits, rows), start=1):
            done = work(pipeline, lake.location, batch, Settled())
            began = time.perf_counter()
            committer.commit([done])
            times.append(time.perf_counter() - began)
            if number % every == 0:
                marks.append(_mark(number, times[-every:], lake.location))
        stop.set()
        keeper.join()
        _draw(marks)
        return _figures(commits, rows, times, marks)


def _keep(maintainer: Maintainer, stop: threading.Event) -> None:
    while not stop.wait(1.0):
        maintainer.tick()


def _mark(number: int, times: list[float], location: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"commits": number, "commit_ms": round(percentile(times, 0.5) * 1000, 2)}
    found["commit_p99_ms"] = round(percentile(times, 0.99) * 1000, 2)
    for table in TABLES:
        began = time.perf_counter()
        handle = open_table(location, table)
        found[f"open_{table}_ms"] = round((time.perf_counter() - began) * 1000, 2)
        found[f"files_{table}"] = len(list_files(handle, table))
        found[f"log_{table}"] = sum(1 for _ in Path(location.uri(table), "_delta_log").iterdir())
    return found


def _figures(commits: int, rows: int, times: list[float], marks: list[dict[str, Any]]) -> dict[str, Any]:
    """The first and the last tenth beside each other: what is flat has a ratio of about one."""
    tenth = max(1, len(marks) // 10)

    def middle(name: str, part: list[dict[str, Any]]) -> float:
        return percentile([mark[name] for mark in part], 0.5)

    names = [
        "commit_ms",
        *(f"{what}_{table}{unit}" for table in TABLES for what, unit in (("open", "_ms"), ("files", ""))),
    ]
    compared = {
        name: {"first_tenth": middle(name, marks[:tenth]), "last_tenth": middle(name, marks[-tenth:])} for name in names
    }
    return {
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commits": commits,
        "rows_a_commit": rows,
        "commits_per_s": round(commits / sum(times), 1),
        "commit_ms": {"p50": percentile(times, 0.5) * 1000, "p99": percentile(times, 0.99) * 1000},
        "compared": compared,
        "marks": marks,
    }


def _draw(marks: list[dict[str, Any]]) -> None:
    x = [mark["commits"] for mark in marks]
    series = {table: (x, [mark[f"files_{table}"] for mark in marks]) for table in TABLES}
    opened = {table: (x, [mark[f"open_{table}_ms"] for mark in marks]) for table in TABLES}
    commit = {
        name: (x, [mark[key] for mark in marks]) for name, key in (("median", "commit_ms"), ("p99", "commit_p99_ms"))
    }
    panels = [
        ("A commit of all tables", "ms", commit),
        ("Opening a table", "ms", opened),
        ("Files of a table", "files", series),
    ]
    draw_lines("commits", panels, xlabel="commits to every table")
