"""Reading the lake: SQL by DataFusion (delta-rs's QueryBuilder), with withdrawn posts out of sight."""

import logging
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

import pyarrow as pa
from deltalake import QueryBuilder
from deltalake.exceptions import DeltaError

from feltwire import schema
from feltwire.errors import ConfigError, LakeError, PositionError
from feltwire.interfaces import Position
from feltwire.lake.append import position
from feltwire.lake.storage import Location
from feltwire.lake.tables import Owner, open_table, read_positions

logger = logging.getLogger(__name__)

# The first word of a statement that only reads; DataFusion would also run COPY, CREATE and DROP.
_READING: Final = ("select", "with", "describe", "explain", "values")
_WRITING: Final = re.compile(
    r"^\s*explain\b(?:\s+(?:analyze|verbose))*\s+(?!analyze\b|verbose\b|select\b|with\b|values\b)", re.IGNORECASE
)

# The column by which a table is cut for --as-of; windows and terms are sums without an arrival time.
_ARRIVAL: Final = {
    "posts": "ingested_at",
    "dead_letters": "received_at",
    "withdrawn": "at",
    "scores": "at",
    "corrections": "at",
    "ledger": "minute",
}

# A withdrawal hides what stands before it in the log of its own partition.
_HIDDEN: Final = """
    not exists (select 1 from withdrawn_pending w where w.id = p.id and w.revision >= coalesce(p.revision, 0)
                and w.log_partition = p.log_partition and w.log_offset > p.log_offset)
    and not exists (select 1 from withdrawn_pending w where w.id is null and w.author_id = p.author_id
                and w.source = p.source and w.log_partition = p.log_partition and w.log_offset > p.log_offset)
"""
HIDING: Final = f"not ({_HIDDEN})"
_OF_A_POST: Final = """
    exists (select 1 from posts q where q.id = p.id and coalesce(q.revision, 0) = coalesce(p.revision, 0))
"""


class Snapshot:
    """Tables of a lake at one moment, by name, as SQL sees them. Make one for each question."""

    def __init__(
        self, location: Location, owner: Owner, tables: Sequence[str], *, as_of: datetime | None = None
    ) -> None:
        """Open `tables`; `posts` brings `withdrawn`, opened after it, so that no withdrawal is missed.

        `scores` brings `posts`, opened after it: it shows the scores of the posts that are to be seen.
        """
        self.owner = owner
        self.handles = {name: open_table(location, name) for name in tables}
        if "scores" in self.handles and "posts" not in self.handles:
            self.handles["posts"] = open_table(location, "posts")
        if "posts" in self.handles and "withdrawn" not in self.handles:
            self.handles["withdrawn"] = open_table(location, "withdrawn")
        self._builder = QueryBuilder()
        for name, handle in self.handles.items():
            self._builder.register(f"{name}_all", handle)
        if "posts" in self.handles:
            self._define("withdrawn_pending", f"select * from withdrawn_all where {self._pending()}")
        for name in sorted(self.handles, key=lambda name: name == "scores"):  # whose view is of that of `posts`
            self._define(name, self._view(name, as_of))

    def query(self, sql: str) -> pa.RecordBatchReader:
        """Run one statement. Raises what delta-rs raises."""
        return pa.RecordBatchReader.from_stream(self._builder.execute(sql))

    def table(self, sql: str) -> pa.Table:
        """Run one statement and collect its rows. Raises what delta-rs raises."""
        return self.query(sql).read_all()

    def positions(self, table: str) -> Position:
        """{partition: offset of the next record} of a table, for every partition that it has one for."""
        return read_positions(self.handles[table], self.owner)

    def purged(self) -> Position:
        """{partition: offset}: withdrawals before it are gone from `posts` for good."""
        handle = self.handles["posts"]
        return {p: position(handle, self.owner.withdrawn_id(p)) for p in read_positions(handle, self.owner)}

    def _pending(self) -> str:
        """The withdrawals that still have to hide something, as a predicate."""
        purged = {p: offset for p, offset in self.purged().items() if offset}
        done = " or ".join(f"(log_partition = {p} and log_offset < {offset})" for p, offset in purged.items())
        return f"not ({done})" if done else "true"

    def _view(self, name: str, as_of: datetime | None) -> str:
        until = f"p.{_ARRIVAL[name]} <= {literal(as_of)}" if as_of and name in _ARRIVAL else "true"
        hidden = f" and {_HIDDEN}" if name == "posts" and self._anything_pending() else ""
        if name == "scores":
            hidden = f" and {_OF_A_POST}"
        return f"select p.* from {name}_all p where {until}{hidden}"

    def _anything_pending(self) -> bool:
        return bool(self.table("select 1 from withdrawn_pending limit 1").num_rows)

    def _define(self, name: str, select: str) -> None:
        self.table(f"create or replace view {name} as {select}")


