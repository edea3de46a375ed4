"""What a commit costs by its size, and what several writers bring into one lake: `python -m benchmarks commit_size`."""

import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks._texts import batches
from feltwire import registry, schema
from feltwire.engines._commit import Committer
from feltwire.engines._work import Settled, work
from feltwire.lake import Owner, create_lake, open_lake
from feltwire.pipeline import build
from feltwire.plan import Plan

SIZES = (20, 1_000, 10_000, 40_000)
WRITERS = (1, 2, 4)
MOST = max(WRITERS)
START_S = 25.0  # until all writers have their posts ready


def measure(*, commits: int = 30, sizes: tuple[int, ...] = SIZES, writers: tuple[int, ...] = WRITERS) -> dict[str, Any]:
    """Milliseconds of a commit to all tables (median), bytes that a post takes, and commits a second of several
    processes, each with a partition of its own, with 1,000 rows each. Working on the posts is not in it."""
    found: dict[str, Any] = {"commit": {}, "writers": {}}
    for rows in sizes:
        with tempfile.TemporaryDirectory() as folder:
            made = _made(Path(folder))
            times = _commit(made, 0, commits, rows)
            kept = sum(file.stat().st_size for file in Path(made[1], "posts").rglob("*.parquet"))
        found["commit"][f"{rows} rows"] = {
            "ms": round(sorted(times)[commits // 2] * 1000),
            "rows_per_s": round(commits * rows / sum(times)),
            "bytes_a_post": round(kept / commits / rows),
        }
    for number in writers:
        with tempfile.TemporaryDirectory() as folder:
            made = _made(Path(folder))
            with ProcessPoolExecutor(number, get_context("spawn")) as pool:
                at = time.time() + START_S
                jobs = [pool.submit(_commit, made, p, commits, 1_000, at) for p in range(number)]
                each = [job.result() for job in jobs]
        waits = sorted(seconds for times in each for seconds in times)
        found["writers"][str(number)] = {
            "commits_per_s": round(number * commits / max(sum(times) for times in each), 1),
            "median_ms": round(waits[len(waits) // 2] * 1000),
        }
    return found


def _made(folder: Path) -> tuple[str, str]:
    """An empty log, for its partitions' sake, and an empty lake."""
    uri = f"sqlite:{folder / 'log.sqlite'}?partitions={MOST}"
    with registry.create("logs", uri) as log:
        create_lake(str(folder / "lake"), Owner("bench", log.identity, MOST))
    return uri, str(folder / "lake")


def _commit(made: tuple[str, str], partition: int, commits: int, rows: int, at: float = 0.0) -> list[float]:
    """Seconds of each commit of a batch with so many rows, one behind the other, beginning at a time or later."""
    uri, path = made
    lake = open_lake(path)
    pipeline = build(Plan(log=uri, model="none:"))
    ready = [work(pipeline, lake.location, _moved(batch, partition), Settled()) for batch in batches(commits, rows)]
    times = []
    with registry.create("logs", uri) as log:
        committer = Committer(lake, log, [partition])
        if at and time.time() > at:
            raise RuntimeError(f"not ready after {START_S:.0f} s")
        time.sleep(max(0.0, at - time.time()))
        for done in ready:
            began = time.perf_counter()
            committer.commit([done])
            times.append(time.perf_counter() - began)
    return times


def _moved(batch: pa.RecordBatch, partition: int) -> pa.RecordBatch:
    """The batch in another partition."""
    partitions = pa.repeat(pa.scalar(partition, pa.int32()), batch.num_rows)
    at = schema.LOGGED.get_field_index("log_partition")
    return batch.set_column(at, schema.LOGGED.field("log_partition"), partitions)
