"""The state of a Kinesis log in S3, for processes on several machines: an object a document, replaced conditionally.

Endpoint, region and keys are those that boto3 finds for itself (`AWS_ENDPOINT_URL_S3` for another store, which must
know conditional writes).
"""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from feltwire.errors import ClaimError, ConfigError, LogError
from feltwire.logs._kinesis_state import ABSENT, Document, Held

S3: Final = "s3://"
LEASE_S: Final = 30.0  # for which a claim holds whose holder is not heard of
RENEW_S: Final = 8.0

_MISSING: Final = frozenset({"NoSuchKey", "404"})
_LOST: Final = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})
_WRONG: Final = frozenset({"NoSuchBucket", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "403"})
_CLIENT: Final = Config(connect_timeout=3.0, read_timeout=20.0, retries={"total_max_attempts": 3, "mode": "standard"})


class S3State:
    """Documents as objects below a prefix. Threads may use it at the same time."""

    def __init__(self, where: str) -> None:
        """`s3://bucket/prefix`; raises ConfigError for anything else."""
        bucket, _, prefix = where.removeprefix(S3).partition("/")
        if not bucket or not prefix.strip("/"):
            raise ConfigError(f"log 'kinesis': state = {where!r}: expected s3://bucket/prefix")
        self.where = where
        self._bucket = bucket
        self._prefix = prefix.strip("/")
        try:
            self._client: Any = boto3.client("s3", config=_CLIENT)
        except (BotoCoreError, ValueError) as error:
            raise ConfigError(f"log 'kinesis': state = {where!r}: {error}") from error

    def get(self, key: str) -> Held | None:
        """See `State.get`."""
        try:
            with self._reaching():
                found = self._client.get_object(Bucket=self._bucket, Key=self._key(key))
                return Held(json.loads(found["Body"].read()), str(found["ETag"]))
        except _MissingError:
            return None

    def put(self, key: str, document: Document, version: str) -> str | None:
        """See `State.put`."""
        content = json.dumps(document, separators=(",", ":")).encode()
        condition = {"IfNoneMatch": "*"} if version == ABSENT else {"IfMatch": version}
        try:
            with self._reaching():
                done = self._client.put_object(Bucket=self._bucket, Key=self._key(key), Body=content, **condition)
        except (_LostError, _MissingError):
            return None
        return str(done["ETag"])

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
        self._client.close()

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

    def _key(self, key: str) -> str:
        return f"{self._prefix}/{key}.json"

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """What boto3 raises, as Feltwire's own errors."""
        try:
            yield
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in _MISSING:
                raise _MissingError from error
            if code in _LOST:
                raise _LostError from error
            if code in _WRONG:
                raise ConfigError(
                    f"the log's state {self.where}: S3 says {code}: check bucket, keys, policy"
                ) from error
            raise LogError(
                f"the log's state {self.where} cannot be reached now: S3 says {code or 'nothing'}"
            ) from error
        except BotoCoreError as error:
            said = " ".join(str(error).split())
            raise LogError(f"the log's state {self.where} cannot be reached now: {said}") from error


def _lease(token: str, seconds: float) -> Document:
    return {"token": token, "until": time.time() + seconds, "process": os.getpid(), "host": socket.gethostname()}


class _MissingError(Exception):
    """There is no such object."""


class _LostError(Exception):
    """Somebody else was faster."""