def check_reading(sql: str) -> str:
    """The statement without its closing semicolon. Raises ConfigError unless it only reads."""
    statement = sql.strip().rstrip(";").strip()
    word = re.match(r"[(\s]*(\w*)", statement)
    if word is None or word[1].lower() not in _READING or _WRITING.match(statement):
        raise ConfigError(f"only statements that read are run: expected {', '.join(_READING)}, came {statement[:40]!r}")
    return statement


def tables_of(sql: str) -> list[str]:
    """The lake's tables that a statement may speak of."""
    return [name for name in schema.TABLES if re.search(rf"\b{name}(_all)?\b", sql, re.IGNORECASE)]


def run_sql(location: Location, owner: Owner, sql: str, *, as_of: datetime | None = None) -> pa.Table:
    """A user's statement. Raises ConfigError, with DataFusion's own words, when it cannot be run."""
    statement = check_reading(sql)
    names = tables_of(statement) or ["posts"]
    without = [name for name in names if as_of and name not in _ARRIVAL]
    if without:
        raise ConfigError(
            f"{' and '.join(without)} cannot be read by SQL as of a time: they are sums. Use posts, or the commands "
            "`feltwire windows --as-of` and `feltwire terms --as-of`"
        )
    for attempt in (1, 2):
        try:
            return Snapshot(location, owner, names, as_of=as_of).table(statement)
        except DeltaError as error:
            # A file that maintenance removed while it was being read: ask the table as it is now.
            if attempt == 1 and re.search(r"not found|No such file", str(error)) and "table '" not in str(error):
                continue
            unknown = re.search(r"table '(?:[^'.]*\.)*([^'.]*)' not found", str(error))
            if unknown:
                raise ConfigError(
                    f"SQL: there is no table {unknown[1]!r}: known are {', '.join(schema.TABLES)}"
                ) from error
            raise ConfigError(f"SQL: {str(error).strip()}") from error
    raise LakeError("the lake's files change faster than they can be read")


def read_changes(
    location: Location, owner: Owner, after: Position, max_posts: int
) -> tuple[pa.RecordBatch, pa.RecordBatch, Position]:
    """See `interfaces.Feed.changes`."""
    snapshot = Snapshot(location, owner, ["posts"])
    reached = dict(after)
    posts: list[pa.Table] = []
    withdrawn: list[pa.Table] = []
    room = max_posts
    for partition, end in sorted(snapshot.positions("posts").items()):
        start = after.get(partition, 0)
        if start > end:
            raise PositionError(
                f"the follower is at {start} in log partition {partition}, the lake {location.path!r} only at {end}: "
                "it followed another lake. Give it a destination of its own"
            )
        if start == end or room <= 0:
            continue
        found, stop = _posts_behind(snapshot, partition, start, end, room)
        room -= sum(rows.num_rows for rows in found)
        posts += found
        withdrawn.append(
            snapshot.table(f"select * from withdrawn_all where {_offsets(partition, start, stop)} order by log_offset")
        )
        reached[partition] = stop
    return one_batch(posts, schema.POSTS), one_batch(withdrawn, schema.WITHDRAWN), reached


def _posts_behind(snapshot: Snapshot, partition: int, start: int, end: int, room: int) -> tuple[list[pa.Table], int]:
    """At most `room` posts of a partition from `start` on, and the offset that they reach.

    Offsets are asked for span by span, so that a backfill reads each file once and not the whole rest each time; a
    span that few posts are left of (the others matched no track) makes the next one longer.
    """
    found: list[pa.Table] = []
    span = room
    while start < end and room > 0:
        stop = min(end, start + span)
        where = _offsets(partition, start, stop)
        rows = snapshot.table(f"select * from posts where {where} order by log_offset limit {room}")
        found.append(rows)
        room -= rows.num_rows
        start = stop if room else int(rows["log_offset"][-1].as_py()) + 1
        span *= 4
    return found, start


def _offsets(partition: int, start: int, stop: int) -> str:
    return f"log_partition = {partition} and log_offset >= {start} and log_offset < {stop}"


def one_batch(tables: Sequence[pa.Table], wanted: pa.Schema) -> pa.RecordBatch:
    """Query results as one batch of a schema."""
    batches = [schema.conform(batch, wanted) for table in tables for batch in table.to_batches()]
    combined = pa.Table.from_batches(batches, schema=wanted).combine_chunks().to_batches()
    return combined[0] if combined else schema.empty(wanted)


def batches(reader: pa.RecordBatchReader, wanted: pa.Schema) -> Iterator[pa.RecordBatch]:
    """A query's rows, batch by batch, as batches of a schema."""
    for batch in reader:
        yield schema.conform(batch, wanted)


def literal(value: datetime | str) -> str:
    """A value as SQL writes it."""
    if isinstance(value, datetime):
        return f"arrow_cast('{value.astimezone(UTC).isoformat()}', 'Timestamp(Microsecond, Some(\"UTC\"))')"
    return "'" + value.replace("'", "''") + "'"
