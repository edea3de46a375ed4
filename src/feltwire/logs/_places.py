"""What every log shares about offsets, times and cursors."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from feltwire.errors import PositionError, SchemaError
from feltwire.interfaces import Cursor, Position

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def now() -> datetime:
    """The clock of a log unless it is given another one."""
    return datetime.now(UTC)


def to_us(at: datetime) -> int:
    """Microseconds since 1970."""
    return (at - EPOCH) // _MICROSECOND


def from_us(at_us: int) -> datetime:
    """The time that is so many microseconds after 1970."""
    return EPOCH + at_us * _MICROSECOND


def check_read(log: str, partition: int, after: int, first: int, end: int) -> None:
    """Raise PositionError unless the records from offset `after` on, or the log's end, are there to be read."""
    if after < first:
        raise PositionError(
            f"{log}: offset {after} of partition {partition} was asked for, and what is before {first} is trimmed "
            f"away: start at {first} (what lies between is lost to this pipeline), or use the lake that has it"
        )
    if after > end:
        raise PositionError(
            f"{log}: offset {after} of partition {partition} was asked for, and the log ends at {end}: "
            "this position belongs to another log, or the log was replaced by an older copy"
        )


def check_position(log: str, position: Position, ends: Position) -> None:
    """Raise PositionError for a position in a partition that is not there, or past its end."""
    for partition, offset in position.items():
        if partition not in ends:
            raise no_partition(log, partition, len(ends))
        check_read(log, partition, offset, min(offset, 0), ends[partition])
        if offset < 0:
            raise PositionError(f"{log}: offset {offset} of partition {partition}: the first offset is 0")


def no_partition(log: str, partition: int, partitions: int) -> PositionError:
    """The error for a partition that is not there."""
    return PositionError(f"{log} has no partition {partition}: it has {partitions}, from 0 on")


def passed_by_all(positions: Mapping[str, Position], partition: int, end: int) -> int:
    """The offset that every registered pipeline has reached; 0 while one has not told where it is here."""
    return min((position.get(partition, 0) for position in positions.values()), default=end)


def backlog(position: Position, begins: Position, ends: Position) -> int:
    """How many records a pipeline at this position has before it; where it has none, all that are kept."""
    return sum(end - max(position.get(partition, 0), begins[partition]) for partition, end in ends.items())


def cursor_text(source: str, cursor: Cursor) -> str:
    """The cursor as it is stored; raises SchemaError when it is no JSON data."""
    try:
        return json.dumps(cursor, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise SchemaError(f"the cursor of source {source!r} is no JSON data: {error}") from error


def to_cursor(text: str) -> Cursor:
    """A stored cursor."""
    cursor: Cursor = json.loads(text)
    return cursor


def by_time(latest: list[pa.RecordBatch], n: int) -> pa.RecordBatch:
    """The last `n` records of several partitions, by time."""
    order = [("ingested_at", "ascending"), ("log_partition", "ascending"), ("log_offset", "ascending")]
    records = pa.concat_batches(latest)
    records = records.take(pc.sort_indices(records, sort_keys=order))
    return records.slice(max(0, records.num_rows - n))


def account(
    *,
    begins: Position,
    ends: Position,
    times: Mapping[int, tuple[datetime, datetime] | None],
    positions: Mapping[str, Position],
    seen: Mapping[str, datetime],
    cursors: Mapping[str, tuple[Cursor, datetime]],
) -> dict[str, Any]:
    """What `stats` says of a log's content, as JSON data. `times` are of a partition's first and last batch."""
    return {
        "records": sum(end - begins[partition] for partition, end in ends.items()),
        "partitions": {
            partition: {
                "first_offset": begins[partition],
                "next_offset": end,
                **dict(zip(("oldest", "newest"), [_iso(at) for at in times[partition] or (None, None)], strict=True)),
            }
            for partition, end in ends.items()
        },
        "pipelines": {
            name: {"position": position, "backlog": backlog(position, begins, ends), "seen_at": _iso(seen[name])}
            for name, position in positions.items()
        },
        "sources": {source: {"cursor": cursor, "at": _iso(at)} for source, (cursor, at) in cursors.items()},
    }


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
