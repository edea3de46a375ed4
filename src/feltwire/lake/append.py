"""Appending with positions: the commit that makes rows and the offset that they reach one fact.

The rules that this file keeps are in docs/lake.md; each was forced by an experiment.
"""

import secrets
from collections.abc import Mapping, Sequence

from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction, RemoveAction

from feltwire import schema
from feltwire.errors import ClaimError, LakeError
from feltwire.lake.storage import PARTITIONED, Location, Written
from feltwire.lake.tables import check_schema, open_table

_NO_HOOKS = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)

# A handle reads the log since the last checkpoint again and again: after so many commits a fresh one is quicker.
_COMMITS_A_HANDLE = 32

# A removal of rows that landed since the handle was read makes Delta refuse an append: then again, from the new state.
_ATTEMPTS = 3


class Appender:
    """The append handle of one table, which does nothing else: appends files and moves positions.

    A position is an application transaction: its id, and the offset of the next record. `known` holds where this
    worker believes each to be; a table that disagrees has been moved on by another worker. Beside every position
    stands the mark of the worker that moved it there: a rival that had the same rows moves it to the same offset, and
    what it wrote for them (other scores, other failures) is not what this worker has.
    """

    def __init__(self, location: Location, table: str, ids: Sequence[str]) -> None:
        """`ids` are the application transactions that this worker moves; their positions are read now."""
        self.table = table
        self._location = location
        self._mark = secrets.randbits(62)
        self._handle: DeltaTable | None = None
        self._commits = 0
        self.known: dict[str, int] = {app_id: position(self._current(), app_id) for app_id in ids}

    def commit(self, files: Sequence[Written], moves: Mapping[str, int]) -> None:
        """Append `files` and move each application transaction of `moves` to its new value, at once.

        Raises ClaimError when another worker has moved one of them: the rows are then theirs, and the caller
        leaves. Raises LakeError when it is not known to be committed: the same call is then made again.
        """
        actions: list[AddAction | RemoveAction] = [file.action() for file in files]
        marks = {_mark_id(app_id): self._mark for app_id in moves}
        for attempt in range(_ATTEMPTS):
            if self._landed(moves):
                break
            try:
                write_transaction(self._current(), self.table, actions, {**moves, **marks})
                break
            except (DeltaError, OSError) as error:
                self._handle = None
                check_schema(self._current(), self.table)
                beaten = isinstance(error, CommitFailedError) and attempt < _ATTEMPTS - 1
                if not self._landed(moves) and not beaten:
                    raise LakeError(f"the table {self.table!r} took no commit: {error}") from error
        self.known.update(moves)
        self._advance()

    def _landed(self, moves: Mapping[str, int]) -> bool:
        """Whether this very commit is in the table already: an attempt may land and fail nevertheless.

        Raises ClaimError when another worker was faster.
        """
        try:
            return self._compare(moves)
        except (DeltaError, OSError):  # the log that a held handle reads from was cleaned up meanwhile
            self._handle = None
            return self._compare(moves)

    def _compare(self, moves: Mapping[str, int]) -> bool:
        handle = self._current()
        found = {app_id: position(handle, app_id) for app_id in moves}
        if found == {app_id: self.known[app_id] for app_id in moves}:
            return False
        if found == moves and all(position(handle, _mark_id(app_id)) == self._mark for app_id in moves):
            return True
        raise ClaimError(
            f"another worker moved the table {self.table!r} on: it is at {found}, this worker left it at "
            f"{ {app_id: self.known[app_id] for app_id in moves} }"
        )

    def _advance(self) -> None:
        """Bring the handle behind its own commit; an error here is of no weight, the commit stands."""
        self._commits += 1
        if self._handle is None or not self._commits % _COMMITS_A_HANDLE:
            self._handle = None
            return
        try:
            self._handle.update_incremental()
        except (DeltaError, OSError):
            self._handle = None

    def _current(self) -> DeltaTable:
        if self._handle is None:
            self._handle = open_table(self._location, self.table)
        return self._handle


def _mark_id(app_id: str) -> str:
    return f"{app_id}/by"


def position(handle: DeltaTable, app_id: str) -> int:
    """The value of an application transaction, 0 where it was never set."""
    return handle.transaction_version(app_id) or 0


def write_transaction(
    handle: DeltaTable,
    table: str,
    actions: Sequence[AddAction | RemoveAction],
    moves: Mapping[str, int],
) -> None:
    """One Delta commit of `actions` with the application transactions `moves`. Raises what delta-rs raises."""
    partition_by = PARTITIONED.get(table)
    handle.create_write_transaction(
        list(actions),
        "append",
        schema.TABLES[table],
        partition_by=[partition_by] if partition_by else None,
        commit_properties=CommitProperties(
            app_transactions=[Transaction(app_id, value) for app_id, value in moves.items()]
        ),
        post_commithook_properties=_NO_HOOKS,
    )
