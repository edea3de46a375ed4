"""A Jetstream server as we know it: its address, the wire that it speaks, the compression that it takes."""

import logging
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Final, NamedTuple
from urllib.parse import urlencode, urlsplit

import httpx
from websockets.exceptions import WebSocketException

from feltwire.errors import ConfigError
from feltwire.sources._jetstream import POSTS
from feltwire.sources._websocket import MAX_MESSAGE_BYTES, Connection, Inflater, RefusedError

_V1_PATH: Final = "/subscribe"
_V2_PATH: Final = "/xrpc/network.bsky.jetstream.subscribeEvents"
_DICTIONARY_PATH: Final = "/xrpc/network.bsky.jetstream.getZstdDictionary"
_TIMEOUT_S: Final = 10.0
_MAX_DICTIONARY_BYTES: Final = 2**21
# Answers that say nothing about which wire the server speaks: busy, starting, told to slow down.
_PASSING: Final = frozenset({408, 425, 429})

_log = logging.getLogger("feltwire.sources.bluesky")


class Link(NamedTuple):
    """An open connection and how to read it."""

    connection: Connection
    wire: str
    inflater: Inflater | None
    asked: int | None
    """The cursor that was asked for."""


class Host:
    """One server. What it refused once is not asked of it again."""

    def __init__(self, address: str, *, wire: str, compress: bool, dictionary: bytes | None) -> None:
        """`address`: a host name, or a URL with ws, wss, http or https; a path that names a wire decides the wire.

        `dictionary`: the one for the v1 wire. Raises ConfigError for an address that is none.
        """
        self._base, self.name, named = _parted(address)
        self._automatic = wire == "auto" and named is None
        self._wire = named or (None if wire == "auto" else wire)
        self._compress = compress
        self._v1_dictionary = dictionary
        self._inflater: Inflater | None = None
        self._zstd = compress  # on v2: the server has a dictionary, as far as we know
        self._stale_dictionaries = 0
        self._capped = False
        self.stalls = 0
        """How many connections in a row brought events, but no new ones."""

    def open(self, cursors: Mapping[str, int | None], authors: Sequence[str]) -> Link:
        """Connect. `cursors`: where to resume, by wire. Raises RefusedError or another OSError. Blocks."""
        wire = self._wire or "v2"
        inflater = self._inflater_for(wire)
        asked = cursors[wire]
        try:
            connection = Connection.open(
                self._url(wire, asked, authors, inflater),
                subprotocol="xrpc.v1.json" if wire == "v2" else None,
                deflate=self._compress and wire == "v1" and inflater is None,
                timeout_s=_TIMEOUT_S,
            )
        except (ValueError, WebSocketException) as error:  # a name that cannot be one
            raise OSError(f"{type(error).__name__}: {error}") from error
        return Link(connection, wire, inflater, asked)

    def open_aside(self, cursors: Mapping[str, int | None], authors: Sequence[str]) -> "Future[Link]":
        """`open` in a thread of its own: the look-up of a name cannot be interrupted."""
        future: Future[Link] = Future()

        def work() -> None:
            try:
                future.set_result(self.open(cursors, authors))
            except BaseException as error:  # noqa: BLE001 (it is raised where the result is asked for)
                future.set_exception(error)

        threading.Thread(target=work, name="feltwire-bluesky-open", daemon=True).start()
        return future

    def learn(self, refusal: RefusedError) -> bool:
        """Take note of a refusal; true if it is worth asking again at once, in another way."""
        wire = self._wire or "v2"
        if refusal.error == "CursorTooOld":
            return True  # the place falls back on its time
        if refusal.error == "UnknownZstdDictionary":
            self.drop_dictionary()
            return True
        if refusal.status >= 500 or refusal.status in _PASSING:
            return False
        if wire == "v1" and refusal.status == 400 and self._compress:
            self._compress = self._v1_dictionary is not None  # first without the dictionary, then without deflate
            self._v1_dictionary = None
            return True
        if self._automatic:
            self._wire = "v1" if wire == "v2" else None
        return self._automatic and wire == "v2"

    def drop_dictionary(self) -> None:
        """The dictionary does not fit: fetch it anew next time (v2), and do without after that."""
        self._v1_dictionary = None
        self._inflater = None
        self._stale_dictionaries += 1
        self._zstd = self._zstd and self._stale_dictionaries <= 1

    def cap(self) -> None:
        """From now on ask the server to leave out what is larger than we take."""
        self._capped = True

    def _url(self, wire: str, cursor: int | None, authors: Sequence[str], inflater: Inflater | None) -> str:
        fields: list[tuple[str, object]]
        if wire == "v1":
            fields = [("wantedCollections", POSTS), *(("wantedDids", did) for did in authors)]
        else:
            fields = [("collections", POSTS), *(("kinds", kind) for kind in ("commit", "account", "sync"))]
            fields += [("dids", did) for did in authors]
        if cursor is not None:
            fields.append(("cursor", cursor))
        if self._capped:
            fields.append(("maxMessageSizeBytes", MAX_MESSAGE_BYTES))
        if inflater is not None:
            fields.append(("compress", "true") if wire == "v1" else ("zstdDictionary", inflater.dictionary_id))
        path = _V1_PATH if wire == "v1" else _V2_PATH
        return f"{self._base}{path}?{urlencode(fields, safe=':')}"

    def _inflater_for(self, wire: str) -> Inflater | None:
        if wire == "v1":
            return Inflater(self._v1_dictionary) if self._compress and self._v1_dictionary is not None else None
        if self._zstd and self._inflater is None:
            self._inflater = self._fetched()
        return self._inflater

    def _fetched(self) -> Inflater | None:
        """The server's dictionary for the v2 wire; None, and no more asking, if it has none."""
        url = f"http{self._base.removeprefix('ws')}{_DICTIONARY_PATH}"
        try:
            answer = httpx.get(url, timeout=_TIMEOUT_S)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError):
            return None  # unreachable: the stream will say so
        if answer.status_code >= 500 or answer.status_code in _PASSING:
            return None
        why = f"HTTP {answer.status_code}, {len(answer.content)} bytes"
        if answer.status_code == 200 and len(answer.content) <= _MAX_DICTIONARY_BYTES:
            try:
                return Inflater(answer.content)
            except ValueError as error:
                why = str(error)
        _log.info("%s offers no zstd dictionary (%s): a v2 stream comes uncompressed", self.name, why)
        self._zstd = False
        return None


def _parted(address: str) -> tuple[str, str, str | None]:
    """(ws or wss URL without the wire's path, host name and port, the wire that the path names if any)."""
    parts = urlsplit(address if "://" in address else f"wss://{address}")
    scheme = {"ws": "ws", "http": "ws", "wss": "wss", "https": "wss"}.get(parts.scheme)
    try:
        port = parts.port
    except ValueError:
        scheme, port = None, None
    if scheme is None or not parts.hostname or parts.username is not None or parts.query or parts.fragment:
        raise ConfigError(
            f"source 'bluesky': {address!r} is no Jetstream server: expected a host name or a ws:// or wss:// URL, "
            "without user, query and fragment"
        )
    path, wire = parts.path.rstrip("/"), None
    for name, ending in (("v1", _V1_PATH), ("v2", _V2_PATH)):
        if path.endswith(ending):
            path, wire = path.removesuffix(ending), name
    netloc = parts.netloc
    return f"{scheme}://{netloc}{path}", netloc if port else parts.hostname, wire
