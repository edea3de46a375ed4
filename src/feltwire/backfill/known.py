"""Which records of a slice are new to the lake."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from deltalake.exceptions import DeltaError

from feltwire import schema
from feltwire.backfill.slices import Slice
from feltwire.errors import LakeError
from feltwire.interfaces import Position
from feltwire.lake import Lake
from feltwire.lake.reader import literal
from feltwire.lake.tables import open_table, read_positions

_AROUND: Final = timedelta(hours=1)  # an edit has a time of its own, up to an hour after its post's
_NONE: Final = "(null)"  # a list of SQL that nothing is in


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


@dataclass(frozen=True)
class Part:
    """The records of a slice, and when they were pulled."""

    slice: Slice
    records: pa.RecordBatch
    pulled_at: datetime


class Known:
    """What a lake has already, or shall not have again."""

    def __init__(self, lake: Lake, source: str, start: datetime, end: datetime) -> None:
        """For the posts of a source that were written from `start` on, before `end`."""
        self._lake = lake
        self._source = f"source = {literal(source)}"
        # Posts that came a day late by a live stream stand under another time. They are few, and found only by a
        # look at all of them, which is done once: what comes meanwhile, the log remembers.
        where = f"{self._source} and redated and {between('created_at', start, end)}"
        rows = lake.sql(f"select id, max(coalesce(revision, 0)) revision from posts_all where {where} group by id")
        self._redated: dict[str, int] = dict(zip(rows["id"].to_pylist(), rows["revision"].to_pylist(), strict=True))

    def fresh(self, parts: Sequence[Part]) -> pa.RecordBatch:
        """The records of some slices that the lake does not have: no post that it has, in this revision or a later
        one, and none that was withdrawn from it. Raises LakeError."""
        facts = self._facts(parts)
        kept = [part.records.filter(pa.array(facts.wanted(part), pa.bool_())) for part in parts]
        whole = pa.Table.from_batches(kept, schema=schema.RECORD).combine_chunks().to_batches()
        return whole[0] if whole else schema.empty()

    def _facts(self, parts: Sequence[Part]) -> "_Facts":
        """What the lake says of the records, in one question."""
        spans = ((part.slice.start - _AROUND, part.slice.end + _AROUND) for part in parts)
        times = " or ".join(between("event_time", start, end) for start, end in spans)
        ids = _list(part.records["id"] for part in parts)
        authors = _list(part.records["author_id"] for part in parts)
        refused = _list(part.records["id"].filter(_is(part.records["kind"], schema.REFUSAL)) for part in parts)
        nothing = "cast(null as timestamp)"
        questions = [
            f"select 'stored' what, id, max(coalesce(revision, 0)) revision, {nothing} at from posts_all "
            f"where {self._source} and ({times}) group by id",
            f"select 'withdrawn', id, max(revision), {nothing} from withdrawn_all where id in {ids} group by id",
            "select 'gone', author_id, 0, cast(max(at) as timestamp) from withdrawn_all "
            f"where id is null and author_id in {authors} and {self._source} group by author_id",
        ]
        if refused != _NONE:
            questions.append(f"select 'refused', id, 0, {nothing} from dead_letters_all where id in {refused}")
        rows = self._lake.sql(" union all ".join(questions))
        facts = _Facts(stored=dict(self._redated))
        for what, key, revision, at in zip(*(column.to_pylist() for column in rows.columns), strict=True):
            match what:
                case "stored":
                    facts.stored[key] = max(facts.stored.get(key, 0), revision)
                case "withdrawn":
                    facts.withdrawn[key] = revision
                case "gone":
                    facts.gone[key] = at.replace(tzinfo=UTC)
                case _:
                    facts.refused.add(key)
        return facts


@dataclass
class _Facts:
    """{id: revision} and the like of what a lake has of some records."""

    stored: dict[str, int]
    withdrawn: dict[str, int] = field(default_factory=dict)
    gone: dict[str, datetime] = field(default_factory=dict)  # {author_id: when all that they had written was withdrawn}
    refused: set[str] = field(default_factory=set)

    def wanted(self, part: Part) -> list[bool]:
        """Which records of a slice the lake shall have."""
        found = []
        names = ("kind", "id", "revision", "author_id")
        for kind, key, given, author in zip(*(part.records[name].to_pylist() for name in names), strict=True):
            revision = given or 0
            taken_back = self.withdrawn.get(key, -1) >= revision
            match kind:
                case schema.REFUSAL:
                    found.append(key not in self.refused)
                case schema.WITHDRAWAL:
                    found.append(not taken_back)
                case _:
                    there = self.stored.get(key, -1) >= revision
                    gone = author in self.gone and self.gone[author] > part.pulled_at
                    found.append(not (there or taken_back or gone))
        return found


def posts_position(lake: Lake) -> Position:
    """How far the table `posts` is. Raises LakeError."""
    try:
        return read_positions(open_table(lake.location, "posts"), lake.owner)
    except (DeltaError, OSError) as error:
        raise LakeError(f"the lake {lake.location.path!r} cannot be read: {error}") from error


def between(column: str, start: datetime, end: datetime) -> str:
    """A time span as SQL; `end` is excluded."""
    return f"({column} >= {literal(start)} and {column} < {literal(end)})"


def _list(arrays: Iterable[pa.Array]) -> str:
    """The different values as a list of SQL."""
    values = sorted({value for array in arrays for value in array.to_pylist() if value is not None})
    return f"({', '.join(map(literal, values))})" if values else _NONE


def _is(kinds: pa.Array, *wanted: str) -> pa.Array:
    return pc.is_in(kinds, value_set=pa.array(wanted, kinds.type))
