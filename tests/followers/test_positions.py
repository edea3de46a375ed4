"""Arithmetic of positions over random batches."""

from hypothesis import given
from hypothesis import strategies as st
from tests.followers.feeds import batch, post, story, withdrawal

from feltwire import schema
from feltwire.followers import _positions
from feltwire.interfaces import Position

POSITIONS = st.dictionaries(st.integers(0, 3), st.integers(0, 30))


@given(POSITIONS, POSITIONS)
def test_the_further_one(one: Position, other: Position) -> None:
    both = _positions.ahead(one, other)
    assert both == _positions.ahead(other, one)
    assert all(both[p] == max(one.get(p, 0), other.get(p, 0)) for p in {*one, *other})
    assert _positions.from_json(_positions.to_json(both)) == both


@given(st.integers(0, 5), POSITIONS)
def test_fresh_rows_are_those_behind(seed: int, position: Position) -> None:
    rows = batch(story(seed, 20).rows)
    kept = _positions.fresh(rows, position).to_pylist()
    wanted = [row for row in rows.to_pylist() if row["log_offset"] >= position.get(row["log_partition"], 0)]
    assert kept == wanted


@given(st.integers(0, 5), st.integers(1, 30))
def test_pieces_make_the_whole(seed: int, max_rows: int) -> None:
    feed = story(seed, 30)
    after = {0: 4}
    posts, withdrawn, end = feed.changes(after, 1000)
    reached, kept, told = after, [], []
    for some, some_withdrawn, position in _positions.cut(posts, withdrawn, after, end, max_rows):
        places = {(r["log_partition"], r["log_offset"]) for b in (some, some_withdrawn) for r in b.to_pylist()}
        assert len(places) <= max_rows
        assert all(reached.get(p, 0) <= offset < position.get(p, 0) for p, offset in places)
        assert _positions.ahead(reached, position) == position
        kept += some.to_pylist()
        told += some_withdrawn.to_pylist()
        reached = position
    assert reached == end
    assert kept == posts.to_pylist()
    assert told == withdrawn.to_pylist()


def test_log_order_puts_the_withdrawn_text_before_its_edit() -> None:
    posts = batch([post(0, 1), post(0, 5), post(1, 0)])
    withdrawn = batch([withdrawal(0, 5, id="x"), withdrawal(0, 7, id="y")], schema.WITHDRAWN)
    # indices into withdrawn (0, 1), then posts (2, 3, 4)
    assert _positions.log_order(posts, withdrawn).tolist() == [2, 0, 3, 1, 4]
