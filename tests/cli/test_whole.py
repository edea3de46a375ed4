"""The real thing: processes that run, are killed, and go on."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest
from tests.cli.making import environment, feltwire, write_posts
from tests.engines.children import polling

pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start(*arguments: str, cwd: Path, **more: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "feltwire.cli", *arguments],
        cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment(**more), start_new_session=True,
    )  # fmt: skip


def wait_for_line(process: "subprocess.Popen[str]") -> str:
    """The first line that a process writes; from then on it listens to signals."""
    return wait_for(process, "")


def wait_for(process: "subprocess.Popen[str]", text: str) -> str:
    """The next line that has a text in it."""
    assert process.stdout is not None
    while True:
        line = process.stdout.readline()
        assert line, process.communicate(timeout=60)
        if text in line:
            return line


def wait_for_posts(cwd: Path, lake: str = "feltwire-data/demo", timeout_s: float = 120.0) -> int:
    """How many posts the lake has, as soon as it has one."""
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        done = feltwire("sql", "select count(*) n from posts", "--json", "--lake", lake, cwd=cwd)
        if done.returncode == 0 and (found := int(json.loads(done.stdout)[0]["n"])):
            return found
        time.sleep(0.5)
    raise AssertionError(f"no post in {lake} after {timeout_s} s: {done.stdout}{done.stderr}")


def count(cwd: Path, query: str, lake: str = "feltwire-data/demo") -> int:
    done = feltwire("sql", query, "--json", "--lake", lake, cwd=cwd)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    return int(next(iter(row.values())))


def assert_whole(cwd: Path, lake: str) -> None:
    done = feltwire("doctor", "--lake", lake, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr


def test_demo_is_killed_and_goes_on(tmp_path: Path) -> None:
    first = start("demo", "--rate", "300", cwd=tmp_path, FELTWIRE_SERVE__PORT="0")
    wait_for_line(first)
    wait_for_posts(tmp_path)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate(timeout=60)
    before = count(tmp_path, "select count(*) from posts")

    done = feltwire("demo", "--seconds", "12", "--rate", "300", cwd=tmp_path, env=environment(FELTWIRE_SERVE__PORT="0"))
    assert done.returncode == 0, done.stderr
    assert "mood" in done.stdout
    assert "The lake is at feltwire-data/demo" in done.stderr
    finished = feltwire("process", "--until-idle", "--lake", "feltwire-data/demo", cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert_whole(tmp_path, "feltwire-data/demo")
    kept = count(tmp_path, "select sum(kept) from ledger")
    assert kept > before
    status = json.loads(feltwire("status", "--json", "--lake", "feltwire-data/demo", cwd=tmp_path).stdout)
    assert status["lag"] == 0
    twice = "select count(*) from (select id, revision from posts group by 1, 2 having count(*) > 1)"
    assert count(tmp_path, twice) == 0


def test_ingest_and_process_are_two_halves(tmp_path: Path) -> None:
    source = "simulator:?count=3000&rate=50000&start=2026-03-01T12:00:00Z"
    ingested = feltwire("ingest", "--source", source, "--lake", "lake", cwd=tmp_path)
    assert ingested.returncode == 0, ingested.stderr
    assert "3,000 records received" in ingested.stderr
    assert not (tmp_path / "lake").exists()
    processed = feltwire("process", "--until-idle", "--lake", "lake", "--json", cwd=tmp_path)
    assert processed.returncode == 0, processed.stderr
    assert "3,000 records processed" in processed.stderr
    assert_whole(tmp_path, "lake")

    again = start("process", "--lake", "lake", cwd=tmp_path)
    wait_for(again, "nothing new")
    again.send_signal(signal.SIGTERM)
    _, err = again.communicate(timeout=60)
    assert again.returncode == 0, err


def test_a_second_worker_is_refused(tmp_path: Path) -> None:
    first = start("run", "--source", "simulator:?rate=50", "--lake", "lake", "--port", "0", cwd=tmp_path)
    try:
        wait_for_line(first)
        second = feltwire("process", "--lake", "lake", "--until-idle", cwd=tmp_path)
        assert second.returncode == 1
        assert second.stderr.count("\n") == 1
        assert "partition 0" in second.stderr
    finally:
        first.send_signal(signal.SIGINT)
        _, err = first.communicate(timeout=60)
    assert first.returncode == 0, err
    assert_whole(tmp_path, "lake")


def test_a_post_is_withdrawn_and_another_corrected(tmp_path: Path) -> None:
    posts = write_posts(tmp_path)
    run = ("run", "--source", f"file:{posts.name}", "--until-idle", "--lake", "lake", "--port", "0")
    assert feltwire(*run, cwd=tmp_path).returncode == 0
    rows = json.loads(feltwire("sql", "select id, text from posts", "--json", "--lake", "lake", cwd=tmp_path).stdout)
    gone, wrong = rows[0]["id"], rows[1]["id"]
    assert feltwire("withdraw", gone, "--lake", "lake", cwd=tmp_path).returncode == 0
    assert feltwire(*run, cwd=tmp_path).returncode == 0
    assert count(tmp_path, f"select count(*) from posts where id = '{gone}'", "lake") == 0
    assert count(tmp_path, "select count(*) from posts", "lake") == len(rows) - 1
    done = feltwire("correct", wrong, "sentiment", "neutral", "--by", "amy", "--lake", "lake", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    query = "select post_id, field, value, by from corrections"
    assert json.loads(feltwire("sql", query, "--json", "--lake", "lake", cwd=tmp_path).stdout) == [
        {"post_id": wrong, "field": "sentiment", "value": "neutral", "by": "amy"}
    ]
    assert_whole(tmp_path, "lake")


def test_followers_of_a_run_get_everything(tmp_path: Path) -> None:
    received: list[int] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(len(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    posts = write_posts(tmp_path)
    (tmp_path / "feltwire.toml").write_text(
        f'[lake]\npath = "lake"\n[[sources]]\nuri = "file:{posts.name}"\n'
        '[[followers]]\nname = "sheet"\nuri = "csv:out.csv"\n'
        f'[[followers]]\nname = "hook"\nuri = "webhook:http://127.0.0.1:{server.server_port}/"\nstate = "hook"\n'
        '[[followers]]\nname = "later"\nuri = "jsonl:later.jsonl"\n',
        encoding="utf-8",
    )
    try:
        done = feltwire("run", "--until-idle", "--port", "0", cwd=tmp_path)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert done.returncode == 0, done.stderr
    assert received
    assert (tmp_path / "out.csv").read_text(encoding="utf-8").count("\n") >= 6
    followed = feltwire("follow", "later", "--once", cwd=tmp_path)
    assert followed.returncode == 0, followed.stderr
    assert len((tmp_path / "later.jsonl").read_text(encoding="utf-8").splitlines()) == 5
    status = json.loads(feltwire("status", "--json", cwd=tmp_path).stdout)
    assert {one["name"]: one["lag"] for one in status["followers"]}["later"] == 0
    unknown = feltwire("follow", "nobody", cwd=tmp_path)
    assert (unknown.returncode, unknown.stderr) == (
        2, "feltwire: unknown follower 'nobody': the settings have sheet, hook, later\n",
    )  # fmt: skip


def test_serve_shows_a_lake_and_stops_cleanly(lake: Path) -> None:
    port = free_port()
    server = start("serve", "--lake", str(lake), "--port", str(port), cwd=lake.parent)
    try:
        for _ in polling(60.0):
            assert server.poll() is None
            with suppress(httpx.TransportError):
                ready = httpx.get(f"http://127.0.0.1:{port}/readyz")
                break
        assert (ready.status_code, ready.text) == (200, "ok\n")
        text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        assert 'feltwire_kept_total{source="file"} 5.0' in text or "feltwire_kept_total" in text
    finally:
        server.send_signal(signal.SIGTERM)
        _, err = server.communicate(timeout=60)
    assert server.returncode == 0, err
    refused = feltwire("serve", "--lake", str(lake), "--host", "0.0.0.0", "--port", "0", cwd=lake.parent)
    assert refused.returncode == 2
    assert "without a token" in refused.stderr


def test_pipelines_are_listed_and_removed(tmp_path: Path) -> None:
    posts = write_posts(tmp_path)
    assert feltwire(
        "run", "--source", f"file:{posts.name}", "--until-idle", "--lake", "lake", "--port", "0", cwd=tmp_path
    ).returncode == 0  # fmt: skip
    (row,) = json.loads(feltwire("pipelines", "list", "--json", "--lake", "lake", cwd=tmp_path).stdout)
    assert (row["name"], row["backlog"]) == ("main", 0)
    assert feltwire("pipelines", "remove", "other", "--lake", "lake", cwd=tmp_path).returncode == 2
    assert feltwire("pipelines", "remove", "main", "--lake", "lake", cwd=tmp_path).returncode == 0
    assert json.loads(feltwire("pipelines", "list", "--json", "--lake", "lake", cwd=tmp_path).stdout) == []


def test_help_is_quick(tmp_path: Path) -> None:
    times = []
    for _ in range(6):
        began = time.monotonic()
        done = feltwire("--help", cwd=tmp_path)
        times.append(time.monotonic() - began)
        assert done.returncode == 0
    assert min(times) <= 0.5


def test_a_failing_doctor_ends_with_1(tmp_path: Path) -> None:
    posts = write_posts(tmp_path)
    feltwire("run", "--source", f"file:{posts.name}", "--until-idle", "--lake", "lake", "--port", "0", cwd=tmp_path)
    for file in (tmp_path / "lake" / "windows").rglob("*.parquet"):
        file.unlink()
    done = feltwire("doctor", "--lake", "lake", cwd=tmp_path)
    assert done.returncode == 1
