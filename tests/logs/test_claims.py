"""Locks between processes: what stands in their way is one line, and never a raw error of the system."""

import fcntl
from pathlib import Path

import pytest

from feltwire.errors import ClaimError, LogError
from feltwire.logs._claims import held


def test_who_holds_it_is_named(tmp_path: Path) -> None:
    with (
        held(tmp_path / "a.lock", what="partition 0"),
        pytest.raises(ClaimError, match="partition 0 is held by process"),
        held(tmp_path / "a.lock", what="partition 0"),
    ):
        pass
    with held(tmp_path / "a.lock", what="partition 0"):
        pass


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LogError, match=r"cannot open the lock file .*claims/a.lock"):  # noqa: SIM117
        with held(tmp_path / "file" / "claims" / "a.lock", what="it"):
            pass


def test_a_file_system_without_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(handle: int, how: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(LogError, match=r"cannot lock the file .*a.lock: No locks available"):  # noqa: SIM117
        with held(tmp_path / "a.lock", what="it"):
            pass
