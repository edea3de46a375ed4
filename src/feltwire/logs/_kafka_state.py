"""What a Kafka log keeps beside its records, in a compacted topic: cursors, writers, and how far pipelines are.

A message's key says what it is, its value is a JSON object; the last message of a key counts, one without a value
removes it.
"""

import json
import logging
import threading
from datetime import datetime
from typing import Any, Final

from confluent_kafka import Producer

from feltwire.errors import LogError
from feltwire.interfaces import Cursor, Position
from feltwire.logs import _places
from feltwire.logs._kafka_client import TIMEOUT_S, Topic, errors
from feltwire.logs._kafka_read import PartitionReader

logger = logging.getLogger(__name__)

CONFIG: Final = {
    "cleanup.policy": "compact",
    "segment.bytes": str(4 * 2**20),
    "segment.ms": "3600000",
    "min.cleanable.dirty.ratio": "0.1",
    "delete.retention.ms": "86400000",
}
_BITE: Final = 10_000

Entry = dict[str, Any]


def cursor_key(source: str) -> str:
    """The key of a source's cursor."""
    return f"cursor/{source}"


def writer_key(source: str) -> str:
    """The key of who ingests a source."""
    return f"writer/{source}"


def pipeline_key(pipeline: str, partition: int) -> str:
    """The key of a pipeline's position; each worker writes those of its own partitions."""
    return f"pipeline/{partition}/{pipeline}"


def entry(at: datetime, **values: Any) -> bytes:
    """An entry as it is stored."""
    return json.dumps({"at": at.isoformat(), **values}, allow_nan=False).encode()


class State:
    """The entries as they stand, read on whenever it is asked. Threads may use it at the same time."""

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self._reader = PartitionReader(topic.cluster.config, topic.name, 0)
        self._lock = threading.Lock()
        self._next = 0
        self._entries: dict[str, Entry] = {}
        self._producer: Producer | None = None

    def entries(self, kind: str) -> dict[str, Entry]:
        """{key without its first part: entry} of one kind: `cursor`, `writer`, `pipeline`. Raises LogError."""
        with self._lock:
            self._read_on()
            prefix = f"{kind}/"
            return {key.removeprefix(prefix): value for key, value in self._entries.items() if key.startswith(prefix)}

    def cursors(self) -> dict[str, tuple[Cursor, datetime]]:
        """{source: (its cursor, when it was stored)}."""
        return {
            source: (one["cursor"], datetime.fromisoformat(one["at"])) for source, one in self.entries("cursor").items()
        }

    def pipelines(self) -> dict[str, tuple[Position, datetime]]:
        """{pipeline: (how far it is, when it last said so)}."""
        found: dict[str, tuple[Position, datetime]] = {}
        for key, one in self.entries("pipeline").items():
            partition, _, pipeline = key.partition("/")
            position, seen = found.get(pipeline, ({}, _places.EPOCH))
            position[int(partition)] = one["offset"]
            found[pipeline] = position, max(seen, datetime.fromisoformat(one["at"]))
        return found

    def write(self, entries: dict[str, bytes | None]) -> None:
        """Store entries that belong to no transaction; None removes one. Returns once they are durable."""
        ends: Position = {}
        failed: list[str] = []

        def note(error: Any, message: Any) -> None:
            if error is not None:
                failed.append(error.str())
            else:
                ends[0] = message.offset() + 1

        with self._lock, errors(str(self.topic)):
            if self._producer is None:
                config = {**self.topic.cluster.config, "enable.idempotence": True, "message.timeout.ms": 10_000}
                self._producer = Producer(config, logger=logger)
            for key, value in entries.items():
                self._producer.produce(self.topic.name, value, key=key, partition=0, on_delivery=note)
            left = self._producer.flush(TIMEOUT_S + 5)
        if failed or left:
            raise LogError(f"{self.topic} takes nothing now: {failed[0] if failed else 'no answer'}")
        self.topic.wrote(ends)

    def close(self) -> None:
        """Close the clients."""
        self._reader.close()

    def _read_on(self) -> None:
        end = self.topic.ends()[0]
        if not self._next:
            self._next = self.topic.begins()[0]
        while self._next < end:
            fetched, self._next = self._reader.read(self._next, end, _BITE)
            for key, value in zip(fetched.keys, fetched.values, strict=True):
                name = (key or b"").decode(errors="replace")
                if value:
                    self._entries[name] = json.loads(value)
                else:
                    self._entries.pop(name, None)
