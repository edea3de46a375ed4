"""Who looks at a stream: `python -m benchmarks subscribers`. Needs Playwright and Debian's Chromium.

Lag: `feltwire run` takes the simulator at 1,000 posts/s, first alone, then with 50 pages open: sockets that speak the
page's own protocol, from another process, spread over five views. The records that the lake does not have yet are
noted all the while. Shown: posts are pushed one at a time; the time runs from the moment at which a query finds a
post until an open browser shows it.
"""

import asyncio
import json
import multiprocessing
import socket
import statistics
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import sync_playwright
from websockets.asyncio.client import connect
from websockets.typing import Origin

from benchmarks import _results
from benchmarks._commands import feltwire

CHROMIUM: Final = "/usr/bin/chromium"
CLIENTS: Final = 50
RATE: Final = 1_000
VIEWS: Final = ("?track=Larkwing", "?track=Quillo", "", "?track=Larkwing&mode=shares", "?page=health")
START_S: Final = 120.0


def measure(*, seconds: float = 120.0, warm_up_s: float = 20.0, posts: int = 20) -> dict[str, Any]:
    """Records behind, without and with 50 pages, and seconds from queryable to shown."""
    return {
        "posts_per_s": RATE,
        "clients": CLIENTS,
        **_lag(seconds, warm_up_s),
        "shown_after_s": _shown(posts),
    }


def _lag(seconds: float, warm_up_s: float) -> dict[str, Any]:
    tracks = ["--track", "Larkwing=larkwing", "--track", "Quillo=quillo"]
    source = ["--source", f"simulator:?seed=3&rate={RATE}"]
    with _engine([*source, *tracks]) as (port, out):
        time.sleep(warm_up_s)
        alone = _lags(out, seconds)
        heard: Any = multiprocessing.get_context("spawn").Queue()
        process = multiprocessing.get_context("spawn").Process(target=_subscribe, args=(port, seconds + 10, heard))
        process.start()
        time.sleep(10)
        watched = _lags(out, seconds)
        process.join()
        messages, quiet = heard.get(timeout=10)
    return {
        "lag_records": {"alone": _summary(alone), "watched": _summary(watched)},
        "messages_per_client": round(messages / CLIENTS),
        "clients_without_a_message": quiet,
    }


def _summary(lags: list[int]) -> dict[str, int]:
    half = len(lags) // 2
    return {
        "first_half_median": round(statistics.median(lags[:half])),
        "second_half_median": round(statistics.median(lags[half:])),
        "p99": round(_results.percentile([float(one) for one in lags], 0.99)),
    }


def _lags(out: Path, seconds: float) -> list[int]:
    """What the engine says about once a second of the records that it has not yet brought to the lake."""
    behind = len(_reports(out))
    time.sleep(seconds)
    return [int(one["lag"]) for one in _reports(out)[behind:]]


def _reports(out: Path) -> list[dict[str, Any]]:
    lines = out.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.startswith("{") and '"lag"' in line and line.endswith("}")]


def _subscribe(port: int, seconds: float, heard: Any) -> None:
    """Hold CLIENTS pages open; tell how many messages came in all, and how many pages got none."""
    counts = [0] * CLIENTS

    async def one(number: int) -> None:
        async with connect(
            f"ws://127.0.0.1:{port}/_page/live",
            origin=Origin(f"http://127.0.0.1:{port}"),
            max_size=None,
        ) as page:
            await page.send(json.dumps({"see": VIEWS[number % len(VIEWS)], "zone": "Europe/Berlin"}))
            async for message in page:
                counts[number] += '"parts"' in str(message)[:10]

    async def everyone() -> None:
        tasks = [asyncio.create_task(one(number)) for number in range(CLIENTS)]
        await asyncio.wait(tasks, timeout=seconds)
        for task in tasks:
            if task.done() and task.exception():
                raise RuntimeError("a page was closed") from task.exception()
            task.cancel()

    asyncio.run(everyone())
    heard.put((sum(counts), counts.count(0)))


def _shown(posts: int) -> dict[str, Any]:
    """Seconds from the first query that finds a post until the open page shows it."""
    with _engine(["--source", "push:", "--track", "Larkwing=larkwing"]) as (port, _), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        _push(port, "start")
        page.goto(f"http://127.0.0.1:{port}/?track=Larkwing")
        page.get_by_text("larkwing post start").first.wait_for(timeout=60_000)
        took = []
        for number in range(posts):
            word = f"number{number}x"
            found: list[float] = []
            thread = threading.Thread(target=_query, args=(port, word, found))
            _push(port, word)
            thread.start()
            page.get_by_text(f"larkwing post {word}").first.wait_for(timeout=60_000)
            seen = time.monotonic()
            thread.join()
            took.append(max(0.0, seen - found[0]))
            page.wait_for_timeout(700 + 130 * (number % 7))  # not in step with the page's own rhythm
        browser.close()
    return {
        "posts": posts,
        "median": round(statistics.median(took), 2),
        "max": round(max(took), 2),
    }


def _push(port: int, word: str) -> None:
    body = json.dumps({"id": word, "text": f"larkwing post {word} was lovely, thank you"}).encode()
    headers = {"Content-Type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/api/v1/push", body, headers)).close()


def _query(port: int, word: str, found: list[float]) -> None:
    while not found:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{port}/api/v1/posts?limit=5&track=Larkwing", timeout=30
        ) as answer:
            if word in answer.read().decode():
                found.append(time.monotonic())
        time.sleep(0.01)


@contextmanager
def _engine(arguments: list[str]) -> Iterator[tuple[int, Path]]:
    """(port, standard output) of `feltwire run` with one process."""
    with tempfile.TemporaryDirectory() as folder:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = int(free.getsockname()[1])
        out = Path(folder) / "out.txt"
        command = feltwire("run", "--json", "--lake", f"{folder}/lake", "--port", str(port), *arguments)
        with out.open("wb") as file:
            engine = subprocess.Popen(command, cwd=folder, stdout=file, stderr=subprocess.DEVNULL)
        try:
            _wait(port)
            yield port, out
        finally:
            engine.terminate()
            engine.wait(30)


def _wait(port: int) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise RuntimeError("the engine did not answer")
