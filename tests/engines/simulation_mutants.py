"""What the simulation must find: ways of committing and maintaining that look right and are not."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from feltwire import schema, windows
from feltwire.engines import _commit
from feltwire.engines._commit import Committer
from feltwire.engines._work import Settled, run_safely
from feltwire.lake import Location, Owner, append, rewrite, withdraw
from feltwire.lake.append import Appender, position, write_transaction
from feltwire.lake.reader import Snapshot
from feltwire.lake.tables import FILES_ID, open_table

Mutant = Callable[[pytest.MonkeyPatch], None]


def no_position_check(patch: pytest.MonkeyPatch) -> None:
    """Reopen and try again, without a look at where the table is by now."""
    patch.setattr(Appender, "_landed", lambda appender, moves: False)


def no_mark(patch: pytest.MonkeyPatch) -> None:
    """Take a rival's commit of the same span for one's own that landed."""
    patch.setattr(append, "_mark_id", lambda app_id: f"{app_id}/nobody")
    patch.setattr("feltwire.lake.append.secrets.randbits", lambda bits: 1)


def ledger_before_posts(patch: pytest.MonkeyPatch) -> None:
    """Commit the account of a batch before its posts."""
    order = ("dead_letters", "withdrawn", "ledger", "posts", "windows", "terms")
    patch.setattr(schema, "STREAMED", order)


def posts_removed_first(patch: pytest.MonkeyPatch) -> None:
    """Take withdrawn rows out of `posts` before they are out of the sums."""
    patch.setattr(withdraw, "_remove_partition", _remove_posts_first)


def scored_again(patch: pytest.MonkeyPatch) -> None:
    """After a crash, work out the sums that are lacking by running the model once more."""
    patch.setattr(Committer, "_level_span", _score_span)


def rest_at_any_time(patch: pytest.MonkeyPatch) -> None:
    """Move idle tables on while a batch is committed to some tables alone."""
    patch.setattr(Committer, "rest", _rest)


def files_uncounted(patch: pytest.MonkeyPatch) -> None:
    """Merge and remove without the counter that fences rival maintainers."""

    def uncounted(handle: DeltaTable, table: str, actions: Sequence[Any], moves: Mapping[str, int]) -> None:
        write_transaction(handle, table, actions, {key: value for key, value in moves.items() if key != FILES_ID})

    patch.setattr(rewrite, "write_transaction", uncounted)


def dead_letters_now_and_then(patch: pytest.MonkeyPatch) -> None:
    """Move `dead_letters` only when it gets rows: a rival's failures slip in before its posts are refused."""
    patch.setattr(_commit, "_EVERY_BATCH", ("posts",))


def settled_forgotten(patch: pytest.MonkeyPatch) -> None:
    """Work again on a batch whose dead letters are committed, as if they were not."""
    patch.setattr(Committer, "settled", lambda committer, partition: Settled())


OBVIOUS: Final[tuple[Mutant, ...]] = (
    no_position_check,
    ledger_before_posts,
    posts_removed_first,
    scored_again,
    rest_at_any_time,
)
"""Found within a few schedules."""

SUBTLE: Final[tuple[Mutant, ...]] = (settled_forgotten, no_mark, files_uncounted, dead_letters_now_and_then)
"""Found within a hundred."""


def _remove_posts_first(location: Location, owner: Owner, partition: int, end: int) -> int:
    app_id = owner.withdrawn_id(partition)
    snapshot = Snapshot(location, owner, ["posts", "dead_letters"])
    done = position(snapshot.handles["posts"], app_id)
    if end <= done or not withdraw._any_withdrawal(snapshot, partition, done, end):
        return 0
    victims = withdraw._victims(snapshot, partition, done, end)
    rows = {partition: victims["log_offset"].to_pylist()}
    letters = {partition: withdraw._dead_letters(snapshot, partition, done, end)}
    if not rewrite.drop_rows(location, "posts", snapshot.handles["posts"], rows, {app_id: end}):
        return 0
    if letters[partition]:
        rewrite.drop_rows(location, "dead_letters", snapshot.handles["dead_letters"], letters, {app_id: end})
    for table, sum_up in withdraw._SUMMED.items():
        sums = windows.negate(sum_up(victims), rewrite.SUMMED[table])
        files = [location.write(table, [sums], sums.schema).action()]
        try:
            write_transaction(open_table(location, table), table, files, {app_id: end})
        except (DeltaError, OSError):
            return 0
    return len(rows[partition])


def _score_span(committer: Committer, table: str, partition: int, start: int, end: int) -> None:
    pipeline: Any = committer._log.pipeline  # type: ignore[attr-defined]  # the simulation hangs it there
    results = [run_safely(pipeline, batch) for batch in committer._records(partition, start, end)]
    sums: dict[str, Callable[[pa.RecordBatch], pa.RecordBatch]] = {
        "windows": lambda result: windows.window_sums(_kept(result)),
        "terms": lambda result: windows.term_sums(_kept(result)),
        "ledger": windows.ledger_sums,
    }
    merged = windows.merge([sums[table](result) for result in results], rewrite.SUMMED[table])
    files = [committer._lake.location.write(table, [merged], merged.schema)] if merged.num_rows else []
    committer._append(table, files, {committer._ids[partition]: end})


def _kept(result: pa.RecordBatch) -> pa.RecordBatch:
    return result.filter(pa.array([outcome == schema.KEPT for outcome in result["outcome"].to_pylist()]))


def _rest(committer: Committer) -> None:
    for partition in committer.partitions:
        end = committer.position("posts", partition)
        for table in schema.STREAMED:
            if committer.position(table, partition) < end:
                committer._append(table, [], {committer._ids[partition]: end})
