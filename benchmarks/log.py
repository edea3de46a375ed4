"""How fast the log is: appends with dedupe, reads, the memory of recent ids. `python -m benchmarks.log`.

Prints one JSON object; rates are records a second on one core.
"""

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from feltwire import registry, schema
from feltwire.logs import sqlite
from feltwire.recent import Recent, hashes

WORDS = (
    "flight",
    "late",
    "crew",
    "bag",
    "gate",
    "thanks",
    "sorry",
    "why",
    "again",
    "plane",
    "delayed",
    "home",
    "coffee",
)


def posts(number: int, *, seed: int) -> pa.RecordBatch:
    """Invented posts, as long as those of a network."""
    rng = random.Random(seed)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    rows: list[dict[str, object]] = []
    for _ in range(number):
        author = f"did:plc:{rng.randrange(20_000) * 0x9E3779B97F4A7C15 & (2**96 - 1):024x}"
        rows.append(
            {
                "kind": schema.POST,
                "id": f"bluesky:at://{author}/app.bsky.feed.post/3k{rng.getrandbits(55):011x}",
                "revision": 0,
                "source": "bluesky",
                "live": True,
                "author_id": author,
                "text": " ".join(rng.choices(WORDS, k=rng.randint(3, 30))) + f" {rng.getrandbits(24):x}",
                "lang": "en",
                "created_at": now,
                "hashtags": [],
                "mentions": [],
                "links": [],
            }
        )
    return schema.records(rows)


def append_and_read(folder: Path, total: int, batch_rows: int, partitions: int) -> dict[str, float]:
    """Fill a log, then read it."""
    batches = [posts(batch_rows, seed=seed) for seed in range(total // batch_rows)]
    log = registry.create("logs", f"sqlite:{folder}/{batch_rows}-{partitions}.db", {"partitions": partitions})
    waits = []
    cpu, began = time.process_time(), time.perf_counter()
    for number, batch in enumerate(batches):
        start = time.perf_counter()
        log.append(batch, source="bench", cursor={"n": number})
        waits.append(time.perf_counter() - start)
    appended, cpu = time.perf_counter() - began, time.process_time() - cpu
    began = time.perf_counter()
    for partition, end in log.ends().items():
        after = 0
        while after < end:
            after += log.read(partition, after, 6_000).num_rows
    read = time.perf_counter() - began
    size = log.stats()["bytes"]
    log.close()
    return {
        "append_rows_per_s": round(total / appended),
        "append_rows_per_cpu_s": round(total / cpu),
        "append_p50_ms": round(float(np.percentile(waits, 50)) * 1e3, 2),
        "append_p99_ms": round(float(np.percentile(waits, 99)) * 1e3, 2),
        "read_rows_per_s": round(total / read),
        "bytes_per_row": round(size / total),
    }


def trim_beside_appends(folder: Path, total: int) -> dict[str, float]:
    """How long appends wait while a large log is trimmed."""
    log = sqlite.SqliteLog(folder / "trim.db", sqlite.Options(retention_h=0, recent_max=1_000))
    batch = posts(1_000, seed=1)
    for number in range(total // 1_000):
        log.append(batch.set_column(2, schema.RECORD.field(2), pa.repeat(number, 1_000)), source="a", cursor=None)
    before = log.stats()["bytes"]
    done = threading.Event()
    waits: list[float] = []

    def append() -> None:
        small, revision = batch.slice(0, 50), total
        while not done.wait(0.005):
            revision += 1
            rows = small.set_column(2, schema.RECORD.field(2), pa.repeat(revision, 50))
            start = time.perf_counter()
            log.append(rows, source="b", cursor=None)
            waits.append(time.perf_counter() - start)

    writer = threading.Thread(target=append)
    writer.start()
    began = time.perf_counter()
    removed = log.trim()
    seconds = time.perf_counter() - began
    done.set()
    writer.join()
    after = log.stats()["bytes"]
    log.close()
    return {
        "removed": removed,
        "seconds": round(seconds, 2),
        "append_p50_ms": round(float(np.percentile(waits, 50)) * 1e3, 2),
        "append_max_ms": round(max(waits) * 1e3, 1),
        "megabytes_before": round(before / 1e6, 1),
        "megabytes_after": round(after / 1e6, 1),
    }


def memory(ids: int) -> dict[str, float]:
    """Fill the memory of recent ids in steps of 1,000; the rate is that of the last tenth."""
    rng = np.random.default_rng(1)
    recent = Recent(max_ids=ids)
    began = 0.0
    for step in range(ids // 1_000):
        if step == ids // 10_000 * 9:
            began = time.perf_counter()
        new = rng.integers(1, 2**64 - 1, size=1_000, dtype=np.uint64)
        recent.seen(np.sort(new))
        recent.add(new, float(step))
    rate = ids / 10 / (time.perf_counter() - began)
    batch = posts(1_000, seed=1)
    began = time.perf_counter()
    for _ in range(50):
        hashes(batch)
    return {
        "ids": len(recent),
        "ids_per_s": round(rate),
        "hashes_per_s": round(50_000 / (time.perf_counter() - began)),
        "megabytes": round(recent.nbytes / 1e6),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--ids", type=int, default=4_000_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        result: dict[str, Any] = {
            "rows": asked.rows,
            "batches_of_1000": append_and_read(folder, asked.rows, 1_000, 1),
            "batches_of_1000_in_4_partitions": append_and_read(folder, asked.rows, 1_000, 4),
            "batches_of_20": append_and_read(folder, min(asked.rows, 20_000), 20, 1),
            "trim_beside_appends": trim_beside_appends(folder, asked.rows),
            "recent": memory(asked.ids),
        }
    sys.stdout.write(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
