"""The packed archive on a standalone cluster of two workers that have no Feltwire."""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import PROVING
from tests.engines.children import polling
from tests.engines.exact import assert_exact
from tests.engines.stream import Story, file_source

from feltwire.engines import local
from feltwire.plan import Plan, SourcePlan

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy" / "spark"
SEED = 12

pytestmark = [pytest.mark.slow, pytest.mark.prove]


@contextmanager
def _running(folder: Path, name: str, *words: str) -> Iterator[Path]:
    """A daemon of Spark's with the environment of a machine that has Java alone; its log."""
    import pyspark

    home = Path(pyspark.__file__).parent
    environment = {"PATH": os.environ["PATH"].replace(str(Path(sys.executable).parent), ""), "SPARK_HOME": str(home)}
    environment |= {"SPARK_DAEMON_MEMORY": "256m", "SPARK_LOCAL_IP": "127.0.0.1", "HOME": str(folder)}
    environment |= {key: os.environ[key] for key in ("JAVA_HOME",) if key in os.environ}
    told = folder / f"{name}.log"
    with told.open("wb") as log:
        process = subprocess.Popen(
            [str(home / "bin" / "spark-class"), *words],
            cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        yield told
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _until(told: Path, words: str, times: int = 1) -> None:
    for _ in polling(120):
        if told.read_text(errors="replace").count(words) >= times:
            return
    raise AssertionError(f"{words!r} was not told: {told.read_text(errors='replace')[-2000:]}")


@contextmanager
def _cluster(folder: Path) -> Iterator[str]:
    port = _free_port()
    with ExitStack() as stack:
        at = ["--host", "127.0.0.1", "--port", str(port), "--webui-port", "0"]
        master = stack.enter_context(_running(folder, "master", "org.apache.spark.deploy.master.Master", *at))
        _until(master, "I have been elected leader")
        for number in range(2):
            work = folder / f"worker-{number}"
            words = ["--cores", "1", "--memory", "1g", "--webui-port", "0", "--work-dir", str(work)]
            words += ["--host", "127.0.0.1", f"spark://127.0.0.1:{port}"]
            stack.enter_context(_running(folder, f"worker-{number}", "org.apache.spark.deploy.worker.Worker", *words))
        _until(master, "Registering worker", 2)
        yield f"spark://127.0.0.1:{port}"


def _pack(out: Path) -> None:
    """The archive, made as a user makes it, but for the jars, which the cluster has."""
    words = ["--extras", "spark", "--without-jars", "--level", "0", "--out", str(out)]
    done = subprocess.run(
        [sys.executable, str(DEPLOY / "pack.py"), *words],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_recipes_are_sound() -> None:
    for script in sorted(DEPLOY.glob("*.sh")):
        done = subprocess.run(["sh", "-n", str(script)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_a_system_python_is_not_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("pack", DEPLOY / "pack.py")
    assert spec is not None
    assert spec.loader is not None
    packing: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(packing)
    assert {"feltwire", "pyspark", "deltalake", "pyarrow"} <= packing.distributions("feltwire", ["spark"]).keys()
    assert "pyspark" not in packing.distributions("feltwire", [])
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    with pytest.raises(SystemExit, match="cannot be moved"):
        packing.pack(tmp_path / "env.tar.gz", ["spark"])
    with pytest.raises(SystemExit, match=r"has to end with \.tar\.gz"):
        packing.pack(tmp_path / "env.tar", ["spark"])


@pytest.mark.skipif(not PROVING, reason="packs and unpacks 650 MB three times: FELTWIRE_PROVE=1")
def test_a_cluster_without_feltwire_runs_the_archive(
    tmp_path: Path, inbox: Path, absent: Callable[[str], None], record_property: Callable[[str, object], None]
) -> None:
    """`standalone.sh` with the archive: both workers take part, every record once, the doctor agrees."""
    if shutil.which("java") is None:
        absent("no java on the PATH: apt-get install openjdk-17-jre-headless")
    archive = tmp_path / "feltwire-env.tar.gz"
    _pack(archive)
    story = Story(SEED)
    story.write(inbox / "0.jsonl", 20_000)
    log, lake = tmp_path / "lake-log.sqlite", tmp_path / "lake"
    sources = (SourcePlan(**file_source(inbox)),)
    local.run(Plan(log=f"sqlite:{log}", sources=sources, until_idle=True), stop=threading.Event())
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "FELTWIRE", "SPARK"))}
    clean |= {"DRIVER_PYTHON": sys.executable, "PYTHONPATH": str(ROOT / "src"), "SPARK_LOCAL_IP": "127.0.0.1"}
    with _cluster(tmp_path) as master:
        words = ["sh", str(DEPLOY / "standalone.sh"), master, str(archive), "--until-idle"]
        done = subprocess.run(
            [*words, "--lake", str(lake), "--model", "bundled:fast"],
            cwd=tmp_path, env=clean, capture_output=True, text=True, check=False, timeout=1_500,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        taken = [len(list((tmp_path / f"worker-{number}").glob("app-*/*/env/bin/python"))) for number in range(2)]
    assert taken == [1, 1], "each executor has unpacked the archive once"
    assert "20,000 records processed" in done.stderr
    assert_exact(lake, log, story.truth)
    record_property("archive_mb", archive.stat().st_size // 10**6)
