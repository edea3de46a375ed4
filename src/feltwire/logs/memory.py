"""The log in memory: `memory:`. It keeps every promise but one: it is gone with its process."""

import copy
import os
import threading
import uuid
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any, Self

import pyarrow as pa

from feltwire.errors import ClaimError, ConfigError
from feltwire.interfaces import Cursor, Position
from feltwire.logs import _blobs, _intake, _places
from feltwire.logs._options import Options
from feltwire.recent import Recent
from feltwire.schema import LOGGED, empty

__all__ = ["MemoryLog", "Options", "create"]


def create(rest: str, options: Options) -> "MemoryLog":
    """The log `memory:`, a new and empty one each time."""
    if rest:
        raise ConfigError(f"log 'memory': {rest!r} came after the colon: write memory: alone, it has no name")
    return MemoryLog(options)


@dataclass(slots=True)
class _Partition:
    first: int = 0
    end: int = 0
    batches: list[tuple[int, datetime, pa.RecordBatch]] = field(default_factory=list)  # first offset, time, records


class MemoryLog:
    """A Log for tests and trials, with several partitions if wanted. Threads may use it at the same time."""

    identity: str

    def __init__(self, options: Options, *, clock: Callable[[], datetime] = _places.now) -> None:
        self.identity = str(uuid.uuid4())
        self._clock = clock
        self._retention = timedelta(hours=options.retention_h)
        self._recent = Recent(max_ids=options.recent_max, horizon_s=options.recent_h * 3600)
        self._partitions = {number: _Partition() for number in range(options.partitions)}
        self._cursors: dict[str, tuple[Cursor, datetime]] = {}
        self._pipelines: dict[str, Position] = {}
        self._seen: dict[str, datetime] = {}
        self._claims: set[str] = set()
        self._last = _places.EPOCH
        self._lock = threading.RLock()

    def close(self) -> None:
        """Nothing to close: the records stay as long as the log is held."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Writing

    def cursor(self, source: str) -> Cursor | None:
        """The last stored cursor of the source with this key; None if it never stored one."""
        with self._lock:
            return copy.deepcopy(self._cursors[source][0]) if source in self._cursors else None

    def append(self, records: pa.RecordBatch, *, source: str, cursor: Cursor | None) -> int:
        """Store records and cursor at once; return the number of repeats. With no cursor, the stored one stays.

        Raises SchemaError, with nothing stored, for records or a cursor that no log can hold.
        """
        records = _intake.check(records)
        place = None if cursor is None else _places.to_cursor(_places.cursor_text(source, cursor))
        with self._lock:
            now = max(self._clock(), self._last)
            self._recent.expire(now.timestamp())
            intake = _intake.admit(records, self._recent, partitions=len(self._partitions), ingested_at=now)
            for number, batch in intake.batches.items():
                partition = self._partitions[number]
                partition.batches.append((partition.end, now, batch))
                partition.end += batch.num_rows
                self._recent.add(intake.hashes[number], now.timestamp())
                self._last = now
            if place is not None:
                self._cursors[source] = place, now
        return intake.duplicates

    def lease_writer(self) -> AbstractContextManager[None]:
        """Be the one that ingests, while the block runs; raises ClaimError when another one is."""
        return self._held("ingest", "ingest into the log memory:")

    # Reading

    def ends(self) -> Position:
        """{partition: offset of the next record to be written}."""
        with self._lock:
            return {number: partition.end for number, partition in self._partitions.items()}

    def begins(self) -> Position:
        """{partition: offset of the first record that is kept}: where a pipeline starts that is new."""
        with self._lock:
            return {number: partition.first for number, partition in self._partitions.items()}

    def read(self, partition: int, after: int, max_rows: int) -> pa.RecordBatch:
        """At most `max_rows` records of `schema.LOGGED` from offset `after` on, in order; empty at the end.

        Raises PositionError when records from `after` on were trimmed away, or when `after` lies past the end.
        """
        with self._lock:
            if partition not in self._partitions:
                raise _places.no_partition("the log memory:", partition, len(self._partitions))
            found = self._partitions[partition]
            _places.check_read("the log memory:", partition, after, found.first, found.end)
            start = bisect_right(found.batches, after, key=itemgetter(0)) - 1
            stop = bisect_left(found.batches, after + max_rows, key=itemgetter(0))
            held = found.batches[max(0, start) : stop] if after < found.end and max_rows > 0 else []
        if not held:
            return empty(LOGGED)
        records = pa.concat_batches([batch for _, _, batch in held])
        return _blobs.place(records.slice(after - held[0][0], max_rows), partition, after, LOGGED)

    def tail(self, n: int) -> pa.RecordBatch:
        """The last `n` records of `schema.LOGGED`, those of all partitions by time."""
        with self._lock:
            begins = self.begins()
            latest = [self.read(number, max(begins[number], end - n), n) for number, end in self.ends().items()]
        return _places.by_time(latest, n)

    # Keeping

    def claim(self, pipeline: str, partition: int) -> AbstractContextManager[None]:
        """Be the one worker on this partition of this pipeline, while the block runs; raises ClaimError when
        there is another one."""
        return self._held(f"{partition} {pipeline}", f"partition {partition} of pipeline {pipeline!r} in memory:")

    def register(self, pipeline: str, position: Position) -> None:
        """Note how far a pipeline is; the log keeps everything from there on. Called again and again.

        Raises PositionError for a position past the end, or in a partition that is not there.
        """
        with self._lock:
            _places.check_position("the log memory:", position, self.ends())
            self._pipelines.setdefault(pipeline, {}).update(position)
            self._seen[pipeline] = self._clock()

    def unregister(self, pipeline: str) -> None:
        """Forget a pipeline, so that trimming no longer waits for it."""
        with self._lock:
            self._pipelines.pop(pipeline, None)
            self._seen.pop(pipeline, None)

    def positions(self) -> dict[str, Position]:
        """{pipeline: how far it is} of every registered pipeline."""
        with self._lock:
            return copy.deepcopy(self._pipelines)

    def backlog(self, pipeline: str) -> int:
        """How many kept records the pipeline has not passed; all of them, if it is not registered."""
        return _places.backlog(self.positions().get(pipeline, {}), self.begins(), self.ends())

    def trim(self) -> int:
        """Remove records that are older than the retention and that every registered pipeline has passed;
        return how many. Records that came in one batch go together."""
        removed = 0
        with self._lock:
            before = self._clock() - self._retention
            for number, partition in self._partitions.items():
                limit = _places.passed_by_all(self._pipelines, number, partition.end)
                while partition.batches:
                    first, at, batch = partition.batches[0]
                    if first + batch.num_rows > limit or at > before:
                        break
                    del partition.batches[0]
                    partition.first += batch.num_rows
                    removed += batch.num_rows
        return removed

    def stats(self) -> dict[str, Any]:
        """The log's size, partitions, pipelines and sources, as JSON data; times in ISO 8601."""
        with self._lock:
            times = {
                number: (partition.batches[0][1], partition.batches[-1][1]) if partition.batches else None
                for number, partition in self._partitions.items()
            }
            size = sum(batch.nbytes for found in self._partitions.values() for _, _, batch in found.batches)
            return {
                "uri": "memory:",
                "identity": self.identity,
                "bytes": size,
                **_places.account(
                    begins=self.begins(),
                    ends=self.ends(),
                    times=times,
                    positions=self.positions(),
                    seen=self._seen,
                    cursors=self._cursors,
                ),
            }

    @contextmanager
    def _held(self, name: str, what: str) -> Iterator[None]:
        with self._lock:
            if name in self._claims:
                raise ClaimError(
                    f"{what} is held by process {os.getpid()}: stop that worker first, or let it do the work"
                )
            self._claims.add(name)
        try:
            yield
        finally:
            with self._lock:
                self._claims.discard(name)
