"""Appending to a Kafka log: dedupe, stamp, and one transaction of records, their ids and the source's cursor."""

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from confluent_kafka import KafkaError, KafkaException, Producer
from xxhash import xxh3_64_intdigest

from feltwire.errors import ClaimError, LogError
from feltwire.interfaces import Cursor, Position
from feltwire.logs import _intake, _places
from feltwire.logs._kafka_client import TIMEOUT_S, Options, Topic, told
from feltwire.logs._kafka_read import PartitionReader
from feltwire.logs._kafka_records import MAX_MESSAGE_BYTES, to_messages
from feltwire.logs._kafka_state import State, cursor_key, entry, writer_key
from feltwire.recent import BUCKETS, Hashes, Recent
from feltwire.schema import EDIT, WITHDRAWAL
from feltwire.schema import records as as_records

logger = logging.getLogger(__name__)

TRANSACTION_S: Final = 15.0  # after which the broker gives a transaction up; until then, readers wait for it
_IDS_A_MESSAGE: Final = 65_536
_SIGNED_S: Final = 3.0  # for which a writer that was fenced looks for the name of the one that did it
_BITE: Final = 5_000

# Fatal to a producer: most likely that another one has its transactional id now.
_FENCED: Final = frozenset(
    {KafkaError._FATAL, KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH}
)


@dataclass
class _Attempt:
    """A transaction whose end is not known, and what it held: the same call again must not store it twice."""

    mark: str
    records: pa.RecordBatch
    source: str
    cursor: Cursor | None
    duplicates: int

    def same(self, records: pa.RecordBatch, source: str, cursor: Cursor | None) -> bool:
        return source == self.source and cursor == self.cursor and records.equals(self.records)


@dataclass
class Topics:
    """The three topics of a log: the records, the hashes of their ids, and the state."""

    records: Topic
    ids: Topic
    state: Topic


@dataclass
class _Sent:
    """What a transaction has sent: the messages of ids, and the ends, once delivered."""

    ids: int = 0
    ends: dict[str, Position] = field(default_factory=dict)

    def note(self, error: KafkaError | None, message: Any) -> None:
        if error is None:
            self.ends.setdefault(message.topic(), {})[message.partition()] = message.offset() + 1


def with_older_homes(batches: dict[int, pa.RecordBatch], counts: frozenset[int]) -> dict[int, pa.RecordBatch]:
    """The records by partition, with a withdrawal more for every edit and withdrawal whose post may lie elsewhere.

    A post's partition follows from its id and from how many partitions there are. `counts` is how many there were
    before the topic was given more: where the id then led to, older revisions are withdrawn as well.
    """
    more: dict[int, list[dict[str, object]]] = {}
    for partition, batch in batches.items() if counts else ():
        kinds = pc.is_in(batch["kind"], value_set=pa.array([EDIT, WITHDRAWAL]))
        for row in batch.filter(pc.and_(kinds, batch["id"].is_valid())).to_pylist():
            digest = xxh3_64_intdigest(row["id"].encode())
            last = row["revision"] if row["kind"] == WITHDRAWAL else (row["revision"] or 0) - 1
            kept = {name: row[name] for name in ("id", "source", "live", "created_at", "ingested_at")}
            for home in {digest % count for count in counts} - {partition}:
                more.setdefault(home, []).append({**kept, "kind": WITHDRAWAL, "revision": last})
    result = dict(batches)
    for home, rows in more.items():
        result[home] = pa.concat_batches([*([result[home]] if home in result else []), as_records(rows)])
    return result


