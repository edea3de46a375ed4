"""One connection to Jetstream, from its first message to its end: messages in, batches out."""

import logging
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import pyarrow as pa

from feltwire import metrics, schema
from feltwire.interfaces import Cursor
from feltwire.sources._bluesky_host import Link
from feltwire.sources._bluesky_place import FIRST_TIME_CURSOR, Gap, Place
from feltwire.sources._bluesky_rows import NAME, refused, tid_time_us, to_batch
from feltwire.sources._jetstream import PARSERS, Event
from feltwire.sources._records import Row
from feltwire.sources._watchdog import Watchdog
from feltwire.sources._websocket import ClosedError, Message

Yielded: TypeAlias = tuple[pa.RecordBatch, Cursor]

HEARTBEAT_S: Final = 0.5
_BATCH_ROWS: Final = 1_000
_BATCH_S: Final = 0.2
_WAIT_S: Final = 0.25
_PING_AFTER_S: Final = 15.0
_PONG_WITHIN_S: Final = 10.0
_START_GAP_S: Final = 60.0  # so much later may a stream start whose rate is not known
_MAX_SYNCED: Final = 1_000
_DAY_US: Final = 86_400_000_000

_log = logging.getLogger("feltwire.sources.bluesky")


class SilentError(OSError):
    """Nothing comes any more."""


class DictionaryError(OSError):
    """The server compresses with another dictionary than ours."""


class FutureCursorError(OSError):
    """The server does not know our sequence number: it starts from now, and time is the place to resume from."""


@dataclass
class Tally:
    """What befell a source, over all its connections."""

    gaps: deque[Gap] = field(default_factory=lambda: deque(maxlen=1_000))
    reconnects: int = 0
    resynced: int = 0
    synced: dict[str, None] = field(default_factory=dict)
    """The accounts whose repositories were lately announced to come anew, the latest last."""


