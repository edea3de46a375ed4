"""The log in a Kafka topic: `kafka:HOST:PORT[,HOST:PORT]/TOPIC`. Any number of machines ingest, process and read.

One record is one message, a log offset is its Kafka offset. Offsets have gaps: a transaction's end takes one, and so do
records of transactions that were given up. How far a pipeline is stands in its lake, never in a consumer group.
"""

import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from typing import Any, Final, Self

import pyarrow as pa

from feltwire.errors import ConfigError, LogError, PositionError
from feltwire.interfaces import Cursor, Position
from feltwire.logs import _places
from feltwire.logs._decoders import TWITTER, Decoder, decoder
from feltwire.logs._kafka_append import Appender, Topics
from feltwire.logs._kafka_client import Cluster, Options, Topic, errors
from feltwire.logs._kafka_foreign import ForeignReader
from feltwire.logs._kafka_read import PartitionReader
from feltwire.logs._kafka_records import MAX_MESSAGE_BYTES, Place, from_messages
from feltwire.logs._kafka_share import Share
from feltwire.logs._kafka_state import CONFIG as STATE_CONFIG
from feltwire.logs._kafka_state import State, entry, pipeline_key
from feltwire.schema import LOGGED, empty

__all__ = ["KafkaLog", "Options", "create"]

logger = logging.getLogger(__name__)

_PLACE: Final = re.compile(r"(?P<brokers>[^/\s]+)/(?P<topic>[A-Za-z0-9._-]{1,240})")


def create(rest: str, options: Options) -> "KafkaLog":
    """The log `kafka:BROKERS/TOPIC`; the topic is made where it is not there yet, unless others fill it."""
    brokers, topic = parse_place(rest)
    return KafkaLog(brokers, topic, options)


def parse_place(rest: str) -> tuple[str, str]:
    """(brokers, topic). Raises ConfigError."""
    match = _PLACE.fullmatch(rest)
    if match is None or match["topic"] in (".", ".."):
        raise ConfigError(f"log 'kafka': {rest!r} is no place: write kafka:HOST:PORT,HOST:PORT/TOPIC")
    return match["brokers"], match["topic"]


