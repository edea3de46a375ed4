"""`models pull hf:org/name`, from a hub on this machine that speaks the real one's protocol."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.cli.making import environment, feltwire
from tests.lab.checkpoints import checkpoint

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "org/name"


@contextmanager
def hub(folder: Path) -> Iterator[str]:
    """A hub that has one checkpoint, `org/name`; gives its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(body=True)

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            """Nobody reads it."""

        def _answer(self, *, body: bool) -> None:
            path = self.path.partition("?")[0]
            files = sorted(one.name for one in folder.iterdir())
            etag = ""
            if path == f"/api/models/{NAME}/revision/main":
                content = json.dumps({"id": NAME, "sha": COMMIT, "siblings": [{"rfilename": one} for one in files]})
                data = content.encode()
            elif path == f"/api/models/{NAME}/tree/{COMMIT}":
                rows = [
                    {"type": "file", "path": one, "size": (folder / one).stat().st_size, "oid": _oid(folder / one)}
                    for one in files
                ]
                data = json.dumps(rows).encode()
            elif path.removeprefix(f"/{NAME}/resolve/{COMMIT}/") in files:
                asked = folder / path.rpartition("/")[2]
                data, etag = asked.read_bytes(), _oid(asked)
            else:
                data = b'{"error": "Repository not found"}'
                self.send_response(404)
                self.send_header("X-Error-Code", "RepoNotFound")
                self._end(data, body=body)
                return
            self.send_response(200)
            self.send_header("X-Repo-Commit", COMMIT)
            if etag:
                self.send_header("ETag", f'"{etag}"')
            self._end(data, body=body)

        def _end(self, data: bytes, *, body: bool) -> None:
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if body:
                self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _oid(path: Path) -> str:
    return hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest()


@pytest.mark.slow
def test_a_checkpoint_of_the_hub_is_fetched_and_served(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "checkpoint", "bert", ("negative", "neutral", "positive"))
    (folder / "pytorch_model.bin").write_bytes(b"a pickle: not fetched")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    with hub(folder) as address:
        own = environment(HF_ENDPOINT=address, HF_HOME=str(tmp_path / "hf"), XDG_CACHE_HOME=str(tmp_path / "cache"))
        done = feltwire("models", "pull", f"hf:{NAME}", cwd=tmp_path, env=own, timeout_s=200)
        assert done.returncode == 0, done.stderr
        gone = feltwire("models", "pull", "hf:org/other", cwd=tmp_path, env=own, timeout_s=200)
    assert gone.returncode != 0
    assert "hf:org/other cannot be fetched from the hub" in gone.stderr.splitlines()[-1]
    assert not list((tmp_path / "hf").rglob("*.bin"))
    made = tmp_path / "cache" / "feltwire" / "hf" / NAME
    manifest = json.loads((made / "model.json").read_text())
    assert (manifest["name"], manifest["version"], manifest["licence"]) == ("name", COMMIT[:12], "mit")
    said = feltwire("score", "--json", "--model", f"hf:{NAME}", "late again", cwd=tmp_path, env=own)
    assert json.loads(said.stdout)["model"] == f"name@{COMMIT[:12]}"
