"""Appending to a Kinesis stream: dedupe, stamp, put, and the cursor after that.

A stream has no transactions. Records are put first and the cursor is stored when all of them are acknowledged; a
source that was stopped between the two gives them again, and the recent ids, rebuilt from the stream's tail, tell
them for repeats. A put whose answer is lost is sent again under its old number, by which a reader leaves out the
second one. At most one envelope a partition is under way, so records stay in order whatever is refused.
"""

import itertools
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feltwire.errors import LogError
from feltwire.interfaces import Cursor
from feltwire.logs import _blobs, _intake, _places
from feltwire.logs._decoders import Decoder
from feltwire.logs._kinesis_client import Backoff, Client, NoStreamError
from feltwire.logs._kinesis_listing import Listing
from feltwire.logs._kinesis_records import MAX_BYTES, PARTITION_KEY, decode, envelope, opened, seal, to_raw
from feltwire.logs._kinesis_shards import Topology, hash_key
from feltwire.logs._kinesis_state import Document, State, change
from feltwire.recent import Hashes, Recent, account_withdrawals, hashes
from feltwire.schema import EDIT, RECORD, REFUSAL, WITHDRAWAL
from feltwire.schema import records as to_records

CURSORS: Final = "cursors"  # the document of the sources' cursors
_CALL_BYTES: Final = 4_000_000  # of one PutRecords; the service takes 5 MiB
_CALL_ENTRIES: Final = 500
_GIVE_UP_S: Final = 10.0  # of waiting, until an append says that the stream takes nothing
_TAIL_CALLS: Final = 5  # that may bring nothing before a shard's tail counts as read


class Envelope(NamedTuple):
    """What is to be put."""

    partition: int
    data: bytes
    hashes: Hashes  # to be remembered once it is there


