"""Offsets of a partition and the sequence numbers behind them: the document `partition/N` of the state.

A sequence number does not fit an int64, so the offset of a record is its ordinal in its partition. An anchor says at
which offset the records of one Kinesis record begin; from an anchor on, offsets are counted, and the count depends on
the bytes of the stream alone. So whoever counts from whichever anchor comes to the same offsets, and documents of
several readers are merged by taking the one that reaches further. Nothing is handed out that does not stand in the
document: a lake's position is always found again.
"""

from bisect import bisect_right
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any, Final

from feltwire.logs._kinesis_state import Document

MAX_ANCHORS: Final = 256  # of a partition; the older half is thinned when there are more
MAX_WRITERS: Final = 8  # whose last number is remembered


@dataclass(frozen=True, slots=True)
class Anchor:
    """The place of a Kinesis record."""

    offset: int  # of its first record
    line: int  # the how manieth shard of the partition
    sequence: str
    at_us: int  # when its records were stamped
    before_us: int  # when the one before it was
    bytes: int  # in the partition before it
    writers: dict[str, int]  # as they were before it

    def to_json(self) -> list[Any]:
        """As it stands in the document."""
        return [self.offset, self.line, self.sequence, self.at_us, self.before_us, self.bytes, self.writers]


@dataclass(frozen=True, slots=True)
class Index:
    """What is known of a partition."""

    first: int = 0  # records before it are trimmed
    end: int = 0
    line: int = 0  # the shard that is being read
    sequence: str | None = None  # of the last Kinesis record that was read of it; None: none yet
    at_us: int = 0  # the last stamp
    bytes: int = 0
    tip_us: int = 0  # when a reader was last known to have everything
    writers: dict[str, int] = field(default_factory=dict)
    anchors: tuple[Anchor, ...] = ()

    def before(self, offset: int) -> Anchor | None:
        """The last anchor at or before an offset."""
        place = bisect_right(self.anchors, offset, key=attrgetter("offset"))
        return self.anchors[place - 1] if place else None

    def reaches(self, other: "Index") -> bool:
        """Whether it has read as far as the other one."""
        return (self.end, self.line, int(self.sequence or -1)) >= (other.end, other.line, int(other.sequence or -1))

    def contradicts(self, other: "Index") -> bool:
        """Whether the two have counted from different beginnings."""
        mine = {anchor.offset: (anchor.line, anchor.sequence) for anchor in self.anchors}
        return any(
            mine.get(anchor.offset, (anchor.line, anchor.sequence)) != (anchor.line, anchor.sequence)
            for anchor in other.anchors
        )

    def merged(self, other: "Index") -> "Index":
        """What both know, where they do not contradict each other."""
        far, near = (self, other) if self.reaches(other) else (other, self)
        first = max(far.first, near.first)
        anchors = {anchor.offset: anchor for anchor in (*near.anchors, *far.anchors)}
        return replace(
            far,
            first=first,
            tip_us=max(far.tip_us, near.tip_us),
            anchors=tuple(anchors[offset] for offset in sorted(anchors)),
        ).trimmed(first)

    def trimmed(self, first: int) -> "Index":
        """Without the records before `first`, which an anchor or the end names."""
        kept = tuple(anchor for anchor in self.anchors if anchor.offset >= first)
        while len(kept) > MAX_ANCHORS:
            half = len(kept) // 2
            kept = (*kept[:half:2], *kept[half:])
        return replace(self, first=max(self.first, first), anchors=kept)

    def passed(self, limit: int, before_us: int) -> int:
        """The offset up to which everything lies before `limit` and was stamped at `before_us` at the latest."""
        reached = self.first
        ends = [(anchor.offset, anchor.before_us) for anchor in self.anchors[1:]] + [(self.end, self.at_us)]
        for offset, last_us in ends:
            if offset > limit or last_us > before_us:
                break
            reached = max(reached, offset)
        return reached

    def to_json(self) -> Document:
        """The document."""
        return {
            "first": self.first,
            "end": self.end,
            "line": self.line,
            "sequence": self.sequence,
            "at_us": self.at_us,
            "bytes": self.bytes,
            "tip_us": self.tip_us,
            "writers": self.writers,
            "anchors": [anchor.to_json() for anchor in self.anchors],
        }


def to_index(document: Document) -> Index:
    """What a document says; {} says that nothing was read yet."""
    if not document:
        return Index()
    anchors = tuple(Anchor(*one) for one in document["anchors"])
    return Index(**{**document, "anchors": anchors})


def noted(writers: dict[str, int], writer: str, number: int) -> dict[str, int]:
    """The writers with the last number of this one, without those who have been silent longest."""
    rest = {name: last for name, last in writers.items() if name != writer}
    while len(rest) >= MAX_WRITERS:
        del rest[next(iter(rest))]
    return rest | {writer: number}