class KafkaLog:
    """A Log in a topic. Threads and processes may use it at the same time."""

    identity: str

    def __init__(
        self, brokers: str, topic: str, options: Options, *, clock: Callable[[], datetime] = _places.now
    ) -> None:
        """Reach the brokers, and find the topic or make it.

        Raises ConfigError for options that contradict each other or the topic, LogError when no broker answers.
        """
        if options.source is not None and options.decoder is None:
            raise ConfigError("log 'kafka': source goes with decoder: in a topic of Feltwire's own, posts say it")
        self._place = f"{brokers}/{topic}"
        self._options = options
        self._clock = clock
        self._cluster = Cluster(brokers, options)
        self._decoder = _decoder(topic, options)
        self._records = self._open(topic)
        self.identity = self._records.identity
        self._side: tuple[State, Appender] | None = None
        self._lock = threading.RLock()
        self._readers: dict[int, PartitionReader] = {}
        self._foreign: dict[int, ForeignReader] = {}

    def close(self) -> None:
        """Close every client."""
        with self._lock:
            for reader in self._readers.values():
                reader.close()
            if self._side is not None:
                for each in self._side:
                    each.close()
            self._readers.clear()
            self._foreign.clear()
            self._side = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Writing

    def cursor(self, source: str) -> Cursor | None:
        """The last stored cursor of the source with this key; None if it never stored one."""
        found = self._state().cursors().get(source)
        return None if found is None else found[0]

    def append(self, records: pa.RecordBatch, *, source: str, cursor: Cursor | None) -> int:
        """Store records and cursor in one transaction; return the number of repeats once the brokers have them.

        With no cursor, the stored one stays. Raises LogError when the brokers do not take them now: the same call
        again then stores them once, also where the first one had been committed after all. Raises ClaimError when
        another process ingests this source, SchemaError for records or a cursor that no log can hold.
        """
        self._check_own()
        return self._appender().append(records, source, cursor)

    def lease_writer(self) -> AbstractContextManager[None]:
        """Nothing to hold: any number of processes ingest, and of two on one source the broker fences the older."""
        self._check_own()
        return nullcontext()

    # Reading

    def ends(self) -> Position:
        """{partition: offset of the next record to be written}. What stands before it is committed."""
        return self._records.ends()

    def begins(self) -> Position:
        """{partition: offset of the first record that is kept}: where a pipeline starts that is new."""
        return self._records.begins()

    def read(self, partition: int, after: int, max_rows: int) -> pa.RecordBatch:
        """At most `max_rows` records of `schema.LOGGED` from offset `after` on, in order, with gaps between them.

        Empty only when there is none between `after` and the end. Fewer when they would take more than 64 MB.
        Raises PositionError when records from `after` on were removed, or when `after` lies past the end.
        """
        ends = self.ends()
        if partition not in ends:
            raise _places.no_partition(str(self), partition, len(ends))
        first, end = self.begins().get(partition, 0), ends[partition]
        _places.check_read(str(self), partition, after, first, end)
        if after >= end or max_rows < 1:
            return empty(LOGGED)
        with self._lock:
            foreign = self._foreign.get(partition)
            if partition not in self._readers:
                self._readers[partition] = PartitionReader(self._cluster.config, self._records.name, partition)
            reader = self._readers[partition]
            place = Place(self.identity, partition)
            if self._options.decoder is not None and foreign is None:
                foreign = self._foreign[partition] = ForeignReader(reader, self._decoder, place)
        if foreign is not None:
            return foreign.read(after, first, end, max_rows)
        fetched, _ = reader.read(after, end, max_rows)
        return from_messages(fetched, self._decoder, place)

    def tail(self, n: int) -> pa.RecordBatch:
        """The last `n` records of `schema.LOGGED`, those of all partitions by time."""
        begins, latest = self.begins(), [empty(LOGGED)]
        for partition, end in self.ends().items():
            back = n + 16
            while True:  # gaps take offsets too
                start = max(begins[partition], end - back)
                found = self._between(partition, start, end)
                if found.num_rows >= n or start == begins[partition]:
                    break
                back *= 4
            latest.append(found.slice(max(0, found.num_rows - n)))
        return _places.by_time(latest, n)

    def _between(self, partition: int, start: int, end: int) -> pa.RecordBatch:
        pieces = [empty(LOGGED)]
        while start < end:
            try:
                pieces.append(self.read(partition, start, end - start))
            except PositionError:  # removed since
                start = max(start + 1, self.begins()[partition])
                continue
            if not pieces[-1].num_rows:
                break
            start = pieces[-1]["log_offset"][-1].as_py() + 1
        return pa.concat_batches(pieces)

    # Keeping

    def claim(self, pipeline: str, partition: int) -> AbstractContextManager[None]:
        """Nothing is locked across machines: the lake itself refuses the second of two workers on a partition."""
        return nullcontext()

    @contextmanager
    def share(self, pipeline: str) -> Iterator[Share]:
        """Be one of the pipeline's workers while the block runs, with the partitions that the group deals out."""
        group = f"{self._options.group}/{self.identity}/{pipeline}"
        session_s = self._options.session_s
        with errors(str(self)):
            share = Share(self._cluster.config, topic=self._records.name, group=group, session_s=session_s)
        try:
            yield share
        finally:
            share.close()

    def register(self, pipeline: str, position: Position) -> None:
        """Note how far a pipeline is, for those who ask. The topic's retention does not wait for it.

        Raises PositionError for a position past the end, or in a partition that is not there.
        """
        _places.check_position(str(self), position, self.ends())
        if self._options.decoder is None:
            now = self._clock()
            entries = {pipeline_key(pipeline, p): entry(now, offset=offset) for p, offset in position.items()}
            self._state().write(dict(entries))

    def unregister(self, pipeline: str) -> None:
        """Forget a pipeline."""
        known = self.positions().get(pipeline, {})
        if known:
            self._state().write({pipeline_key(pipeline, partition): None for partition in known})

    def positions(self) -> dict[str, Position]:
        """{pipeline: how far it is} of every registered pipeline; of a topic that others fill, none is known."""
        if self._options.decoder is not None:
            return {}
        return {name: position for name, (position, _) in self._state().pipelines().items()}

    def backlog(self, pipeline: str) -> int:
        """How many offsets the pipeline has not passed, gaps included; all that are kept, if it is not registered."""
        return _places.backlog(self.positions().get(pipeline, {}), self.begins(), self.ends())

    def trim(self) -> int:
        """Always 0: the brokers remove what is older than the topic's retention, whoever has read it."""
        return 0

    def stats(self) -> dict[str, Any]:
        """The log's partitions, pipelines and sources, as JSON data; times in ISO 8601. `bytes` is None: brokers do
        not tell it. `records` counts offsets, gaps included."""
        begins, ends = self.begins(), self.ends()
        own = self._options.decoder is None
        pipelines = self._state().pipelines() if own else {}
        account = _places.account(
            begins=begins,
            ends=ends,
            times={partition: self._times(partition, begins[partition], end) for partition, end in ends.items()},
            positions={name: position for name, (position, _) in pipelines.items()},
            seen={name: seen for name, (_, seen) in pipelines.items()},
            cursors=self._state().cursors() if own else {},
        )
        return {"uri": f"kafka:{self._place}", "identity": self.identity, "bytes": None, **account}

    def __str__(self) -> str:
        return f"kafka:{self._place}"

    def _times(self, partition: int, begin: int, end: int) -> tuple[datetime, datetime] | None:
        """When the first and the last record that is kept were appended."""
        reader = PartitionReader(self._cluster.config, self._records.name, partition)
        try:
            first, _ = reader.read(begin, end, 1)
            if not first.offsets:
                return None
            back = 16
            while not (last := reader.read(max(begin, end - back), end, back)[0]).offsets:
                back *= 4
            place = Place(self.identity, partition)
            times = [from_messages(one, self._decoder, place)["ingested_at"].to_pylist() for one in (first, last)]
            return times[0][0], times[1][-1]
        finally:
            reader.close()

    # What it is made of

    def _check_own(self) -> None:
        decoder = self._options.decoder
        if decoder is not None:
            raise ConfigError(f"the log {self} is filled by others (decoder = {decoder!r}): it is only read")

    def _open(self, name: str) -> Topic:
        """The topic of the records, found or made."""
        options = self._options
        found = self._cluster.identity(name)
        if found is None:
            if options.decoder is not None or not options.create:
                raise ConfigError(f"log 'kafka': there is no topic {name!r} at {self._cluster.brokers}")
            retention_ms = int(options.retention_h * 3.6e6)
            config = {
                "cleanup.policy": "delete",
                "retention.ms": str(retention_ms),
                "max.message.bytes": str(MAX_MESSAGE_BYTES),
            }
            identity, partitions = self._made(name, options.partitions, config)
        else:
            identity, partitions = found
            self._cluster.wait_for(name, partitions)
        if "partitions" in options.model_fields_set and options.decoder is None and options.partitions > partitions:
            raise ConfigError(
                f"log 'kafka': partitions = {options.partitions}: the topic {name} has {partitions}; leave the option "
                "out, or add partitions by Kafka's own tools"
            )
        return Topic(self._cluster, name, identity, partitions)

    def _state(self) -> State:
        return self._sides()[0]

    def _appender(self) -> Appender:
        return self._sides()[1]

    def _sides(self) -> tuple[State, Appender]:
        """What stands beside the records, made when it is first needed."""
        with self._lock:
            if self._side is None:
                recent_ms = int(self._options.recent_h * 3.6e6)
                ids_config = {
                    "cleanup.policy": "delete",
                    "retention.ms": str(max(recent_ms, 60_000)),
                    "segment.ms": str(max(recent_ms // 16, 60_000)),
                }
                name = self._records.name
                state = State(self._beside(f"{name}.state", STATE_CONFIG))
                topics = Topics(self._records, self._beside(f"{name}.ids", ids_config), state.topic)
                self._side = state, Appender(topics, state, self._options, clock=self._clock)
            return self._side

    def _beside(self, name: str, config: dict[str, str]) -> Topic:
        found = self._cluster.identity(name)
        if found is None and not self._options.create:
            raise ConfigError(f"log 'kafka': beside the topic there is no topic {name!r}: was nothing ingested yet?")
        if found is None:
            return Topic(self._cluster, name, *self._made(name, 1, config))
        self._cluster.wait_for(name, found[1])
        return Topic(self._cluster, name, *found)

    def _made(self, name: str, partitions: int, config: dict[str, str]) -> tuple[str, int]:
        """(UUID, number of partitions) of a topic that was not there and can be used now."""
        self._cluster.create(name, partitions=partitions, replication=self._options.replication, config=config)
        found = self._cluster.identity(name)
        if found is None:
            raise LogError(f"the topic {name} at {self._cluster.brokers} was made and is not there yet")
        return found


def _decoder(topic: str, options: Options) -> Decoder:
    """The decoder of a topic that others fill; in our own, what others slip in is read as posts."""
    if options.decoder is None:
        return decoder("post", source="kafka")
    named = re.sub(r"[^a-z0-9_.-]", "-", topic.lower()).lstrip("_.-")[:64] or "kafka"
    given = TWITTER if options.decoder == "connect-twitter" else named
    return decoder(options.decoder, source=options.source or given)
