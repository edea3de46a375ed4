"""Backfills in this process: of a source in memory, by the local engine."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.backfill.twin import Memory

from feltwire import registry
from feltwire.backfill.pull import Estimate, Task, estimate, searchable
from feltwire.backfill.run import Backfill, Report
from feltwire.backfill.slices import Slice, cut
from feltwire.backfill.staging import Folder, Scores, Staged
from feltwire.errors import ClaimError, ConfigError, DestinationError, FatalError
from feltwire.interfaces import Searchable
from feltwire.lake import open_lake
from feltwire.plan import Plan

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
POSTS = [(str(n), f"post {n}", START + n * timedelta(minutes=7)) for n in range(26)]  # three hours


@pytest.fixture
def source() -> Memory:
    return Memory(POSTS)


def task_of(source: Searchable, folder: Path, **more: Any) -> Task:
    slices = tuple(cut(START, START + 3 * HOUR, "30min"))
    return Task(source=source, slices=slices, staging=Folder(str(folder / "staging")), parallel=3, **more)


def run(task: Task, folder: Path, lake: str = "lake", **plan: Any) -> Report:
    given = {"log": f"sqlite:{folder / lake}.db", "lake": str(folder / lake), "model": "none:", "processes": 0, **plan}
    return Backfill(task, Folder(str(folder / "sentiments")), Plan(**given)).run()


def ids(folder: Path, lake: str = "lake") -> list[int]:
    found = open_lake(str(folder / lake)).sql("select id from posts_all")["id"].to_pylist()
    return sorted(int(key.removeprefix("memory:")) for key in found)


@pytest.mark.slow
def test_every_post_of_the_period_once(source: Memory, tmp_path: Path) -> None:
    report = run(task_of(source, tmp_path), tmp_path)
    assert (report.slices, report.pulled, report.finished, report.posts, report.new) == (6, 6, 6, 26, 26)
    assert ids(tmp_path) == list(range(26))
    assert sorted(source.searched) == [START + n * HOUR / 2 for n in range(6)]
    staged = [msgspec.json.decode(path.read_bytes(), type=Staged) for path in (tmp_path / "staging").glob("*.json")]
    assert sorted((one.start, one.end) for one in staged) == [
        (s.start, s.end) for s in task_of(source, tmp_path).slices
    ]
    assert sum(len(json.loads(bytes(page))) for one in staged for page in one.pages) == 26
    scores = [msgspec.json.decode(path.read_bytes(), type=Scores) for path in (tmp_path / "sentiments").glob("*.json")]
    assert sorted(int(post["id"].removeprefix("memory:")) for one in scores for post in one.posts) == list(range(26))
    assert "text" not in scores[0].posts[0]
    # Again: nothing is asked for, nothing is stored; without the files all is pulled, and nothing is new.
    assert run(task_of(source, tmp_path), tmp_path).finished == 6
    assert len(source.searched) == 6
    for path in [*(tmp_path / "staging").iterdir(), *(tmp_path / "sentiments").iterdir()]:
        path.unlink()
    report = run(task_of(source, tmp_path), tmp_path, log_options={"recent_h": 0})
    assert (report.finished, report.posts, report.new) == (6, 26, 0)
    assert ids(tmp_path) == list(range(26))
    # Another lake is filled from what is staged.
    assert run(task_of(source, tmp_path), tmp_path, "other").new == 26
    assert len(source.searched) == 12
    assert ids(tmp_path, "other") == list(range(26))


@pytest.mark.slow
def test_what_failed_is_tried_again_and_nothing_else(source: Memory, tmp_path: Path) -> None:
    tries: dict[datetime, int] = {}

    def fail(start: datetime) -> None:
        tries[start] = tries.get(start, 0) + 1
        if start.hour == 1 and start.minute == 0 and tries[start] < 3:
            raise FatalError("no such thing")
        if start.hour == 2 and start.minute == 0 and tries[start] < 2:
            raise FatalError("passing")

    source.before = fail
    report = run(task_of(source, tmp_path), tmp_path)
    assert (report.finished, list(report.failed.values())) == (5, ["no such thing"])
    assert run(task_of(source, tmp_path), tmp_path).finished == 6
    assert sorted(tries.values()) == [1, 1, 1, 1, 2, 3]
    assert ids(tmp_path) == list(range(26))


@pytest.mark.slow
def test_a_damaged_file_is_pulled_again(source: Memory, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    task = task_of(source, tmp_path)
    (tmp_path / "staging").mkdir()
    (tmp_path / "staging" / f"{task.name(task.slices[2])}.json").write_text('{"source": "mem')
    assert run(task, tmp_path).finished == 6
    assert ids(tmp_path) == list(range(26))
    assert "damaged" in caplog.text


@pytest.mark.slow
def test_where_nothing_can_be_pulled_it_gives_up(source: Memory, tmp_path: Path) -> None:
    def fail(start: datetime) -> None:
        raise FatalError("refused")

    source.before = fail
    with pytest.raises(FatalError, match="refused"):
        run(task_of(source, tmp_path), tmp_path)
    assert len(source.searched) <= 6


def test_a_limit_is_a_question_of_its_own(source: Memory, tmp_path: Path) -> None:
    task = task_of(source, tmp_path, limit=3)
    assert task.key != task_of(source, tmp_path).key
    pages = [page for page in source.search(START, START + HOUR, limit=3) if page]
    assert source.parse(pages, limit=3).num_rows == 3


def test_an_estimate_is_the_least_that_is_known(source: Memory, tmp_path: Path) -> None:
    task = task_of(source, tmp_path)
    assert estimate(task, task.slices) == Estimate(6, 26, 13.0)
    assert estimate(task, task.slices[::2]).posts == 13
    limited = task_of(source, tmp_path, limit=2)
    assert estimate(limited, task.slices) == Estimate(6, 12, 6.0)
    assert estimate(task, []) == Estimate(0, 0, 0.0)
    unknown = Memory(POSTS, counts=False)
    assert estimate(task_of(unknown, tmp_path), task.slices) == Estimate(6, None, None, "it does not say")
    assert estimate(task_of(unknown, tmp_path, limit=2), task.slices).posts == 12


def test_a_source_that_cannot_be_searched() -> None:
    with pytest.raises(ConfigError, match="simulator: cannot be asked for a period"):
        searchable(registry.create("sources", "simulator:"), "simulator:")


def test_one_backfill_at_a_time_in_a_folder(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path / "staging"))
    with folder.held(), pytest.raises(ClaimError, match="another backfill"), Folder(str(tmp_path / "staging")).held():
        pass
    (tmp_path / "staging" / ".a.json.77.part").write_text("half")
    with folder.held():
        assert folder.names() == set()
    assert [path.name for path in (tmp_path / "staging").iterdir()] == [".lock"]


def test_a_file_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(str(tmp_path / "a" / "b"))
    assert folder.names() == set()
    folder.write("one", b"1")
    folder.write("one", b"11")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DestinationError, match="No space left"):
        folder.write("two", b"2")
    assert (folder.names(), folder.read("one")) == ({"one"}, b"11")
    with pytest.raises(ConfigError, match="expected a folder or s3"):
        Folder("gs://bucket/x")


def test_names_of_slices_sort_as_slices() -> None:
    slices = [Slice(START + n * HOUR, START + (n + 1) * HOUR) for n in range(30)]
    assert sorted(one.name for one in slices) == [one.name for one in slices]


@pytest.mark.slow
def test_a_full_disk_is_waited_out(source: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was pulled is written when there is room again; scores are waited for."""
    write, full = Folder.write, [2, 2]

    def sometimes(self: Folder, name: str, content: bytes) -> None:
        kind = int(self.path.endswith("sentiments"))
        if full[kind]:
            full[kind] -= 1
            raise DestinationError("No space left on device")
        write(self, name, content)

    monkeypatch.setattr(Folder, "write", sometimes)
    monkeypatch.setattr("feltwire.backfill.pull._STAGE_WAITS_S", (0.01, 0.01))
    assert run(task_of(source, tmp_path), tmp_path).finished == 6
    assert full == [0, 0]
    assert len(source.searched) == 6
    assert ids(tmp_path) == list(range(26))
