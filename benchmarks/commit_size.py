"""What a commit costs by its size, and what several writers bring into one lake: `python -m benchmarks commit_size`."""

import tempfile
import time
from collections.abc import Iterator
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
PIECE = 500  # of the simulator's posts at a time


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
                for job in [pool.submit(_commit, made, p, 1, 20) for p in range(number)]:  # imports
                    job.result()
                began = time.perf_counter()
                jobs = [pool.submit(_commit, made, p, commits, 1_000, 1) for p in range(number)]
                waits = [seconds for job in jobs for seconds in job.result()]
                took = time.perf_counter() - began
        found["writers"][str(number)] = {
            "commits_per_s": round(number * commits / took, 1),
            "median_ms": round(sorted(waits)[len(waits) // 2] * 1000),
        }
    return found


def _made(folder: Path) -> tuple[str, str]:
    """An empty log, for its partitions' sake, and an empty lake."""
    uri = f"sqlite:{folder / 'log.sqlite'}?partitions={MOST}"
    with registry.create("logs", uri) as log:
        create_lake(str(folder / "lake"), Owner("bench", log.identity, MOST))
    return uri, str(folder / "lake")


def _commit(made: tuple[str, str], partition: int, commits: int, rows: int, after: int = 0) -> list[float]:
    """Seconds of each commit of a batch with so many rows, one behind the other; `after` batches of 20 are there."""
    uri, path = made
    lake = open_lake(path)
    pipeline = build(Plan(log=uri, model="none:"))
    times = []
    with registry.create("logs", uri) as log:
        committer = Committer(lake, log, [partition])
        for batch in _batches(commits, rows):
            done = work(pipeline, lake.location, _moved(batch, partition, 20 * after), Settled())
            began = time.perf_counter()
            committer.commit([done])
            times.append(time.perf_counter() - began)
    return times


def _batches(count: int, rows: int) -> Iterator[pa.RecordBatch]:
    piece = min(rows, PIECE)
    pieces = batches(count * (rows // piece), piece)
    for _ in range(count):
        yield pa.concat_batches([next(pieces) for _ in range(rows // piece)])


def _moved(batch: pa.RecordBatch, partition: int, by: int) -> pa.RecordBatch:
    """The batch in another partition, so many offsets further."""
    offsets = pa.array([offset + by for offset in batch["log_offset"].to_pylist()], pa.int64())
    partitions = pa.repeat(pa.scalar(partition, pa.int32()), batch.num_rows)
    for name, column in (("log_offset", offsets), ("log_partition", partitions)):
        batch = batch.set_column(schema.LOGGED.get_field_index(name), schema.LOGGED.field(name), column)
    return batch
