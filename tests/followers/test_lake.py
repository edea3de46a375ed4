"""A destination that follows real Delta tables: backfill, restart, withdrawals, nothing twice."""

import json
from pathlib import Path
from threading import Event
from typing import Any

from tests.followers.feeds import batch, post, withdrawal

from feltwire import registry, schema
from feltwire.following import follow
from feltwire.lake import Lake, Owner, create_lake
from feltwire.lake.append import Appender

OWNER = Owner("main", "a-log")


def commit(lake: Lake, table: str, rows: list[dict[str, Any]], end: int) -> None:
    """Append rows of partition 0 up to offset `end`."""
    of = schema.TABLES[table]
    folder = f"day={rows[0]['day']}/" if table == "posts" and rows else ""
    files = [lake.location.write(table, [batch(rows, of)], of, folder)] if rows else []
    Appender(lake.location, table, [OWNER.position_id(0)]).commit(files, {OWNER.position_id(0): end})


def test_a_lake_is_followed_to_its_end_and_on(tmp_path: Path) -> None:
    lake = create_lake(str(tmp_path / "lake"), OWNER)
    path = tmp_path / "posts.jsonl"

    def catch_up(max_posts: int) -> dict[int, int]:
        follower = registry.create("followers", f"jsonl:{path}?fields=id,log_offset")
        end = follow(lake, follower, stop=Event(), max_posts=max_posts, once=True)
        follower.close()
        return end

    commit(lake, "withdrawn", [], 50)
    commit(lake, "posts", [post(0, offset) for offset in range(0, 50, 2)], 50)
    assert catch_up(max_posts=10) == {0: 50}
    commit(lake, "withdrawn", [withdrawal(0, 60, id="simulator:0-2"), withdrawal(0, 61, id="simulator:0-54")], 70)
    commit(lake, "posts", [post(0, offset) for offset in range(50, 60, 2)], 70)
    assert catch_up(max_posts=3) == {0: 70}
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    posts = [line["log_offset"] for line in lines if "withdrawn" not in line]
    assert posts == [offset for offset in range(0, 60, 2) if offset != 54]  # withdrawn before it was handed over
    assert [line["withdrawn"]["id"] for line in lines if "withdrawn" in line] == ["simulator:0-2", "simulator:0-54"]


def test_an_empty_lake_is_followed_as_well(tmp_path: Path) -> None:
    lake = create_lake(str(tmp_path / "lake"), OWNER)
    follower = registry.create("followers", "memory:")
    assert follow(lake, follower, stop=Event(), once=True) == {}
