"""A lake on an object store: killed, cut off from it and in reach again, it ends exact."""

import logging
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer
from tests.conftest import PROVING
from tests.engines.children import started
from tests.engines.exact import assert_exact
from tests.engines.stream import Story, file_source
from tests.services.proxy import Proxy

SEED = 12
KILLS = 40 if PROVING else 2
RECORDS = 200

pytestmark = [pytest.mark.slow, pytest.mark.prove]


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, int]]:
    """An S3 server with a bucket `lakes`."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    client = boto3.client("s3", **_keys(f"http://{host}:{port}"))
    client.create_bucket(Bucket="lakes")
    yield host, port
    moto.stop()


def _keys(endpoint: str) -> dict[str, str]:
    return {
        "endpoint_url": endpoint,
        "region_name": "us-east-1",
        "aws_access_key_id": "someone",
        "aws_secret_access_key": "secret",
    }


def _options(address: tuple[str, int]) -> dict[str, str]:
    host, port = address
    return {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_ALLOW_HTTP": "true",
    }


def _plan(folder: Path, name: str, address: tuple[str, int], **more: Any) -> dict[str, Any]:
    return {
        "log": f"sqlite:{folder / 'log.db'}",
        "lake": f"s3://lakes/{name}",
        "storage_options": _options(address),
        "processes": 0,
        **more,
    }


def test_kills_on_an_object_store(
    tmp_path: Path, inbox: Path, server: tuple[str, int], record_property: Callable[[str, object], None]
) -> None:
    """Killed at seeded random instants while it writes to S3: every post exactly once."""
    dice = random.Random(SEED)
    story = Story(SEED)
    source = file_source(inbox, "mode=replay", f"rate={RECORDS}")
    patch = {"chunk_rows": 50, "fan_in": 8, "checkpoint_every": 10, "maintainer": {"withdraw_every_s": 1.0}}
    for kill in range(KILLS):
        story.write(inbox / f"{kill:03}.jsonl", RECORDS)
        with started(tmp_path, {"plan": _plan(tmp_path, "killed", server, sources=[source]), "patch": patch}) as child:
            time.sleep(1.0 + 4.0 * dice.random())
            assert child.process.poll() is None, child.errors()
            child.kill()
    plan = _plan(tmp_path, "killed", server, sources=[file_source(inbox)], until_idle=True)
    with started(tmp_path, {"plan": plan}) as child:
        assert child.report()["code"] == 0
    assert_exact("s3://lakes/killed", tmp_path / "log.db", story.truth, storage_options=_options(server))
    record_property("seed", SEED)
    record_property("kills", KILLS)


def test_an_object_store_out_of_reach(
    tmp_path: Path, inbox: Path, server: tuple[str, int], record_property: Callable[[str, object], None]
) -> None:
    """Cut off from S3, the engine says so and waits; in reach again, it goes on: nothing lost or doubled."""
    story = Story(SEED)
    story.write(inbox / "0.jsonl", 2000)
    proxy = Proxy(server)
    source = file_source(inbox, "mode=replay", "rate=200")
    plan = _plan(tmp_path, "cut", proxy.address, sources=[source], until_idle=True, max_backlog=500)
    with started(tmp_path, {"plan": plan, "patch": {"chunk_rows": 400}}) as child:
        child.until(lambda progress: progress["processed"] > 0)
        proxy.cut()
        cut_at = time.monotonic()
        told = child.until(
            lambda progress: "the lake takes nothing" in progress["waiting"] or "worked on" in progress["waiting"]
        )
        assert "\n" not in told["waiting"]
        assert "\x1b" not in told["waiting"]
        told_s = time.monotonic() - cut_at
        proxy.restore()
        restored_at = time.monotonic()
        child.until(lambda progress: progress["processed"] > told["processed"])
        again_s = time.monotonic() - restored_at
        assert child.report()["code"] == 0
    proxy.cut()
    assert_exact("s3://lakes/cut", tmp_path / "log.db", story.truth, storage_options=_options(server))
    record_property("seconds until it said so", round(told_s, 1))
    record_property("seconds until it went on", round(again_s, 1))
