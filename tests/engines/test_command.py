"""The command itself, killed, interrupted and started twice."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import PROVING
from tests.engines.children import polling
from tests.engines.exact import assert_exact
from tests.engines.stream import Story

from feltwire.logs.sqlite import Options, SqliteLog

SEED = 3
KILLS = 30 if PROVING else 3
RECORDS_A_KILL = 3_000
STOP_S = 15.0

pytestmark = [pytest.mark.slow, pytest.mark.prove]


def _command(folder: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "feltwire.cli", *words, "--lake", str(folder / "lake")]


def _run(folder: Path, *words: str) -> "subprocess.Popen[str]":
    """`feltwire run`, in a folder without settings."""
    return subprocess.Popen(
        _command(folder, "run", "--port", "0", *words),
        cwd=folder,
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def _doctor(folder: Path) -> str:
    done = subprocess.run(_command(folder, "doctor"), cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _log(folder: Path) -> Path:
    (found,) = folder.glob("lake-log.sqlite")
    return found


def test_the_command_is_killed(tmp_path: Path, inbox: Path, record_property: Callable[[str, object], None]) -> None:
    """`feltwire run` killed at random instants and run to its end: every post exactly once, and the doctor agrees."""
    dice = random.Random(SEED)
    story = Story(SEED)
    words = ("--source", f"file:{inbox}", "--until-idle")
    for kill in range(KILLS):
        story.write(inbox / f"{kill:03}.jsonl", RECORDS_A_KILL)
        with _run(tmp_path, *words) as child:
            time.sleep(1.0 + 3.0 * dice.random())
            child.kill()
    with _run(tmp_path, *words) as child:
        _, errors = child.communicate(timeout=300)
    assert child.returncode == 0, errors
    assert_exact(tmp_path / "lake", _log(tmp_path), story.truth)
    _doctor(tmp_path)
    record_property("seed", SEED)
    record_property("kills", KILLS)


@pytest.mark.parametrize("ask", [signal.SIGINT, signal.SIGTERM])
def test_the_command_is_asked_to_stop(tmp_path: Path, ask: signal.Signals) -> None:
    """Stopped in full flight it ends by itself, and soon; a second one beside it is refused and told by whom."""
    words = ("--source", "simulator:?rate=500")
    with _run(tmp_path, *words) as child:
        for _ in polling(60.0):
            if (tmp_path / "lake" / "ledger").is_dir() and _received(tmp_path) > 500:
                break
            assert child.poll() is None
        with _run(tmp_path, *words) as second:
            _, errors = second.communicate(timeout=60)
        assert second.returncode not in (0, None)
        assert f"process {child.pid}" in errors
        assert "Traceback" not in errors
        child.send_signal(ask)
        began = time.monotonic()
        _, errors = child.communicate(timeout=60)
        assert time.monotonic() - began < STOP_S
    assert child.returncode in (0, 128 + ask), errors
    assert "Traceback" not in errors
    _doctor(tmp_path)


def _received(folder: Path) -> int:
    with SqliteLog(_log(folder), Options()) as log:
        return sum(log.ends().values())
