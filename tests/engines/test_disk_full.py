"""A full disk under the lake or under the log: everything waits and says so, and goes on when there is room again."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import PROVING
from tests.engines.children import polling, started
from tests.engines.exact import assert_exact
from tests.engines.small_disk import SmallDisk, in_namespace, mounted
from tests.engines.stream import Story, file_source

SEED = 28
FULL = ("No space left on device", "disk is full", "disk full")

pytestmark = [pytest.mark.slow, pytest.mark.prove]


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[SmallDisk | None]:
    """A small disk; None when the test has been run in a namespace of its own instead, and has passed there."""
    try:
        with mounted(tmp_path / "disk") as small:
            yield small
        return
    except PermissionError as error:
        refused = str(error)
    done = in_namespace(request.node.nodeid)
    if done is None:
        pytest.skip(f"THE DISK-FULL PROOF DID NOT RUN: neither mount ({refused}) nor unshare is allowed here")
    assert done.returncode == 0, done.stdout
    yield None


def _is_full(progress: dict[str, Any]) -> bool:
    return any(word in progress["waiting"] for word in FULL)


ALL = [(what, processes) for what in ("lake", "log", "both") for processes in (0, 2)]


@pytest.mark.parametrize("case", ALL if PROVING else [("lake", 2), ("log", 0)])
def test_disk_full_and_room_again(
    tmp_path: Path,
    inbox: Path,
    disk: SmallDisk | None,
    case: tuple[str, int],
    record_property: Callable[[str, object], None],
) -> None:
    """Disk full: taking stops, the progress says why, and with room again it goes on: nothing lost or doubled."""
    if disk is None:
        return
    story = Story(SEED)
    what, processes = case
    lake = (tmp_path if what == "log" else disk.path) / "lake"
    log = (tmp_path if what == "lake" else disk.path) / "log.db"
    story.write(inbox / "0.jsonl", 200)
    plan = {"log": f"sqlite:{log}", "lake": str(lake), "sources": [file_source(inbox)], "processes": processes}
    with started(tmp_path, {"plan": {**plan, "until_idle": True}}) as child:
        assert child.report()["processed"] == 200
    story.write(inbox / "1.jsonl", 4000)
    plan |= {"sources": [file_source(inbox, "mode=replay", "rate=600")], "max_backlog": 1000, "until_idle": True}
    patch = {"chunk_rows": 250, "keep_s": 0.5, "idle_move_s": 0.5, "maintainer": {"withdraw_every_s": 1.0}}
    with started(tmp_path, {"plan": plan, "patch": patch}) as child:
        child.until(lambda progress: progress["processed"] > 0)
        disk.fill()
        child.until(_is_full)
        stuck = _settled(child.observed)
        assert stuck["received"] < 4000
        disk.make_room()
        report = child.report()
        assert report["code"] == 0, report
        assert report["waiting"] == ""
    assert_exact(lake, log, story.truth)
    record_property("records when the disk was full", stuck["received"])


def _settled(observed: Callable[[], list[dict[str, Any]]]) -> dict[str, Any]:
    """The progress once nothing has moved for three reports."""
    for _ in polling(60.0, every_s=0.5):
        last = observed()[-4:]
        if len({(line["received"], line["processed"]) for line in last}) == 1 and len(last) == 4:
            return last[-1]
    raise AssertionError(f"it did not stop taking: {observed()[-4:]}")


def test_a_stop_while_the_disk_is_full(tmp_path: Path, inbox: Path, disk: SmallDisk | None) -> None:
    """Stopped and killed while the disk is full, at rest too: the next start goes on, nothing lost or doubled."""
    if disk is None:
        return
    story = Story(SEED)
    lake, log = disk.path / "lake", tmp_path / "log.db"
    story.write(inbox / "0.jsonl", 500)
    plan = {"log": f"sqlite:{log}", "lake": str(lake), "sources": [file_source(inbox)], "processes": 0}
    patch = {"chunk_rows": 100, "keep_s": 0.2, "idle_move_s": 0.2}
    with started(tmp_path, {"plan": plan, "patch": patch}) as child:
        child.until(lambda progress: progress["processed"] == 500)
        disk.fill()
        for _ in polling(2.0):  # idle on a full disk
            assert child.process.poll() is None, child.errors()
        assert child.stop()["code"] == 0
    story.write(inbox / "1.jsonl", 500)
    with started(tmp_path, {"plan": plan, "patch": patch}) as child:
        child.until(_is_full)
        assert child.stop(20.0)["code"] == 0
    with started(tmp_path, {"plan": plan, "patch": patch}) as child:
        child.until(_is_full)
        child.kill()
    disk.make_room()
    with started(tmp_path, {"plan": {**plan, "until_idle": True}, "patch": patch}) as child:
        assert child.report()["code"] == 0
    assert_exact(lake, log, story.truth)
