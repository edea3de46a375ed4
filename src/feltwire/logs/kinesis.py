"""The log in an Amazon Kinesis data stream: `kinesis:STREAM`, by boto3 (the extra `aws`).

Records are put into shards; what a stream cannot hold (offsets that fit an int64, cursors, pipelines) stands in a
small state beside it. See `docs/kinesis.md` for what it promises and what it does not.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal, Self
from uuid import uuid4

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from feltwire.bucket import SCHEME
from feltwire.errors import ConfigError, PositionError
from feltwire.interfaces import Cursor, Position
from feltwire.logs import _kinesis_append, _places
from feltwire.logs._claims import file_name
from feltwire.logs._decoders import decoder
from feltwire.logs._kinesis_client import Client, ThrottledError
from feltwire.logs._kinesis_listing import STREAM, Listing, Share
from feltwire.logs._kinesis_reader import PREFETCH_ROWS, Reader
from feltwire.logs._kinesis_s3 import S3State
from feltwire.logs._kinesis_shards import Topology
from feltwire.logs._kinesis_state import Document, FileState, State, change
from feltwire.schema import LOGGED, empty

__all__ = ["KinesisLog", "Options", "create"]

_PIPELINES: Final = "pipelines"  # the one of the pipelines' positions
_BESIDE_S: Final = 5.0  # between two looks at a partition that this process does not work on
_THREADS: Final = 16  # that ask shards at once


class Options(BaseModel):
    """Options of the log `kinesis`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    region: str = Field("", description="The AWS region; without: as boto3 finds it.")
    endpoint_url: str = Field("", description="Another address of Kinesis: a VPC endpoint, an emulator.")
    state: str = Field("", description="Where offsets, cursors and positions stand: a file, or s3://bucket/prefix.")
    create: int = Field(0, ge=0, le=10_000, description="Make the stream with so many shards if it is not there.")
    decoder: Literal["post", "text", "connect-twitter"] = Field("post", description="What others put there.")
    source: str = Field("kinesis", description="The source of posts that others put there and that name none.")
    poll_s: float = Field(0.5, ge=0.2, le=60, description="Seconds between two looks at the end of a shard.")
    retention_h: float = Field(24, ge=0, description="Hours for which records are kept at least.")
    recent_h: float = Field(24, ge=0, description="Hours for which a repeat is recognised.")
    recent_max: int = Field(20_000_000, ge=16, description="Ids that are remembered at most; 10 bytes of memory each.")
    rebuild_h: float = Field(1, ge=0, description="Hours of the stream that are read at start to know repeats again.")


def create(rest: str, options: Options) -> "KinesisLog":
    """The log `kinesis:STREAM`, a name or an ARN."""
    if not rest:
        raise ConfigError("log 'kinesis': no stream: write kinesis:NAME or kinesis:ARN")
    return KinesisLog(rest, options)


