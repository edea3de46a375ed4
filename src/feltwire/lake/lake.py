"""A lake as the rest of the program sees it: questions, corrections, and what followers follow."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import pyarrow as pa
from deltalake.exceptions import DeltaError

from feltwire import schema, windows
from feltwire.errors import ConfigError, LakeError
from feltwire.interfaces import Position
from feltwire.lake import rewrite, rollup
from feltwire.lake.append import write_transaction
from feltwire.lake.reader import Snapshot, batches, literal, read_changes, run_sql
from feltwire.lake.storage import Location
from feltwire.lake.tables import Owner, create_tables, migrate, open_table, read_owner, read_positions

CORRECTABLE: Final = ("sentiment", "emotion", "irony", "offensive", "hate", "complaint", "category", "reason")


@dataclass(frozen=True)
class Lake:
    """An open lake. It holds no handles: every question sees the lake as it is when it is asked."""

    location: Location
    owner: Owner

    def sql(self, query: str, *, as_of: datetime | None = None) -> pa.Table:
        """Run a statement that reads; tables by name, withdrawn posts hidden. Raises ConfigError for bad SQL."""
        with _reachable(self.location):
            return run_sql(self.location, self.owner, query, as_of=as_of)

    def changes(self, after: Position, max_posts: int) -> tuple[pa.RecordBatch, pa.RecordBatch, Position]:
        """What was committed behind `after`; see `interfaces.Feed`."""
        with _reachable(self.location):
            return read_changes(self.location, self.owner, after, max_posts)

    def windows(
        self,
        *,
        every: str = "15min",
        tracks: Sequence[str] = (),
        since: datetime | None = None,
        until: datetime | None = None,
        sources: Sequence[str] = (),
        langs: Sequence[str] = (),
        as_of: datetime | None = None,
    ) -> pa.Table:
        """The mood by window and track, oldest first; `tracks`, `sources` or `langs` empty: all (`und`: unknown).

        Columns: window (its start), track, the counts n…, share_ (of scored posts) and avg_ (mean probability) of
        each sentiment, and net = share_positive - share_negative. What cannot be divided is 0.0.
        """
        span = rollup.Span(since=since, until=until, tracks=tracks, sources=sources, langs=langs, as_of=as_of)
        with _reachable(self.location):
            return rollup.roll_up(self.location, self.owner, span, windows.parse_every(every))

    def windows_before(self, every: str, count: int, until: datetime | None = None) -> datetime | None:
        """Where the last `count` windows begin, up to `until` or to the newest sum; None where there is no sum.

        The files' statistics tell it: no row is read.
        """
        if until is None:
            with _reachable(self.location):
                files = rewrite.list_files(open_table(self.location, "windows"), "windows")
            newest = max((file.newest for file in files if file.newest is not None), default=None)
        else:
            newest = until - timedelta(microseconds=1)
        if newest is None:
            return None
        length = timedelta(minutes=windows.parse_every(every))
        return rollup.floor(newest, length) - (count - 1) * length

    def model(self) -> str | None:
        """The name of the model that scored the newest posts, by the file that was appended last."""
        with _reachable(self.location):
            files = rewrite.list_files(open_table(self.location, "posts"), "posts")
            if not files:
                return None
            newest = max(files, key=lambda file: (file.last, file.folder))
            where = f"day = {literal(newest.folder.rstrip('/').partition('=')[2])} and log_offset >= {newest.first}"
            found = Snapshot(self.location, self.owner, ["posts"]).table(
                f"select model from posts_all where {where} and model is not null order by log_offset desc limit 1"
            )
        name: str | None = found["model"][0].as_py() if found.num_rows else None
        return name

    def terms(
        self,
        *,
        kind: str | None = None,
        track: str = schema.ALL_TRACKS,
        since: datetime | None = None,
        until: datetime | None = None,
        sources: Sequence[str] = (),
        langs: Sequence[str] = (),
        limit: int = 20,
        as_of: datetime | None = None,
    ) -> pa.Table:
        """What people use most, most used first: kind, term, n, n_negative, n_positive; at most `limit` a kind."""
        span = rollup.Span(since=since, until=until, tracks=[track], sources=sources, langs=langs, as_of=as_of)
        with _reachable(self.location):
            return rollup.count_terms(self.location, self.owner, span, kind, limit)

    def export(
        self,
        *,
        track: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        as_of: datetime | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """The posts of a time (`event_time`) as batches of `schema.POSTS`, day by day, in the order of the log."""
        predicate = rollup.between("event_time", since, until)
        if track not in (None, schema.ALL_TRACKS):
            predicate += f" and array_has(tracks, {literal(str(track))})"
        with _reachable(self.location):
            snapshot = Snapshot(self.location, self.owner, ["posts"], as_of=as_of)
            days = snapshot.table(f"select distinct day from posts where true{predicate} order by day")["day"]
            for day in days.to_pylist():
                where = f"day = {literal(str(day))}{predicate}"
                rows = snapshot.query(f"select * from posts where {where} order by log_partition, log_offset")
                yield from batches(rows, schema.POSTS)

    def correct(self, post_id: str, field: str, value: str, by: str) -> None:
        """Store a person's label for a post.

        Raises ConfigError for a field that cannot be corrected, and for a post that the lake does not have.
        """
        if field not in CORRECTABLE:
            raise ConfigError(f"{field!r} cannot be corrected: expected one of {', '.join(CORRECTABLE)}")
        if not self.sql(f"select 1 from posts where id = {literal(post_id)} limit 1").num_rows:
            raise ConfigError(f"the lake has no post {post_id!r}")
        self._say(post_id, field, value, by)

    def retract(self, post_id: str, field: str, by: str) -> bool:
        """Take a correction back, by a row without a value; False where there is none to take back."""
        where = f"post_id = {literal(post_id)} and field = {literal(field)}"
        latest = f"select value from corrections where {where} order by at desc, value desc nulls last limit 1"
        if not self.sql(f"select 1 from ({latest}) where value is not null").num_rows:
            return False
        self._say(post_id, field, None, by)
        return True

    def _say(self, post_id: str, field: str, value: str | None, by: str) -> None:
        row = {"post_id": post_id, "field": field, "value": value, "by": by, "at": datetime.now(UTC)}
        batch = pa.RecordBatch.from_pylist([row], schema=schema.CORRECTIONS)
        with _reachable(self.location):
            action = self.location.write("corrections", [batch], schema.CORRECTIONS).action()
            once = {f"feltwire/corrections/{uuid.uuid4()}": 1}
            write_transaction(open_table(self.location, "corrections"), "corrections", [action], once)

    def ledger(self) -> pa.Table:
        """The account of every source: source and `schema.LEDGER_COUNTS`."""
        sums = ", ".join(f"cast(sum({name}) as bigint) {name}" for name in schema.LEDGER_COUNTS)
        return self.sql(f"select source, {sums} from ledger group by source order by source")

    def positions(self) -> dict[str, Position]:
        """{table: {log partition: offset of the next record}} of the tables that the stream fills."""
        with _reachable(self.location):
            return {table: read_positions(open_table(self.location, table), self.owner) for table in schema.STREAMED}

    def sizes(self) -> dict[str, dict[str, int]]:
        """{table: {rows, files, bytes, version}}, of the current version of each table."""
        found = {}
        with _reachable(self.location):
            for table in schema.TABLES:
                handle = open_table(self.location, table)
                files = rewrite.list_files(handle, table)
                found[table] = {
                    "rows": sum(file.rows for file in files),
                    "files": len(files),
                    "bytes": sum(file.size for file in files),
                    "version": handle.version(),
                }
        return found


def open_lake(path: str, *, storage_options: Mapping[str, str] | None = None) -> Lake:
    """Open an existing lake, migrating it if it is older. Raises ConfigError when there is none."""
    location = Location(path, dict(storage_options or {}))
    owner = read_owner(location)
    migrate(location)
    return Lake(location, owner)


def create_lake(path: str, owner: Owner, *, storage_options: Mapping[str, str] | None = None) -> Lake:
    """Open a lake for its owner, making what is missing of it. Raises PositionError when it is another's."""
    location = Location(path, dict(storage_options or {}))
    create_tables(location, owner)
    return Lake(location, owner)


@contextmanager
def _reachable(location: Location) -> Iterator[None]:
    """Turn what delta-rs and the file system raise into LakeError."""
    try:
        yield
    except (DeltaError, OSError, pa.ArrowException) as error:
        raise LakeError(f"the lake {location.path!r} cannot be read or written: {error}") from error
