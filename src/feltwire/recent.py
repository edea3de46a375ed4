"""The memory of recent ids, by which the log tells a repeat from a new record.

An id is a 64-bit hash: of 20 million ids, a new one is taken for a repeat with a probability of 1 in 10^12.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from xxhash import xxh3_64_intdigest

from feltwire.errors import ConfigError
from feltwire.schema import WITHDRAWAL

Hashes = npt.NDArray[np.uint64]

NO_ID: Final = 0
"""The hash of a record that cannot be told from another one, and so is never a repeat."""

_SECOND: Final = np.uint64(32)  # the second flag of a hash stands at its lower 32 bits

BUCKETS: Final = 16  # the memory forgets in steps of a sixteenth of its size, and of its horizon


def hashes(records: pa.RecordBatch) -> Hashes:
    """A hash a record, of its kind, id and revision; of its kind, source, author_id and created_at if it
    withdraws a whole account. `NO_ID` where one of these is missing.

    Needs the columns kind, id, revision, source, author_id and created_at of `schema.RECORD`.
    """
    kind, ids = records["kind"], records["id"]
    revision = pc.fill_null(pc.cast(records["revision"], pa.string()), "")
    keys = pc.binary_join_element_wise(kind, revision, ids, "|")
    account = account_withdrawals(records)
    if account.any():
        at = pc.cast(pc.cast(records["created_at"], pa.int64()), pa.string())
        whole = pc.binary_join_element_wise("account", records["source"], at, records["author_id"], "|")
        keys = pc.if_else(pa.array(account), whole, keys)
    known = [key if key is None else xxh3_64_intdigest(key) or 1 for key in keys.cast(pa.binary()).to_pylist()]
    return np.fromiter((key or NO_ID for key in known), dtype=np.uint64, count=len(known))


def account_withdrawals(records: pa.RecordBatch) -> npt.NDArray[np.bool_]:
    """Which records withdraw all posts of an author: kind `withdrawal`, no id, an author_id."""
    mask = pc.and_(pc.is_null(records["id"]), pc.is_valid(records["author_id"]))
    mask = pc.and_(mask, pc.fill_null(pc.equal(records["kind"], WITHDRAWAL), False))
    return np.asarray(mask.to_numpy(zero_copy_only=False), dtype=np.bool_)


class Recent:
    """Remembers hashes for `horizon_s` seconds, `max_ids` of them at most.

    What was added less than `horizon_s` ago is remembered, unless more than `max_ids` came since; it forgets by
    buckets, so that of more ids it keeps between 15/16 of `max_ids` and all, and some of them for up to 17/16
    of the horizon. Memory: 8 bytes an id in sorted runs, 1 to 2 bytes for a filter before them. Not thread-safe.
    """

    def __init__(self, *, max_ids: int = 20_000_000, horizon_s: float = 86_400) -> None:
        if max_ids < BUCKETS or horizon_s < 0:
            raise ConfigError(f"a memory of {max_ids} ids and {horizon_s} s: at least {BUCKETS} ids and 0 s are needed")
        self.max_ids = max_ids
        self.horizon_s = horizon_s
        self._bucket_ids = max_ids // BUCKETS
        self._buckets: list[_Bucket] = []

    def __len__(self) -> int:
        return sum(bucket.count for bucket in self._buckets)

    @property
    def nbytes(self) -> int:
        """The memory that it takes."""
        return sum(bucket.nbytes for bucket in self._buckets)

    def seen(self, hashes: Hashes) -> npt.NDArray[np.bool_]:
        """Which of the hashes it remembers; `NO_ID` never. Their order is free, sorted ones are found faster."""
        found = np.zeros(len(hashes), dtype=np.bool_)
        for bucket in self._buckets:
            bucket.mark(hashes, found)
        found &= hashes != NO_ID
        return found

    def add(self, hashes: Hashes, at_s: float) -> None:
        """Remember the hashes, which came at `at_s` (seconds since 1970), and forget what is too old or too much.

        Add only what it has not seen: a hash that is added twice takes room twice.
        """
        hashes = hashes[hashes != NO_ID]
        start = 0
        while start < len(hashes):
            bucket = self._open_bucket(at_s)
            room = self._bucket_ids - bucket.count
            bucket.add(hashes[start : start + room], at_s)
            start += room
        self.expire(at_s)

    def expire(self, at_s: float) -> None:
        """Forget the buckets whose newest hash was added more than `horizon_s` before `at_s`."""
        while self._buckets and self._buckets[0].newest_s < at_s - self.horizon_s:
            del self._buckets[0]
        while len(self) > self.max_ids:
            del self._buckets[0]

    def _open_bucket(self, at_s: float) -> "_Bucket":
        if self._buckets:
            last = self._buckets[-1]
            if last.count < self._bucket_ids and at_s < last.oldest_s + self.horizon_s / BUCKETS:
                return last
            last.close()
        self._buckets.append(_Bucket(at_s))
        return self._buckets[-1]


class _Bucket:
    """Hashes that came one after another: sorted runs, merged so that each is twice as long as the next one."""

    __slots__ = ("_bits", "_runs", "_shift", "count", "newest_s", "oldest_s")

    def __init__(self, at_s: float) -> None:
        self.oldest_s = self.newest_s = at_s
        self.count = 0
        self._runs: list[Hashes] = []
        self._bits: npt.NDArray[np.uint8] | None = None  # of a closed bucket: a Bloom filter, two flags a hash
        self._shift = np.uint64(0)

    @property
    def nbytes(self) -> int:
        return sum(run.nbytes for run in self._runs) + (0 if self._bits is None else self._bits.nbytes)

    def add(self, hashes: Hashes, at_s: float) -> None:
        self.newest_s = max(self.newest_s, at_s)
        self.count += len(hashes)
        runs = self._runs
        runs.append(np.sort(hashes))
        while len(runs) > 1 and len(runs[-2]) < 2 * len(runs[-1]):
            runs[-2:] = [_merge(runs[-2:])]

    def close(self) -> None:
        """Make it one run behind a filter of 8 to 16 bits a hash, so that most look-ups end there."""
        run = _merge(self._runs)
        width = max(3, (8 * len(run) - 1).bit_length())
        self._runs, self._shift = [run], np.uint64(64 - width)
        flags = np.zeros(1 << width, dtype=np.bool_)
        for key in (run, run << _SECOND):
            flags[key >> self._shift] = True
        self._bits = np.packbits(flags, bitorder="little")

    def mark(self, hashes: Hashes, found: npt.NDArray[np.bool_]) -> None:
        """Set `found` where a hash is in this bucket."""
        if self._bits is None:
            for run in self._runs:
                found |= _in_run(run, hashes)
            return
        maybe = np.flatnonzero(self._flagged(self._bits, hashes))
        maybe = maybe[self._flagged(self._bits, hashes[maybe] << _SECOND)]
        if len(maybe):
            found[maybe] |= _in_run(self._runs[0], hashes[maybe])

    def _flagged(self, bits: npt.NDArray[np.uint8], keys: Hashes) -> npt.NDArray[np.bool_]:
        place = keys >> self._shift
        bit = (bits[place >> np.uint64(3)] >> (place & np.uint64(7)).astype(np.uint8)) & np.uint8(1)
        return np.asarray(bit, dtype=np.bool_)


def _in_run(run: Hashes, hashes: Hashes) -> npt.NDArray[np.bool_]:
    place = np.searchsorted(run, hashes)
    np.minimum(place, len(run) - 1, out=place)
    return np.asarray(run[place] == hashes, dtype=np.bool_)


def _merge(runs: list[Hashes]) -> Hashes:
    """The hashes of sorted runs, sorted. Timsort (`stable`) finds the runs and merges them."""
    merged = np.concatenate(runs)
    merged.sort(kind="stable")
    return merged
