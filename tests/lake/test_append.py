"""Appending with positions: what lands, what does not, and who may."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError
from tests.lake.building import NOON, Builder, post, withdrawal

from feltwire import schema
from feltwire.errors import ClaimError, ConfigError, LakeError, SchemaError
from feltwire.lake import rewrite
from feltwire.lake.append import Appender, position
from feltwire.lake.maintain import checkpoint
from feltwire.lake.storage import Location, Written
from feltwire.lake.tables import open_table

ID = "feltwire/main/log/0"


@pytest.fixture
def location(tmp_path: Path) -> Location:
    return Builder(tmp_path / "lake").lake.location


def letter(location: Location, offset: int) -> Written:
    """A file with one dead letter."""
    row = {"received_at": NOON, "source": "x", "reason": "no JSON", "log_partition": 0, "log_offset": offset}
    batch = pa.RecordBatch.from_pylist([row], schema=schema.DEAD_LETTERS)
    return location.write("dead_letters", [batch], schema.DEAD_LETTERS)


def offsets(location: Location) -> list[int]:
    """The offsets that the table holds, read from its files."""
    handle = open_table(location, "dead_letters")
    names = [action["path"] for action in pa.table(handle.get_add_actions(flatten=True)).to_pylist()]
    return sorted(
        o for name in names for batch in location.read("dead_letters", name) for o in batch["log_offset"].to_pylist()
    )


def appender(location: Location) -> Appender:
    return Appender(location, "dead_letters", [ID])


def test_rows_and_position_are_one_commit(location: Location) -> None:
    worker = appender(location)
    assert worker.known == {ID: 0}
    worker.commit([letter(location, 0)], {ID: 5})
    worker.commit([], {ID: 9})
    assert worker.known == appender(location).known == {ID: 9}
    assert offsets(location) == [0]


def test_a_stale_worker_is_refused(location: Location) -> None:
    first, second = appender(location), appender(location)
    first.commit([letter(location, 0)], {ID: 5})
    with pytest.raises(ClaimError, match="another worker moved the table 'dead_letters' on"):
        second.commit([letter(location, 0)], {ID: 7})
    assert offsets(location) == [0]


def test_a_rival_that_reached_the_same_offset_is_a_rival(location: Location) -> None:
    first, second = appender(location), appender(location)
    first.commit([letter(location, 0)], {ID: 5})
    with pytest.raises(ClaimError):
        second.commit([letter(location, 1)], {ID: 5})
    assert offsets(location) == [0]


def test_delta_alone_would_take_a_position_that_was_reached_before(location: Location) -> None:
    """Why the comparison is ours: from a fresh handle Delta commits a repeated and even a lower version."""
    appender(location).commit([letter(location, 0)], {ID: 5})
    for version in (5, 3):
        open_table(location, "dead_letters").create_write_transaction(
            [letter(location, 0).action()],
            "append",
            schema.DEAD_LETTERS,
            commit_properties=CommitProperties(app_transactions=[Transaction(ID, version)]),
        )
    assert offsets(location) == [0, 0, 0]


def _interrupt(
    patch: pytest.MonkeyPatch, name: str, error: Exception, *, after: bool, times: int = 1
) -> Callable[[], None]:
    """Let a method of DeltaTable fail so many times, before or after it has done its work."""
    real = getattr(DeltaTable, name)
    left = [times]

    def failing(*args: Any, **kwargs: Any) -> Any:
        fails = left[0] > 0
        left[0] -= 1
        if fails and not after:
            raise error
        result = real(*args, **kwargs)
        if fails:
            raise error
        return result

    patch.setattr(DeltaTable, name, failing)
    return lambda: patch.setattr(DeltaTable, name, real)


@pytest.mark.parametrize("error", [OSError("disk full"), DeltaError("broken"), CommitFailedError("retries spent")])
def test_an_error_before_the_commit(location: Location, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    worker = appender(location)
    times = 3 if isinstance(error, CommitFailedError) else 1
    _interrupt(monkeypatch, "create_write_transaction", error, after=False, times=times)
    file = letter(location, 0)
    with pytest.raises(LakeError, match="took no commit"):
        worker.commit([file], {ID: 5})
    assert worker.known == {ID: 0}
    worker.commit([file], {ID: 5})
    assert offsets(location) == [0]


@pytest.mark.parametrize("error", [OSError("a hook failed"), CommitFailedError("was it?")])
def test_an_error_after_the_commit_landed(
    location: Location, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    worker = appender(location)
    _interrupt(monkeypatch, "create_write_transaction", error, after=True)
    worker.commit([letter(location, 0)], {ID: 5})
    assert worker.known == {ID: 5}
    assert offsets(location) == [0]


def test_an_append_beside_a_removal(location: Location) -> None:
    """Delta refuses an append whose handle is older than a removal; the appender tries again by itself."""
    worker = appender(location)
    worker.commit([letter(location, 0), letter(location, 1)], {ID: 2})
    handle = open_table(location, "dead_letters")
    assert rewrite.drop_rows(location, "dead_letters", handle, {0: [0]}, {"feltwire/main/log/withdrawn/0": 2})
    worker.commit([letter(location, 2)], {ID: 3})
    assert offsets(location) == [1, 2]


def test_landed_and_then_out_of_reach(location: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit lands, its answer is lost and the lake is away: the same call, later, finds that it landed."""
    worker = appender(location)
    file = letter(location, 0)
    _interrupt(monkeypatch, "create_write_transaction", OSError("gone"), after=True)
    _interrupt(monkeypatch, "__init__", OSError("gone"), after=False)
    with pytest.raises(LakeError):
        worker.commit([file], {ID: 5})
    worker.commit([file], {ID: 5})
    assert worker.known == {ID: 5}
    assert offsets(location) == [0]


