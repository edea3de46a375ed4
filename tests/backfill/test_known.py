"""What a slice brings to a lake that has some of it, or has had."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.lake.building import NOON, Builder, edit, post, withdrawal

from feltwire import schema
from feltwire.backfill.known import Known, Part, of_slice
from feltwire.backfill.slices import Slice

HOUR = timedelta(hours=1)
ONE = Slice(NOON, NOON + HOUR)
LATER = NOON + timedelta(days=1)
REFUSED: dict[str, Any] = {
    "kind": schema.REFUSAL,
    "id": "x:refused",
    "source": "x",
    "refusal": "no JSON",
    "payload": "?",
}


def ids(batch: Any) -> list[tuple[str, str, int]]:
    return [(row["kind"], row["id"], row["revision"]) for row in batch.to_pylist()]


def test_a_slice_has_only_its_own_posts_and_each_once() -> None:
    rows = [
        post(1),
        post(2, created_at=NOON - timedelta(microseconds=1)),
        post(3, created_at=NOON + HOUR),
        post(4, created_at=NOON + HOUR - timedelta(microseconds=1)),
        post(1),
        post(5, created_at=None),
        withdrawal(1, revision=0),
        withdrawal(2, revision=0),
        REFUSED,
    ]
    found = [(kind, key) for kind, key, _ in ids(of_slice(schema.records(rows), ONE))]
    kinds = (schema.POST, schema.POST, schema.POST, schema.WITHDRAWAL, schema.REFUSAL)
    assert found == list(zip(kinds, ("x:1", "x:4", "x:5", "x:1", "x:refused"), strict=True))


@pytest.fixture
def built(tmp_path: Path) -> Builder:
    return Builder(tmp_path / "lake")


def fresh(built: Builder, *rows: dict[str, Any], pulled_at: Any = LATER) -> list[str]:
    known = Known(built.lake, "x", ONE.start, ONE.end)
    return [key for _, key, _ in ids(known.fresh([Part(ONE, schema.records(list(rows)), pulled_at)]))]


def test_what_the_lake_has_is_not_new(built: Builder) -> None:
    built.store(post(1), edit(2, 1), REFUSED)
    assert fresh(built, post(1), post(2), post(3), edit(4, 1), REFUSED) == ["x:3", "x:4"]
    assert fresh(built, edit(1, 1), edit(2, 2), edit(2, 1)) == ["x:1", "x:2"]
    assert fresh(built) == []


def test_a_post_that_came_days_late_is_found(built: Builder) -> None:
    built.store(post(1, live=True), at=NOON + timedelta(days=9))
    assert built.lake.sql("select redated from posts")["redated"].to_pylist() == [True]
    assert fresh(built, post(1)) == []


def test_what_was_withdrawn_does_not_come_back(built: Builder) -> None:
    built.store(post(1), post(2), post(3, author_id="b"))
    built.store(withdrawal(1), withdrawal(2, revision=0), withdrawal(7), at=NOON + 2 * HOUR)
    assert fresh(built, post(1), post(2), post(7), edit(2, 1), edit(1, 1)) == ["x:2"]
    built.store(withdrawal(author_id="b"), at=NOON + 3 * HOUR)
    pulled_before = NOON + 2 * HOUR
    assert fresh(built, post(8, author_id="b"), post(9), pulled_at=pulled_before) == ["x:9"]
    assert fresh(built, post(8, author_id="b"), pulled_at=NOON + 4 * HOUR) == ["x:8"]


def test_a_replaced_version_is_withdrawn_once(built: Builder) -> None:
    old = [post(1), withdrawal(1, revision=0)]
    assert fresh(built, *old) == ["x:1", "x:1"]
    built.store(*old)
    assert fresh(built, *old) == []
    assert fresh(built, *old, edit(1, 1)) == ["x:1"]
