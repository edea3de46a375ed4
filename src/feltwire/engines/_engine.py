"""What every engine does around its processing: ingest threads, one loop, maintenance beside it, and reports."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias, cast

from feltwire import registry
from feltwire.engines._ingest import Ingest
from feltwire.engines._opened import ClaimableLog
from feltwire.errors import FatalError, FeltwireError
from feltwire.interfaces import Source
from feltwire.plan import Plan, Progress, Report

logger = logging.getLogger(__name__)

_POLL_S: Final = 0.02
_REPORT_S: Final = 1.0


class Processing(Protocol):
    """The way from the log to the lake, as an engine goes it."""

    processed: int
    kept: int
    batches: int
    batch_s: float

    @property
    def waiting(self) -> str:
        """What is waited for; empty: nothing."""
        ...

    def step(self) -> bool:
        """Do what is to be done now, without waiting for a lake or log that is away; False: there was nothing."""
        ...

    def lag(self) -> int:
        """Records in the log that are not in the lake."""
        ...

    def idle(self) -> bool:
        """Whether every table has every record."""
        ...

    def maintain(self) -> None:
        """One round of maintenance; called every second from a thread of its own."""
        ...

    def close(self) -> None:
        """Let go of everything but the claims."""
        ...


Open: TypeAlias = Callable[[Plan, ClaimableLog, ExitStack], Processing]
"""Claims the partitions, opens the lake and brings its tables level; claims are released by the stack."""


def run_engine(
    plan: Plan, open_processing: Open, *, stop: threading.Event, observe: Callable[[Progress], None] | None = None
) -> Report:
    """Ingest and process until `stop` is set or, with `until_idle`, until nothing is left to do.

    `observe` is called about once a second, from this thread. Raises ConfigError before anything has started,
    ClaimError when another worker holds or takes a partition, PositionError when lake and log contradict each
    other, and the FatalError of the last source when every source has failed. Unavailable logs, lakes and
    sources are waited for; `Progress.waiting` says so.
    """
    with ExitStack() as resources:
        log = cast(ClaimableLog, registry.create("logs", plan.log, plan.log_options))
        close = getattr(log, "close", None)
        if close:
            resources.callback(close)
        engine = _Engine(plan, log, open_processing, stop, observe or (lambda progress: None))
        return engine.run(resources)


@dataclass
class _Engine:
    plan: Plan
    log: ClaimableLog
    open_processing: Open
    stop: threading.Event
    observe: Callable[[Progress], None]
    ingests: list[Ingest] = field(default_factory=list)
    processing: Processing | None = None
    began: float = field(default_factory=time.monotonic)
    _reported: tuple[float, int] = (0.0, 0)

    def run(self, resources: ExitStack) -> Report:
        sources = [
            (source, cast(Source, registry.create("sources", source.uri, source.options)))
            for source in self.plan.sources
        ]
        for _, source in sources:
            listen_for = getattr(source, "listen_for", None)
            if listen_for:  # a far side that can be asked for the tracks alone
                listen_for(self.plan.tracks)
        if self.plan.lake is not None:
            self.processing = self.open_processing(self.plan, self.log, resources)
        if sources:
            resources.enter_context(self.log.lease_writer())
        for source_plan, source in sources:
            self.ingests.append(Ingest(source_plan, source, self.log, self.stop, self._full))
        for ingest in self.ingests:
            ingest.start()
        keeper = threading.Thread(target=self._keep, name="maintenance", daemon=True)
        ending = threading.Event()
        try:
            keeper.start()
            self._loop()
        finally:
            ending.set()
            self.stop.set()
            for ingest in self.ingests:
                ingest.join(10.0)
            keeper.join(60.0)
            if self.processing:
                self.processing.close()
        self._raise_if_all_failed()
        return self._report()

    def _loop(self) -> None:
        while not self.stop.is_set():
            worked = self.processing.step() if self.processing else False
            self._observe()
            if self.plan.until_idle and self._idle():
                return
            if self.ingests and not self.processing and not any(ingest.alive for ingest in self.ingests):
                return
            if self.ingests and all(ingest.error for ingest in self.ingests):
                return
            if not worked:
                self.stop.wait(_POLL_S)

    def _idle(self) -> bool:
        """Whether every source has ended and the lake has everything. In this order: the last record of a source
        is in the log before its thread ends."""
        if any(ingest.alive for ingest in self.ingests):
            return False
        return self.processing is None or self.processing.idle()

    def _full(self) -> bool:
        return self.processing is not None and self.processing.lag() > self.plan.max_backlog

    def _keep(self) -> None:
        """Maintenance of the lake and retention of the log, beside everything else."""
        processing = self.processing
        while processing is not None and not self.stop.wait(1.0):
            try:
                processing.maintain()
            except FeltwireError as error:
                logger.warning("maintenance is tried again: %s", error)

    def _observe(self) -> None:
        now = time.monotonic()
        if now - self._reported[0] >= _REPORT_S:
            self.observe(self._progress())

    def _progress(self) -> Progress:
        now, processed = time.monotonic(), self.processing.processed if self.processing else 0
        since, before = self._reported
        self._reported = (now, processed)
        span_s = now - since if since else now - self.began
        return Progress(**self._counts(), posts_per_s=(processed - before) / max(span_s, 1e-9))

    def _counts(self) -> dict[str, Any]:
        # Processing first: a full backlog is what follows when it waits.
        waits = [self.processing.waiting if self.processing else "", *(ingest.waiting for ingest in self.ingests)]
        found: dict[str, Any] = {
            "received": sum(ingest.received for ingest in self.ingests),
            "duplicates": sum(ingest.duplicates for ingest in self.ingests),
            "waiting": next((why for why in waits if why), ""),
        }
        if self.processing:
            found |= {
                "processed": self.processing.processed,
                "kept": self.processing.kept,
                "lag": self.processing.lag(),
                "batch_s": self.processing.batch_s,
            }
        return found

    def _report(self) -> Report:
        seconds = time.monotonic() - self.began
        processed = self.processing.processed if self.processing else 0
        return Report(
            **self._counts(),
            posts_per_s=processed / max(seconds, 1e-9),
            seconds=seconds,
            batches=self.processing.batches if self.processing else 0,
        )

    def _raise_if_all_failed(self) -> None:
        errors: list[FatalError] = [ingest.error for ingest in self.ingests if ingest.error]
        if errors and len(errors) == len(self.ingests):
            raise errors[-1]
