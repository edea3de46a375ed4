"""The API's `score`: what of the in-process rate 32 clients get from the same machine, and how long one post takes."""

import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from benchmarks import _results, _texts
from feltwire.models._wire import Wire
from feltwire.scoring import score_texts

CLIENTS = 32
TEXTS = 32
SHORT = "The crew were lovely and we landed early, thank you!"


def measure(seconds: float = 20.0, singles: int = 1_000) -> dict[str, Any]:
    """Posts a second of `bundled:fast`, in process and by the API; milliseconds of one post of `bundled:base`."""
    texts = _some_texts(CLIENTS * TEXTS * 4)
    score_texts(texts[:64], "bundled:fast")
    with served("bundled:fast") as url:
        before = in_process(texts, seconds / 4)
        remote = by_api(url, texts, seconds / 2)
        after = in_process(texts, seconds / 4)
    with served("bundled:base") as url:
        singly = one_by_one(url, singles)
    here = statistics.mean((before, after))
    return {
        "clients": CLIENTS,
        "texts_a_request": TEXTS,
        "in_process_posts_per_s": round(here),
        "api_posts_per_s": round(remote),
        "share_of_in_process": round(remote / here, 3),
        "one_post_ms": {
            f"p{round(100 * share)}": round(_results.percentile(singly, share), 2) for share in (0.5, 0.95, 0.99)
        },
    }


def in_process(texts: list[str], seconds: float) -> float:
    """Posts a second of a loop that scores batches as large as those of all clients together."""
    size, done, began = CLIENTS * TEXTS, 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        start = done % (len(texts) - size + 1)
        score_texts(texts[start : start + size], "bundled:fast")
        done += size
    return done / (time.perf_counter() - began)


def by_api(url: str, texts: list[str], seconds: float) -> float:
    """Posts a second of CLIENTS connections that each send one request after the other, from another process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return float(pool.apply(_clients, (url, texts, seconds)))


def _clients(url: str, texts: list[str], seconds: float) -> float:
    import asyncio
    from urllib.parse import urlsplit

    import msgspec

    bodies = [
        msgspec.json.encode({"texts": texts[start : start + TEXTS]})
        for start in range(0, len(texts) - TEXTS + 1, TEXTS)
    ]
    counts = [0] * CLIENTS

    async def one(number: int, until: float) -> None:
        wire = Wire(urlsplit(url), {"Content-Type": "application/json"}, timeout_s=60)
        turn = number
        while time.perf_counter() < until:
            answer = await wire.post(bodies[turn % len(bodies)])
            if answer.status != 200:
                raise RuntimeError(f"HTTP {answer.status}")
            counts[number] += TEXTS
            turn += CLIENTS
        wire.close()

    async def everyone(duration: float) -> float:
        began = time.perf_counter()
        await asyncio.gather(*(one(number, began + duration) for number in range(CLIENTS)))
        return time.perf_counter() - began

    asyncio.run(everyone(min(2.0, seconds / 4)))
    counts[:] = [0] * CLIENTS
    took = asyncio.run(everyone(seconds))
    return sum(counts) / took


def one_by_one(url: str, count: int) -> list[float]:
    """Milliseconds of one request with one short post, again and again, nothing else being asked."""
    took = []
    with httpx.Client() as client:
        for number in range(count + 50):
            began = time.perf_counter()
            client.post(url, json={"texts": [f"{SHORT} {number}"]}).raise_for_status()
            took.append((time.perf_counter() - began) * 1_000)
    return took[50:]


@contextmanager
def served(model: str) -> Iterator[str]:
    """The address of `score` of a server in a process of its own, with this model."""
    with tempfile.TemporaryDirectory() as folder:
        lake = str(Path(folder) / "lake")
        env = {**os.environ, "FELTWIRE_MODEL__URI": model, "XDG_DATA_HOME": folder}
        program = [sys.executable, "-m", "feltwire.cli"]
        source = [
            "--source",
            "simulator:?count=5&rate=50000&start=2026-03-01T12:00:00Z",
            "--until-idle",
            "--model",
            "none:",
            "--port",
            "0",
            "--lake",
            lake,
        ]
        subprocess.run([*program, "run", *source], env=env, cwd=folder, check=True, capture_output=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [*program, "serve", "--lake", lake, "--port", str(port)]
        server = subprocess.Popen(command, env=env, cwd=folder, stderr=subprocess.DEVNULL)
        url = f"http://127.0.0.1:{port}/api/v1/score"
        try:
            _await(url, server)
            yield url
        finally:
            server.terminate()
            server.wait(30)


def _await(url: str, server: "subprocess.Popen[bytes]") -> None:
    pause = threading.Event()
    for _ in range(600):
        try:
            httpx.post(url, json={"texts": ["a"]}, timeout=30).raise_for_status()
            return
        except httpx.TransportError:
            if server.poll() is not None:
                raise RuntimeError("the server ended") from None
            pause.wait(0.1)
    raise RuntimeError("the server did not start")


def _some_texts(count: int) -> list[str]:
    found: list[str] = []
    for batch in _texts.records():
        found += [text for text in batch["text"].to_pylist() if text]
        if len(found) >= count:
            return found[:count]
    return found
