"""A registry's store in a bucket of S3. Endpoint, region and keys are those that boto3 finds for itself."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from feltwire.errors import ConfigError, RetryableError
from feltwire.models._place import ABSENT, S3, Entry

_NOT_THERE: Final = frozenset({"NoSuchKey", "404"})
_LOST: Final = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})
_WRONG: Final = frozenset({"NoSuchBucket", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "403"})
_CLIENT: Final = Config(connect_timeout=3.0, read_timeout=20.0, retries={"total_max_attempts": 2, "mode": "standard"})


class S3Place:
    """Keys are objects below a prefix. Needs a store with conditional writes, as S3 and its like have them."""

    folder: Path | None = None

    def __init__(self, where: str) -> None:
        """`s3://bucket/prefix`; raises ConfigError for anything else."""
        bucket, _, prefix = where.removeprefix(S3).partition("/")
        if not bucket:
            raise ConfigError(f"registry {where!r}: expected s3://bucket/prefix")
        self.where = where
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        with self._reaching():
            self._client: Any = boto3.client("s3", config=_CLIENT)

    def get(self, key: str) -> Entry | None:
        """The object; raises RetryableError where S3 is out of reach, ConfigError where it refuses."""
        try:
            with self._reaching():
                found = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)
                return Entry(found["Body"].read(), str(found["ETag"]))
        except _MissingError:
            return None

    def put(self, key: str, content: bytes, *, before: str) -> bool:
        """A conditional put; raises as `get`."""
        condition = {"IfNoneMatch": "*"} if before == ABSENT else {"IfMatch": before}
        try:
            with self._reaching():
                self._client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=content, **condition)
        except (_LostError, _MissingError):
            return False
        return True

    def keys(self, prefix: str = "") -> list[str]:
        """The objects' keys; raises as `get`."""
        with self._reaching():
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix + prefix
            )
            found = [row["Key"] for page in pages for row in page.get("Contents", ())]
        return sorted(key.removeprefix(self._prefix) for key in found)

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """What boto3 raises, as Feltwire's own errors."""
        try:
            yield
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in _NOT_THERE:
                raise _MissingError from error
            if code in _LOST:
                raise _LostError from error
            if code in _WRONG:
                raise ConfigError(f"registry {self.where}: S3 says {code}: check the bucket and the keys") from error
            raise RetryableError(f"registry {self.where}: S3 says {code or 'nothing'}") from error
        except BotoCoreError as error:
            raise RetryableError(f"registry {self.where}: {' '.join(str(error).split())}") from error


class _MissingError(Exception):
    """There is no such object."""


class _LostError(Exception):
    """Somebody else was faster."""
