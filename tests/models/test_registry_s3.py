"""The registry in a bucket: moto's S3 server on loopback."""

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from tests.bundles.versions import TINY, tiny

from feltwire.errors import ConfigError, ModelError, RetryableError
from feltwire.loading import Current, load
from feltwire.models import _store
from feltwire.models._place import ABSENT
from feltwire.models._places import open_place

pytestmark = pytest.mark.slow

KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """The server, a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


@pytest.fixture(autouse=True)
def bucket(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket of the test's own."""
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": endpoint, "AWS_DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    name = f"b{abs(hash(tmp_path))}"
    boto3.client("s3").create_bucket(Bucket=name)
    return name


def test_there_promoted_and_back(bucket: str, tmp_path: Path) -> None:
    place = open_place(f"s3://{bucket}/some/prefix")
    assert _store.names(place) == []
    _store.add(place, TINY)
    _store.add(place, tiny(tmp_path / "second"))
    assert _store.names(place) == ["tiny"]
    assert _store.versions(place, "tiny") == ["1", "2"]
    _store.promote(place, "tiny", "1")
    current = Current(f"registry:tiny?at={place.where}")
    assert load(current.uri).name == "tiny@1"
    _store.promote(place, "tiny", "2")
    current.check()
    assert load(current.uri).name == "tiny@2"
    assert _store.rollback(place, "tiny") == "1"
    other = tiny(tmp_path / "other", "1", lambda m: m.update(description="another"))
    with pytest.raises(ModelError, match="other content"):
        _store.add(place, other)
    assert [path.name for path in (tmp_path / "cache" / "feltwire" / "models").iterdir() if path.name != "seen"]


def test_of_two_writers_one_wins(bucket: str) -> None:
    place = open_place(f"s3://{bucket}")
    assert place.put("a/x", b"1", before=ABSENT)
    assert not place.put("a/x", b"2", before=ABSENT)
    entry = place.get("a/x")
    assert entry is not None
    assert place.put("a/x", b"3", before=entry.tag)
    assert not place.put("a/x", b"4", before=entry.tag)
    assert not place.put("a/y", b"4", before=entry.tag)
    assert place.get("a/y") is None
    assert place.keys("a/") == ["a/x"]


def test_rivals_that_promote_at_once(bucket: str, tmp_path: Path) -> None:
    place = open_place(f"s3://{bucket}/rivals")
    for version in "123":
        _store.add(place, tiny(tmp_path / version, version))
    threads = [threading.Thread(target=_store.promote, args=(place, "tiny", version)) for version in "123"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pointer = _store.pointer(place, "tiny")
    assert pointer is not None
    assert sorted(move.version for move in pointer.history) == ["1", "2", "3"]


def test_no_bucket_and_no_server(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="NoSuchBucket"):
        _store.names(open_place(f"s3://{bucket}-nowhere"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(RetryableError):
        _store.names(open_place(f"s3://{bucket}"))
