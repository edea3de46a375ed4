"""Fixtures of the tests against services."""

from pathlib import Path

import pytest


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """A folder for a `file:` source; its files are read in the order of their names."""
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder
