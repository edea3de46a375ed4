"""`csv:`, `jsonl:` and `parquet:`: formats, rotation, and files that are not as they were left."""

import csv
import json
import os
import resource
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.followers.feeds import NOON, MemoryFeed, batch, post, story, withdrawal
from tests.followers.harness import catch_up

from feltwire import registry, schema
from feltwire.errors import ClaimError, ConfigError, PositionError
from feltwire.followers import _state, parquet

NOTHING = schema.empty(schema.WITHDRAWN)


def put(uri: str, rows: list[dict[str, Any]], withdrawn: list[dict[str, Any]] | None = None) -> None:
    """One batch of partition 0 through a follower made anew."""
    follower = registry.create("followers", uri)
    told = batch(withdrawn or [], schema.WITHDRAWN)
    end = max(row["log_offset"] for row in [*rows, *(withdrawn or [])]) + 1
    follower.apply(batch(rows), told, {0: end})
    follower.close()


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines, strict=True))


def original(cell: str) -> str:
    """What docs/followers.md tells a reader to do with a cell."""
    return cell.removeprefix("'")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(st.lists(st.text(), min_size=1, max_size=4))
def test_csv_texts_are_read_back_as_they_were(tmp_path: Path, texts: list[str]) -> None:
    for old in tmp_path.iterdir():
        old.unlink()
    path = tmp_path / "posts.csv"
    put(f"csv:{path}?fields=id,text", [post(0, number, text=text) for number, text in enumerate(texts)])
    assert [original(row["text"]) for row in read_csv(path)] == texts


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "'quoted'"])
def test_csv_cells_are_no_formulas(text: str, tmp_path: Path) -> None:
    path, plain = tmp_path / "posts.csv", tmp_path / "plain.csv"
    put(f"csv:{path}", [post(0, 0, text=text, author_name="Ann")])
    put(f"csv:{plain}?escape_formulas=false", [post(0, 0, text=text)])
    (row,) = read_csv(path)
    assert row["text"] == "'" + text
    assert row["author_name"] == "Ann"
    assert read_csv(plain)[0]["text"] == text


def test_csv_cells_of_every_type(tmp_path: Path) -> None:
    path = tmp_path / "posts.csv"
    put(f"csv:{path}", [post(0, 3, text="", author_name=None, likes=-4)], [withdrawal(0, 5, id="simulator:0-1")])
    (row,) = read_csv(path)
    assert "raw" not in row
    assert row["event_time"] == "2026-07-04T12:00:03.000000Z"
    assert row["likes"] == "-4"  # a number, no formula
    assert row["complaint"] == "true"
    assert json.loads(row["hashtags"]) == ["delay"]
    assert json.loads(row["emoji"]) == [{"emoji": "😡", "p": 0.5}]
    assert float(row["p_negative"]) == pytest.approx(1 - 21 * 2**-20, abs=1e-7)
    assert ',"",' in path.read_text()  # empty, and not null
    (told,) = read_csv(tmp_path / "posts.withdrawn.csv")
    assert (told["id"], told["revision"]) == ("simulator:0-1", str(schema.LAST_REVISION))


def test_csv_keeps_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "posts.csv"
    put(f"csv:{path}?fields=id,text", [post(0, 0)])
    put(f"csv:{path}", [post(0, 1)])
    assert [list(row) for row in read_csv(path)] == [["id", "text"]] * 2
    with pytest.raises(ConfigError, match="the file has 'id,text'"):
        put(f"csv:{path}?fields=id", [post(0, 2)])


def test_jsonl_lines_stand_in_the_order_of_the_log(tmp_path: Path) -> None:
    path = tmp_path / "posts.jsonl"
    put(
        f"jsonl:{path}?fields=id,revision",
        [post(0, 1), post(0, 5, id="simulator:0-1", revision=1)],
        [withdrawal(0, 5, id="simulator:0-1", revision=0), withdrawal(0, 9, author_id="a1")],
    )
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[0] == {"id": "simulator:0-1", "revision": 0}
    assert lines[1]["withdrawn"]["revision"] == 0
    assert lines[2] == {"id": "simulator:0-1", "revision": 1}
    assert lines[3]["withdrawn"] == {
        "id": None,
        "source": "simulator",
        "author_id": "a1",
        "revision": schema.LAST_REVISION,
        "at": "2026-07-04T12:00:09.000000Z",
        "log_partition": 0,
        "log_offset": 9,
    }


