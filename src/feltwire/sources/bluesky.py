"""Bluesky's public posts, live, by Jetstream: `bluesky:` or `bluesky:HOST[,HOST…]`. No account is needed.

Delivery is at least once: after every break the stream is asked for again from `rewind_s` before the break, and
the log drops what it has seen. What no server has any more is a gap: a warning in the log, `BlueskySource.gaps`,
and a count in every later cursor.
"""

import logging
import random
import re
import time
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from feltwire import metrics
from feltwire.errors import ConfigError
from feltwire.interfaces import Cursor
from feltwire.sources._bluesky_host import Host, Link
from feltwire.sources._bluesky_listener import (
    HEARTBEAT_S,
    DictionaryError,
    FutureCursorError,
    Listener,
    SilentError,
    Tally,
    Yielded,
)
from feltwire.sources._bluesky_place import Gap, Place
from feltwire.sources._bluesky_rows import NAME, to_batch
from feltwire.sources._jetstream import PARSERS
from feltwire.sources._watchdog import Watchdog
from feltwire.sources._websocket import ClosedError, Inflater, RefusedError

# The two hosts of 2026 speak both wires; the four older ones speak v1 and are to be retired one day. Regions
# alternate, so that trouble in one is left behind at the first change.
PUBLIC_HOSTS: Final = (
    "jetstream.us-east.bsky.network",
    "jetstream.us-west.bsky.network",
    "jetstream1.us-east.bsky.network",
    "jetstream1.us-west.bsky.network",
    "jetstream2.us-east.bsky.network",
    "jetstream2.us-west.bsky.network",
)

_START_SILENCE_S: Final = 20.0  # until the stream's rate is known
_FIRST_DELAY_S: Final = 0.25
_LONGEST_DELAY_S: Final = 30.0
_MAX_QUICK: Final = 4  # times that a refusal is answered by asking in another way, at once

_log = logging.getLogger(__name__)


def _listed(value: object) -> object:
    return [part for part in re.split(r"[\s,]+", value) if part] if isinstance(value, str) else value


_List = Annotated[list[str], BeforeValidator(_listed)]
_Did = Annotated[str, Field(pattern=r"^did:[a-z]+:[A-Za-z0-9._:%-]+$")]


class Options(BaseModel):
    """The options of a Bluesky source."""

    model_config = ConfigDict(extra="forbid")

    hosts: _List = Field(
        default=list(PUBLIC_HOSTS),
        min_length=1,
        description="Jetstream servers, the first one preferred: host names or ws:// or wss:// URLs, by commas",
    )
    wire: Literal["auto", "v1", "v2"] = Field(
        default="auto", description="the protocol to speak; auto: v2 where the server has it, else v1"
    )
    authors: Annotated[list[_Did], BeforeValidator(_listed)] = Field(
        default=[], max_length=150, description="listen to these accounts alone, by DID (did:plc:…); none: to everybody"
    )
    compress: bool = Field(
        default=True,
        description="ask for a compressed stream: zstd where its dictionary can be had, deflate on v1 else",
    )
    dictionary: Path | None = Field(
        default=None, description="file with the v1 wire's zstd dictionary; the v2 wire's is fetched from the server"
    )
    rewind_s: float = Field(
        default=10.0, ge=0, le=3600, description="after a break, ask again for this many seconds before it"
    )
    silence_s: float = Field(
        default=5.0, gt=0, le=3600, description="the shortest silence, in seconds, that may count as a dead connection"
    )
    raw: bool = Field(default=False, description="keep each post's JSON in the column raw")


def create(rest: str, options: Options) -> "BlueskySource":
    """A source over the hosts that `rest` names, else over `options.hosts`. Raises ConfigError."""
    return BlueskySource(options.model_copy(update={"hosts": _listed(rest)}) if rest else options)


