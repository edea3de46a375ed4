"""Small objects in a bucket of S3, each written only where it still is what the writer has seen.

Endpoint, region and keys are those that boto3 finds for itself (`AWS_ENDPOINT_URL_S3` for another store, which must
know conditional writes, as S3 and its like do).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from feltwire.errors import ConfigError, RetryableError

SCHEME: Final = "s3://"
ABSENT: Final = ""
"""The tag of what is not there."""

_MISSING: Final = frozenset({"NoSuchKey", "404"})
_LOST: Final = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})
_WRONG: Final = frozenset({"NoSuchBucket", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "403"})
_CLIENT: Final = Config(connect_timeout=3.0, read_timeout=20.0, retries={"total_max_attempts": 3, "mode": "standard"})


class Entry(NamedTuple):
    """What stands under a key; the tag changes whenever the content does."""

    content: bytes
    tag: str


class Bucket:
    """Objects below a prefix. Threads may use it at the same time."""

    def __init__(self, where: str, what: str, *, away: type[RetryableError] = RetryableError) -> None:
        """`where` is s3://bucket or s3://bucket/prefix, `what` it is for begins every message.

        Everything raises ConfigError where S3 refuses, and `away` where it cannot be reached now.
        """
        self._bucket, _, prefix = where.removeprefix(SCHEME).partition("/")
        if not self._bucket:
            raise ConfigError(f"{what} {where!r}: expected s3://bucket/prefix")
        self.prefix: Final = prefix.strip("/")
        self._below = f"{self.prefix}/" if self.prefix else ""
        self._what = f"{what} {where}"
        self._away = away
        try:
            self._client: Any = boto3.client("s3", config=_CLIENT)
        except (BotoCoreError, ValueError) as error:
            raise ConfigError(f"{self._what}: {' '.join(str(error).split())}") from error

    def get(self, key: str) -> Entry | None:
        """The object; None: there is none."""
        try:
            with self._reaching():
                found = self._client.get_object(Bucket=self._bucket, Key=self._below + key)
                return Entry(found["Body"].read(), str(found["ETag"]))
        except _MissingError:
            return None

    def put(self, key: str, content: bytes, *, before: str) -> str | None:
        """Write where the tag is still `before`, and return the new one; None: somebody else was faster."""
        condition = {"IfNoneMatch": "*"} if before == ABSENT else {"IfMatch": before}
        try:
            with self._reaching():
                done = self._client.put_object(Bucket=self._bucket, Key=self._below + key, Body=content, **condition)
        except (_LostError, _MissingError):
            return None
        return str(done["ETag"])

    def keys(self, prefix: str = "") -> list[str]:
        """The objects' keys that begin so, sorted."""
        with self._reaching():
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._below + prefix
            )
            found = [row["Key"] for page in pages for row in page.get("Contents", ())]
        return sorted(key.removeprefix(self._below) for key in found)

    def close(self) -> None:
        """End the connections."""
        self._client.close()

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
                raise ConfigError(f"{self._what}: S3 says {code}: check bucket, keys, policy") from error
            raise self._away(f"{self._what} cannot be reached now: S3 says {code or 'nothing'}") from error
        except BotoCoreError as error:
            said = " ".join(str(error).split())
            raise self._away(f"{self._what} cannot be reached now: {said}") from error


class _MissingError(Exception):
    """There is no such object."""


class _LostError(Exception):
    """Somebody else was faster."""
