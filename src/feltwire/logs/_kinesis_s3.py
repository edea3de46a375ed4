"""The state of a Kinesis log in S3, for processes on several machines: an object a document, replaced conditionally."""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from feltwire.bucket import Bucket
from feltwire.errors import ClaimError, ConfigError, LogError
from feltwire.logs._kinesis_state import ABSENT, Document, Held

LEASE_S: Final = 30.0  # for which a claim holds whose holder is not heard of
RENEW_S: Final = 8.0


class S3State:
    """Documents as objects below a prefix. Threads may use it at the same time."""

    def __init__(self, where: str) -> None:
        """`s3://bucket/prefix`; raises ConfigError for anything else."""
        self.where = where
        self._bucket = Bucket(where, "the log's state", away=LogError)
        if not self._bucket.prefix:
            raise ConfigError(f"log 'kinesis': state = {where!r}: expected s3://bucket/prefix")

    def get(self, key: str) -> Held | None:
        """See `State.get`."""
        found = self._bucket.get(f"{key}.json")
        return None if found is None else Held(json.loads(found.content), found.tag)

    def put(self, key: str, document: Document, version: str) -> str | None:
        """See `State.put`."""
        return self._bucket.put(f"{key}.json", json.dumps(document, separators=(",", ":")).encode(), before=version)

    @contextmanager
    def claim(self, name: str, what: str) -> Iterator[None]:
        """A lease that is renewed while the block runs.

        Who is killed holds it for half a minute longer. One that cannot be renewed is lost: what its holder then
        commits is refused by the lake, as soon as another has taken over.
        """
        key, token = f"claims/{name}", uuid.uuid4().hex
        version = self._acquire(key, token, what)
        ended = threading.Event()
        renewing = threading.Thread(target=self._renew, args=(key, token, version, ended), daemon=True)
        renewing.start()
        try:
            yield
        finally:
            ended.set()
            renewing.join()

    def close(self) -> None:
        """End the connections."""
        self._bucket.close()

    def _acquire(self, key: str, token: str, what: str) -> str:
        while True:
            held = self.get(key)
            if held is not None and held.document["until"] > time.time():
                by = held.document
                raise ClaimError(
                    f"{what} is held by process {by['process']} on {by['host']}: stop that one first, let it do the "
                    f"work, or wait {LEASE_S:.0f} s after it was killed"
                )
            version = self.put(key, _lease(token, LEASE_S), held.version if held else ABSENT)
            if version is not None:
                return version

    def _renew(self, key: str, token: str, version: str | None, ended: threading.Event) -> None:
        while not ended.wait(RENEW_S):
            with suppress(LogError, ConfigError):
                version = self._replace(key, token, version, LEASE_S)
                if version is None:
                    return  # another has it
        with suppress(LogError, ConfigError):
            self._replace(key, token, version, -1.0)

    def _replace(self, key: str, token: str, version: str | None, seconds: float) -> str | None:
        """The lease's new version; None where another has taken it. A lost answer is looked up."""
        done = self.put(key, _lease(token, seconds), version or ABSENT)
        if done is None and (held := self.get(key)) is not None and held.document["token"] == token:
            done = self.put(key, _lease(token, seconds), held.version)
        return done


def _lease(token: str, seconds: float) -> Document:
    return {"token": token, "until": time.time() + seconds, "process": os.getpid(), "host": socket.gethostname()}
