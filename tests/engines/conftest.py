"""Fixtures of the proofs with real processes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engines.children import Forge


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    """Fresh processes within milliseconds."""
    forge = Forge(tmp_path_factory.mktemp("forge"))
    yield forge
    forge.close()


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """A folder for a `file:` source; its files are read in the order of their names."""
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder
