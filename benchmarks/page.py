"""The page in a browser: `python -m benchmarks page`. Needs Playwright and Debian's Chromium.

A lake with an hour of the simulator's posts is served. Cold: a browser that was never started before opens the page,
and the time runs from the request of the address until the chart is drawn. Idle: the page stays open while no post
arrives, and the processor time of the server is counted.
"""

import os
import statistics
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import sync_playwright

from benchmarks._commands import feltwire

CHROMIUM: Final = "/usr/bin/chromium"
PORT: Final = 8078
RATE: Final = 8
RECORDS: Final = RATE * 60 * 55
SOURCE: Final = f"simulator:?seed=3&rate={RATE}&story_minutes=110&history_minutes=56&count={RECORDS}"
START_S: Final = 300.0


def measure(*, times: int = 5, idle_s: float = 60.0) -> dict[str, Any]:
    """Seconds until the first chart, and the share of a core that an idle open page costs the server."""
    with tempfile.TemporaryDirectory() as folder:
        lake = str(Path(folder) / "lake")
        _fill(lake)
        server = subprocess.Popen(
            feltwire("serve", "--lake", lake, "--port", str(PORT)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            _wait()
            cold = [_first_chart() for _ in range(times)]
            share = _idle(server.pid, idle_s)
        finally:
            server.terminate()
            server.wait(30)
    return {
        "records": RECORDS,
        "first_chart_s": {"median": round(statistics.median(cold), 2), "each": [round(one, 2) for one in cold]},
        "idle": {"seconds": idle_s, "percent_of_a_core": round(100 * share, 2)},
    }


def _fill(lake: str) -> None:
    """Work off most of an hour of invented posts."""
    command = feltwire("run", "--source", SOURCE, "--track", "Larkwing=larkwing", "--lake", lake, "--until-idle")
    subprocess.run(
        [*command, "--port", "0"], check=True, timeout=START_S, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def _wait() -> None:
    """Until the server answers and has made the page."""
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{PORT}/", timeout=60).close()
        except OSError:
            time.sleep(0.2)
        else:
            return


def _first_chart() -> float:
    """Seconds from the request until the chart is drawn, in a browser without a cache."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        began = time.monotonic()
        page.goto(f"http://127.0.0.1:{PORT}/?track=Larkwing", wait_until="commit")
        page.wait_for_selector("html[data-drawn=true]", state="attached", timeout=120_000)
        took = time.monotonic() - began
        browser.close()
    return took


def _idle(pid: int, seconds: float) -> float:
    """The share of a core that a process uses while a page is open and nothing arrives."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(f"http://127.0.0.1:{PORT}/?track=Larkwing")
        page.wait_for_selector("html[data-drawn=true]", state="attached", timeout=120_000)
        page.wait_for_timeout(10_000)
        before = _processor_s(pid)
        page.wait_for_timeout(seconds * 1_000)
        used = _processor_s(pid) - before
        browser.close()
    return used / seconds


def _processor_s(pid: int) -> float:
    """User and system time of a process so far (fields 14 and 15 of proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
