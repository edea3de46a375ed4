"""How fast the log on Kafka is, against a broker on this machine. `python -m benchmarks.kafka HOST:PORT`.

Prints one JSON object; rates are records a second of one process, with dedupe, stamping and one transaction a batch.
"""

import argparse
import json
import sys
import time
import uuid
from typing import Any

from benchmarks.log import posts
from feltwire import registry


def append_and_read(address: str, total: int, batch_rows: int, partitions: int) -> dict[str, float]:
    """Fill a new topic, then read it."""
    batches = [posts(batch_rows, seed=seed) for seed in range(total // batch_rows)]
    log = registry.create("logs", f"kafka:{address}/bench-{uuid.uuid4()}", {"partitions": partitions})
    log.append(posts(10, seed=-1), source="bench", cursor={})  # clients and topics are made with the first
    waits = []
    cpu, began = time.process_time(), time.perf_counter()
    for number, batch in enumerate(batches):
        start = time.perf_counter()
        log.append(batch, source="bench", cursor={"n": number})
        waits.append(time.perf_counter() - start)
    appended, cpu = time.perf_counter() - began, time.process_time() - cpu
    found = {"append_per_s": total / appended, "append_per_cpu_s": total / cpu, "median_ms": _median(waits) * 1000}
    ends = log.ends()
    log.read(0, 0, 1)
    cpu, began, rows = time.process_time(), time.perf_counter(), 0
    for partition in ends:
        after = 0
        while (batch := log.read(partition, after, 5_000)).num_rows:
            rows += batch.num_rows
            after = batch["log_offset"][-1].as_py() + 1
    read, cpu = time.perf_counter() - began, time.process_time() - cpu
    log.close()
    return {
        name: round(value)
        for name, value in (found | {"read_per_s": rows / read, "read_per_cpu_s": rows / cpu}).items()
    }


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", help="of a broker, HOST:PORT")
    parser.add_argument("--total", type=int, default=200_000)
    asked = parser.parse_args()
    found: dict[str, Any] = {}
    for batch_rows, partitions in ((1_000, 1), (5_000, 1), (5_000, 4), (20, 1)):
        total = min(asked.total, batch_rows * 200)
        found[f"{batch_rows} in {partitions}"] = append_and_read(asked.address, total, batch_rows, partitions)
    json.dump(found, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
