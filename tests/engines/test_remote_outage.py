"""A remote model that goes away and comes back: posts wait in the log, ingest goes on, and no post dies of it."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.engines.children import polling, started
from tests.engines.exact import assert_exact
from tests.engines.stream import Story, file_source
from tests.models.far_side import FarSide, Reply, as_feltwire

from feltwire.engines import local
from feltwire.lake import open_lake
from feltwire.plan import Plan, Progress, Report, SourcePlan

DEADLINE_S = 60.0


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FarSide]:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    far = FarSide()
    yield far
    far.close()


class Running:
    """The local engine in a thread."""

    def __init__(self, folder: Path, inbox: Path, model: str) -> None:
        source = file_source(inbox, "mode=follow")
        plan = Plan(
            log=f"sqlite:{folder / 'log.db'}",
            lake=str(folder / "lake"),
            sources=(SourcePlan(**source),),
            model=model,
            processes=0,
        )
        self.progress = Progress()
        self.reports: list[Report] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: self.reports.append(self._run(plan)))
        self._thread.start()

    def until(self, condition: Callable[[Progress], bool]) -> None:
        for _ in polling(DEADLINE_S):
            if condition(self.progress):
                return
            assert self._thread.is_alive(), "it ended"
        raise AssertionError(f"last came {self.progress}")

    def end(self) -> Report:
        self._stop.set()
        self._thread.join(DEADLINE_S)
        (report,) = self.reports
        return report

    def _run(self, plan: Plan) -> Report:
        return local.run(plan, stop=self._stop, observe=lambda progress: setattr(self, "progress", progress))


def scored_by_all(folder: Path) -> list[dict[str, Any]]:
    query = "select scored, model, count(*) n from posts where length(text) > 0 group by 1, 2"
    rows: list[dict[str, Any]] = open_lake(str(folder / "lake")).sql(query).to_pylist()
    return rows


@pytest.mark.slow
def test_posts_wait_while_it_is_away(
    tmp_path: Path, inbox: Path, far: FarSide, caplog: pytest.LogCaptureFixture
) -> None:
    story = Story(4, mess=0.0)
    running = Running(tmp_path, inbox, f"{far.url}?batch=8&patience=0.2")
    try:
        story.write(inbox / "0.jsonl", 60)
        running.until(lambda progress: progress.processed == 60)
        far.stop()
        story.write(inbox / "1.jsonl", 90)
        running.until(lambda progress: progress.received == 150 and progress.lag > 0 and bool(progress.waiting))
        assert "the model at http://127.0.0.1" in running.progress.waiting
        story.write(inbox / "2.jsonl", 30)
        running.until(lambda progress: progress.received == 180)
        assert running.progress.processed == 60
        far.start()
        running.until(lambda progress: progress.processed == 180 and not progress.waiting)
    finally:
        report = running.end()
    assert report.lag == 0
    assert_exact(tmp_path / "lake", tmp_path / "log.db", story.truth)
    assert scored_by_all(tmp_path) == [{"scored": True, "model": "far@1", "n": 180}]
    assert "I love" not in caplog.text


@pytest.mark.slow
def test_it_is_away_when_the_engine_starts(tmp_path: Path, inbox: Path, far: FarSide) -> None:
    story = Story(5)
    far.stop()
    story.write(inbox / "0.jsonl", 40)
    running = Running(tmp_path, inbox, f"{far.url}?patience=0.2")
    try:
        running.until(lambda progress: progress.received > 0 and bool(progress.waiting))
        far.start()
        running.until(lambda progress: progress.processed >= 40 and not progress.lag)
    finally:
        running.end()
    assert_exact(tmp_path / "lake", tmp_path / "log.db", story.truth)


@pytest.mark.slow
def test_killed_while_it_is_away(tmp_path: Path, inbox: Path, far: FarSide) -> None:
    story = Story(6)
    plan = {
        "log": f"sqlite:{tmp_path / 'log.db'}",
        "lake": str(tmp_path / "lake"),
        "sources": [file_source(inbox)],
        "model": f"{far.url}?batch=4&patience=0.2",
        "processes": 0,
    }
    far.delay_s = 0.01
    story.write(inbox / "0.jsonl", 100)
    with started(tmp_path, {"plan": plan}) as child:
        child.until(lambda progress: bool(progress["received"] >= 60))
        far.stop()
        story.write(inbox / "1.jsonl", 100)
        child.kill()
    with started(tmp_path, {"plan": plan}) as child:
        child.until(lambda progress: bool(progress["lag"] >= 90 and progress["waiting"]))
        child.kill()
    far.start()
    with started(tmp_path, {"plan": plan}) as child:
        child.until(lambda progress: bool(progress["received"] or progress["processed"]))
        child.kill()
    story.write(inbox / "2.jsonl", 20)
    with started(tmp_path, {"plan": {**plan, "until_idle": True}}) as child:
        assert child.report()["code"] == 0
    assert_exact(tmp_path / "lake", tmp_path / "log.db", story.truth)


@pytest.mark.slow
def test_a_refused_post_is_a_dead_letter_and_a_reached_limit_waits(tmp_path: Path, inbox: Path, far: FarSide) -> None:
    def reply(document: Any) -> Reply:
        return (422, {}) if any("Monday" in text for text in document["texts"]) else as_feltwire(document)

    far.reply = reply
    story = Story(7, mess=0.0)
    story.write(inbox / "0.jsonl", 40)
    running = Running(tmp_path, inbox, f"{far.url}?batch=8")
    try:
        running.until(lambda progress: progress.processed == 40)
    finally:
        running.end()
    lake = open_lake(str(tmp_path / "lake"))
    dead = lake.sql("select distinct reason from dead_letters")["reason"].to_pylist()
    assert dead == ["model: far@1 refused it: HTTP 422"]
    assert lake.sql("select count(*) n from dead_letters")["n"][0].as_py() == sum(
        "Monday" in text for text in story.truth.texts.values()
    )
    assert (
        lake.sql("select count(*) n from posts where scored")["n"][0].as_py()
        + len(lake.sql("select id from dead_letters"))
        == 40
    )

    far.reply = as_feltwire
    story.write(inbox / "1.jsonl", 40)
    limited = f"{far.url}?batch=8&spend_limit=0.002&cost_per_1000=1&spend_period=total"
    running = Running(tmp_path, inbox, limited)
    try:
        running.until(lambda progress: progress.received == 40 and "the spend limit of 0.002" in progress.waiting)
        assert running.progress.processed == 0
    finally:
        running.end()
    running = Running(tmp_path, inbox, limited.replace("0.002", "2"))
    try:
        running.until(lambda progress: progress.processed == 40)
    finally:
        running.end()
