"""Servers for the tests of the web face: real ones, on loopback."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import httpx

from feltwire.lake import Lake, open_lake
from feltwire.web.app import State, create_app
from feltwire.web.server import WebServer


@contextmanager
def serving(state: State) -> Iterator[httpx.Client]:
    """A client of a server with this state."""
    server = WebServer(create_app(state), host="127.0.0.1", port=0, token=state.token)
    server.start()
    try:
        with httpx.Client(base_url=server.url, timeout=30) as client:
            yield client
    finally:
        server.stop()
    assert not server.alive


def served(lake: Path) -> Callable[[], Lake]:
    """What a state has as its lake: opened once, by the first who asks."""
    return cache(lambda: open_lake(str(lake)))
