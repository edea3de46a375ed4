"""A real engine on the simulator, a real browser: Debian's Chromium, driven by Playwright.

They last for this folder's tests, not the session: Playwright keeps an event loop running in the main thread, under
which no later test could start its own, and an idle engine would take a share of every later test's cores.
"""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

CHROMIUM: Final = "/usr/bin/chromium"
START_S: Final = 120.0

HOSTILE: Final = (
    '<script>window.pwned = 1</script><img src=x onerror="window.pwned = 2"> hostilepost **bold** [a](javascript:x())',
    "hostilepost </div><svg onload=window.pwned=3> {{7*7}} ${7*7} <a href='javascript:window.pwned=4'>click</a>",
    "hostilepost \u202e\u0000reversed <iframe srcdoc='<script>parent.pwned=5</script>'></iframe> #<b>tag</b>",
)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@dataclass
class Server:
    """A `feltwire run` of its own folder, on a port that stays the same over restarts."""

    folder: Path
    settings: str
    token: str = ""
    port: int = field(default_factory=_free_port)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def lake(self) -> Path:
        return self.folder / "lake"

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "feltwire.toml").write_text(self.settings + f"\n[serve]\nport = {self.port}\n", encoding="utf-8")
        env = {**os.environ, **({"FELTWIRE_SERVE__TOKEN": self.token} if self.token else {})}
        with (self.folder / "out.txt").open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "feltwire.cli", "run", "--json"],
                cwd=self.folder,
                env=env,
                stdout=out,
                stderr=out,
            )
        until = time.monotonic() + START_S
        while time.monotonic() < until and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/healthz", timeout=2) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                time.sleep(0.2)
        raise AssertionError((self.folder / "out.txt").read_text(encoding="utf-8")[-2_000:])

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(20)
            self.process = None


def settings_of(folder: Path, *, sources: list[str], tracks: dict[str, str]) -> str:
    """A feltwire.toml."""
    lines = ["[lake]", f'path = "{folder}/lake"', "[engine]", "processes = 1"]
    for uri in sources:
        lines += ["[[sources]]", f'uri = "{uri}"']
    for name, query in tracks.items():
        lines += ["[[tracks]]", f'name = "{name}"', f"query = '{query}'"]
    return "\n".join(lines)


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An airline's bad day, some minutes old and going on; and three posts that mean harm."""
    folder = tmp_path_factory.mktemp("engine")
    now = datetime.now(UTC).isoformat()
    with (folder / "hostile.jsonl").open("w", encoding="utf-8") as file:
        for number, text in enumerate(HOSTILE):
            post: dict[str, Any] = {
                "id": f"h{number}",
                "text": text,
                "created_at": now,
                "author_handle": '<img src=x onerror="window.pwned=6">',
                "url": "javascript:window.pwned=7",
                "lang": "en",
            }
            file.write(json.dumps(post) + "\n")
    simulated = "simulator:?seed=3&rate=4&story_minutes=110&history_minutes=30&mess=0"
    tracks = {"Larkwing": "larkwing OR #larkwingfail", "Quillo": "quillo", "hostile": "hostilepost"}
    one = Server(folder, settings_of(folder, sources=[simulated, f"file:{folder}/hostile.jsonl"], tracks=tracks))
    one.start()
    yield one
    one.kill()


@pytest.fixture(scope="package")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An engine without any track: the first start. A test that adds one comes last."""
    folder = tmp_path_factory.mktemp("empty")
    one = Server(folder, settings_of(folder, sources=["simulator:?seed=5&rate=10"], tracks={}))
    one.start()
    yield one
    one.kill()


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Server]:
    """An engine that asks for a token."""
    one = Server(tmp_path, settings_of(tmp_path, sources=["simulator:?seed=5&rate=10"], tracks={}), token="open sesame")
    one.start()
    yield one
    one.kill()


@pytest.fixture(scope="package")
def browser(absent: Callable[[str], None]) -> Iterator[Browser]:
    """Debian's Chromium; without it a laptop skips and CI fails."""
    if not Path(CHROMIUM).exists():
        absent(f"{CHROMIUM} is not there: apt-get install chromium")
    with sync_playwright() as playwright:
        one = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield one
        one.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A fresh browser window of the drawings' size."""
    one = browser.new_context(viewport={"width": 1440, "height": 900}, timezone_id="Europe/Berlin", locale="en-GB")
    one.set_default_timeout(60_000)
    expect.set_options(timeout=30_000)
    yield one
    one.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    """An empty tab."""
    return context.new_page()


def opened(page: Page, server: Server, query: str = "?track=Larkwing") -> Page:
    """The page, once its numbers and its chart are there."""
    page.goto(server.url + "/" + query)
    page.wait_for_selector("html[data-drawn=true]", state="attached")
    page.locator("#feed article, #feed .state").first.wait_for(state="attached")  # on a phone it is a page of its own
    return page
