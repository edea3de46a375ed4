"""A batch of records together with the place behind each of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from feltwire.sources._rows import Rows


@dataclass(frozen=True, slots=True)
class Chunk:
    """Records of one file. `offsets[i]` and `lines[i]` are the place behind record i.

    `end` is the place behind the chunk, which may lie further: blank lines are no records.
    """

    records: pa.RecordBatch
    offsets: Sequence[int]
    lines: Sequence[int]
    end: tuple[int, int] | None = None

    def place(self, stop: int) -> tuple[int, int]:
        """(offset, line) behind the first `stop` records; `stop` is 1 or more, or there are no records."""
        if self.end is not None and stop == self.records.num_rows:
            return self.end
        return self.offsets[stop - 1], self.lines[stop - 1]


def whole_refused(rows: Rows, name: str, line: int, reason: str, *, offset: int | None = None) -> Chunk:
    """One refusal that stands for a whole file, or the rest of one; the place behind it is `line`."""
    records = rows.from_objects([{}], {0: reason}, key=lambda _: f"{name}\0{line}", payload=lambda _: name)
    place = line if offset is None else offset
    return Chunk(records, [place], [line])