class Appender:
    """The writing end of a log, with the memory of its recent ids. Threads take turns."""

    def __init__(self, topics: Topics, state: State, options: Options, *, clock: Callable[[], datetime]) -> None:
        self._topics = topics
        self._state = state
        self._options = options
        self._clock = clock
        self._lock = threading.RLock()
        self._producers: dict[str, Producer] = {}
        self._name = str(uuid.uuid4())
        self._ids = PartitionReader(topics.ids.cluster.config, topics.ids.name, 0)
        self._unknown: _Attempt | None = None
        self._last = _places.EPOCH
        self._partitions = 0
        self._counts: frozenset[int] = frozenset()  # how many partitions there ever were
        self._forget()

    def append(self, records: pa.RecordBatch, source: str, cursor: Cursor | None) -> int:
        """See `KafkaLog.append`."""
        records = _intake.check(records)
        if cursor is not None:
            _places.cursor_text(source, cursor)
        if not records.num_rows and cursor is None:
            return 0
        with self._lock:
            self._note_partitions(self._topics.records.look())
            producer = self._producer(source if cursor is not None else "")
            self._learn()
            unknown, self._unknown = self._unknown, None
            if unknown is not None and self._found and unknown.same(records, source, cursor):
                return unknown.duplicates
            return self._append(producer, records, source, cursor)

    def close(self) -> None:
        """Let go of the clients; what was appended is durable."""
        with self._lock:
            self._producers.clear()
            self._ids.close()

    def _append(self, producer: Producer, records: pa.RecordBatch, source: str, cursor: Cursor | None) -> int:
        now = max(self._clock(), self._last)
        self._recent.expire(now.timestamp())
        partitions = self._partitions
        intake = _intake.admit(records, self._recent, partitions=partitions, ingested_at=now)
        batches = with_older_homes(intake.batches, self._counts - {partitions})
        attempt = _Attempt(str(uuid.uuid4()), records, source, cursor, intake.duplicates)
        sent = _Sent()
        try:
            producer.begin_transaction()
            for partition, batch in batches.items():
                self._send(producer, self._topics.records.name, partition, to_messages(batch), sent)
            if records.num_rows:
                new = np.concatenate([intake.hashes[partition] for partition in range(partitions)])
                self._send_ids(producer, new, attempt.mark, now, sent)
            if cursor is not None:
                value = entry(now, cursor=cursor)
                self._send(producer, self._topics.state.name, 0, [(cursor_key(source).encode(), value)], sent)
            if producer.flush(TIMEOUT_S):
                raise LogError(f"{self._topics.records} takes nothing now: no answer for {TIMEOUT_S:.0f} s")
            producer.commit_transaction(TIMEOUT_S)
        except (KafkaException, LogError, SystemError) as error:
            self._give_up(source if cursor is not None else "", attempt if records.num_rows else None)
            raise self._explained(error, source) from error
        for topic in (self._topics.records, self._topics.ids, self._topics.state):
            topic.wrote(sent.ends.get(topic.name, {}))
        self._pass_own(sent)
        for hashes in intake.hashes.values():
            self._recent.add(hashes, now.timestamp())
        if records.num_rows:
            self._last = now
        return intake.duplicates

    def _send(
        self,
        producer: Producer,
        topic: str,
        partition: int,
        messages: list[tuple[bytes | None, bytes]],
        sent: _Sent,
    ) -> None:
        last = len(messages) - 1
        for number, (key, value) in enumerate(messages):
            while True:
                try:
                    if number == last:  # the messages of a partition arrive in their order
                        producer.produce(topic, value, key=key, partition=partition, on_delivery=sent.note)
                    else:
                        producer.produce(topic, value, key=key, partition=partition)
                    break
                except BufferError:
                    producer.poll(0.05)
        producer.poll(0)

    def _send_ids(self, producer: Producer, new: Hashes, mark: str, now: datetime, sent: _Sent) -> None:
        """The hashes, by which every other writer, and the next start, know what was stored."""
        key = f"{self._name}/{mark}".encode()
        for start in range(0, max(1, len(new)), _IDS_A_MESSAGE):
            chunk = new[start : start + _IDS_A_MESSAGE].astype("<u8").tobytes()
            producer.produce(
                self._topics.ids.name,
                chunk,
                key=key,
                partition=0,
                timestamp=_places.to_us(now) // 1000,
                on_delivery=sent.note,
            )
            sent.ids += 1

    def _note_partitions(self, partitions: int) -> None:
        """Have it stand in the state how many partitions the topic has, before a record goes by that number."""
        if partitions == self._partitions:
            return
        known = frozenset(int(count) for count in self._state.entries("partitions"))
        if partitions not in known:
            self._state.write({f"partitions/{partitions}": entry(self._clock())})
        self._partitions, self._counts = partitions, known | {partitions}
        self._producers.clear()  # which know only the partitions of before

    # Producers

    def _producer(self, key: str) -> Producer:
        """The producer that writes for a source, or, with no source, for itself alone. Whoever had the same
        source before is fenced, and its open transaction ended."""
        if key in self._producers:
            return self._producers[key]
        prefix = f"{self._options.transactional_id}/{self._topics.records.identity}"
        producer = Producer(
            {
                **self._topics.records.cluster.config,
                "transactional.id": f"{prefix}/{key or uuid.uuid4()}",
                "transaction.timeout.ms": int(TRANSACTION_S * 1000),
                "compression.type": self._options.compression,
                "message.max.bytes": MAX_MESSAGE_BYTES,
                "queue.buffering.max.messages": 500_000,
                "linger.ms": 2,
            },
            logger=logger,
        )
        try:
            producer.init_transactions(TIMEOUT_S)
            if key:
                self._sign(producer, key)
        except (KafkaException, SystemError) as error:
            raise self._explained(error, key) from error
        self._producers[key] = producer
        return producer

    def _sign(self, producer: Producer, source: str) -> None:
        """Write down who ingests a source now, so that the one before knows whom it was fenced by."""
        sent = _Sent()
        value = entry(_places.now(), name=self._name, host=socket.gethostname(), pid=os.getpid())
        producer.begin_transaction()
        self._send(producer, self._topics.state.name, 0, [(writer_key(source).encode(), value)], sent)
        producer.flush(TIMEOUT_S)
        producer.commit_transaction(TIMEOUT_S)
        self._topics.state.wrote(sent.ends.get(self._topics.state.name, {}))

    def _give_up(self, key: str, attempt: _Attempt | None) -> None:
        """After a failure: the next call opens another producer, which ends this one's transaction, either way, and
        then finds in the topic of ids whether it was committed."""
        self._producers.pop(key, None)
        self._unknown = attempt or self._unknown
        self._forget()

    def _explained(self, error: Exception, source: str) -> Exception:
        """An error as one of ours; a fatal one that comes in the middle of a callback is wrapped in a SystemError."""
        inner = error.__cause__ if isinstance(error, SystemError) else error
        if not isinstance(inner, KafkaException):
            return error if isinstance(error, LogError) else LogError(f"{self._topics.records}: {inner or error}")
        cause: KafkaError = inner.args[0]
        if cause.code() in _FENCED and source:
            writer = self._rival(source)
            if writer:
                return ClaimError(
                    f"process {writer['pid']} on {writer['host']} ingests the source {source!r} into "
                    f"{self._topics.records} now: let that one do the work, or stop it first"
                )
            return LogError(f"a transaction on {self._topics.records} took too long: {cause.str()}")
        return told(str(self._topics.records), cause)

    def _rival(self, source: str) -> dict[str, Any]:
        """Who ingests a source instead of this process; empty: nobody. What another one signed is seen only some
        milliseconds after it has fenced this one."""
        deadline = time.monotonic() + _SIGNED_S
        while True:
            try:
                writer = self._state.entries("writer").get(source, {})
            except LogError:
                writer = {}
            if writer.get("name", self._name) != self._name:
                return writer
            if time.monotonic() > deadline:
                return {}
            time.sleep(0.1)

    # The memory

    def _forget(self) -> None:
        options = self._options
        self._recent = Recent(max_ids=options.recent_max, horizon_s=options.recent_h * 3600)
        self._learned: int | None = None  # where to read the topic of ids on
        self._found = False  # the transaction whose end was not known

    def _learn(self) -> None:
        """Take into the memory what is in the topic of ids and not in it yet: at start everything, later what
        others have appended."""
        topic = self._topics.ids
        first = self._learned is None
        place = topic.begins()[0] if self._learned is None else self._learned
        end = topic.ends(own=first)[0]
        began, total = time.monotonic(), 0
        oldest_ms = (_places.to_us(self._clock()) - int(self._options.recent_h * 3.6e9)) // 1000
        unknown = self._unknown.mark if self._unknown is not None else None
        while place < end:
            fetched, place = self._ids.read(place, end, _BITE)
            runs: list[tuple[int, bytes]] = []
            for key, value, at_ms in zip(fetched.keys, fetched.values, fetched.times_ms, strict=True):
                writer, _, mark = (key or b"").decode(errors="replace").partition("/")
                self._found = self._found or mark == unknown
                if (first or writer != self._name) and at_ms >= oldest_ms and value:
                    runs.append((at_ms, value))
            total += self._remember(runs)
        self._learned = place
        if first and total:
            logger.info("%d recent ids read in %.1f s", total, time.monotonic() - began)

    def _pass_own(self, sent: _Sent) -> None:
        """Behind a transaction of our own there is nothing to learn, if nobody else's came between."""
        end = sent.ends.get(self._topics.ids.name, {}).get(0)
        if end is not None and end - sent.ids == self._learned:
            self._learned = end + 1  # the mark of the commit takes an offset too

    def _remember(self, runs: list[tuple[int, bytes]]) -> int:
        """Add hashes, those of about one time together."""
        span_ms = int(self._options.recent_h * 3.6e6) // BUCKETS
        total = 0
        while runs:
            count = sum(1 for at_ms, _ in runs if at_ms - runs[0][0] <= span_ms) if len(runs) > 1 else 1
            hashes = np.frombuffer(b"".join(value for _, value in runs[:count]), dtype="<u8").astype(np.uint64)
            newest = max(at_ms for at_ms, _ in runs[:count])
            self._recent.add(hashes, newest / 1000)
            self._last = max(self._last, _places.from_us(newest * 1000))
            total += len(hashes)
            del runs[:count]
        return total
