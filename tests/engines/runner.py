"""What the proofs kill: a process that runs an engine, by default the local one, on a plan, told by a job (JSON).

`runner.py JOB.json` runs one job. `runner.py` without an argument reads jobs line by line and forks for each, which
spares the imports, and answers each with the child's wait status.

A job: {"plan": {…}, "engine": NAME, "report": FILE, "observe": FILE, "stop": FILE, "patch": {…}}, or
{"maintain": LAKE, …} for one round of maintenance. All that is changed for a test is changed here, from outside; the
product knows of no test.
"""

import functools
import json
import os
import resource
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from feltwire import pipeline, registry
from feltwire.engines import _opened, _processing
from feltwire.errors import FeltwireError
from feltwire.lake import append, maintain, open_lake, rewrite, storage, tables, withdraw
from feltwire.logs import _claims, sqlite
from feltwire.plan import Plan, Progress, SourcePlan
from feltwire.tracks import Track

ENGINE: Any = _processing  # whose names are replaced
OPENED: Any = _opened
DELTA_TABLE: Any = vars(tables)["DeltaTable"]

FAILED = 3
"""The exit code of a job that ended with one of Feltwire's errors; the report names it."""


def plan_of(job: dict[str, Any]) -> Plan:
    """The plan of a job."""
    given = dict(job["plan"])
    given["sources"] = tuple(SourcePlan(**source) for source in given.get("sources", ()))
    given["tracks"] = tuple(Track(**track) for track in given.get("tracks", ()))
    if given.get("partitions") is not None:
        given["partitions"] = tuple(given["partitions"])
    return Plan(**given)


def run_job(job: dict[str, Any]) -> int:
    """Run a job to its end; returns the exit code."""
    apply(job.get("patch", {}))
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        if "maintain" in job:
            return _maintain(job["maintain"])
        engine = registry.load("engines", job.get("engine", "local"))
        report = asdict(engine.run(plan_of(job), stop=stop, observe=_observer(job)))
    except FeltwireError as error:
        _tell(job, {"error": type(error).__name__, "message": str(error)})
        return FAILED
    report["max_rss_mb"] = max_rss_mb()
    _tell(job, report)
    return 0


def max_rss_mb() -> float:
    """The most memory that this process has had. `ru_maxrss` counts that of the process which started it, too."""
    status = Path("/proc/self/status")
    if status.is_file():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _tell(job: dict[str, Any], report: dict[str, Any]) -> None:
    if "report" in job:
        Path(job["report"]).write_text(json.dumps(report))
    elif "error" in report:
        sys.stderr.write(f"{report['error']}: {report['message']}\n")


def _observer(job: dict[str, Any]) -> Callable[[Progress], None]:
    """Appends each progress to the job's file, with the time and the memory in use."""
    path = job.get("observe")
    page_mb = os.sysconf("SC_PAGESIZE") / 2**20

    def observe(progress: Progress) -> None:
        if path:
            rss_mb = int(Path("/proc/self/statm").read_text().split()[1]) * page_mb
            line = json.dumps({"at": time.time(), "rss_mb": rss_mb, **asdict(progress)})
            with Path(path).open("a") as file:
                file.write(line + "\n")

    return observe


def _maintain(path: str) -> int:
    lake = open_lake(path)
    keeper = maintain.Maintainer(lake.location, lake.owner, withdraw_every_s=0.0, vacuum_every_s=0.0)
    keeper.tick()
    return 0


# Patches


def apply(patch: dict[str, Any]) -> None:
    """Change what the job asks for. Each process is patched once."""
    for name, value in patch.items():
        _PATCHES[name](value)


def _kill_at(place: str) -> None:
    """`what before N` or `what after N`: the process kills itself there, at the N-th time."""
    _Killer(place).install()


