"""Keeping a lake quick while it is written: checkpoints, log clean-up, merging, vacuum, withdrawals.

All of it runs beside appends, on handles of its own, and gives way to a rival maintainer instead of waiting.
"""

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from feltwire import metrics, schema
from feltwire.errors import FeltwireError
from feltwire.lake import rewrite
from feltwire.lake.scores import remove_orphans
from feltwire.lake.storage import Location
from feltwire.lake.tables import Owner, open_table
from feltwire.lake.withdraw import remove_withdrawn

logger = logging.getLogger(__name__)

CHECKPOINT_EVERY: Final = 50  # commits: each one since the last checkpoint makes the next commit slower
_MERGES_A_ROUND: Final = 4
_REMOVED_H: Final = 1
_UNNAMED_H: Final = 24


@dataclass
class Maintainer:
    """Does what is due. `tick()` is called every second or so by whoever holds the claim to maintain."""

    location: Location
    owner: Owner
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    withdraw_every_s: float = 60.0
    orphans_every_s: float = 300.0
    vacuum_every_s: float = 600.0
    sweep_every_s: float = 6 * 3600.0
    _checkpointed: dict[str, int] = field(default_factory=dict)
    _withdrawn_at: float = field(default_factory=time.monotonic)
    _orphans_at: float = field(default_factory=time.monotonic)
    _vacuumed_at: float = field(default_factory=time.monotonic)
    _swept_at: float = field(default_factory=time.monotonic)

    def tick(self) -> None:
        """One round: every table's checkpoint and merges, and withdrawals and vacuum where their time has come.

        An error is logged and left to the next round: nothing here is needed for a row to be safe.
        """
        for table in schema.TABLES:
            self._attempt(f"tidying {table}", lambda table=table: self.tidy(table))  # type: ignore[misc]
        now = time.monotonic()
        if now - self._withdrawn_at >= self.withdraw_every_s:
            self._withdrawn_at = now
            self._attempt("removing withdrawn posts", lambda: remove_withdrawn(self.location, self.owner))
        if now - self._orphans_at >= self.orphans_every_s:
            self._orphans_at = now
            self._attempt("removing scores of withdrawn posts", lambda: remove_orphans(self.location, self.owner))
        if now - self._vacuumed_at >= self.vacuum_every_s:
            self._vacuumed_at = now
            for table in schema.TABLES:
                self._attempt(f"vacuuming {table}", lambda table=table: self.vacuum(table))  # type: ignore[misc]
        if now - self._swept_at >= self.sweep_every_s:
            self._swept_at = now
            for table in schema.TABLES:
                self._attempt(f"sweeping {table}", lambda table=table: self.sweep(table))  # type: ignore[misc]

    def tidy(self, table: str) -> None:
        """Checkpoint the table if due and merge its small files."""
        handle = open_table(self.location, table)
        for _ in range(_MERGES_A_ROUND):
            files = rewrite.choose(rewrite.list_files(handle, table), table)
            if not files or not rewrite.merge(self.location, table, handle, files, now=self.clock()):
                break
            metrics.MERGED_AT.labels(table=table).set(self.clock().timestamp())
            handle = open_table(self.location, table)
        if handle.version() - self._checkpointed.get(table, 0) >= CHECKPOINT_EVERY:
            checkpoint(handle)
            self._checkpointed[table] = handle.version()

    def vacuum(self, table: str) -> None:
        """Delete data files that left the table more than an hour ago, as its log names them."""
        vacuum(open_table(self.location, table), retention_h=_REMOVED_H)

    def sweep(self, table: str) -> None:
        """Delete files older than a day that the table does not name: of batches that were never committed."""
        vacuum(open_table(self.location, table), retention_h=_UNNAMED_H, full=True)

    def _attempt(self, what: str, step: Callable[[], object]) -> None:
        try:
            step()
        except (FeltwireError, DeltaError, OSError) as error:
            logger.warning("%s failed and is tried again: %s", what, error)


def checkpoint(handle: DeltaTable) -> None:
    """Write a checkpoint and remove the log entries that it makes needless and that are a minute old."""
    handle.create_checkpoint()
    handle.cleanup_metadata()


def vacuum(handle: DeltaTable, *, retention_h: int, full: bool = False) -> list[str]:
    """Delete files that left the table longer ago than `retention_h` hours; return their names.

    `full` also deletes those that no commit names, which includes files whose commit is still to come: with less
    than a day it would delete what a slow worker has just written.
    """
    if full and retention_h < _UNNAMED_H:
        raise ValueError(f"a full vacuum keeps at least {_UNNAMED_H} h, came {retention_h}")
    return handle.vacuum(retention_hours=retention_h, dry_run=False, enforce_retention_duration=False, full=full)


def make_durable(location: Location) -> None:
    """Return once everything written to the lake survives a power cut: called before the log is trimmed.

    delta-rs syncs nothing. On an object store there is nothing to do.
    """
    if not location.remote:
        os.sync()