def test_jsonl_withdrawals_may_stand_beside(tmp_path: Path) -> None:
    put(f"jsonl:{tmp_path}/posts.jsonl?withdrawals=beside", [post(0, 1)], [withdrawal(0, 5, id="x")])
    assert len((tmp_path / "posts.jsonl").read_text().splitlines()) == 1
    assert json.loads((tmp_path / "posts.withdrawn.jsonl").read_text())["withdrawn"]["id"] == "x"


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_a_file_a_day(kind: str, tmp_path: Path) -> None:
    of_days = [0, 1, 0, 1, 2]
    rows = [post(0, offset, at=NOON + timedelta(days=day)) for offset, day in enumerate(of_days)]
    uri = f"{kind}:{tmp_path}/posts.{kind}?rotate=day"
    put(uri, rows[:3])
    put(uri, rows, [withdrawal(0, 9, id="x", at=NOON + timedelta(days=2))])
    headers = 1 if kind == "csv" else 0
    counts = {path.name: len(path.read_text().splitlines()) - headers for path in tmp_path.glob(f"*.{kind}")}
    told = {"posts.withdrawn-2026-07-06.csv": 1} if kind == "csv" else {}
    last = 1 if kind == "csv" else 2
    assert (
        counts
        == {f"posts-2026-07-04.{kind}": 2, f"posts-2026-07-05.{kind}": 2, f"posts-2026-07-06.{kind}": last} | told
    )


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_a_file_once_the_last_is_full(kind: str, tmp_path: Path) -> None:
    feed = MemoryFeed(1)
    feed.add([post(0, offset) for offset in range(40)])
    follower = registry.create("followers", f"{kind}:{tmp_path}/posts.{kind}?rotate=5KB&fields=text,log_offset")
    catch_up(feed, follower, max_posts=10)
    follower.close()
    follower = registry.create("followers", f"{kind}:{tmp_path}/posts.{kind}?rotate=1KB&fields=text,log_offset")
    feed.add([post(0, offset) for offset in range(40, 160)])
    catch_up(feed, follower, max_posts=10)
    follower.close()
    paths = sorted(tmp_path.glob(f"*.{kind}"))
    assert len(paths) > 3
    assert [path.name for path in paths] == [f"posts-{number:06d}.{kind}" for number in range(1, len(paths) + 1)]
    lines = [line for path in paths for line in path.read_text().splitlines() if "late" in line]
    assert len(lines) == 160


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_what_a_cut_off_batch_left_behind_goes(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"posts.{kind}"
    put(f"{kind}:{path}", [post(0, 0)])
    before = path.read_bytes()
    with path.open("ab") as file:
        file.write(b"half a li")
    follower = registry.create("followers", f"{kind}:{path}")
    assert follower.position() == {0: 1}
    follower.close()
    assert path.read_bytes() == before


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_a_file_that_was_taken_away_begins_anew(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"posts.{kind}"
    put(f"{kind}:{path}", [post(0, offset) for offset in range(5)])
    path.rename(tmp_path / "taken")
    put(f"{kind}:{path}", [post(0, 6)])
    put(f"{kind}:{path}", [post(0, 7)])
    text = path.read_text()
    assert ("0-6" in text, "0-7" in text, "0-4" in text) == (True, True, False)
    assert text.startswith('"id"') == (kind == "csv")


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_a_file_that_became_shorter_is_an_error(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"posts.{kind}"
    put(f"{kind}:{path}", [post(0, 0)])
    os.truncate(path, 10)
    with pytest.raises(PositionError, match="has 10 bytes where"):
        put(f"{kind}:{path}", [post(0, 1)])


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_what_others_wrote_is_left_alone(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "mine"
    theirs = path / "posts" / "theirs.parquet" if kind == "parquet" else path
    theirs.parent.mkdir(parents=True, exist_ok=True)
    theirs.write_text("precious")
    with pytest.raises(ConfigError, match="not written by this follower"):
        put(f"{kind}:{path}", [post(0, 0)])
    assert theirs.read_text() == "precious"


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_two_on_one_path_are_one_too_many(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_state, "LOCK_WAIT_S", 0.05)
    first = registry.create("followers", f"{kind}:{tmp_path}/out")
    assert first.position() is None
    second = registry.create("followers", f"{kind}:{tmp_path}/out")
    with pytest.raises(ClaimError, match="another follower"):
        second.position()
    first.close()
    assert second.position() is None
    second.close()


def test_a_path_that_is_about_to_be_left_is_waited_for(tmp_path: Path) -> None:
    first = registry.create("followers", f"jsonl:{tmp_path}/out")
    first.position()
    threading.Timer(0.1, first.close).start()
    second = registry.create("followers", f"jsonl:{tmp_path}/out")
    assert second.position() is None
    second.close()


def test_a_position_file_that_is_broken_is_an_error(tmp_path: Path) -> None:
    put(f"jsonl:{tmp_path}/x", [post(0, 0)])
    (tmp_path / "x.position").write_text("{")
    with pytest.raises(PositionError, match="does not hold a position"):
        put(f"jsonl:{tmp_path}/x", [post(0, 1)])


def test_a_position_file_of_another_kind_is_an_error(tmp_path: Path) -> None:
    put(f"jsonl:{tmp_path}/x", [post(0, 0)])
    with pytest.raises(ConfigError, match="is of 'jsonl'"):
        put(f"csv:{tmp_path}/x", [post(0, 1)])


def test_a_path_through_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="name another path"):
        put(f"jsonl:{tmp_path}/file/x/y", [post(0, 0)])


def test_parquet_files_are_merged_and_few(tmp_path: Path) -> None:
    feed = MemoryFeed(1)
    follower = registry.create("followers", f"parquet:{tmp_path}")
    for offset in range(80):
        feed.add([post(0, offset)])
        catch_up(feed, follower)
    follower.close()
    files = sorted((tmp_path / "posts").iterdir())
    assert len(files) <= 3 * parquet.MERGE_FILES
    table = pyarrow.dataset.dataset(tmp_path / "posts").to_table()
    assert sorted(table.column("log_offset").to_pylist()) == list(range(80))
    manifest = json.loads((tmp_path / "_manifest.json").read_text())
    assert [entry["name"] for entry in manifest["posts"]] == [file.name for file in files]
    assert [entry["rows"] for entry in manifest["posts"]] == [pq.read_metadata(file).num_rows for file in files]
    assert manifest["position"] == {"0": 80}


def test_parquet_files_of_other_columns_are_not_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "MERGE_FILES", 2)
    put(f"parquet:{tmp_path}?fields=id,text", [post(0, 0)])
    put(f"parquet:{tmp_path}?fields=id", [post(0, 1)])
    put(f"parquet:{tmp_path}?fields=id", [post(0, 2)])
    files = sorted((tmp_path / "posts").iterdir())
    assert [pq.read_schema(file).names for file in files] == [["id", "text"], ["id"]]


def test_parquet_merges_stop_at_a_size() -> None:
    files = [{"name": "", "rows": 60, "bytes": parquet.MAX_MERGED_BYTES // 4, "layout": "a"}] * 20
    assert parquet.merge_start(files) is None
    assert parquet.merge_start([{**file, "bytes": 9} for file in files]) == 0


def test_a_parquet_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    put(f"parquet:{tmp_path}", [post(0, 0)])
    for path in (tmp_path / "posts").iterdir():
        path.unlink()
    with pytest.raises(PositionError, match="is missing"):
        put(f"parquet:{tmp_path}", [post(0, 1)])


_SMALL_FILES = """
import resource, sys, threading
from feltwire import following, registry
from tests.followers.feeds import story
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), limits[1]))
failures = []
def observe(step):
    if step.error is not None:
        failures.append(step.error)
        if len(failures) == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
following.FIRST_WAIT_S = 0.001
follower = registry.create("followers", sys.argv[1])
following.follow(story(9, 200), follower, stop=threading.Event(), max_posts=20, once=True, observe=observe)
sys.exit(0 if len(failures) >= 3 else 1)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "room"), [("jsonl", 100_000), ("csv", 40_000), ("parquet", 14_000)])
def test_a_real_limit_is_hit_and_lifted(kind: str, room: int, tmp_path: Path) -> None:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    path = tmp_path / f"posts.{kind}"
    subprocess.run([sys.executable, "-c", _SMALL_FILES, f"{kind}:{path}", str(room)], check=True, timeout=60)
    assert resource.getrlimit(resource.RLIMIT_FSIZE) == limit
    feed = story(9, 200)
    wanted = sorted((r["log_partition"], r["log_offset"]) for r in feed.rows if not feed.hidden(r))
    if kind == "csv":
        found = [(int(row["log_partition"]), int(row["log_offset"])) for row in read_csv(path)]
    elif kind == "jsonl":
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        found = [(row["log_partition"], row["log_offset"]) for row in lines if "withdrawn" not in row]
    else:
        table = pyarrow.dataset.dataset(path / "posts").to_table()
        found = list(zip(table["log_partition"].to_pylist(), table["log_offset"].to_pylist(), strict=True))
    assert sorted(found) == wanted