class BlueskySource:
    """Reads Jetstream; implements `interfaces.Source`. One iterator at a time."""

    name = NAME

    def __init__(self, options: Options) -> None:
        """Raises ConfigError for a host that is none or a dictionary that cannot be read."""
        if not options.hosts:
            raise ConfigError("source 'bluesky': no host is named: expected host names or URLs, by commas")
        self._options = options
        dictionary = _dictionary(options.dictionary)
        self._hosts = [
            Host(address, wire=options.wire, compress=options.compress, dictionary=dictionary)
            for address in options.hosts
        ]
        self._tally = Tally()

    @property
    def gaps(self) -> deque[Gap]:
        """What could not be had, the latest last; a cursor's `gaps` counts them all."""
        return self._tally.gaps

    @property
    def reconnects(self) -> int:
        """How many times a connection was lost or could not be made."""
        return self._tally.reconnects

    @property
    def resynced(self) -> int:
        """Posts left out because a server sent an account's old posts again (see docs/bluesky.md)."""
        return self._tally.resynced

    def read(self, cursor: Cursor | None) -> Iterator[Yielded]:
        """As `interfaces.Source.read`: never ends, reconnects by itself."""
        options = self._options
        place = Place(cursor, rewind_s=options.rewind_s)
        watchdog = Watchdog(floor_s=options.silence_s, start_s=place.silence_s or _START_SILENCE_S)
        turn = failures = quick = 0
        while True:
            host = self._hosts[turn % len(self._hosts)]
            before_us = place.time_us
            listener: Listener | None = None
            try:
                link = yield from self._open(host, place)
                listener = Listener(link, host.name, place, watchdog, self._tally, raw=options.raw)
                yield from listener.batches()
            except OSError as error:
                failure = error
            if _react(failure, host, place) and quick < _MAX_QUICK:
                quick += 1
                continue
            progressed = place.time_us > before_us
            quick = 0
            failures = 0 if progressed else failures + 1
            if listener is not None and listener.heard:
                host.stalls = 0 if progressed else host.stalls + 1
            turn += 1 if isinstance(failure, SilentError) or not progressed else 0
            self._tally.reconnects += 1
            metrics.SOURCE_RECONNECTS.labels(source=NAME).inc()
            delay_s = random.uniform(0.0, min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2 ** min(failures, 10)))
            following = self._hosts[turn % len(self._hosts)].name
            reason = str(failure) or type(failure).__name__
            _log.warning("%s: %s; connecting to %s in %.1f s", host.name, reason, following, delay_s)
            yield from _pause(delay_s, place)

    def _open(self, host: Host, place: Place) -> Generator[Yielded, None, Link]:
        """Connect to the host, with heartbeats meanwhile. Raises RefusedError or another OSError."""
        cursors = {wire: place.resume(host.name, wire, host.stalls) for wire in PARSERS}
        future = host.open_aside(cursors, self._options.authors)
        try:
            while not wait([future], HEARTBEAT_S).done:
                yield _heartbeat(place)
        except GeneratorExit:
            future.add_done_callback(_close_unwanted)
            raise
        return future.result()


def _react(failure: OSError, host: Host, place: Place) -> bool:
    """Learn from a failure; true if the host is worth asking again at once, in another way."""
    if isinstance(failure, RefusedError):
        if failure.error == "CursorTooOld":
            place.forget_sequence()
        return host.learn(failure)
    if isinstance(failure, DictionaryError):
        host.drop_dictionary()
        return True
    if isinstance(failure, FutureCursorError):
        place.forget_sequence()
        return True
    if isinstance(failure, ClosedError) and failure.oversized:
        host.cap()
        return True
    return False


def _heartbeat(place: Place) -> Yielded:
    return to_batch([]), place.cursor()


def _pause(seconds: float, place: Place) -> Iterator[Yielded]:
    """Wait, with heartbeats."""
    end = time.monotonic() + seconds
    while (left_s := end - time.monotonic()) > 0:
        time.sleep(min(left_s, HEARTBEAT_S))
        yield _heartbeat(place)


def _close_unwanted(future: "Future[Link]") -> None:
    """Close a connection that came about when nobody wanted it any more."""
    if future.exception() is None:
        future.result().connection.close()


def _dictionary(path: Path | None) -> bytes | None:
    """The file's content. Raises ConfigError if it cannot be read or is no zstd dictionary."""
    if path is None:
        return None
    try:
        content = path.read_bytes()
        Inflater(content)
    except (OSError, ValueError) as error:
        raise ConfigError(f"source 'bluesky': dictionary = {str(path)!r}: {error}") from error
    return content
