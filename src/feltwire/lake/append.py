"""Appending with positions: the commit that makes rows and the offset that they reach one fact.

The rules that this file keeps are in docs/lake.md; each was forced by an experiment.
"""

from collections.abc import Mapping, Sequence

from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Transaction
from deltalake.exceptions import DeltaError
from deltalake.transaction import AddAction, RemoveAction

from feltwire import schema
from feltwire.errors import ClaimError, LakeError
from feltwire.lake.storage import PARTITIONED, Location, Written
from feltwire.lake.tables import check_schema, open_table

_NO_HOOKS = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)

# A handle reads the log since the last checkpoint again and again: after so many commits a fresh one is quicker.
_COMMITS_A_HANDLE = 32


class Appender:
    """The append handle of one table, which does nothing else: appends files and moves positions.

    A position is an application transaction: its id, and the offset of the next record. `known` holds where this
    worker believes each to be; a table that disagrees has been moved on by another worker.
    """

    def __init__(self, location: Location, table: str, ids: Sequence[str]) -> None:
        """`ids` are the application transactions that this worker moves; their positions are read now."""
        self.table = table
        self._location = location
        self._handle = self._open()
        self._commits = 0
        self.known: dict[str, int] = {app_id: position(self._handle, app_id) for app_id in ids}

    def commit(self, files: Sequence[Written], moves: Mapping[str, int]) -> None:
        """Append `files` and move each application transaction of `moves` to its new value, at once.

        Raises ClaimError when another worker has moved one of them: the rows are then theirs, and the caller
        leaves. Raises LakeError when nothing was committed and the same call may be tried again.
        """
        self._check_unmoved(moves)
        actions: list[AddAction | RemoveAction] = [file.action() for file in files]
        try:
            write_transaction(self._handle, self.table, actions, moves)
        except (DeltaError, OSError) as error:
            if not self._landed(moves):
                raise LakeError(f"the table {self.table!r} took no commit: {error}") from error
        self.known.update(moves)
        self._advance()

    def _check_unmoved(self, moves: Mapping[str, int]) -> None:
        for app_id in moves:
            try:
                found = position(self._handle, app_id)
            except (DeltaError, OSError):  # the log that a held handle reads from was cleaned up meanwhile
                self._handle = self._open()
                found = position(self._handle, app_id)
            if found != self.known[app_id]:
                raise ClaimError(
                    f"another worker moved the table {self.table!r} on: {app_id} is at {found}, "
                    f"this worker left it at {self.known[app_id]}"
                )

    def _landed(self, moves: Mapping[str, int]) -> bool:
        """After an error: whether the commit is in the table nevertheless.

        Raises ClaimError when another worker was faster.
        """
        self._handle = self._open()
        check_schema(self._handle, self.table)
        found = {app_id: position(self._handle, app_id) for app_id in moves}
        if found == dict(moves):
            return True
        self._check_unmoved(moves)
        return False

    def _advance(self) -> None:
        """Bring the handle behind its own commit; an error here is of no weight, the commit stands."""
        self._commits += 1
        try:
            if self._commits % _COMMITS_A_HANDLE:
                self._handle.update_incremental()
            else:
                self._handle = self._open()
        except (DeltaError, OSError, LakeError):
            self._handle = self._open()

    def _open(self) -> DeltaTable:
        return open_table(self._location, self.table)


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
