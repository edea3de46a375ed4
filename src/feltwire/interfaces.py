"""The Protocols between the rooms. Each has one to three methods and an in-memory twin (`logs/memory.py`, …)."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feltwire.tracks import Track

Cursor: TypeAlias = dict[str, Any]
"""A source's own place in its input, as JSON data: "everything up to and including this"."""

Position: TypeAlias = dict[int, int]
"""How far a reader is: {log partition: the offset of the next record to read}."""


class Source(Protocol):
    """Something that delivers posts."""

    name: str
    """The network or input: the column `source` and the first part of every id that it gives."""

    def read(self, cursor: Cursor | None) -> Iterator[tuple[pa.RecordBatch, Cursor]]:
        """Yield (records, cursor) from behind `cursor` (None: from the beginning, or from now for a network).

        Records are batches of `schema.RECORD`. When the iterator is resumed, the batch that it yielded before
        is durable in the log together with its cursor: only then may the source acknowledge it to the far side.
        An empty batch is a heartbeat; one comes at least every second, so that the caller can stop. A finite
        source returns at its end. The source reconnects by itself and raises only FatalError; what it receives
        and cannot read it yields as a refusal. `close()` of the generator releases every resource.
        """
        ...


class Searchable(Protocol):
    """A source that can also be asked for a period of the past: what a backfill reads. Threads may share it."""

    name: str
    """As `Source.name`."""

    @property
    def cost_per_post(self) -> float:
        """Money that the far side bills for a post; 0.0: nothing."""
        ...

    @property
    def asked(self) -> str:
        """All that is searched for, but for the period: pages that answered the same words need not be pulled again.

        Raises ConfigError where there is nothing to search for.
        """
        ...

    def search(self, start: datetime, end: datetime, *, limit: int | None = None) -> Iterator[bytes | None]:
        """Yield the pages of what was written from `start` on, before `end`, as they came (JSON); None is a heartbeat,
        which comes at least every second.

        `limit`: no page is asked for once so many posts have come. Waits out what passes; raises FatalError for what
        does not. `close()` of the generator releases every resource.
        """
        ...

    def parse(self, pages: Sequence[bytes], *, limit: int | None = None) -> pa.RecordBatch:
        """The records (`schema.RECORD`) of a search's pages, at most `limit` of its posts, with whatever came along
        with them, also from outside the period. Pure: pages of last week give what they gave then."""
        ...

    def count(self, start: datetime, end: datetime) -> int:
        """About how many posts `search` would give, without a price worth speaking of. Raises SourceError where the
        far side does not say."""
        ...


class LogWriter(Protocol):
    """Where records become safe, and unique."""

    def cursor(self, source: str) -> Cursor | None:
        """The last stored cursor of the source with this key; None if it never stored one."""
        ...

    def append(self, records: pa.RecordBatch, *, source: str, cursor: Cursor | None) -> int:
        """Store records and cursor in one transaction; return the number of repeats once both are durable.

        `ingested_at` is stamped. A repeat (the same kind, id and revision within the log's memory) is stored
        as a bare record of kind `duplicate`. Raises LogError, with nothing stored, when it cannot.
        """
        ...


class LogReader(Protocol):
    """The log as pipelines see it."""

    identity: str
    """Unique to this log's content: a log that was made anew has another one."""

    def ends(self) -> Position:
        """{partition: offset of the next record to be written}, for every partition that exists."""
        ...

    def read(self, partition: int, after: int, max_rows: int) -> pa.RecordBatch:
        """At most `max_rows` records of `schema.LOGGED` from offset `after` on, in order; empty at the end.

        Offsets may have gaps (a broker's do): the next one to read is the last record's + 1, and a read that gives
        nothing says that there is none up to the end that `ends` gave before.

        Raises PositionError when records from `after` on were already trimmed away.
        """
        ...


class LogKeeper(Protocol):
    """The log's retention. Trimming waits for the slowest registered pipeline."""

    def register(self, pipeline: str, position: Position) -> None:
        """Note how far a pipeline is; the log keeps everything from there on. Called again and again."""
        ...

    def unregister(self, pipeline: str) -> None:
        """Forget a pipeline, so that trimming no longer waits for it."""
        ...

    def trim(self) -> int:
        """Remove records that are older than the retention and that every registered pipeline has passed;
        return how many."""
        ...


class Log(LogWriter, LogReader, LogKeeper, Protocol):
    """A log that one program writes, reads and keeps."""


class Stage(Protocol):
    """A step of a pipeline: a module-level function whose options are bound by `functools.partial`.

    Row-local and order-keeping: as many rows out as in, and f(a ++ b) = f(a) ++ f(b).
    """

    def __call__(self, batch: pa.RecordBatch, /) -> pa.RecordBatch: ...


Span: TypeAlias = tuple[int, int, str, float]
"""An entity in a text: start, end (characters, end excluded), label, probability."""

Predictions: TypeAlias = dict[str, "npt.NDArray[np.float32] | list[list[Span]]"]
"""{head: float32[rows, labels]}, and for a span head (no labels declared as classes) a list of spans a row."""


class Model(Protocol):
    """A scorer of texts."""

    name: str
    """`name@version`: what the column `model` holds."""
    languages: frozenset[str] | None
    """ISO 639-1 codes that it speaks; None: any."""
    heads: Mapping[str, tuple[str, ...]]
    """{head: its labels, in the order of the probabilities}."""
    profile: str
    """The cleaning profile of `text.py` that its texts go through."""

    def predict(self, texts: Sequence[str]) -> Predictions:
        """Probabilities for every head, one row a text. A row does not depend on the rows beside it."""
        ...


class Follower(Protocol):
    """A destination that follows the lake."""

    def position(self) -> Position | None:
        """How far the destination is; None: it has nothing yet."""
        ...

    def apply(self, posts: pa.RecordBatch, withdrawn: pa.RecordBatch, position: Position) -> None:
        """Take the posts and withdrawals up to `position`, and remember it, if possible in one transaction.

        The same call twice changes nothing. Raises DestinationError when it should be tried again.
        """
        ...


class Feed(Protocol):
    """What followers follow: the lake, by log position."""

    def changes(self, after: Position, max_posts: int) -> tuple[pa.RecordBatch, pa.RecordBatch, Position]:
        """(posts, withdrawn, position): what was committed behind `after`, ordered by partition and offset.

        At most `max_posts` posts (`schema.POSTS`), and the withdrawals (`schema.WITHDRAWN`) up to the same
        position, so that none overtakes its post. A post that is already withdrawn does not appear. At the end
        of the lake the position is the lake's own and both batches are empty.
        """
        ...


class Directed(Protocol):
    """What a source may be beside: one whose far side can be asked for the tracks alone.

    Optional: who makes a source looks whether it has the method.
    """

    def listen_for(self, tracks: Sequence[Track]) -> None:
        """What to ask for; called once, before `read`. The engine filters all the same, so it may ask for more.

        Raises ConfigError for a track that the far side cannot be asked for at all.
        """
        ...
