"""`feltwire backfill` as a command against a server that speaks X's protocol."""

import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer
from tests.backfill.past import Commands, Past, days_ago
from tests.sources.x_server import Failure, matches

from feltwire.lake import open_lake

pytestmark = pytest.mark.slow

PATIENCE_S = 120.0


@pytest.fixture
def past() -> Iterator[Past]:
    with Past(3, days_ago(2), 60, 4.0) as past:
        yield past


def until(there: Callable[[], bool]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not there():
        assert time.monotonic() < end_s
        time.sleep(0.1)


def test_it_says_what_it_costs_and_asks_before(past: Past, tmp_path: Path) -> None:
    commands = Commands(tmp_path, past)
    looked = commands.run("--dry-run")
    assert looked.returncode == 0
    assert "4 slices from" in looked.stderr
    n = len(past.expected())
    assert f"at most {n:,} posts, for about {n * 0.005:.2f} at 0.005 a post" in looked.stderr
    counted = json.loads(commands.run("--dry-run", "--json", "--limit-per-slice", "20").stdout)
    assert counted == {"slices": 4, "to_pull": 4, "posts": 80, "cost": 0.4, "why": None}
    asked = commands.run()
    assert asked.returncode == 2
    assert "--yes" in asked.stderr
    assert "Traceback" not in asked.stderr
    assert past.searched() == []
    past.fail("counts/recent", *[Failure(403, {"title": "Forbidden"})] * 2)
    assert "cannot be told: X answers 403" in commands.run("--dry-run").stderr
    other = commands.run("--source", "simulator:", "--dry-run")
    assert (other.returncode, "cannot be asked for a period" in other.stderr) == (2, True)


def test_a_limit_takes_the_newest_of_each_slice(past: Past, tmp_path: Path) -> None:
    commands = Commands(tmp_path, past)
    report = commands.finish("--limit-per-slice", "7")
    assert (report["finished"], report["posts"]) == (4, 28)
    wanted = past.expected()
    newest: dict[str, str] = {}
    for one in commands.slices():
        found = past.between(one.start, one.end, "cats")[-7:]
        newest |= {f"x:{post['id']}": wanted[f"x:{post['id']}"] for post in found}
    commands.check(newest)
    assert {params["max_results"] for _, params in past.requests if "max_results" in params} == {"10"}


def test_a_spend_limit_ends_it_and_a_higher_one_goes_on(past: Past, tmp_path: Path) -> None:
    settings = tmp_path / "feltwire.toml"
    source = f'[[sources]]\nuri = "x:stream"\nbase_url = "{past.url}"\n'
    settings.write_text(source + "spend_limit = 0.5\n")
    commands = Commands(tmp_path, past)
    plain = commands.arguments()
    arguments = [*plain[: plain.index("--source")], *plain[plain.index("--source") + 2 :], "--yes", "--parallel", "1"]

    def run() -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            arguments, cwd=tmp_path, env=commands.env(), capture_output=True, text=True, timeout=120, check=False
        )

    first = run()
    assert first.returncode == 1
    assert "the spend limit of 0.5 is reached" in first.stderr
    assert "could not be pulled" in first.stderr
    assert past.delivered <= 100
    done = len(commands.staged())
    assert 0 < done < 4
    settings.write_text(source + "spend_limit = 50\n")
    second = run()
    assert second.returncode == 0, second.stderr
    assert len(past.searched()) == len(set(past.searched())) + 1  # the page that could not be paid was half of a slice
    commands.check()


def test_beside_a_live_stream_and_over_its_period(past: Past, tmp_path: Path) -> None:
    """Another process listens and works on the pipeline; it has had a part of the period already."""
    commands = Commands(tmp_path, past)
    source = f"x:stream?base_url={past.url}"
    live = subprocess.Popen(
        [sys.executable, "-m", "feltwire.cli", "run", "--source", source, "--track", "cats", "--port", "0"],
        cwd=tmp_path, env=commands.env(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    lake = tmp_path / "feltwire-data" / "lake"
    heard = [one for one in past.posts if matches("cats", one["text"]) and "referenced_tweets" not in one][::3]
    try:
        until(lambda: past.connections > 0)
        past.publish(*heard)
        until(lambda: lake.is_dir() and past.delivered >= len(heard))
        report = commands.finish()
        assert report["finished"] == 4
        assert report["new"] < report["posts"] == len(past.expected())
        assert live.poll() is None
    finally:
        live.terminate()
        live.wait(60.0)
    commands.check()
    found = open_lake(str(lake)).sql("select received, kept from ledger")
    assert sum(found["kept"].to_pylist()) == len(past.expected())


def test_files_in_an_object_store(past: Past, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    moto.start()
    try:
        host, port = moto.get_host_and_port()
        keys = {"AWS_ACCESS_KEY_ID": "someone", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
        options = {"AWS_ENDPOINT_URL": f"http://{host}:{port}", **keys}
        client = boto3.client(
            "s3", endpoint_url=options["AWS_ENDPOINT_URL"], region_name="us-east-1", aws_access_key_id="someone",
            aws_secret_access_key="secret",
        )  # fmt: skip
        client.create_bucket(Bucket="past")
        commands = Commands(tmp_path, past, environment={"FELTWIRE_LAKE__STORAGE_OPTIONS": json.dumps(options)})
        places = ["--staging", "s3://past/staging", "--sentiments", "s3://past/deep/sentiments"]
        assert commands.finish(*places)["finished"] == 4
        asked = len(past.searched())
        assert commands.finish(*places)["finished"] == 4
        assert len(past.searched()) == asked
        names = [row["Key"] for row in client.list_objects_v2(Bucket="past")["Contents"] if row["Size"]]
        assert len([name for name in names if name.startswith("staging/")]) == 4
        assert len([name for name in names if name.startswith("deep/sentiments/")]) == 4
        commands.check()
        told = subprocess.run(
            [
                sys.executable, "-m", "feltwire.cli", "report", "--tweets", "s3://past/report/tweet", "--sentiment",
                "s3://past/report/sentiment", "--json",
            ],
            cwd=tmp_path, env=commands.env(), capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert json.loads(told.stdout) == {"tweets": len(past.expected()), "windows": 4}, told.stderr
    finally:
        moto.stop()