class Listener:
    """Reads one connection. It closes it, too."""

    def __init__(self, link: Link, host: str, place: Place, watchdog: Watchdog, tally: Tally, *, raw: bool) -> None:
        self._link = link
        self._host = host
        self._place = place
        self._watchdog = watchdog
        self._tally = tally
        self._raw = raw
        self._parse = PARSERS[link.wire]
        self._rows: list[Row] = []
        self._first_row_at = 0.0
        self._quiet_s = 0.0
        self._pinged = False
        self._pinged_at = 0.0
        self._place_us = place.time_us  # where we are, before the first event of this connection
        self._earliest_us: int | None = None
        self._notice = ""
        self._checked = False
        self._now_us = 0
        self._same_host = place.arrive(host, link.wire)

    @property
    def heard(self) -> bool:
        """Whether events came."""
        return self._earliest_us is not None

    def batches(self) -> Iterator[Yielded]:
        """Batches and heartbeats until the connection ends, which raises an OSError after the last batch."""
        yielded_at = time.monotonic()
        try:
            while True:
                ended: OSError | None = None
                for step in self._steps():
                    if isinstance(step, OSError):
                        ended = step
                    elif len(self._rows) >= _BATCH_ROWS:
                        yield self._flush()
                        yielded_at = time.monotonic()
                now = time.monotonic()
                due = self._rows and now - self._first_row_at >= _BATCH_S
                if ended is not None or due or now - yielded_at >= HEARTBEAT_S:
                    yield self._flush()
                    yielded_at = time.monotonic()
                if ended is not None:
                    raise ended
        finally:
            self._link.connection.close()

    def _steps(self) -> Iterator[OSError | None]:
        """Read the socket once; a step for every message, and an error as the last one if this is the end."""
        connection = self._link.connection
        started = time.monotonic()
        wait_s = max(0.0, self._first_row_at + _BATCH_S - started) if self._rows else _WAIT_S
        try:
            messages = connection.receive(min(wait_s, self._watchdog.limit_s))
            self._now_us = time.time_ns() // 1_000
            for message in messages:
                self._take(message)
                yield None
            if messages:
                self._quiet_s, self._pinged = 0.0, False
            else:
                self._quiet_s += time.monotonic() - started
                self._mind_the_silence()
        except ClosedError as error:
            if error.oversized:
                self._add(refused(f"{self._host} {self._place.time_us}".encode(), str(error)))
            yield error
        except OSError as error:
            yield error

    def _mind_the_silence(self) -> None:
        """Raises SilentError once the silence is longer than the stream's rate allows, or no pong comes."""
        if self._quiet_s > self._watchdog.limit_s:
            self._watchdog.gave_up()
            raise SilentError(f"silent for {self._quiet_s:.1f} s")
        if self._quiet_s < _PING_AFTER_S:
            return
        connection = self._link.connection
        if not self._pinged:
            self._pinged, self._pinged_at = True, time.monotonic()
            connection.ping()
        elif connection.heard_at < self._pinged_at and time.monotonic() - self._pinged_at > _PONG_WITHIN_S:
            raise SilentError("no answer to a ping")

    def _take(self, message: Message) -> None:
        data = message.data
        inflater = self._link.inflater
        if message.binary and inflater is not None:
            if not inflater.fits(data):
                raise DictionaryError("frames compressed with another zstd dictionary")
            try:
                data = inflater.inflate(data)
            except ValueError as error:
                self._add(refused(data, str(error)))
                return
        event: Event = self._parse(data, raw=self._raw)
        time_us = event.time_us
        if time_us is not None and self._place.believes(time_us, self._now_us):
            self._place.advance(time_us, event.seq)
            self._watchdog.saw(time_us)
            if self._earliest_us is None or time_us < self._earliest_us:
                self._earliest_us = time_us
        if event.row is not None:
            if event.row.author_id in self._tally.synced and self._is_old(event.row, time_us):
                self._tally.resynced += 1
            else:
                self._add(event.row)
        elif event.notice or event.error or event.synced:
            self._heed(event)

    def _heed(self, event: Event) -> None:
        """What the server says of the stream itself."""
        if event.error:
            raise ClosedError(f"the server gave up: {event.error}")
        if event.notice:
            _log.warning("%s: the server says %s", self._host, event.notice)
            asked = self._link.asked
            if event.notice == "FutureCursor" and asked is not None and asked < FIRST_TIME_CURSOR:
                raise FutureCursorError("our sequence number is not the server's")
            self._notice = event.notice
        if event.synced:
            synced = self._tally.synced
            synced.pop(event.synced, None)
            synced[event.synced] = None
            if len(synced) > _MAX_SYNCED:
                del synced[next(iter(synced))]

    def _is_old(self, row: Row, time_us: int | None) -> bool:
        """Whether a create of an account that is sent anew is a post from more than a day ago: out of the log's
        memory, it would be stored twice."""
        if row.kind != schema.POST or row.id is None or time_us is None:
            return False
        made_us = tid_time_us(row.id.rpartition("/")[2])
        return made_us is not None and made_us < time_us - _DAY_US

    def _add(self, row: Row) -> None:
        if not self._rows:
            self._first_row_at = time.monotonic()
        self._rows.append(row)

    def _flush(self) -> Yielded:
        if not self._checked and self._earliest_us is not None:
            self._checked = True
            self._check_start(self._earliest_us)
        rows, self._rows = self._rows, []
        if self._watchdog.known:
            self._place.silence_s = int(self._watchdog.expected_s) + 1
        return to_batch(rows), self._place.cursor()

    def _check_start(self, start_us: int) -> None:
        """Did the stream start where we had got to? If not: a gap.

        The host that we were on has the event that we saw last and, asked for more, sends it again: a later
        start is a gap. Another host's clock differs, so there only a silence that the stream's rate does not
        explain is one. A notice of the server's is certain in any case.
        """
        place_us = self._place_us
        if not place_us or start_us <= place_us:
            return
        asked = self._link.asked or 0
        asked_us = asked if asked >= FIRST_TIME_CURSOR else place_us
        rewound = asked_us < place_us or 0 < asked < FIRST_TIME_CURSOR
        certain = bool(self._notice) or (self._same_host and rewound)
        if not certain and start_us - asked_us <= self._expected_s() * 1e6:
            return
        reason = self._notice or "the server starts later than it was asked to"
        gap = Gap(place_us, start_us, self._host, reason)
        self._tally.gaps.append(gap)
        metrics.SOURCE_GAPS.labels(source=NAME).inc()
        self._place.missed(gap)
        _log.warning("gap: %s has nothing of the %.1f s behind our place (%s)", self._host, gap.seconds, reason)

    def _expected_s(self) -> float:
        """How far apart two events may lie without anything missing between them."""
        if self._place.silence_s:
            return float(self._place.silence_s)
        return self._watchdog.expected_s if self._watchdog.known else _START_GAP_S
