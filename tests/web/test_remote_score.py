"""One Feltwire scores through another: the numbers are those that it would have had by itself."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from tests.cli.making import environment, feltwire
from tests.conftest import PROVING

from feltwire.engines import local
from feltwire.lake import open_lake
from feltwire.plan import Plan, SourcePlan
from feltwire.schema import SCORES

POSTS = 100_000 if PROVING else 2_000


class Server:
    """`feltwire serve` in a process of its own, always at the same port."""

    def __init__(self, lake: Path, model: str) -> None:
        self._lake = lake
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._env = environment(FELTWIRE_MODEL__URI=model)
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "feltwire.cli", "serve", "--lake", str(self._lake), "--port", str(self.port)]
        self.process = subprocess.Popen(command, env=self._env, cwd=self._lake.parent, stderr=subprocess.DEVNULL)
        for _ in range(1_200):
            try:
                httpx.get(f"{self.url}/healthz", timeout=1)
                return
            except httpx.TransportError:
                assert self.process.poll() is None
                time.sleep(0.05)
        raise AssertionError("the server did not start")

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def texts(self) -> float:
        lines = httpx.get(f"{self.url}/metrics", timeout=10).text.splitlines()
        return float(next(line for line in lines if line.startswith("feltwire_api_texts_total")).split()[1])


def scored(folder: Path, model: str) -> dict[str, Any]:
    """The scores that a pipeline with this model gives to the simulator's posts, by column, in the order of ids."""
    source = SourcePlan(key="s", uri=f"simulator:?seed=11&rate=50000&count={POSTS}&start=2026-03-01T12:00:00Z")
    plan = Plan(
        log=f"sqlite:{folder}/log.sqlite", sources=(source,), lake=str(folder / "lake"), model=model, until_idle=True,
        processes=0,
    )  # fmt: skip
    local.run(plan, stop=threading.Event())
    names = ", ".join(SCORES.names)
    table = open_lake(str(folder / "lake")).sql(f"select id, {names} from posts order by id, revision")
    return {name: table[name].to_pylist() for name in table.column_names}


@pytest.mark.slow
@pytest.mark.prove
def test_another_feltwire_gives_the_same_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scored by a server that is killed and started again meanwhile: the numbers of the same model in process."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    for name in ("served", "here", "there"):
        (tmp_path / name).mkdir()
    source = "simulator:?count=5&rate=50000&start=2026-03-01T12:00:00Z"
    made = ["run", "--source", source, "--until-idle", "--lake", "lake", "--port", "0"]
    done = feltwire(*made, cwd=tmp_path / "served", timeout_s=200)
    assert done.returncode == 0, done.stderr
    server = Server(tmp_path / "served" / "lake", "bundled:fast")
    outages = []

    def interrupt() -> None:
        for _ in range(3 if PROVING else 1):
            while not server.texts():
                time.sleep(0.02)
            server.kill()
            outages.append(time.monotonic())
            time.sleep(0.5)
            server.start()

    killer = threading.Thread(target=interrupt)
    killer.start()
    try:
        there = scored(tmp_path / "there", f"{server.url}/api/v1/score?batch=32&concurrency=4")
        killer.join(60)
    finally:
        server.kill()
    here = scored(tmp_path / "here", "bundled:fast")
    assert len(outages) == (3 if PROVING else 1)
    assert there["id"] == here["id"]
    for name in SCORES.names:
        compare(name, here[name], there[name])


def compare(name: str, here: list[Any], there: list[Any]) -> None:
    """Equal, up to what the rows beside a row change in its last digits."""
    match next((value for value in here if value is not None), None):
        case float():
            assert [value is None for value in here] == [value is None for value in there]
            known = [(a, b) for a, b in zip(here, there, strict=True) if a is not None]
            first, second = np.array(known).T
            np.testing.assert_allclose(first, second, atol=2e-4, err_msg=name)
        case list():
            for one, other in zip(here, there, strict=True):
                first, second = _placed(name, one), _placed(name, other)
                assert first == second, name
        case _:
            different = sum(a != b for a, b in zip(here, there, strict=True))
            assert different <= len(here) // 10_000, f"{name}: {different} of {len(here)} differ"


def _placed(name: str, listed: list[Any] | None) -> list[Any]:
    """Without probabilities; of entities those with a place, since the others do not go over the wire."""
    key = "text" if name == "entities" else "emoji"
    return [one[key] for one in listed or [] if name != "entities" or one["start"] is not None]
