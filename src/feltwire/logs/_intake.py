"""What every log does to the records that it is given: check them, find the repeats, send each to its partition."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from xxhash import xxh3_64_intdigest

from feltwire.errors import SchemaError
from feltwire.recent import NO_ID, Hashes, Recent, account_withdrawals, hashes
from feltwire.schema import DUPLICATE, EDIT, POST, RECORD, REFUSAL, TIME, WITHDRAWAL, conform

RECEIVED: Final = (POST, EDIT, WITHDRAWAL, REFUSAL)

_KIND, _SOURCE, _INGESTED_AT = (RECORD.get_field_index(name) for name in ("kind", "source", "ingested_at"))


@dataclass(frozen=True, slots=True)
class Intake:
    """A batch of records, ready to be stored."""

    batches: dict[int, pa.RecordBatch]
    """{partition: its records, stamped, each repeat as a bare `duplicate`}; a partition without any is left out."""
    hashes: dict[int, Hashes]
    """{partition: the hashes of its new records}: what has to be remembered once the records are stored."""
    duplicates: int


def check(records: pa.RecordBatch) -> pa.RecordBatch:
    """The records as `schema.RECORD`; raises SchemaError for a column or a kind that no source may give."""
    records = conform(records, RECORD)
    known = pc.is_in(records["kind"], value_set=pa.array(RECEIVED))
    if len(records) and not pc.all(known).as_py():
        strange = pc.unique(records["kind"].filter(pc.invert(known))).to_pylist()
        raise SchemaError(f"records of kind {strange[0]!r} came: a source gives {', '.join(RECEIVED)}")
    return records


def admit(
    records: pa.RecordBatch,
    recent: Recent,
    *,
    partitions: int,
    ingested_at: datetime,
    homes: npt.NDArray[np.int64] | None = None,
) -> Intake:
    """Find the repeats of checked records, within the batch too, stamp the records and route them.

    `recent` is asked and not changed. Whatever has an id goes to the partition of its id, so that a post, its
    edits and its withdrawal meet in one; the withdrawal of an account goes to every partition. `homes` names the
    partition of each record where the log has rules of its own.
    """
    of_records = hashes(records)
    repeated = _repeated(of_records, recent)
    stamp = pa.scalar(ingested_at, TIME)
    batches: dict[int, pa.RecordBatch] = {}
    fresh: dict[int, Hashes] = {}
    homes = _homes(records, partitions) if homes is None else homes
    everywhere = account_withdrawals(records) & ~repeated
    for partition in range(partitions):
        at_home = homes == partition
        here = np.flatnonzero(at_home | everywhere)
        if len(here):
            batches[partition] = _stored(records, here, repeated, stamp)
        new = of_records[at_home & ~repeated]
        fresh[partition] = new[new != NO_ID]
    return Intake(batches, fresh, int(repeated.sum()))


def _repeated(of_records: Hashes, recent: Recent) -> npt.NDArray[np.bool_]:
    order = np.argsort(of_records, kind="stable")
    ordered = of_records[order]
    again = recent.seen(ordered)
    again[1:] |= (ordered[1:] == ordered[:-1]) & (ordered[1:] != NO_ID)
    repeated = np.zeros(len(order), dtype=np.bool_)
    repeated[order] = again
    return repeated


def _homes(records: pa.RecordBatch, partitions: int) -> npt.NDArray[np.int64]:
    """The partition of each record: by its id, else by its source."""
    if partitions == 1:
        return np.zeros(records.num_rows, dtype=np.int64)
    keys = pc.coalesce(records["id"], records["source"], "").cast(pa.binary()).to_pylist()
    return np.fromiter((xxh3_64_intdigest(key) % partitions for key in keys), dtype=np.int64, count=len(keys))


def _stored(
    records: pa.RecordBatch, here: npt.NDArray[np.int64], repeated: npt.NDArray[np.bool_], stamp: pa.Scalar
) -> pa.RecordBatch:
    """The rows `here`, stamped; of a repeat only source and time are left."""
    repeats = repeated[here]
    bare = bool(repeats.any())
    if bare or len(here) < records.num_rows:
        kinds, sources = records["kind"].take(here), records["source"].take(here)
        records = records.take(pa.array(here, mask=repeats) if bare else pa.array(here))  # a null index gives nulls
        if bare:
            kinds = pc.if_else(pa.array(repeats), DUPLICATE, kinds)
            records = records.set_column(_KIND, RECORD.field(_KIND), kinds)
            records = records.set_column(_SOURCE, RECORD.field(_SOURCE), sources)
    times = pa.repeat(stamp, records.num_rows)
    return records.set_column(_INGESTED_AT, RECORD.field(_INGESTED_AT), times)
