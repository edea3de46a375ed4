"""`feltwire follow`: one destination of a lake, brought up to it and kept there."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from feltwire.cli import common
from feltwire.cli.common import AsJson, ConfigFile, LakePath
from feltwire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from feltwire.config import Settings
    from feltwire.following import Step
    from feltwire.lake import Lake
    from feltwire.service import Destination


def follow(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A follower of the settings.")],
    *,
    once: Annotated[bool, typer.Option("--once", help="Stop when the destination has everything.")] = False,
    lake: LakePath = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Bring one destination up to the lake and keep it there; `run` does so for all of them.

    \b
      feltwire follow archive
      feltwire follow warehouse --once
    """
    import threading

    from feltwire.following import follow as follow_feed
    from feltwire.lake import open_lake
    from feltwire.service import stopped_by_signals

    settings = common.load_settings(config, lake=lake)
    known = [follower.name for follower in settings.followers]
    if name not in known:
        raise ConfigError(f"unknown follower {name!r}: the settings have {', '.join(known) or 'none'}")
    (destination,) = destinations(settings, only=name)
    feed = open_lake(settings.lake.path, storage_options=settings.lake.storage_options)
    stop = threading.Event()
    observe = _teller(feed, name, as_json=as_json, every_s=0.0 if once else 1.0)
    with stopped_by_signals(stop):
        try:
            follow_feed(feed, destination.follower, stop=stop, once=once, observe=observe, name=name)
        finally:
            close = getattr(destination.follower, "close", None)
            if close is not None:
                close()


def _teller(feed: "Lake", name: str, *, as_json: bool, every_s: float) -> "Callable[[Step], None]":
    """Tells how far a follower is, at most every so many seconds; with 0 whenever it is anew."""
    from feltwire.cli import output
    from feltwire.service import behind

    done = 0
    told = 0.0
    last: dict[str, object] = {}

    def tell(step: "Step") -> None:
        nonlocal done, told, last
        done += step.posts
        now = time.monotonic()
        if now - told < every_s:
            return
        told = now
        lag = behind(feed.positions()["posts"], step.position)
        found: dict[str, object] = {"posts": done, "lag": lag, "error": str(step.error) if step.error else None}
        if found == last and not every_s:  # the end is found by a turn that brings nothing
            return
        last = found
        if as_json:
            output.write_line(found)
        else:
            common.talk(f"{name}: {done:,} posts, lag {lag:,}" + (f", waits: {step.error}" if step.error else ""))

    return tell


def destinations(settings: "Settings", only: str | None = None) -> "tuple[Destination, ...]":
    """The followers of the settings, ready to be followed; `only` that of this name."""
    from feltwire import registry
    from feltwire.service import Destination

    return tuple(
        Destination(name=one.name, follower=registry.create("followers", one.uri, one.options))
        for one in settings.followers
        if only in (None, one.name)
    )


add_to = common.adder({"follow": follow}, "Run")
