"""One small lake for all tests that only ask."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.making import feltwire, write_posts


@pytest.fixture(scope="session", autouse=True)
def _vader() -> Iterator[None]:
    """Scores that can be followed by hand, and no model to load in each of many processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FELTWIRE_MODEL__URI", "lexicon:vader")
        yield


@pytest.fixture(scope="session")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake of five posts and a dead letter; ask, do not change."""
    folder = tmp_path_factory.mktemp("asked")
    posts = write_posts(folder)
    done = feltwire(
        "run", "--source", f"file:{posts}", "--track", "airline=#larkwing", "--track", "rest=-#larkwing",
        "--until-idle", "--lake", str(folder / "lake"), "--port", "0", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "lake"
