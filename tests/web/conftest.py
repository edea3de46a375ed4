"""One lake of simulated posts for all tests that only ask, and servers over it."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.web.serving import served, serving

from feltwire.engines import local
from feltwire.plan import Plan, SourcePlan
from feltwire.tracks import Track
from feltwire.web.app import State

TRACKS = (Track("airline", "larkwing OR #larkwingfail"), Track("others", "-larkwing"))


@pytest.fixture(scope="session")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake of the simulator's first records."""
    folder = tmp_path_factory.mktemp("served")
    source = SourcePlan(key="simulator", uri="simulator:?count=500&rate=50000&start=2026-03-01T12:00:00Z")
    plan = Plan(
        log=f"sqlite:{folder}/lake-log.sqlite", sources=(source,), lake=str(folder / "lake"), model="lexicon:vader",
        tracks=TRACKS, until_idle=True, processes=0,
    )  # fmt: skip
    local.run(plan, stop=threading.Event())
    return folder / "lake"


@pytest.fixture(autouse=True)
def _no_page_in_the_making() -> Iterator[None]:
    """Wait for the threads that make a page: what they import is rewritten by pytest, which takes one at a time."""
    yield
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.cancel()
            thread.join(120)


@pytest.fixture
def own_lake(lake: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(lake, tmp_path / "lake"))


@pytest.fixture(scope="session")
def api(lake: Path) -> Iterator[httpx.Client]:
    """A server without tokens over the lake; ask, do not change."""
    with serving(State(lake=served(lake), model="lexicon:vader", tracks=TRACKS)) as client:
        yield client
