"""Withdrawals and edits: out of sight at once, and then out of the sums and the files, however often interrupted."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from tests.lake.building import Builder, edit, post, withdrawal

from feltwire import schema, windows
from feltwire.lake.append import position
from feltwire.lake.rewrite import SUMMED, list_files
from feltwire.lake.storage import Location
from feltwire.lake.tables import open_table
from feltwire.lake.withdraw import remove_withdrawn


class Died(BaseException):
    """The process that removed is gone."""


@pytest.fixture
def built(tmp_path: Path) -> Builder:
    return Builder(tmp_path / "lake")


def remove(built: Builder) -> int:
    return remove_withdrawn(built.lake.location, built.owner)


def recomputed(built: Builder) -> bool:
    """Whether windows and terms are those of the posts as they lie."""
    table = built.lake.sql("select * from posts_all")
    posts = [schema.conform(batch, schema.POSTS) for batch in table.to_batches()] or [schema.empty(schema.POSTS)]
    for name, sum_up in (("windows", windows.window_sums), ("terms", windows.term_sums)):
        expected = windows.merge([sum_up(batch) for batch in posts], SUMMED[name])
        stored = built.lake.sql(f"select * from {name}").to_batches()
        found = windows.merge([schema.conform(batch, SUMMED[name]) for batch in stored], SUMMED[name])
        keys = [(key, "ascending") for key in windows.keys_of(SUMMED[name])]
        if found.sort_by(keys) != expected.sort_by(keys):
            return False
    return True


def test_a_withdrawal_hides_at_once_and_removes_later(built: Builder) -> None:
    built.store(post(1, "good #a"), post(2, "bad #b"))
    built.store(withdrawal(1))
    assert built.ids() == ["x:2"]
    assert built.ids("posts_all") == ["x:1", "x:2"]
    assert built.mood() == [("*", 2, 1, 1)]
    assert remove(built) == 1
    assert built.ids("posts_all") == ["x:2"]
    assert built.mood() == [("*", 1, 1, 0)]
    assert [row["term"] for row in built.lake.terms().to_pylist()] == ["b"]
    assert recomputed(built)
    assert remove(built) == 0


def test_a_withdrawal_takes_back_what_stands_before_it(built: Builder) -> None:
    built.store(withdrawal(1))
    built.store(post(1), post(2))
    assert built.ids() == ["x:1", "x:2"]
    assert remove(built) == 0
    built.store(withdrawal(2, revision=7), post(2, "bad", revision=8))
    assert built.ids() == ["x:1", "x:2"]
    assert remove(built) == 1
    assert built.mood() == [("*", 2, 1, 1)]


def test_an_edit_takes_the_place_of_earlier_revisions(built: Builder) -> None:
    built.store(post(1, "good"))
    built.store(edit(1, 1, "bad"), edit(1, 2, "mixed"))
    rows = built.lake.sql("select revision, text from posts").to_pylist()
    assert rows == [{"revision": 2, "text": "mixed"}]
    assert remove(built) == 2
    assert built.mood() == [("*", 1, 0, 0)]
    assert recomputed(built)


def test_an_edit_that_is_filtered_or_dead_takes_the_post_back_all_the_same(built: Builder) -> None:
    built.store(post(1), post(2))
    built.append(edit(1, 1, "broken"))
    built.committer.commit(built.work(fails_on="broken"))
    built.committer.rest()
    assert built.ids() == ["x:2"]
    assert remove(built) == 1
    assert built.ids("dead_letters") == ["x:1"]


def test_an_account(built: Builder) -> None:
    built.store(post(1), post(2, author_id="b"), post(3, source="y"), post(4, author_id=None))
    built.store(withdrawal(), post(5))
    assert built.ids() == ["x:2", "x:3", "x:4", "x:5"]
    assert remove(built) == 1
    assert built.ids("posts_all") == ["x:2", "x:3", "x:4", "x:5"]


def test_only_what_every_table_has_passed_is_removed(built: Builder) -> None:
    """The negative of a post whose sums are still to come would be a sum of its own."""
    built.store(post(1))
    built.append(post(2, "good #a"), withdrawal(1), withdrawal(2))
    done = built.work()
    with dying_at("terms"):
        built.committer.commit(done)
    assert built.ids() == []
    assert remove(built) == 0
    built.committer = built.worker()
    assert remove(built) == 2
    assert recomputed(built)
    assert built.mood() == []


def test_a_dead_letter_of_a_withdrawn_post_goes_with_it(built: Builder) -> None:
    built.append(post(1, "broken"), post(2, "broken"), post(3))
    built.committer.commit(built.work(fails_on="broken"))
    built.store(withdrawal(1))
    assert remove(built) == 0
    assert built.ids("dead_letters") == ["x:2"]
    assert [row["dead"] for row in built.lake.ledger().to_pylist()] == [2]


def test_files_without_a_withdrawn_post_stay_as_they_are(built: Builder) -> None:
    for n in range(3):
        built.store(post(n))
    before = files(built)
    built.store(withdrawal(1))
    remove(built)
    assert len(before - files(built)) == 1


def files(built: Builder) -> set[str]:
    return {file.name for file in list_files(open_table(built.lake.location, "posts"), "posts")}


@contextmanager
def dying_at(table: str) -> Iterator[None]:
    """Within, the first commit to a table is the last thing that is tried."""
    real = DeltaTable.create_write_transaction

    def dying(handle: DeltaTable, *args: Any, **kwargs: Any) -> None:
        if handle.table_uri.rstrip("/").endswith(f"/{table}"):
            raise Died
        real(handle, *args, **kwargs)

    died = False
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DeltaTable, "create_write_transaction", dying)
        try:
            yield
        except Died:
            died = True
    assert died


def _interrupt_at(patch: pytest.MonkeyPatch, step: int, *, after: bool) -> None:
    """Die at the step-th touch of the lake, before or after it."""
    steps = count()
    for owner, name in ((DeltaTable, "create_write_transaction"), (Location, "write")):
        real = getattr(owner, name)

        def touched(*args: Any, _real: Callable[..., Any] = real, **kwargs: Any) -> Any:
            now = next(steps)
            if now == step and not after:
                raise Died
            result = _real(*args, **kwargs)
            if now == step:
                raise Died
            return result

        patch.setattr(owner, name, touched)


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True])
def test_death_at_every_step(tmp_path: Path, after: bool) -> None:
    """Wherever a removal stops, the next one ends with the posts gone and the sums right, and goes on from there."""
    for step in range(100):
        built = Builder(tmp_path / f"{step}")
        built.append(post(1, "good #a"), post(2, "bad #b"), post(3, "broken"))
        built.committer.commit(built.work(fails_on="broken"))
        built.store(edit(2, 1, "mixed #c"), withdrawal(1), withdrawal(3))
        with pytest.MonkeyPatch.context() as patch:
            _interrupt_at(patch, step, after=after)
            try:
                remove(built)
                finished = True
            except Died:
                finished = False
        assert built.ids() == ["x:2"]
        built.store(post(4), withdrawal(2))
        remove(built)
        remove(built)
        assert built.ids("posts_all") == ["x:4"]
        assert built.mood() == [("*", 1, 0, 1)]
        assert recomputed(built)
        if finished:
            break
    assert step == 8


@pytest.mark.slow
def test_two_maintainers_remove_once(built: Builder) -> None:
    """The second one begins in the middle of the first, at each of its commits, and the negatives come once."""
    for table in ("windows", "terms", "posts"):
        number = {"windows": 1, "terms": 2, "posts": 3}[table]
        built.store(post(number, "good #a"), post(10 + number, "bad #b"))
        built.store(withdrawal(number))
        with dying_at(table):
            remove(built)
        real = DeltaTable.create_write_transaction
        with pytest.MonkeyPatch.context() as patch:

            def beside(handle: DeltaTable, *args: Any, _real: Callable[..., Any] = real, **kwargs: Any) -> None:
                patch.undo()
                remove(built)
                _real(handle, *args, **kwargs)

            patch.setattr(DeltaTable, "create_write_transaction", beside)
            assert remove(built) == 0
        assert recomputed(built)
    assert built.mood() == [("*", 3, 3, 0)]


def test_a_span_that_a_rival_began_on_is_whole(built: Builder) -> None:
    """A maintainer that read the posts before a rival began on a longer span removes that span's posts, too."""
    built.store(post(1), withdrawal(1))
    location = built.lake.location
    real = DeltaTable.__init__
    opened = count()

    def late(handle: DeltaTable, table_uri: str, *args: Any, **kwargs: Any) -> None:
        real(handle, table_uri, *args, **kwargs)
        if table_uri.endswith("/posts") and next(opened) == 1:  # the first is for the positions
            patch.undo()
            built.store(post(2), withdrawal(2))
            with dying_at("posts"):
                remove(built)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DeltaTable, "__init__", late)
        remove(built)
    remove(built)
    assert built.ids("posts_all") == []
    assert recomputed(built)
    assert position(open_table(location, "posts"), built.owner.withdrawn_id(0)) == 4


def test_appends_go_on_beside_a_removal(built: Builder) -> None:
    built.store(post(1), withdrawal(1))
    real = DeltaTable.create_write_transaction
    numbers = count(10)
    busy: list[None] = []

    def beside(handle: DeltaTable, *args: Any, **kwargs: Any) -> None:
        if not busy:
            busy.append(None)
            built.store(post(next(numbers)))
            busy.clear()
        real(handle, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DeltaTable, "create_write_transaction", beside)
        assert remove(built) == 1
    assert built.ids("posts_all") == [f"x:{n}" for n in range(10, next(numbers))]
    assert recomputed(built)
