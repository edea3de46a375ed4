"""One lake of simulated posts for all tests that only ask, and servers over it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.cli.making import feltwire
from tests.web.serving import served, serving

from feltwire.tracks import Track
from feltwire.web.app import State


@pytest.fixture(scope="session")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake of the simulator's first records."""
    folder = tmp_path_factory.mktemp("served")
    done = feltwire(
        "run", "--source", "simulator:?count=500&rate=50000&start=2026-03-01T12:00:00Z", "--until-idle",
        "--track", "airline=larkwing OR #larkwingfail", "--track", "others=-larkwing",
        "--lake", str(folder / "lake"), "--port", "0", cwd=folder, timeout_s=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "lake"


@pytest.fixture
def own_lake(lake: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(lake, tmp_path / "lake"))


@pytest.fixture(scope="session")
def api(lake: Path) -> Iterator[httpx.Client]:
    """A server without tokens over the lake; ask, do not change."""
    tracks = (Track("airline", "larkwing OR #larkwingfail"), Track("others", "-larkwing"))
    with serving(State(lake=served(lake), model="lexicon:vader", tracks=tracks)) as client:
        yield client
