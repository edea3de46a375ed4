"""Reading one partition of a topic: from any offset, committed records only, in large bites."""

import logging
import threading
import time
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, TopicPartition

from feltwire.errors import LogError, PositionError
from feltwire.logs._kafka_client import TIMEOUT_S, errors, told
from feltwire.logs._kafka_records import Fetched

logger = logging.getLogger(__name__)

READ_BYTES: Final = 64 * 2**20  # that one read returns at most
_BITE: Final = 5_000  # messages that are taken from the client at a time


class PartitionReader:
    """Reads a partition forward, and begins anew where it is asked to jump. Threads take turns."""

    def __init__(self, config: dict[str, Any], topic: str, partition: int) -> None:
        self._config = {
            **config,
            "group.id": "feltwire-reads-without-a-group",  # asked for by the client; nothing is ever committed to it
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": 20,  # nothing is assigned while there is nothing to read
            "fetch.error.backoff.ms": 50,
            "fetch.queue.backoff.ms": 5,  # with a full queue; by itself the client would look again after a second
            "queued.max.messages.kbytes": 8_192,  # of one partition; a worker may have many
        }
        self._topic = topic
        self._partition = partition
        self._lock = threading.Lock()
        self._consumer: Consumer | None = None
        self._next = -1  # where the client goes on

    def read(self, after: int, end: int, max_rows: int) -> tuple[Fetched, int]:
        """(messages from `after` on, where to go on). At most `max_rows`, and only as far as up to `end`, which
        the partition must have reached; fewer come only where control records and aborted messages leave gaps, or
        when they are large.

        Raises LogError, and PositionError when what is asked for was removed.
        """
        fetched = Fetched([], [], [], [])
        if after >= end or max_rows < 1:
            return fetched, after
        with self._lock:
            try:
                return fetched, self._take(self._at(after), fetched, end, max_rows)
            except BaseException:
                self._drop()
                raise

    def close(self) -> None:
        """Close the client; a later read opens another."""
        with self._lock:
            self._drop()

    def _at(self, after: int) -> Consumer:
        """The client, set to go on at an offset."""
        place = TopicPartition(self._topic, self._partition, after)
        with errors(self._what()):
            if self._consumer is None:
                self._consumer = Consumer(self._config, logger=logger)
                self._next = -1
            if after != self._next:
                self._consumer.assign([place])
                self._next = after
        return self._consumer

    def _take(self, consumer: Consumer, fetched: Fetched, end: int, max_rows: int) -> int:
        size = 0
        deadline = time.monotonic() + TIMEOUT_S
        while len(fetched.values) < max_rows and self._next < end and size < READ_BYTES:
            messages = consumer.consume(min(_BITE, max_rows - len(fetched.values), end - self._next), 0)
            if not messages:
                one = consumer.poll(0.1)
                messages = [one] if one is not None else []
            if messages:
                deadline = time.monotonic() + TIMEOUT_S
            elif time.monotonic() > deadline:
                raise LogError(f"{self._what()} did not answer for {TIMEOUT_S:.0f} s")
            for message in messages:
                error = message.error()
                if error is not None:
                    self._note(error, message.offset())
                    continue
                value, offset = message.value(), message.offset() or 0
                fetched.values.append(value)
                fetched.keys.append(message.key())
                fetched.offsets.append(offset)
                fetched.times_ms.append(message.timestamp()[1])
                size += len(value or b"")
                self._next = offset + 1
        if self._next >= end:
            place, self._next = self._next, -1
            consumer.unassign()
            return place
        return self._next

    def _note(self, error: KafkaError, offset: int | None) -> None:
        """What is no message: the end of the partition, or trouble."""
        match error.code():
            case KafkaError._PARTITION_EOF:
                self._next = max(self._next, offset or 0)
            case KafkaError._AUTO_OFFSET_RESET:
                raise PositionError(f"{self._what()}: the records at offset {self._next} were removed")
            case KafkaError._ALL_BROKERS_DOWN | KafkaError._TRANSPORT | KafkaError._RESOLVE:
                pass  # it comes back, or the deadline passes
            case _:
                raise told(self._what(), error)

    def _drop(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close()

    def _what(self) -> str:
        return f"partition {self._partition} of the topic {self._topic}"
