"""Another version of the model is promoted while the engine runs: it takes over between two batches, and no post is
lost, doubled or scored half by each."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from tests.bundles.versions import TINY, tiny
from tests.engines.children import polling
from tests.engines.exact import assert_exact
from tests.engines.stream import Story

from feltwire import loading, metrics
from feltwire.engines import _engine, _processing, local
from feltwire.lake import open_lake
from feltwire.models import _store
from feltwire.models._places import FolderPlace
from feltwire.plan import Plan, Progress, Report, SourcePlan

SEED = 77

pytestmark = pytest.mark.slow


class Running:
    """The local engine in a thread."""

    def __init__(self, plan: Plan) -> None:
        self.processed = 0
        self.report: Report | None = None
        self.error: Exception | None = None
        self.stop = threading.Event()
        self._plan = plan
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.report = local.run(self._plan, stop=self.stop, observe=self._observe)
        except Exception as error:  # noqa: BLE001 - told by the thread that asks
            self.error = error

    def _observe(self, progress: Progress) -> None:
        self.processed = progress.processed

    def until(self, done: Callable[[], bool]) -> None:
        for _ in polling(60.0):
            assert self.error is None
            if done():
                return
        self.stop.set()
        raise AssertionError(f"it did not come to that: {self.processed} processed")

    def end(self) -> Report:
        self._thread.join(120.0)
        assert self.error is None
        assert self.report is not None
        return self.report


@pytest.fixture
def shelf(tmp_path: Path) -> FolderPlace:
    """Two versions, the first promoted."""
    place = FolderPlace(tmp_path / "registry")
    _store.add(place, TINY)
    _store.add(place, tiny(tmp_path / "second"))
    _store.promote(place, "tiny", "1")
    return place


@pytest.fixture
def story(inbox: Path, monkeypatch: pytest.MonkeyPatch) -> Story:
    """1,500 records that come within about six seconds, and batches of 50."""
    monkeypatch.setattr(loading, "CHECK_S", 0.1)
    monkeypatch.setattr(_engine, "_REPORT_S", 0.1)
    monkeypatch.setattr(_processing, "CHUNK_ROWS", 50)
    monkeypatch.setattr(_processing, "CALM_S", 0.05)
    story = Story(SEED)
    story.write(inbox / "0.jsonl", 1500)
    return story


def plan_of(tmp_path: Path, inbox: Path, shelf: FolderPlace, processes: int) -> Plan:
    return Plan(
        log=f"sqlite:{tmp_path / 'log.db'}",
        sources=(SourcePlan(key="file", uri=f"file:{inbox}?mode=replay&rate=250"),),
        lake=str(tmp_path / "lake"),
        model=f"registry:tiny?at={shelf.where}",
        processes=processes,
        until_idle=True,
        maintain=False,
    )


def served(lake: Path) -> list[str]:
    """The models in the order of the log, each as often as it took over."""
    rows = open_lake(str(lake)).sql("select model from posts_all where scored order by log_offset").to_pylist()
    return [model for model, _ in groupby(row["model"] for row in rows)]


def models_of_files(lake: Path) -> list[set[str]]:
    """For each file of `posts`, which is what one batch wrote, the models in it."""
    files = DeltaTable(str(lake / "posts")).file_uris()
    return [set(pq.ParquetFile(file).read(["model"])["model"].drop_null().to_pylist()) for file in files]


@pytest.mark.parametrize("processes", [0, 2])
def test_promoted_and_rolled_back_in_mid_stream(
    tmp_path: Path, inbox: Path, shelf: FolderPlace, story: Story, processes: int
) -> None:
    engine = Running(plan_of(tmp_path, inbox, shelf, processes))
    try:
        engine.until(lambda: engine.processed >= 150)
        _store.promote(shelf, "tiny", "2")
        before = engine.processed
        engine.until(lambda: engine.processed >= before + 500)
        _store.rollback(shelf, "tiny")
        engine.end()
    finally:
        engine.stop.set()
    assert_exact(tmp_path / "lake", tmp_path / "log.db", story.truth)
    assert served(tmp_path / "lake") == ["tiny@1", "tiny@2", "tiny@1"]
    assert all(len(models) <= 1 for models in models_of_files(tmp_path / "lake"))


def test_a_version_that_is_no_use_does_not_stop_the_stream(
    tmp_path: Path, inbox: Path, shelf: FolderPlace, story: Story, caplog: pytest.LogCaptureFixture
) -> None:
    engine = Running(plan_of(tmp_path, inbox, shelf, 0))
    try:
        engine.until(lambda: engine.processed >= 150)
        _store.promote(shelf, "tiny", "2")
        (Path(shelf.where) / "tiny" / "2" / "model.onnx").unlink()
        (Path(shelf.where) / "tiny" / "2" / "tokenizer.json").unlink()
        time.sleep(0.5)
        engine.end()
    finally:
        engine.stop.set()
    assert_exact(tmp_path / "lake", tmp_path / "log.db", story.truth)
    told = [record for record in caplog.records if "goes on" in record.message]
    assert len(told) <= 1
    assert set(served(tmp_path / "lake")) <= {"tiny@1", "tiny@2"}


def test_what_models_count_in_other_processes_arrives(
    tmp_path: Path, inbox: Path, shelf: FolderPlace, story: Story
) -> None:
    """Every scored post counts once, whoever worked on it; and `auto:` follows the registry too."""

    def counted() -> dict[str, float]:
        return {who: metrics.AUTO_TEXTS.labels(scored_by=who)._value.get() for who in ("fast", "base")}

    before = counted()
    model = f"auto:?fast=registry:tiny?at={shelf.where}&base={TINY}&threshold=0.6"
    engine = Running(replace(plan_of(tmp_path, inbox, shelf, 2), model=model))
    try:
        engine.until(lambda: engine.processed >= 300)
        _store.promote(shelf, "tiny", "2")
        engine.end()
    finally:
        engine.stop.set()
    rows = open_lake(str(tmp_path / "lake")).sql("select model, log_offset from posts_all where scored").to_pylist()
    assert sum(counted()[who] - before[who] for who in before) == len(rows)
    assert all(counted()[who] > before[who] for who in before)
    firsts = {model: min(row["log_offset"] for row in rows if row["model"] == model) for model in ("tiny@1", "tiny@2")}
    assert firsts["tiny@1"] < firsts["tiny@2"]
