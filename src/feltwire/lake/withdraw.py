"""Removing withdrawn posts for good: out of the sums first, then out of `posts`.

The order is negatives to `windows`, then to `terms`, then dead letters of the same id, then the rows of `posts`, each
fenced by application transactions, only for withdrawals that every table has passed. A crash or a rival between two
steps leaves a table ahead; the next call finishes exactly that span before it starts another.
"""

from collections.abc import Callable
from typing import Final

import pyarrow as pa
from deltalake.exceptions import DeltaError

from feltwire import schema, windows
from feltwire.lake import rewrite
from feltwire.lake.append import position, write_transaction
from feltwire.lake.reader import HIDING, Snapshot, one_batch
from feltwire.lake.storage import Location
from feltwire.lake.tables import Owner, open_table, read_positions

_SUMMED: Final[dict[str, Callable[[pa.RecordBatch], pa.RecordBatch]]] = {
    "windows": windows.window_sums,
    "terms": windows.term_sums,
}


def remove_withdrawn(location: Location, owner: Owner) -> int:
    """Remove the posts that are withdrawn; return how many rows went. Several maintainers may call it at once."""
    handles = {table: open_table(location, table) for table in schema.STREAMED}
    reached = [read_positions(handle, owner) for handle in handles.values()]
    partitions = set.intersection(*(set(found) for found in reached))
    lowest = {partition: min(found[partition] for found in reached) for partition in partitions}
    removed = 0
    for partition, end in sorted(lowest.items()):
        removed += _remove_partition(location, owner, partition, end)
    return removed


def _remove_partition(location: Location, owner: Owner, partition: int, end: int) -> int:
    app_id = owner.withdrawn_id(partition)
    # The sums first, then the posts: a span that a rival has begun on is then whole in what is read of the posts.
    handles = {table: open_table(location, table) for table in _SUMMED}
    snapshot = Snapshot(location, owner, ["posts", "dead_letters"])
    done = position(snapshot.handles["posts"], app_id)
    begun = {position(handle, app_id) for handle in handles.values()}
    if min(begun) < done:
        return 0  # a rival has finished a span in between
    if max(begun) > done:  # a maintainer was stopped half-way: finish the span that it began
        end = max(begun)
    if end <= done or not _any_withdrawal(snapshot, partition, done, end):
        return 0
    victims = _victims(snapshot, partition, done, end)
    moves = {app_id: end}
    for table, sum_up in _SUMMED.items():
        if position(handles[table], app_id) == end:
            continue
        files = []
        if victims.num_rows:
            sums = windows.negate(sum_up(victims), rewrite.SUMMED[table])
            files = [location.write(table, [sums], sums.schema).action()]
        try:
            write_transaction(handles[table], table, files, moves)
        except (DeltaError, OSError):
            return 0  # a rival is at it
    letters = {partition: _dead_letters(snapshot, partition, done, end)}
    if letters[partition] and not rewrite.drop_rows(
        location, "dead_letters", snapshot.handles["dead_letters"], letters, moves
    ):
        return 0
    rows = {partition: victims["log_offset"].to_pylist()}
    dropped = rewrite.drop_rows(location, "posts", snapshot.handles["posts"], rows, moves)
    return victims.num_rows if dropped else 0


def _any_withdrawal(snapshot: Snapshot, partition: int, start: int, end: int) -> bool:
    span = f"log_partition = {partition} and log_offset >= {start} and log_offset < {end}"
    return bool(snapshot.table(f"select 1 from withdrawn_all where {span} limit 1").num_rows)


def _dead_letters(snapshot: Snapshot, partition: int, start: int, end: int) -> list[int]:
    """The offsets of dead letters that hold the text of a post withdrawn in a span of the log."""
    span = f"w.log_partition = {partition} and w.log_offset >= {start} and w.log_offset < {end}"
    found = snapshot.table(
        "select distinct d.log_offset from dead_letters_all d join withdrawn_all w on w.id = d.id "
        f"where {span} and d.log_partition = {partition} and d.log_offset < w.log_offset"
    )
    return [int(offset) for offset in found["log_offset"].to_pylist()]


def _victims(snapshot: Snapshot, partition: int, start: int, end: int) -> pa.RecordBatch:
    """The rows of `posts` that the withdrawals of a span of the log hide, still with their scores."""
    span = f"log_partition = {partition} and log_offset >= {start} and log_offset < {end}"
    hiding = HIDING.replace("withdrawn_pending", f"(select * from withdrawn_all where {span})")
    found = snapshot.query(
        f"select p.* from posts_all p where p.log_partition = {partition} and p.log_offset < {end} and {hiding}"
    )
    return one_batch([found.read_all()], schema.POSTS)
