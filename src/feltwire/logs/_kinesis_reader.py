"""Reading one partition of a Kinesis log: what GetRecords gives, counted, indexed, and kept until it is asked for."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import pyarrow as pa

from feltwire.errors import LogError, PositionError
from feltwire.logs import _blobs, _places
from feltwire.logs._decoders import Decoder
from feltwire.logs._kinesis_client import Client, ExpiredError, NoStreamError
from feltwire.logs._kinesis_index import Anchor, Index, noted, to_index
from feltwire.logs._kinesis_listing import Listing
from feltwire.logs._kinesis_records import Raw, decode, envelope, opened, to_raw
from feltwire.logs._kinesis_shards import Topology
from feltwire.logs._kinesis_state import ABSENT, Held, State
from feltwire.schema import LOGGED, empty

logger = logging.getLogger(__name__)

PREFETCH_ROWS: Final = 20_000  # are read beyond what was asked for, at most
_CALL_RECORDS: Final = 1_000  # Kinesis records that a call asks for
_CALL_ANCHORS: Final = 16  # that a call leaves behind, at most
_TIP_S: Final = 60.0  # between two notes that nothing was missed
_COUNT_S: Final = 5.0  # for which records are counted that nobody reads here
_READ_S: Final = 2.0  # since somebody has read: until then what is buffered is for him
_PATIENCE: Final = 20  # calls that may bring nothing while more is known to be there


@dataclass(slots=True)
class _Head:
    """Where the next call reads."""

    offset: int
    line: int
    kind: str  # START: the shard's first record; AT, AFTER: the one with `sequence`, the one behind it
    sequence: str | None
    writers: dict[str, int]
    at_us: int
    bytes: int
    iterator: str | None = None
    expected: str | None = None  # the sequence number that has to come first
    closed: bool = False


class Reader:
    """One partition. Threads take turns."""

    def __init__(
        self,
        number: int,
        *,
        client: Client,
        state: State,
        shards: Listing,
        decoder: Decoder,
        source: str,
        retention: timedelta,
        clock: Callable[[], datetime],
    ) -> None:
        self.number = number
        self._name = f"the stream {client.stream}"
        self._client = client
        self._state = state
        self._shards = shards
        self._decoder = decoder
        self._source = source
        self._retention = retention  # of the stream
        self._clock = clock
        self._key = f"partition/{number}"
        self._lock = threading.RLock()
        self._buffer: deque[tuple[int, pa.RecordBatch]] = deque()
        self._head: _Head | None = None
        self._read_at = 0.0
        self.index, self._version = self._load()

    # What is known

    def reload(self) -> Index:
        """The index as the state has it now."""
        with self._lock:
            index, self._version = self._load()
            if index.contradicts(self.index):
                self._forget()
            self.index = index
            return index

    def begin(self) -> int:
        """The offset of the first record that is kept, by us and by the stream."""
        with self._lock:
            expired_us = _places.to_us(self._clock() - self._retention)
            return self.index.passed(self.index.end, expired_us)

    def finished(self, line: int) -> bool:
        """Whether the partition's shard of this place is read to its end."""
        return self.index.line > line

    def trim(self, limit: int, before_us: int) -> int:
        """Forget the records before `limit` that were stamped at `before_us` at the latest; how many they were."""
        with self._lock:
            self.reload()
            before = self.index.first
            first = self.index.passed(min(limit, self.index.end), before_us)
            if first <= before:
                return 0
            self._save(self.index.trimmed(first))
            return self.index.first - before

    # Reading

    def poll(self, until: tuple[str, str] | None = None, *, ahead_rows: int | None = None) -> bool:
        """Look for more at the end; whether everything is known now.

        `until` names shard and sequence number of a record that must be there. With `ahead_rows` it goes so far
        beyond what was read and keeps that; without, it only counts, for some seconds at most.
        """
        with self._lock:
            if self._now().offset < self.index.end:
                if self._is_read():
                    return False
                self._forget()
            barren, began = 0, time.monotonic()
            while barren < _PATIENCE:
                if sum(batch.num_rows for _, batch in self._buffer) >= (ahead_rows or PREFETCH_ROWS):
                    if ahead_rows is not None and (until is None or self._is_read()):
                        return False
                    if ahead_rows is None and time.monotonic() - began > _COUNT_S:
                        return False
                    self._buffer.clear()  # for nobody; where it begins is known
                before = self._now().offset
                if self._fetch() and (until is None or self._has(*until)):
                    return True
                barren = 0 if self._now().offset > before else barren + 1
            return False

    def read(self, after: int, max_rows: int) -> pa.RecordBatch:
        """See `Log.read`. Returns what is known; `poll` makes more known."""
        with self._lock:
            if after > self.index.end:
                self.reload()
            _places.check_read(self._name, self.number, after, self.begin(), self.index.end)
            self._read_at = time.monotonic()
            wanted = min(after + max_rows, self.index.end)
            if wanted <= after:
                return empty(LOGGED)
            self._drop_before(after)
            start = self._buffer[0][0] if self._buffer else self._now().offset
            if not start <= after <= self._now().offset:
                self._seek(after)
            self._fill(after, wanted)
            return self._taken(after, wanted)

    def _fill(self, after: int, wanted: int) -> None:
        """Have the buffer hold the records from `after` to `wanted`; those before, from the anchor on, are let go."""
        barren = 0
        while self._now().offset < wanted:
            before = self._now().offset
            self._fetch()
            self._drop_before(after)
            barren = 0 if self._now().offset > before else barren + 1
            if barren > _PATIENCE:
                raise LogError(f"{self._name} does not give offset {before} of partition {self.number} now")

    def _taken(self, after: int, wanted: int) -> pa.RecordBatch:
        pieces = []
        for offset, batch in self._buffer:
            low, high = max(0, after - offset), min(batch.num_rows, wanted - offset)
            if low < high:
                pieces.append(batch.slice(low, high - low))
        if sum(piece.num_rows for piece in pieces) != wanted - after:
            self._forget()
            raise LogError(f"{self._name}: partition {self.number} was not read as a whole from offset {after} on")
        return _blobs.place(pa.concat_batches(pieces), self.number, after, LOGGED)

    def _drop_before(self, offset: int) -> None:
        while self._buffer and self._buffer[0][0] + self._buffer[0][1].num_rows <= offset:
            self._buffer.popleft()

    def _forget(self) -> None:
        self._buffer.clear()
        self._head = None

    def _now(self) -> _Head:
        return self._head or self._seek(self.index.end)

    def _is_read(self) -> bool:
        return time.monotonic() - self._read_at < _READ_S

    def _has(self, shard: str, sequence: str) -> bool:
        """Whether a record of the partition was read."""
        line = self._shards.now().lines[self.number]
        if shard not in line:
            return False
        place = line.index(shard)
        return self.index.line > place or (self.index.line == place and int(self.index.sequence or -1) >= int(sequence))

    # The stream

    def _seek(self, offset: int) -> _Head:
        """Have the next call begin at an offset, or at the anchor before it."""
        self._forget()
        index = self.index
        anchor = index.before(offset)
        if offset == index.end:
            kind = "START" if index.sequence is None else "AFTER"
            self._head = _Head(index.end, index.line, kind, index.sequence, index.writers, index.at_us, index.bytes)
        elif anchor is not None:
            sequence, before_us = anchor.sequence, anchor.before_us
            self._head = _Head(anchor.offset, anchor.line, "AT", sequence, anchor.writers, before_us, anchor.bytes)
        else:
            raise PositionError(f"{self._name}: offset {offset} of partition {self.number} is not in the log's state")
        return self._head

    def _fetch(self) -> bool:
        """One call; whether the stream has no more now. What it brings is indexed before it can be read."""
        head = self._now()
        topology = self._shards.now()
        line = topology.lines[self.number]
        if head.closed:
            return self._next_shard(head)
        shard = line[head.line]
        try:
            if head.iterator is None:
                head.iterator = self._open(head, shard)
            answer = self._client.records(head.iterator, _CALL_RECORDS)
        except ExpiredError:
            head.iterator = None
            return False
        except NoStreamError:
            self._pass_expired(head, shard)
            return False
        raws = self._after_expected(head, [to_raw(shard, one) for one in answer["Records"]])
        self._take(head, raws, topology)
        head.iterator = answer.get("NextShardIterator")
        if not head.iterator:
            head.closed = True
            self._next_shard(head)
            return False
        done = not answer.get("MillisBehindLatest") and len(answer["Records"]) < _CALL_RECORDS
        if done and head.offset == self.index.end:
            self._note_tip()
        return done

    def _open(self, head: _Head, shard: str) -> str:
        if head.kind == "START":
            return self._client.iterator(shard, "TRIM_HORIZON")
        head.expected = head.sequence
        return self._client.iterator(shard, "AT_SEQUENCE_NUMBER", StartingSequenceNumber=head.sequence)

    def _after_expected(self, head: _Head, raws: list[Raw]) -> list[Raw]:
        """The records behind the known one; it is asked for as well, since only so a gap behind it is seen."""
        if head.expected is None or not raws:
            return raws
        expected, head.expected = head.expected, None
        if raws[0].sequence == expected:
            return raws if head.kind == "AT" else raws[1:]
        if head.kind == "AT":
            raise self._expired(head.offset)
        self._warn()
        return [raw for raw in raws if int(raw.sequence) > int(expected)]

    def _pass_expired(self, head: _Head, shard: str) -> None:
        """Go on behind a shard that is gone with all its records; raises where it is the stream that is gone."""
        self._client.describe()
        if head.kind == "AT":
            raise self._expired(head.offset)
        self._warn()
        head.closed = True
        logger.info("%s: the shard %s has expired", self._name, shard)

    def _expired(self, offset: int) -> PositionError:
        return PositionError(
            f"{self._name}: the records of partition {self.number} from offset {offset} on have expired before they "
            "were read: what lies between is lost to this pipeline; let it start a new lake"
        )

    def _warn(self) -> None:
        """Say that something may be missing, where nobody has looked for longer than the stream keeps records."""
        if self.index.tip_us < _places.to_us(self._clock() - self._retention):
            logger.warning(
                "%s: nobody has read partition %d for longer than the stream keeps records: some may be missing "
                "before offset %d",
                self._name,
                self.number,
                self.index.end,
            )

    def _next_shard(self, head: _Head) -> bool:
        """Go on with the shard that carries the partition on; True while it is not listed yet."""
        line = self._shards.now().lines[self.number]
        if head.line + 1 >= len(line):
            line = self._shards.refresh().lines[self.number]
        if head.line + 1 >= len(line):
            return True
        fresh = _Head(head.offset, head.line + 1, "START", None, head.writers, head.at_us, head.bytes)
        self._head = fresh
        if fresh.offset == self.index.end and fresh.line > self.index.line:
            self._save(replace(self.index, line=fresh.line, sequence=None))
        return False

    # Counting

    def _take(self, head: _Head, raws: list[Raw], topology: Topology) -> None:
        """Count records, buffer them, and note in the index what it has not seen."""
        if not raws:
            return
        foreign = iter(self._decoded(raws, topology))
        anchors: list[Anchor] = []
        for raw in raws:
            batch, writers = self._records(raw, head.writers, topology, foreign)
            if batch is not None:
                at_us = int(batch["ingested_at"][0].value or 0)
                anchors.append(
                    Anchor(head.offset, head.line, raw.sequence, at_us, head.at_us, head.bytes, head.writers)
                )
                self._buffer.append((head.offset, batch))
                head.offset += batch.num_rows
                head.at_us = int(batch["ingested_at"][-1].value or 0)
                head.bytes += len(raw.data)
            head.sequence, head.kind, head.writers = raw.sequence, "AFTER", writers
        self._check(anchors)
        seen = Index(line=head.line, sequence=head.sequence, end=head.offset)
        if self.index.reaches(seen):
            return
        new = [anchor for anchor in anchors if anchor.offset >= self.index.end]
        step = -(-len(new) // _CALL_ANCHORS) or 1
        self._save(
            replace(
                self.index,
                end=head.offset,
                line=head.line,
                sequence=head.sequence,
                at_us=max(head.at_us, self.index.at_us),
                bytes=head.bytes,
                writers=head.writers,
                anchors=(*self.index.anchors, *new[::step]),
            )
        )

    def _decoded(self, raws: list[Raw], topology: Topology) -> list[pa.RecordBatch]:
        """What others wrote, where it belongs to this partition, one batch each."""
        ours = [raw for raw in raws if topology.homes[raw.shard] == self.number and envelope(raw.data) is None]
        return decode(ours, self._decoder, self._source)

    def _records(
        self, raw: Raw, writers: dict[str, int], topology: Topology, foreign: Iterator[pa.RecordBatch]
    ) -> tuple[pa.RecordBatch | None, dict[str, int]]:
        """The records of this partition in a Kinesis record; None: there are none."""
        head = envelope(raw.data)
        if head is None:
            return (next(foreign) if topology.homes[raw.shard] == self.number else None), writers
        if topology.addressed(head.partition, raw.shard) != self.number:
            return None, writers
        if writers.get(head.writer, -1) >= head.number:  # sent again by a writer that did not hear the answer
            return None, writers
        return opened(head, raw, self._source), noted(writers, head.writer, head.number)

    def _check(self, anchors: list[Anchor]) -> None:
        known = {anchor.offset: anchor.sequence for anchor in self.index.anchors}
        for anchor in anchors:
            if known.get(anchor.offset, anchor.sequence) != anchor.sequence:
                raise PositionError(
                    f"{self._name}: offset {anchor.offset} of partition {self.number} stands at another record than "
                    "the log's state says: the state belongs to another stream, or was replaced by an older copy"
                )

    # The state

    def _load(self) -> tuple[Index, str]:
        held = self._state.get(self._key) or Held({}, ABSENT)
        return to_index(held.document), held.version

    def _save(self, index: Index) -> None:
        """Make the index durable, merged with what others have noted since."""
        index = index.trimmed(index.first)
        while True:
            version = self._state.put(self._key, index.to_json(), self._version)
            if version is not None:
                self.index, self._version = index, version
                return
            theirs, self._version = self._load()
            if index.contradicts(theirs):
                self.index = theirs
                self._forget()
                raise LogError(
                    f"{self._name}: another reader has counted partition {self.number} first: its count is taken"
                )
            index = index.merged(theirs)

    def _note_tip(self) -> None:
        now_us = _places.to_us(self._clock())
        if now_us - self.index.tip_us >= _TIP_S * 1e6:
            self._save(replace(self.index, tip_us=now_us))
