"""What a Kinesis log knows of its shards, and which of the partitions over them a worker has."""

import threading
import time
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import Final, Protocol

from feltwire.errors import ClaimError, LogError
from feltwire.interfaces import Position
from feltwire.logs._kinesis_client import Client
from feltwire.logs._kinesis_shards import Topology, extend, listed, topology
from feltwire.logs._kinesis_state import State, change

STREAM: Final = "stream"  # the document of the stream's identity, shards and partitions
CLAIM_S: Final = 5.0  # between two tries to claim a partition that another worker has
_LIST_S: Final = 60.0  # between two looks at the list of shards, where nothing has told of a change


class Listing:
    """The shards as the state knows them, asked for again now and then."""

    def __init__(self, client: Client, state: State) -> None:
        self._client = client
        self._state = state
        self._lock = threading.Lock()
        self._listed_at = 0.0
        self._topology = topology({"shards": {}, "lines": []})

    def now(self) -> Topology:
        """As they were known last, at most a minute ago, or longer where the stream does not answer."""
        if time.monotonic() - self._listed_at > _LIST_S:
            try:
                self.refresh()
            except LogError:
                self._listed_at = time.monotonic()
        return self._topology

    def refresh(self) -> Topology:
        """As the stream lists them now. Raises LogError."""
        with self._lock:
            shards = listed(self._client.shards())
            self._topology = topology(change(self._state, STREAM, lambda document: extend(document, shards)))
            self._listed_at = time.monotonic()
            return self._topology


class Claims(Protocol):
    """A log whose partitions are claimed."""

    def ends(self) -> Position:
        """{partition: offset of the next record}; looks for more where it is time to."""
        ...

    def partitions(self) -> frozenset[int]:
        """The partitions that can be read."""
        ...

    def claim(self, pipeline: str, partition: int) -> AbstractContextManager[None]:
        """Be the one worker on a partition. Raises ClaimError when there is another one."""
        ...


class Share:
    """The partitions that a worker has claimed: as many as are free, and those that become free or are new."""

    def __init__(self, log: Claims, pipeline: str, claims: ExitStack) -> None:
        self._log = log
        self._pipeline = pipeline
        self._claims = claims
        self._held: set[int] = set()
        self._asked: dict[int, float] = {}

    def partitions(self) -> frozenset[int] | None:
        """Those that are this worker's now; None while it has none: another one has them all."""
        with suppress(LogError):
            self._log.ends()  # which may bring new ones
        for number in self._log.partitions() - self._held:
            if time.monotonic() - self._asked.get(number, -CLAIM_S) < CLAIM_S:
                continue
            self._asked[number] = time.monotonic()
            with suppress(ClaimError, LogError):
                self._claims.enter_context(self._log.claim(self._pipeline, number))
                self._held.add(number)
        return frozenset(self._held) or None
