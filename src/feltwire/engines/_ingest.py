"""Ingest: one thread a source, from what it yields into the log."""

import logging
import os
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

import pyarrow as pa

from feltwire import metrics
from feltwire.errors import FatalError, LogError, RetryableError
from feltwire.interfaces import Cursor, LogWriter, Source
from feltwire.plan import SourcePlan

logger = logging.getLogger(__name__)

_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 30.0
_LONGEST_LOG_WAIT_S = 5.0


@dataclass
class Ingest:
    """Reads a source into the log until it ends or `stop` is set.

    `full()` says whether the log has no room for more; while it does, the source is not resumed, and so has to
    hold back its far side.
    """

    plan: SourcePlan
    source: Source
    log: LogWriter
    stop: threading.Event
    full: Callable[[], bool]
    received: int = 0
    duplicates: int = 0
    waiting: str = ""
    error: FatalError | None = None
    _thread: threading.Thread = field(init=False)

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name=f"ingest {self.plan.key}", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the source has not come to its end."""
        return self._thread.is_alive()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread to end."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        wait_s = _FIRST_WAIT_S
        while not self.stop.is_set():
            before = self.received
            try:
                self._read()
                return
            except RetryableError as error:
                self._wait(f"source {self.plan.key}: {error}", wait_s)
            except FatalError as error:
                logger.error("source %s has failed for good: %s", self.plan.key, error)
                self.error = error
                return
            except Exception as error:  # noqa: BLE001 - its words may be a post's; a fault must not pass for the end
                self.error = FatalError(f"source {self.plan.key}: a fault in it: {_described(error)}")
                logger.error("%s", self.error)
                return
            wait_s = _FIRST_WAIT_S if self.received > before else min(wait_s * 2, _LONGEST_WAIT_S)

    def _read(self) -> None:
        batches = self.source.read(self.log.cursor(self.plan.key))
        try:
            for records, cursor in batches:
                if self.stop.is_set() or not self._append(records, cursor):
                    return
                while self.full() and not self.stop.is_set():
                    self._wait("the backlog is full", 0.1)
                self.waiting = ""
        finally:
            close = getattr(batches, "close", None)
            if close:
                close()

    def _append(self, records: pa.RecordBatch, cursor: Cursor) -> bool:
        """Make the records durable, however long that takes; False when told to stop before."""
        if not records.num_rows:
            return True
        wait_s = _FIRST_WAIT_S
        while True:
            try:
                with metrics.APPEND_SECONDS.time():
                    duplicates = self.log.append(records, source=self.plan.key, cursor=cursor)
            except LogError as error:
                self._wait(f"the log takes nothing: {error}", wait_s)
                wait_s = min(wait_s * 2, _LONGEST_LOG_WAIT_S)
                if self.stop.is_set():
                    return False
                continue
            self.received += records.num_rows
            self.duplicates += duplicates
            return True

    def _wait(self, why: str, seconds: float) -> None:
        if self.waiting != why:
            logger.warning("%s", why)
        self.waiting = why
        metrics.INGEST_WAITING.set(1)
        self.stop.wait(seconds)
        metrics.INGEST_WAITING.set(0)


def _described(error: Exception) -> str:
    """An error's type and place, without its words."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {os.path.basename(place.filename)}, line {place.lineno}"
