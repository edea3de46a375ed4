"""Running a service in front of somebody: the live view, plain lines, or JSON lines, until it ends."""

import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from feltwire.cli import output
from feltwire.cli.common import console

if TYPE_CHECKING:
    from feltwire.cli.glance import Glance, Picture
    from feltwire.service import Service

REFRESH_S = 1.0


class Look(StrEnum):
    """How progress is shown."""

    view = "view"  # the live view, where the standard output is a terminal, else lines
    lines = "lines"
    json = "json"


class Show(Protocol):
    """Something that shows how a service is doing."""

    def __call__(self) -> None:
        """Show it as it is now."""
        ...


def watch(
    service: "Service",
    look: Look,
    *,
    title: str,
    seconds: float | None = None,
    greet: Callable[[str], None] | None = None,
) -> None:
    """Run the service until it ends, is stopped by a signal, or `seconds` have passed.

    `greet` is called with the page's address once it answers, where there is a page.
    Raises the error by which the engine ended.
    """
    from feltwire.service import stopped_by_signals

    began = time.monotonic()
    with stopped_by_signals(service.stop), service:
        if service.url is not None and greet is not None:
            greet(service.url)
        if look is Look.view and sys.stdout.isatty():
            _watch_view(service, title, began, seconds)
        else:
            _loop(service, _json_show(service) if look is Look.json else _lines_show(service, look), began, seconds)
        if service.plan.until_idle and not service.stop.is_set():
            service.catch_up()


def _loop(service: "Service", show: Callable[[], None], began: float, seconds: float | None) -> None:
    due = time.monotonic()
    while True:
        left = None if seconds is None else began + seconds - time.monotonic()
        if left is not None and left <= 0:
            service.stop.set()
        due += REFRESH_S
        pause = max(0.05, due - time.monotonic())
        if not service.wait(pause if left is None else max(0.01, min(pause, left))):
            break
        show()
        due = max(due, time.monotonic() - REFRESH_S)
    service.wait(60.0)


class _Pictures:
    """The picture of the service's lake, once there is one."""

    def __init__(self, service: "Service") -> None:
        self._service = service
        self._glance: Glance | None = None

    def look(self) -> "Picture":
        from feltwire.cli.glance import Glance, Picture
        from feltwire.errors import FeltwireError

        if self._glance is None:
            try:
                self._glance = Glance(self._service.lake())
            except FeltwireError:
                return Picture()
        return self._glance.look()


def _watch_view(service: "Service", title: str, began: float, seconds: float | None) -> None:
    from rich.live import Live

    from feltwire.cli.view import dashboard

    terminal = console()
    pictures = _Pictures(service)
    where = f"{title} · {service.url}" if service.url else title

    with Live(console=terminal, auto_refresh=False, vertical_overflow="crop") as live:

        def show() -> None:
            size = terminal.size
            drawn = dashboard(
                pictures.look(),
                service.progress,
                title=where,
                elapsed_s=time.monotonic() - began,
                width=min(size.width, 120),
                height=size.height - 1,
            )
            live.update(drawn, refresh=True)

        show()
        _loop(service, show, began, seconds)


def _lines_show(service: "Service", look: Look) -> Callable[[], None]:
    """A line a second: with the mood where the view was wished for, else what came and what is left."""
    pictures = _Pictures(service)
    told = [-1]

    def show_mood() -> None:
        from feltwire.cli.view import plain_line

        _say(plain_line(pictures.look(), service.progress))

    def show_work() -> None:
        now, progress = f"{datetime.now(UTC):%H:%M:%S}", service.progress
        if progress is None:
            return
        done = progress.received if service.plan.lake is None else progress.processed
        what = f"{done - max(0, told[0]):,} posts" if done > max(0, told[0]) else "nothing new"
        told[0] = done
        lag = "" if service.plan.lake is None else f", lag {progress.lag:,}"
        waits = f", waits: {output.harmless(progress.waiting)}" if progress.waiting else ""
        _say(f"{now} {what}, {done:,} in all{lag}{waits}")

    return show_mood if look is Look.view else show_work


def _json_show(service: "Service") -> Callable[[], None]:
    def show() -> None:
        if service.progress is not None:
            output.write_line({"at": datetime.now(UTC), **asdict(service.progress)})

    return show


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
