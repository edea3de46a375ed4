"""A registry's store in a bucket of S3."""

from pathlib import Path

from feltwire.bucket import Bucket
from feltwire.models._place import Entry


class S3Place:
    """Keys are objects below a prefix."""

    folder: Path | None = None

    def __init__(self, where: str) -> None:
        """`s3://bucket/prefix`; raises ConfigError for anything else."""
        self.where = where
        self._bucket = Bucket(where, "registry")

    def get(self, key: str) -> Entry | None:
        """The object; raises RetryableError where S3 is out of reach, ConfigError where it refuses."""
        found = self._bucket.get(key)
        return None if found is None else Entry(*found)

    def put(self, key: str, content: bytes, *, before: str) -> bool:
        """A conditional put; raises as `get`."""
        return self._bucket.put(key, content, before=before) is not None

    def keys(self, prefix: str = "") -> list[str]:
        """The objects' keys; raises as `get`."""
        return self._bucket.keys(prefix)
