"""The same lake on an object store: moto's S3 server on loopback, with credentials that are the lake's own.

The server is a process of its own, since delta-rs makes some calls without letting other threads run.
"""

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from tests.lake.building import Builder, post, withdrawal

from feltwire import schema
from feltwire.errors import ClaimError, ConfigError, LakeError
from feltwire.lake import open_lake, rewrite
from feltwire.lake.maintain import Maintainer, checkpoint, make_durable, vacuum
from feltwire.lake.tables import open_table
from feltwire.lake.withdraw import remove_withdrawn

BUCKET = "moods"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def options() -> Iterator[dict[str, str]]:
    """The storage options of a server with one bucket."""
    port = _free_port()
    endpoint = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}
    try:
        _wait_for(port)
        client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **keys)
        client.create_bucket(Bucket=BUCKET)
        yield {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            **{name.upper(): value for name, value in keys.items()},
        }
    finally:
        server.kill()
        server.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    pytest.fail("the S3 server did not start")


@pytest.fixture
def built(options: dict[str, str], request: Any) -> Builder:
    return Builder(f"s3://{BUCKET}/{request.node.name}", storage_options=options)


def test_there_and_back(built: Builder, options: dict[str, str]) -> None:
    built.store(post(1, "good #a"), post(2, "bad #b"), post(3, None))  # type: ignore[arg-type]
    built.store(withdrawal(2))
    assert built.ids() == ["x:1"]
    assert remove_withdrawn(built.lake.location, built.owner) == 1
    assert built.ids("posts_all") == ["x:1"]
    assert built.ids("dead_letters") == ["x:3"]
    assert built.mood() == [("*", 1, 0, 1)]
    posts, withdrawn, position = built.lake.changes({}, 10)
    assert (posts["id"].to_pylist(), withdrawn["id"].to_pylist(), position) == (["x:1"], ["x:2"], {0: 4})
    again = open_lake(str(built.folder), storage_options=options)
    assert again.owner == built.owner
    assert again.positions() == {table: {0: 4} for table in schema.STREAMED}
    assert [row["id"] for batch in again.export() for row in batch.to_pylist()] == ["x:1"]


def test_a_rival_is_refused(built: Builder) -> None:
    """The store's conditional put decides who commits first."""
    built.append(post(1))
    first, second = built.worker(), built.worker()
    one, other = built.work(first), built.work(second)
    first.commit(one)
    with pytest.raises(ClaimError):
        second.commit(other)
    assert built.ids() == ["x:1"]


def test_upkeep(built: Builder) -> None:
    for n in range(4):
        built.store(post(n, "good #a"))
    for table in ("posts", "windows"):
        handle = open_table(built.lake.location, table)
        files = rewrite.list_files(handle, table)
        assert rewrite.merge(built.lake.location, table, handle, files, now=built.now)
        checkpoint(open_table(built.lake.location, table))
        assert len(vacuum(open_table(built.lake.location, table), retention_h=0)) == 4
    Maintainer(built.lake.location, built.owner).tick()
    make_durable(built.lake.location)
    built.store(post(4))
    assert built.mood() == [("*", 5, 0, 5)]
    assert built.lake.sizes()["posts"] | {"bytes": 0, "version": 0} == {"rows": 5, "files": 2, "bytes": 0, "version": 0}


def test_no_lake_and_no_bucket(options: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="no lake"):
        open_lake(f"s3://{BUCKET}/nothing", storage_options=options)
    with pytest.raises(LakeError):
        Builder(f"s3://{BUCKET}-nowhere/lake", storage_options=options)