def test_an_error_on_the_way_behind_its_own_commit(location: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit stands when the handle cannot follow it, nor be opened anew."""
    worker = appender(location)
    _interrupt(monkeypatch, "update_incremental", OSError("gone"), after=False)
    worker.commit([letter(location, 0)], {ID: 5})
    _interrupt(monkeypatch, "__init__", OSError("gone"), after=False)
    with pytest.raises(LakeError):
        worker.commit([letter(location, 5)], {ID: 6})
    worker.commit([letter(location, 5)], {ID: 6})
    assert offsets(location) == [0, 5]


def test_a_handle_whose_log_was_cleaned_up(location: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint by somebody else takes away the entries that a held handle reads lazily."""
    handle = open_table(location, "dead_letters")
    handle.alter.set_table_properties({"delta.logRetentionDuration": "interval 0 seconds"})
    worker = appender(location)
    worker.commit([letter(location, 0)], {ID: 5})
    rival = Appender(location, "dead_letters", ["feltwire/main/log/1"])
    for n in range(3):
        rival.commit([], {"feltwire/main/log/1": n + 1})
    checkpoint(open_table(location, "dead_letters"))
    worker.commit([letter(location, 5)], {ID: 6})
    assert offsets(location) == [0, 5]
    assert position(open_table(location, "dead_letters"), "feltwire/main/log/1") == 3


def test_positions_survive_checkpoint_clean_up_and_vacuum(location: Location) -> None:
    handle = open_table(location, "dead_letters")
    handle.alter.set_table_properties({"delta.logRetentionDuration": "interval 0 seconds"})
    worker = appender(location)
    for n in range(5):
        worker.commit([letter(location, n)], {ID: n + 1})
    for _ in range(2):
        handle = open_table(location, "dead_letters")
        checkpoint(handle)
        handle.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False, full=True)
        handle.alter.set_table_description("{}")
    assert appender(location).known == {ID: 5}
    assert offsets(location) == [0, 1, 2, 3, 4]


def test_the_log_of_a_table_holds_no_text(tmp_path: Path) -> None:
    """Statistics are of keys and times alone, in what is appended and in checkpoints."""
    built = Builder(tmp_path / "lake")
    built.store(post(1, "unmistakable words"), post(2, "good"), withdrawal(2))
    for table in schema.STREAMED:
        checkpoint(open_table(built.lake.location, table))
    for entry in (tmp_path / "lake").glob("*/_delta_log/*"):
        assert b"unmistakable" not in entry.read_bytes(), entry


def test_many_partitions_move_at_once(location: Location) -> None:
    ids = [f"feltwire/main/log/{p}" for p in range(3)]
    worker = Appender(location, "dead_letters", ids)
    rival = Appender(location, "dead_letters", ids[2:])
    worker.commit([], {ids[0]: 3, ids[1]: 4})
    rival.commit([], {ids[2]: 7})
    with pytest.raises(ClaimError):
        worker.commit([letter(location, 0)], dict.fromkeys(ids, 9))
    assert Appender(location, "dead_letters", ids).known == dict(zip(ids, (3, 4, 7), strict=True))
    assert offsets(location) == []


WRONG = {
    "missing": schema.DEAD_LETTERS.remove(0),
    "extra": schema.DEAD_LETTERS.append(pa.field("more", pa.string())),
    "wrongly typed": schema.DEAD_LETTERS.set(6, pa.field("log_offset", pa.string())),
    "another order": pa.schema(list(reversed(schema.DEAD_LETTERS))),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_batch_with_other_columns_is_refused_whole(location: Location, wrong: str) -> None:
    good, bad = schema.empty(schema.DEAD_LETTERS), schema.empty(WRONG[wrong])
    with pytest.raises(SchemaError, match="dead_letters"):
        location.write("dead_letters", [good, bad], schema.DEAD_LETTERS)
    assert open_table(location, "dead_letters").version() == 0


def test_conform_refuses_what_cannot_be_cast() -> None:
    batch = pa.RecordBatch.from_pydict({name: [None] for name in schema.TERMS.names} | {"n": ["many"]})
    with pytest.raises(SchemaError, match="'n' came as string"):
        schema.conform(batch, schema.TERMS)
    with pytest.raises(SchemaError, match="lacks the column 'minute'"):
        schema.conform(batch.drop_columns(["minute"]), schema.TERMS)


def test_a_lake_can_only_lie_where_it_is_known(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="s3://"):
        Location("ftp://somewhere/lake").filesystem()
