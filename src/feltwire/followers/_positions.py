"""Arithmetic of positions, {log partition: next offset}, over batches that carry `log_partition` and `log_offset`."""

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feltwire.interfaces import Position


def ahead(one: Position, other: Position) -> Position:
    """The further of two, partition by partition."""
    return {partition: max(one.get(partition, 0), other.get(partition, 0)) for partition in sorted({*one, *other})}


def fresh(batch: pa.RecordBatch, position: Position | None) -> pa.RecordBatch:
    """The rows of `batch` that stand at `position` or behind it: those that a destination does not have yet."""
    if not position or not batch.num_rows:
        return batch
    partitions, offsets = places(batch)
    unique, inverse = np.unique(partitions, return_inverse=True)
    starts = np.array([position.get(int(partition), 0) for partition in unique])
    new = offsets >= starts[inverse]
    return batch if new.all() else batch.filter(pa.array(new))


def places(batch: pa.RecordBatch) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(log_partition, log_offset) of every row."""
    partitions = batch.column("log_partition").to_numpy(zero_copy_only=False).astype(np.int64)
    offsets = batch.column("log_offset").to_numpy(zero_copy_only=False).astype(np.int64)
    return partitions, offsets


def log_order(posts: pa.RecordBatch, withdrawn: pa.RecordBatch) -> npt.NDArray[np.int64]:
    """The rows of both, as indices into `withdrawn` followed by `posts`, in the order of the log.

    An edit is a withdrawal and a post at the same place: the withdrawal of the older text comes first.
    """
    partitions, offsets = _places_of_both(posts, withdrawn)
    return np.lexsort((offsets, partitions))


def cut(
    posts: pa.RecordBatch, withdrawn: pa.RecordBatch, after: Position, position: Position, max_rows: int
) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch, Position]]:
    """The same rows in pieces of about `max_rows` posts and withdrawals, each with the position that it ends at.

    `after` is where the first piece begins and `position` where the last one ends. What stands at one place of the
    log stays together.
    """
    order = log_order(posts, withdrawn)
    partitions, offsets = (column[order] for column in _places_of_both(posts, withdrawn))
    begin = dict(after)
    for last in range(max_rows - 1, len(order) - 1, max_rows):
        here = int(partitions[last])
        end = {p: position.get(p, 0) if p < here else begin.get(p, 0) for p in {*begin, *position} if p != here}
        end = ahead(begin, {**end, here: int(offsets[last]) + 1})
        yield _between(posts, begin, end), _between(withdrawn, begin, end), {p: n for p, n in end.items() if n}
        begin = end
    yield fresh(posts, begin), fresh(withdrawn, begin), ahead(begin, position)


def to_json(position: Position) -> dict[str, int]:
    """A position as JSON keeps it: keys are strings there."""
    return {str(partition): offset for partition, offset in sorted(position.items())}


def from_json(position: Mapping[str, int]) -> Position:
    """The opposite of `to_json`."""
    return {int(partition): int(offset) for partition, offset in position.items()}


def _places_of_both(
    posts: pa.RecordBatch, withdrawn: pa.RecordBatch
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    one, other = places(withdrawn), places(posts)
    return np.concatenate([one[0], other[0]]), np.concatenate([one[1], other[1]])


def _between(batch: pa.RecordBatch, begin: Position, end: Position) -> pa.RecordBatch:
    rows = fresh(batch, begin)
    partitions, offsets = places(rows)
    ends = np.array([end.get(int(partition), 0) for partition in partitions], np.int64)
    return rows.filter(pa.array(offsets < ends))
