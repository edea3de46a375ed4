"""The log on Kafka, against a broker on this machine: `python -m benchmarks kafka`. Needs Java 17 and Maven."""

import multiprocessing
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any, NoReturn

from tests.services.kafka.broker import Broker, jars

from benchmarks._engines import fill, into_lake
from benchmarks._results import draw_bars
from benchmarks.log import posts
from feltwire import registry

SHAPES = ((5_000, 1), (5_000, 4), (1_000, 1), (20, 1))  # records in a batch, partitions


def measure(*, total: int = 400_000, records: int = 400_000) -> dict[str, Any]:
    """The log alone, by one process and by two (records a second, and for each second of a process's CPU time), and
    the same posts from an SQLite log and from a Kafka log into a lake."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        broker = Broker(folder / "broker", jars(_absent))
        broker.start()
        try:
            found: dict[str, Any] = {"log": {}, "into_lake": {}}
            for rows, partitions in SHAPES:
                found["log"][f"{rows} at a time, partitions: {partitions}"] = _alone(
                    broker, _uri(broker, partitions), min(total, rows * 200), rows
                )
            found["log"]["two writers, 5000 at a time, partitions: 4"] = _together(_uri(broker, 4), total, 5_000)
            for model in ("none:", "lexicon:vader"):
                found["into_lake"][model] = _sides(broker, folder, model, records)
        finally:
            broker.kill()
    bars = {
        f"{model} from {log}": rates[log]["posts_per_s"]
        for model, rates in found["into_lake"].items()
        for log in ("sqlite", "kafka")
    }
    draw_bars("kafka", "A full log into the lake, by the local engine", "posts/s", bars)
    return found


def _absent(reason: str) -> NoReturn:
    sys.exit(reason)


def _uri(broker: Broker, partitions: int) -> str:
    return f"kafka:{broker.address}/bench-{uuid.uuid4()}?partitions={partitions}"


def _alone(broker: Broker, uri: str, total: int, rows: int) -> dict[str, int]:
    """Fill a new topic, with dedupe, stamping and one transaction a batch; then read it."""
    idle = broker.cpu_s()
    found = _append(uri, "bench", total, rows)
    found["append_per_cpu_s_of_the_broker"] = round(total / (broker.cpu_s() - idle))
    log = registry.create("logs", uri)
    ends = log.ends()
    log.read(0, 0, 1)  # connects
    idle, cpu, began, read = broker.cpu_s(), time.process_time(), time.perf_counter(), 0
    for partition in ends:
        after = 0
        while (batch := log.read(partition, after, 5_000)).num_rows:
            read += batch.num_rows
            after = batch["log_offset"][-1].as_py() + 1
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    log.close()
    return found | {
        "read_per_s": round(read / seconds),
        "read_per_cpu_s": round(read / cpu),
        "read_per_cpu_s_of_the_broker": round(read / (broker.cpu_s() - idle)),
    }


def _append(uri: str, source: str, total: int, rows: int) -> dict[str, int]:
    batches = [posts(rows, seed=number + 1_000_000 * len(source)) for number in range(total // rows)]
    log = registry.create("logs", uri)
    log.append(posts(10, seed=-len(source)), source=source, cursor={})  # clients and topics are made with the first
    waits = []
    cpu, began = time.process_time(), time.perf_counter()
    for number, batch in enumerate(batches):
        start = time.perf_counter()
        log.append(batch, source=source, cursor={"n": number})
        waits.append(time.perf_counter() - start)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    log.close()
    return {
        "append_per_s": round(total / seconds),
        "append_per_cpu_s": round(total / cpu),
        "median_ms": round(sorted(waits)[len(waits) // 2] * 1000),
    }


def _together(uri: str, total: int, rows: int) -> dict[str, int]:
    """Two processes, each its own source, into one topic: what they append together."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        each = pool.starmap(_append, [(uri, source, total, rows) for source in ("one", "other")])
    return {"append_per_s": sum(one["append_per_s"] for one in each)}


def _sides(broker: Broker, folder: Path, model: str, records: int) -> dict[str, Any]:
    """One model's rates from either log, in turn twice, the better of each; and Kafka's share."""
    logs = {
        "sqlite": f"sqlite:{folder / 'log.sqlite'}?partitions=2",
        "kafka": f"kafka:{broker.address}/posts?partitions=2",
    }
    if not (folder / "log.sqlite").exists():
        for log in logs.values():
            fill(log, records)
    found: dict[str, Any] = {}
    for turn in range(2):
        for name, log in logs.items():
            rates = into_lake("local", log, folder / f"{name}-{model.partition(':')[0]}-{turn}", model)
            if name not in found or rates["posts_per_s"] > found[name]["posts_per_s"]:
                found[name] = rates
    return {
        "records": records,
        **found,
        "kafka_to_sqlite": round(found["kafka"]["posts_per_s"] / found["sqlite"]["posts_per_s"], 2),
        "bytes_a_record": {
            "sqlite": round((folder / "log.sqlite").stat().st_size / records),
            "kafka": round(sum(file.stat().st_size for file in broker.folder.glob("data/posts-*/*.log")) / records),
        },
    }