class KinesisLog:
    """A Log in one stream. Threads and processes may use it at the same time."""

    identity: str

    def __init__(self, stream: str, options: Options, *, clock: Callable[[], datetime] = _places.now) -> None:
        """Open the log; make the stream where it is not there and `create` says so.

        Raises ConfigError when there is no stream or no access to it, PositionError when the state is another
        stream's, LogError when stream or state cannot be reached.
        """
        self.stream = stream
        self._options = options
        self._clock = clock
        self._decoder = decoder(options.decoder, source=options.source)
        self._lock = threading.RLock()
        self._readers: dict[int, Reader] = {}
        self._polled: dict[int, float] = {}
        self._reloaded: dict[int, float] = {}
        self._seen: dict[int, tuple[str, str]] = {}  # of what we wrote, what we have read
        self._claimed: set[int] = set()
        self._threads: ThreadPoolExecutor | None = None
        self._client = Client(stream, region=options.region, endpoint_url=options.endpoint_url, timeout_s=20.0)
        name = stream.rpartition("/")[2]
        self._state = _state(options.state or f"feltwire-data/kinesis-{name}.sqlite")
        try:
            described = self._client.awaited(create=options.create)
            self._retention = timedelta(hours=int(described["RetentionPeriodHours"]))
            self.identity = self._identify(described)
            self._shards = Listing(self._client, self._state)
            self._shards.refresh()
        except BaseException:
            self.close()
            raise
        self._appender = _kinesis_append.Appender(
            self._client,
            self._state,
            self._shards,
            decoder=self._decoder,
            source=options.source,
            recent_h=options.recent_h,
            recent_max=options.recent_max,
            rebuild_h=options.rebuild_h,
            clock=clock,
        )

    def close(self) -> None:
        """End the connections and let go of the state."""
        if self._threads is not None:
            self._threads.shutdown()
        self._client.close()
        self._state.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Writing

    def cursor(self, source: str) -> Cursor | None:
        """The last stored cursor of the source with this key; None if it never stored one."""
        return self._appender.cursor(source)

    def append(self, records: pa.RecordBatch, *, source: str, cursor: Cursor | None) -> int:
        """Store records, then the cursor; return the number of repeats once both are durable.

        With no cursor, the stored one stays. Raises SchemaError, with nothing stored, for records or a cursor that
        no log can hold. Raises LogError when the stream takes no more now: some of the records may be stored then,
        and the same call again stores the others and tells those for repeats.
        """
        return self._appender.append(records, source, cursor)

    def lease_writer(self) -> AbstractContextManager[None]:
        """Be the one process that ingests, while the block runs; raises ClaimError when another one is."""
        return self._state.claim("ingest.lock", f"ingest into {self._name}")

    # Reading

    def ends(self) -> Position:
        """{partition: offset of the next record that is not known yet}, for every partition that can be read.

        What was appended here is in it. How much others have put is looked at every `poll_s`, and not further than
        some 20,000 records ahead of what was read.
        """
        ready: dict[int, Reader] = {}
        while new := [reader for reader in self._known_readers() if reader.number not in ready]:
            ready |= {reader.number: reader for reader in new}
            self._in_threads(self._poll, [reader for reader in new if self._due(reader.number)])
        return {number: ready[number].index.end for number in sorted(ready)}

    def begins(self) -> Position:
        """{partition: offset of the first record that is kept}: where a pipeline starts that is new."""
        return {reader.number: reader.begin() for reader in self._known_readers()}

    def read(self, partition: int, after: int, max_rows: int) -> pa.RecordBatch:
        """At most `max_rows` records of `schema.LOGGED` from offset `after` on, in order; empty at the end.

        Raises PositionError when records from `after` on were trimmed away or have expired, or when `after` lies
        past the end.
        """
        shards = self._shards.now()
        if not 0 <= partition < len(shards.lines):
            raise _places.no_partition(self._name, partition, len(shards.lines))
        reader = self._reader(partition)
        if after + max_rows > reader.index.end and self._due(partition):
            self._poll(reader)
        return reader.read(after, max_rows)

    def tail(self, n: int) -> pa.RecordBatch:
        """The last `n` records of `schema.LOGGED`, those of all partitions by time."""
        latest = [empty(LOGGED)]
        ends, begins = self.ends(), self.begins()
        for partition, end in ends.items():
            after = max(begins[partition], end - n)
            while after < end:
                try:
                    latest.append(self.read(partition, after, end - after))
                except PositionError:  # expired since
                    after = max(after + 1, self._reader(partition).begin())
                else:
                    after += latest[-1].num_rows
        return _places.by_time(latest, n)

    # Keeping

    @contextmanager
    def claim(self, pipeline: str, partition: int) -> Iterator[None]:
        """Be the one worker on this partition of this pipeline, while the block runs.

        Raises ClaimError, naming the holder's process, when there is another one.
        """
        what = f"partition {partition} of pipeline {pipeline!r} in {self._name}"
        with self._state.claim(file_name(pipeline, partition), what):
            self._claimed.add(partition)
            try:
                yield
            finally:
                self._claimed.discard(partition)

    @contextmanager
    def share(self, pipeline: str) -> Iterator[Share]:
        """A worker's part of the partitions, while the block runs: all that no other worker has, new ones too."""
        with ExitStack() as claims:
            yield Share(self, pipeline, claims)

    def register(self, pipeline: str, position: Position) -> None:
        """Note how far a pipeline is; the log keeps everything from there on. Called again and again.

        Raises PositionError for a position past the end, or in a partition that is not there.
        """
        ends = self._known()
        if any(offset > ends.get(partition, -1) for partition, offset in position.items()):
            ends = self.ends() | self._known(reload=True)
        _places.check_position(self._name, position, ends)
        at_us = _places.to_us(self._clock())

        def note(document: Document) -> Document:
            known = document.get(pipeline, {"position": {}})["position"]
            told = {str(partition): offset for partition, offset in position.items()}
            return document | {pipeline: {"position": known | told, "at_us": at_us}}

        change(self._state, _PIPELINES, note)

    def unregister(self, pipeline: str) -> None:
        """Forget a pipeline, so that trimming no longer waits for it."""
        change(
            self._state,
            _PIPELINES,
            lambda known: {n: one for n, one in known.items() if n != pipeline} if pipeline in known else None,
        )

    def positions(self) -> dict[str, Position]:
        """{pipeline: how far it is} of every registered pipeline."""
        return {name: position for name, (position, _) in self._pipelines().items()}

    def backlog(self, pipeline: str) -> int:
        """How many known records the pipeline has not passed; all of them, if it is not registered."""
        ends = self.ends()
        return _places.backlog(self.positions().get(pipeline, {}), dict.fromkeys(ends, 0) | self.begins(), ends)

    def trim(self) -> int:
        """Forget records that are older than the retention and that every registered pipeline has passed; return
        how many. They stay in the stream until it lets them expire, and cannot be read here any more."""
        before_us = _places.to_us(self._clock()) - int(self._options.retention_h * 3.6e9)
        positions = self.positions()
        ends = self.ends()
        return sum(
            self._reader(number).trim(_places.passed_by_all(positions, number, end), before_us)
            for number, end in ends.items()
        )

    def stats(self) -> dict[str, Any]:
        """What is known of the log's partitions, pipelines and sources, as JSON data; times in ISO 8601."""
        ends, begins, pipelines = self.ends(), self.begins(), self._pipelines()
        indexes = {number: self._reader(number).index for number in ends}
        held = self._state.get(_kinesis_append.CURSORS)
        spans = {}
        size = 0
        for number, index in indexes.items():
            anchor = index.before(begins[number]) if begins[number] < index.end else None
            spans[number] = (_places.from_us(anchor.at_us), _places.from_us(index.at_us)) if anchor else None
            size += index.bytes - anchor.bytes if anchor else 0
        account = _places.account(
            begins=begins,
            ends=ends,
            times=spans,
            positions={name: position for name, (position, _) in pipelines.items()},
            seen={name: at for name, (_, at) in pipelines.items()},
            cursors=_kinesis_append.cursors(held.document if held else {}),
        )
        uri = f"kinesis:{self.stream}"
        return {"uri": uri, "identity": self.identity, "bytes": size, "state": self._state.where, **account}

    def partitions(self) -> frozenset[int]:
        """The partitions that can be read."""
        return frozenset(reader.number for reader in self._known_readers())

    # Inside

    @property
    def _name(self) -> str:
        return f"the stream {self.stream}"

    def _identify(self, described: Any) -> str:
        """The identity in the state, made at the first time. Raises PositionError for another stream's state."""
        arn, made = str(described["StreamARN"]), described["StreamCreationTimestamp"].timestamp()

        def begin(document: Document) -> Document | None:
            if document:
                return None
            return {"identity": str(uuid4()), "arn": arn, "created": made, "shards": {}, "lines": []}

        known = change(self._state, STREAM, begin)
        if known["arn"] != arn or abs(known["created"] - made) > 1.0:
            raise PositionError(
                f"log 'kinesis': the state {self._state.where} belongs to the stream {known['arn']} of "
                f"{datetime.fromtimestamp(known['created'], _places.EPOCH.tzinfo):%Y-%m-%d %H:%M:%S}, not to {arn} of "
                f"{described['StreamCreationTimestamp']:%Y-%m-%d %H:%M:%S}: name another `state`, and a new lake"
            )
        return str(known["identity"])

    def _reader(self, number: int) -> Reader:
        with self._lock:
            if number not in self._readers:
                self._readers[number] = Reader(
                    number,
                    client=self._client,
                    state=self._state,
                    shards=self._shards,
                    decoder=self._decoder,
                    source=self._options.source,
                    retention=self._retention,
                    clock=self._clock,
                )
            return self._readers[number]

    def _ready(self, number: int, shards: Topology) -> bool:
        """Whether the shards that a partition came from are read to their ends: only then is it there."""
        for parent, line in shards.first_parents(number):
            reader = self._reader(parent)
            if not reader.finished(line):
                if parent not in self._claimed and self._late(parent):
                    reader.reload()
                if not reader.finished(line):
                    return False
        return True

    def _due(self, number: int) -> bool:
        """Whether it is time to look at the end of a partition."""
        written = self._appender.written.get(number)
        if written is not None and self._seen.get(number) != written:
            return True
        every_s = self._options.poll_s if number in self._claimed else _BESIDE_S
        return time.monotonic() - self._polled.get(number, -_BESIDE_S) >= every_s

    def _late(self, number: int) -> bool:
        if time.monotonic() - self._reloaded.get(number, 0.0) < 1.0:
            return False
        self._reloaded[number] = time.monotonic()
        return True

    def _poll(self, reader: Reader) -> None:
        number = reader.number
        written = self._appender.written.get(number)
        until = written if self._seen.get(number) != written else None
        self._polled[number] = time.monotonic()
        if number not in self._claimed:
            reader.reload()
        try:
            known = reader.poll(until, ahead_rows=PREFETCH_ROWS if number in self._claimed else None)
        except ThrottledError:
            return  # what is known stands; the rest at the next look
        if known and written is not None:
            self._seen[number] = written

    def _in_threads(self, work: Callable[[Reader], None], readers: list[Reader]) -> None:
        if len(readers) <= 1:
            for reader in readers:
                work(reader)
            return
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="kinesis")
        list(self._threads.map(work, readers))

    def _known(self, *, reload: bool = False) -> Position:
        readers = self._known_readers()
        return {reader.number: (reader.reload() if reload else reader.index).end for reader in readers}

    def _known_readers(self) -> list[Reader]:
        """The partitions that are there."""
        shards = self._shards.now()
        return [self._reader(number) for number in range(len(shards.lines)) if self._ready(number, shards)]

    def _pipelines(self) -> dict[str, tuple[Position, datetime]]:
        held = self._state.get(_PIPELINES)
        return {
            name: ({int(p): int(o) for p, o in one["position"].items()}, _places.from_us(one["at_us"]))
            for name, one in (held.document if held else {}).items()
        }


def _state(where: str) -> State:
    return S3State(where) if where.startswith(SCHEME) else FileState(Path(where).expanduser())