class _Killer:
    """Wraps every step between log, tables and positions."""

    def __init__(self, place: str) -> None:
        self.what, self.when, nth = place.split()
        self.left = int(nth)
        self.seen: Counter[str] = Counter()

    def install(self) -> None:
        self._wrap(append.Appender, "commit", lambda self, *_: f"commit.{self.table}")
        self._wrap(storage.Location, "write", lambda _, table, *__: f"write.{table}")
        self._wrap(sqlite.SqliteLog, "append", lambda *_: "append")
        self._wrap(sqlite.SqliteLog, "register", lambda *_: "register")
        self._wrap(sqlite.SqliteLog, "trim", lambda *_: "trim")
        self._wrap(OPENED, "make_durable", lambda *_: "durable")
        self._wrap(rewrite, "merge", lambda _, table, *__: f"merge.{table}")
        self._wrap(rewrite, "replace", lambda _, table, *__: f"replace.{table}")
        self._wrap(withdraw, "write_transaction", lambda _, table, *__: f"withdraw.{table}")
        self._wrap(rewrite, "drop_rows", lambda *_: "withdraw.posts")
        self._wrap(maintain, "checkpoint", lambda *_: "checkpoint")
        self._wrap(maintain, "vacuum", lambda *_: "vacuum")
        self._wrap(DELTA_TABLE, "create", lambda uri, *_: f"create.{Path(str(uri)).name}")

    def _wrap(self, owner: Any, name: str, describe: Callable[..., str]) -> None:
        inner = getattr(owner, name)

        @functools.wraps(inner)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            what = describe(*args)
            self._pass(what, "before")
            result = inner(*args, **kwargs)
            self._pass(what, "after")
            return result

        static = isinstance(owner, type) and not isinstance(owner.__dict__.get(name), type(_kill_at))
        setattr(owner, name, staticmethod(wrapped) if static else wrapped)

    def _pass(self, what: str, when: str) -> None:
        if (what, when) == (self.what, self.when):
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def explode(batch: pa.RecordBatch, marker: str) -> pa.RecordBatch:
    """A stage that fails on a batch in which a text holds `marker`."""
    if pc.any(pc.match_substring(batch["text"], marker)).as_py():
        raise ValueError(f"{marker} was met")
    return batch


def drag(batch: pa.RecordBatch, seconds: float) -> pa.RecordBatch:
    """A stage that takes its time."""
    time.sleep(seconds)
    return batch


def _with_stage(stage: Callable[[pa.RecordBatch], pa.RecordBatch]) -> None:
    build = OPENED.build

    def longer(plan: Plan) -> pipeline.Pipeline:
        return pipeline.Pipeline((stage, *build(plan).stages))

    OPENED.build = longer


def _maintainer(options: dict[str, float]) -> None:
    make: Any = maintain.Maintainer
    OPENED.Maintainer = functools.partial(make, **options)


def _no_claims(_: object) -> None:
    """Claims are granted to everybody, as on a file system whose locks do not work."""

    def grant(path: Path, *, what: str, wait: bool = False) -> Any:
        return threading.Lock()

    _claims.held = grant


_PATCHES: dict[str, Callable[[Any], None]] = {
    "kill_at": _kill_at,
    "explode": lambda marker: _with_stage(functools.partial(explode, marker=marker)),
    "drag_s": lambda seconds: _with_stage(functools.partial(drag, seconds=seconds)),
    "maintainer": _maintainer,
    "no_claims": _no_claims,
    "keep_s": lambda seconds: setattr(OPENED, "_KEEP_S", seconds),
    "idle_move_s": lambda seconds: setattr(ENGINE, "IDLE_MOVE_S", seconds),
    "chunk_rows": lambda rows: setattr(ENGINE, "CHUNK_ROWS", rows),
    "fan_in": lambda files: setattr(rewrite, "FAN_IN", files),
    "checkpoint_every": lambda commits: setattr(maintain, "CHECKPOINT_EVERY", commits),
}


def serve() -> None:
    """Fork for every line of input. Nothing here starts a thread, so that a fork is a fresh process."""
    for kind, name in (("logs", "sqlite"), ("sources", "file"), ("models", "lexicon"), ("models", "none")):
        registry.load(kind, name)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            os._exit(_forked(json.loads(line)))
        status = os.waitpid(child, 0)[1]
        sys.stdout.write(f"{status}\n")
        sys.stdout.flush()


def _forked(job: dict[str, Any]) -> int:
    try:
        return run_job(job)
    except BaseException:  # noqa: BLE001 - told on stderr; the parent's loop must not go on in the child
        sys.excepthook(*sys.exc_info())
        return 1


if __name__ == "__main__":
    if len(sys.argv) == 1:
        serve()
    else:
        sys.exit(run_job(json.loads(Path(sys.argv[1]).read_text())))
