"""Which records of a slice are new to the lake."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feltwire import schema
from feltwire.backfill.slices import Slice
from feltwire.lake import Lake
from feltwire.lake.reader import literal

_AROUND: Final = timedelta(hours=1)  # an edit has a time of its own, up to an hour after its post's
_IDS_AT_A_TIME: Final = 2_000


def of_slice(records: pa.RecordBatch, one: Slice) -> pa.RecordBatch:
    """The records that belong to a slice, each once: no posts that came along from another time, nor what withdraws
    them. Input that was refused stays."""
    created, kind = records["created_at"], records["kind"]
    start, end = (pa.scalar(at, schema.TIME) for at in (one.start, one.end))
    inside = pc.fill_null(pc.and_(pc.greater_equal(created, start), pc.less(created, end)), True)
    posts = pc.and_(_is(kind, schema.POST, schema.EDIT), inside)
    theirs = pc.is_in(records["id"], value_set=records["id"].filter(posts))
    withdrawals = pc.and_(_is(kind, schema.WITHDRAWAL), theirs)
    picked = records.filter(pc.or_(pc.or_(posts, withdrawals), _is(kind, schema.REFUSAL)))
    seen: set[tuple[object, ...]] = set()
    first = []
    for key in zip(*(picked[name].to_pylist() for name in ("kind", "id", "revision")), strict=True):
        first.append(key not in seen)
        seen.add(key)
    return picked.filter(pa.array(first, pa.bool_()))


class Known:
    """What a lake has already, or shall not have again."""

    def __init__(self, lake: Lake, source: str, start: datetime, end: datetime) -> None:
        """For the posts of a source that were written from `start` on, before `end`."""
        self._lake = lake
        self._source = literal(source)
        # Posts that came a day late by a live stream stand under another time. They are few, and found only by a
        # look at all of them, which is done once: what comes meanwhile, the log remembers.
        where = f"redated and {_between('created_at', start, end)}"
        self._redated = self._revisions(f"select id, revision from posts_all where {where}")

    def fresh(self, records: pa.RecordBatch, one: Slice, pulled_at: datetime) -> pa.RecordBatch:
        """The records of a slice that the lake does not have: no post that it has, in this revision or a later one,
        and none that was withdrawn from it."""
        if not records.num_rows:
            return records
        where = _between("event_time", one.start - _AROUND, one.end + _AROUND)
        stored = self._revisions(f"select id, revision from posts_all where {where}")
        withdrawn = self._withdrawn(records)
        gone = self._gone_authors(records)
        refused = self._refused(records)
        keep = np.ones(records.num_rows, np.bool_)
        names = ("kind", "id", "revision", "author_id")
        for i, (kind, key, given, author) in enumerate(zip(*(records[n].to_pylist() for n in names), strict=True)):
            revision = given or 0
            taken_back = withdrawn.get(key, -1) >= revision
            match kind:
                case schema.REFUSAL:
                    keep[i] = key not in refused
                case schema.WITHDRAWAL:
                    keep[i] = not taken_back
                case _:
                    there = max(stored.get(key, -1), self._redated.get(key, -1)) >= revision
                    keep[i] = not (there or taken_back or (author in gone and gone[author] > pulled_at))
        return records.filter(pa.array(keep))

    def _revisions(self, query: str) -> dict[str, int]:
        found = self._lake.sql(f"{query} and source = {self._source}")
        revisions: dict[str, int] = {}
        for key, revision in zip(found["id"].to_pylist(), found["revision"].to_pylist(), strict=True):
            revisions[key] = max(revisions.get(key, 0), revision or 0)
        return revisions

    def _withdrawn(self, records: pa.RecordBatch) -> dict[str, int]:
        """{id: the latest revision that is withdrawn}."""
        found: dict[str, int] = {}
        for ids in _in_lists(records["id"].to_pylist()):
            rows = self._lake.sql(f"select id, max(revision) revision from withdrawn_all where id in {ids} group by id")
            found |= dict(zip(rows["id"].to_pylist(), rows["revision"].to_pylist(), strict=True))
        return found

    def _gone_authors(self, records: pa.RecordBatch) -> dict[str, datetime]:
        """{author_id: when all that they had written was last withdrawn}."""
        found: dict[str, datetime] = {}
        for ids in _in_lists(records["author_id"].to_pylist()):
            rows = self._lake.sql(
                f"select author_id, max(at) at from withdrawn_all where id is null and author_id in {ids} "
                f"and source = {self._source} group by author_id"
            )
            found |= dict(zip(rows["author_id"].to_pylist(), rows["at"].to_pylist(), strict=True))
        return found

    def _refused(self, records: pa.RecordBatch) -> set[str]:
        refusals = records.filter(_is(records["kind"], schema.REFUSAL))
        found: set[str] = set()
        for ids in _in_lists(refusals["id"].to_pylist()):
            found.update(self._lake.sql(f"select id from dead_letters_all where id in {ids}")["id"].to_pylist())
        return found


def _between(column: str, start: datetime, end: datetime) -> str:
    return f"{column} >= {literal(start)} and {column} < {literal(end)}"


def _in_lists(values: Iterable[str | None]) -> Iterator[str]:
    """The different values as lists of SQL, none of them too long."""
    unique = sorted({value for value in values if value is not None})
    for first in range(0, len(unique), _IDS_AT_A_TIME):
        yield f"({', '.join(map(literal, unique[first : first + _IDS_AT_A_TIME]))})"


def _is(kinds: pa.Array, *wanted: str) -> pa.Array:
    return pc.is_in(kinds, value_set=pa.array(wanted, kinds.type))
