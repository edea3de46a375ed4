"""Committing batches to the tables of a lake, in order, exactly once; and levelling them after a crash."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from feltwire import metrics, schema, windows
from feltwire.engines._work import Done, Settled
from feltwire.errors import ClaimError, PositionError
from feltwire.interfaces import LogReader, Position
from feltwire.lake import Lake
from feltwire.lake.append import Appender
from feltwire.lake.reader import Snapshot, one_batch
from feltwire.lake.rewrite import SUMMED
from feltwire.lake.storage import Written

logger = logging.getLogger(__name__)

IDLE_MOVE_S: Final = 10.0  # a table that gets no rows still moves its position this often, or trimming stalls
# Move with every batch, rows or none. `posts`, since the sums of a batch must never be ahead of it; `dead_letters`,
# the first table, since it decides which worker has the batch: a rival's failures may be other records.
_EVERY_BATCH: Final = ("dead_letters", "posts")
_LEVEL_ROWS: Final = 50_000  # of the log are levelled at a time


class Committer:
    """The one who appends to a lake for some partitions of a log. Make it, `level()`, then `commit()` in order."""

    def __init__(self, lake: Lake, log: LogReader, partitions: Sequence[int], *, level: bool = False) -> None:
        """`level`: the tables are known to be so, since nothing was broken off since they were brought level.

        Raises PositionError when the lake's positions and the log contradict each other.
        """
        self._lake = lake
        self._log = log
        self.partitions = tuple(partitions)
        self._ids = {partition: lake.owner.position_id(partition) for partition in partitions}
        self._appenders = {table: Appender(lake.location, table, list(self._ids.values())) for table in schema.STREAMED}
        self._moved_at = dict.fromkeys(schema.STREAMED, time.monotonic())
        self._unfinished: dict[str, tuple[list[Written], dict[str, int]]] = {}
        self._level = level
        self._check_against_log()

    def position(self, table: str, partition: int) -> int:
        """The offset of the next record that a table has not seen."""
        return self._appenders[table].known[self._ids[partition]]

    def lowest(self) -> Position:
        """{partition: offset}: what every table has seen; the log before it is not needed any more."""
        return {p: min(self.position(table, p) for table in schema.STREAMED) for p in self.partitions}

    def settled(self, partition: int) -> Settled:
        """The dead letters that stand in the lake before their batch of `posts` does."""
        start, before = self.position("posts", partition), self.position("dead_letters", partition)
        if before <= start:
            return Settled()
        snapshot = Snapshot(self._lake.location, self._lake.owner, ["dead_letters"])
        rows = snapshot.table(f"select log_offset from dead_letters where {_span(partition, start, before)}")
        return Settled(before=before, dead=frozenset(rows["log_offset"].to_pylist()))

    def check_follows(self, done: Sequence[Done], starts: Position) -> None:
        """Raise ClaimError unless the spans begin at `starts`, where `posts` is, and each where the one before ends."""
        reached = dict(starts)
        for each in done:
            p = each.partition
            posts = self.position("posts", p)
            if each.start != reached[p] or posts != starts[p]:
                raise ClaimError(
                    f"this worker left the lake at {starts[p]} in log partition {p}; it is at {posts}, and what was "
                    f"worked on goes from {each.start} to {each.end}: another worker has moved it on"
                )
            reached[p] = each.end

    def commit(self, done: Sequence[Done]) -> None:
        """Commit consecutive spans, table after table.

        Raises LakeError when a table took nothing: the same call again goes on where it stopped. Raises ClaimError
        when another worker has moved a table on.
        """
        ends = {each.partition: each.end for each in done}
        for table in schema.STREAMED:
            if table not in self._unfinished:
                self._unfinished[table] = (self._files(table, done), self._moves(table, ends))
            files, moves = self._unfinished[table]
            due = table in _EVERY_BATCH or time.monotonic() - self._moved_at[table] >= IDLE_MOVE_S
            if moves and (files or due):
                self._append(table, files, moves)
                self._unfinished[table] = ([], {})
        self._unfinished.clear()

    def rest(self) -> None:
        """Move the tables that got no rows lately up to `posts`; called now and then, and at the end.

        Does nothing while a batch is committed to some tables alone: its sums would be skipped for good.
        """
        if self._unfinished or not self._level:
            return
        for partition in self.partitions:
            end = self.position("posts", partition)
            for table in schema.STREAMED:
                if self.position(table, partition) < end:
                    self._append(table, [], {self._ids[partition]: end})

    def begin(self, starts: Position) -> None:
        """Have a lake that has nothing yet begin at the log's oldest records; called before `level`.

        Otherwise a crash in its first batch would leave tables to be levelled from records that were trimmed before
        the pipeline was there. `posts` comes last: once it has moved, the tables behind it have.
        """
        for partition, start in starts.items():
            if partition in self._ids and not self.position("posts", partition):
                for table in sorted(schema.STREAMED, key=lambda table: table == "posts"):
                    if self.position(table, partition) < start:
                        self._append(table, [], {self._ids[partition]: start})

    def level(self) -> None:
        """Bring every table up to `posts`, from the rows of `posts` and the log, never by scoring again."""
        for partition in self.partitions:
            end = self.position("posts", partition)
            for table in ("dead_letters", "withdrawn"):
                # Their rows are committed before those of `posts`: behind it, they had none.
                if self.position(table, partition) < end:
                    self._append(table, [], {self._ids[partition]: end})
            for table in ("windows", "terms", "ledger"):
                while (start := self.position(table, partition)) < end:
                    self._level_span(table, partition, start, min(end, start + _LEVEL_ROWS))
        self._level = True

    def _level_span(self, table: str, partition: int, start: int, end: int) -> None:
        snapshot = Snapshot(self._lake.location, self._lake.owner, ["posts", "dead_letters"])
        span = _span(partition, start, end)
        posts = one_batch([snapshot.table(f"select * from posts_all where {span}")], schema.POSTS)
        if table == "ledger":
            dead = set(snapshot.table(f"select log_offset from dead_letters where {span}")["log_offset"].to_pylist())
            sums = [_account(batch, posts, dead) for batch in self._records(partition, start, end)]
        else:
            sums = [windows.window_sums(posts) if table == "windows" else windows.term_sums(posts)]
        merged = windows.merge(sums, SUMMED[table])
        files = [self._lake.location.write(table, [merged], merged.schema)] if merged.num_rows else []
        logger.info("levelling %s: log partition %d from %d to %d", table, partition, start, end)
        self._append(table, files, {self._ids[partition]: end})

    def _records(self, partition: int, start: int, end: int) -> Iterator[pa.RecordBatch]:
        while start < end:
            batch = self._log.read(partition, start, end - start)
            batch = batch.filter(pc.less(batch["log_offset"], end))  # a log with gaps gives records from behind it
            if not batch.num_rows:
                if self._log.ends().get(partition, 0) < end:
                    raise PositionError(
                        f"the log of partition {partition} ends before {end}, where the lake's posts are"
                    )
                return
            yield batch
            start = batch["log_offset"][-1].as_py() + 1

    def _append(self, table: str, files: Sequence[Written], moves: Mapping[str, int]) -> None:
        with metrics.COMMIT_SECONDS.labels(table=table).time():
            self._appenders[table].commit(files, moves)
        self._moved_at[table] = time.monotonic()

    def _files(self, table: str, done: Sequence[Done]) -> list[Written]:
        """The data files of a table for some spans; rows that the table already has are left out."""
        location = self._lake.location
        if table == "posts":
            return [file for each in done for file in each.written]
        if table in SUMMED:
            merged = windows.merge([each.rows[table] for each in done], SUMMED[table])
            return [location.write(table, [merged], merged.schema)] if merged.num_rows else []
        files = []
        for partition in {each.partition for each in done}:
            behind = self.position(table, partition)
            rows = [each.rows[table] for each in done if each.partition == partition]
            rows = [batch.filter(pc.greater_equal(batch["log_offset"], behind)) for batch in rows]
            rows = [batch for batch in rows if batch.num_rows]
            if rows:
                files.append(location.write(table, rows, rows[0].schema))
        return files

    def _moves(self, table: str, ends: Position) -> dict[str, int]:
        return {self._ids[p]: end for p, end in ends.items() if end > self.position(table, p)}

    def _check_against_log(self) -> None:
        ends = self._log.ends()
        for partition in self.partitions:
            reached = {table: self.position(table, partition) for table in schema.STREAMED}
            beyond = {table: offset for table, offset in reached.items() if offset > ends.get(partition, 0)}
            if beyond:
                raise PositionError(
                    f"the lake {self._lake.location.path!r} is at {beyond} in log partition {partition}, but the log "
                    f"ends at {ends.get(partition, 0)}: the log was cut, or this is not the lake's log"
                )
            if not reached["posts"] and self._has_rows_alone(partition):
                raise PositionError(
                    f"the lake {self._lake.location.path!r} has posts of log partition {partition} but no position "
                    "in it: it was restored or overwritten. Start a new lake"
                )

    def _has_rows_alone(self, partition: int) -> bool:
        """Whether `posts` has rows of a partition and no position in it, both read from one version of the table."""
        snapshot = Snapshot(self._lake.location, self._lake.owner, ["posts"])
        rows = snapshot.table(f"select 1 from posts_all where log_partition = {partition} limit 1").num_rows
        return bool(rows) and not snapshot.positions("posts").get(partition)


def _account(records: pa.RecordBatch, posts: pa.RecordBatch, dead: set[int]) -> pa.RecordBatch:
    """The ledger of a span of the log whose posts and dead letters are known."""
    stored = {
        row["log_offset"]: row
        for row in posts.select(["log_offset", "event_time", "ingested_at", "scored", "redated"]).to_pylist()
    }
    outcomes: list[str | None] = []
    flags: dict[str, list[bool]] = {"scored": [], "late": [], "redated": []}
    for kind, offset in zip(records["kind"].to_pylist(), records["log_offset"].to_pylist(), strict=True):
        post = stored.get(offset)
        outcomes.append(_outcome(kind, post is not None, offset in dead))
        flags["scored"].append(bool(post and post["scored"]))
        flags["late"].append(bool(post and post["ingested_at"] - post["event_time"] > windows.LATE))
        flags["redated"].append(bool(post and post["redated"]))
    columns = {name: records[name] for name in ("ingested_at", "source", "log_partition", "kind")}
    columns["outcome"] = pa.array(outcomes, pa.string())
    columns |= {name: pa.array(values, pa.bool_()) for name, values in flags.items()}
    return windows.ledger_sums(pa.RecordBatch.from_pydict(columns))


def _outcome(kind: str, stored: bool, dead: bool) -> str | None:
    if kind == schema.WITHDRAWAL:
        return None
    if kind == schema.DUPLICATE:
        return schema.DUPLICATE
    return schema.KEPT if stored else schema.DEAD if dead else schema.FILTERED


def _span(partition: int, start: int, end: int) -> str:
    return f"log_partition = {partition} and log_offset >= {start} and log_offset < {end}"
