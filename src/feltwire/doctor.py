"""Proof, on demand, that a lake is whole: every table against the others, and all of them against the log."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from deltalake.exceptions import DeltaError

from feltwire import schema, windows
from feltwire.errors import LakeError
from feltwire.interfaces import LogReader, Position
from feltwire.lake import Lake
from feltwire.lake.append import position
from feltwire.lake.reader import Snapshot, batches
from feltwire.lake.rewrite import KEEP_MINUTES, list_files

_ATTEMPTS: Final = 20
_PAUSE_S: Final = 0.25


@dataclass(frozen=True)
class Finding:
    """One thing that was examined."""

    name: str
    ok: bool
    detail: str


def examine(lake: Lake, log: LogReader | None = None) -> list[Finding]:
    """Examine a lake, also while it is being written; without the log, what needs it is left out.

    Raises LakeError when the lake cannot be read.
    """
    try:
        # The sums are opened before the posts: a batch reaches them after the posts, so none is ahead.
        snapshot = _consistent(lake)
        findings = [
            _unique(snapshot),
            _balance(snapshot),
            _dead_letters(snapshot),
            _kept(snapshot),
            _windows(snapshot),
            _terms(snapshot),
            _files(lake),
        ]
        if log is not None:
            findings += _against_log(snapshot, log)
    except (DeltaError, OSError) as error:
        raise LakeError(f"the lake {lake.location.path!r} cannot be read: {error}") from error
    return findings


def _consistent(lake: Lake) -> Snapshot:
    """A snapshot in which no removal of withdrawn posts is half done."""
    for _ in range(_ATTEMPTS):
        snapshot = Snapshot(lake.location, lake.owner, ["ledger", "terms", "windows", "posts", "dead_letters"])
        purged = {
            tuple(position(snapshot.handles[table], lake.owner.withdrawn_id(p)) for p in snapshot.positions("posts"))
            for table in ("windows", "terms", "posts")
        }
        if len(purged) == 1:
            break
        time.sleep(_PAUSE_S)
    return snapshot


def _unique(snapshot: Snapshot) -> Finding:
    query = "select id, revision from posts_all group by id, revision having count(*) > 1 limit 5"
    doubled = snapshot.table(query)["id"].to_pylist()
    total = snapshot.table("select count(*) n from posts_all")["n"][0].as_py()
    detail = f"stored more than once: {', '.join(doubled)}" if doubled else f"{total:,} posts, none twice"
    return Finding("posts are unique", not doubled, detail)


def _balance(snapshot: Snapshot) -> Finding:
    wrong = snapshot.table(
        "select minute, source from ledger group by minute, source "
        "having sum(received) <> sum(kept) + sum(duplicate) + sum(filtered) + sum(dead) limit 5"
    ).to_pylist()
    counts = _totals(snapshot)
    account = " + ".join(f"{counts[name]:,} {name}" for name in ("kept", "duplicate", "filtered", "dead"))
    detail = f"{counts['received']:,} received = {account}"
    if wrong:
        detail = f"out of balance at {wrong[0]['minute']:%Y-%m-%d %H:%M} for {wrong[0]['source']}; in all {detail}"
    return Finding("the ledger balances", not wrong, detail)


def _dead_letters(snapshot: Snapshot) -> Finding:
    reached = snapshot.positions("ledger")
    stored = snapshot.table(f"select count(*) n from dead_letters where {_before(reached)}")["n"][0].as_py()
    counted = _totals(snapshot)["dead"]
    withdrawn = snapshot.table("select count(*) n from withdrawn_all")["n"][0].as_py()
    ok = stored == counted if not withdrawn else stored <= counted  # a withdrawn post's dead letter is removed
    return Finding("dead letters match the ledger", ok, f"{stored:,} stored, {counted:,} counted")


def _kept(snapshot: Snapshot) -> Finding:
    reached = snapshot.positions("ledger")
    stored = snapshot.table(f"select count(*) n from posts_all where {_before(reached)}")["n"][0].as_py()
    kept = _totals(snapshot)["kept"]
    withdrawn = snapshot.table("select count(*) n from withdrawn_all")["n"][0].as_py()
    ok = stored == kept if not withdrawn else stored <= kept
    removed = f", {kept - stored:,} of them since removed as withdrawn" if withdrawn else ""
    return Finding("posts match the ledger", ok, f"{stored:,} stored, {kept:,} kept{removed}")


def _windows(snapshot: Snapshot) -> Finding:
    reached = snapshot.positions("windows")
    stored = windows.merge(list(_rows(snapshot, "windows_all", "true", schema.WINDOWS)), schema.WINDOWS)
    return _compare("windows equal a recompute", stored, _recompute(snapshot, reached, windows.window_sums, "true"))


def _terms(snapshot: Snapshot) -> Finding:
    # Older minutes have become hours, with their rarest terms in one.
    since = f"'{(datetime.now(UTC) - KEEP_MINUTES * 0.9).isoformat()}'"
    reached = snapshot.positions("terms")
    recomputed = _recompute(snapshot, reached, windows.term_sums, f"date_trunc('minute', event_time) >= {since}")
    stored = windows.merge(list(_rows(snapshot, "terms_all", f"minute >= {since}", schema.TERMS)), schema.TERMS)
    return _compare("terms equal a recompute", stored, recomputed)


def _recompute(
    snapshot: Snapshot, reached: Position, sum_up: Callable[[pa.RecordBatch], pa.RecordBatch], where: str
) -> pa.RecordBatch:
    """The sums of all posts that a table has seen."""
    total: pa.RecordBatch | None = None
    for posts in _rows(snapshot, "posts_all", f"({_before(reached)}) and {where}", schema.POSTS):
        sums = sum_up(posts)
        total = sums if total is None else windows.merge([total, sums], sums.schema)
    return sum_up(schema.empty(schema.POSTS)) if total is None else total


def _compare(name: str, stored: pa.RecordBatch, recomputed: pa.RecordBatch) -> Finding:
    """Equal to the last bit, or by how much not: what one has and the other lacks does not cancel out."""
    rest = windows.merge([stored, windows.negate(recomputed, stored.schema)], stored.schema)
    total = pc.sum(stored["n"]).as_py() or 0
    if not rest.num_rows:
        return Finding(name, True, f"{stored.num_rows:,} sums, {total:,} counted")
    first = rest.to_pylist()[0]
    where = ", ".join(f"{key}={first[key]}" for key in windows.keys_of(stored.schema))
    return Finding(
        name, False, f"{rest.num_rows:,} of {stored.num_rows:,} sums differ; first by {first['n']} at {where}"
    )


def _files(lake: Lake) -> Finding:
    """Every file that a table names is there and has the size that the table says."""
    missing, count = [], 0
    system, root = lake.location.filesystem()
    for table in schema.TABLES:
        handle = Snapshot(lake.location, lake.owner, [table]).handles[table]
        files = list_files(handle, table)
        infos = system.get_file_info([f"{root}/{table}/{file.name}" for file in files])
        missing += [info.path for info, file in zip(infos, files, strict=True) if info.size != file.size]
        count += len(files)
    detail = f"{len(missing)} missing or cut off, first {missing[0]}" if missing else f"{count:,} files"
    return Finding("every file is there", not missing, detail)


def _against_log(snapshot: Snapshot, log: LogReader) -> Iterator[Finding]:
    ends = log.ends()
    same = snapshot.owner.log == log.identity
    yield Finding("the log is the lake's", same, f"log {log.identity}")
    if not same:
        return
    for table in ("dead_letters", "withdrawn", "posts", "windows", "terms", "ledger"):
        reached = snapshot.positions(table)
        beyond = [partition for partition, offset in reached.items() if offset > ends.get(partition, 0)]
        behind = sum(max(0, end - reached.get(partition, 0)) for partition, end in ends.items())
        detail = f"past the log's end in partitions {beyond}" if beyond else f"{behind:,} records behind the log"
        yield Finding(f"{table} within the log", not beyond, detail)


def _totals(snapshot: Snapshot) -> dict[str, int]:
    sums = ", ".join(f"coalesce(sum({name}), 0) {name}" for name in schema.LEDGER_COUNTS)
    return {name: int(value) for name, value in snapshot.table(f"select {sums} from ledger").to_pylist()[0].items()}


def _rows(snapshot: Snapshot, view: str, where: str, wanted: pa.Schema) -> Iterator[pa.RecordBatch]:
    return batches(snapshot.query(f"select * from {view} where {where}"), wanted)


def _before(reached: Position) -> str:
    """What lies before a table's position, as SQL."""
    parts = [f"(log_partition = {partition} and log_offset < {offset})" for partition, offset in reached.items()]
    return " or ".join(parts) if parts else "false"