class Appender:
    """The writing end, with the memory of its recent ids. Threads take turns."""

    def __init__(
        self,
        client: Client,
        state: State,
        shards: Listing,
        *,
        decoder: Decoder,
        source: str,
        recent_h: float,
        recent_max: int,
        rebuild_h: float,
        clock: Callable[[], datetime],
    ) -> None:
        self._client = client
        self._state = state
        self._shards = shards
        self._decoder = decoder
        self._source = source
        self._clock = clock
        self._rebuild = timedelta(hours=min(rebuild_h, recent_h))
        self._recent = Recent(max_ids=recent_max, horizon_s=recent_h * 3600)
        self._learned = False
        self._last_us = 0
        self._writer = uuid.uuid4().bytes
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self.written: dict[int, tuple[str, str]] = {}
        """{partition: (shard, sequence number)} of the last record that was put."""

    def cursor(self, source: str) -> Cursor | None:
        """The last stored cursor of a source."""
        held = self._state.get(CURSORS)
        found = held.document.get(source) if held else None
        return None if found is None else _places.to_cursor(found[0])

    def append(self, records: pa.RecordBatch, source: str, cursor: Cursor | None) -> int:
        """See `KinesisLog.append`."""
        records = _intake.check(records)
        text = None if cursor is None else _places.cursor_text(source, cursor)
        with self._lock:
            duplicates = self._store(records) if records.num_rows else 0
            if text is not None:
                at_us = max(_places.to_us(self._clock()), self._last_us)
                change(self._state, CURSORS, lambda document: document | {source: [text, at_us]})
        return duplicates

    def _store(self, records: pa.RecordBatch) -> int:
        if not self._learned:
            self._learn()
        now_us = max(_places.to_us(self._clock()), self._last_us)
        self._recent.expire(now_us / 1e6)
        topology = self._shards.now()
        keys = [hash_key(key) for key in _keys(records)]
        homes: npt.NDArray[np.int64] = np.fromiter((topology.home(key) for key in keys), np.int64, len(keys))
        intake = _intake.admit(
            records,
            self._recent,
            partitions=len(topology.lines),
            ingested_at=_places.from_us(now_us),
            homes=homes,
        )
        elsewhere = _elsewhere(records, keys, homes, topology)
        # First what goes to more than its home: it is remembered by the home's record, which comes last.
        self._put([self._seals(number, rows, now_us) for number, rows in elsewhere.items()], now_us)
        self._put([self._envelopes(number, rows) for number, rows in intake.batches.items()], now_us)
        accounts = hashes(records)[account_withdrawals(records)]
        self._recent.add(np.unique(accounts[~self._recent.seen(accounts)]), now_us / 1e6)
        self._last_us = now_us
        return intake.duplicates

    def _seals(self, partition: int, rows: list[dict[str, Any]], now_us: int) -> Iterator[Envelope]:
        """Withdrawals for a partition that is not the home of what they withdraw."""
        stamp = {"ingested_at": _places.from_us(now_us)}
        yield from self._envelopes(partition, to_records([row | stamp for row in rows]), remembered=False)

    def _envelopes(self, partition: int, records: pa.RecordBatch, *, remembered: bool = True) -> Iterator[Envelope]:
        for piece in _blobs.cut(records):
            yield from self._halved(partition, piece, remembered)

    def _halved(self, partition: int, piece: pa.RecordBatch, remembered: bool) -> Iterator[Envelope]:
        """The piece as one envelope, or as several where a Kinesis record does not hold it."""
        number = next(self._numbers)
        data = seal(piece, writer=self._writer, number=number, partition=partition)
        if len(data) <= MAX_BYTES:
            # The withdrawal of an account is remembered once every partition has it.
            known = hashes(piece)[~account_withdrawals(piece)] if remembered else np.zeros(0, np.uint64)
            yield Envelope(partition, data, known)
        elif piece.num_rows > 1:
            middle = piece.num_rows // 2
            yield from self._halved(partition, piece.slice(0, middle), remembered)
            yield from self._halved(partition, piece.slice(middle), remembered)
        else:
            yield from self._halved(partition, _shortened(piece), remembered)

    def _put(self, lines: list[Iterator[Envelope]], now_us: int) -> None:
        """Put every envelope, of each partition one after the other; LogError when the stream takes nothing."""
        waiting = deque((next(line, None), line) for line in lines)
        backoff = Backoff(_GIVE_UP_S)
        while waiting:
            chosen: list[tuple[Envelope, Iterator[Envelope]]] = []
            size = 0
            while waiting and len(chosen) < _CALL_ENTRIES:
                one, line = waiting[0]
                if one is not None and chosen and size + len(one.data) > _CALL_BYTES:
                    break
                waiting.popleft()
                if one is not None:
                    chosen.append((one, line))
                    size += len(one.data)
            if not chosen:
                return
            failed = self._call(chosen, now_us, backoff)
            again = {id(line) for _, line in failed}
            waiting.extend(failed)
            waiting.extend((next(line, None), line) for _, line in chosen if id(line) not in again)

    def _call(
        self, chosen: list[tuple[Envelope, Iterator[Envelope]]], now_us: int, backoff: Backoff
    ) -> list[tuple[Envelope | None, Iterator[Envelope]]]:
        """One PutRecords; what it did not take. Waits a little where something was refused."""
        topology = self._shards.now()
        entries = [
            {
                "Data": one.data,
                "PartitionKey": PARTITION_KEY,
                "ExplicitHashKey": str(topology.carrier(one.partition).low),
            }
            for one, _ in chosen
        ]
        try:
            answers = self._client.put(entries)
        except LogError:
            if not backoff.wait():
                self._learned = False  # who knows what was stored: the stream is asked before the next append
                raise
            return list(chosen)
        failed: list[tuple[Envelope | None, Iterator[Envelope]]] = []
        why = ""
        for (one, line), answer in zip(chosen, answers, strict=True):
            if answer.get("ErrorCode"):
                why = str(answer["ErrorCode"])
                failed.append((one, line))
                continue
            shard = str(answer["ShardId"])
            self.written[one.partition] = (shard, str(answer["SequenceNumber"]))
            self._recent.add(one.hashes, now_us / 1e6)
            if shard not in topology.lines[one.partition]:
                self._shards.refresh()
        if failed and not backoff.wait():
            self._learned = False
            raise LogError(f"the stream {self._client.stream} takes no more now: {why}")
        return failed

    # The memory

    def _learn(self) -> None:
        """Read the stream's tail, of shards that are closed too, and remember what is new in it."""
        since = self._clock() - self._rebuild
        found: list[tuple[int, Hashes]] = []
        for shard in self._client.shards():
            found += self._tail(str(shard["ShardId"]), since)
        self._recent = Recent(max_ids=self._recent.max_ids, horizon_s=self._recent.horizon_s)
        for at_us, known in sorted(found, key=lambda one: one[0]):
            self._recent.add(known, at_us / 1e6)
            self._last_us = max(self._last_us, at_us)
        self._learned = True

    def _tail(self, shard: str, since: datetime) -> Iterator[tuple[int, Hashes]]:
        """(stamp, hashes) of the records that came into a shard since then; nothing of one that has expired."""
        try:
            iterator: str | None = self._client.iterator(shard, "AT_TIMESTAMP", Timestamp=since)
        except NoStreamError:  # since it was listed
            return
        backoff, barren = Backoff(60.0), 0
        while iterator and barren < _TAIL_CALLS:
            try:
                answer = self._client.records(iterator, 1_000)
            except LogError:
                if not backoff.wait():
                    raise
                continue
            for one in answer["Records"]:
                raw = to_raw(shard, one)
                head = envelope(raw.data)
                if head is None:
                    batch = decode([raw], self._decoder, self._source)[0]
                else:
                    batch = opened(head, raw, self._source)
                yield int(batch["ingested_at"][-1].value or 0), hashes(batch)
            barren = 0 if answer["Records"] else barren + 1
            iterator = answer.get("NextShardIterator")
            if not answer["Records"] and not answer.get("MillisBehindLatest"):
                return


