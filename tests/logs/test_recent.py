"""The memory of recent ids against a plain dictionary."""

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feltwire.errors import ConfigError
from feltwire.recent import BUCKETS, NO_ID, Hashes, Recent, hashes
from feltwire.schema import RECORD, empty, records

AT = datetime(2026, 3, 1, tzinfo=UTC)


def array(*values: int) -> Hashes:
    return np.array(values, dtype=np.uint64)


@given(
    steps=st.lists(
        st.tuples(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 50), max_size=40), st.integers(0, 30)),
        max_size=40,
    ),
    max_ids=st.sampled_from([16, 32, 160, 10_000]),
)
def test_it_keeps_what_it_promises(steps: list[tuple[list[int], int]], max_ids: int) -> None:
    """Never fewer than the newest 15/16 of `max_ids` within the horizon, never one that was not added."""
    horizon_s = 160
    recent = Recent(max_ids=max_ids, horizon_s=horizon_s)
    added: list[tuple[int, int]] = []
    now = 0
    for values, wait in steps:
        now += wait
        recent.expire(now)
        given = np.unique(array(*values))
        seen = recent.seen(given)
        ever = {value for value, _ in added}
        sure = {value for value, at in added[-(max_ids - max_ids // BUCKETS) :] if at >= now - horizon_s}
        possible = {value for value, at in added if at >= now - horizon_s - horizon_s // BUCKETS - 30}
        for value, was in zip(given.tolist(), seen.tolist(), strict=True):
            assert was or value not in sure
            assert not was or (value in ever and value in possible)
        new = given[~seen]
        recent.add(new, now)
        added += [(value, now) for value in new.tolist() if value != NO_ID]
        assert len(recent) <= max_ids


def test_many_ids_through_full_buckets() -> None:
    recent = Recent(max_ids=160_000, horizon_s=1e9)
    values = np.random.default_rng(7).integers(1, 2**64 - 1, size=200_000, dtype=np.uint64)
    for step in range(200):
        recent.add(values[step * 1000 : step * 1000 + 1000], step)
    assert 150_000 <= len(recent) <= 160_000
    assert recent.seen(values[-150_000:]).all()
    assert not recent.seen(values[:40_000]).any()
    assert not recent.seen(values[-150_000:] + np.uint64(1)).any()
    assert recent.nbytes < 11 * len(recent)


def test_more_ids_than_it_holds_at_once() -> None:
    recent = Recent(max_ids=32)
    recent.add(np.arange(1, 101, dtype=np.uint64), 0)
    assert recent.seen(np.arange(1, 101, dtype=np.uint64)).tolist() == [False] * 68 + [True] * 32


def test_what_has_no_id_is_never_seen() -> None:
    recent = Recent()
    recent.add(array(NO_ID, 5), 0)
    assert recent.seen(array(NO_ID, 5, 6)).tolist() == [False, True, False]
    assert len(recent) == 1
    assert recent.seen(array()).tolist() == []


def test_time_that_runs_back_forgets_nothing() -> None:
    recent = Recent(horizon_s=100)
    recent.add(array(1), 1000)
    recent.add(array(2), 10)
    recent.expire(1050)
    assert recent.seen(array(1, 2)).all()


@pytest.mark.parametrize(("max_ids", "horizon_s"), [(15, 1), (100, -1)])
def test_a_memory_of_no_size_is_refused(max_ids: int, horizon_s: float) -> None:
    with pytest.raises(ConfigError, match="at least 16 ids"):
        Recent(max_ids=max_ids, horizon_s=horizon_s)


def test_hashes_tell_kinds_ids_and_revisions_apart() -> None:
    batch = records(
        [
            {"kind": kind, "id": name, "revision": revision}
            for kind in ("post", "edit", "withdrawal", "refusal")
            for name in ("x:1", "x:1|", "|x:1", "", "é", "\0")
            for revision in (None, 0, 1, 2**63 - 1)
        ]
    )
    found = hashes(batch)
    assert found.dtype == np.uint64
    assert len(np.unique(found)) == len(found)
    assert NO_ID not in found
    assert (hashes(batch.slice(5, 3)) == found[5:8]).all()


def test_hashes_stay_the_same_over_releases() -> None:
    """They are stored in logs: another way to make them would let a day's repeats through."""
    rows: list[dict[str, object]] = [
        {"kind": "post", "id": "bluesky:at://did:plc:abc/app.bsky.feed.post/3k2", "revision": 0},
        {"kind": "withdrawal", "source": "bluesky", "author_id": "did:plc:abc", "created_at": AT},
    ]
    assert hashes(records(rows)).tolist() == [2721187373356958562, 8746668988202592558]


def test_hashes_of_partial_rows() -> None:
    rows: list[dict[str, object]] = [
        {"kind": "post"},
        {"id": "x:1"},
        {"kind": "withdrawal", "author_id": "me"},
        {"kind": "withdrawal", "author_id": "me", "source": "x"},
        {"kind": "post", "author_id": "me", "source": "x", "created_at": AT},
        {"kind": "withdrawal", "author_id": "me", "source": "x", "created_at": AT},
        {"kind": "withdrawal", "author_id": "me", "source": "x", "created_at": AT, "revision": 3},
    ]
    found = hashes(records(rows))
    assert (found[:5] == NO_ID).all()
    assert found[5] != NO_ID
    assert found[5] == found[6]
    assert hashes(empty()).tolist() == []
    assert hashes(pa.RecordBatch.from_pylist([{"id": None}], schema=RECORD)).tolist() == [NO_ID]