def _keys(records: pa.RecordBatch) -> list[str]:
    """What names the shard of each record: its id, else its source."""
    pairs = zip(records["id"].to_pylist(), records["source"].to_pylist(), strict=True)
    return [key if key is not None else source or "" for key, source in pairs]


def _elsewhere(
    records: pa.RecordBatch, keys: list[int], homes: npt.NDArray[np.int64], topology: Topology
) -> dict[int, list[dict[str, Any]]]:
    """{partition: withdrawals} of what may stand in a partition other than its home, since the stream was resharded.

    An edit withdraws the revisions before it.
    """
    rows: dict[int, list[dict[str, Any]]] = {}
    if all(len(line) == 1 for line in topology.lines):
        return rows
    accounts = account_withdrawals(records)
    for i, kind in enumerate(records["kind"].to_pylist()):
        if kind not in (EDIT, WITHDRAWAL) or accounts[i]:
            continue
        others = [partition for partition in topology.holders(keys[i]) if partition != homes[i]]
        if not others:
            continue
        row = {name: records[name][i].as_py() for name in ("id", "revision", "source", "live", "author_id")}
        if row["id"] is None:
            continue
        if kind == EDIT:
            row["revision"] = (row["revision"] or 0) - 1
        for partition in others:
            rows.setdefault(partition, []).append(row | {"kind": WITHDRAWAL})
    return rows


def _shortened(record: pa.RecordBatch) -> pa.RecordBatch:
    """One record that is too large even alone: without what its source said of it, else only that it was refused."""
    row = record.to_pylist()[0]
    if row["raw"] is not None:
        row["raw"] = None
    elif row["kind"] == REFUSAL:
        row["payload"] = (row["payload"] or "")[:1024]
        row["refusal"] = (row["refusal"] or "")[:1024]
        row = {name: row[name] for name in ("kind", "source", "ingested_at", "refusal", "payload")}
    else:
        row = {name: row[name] for name in ("id", "source", "ingested_at")}
        row |= {"kind": REFUSAL, "refusal": "too large for a Kinesis record"}
    return to_records([row], RECORD)


def cursors(document: Document) -> dict[str, tuple[Cursor, datetime]]:
    """{source: (cursor, when it was stored)}."""
    return {source: (_places.to_cursor(text), _places.from_us(at_us)) for source, (text, at_us) in document.items()}
