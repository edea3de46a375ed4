"""What a registry's store is: small contents under keys.

A key is `NAME/…`; whoever writes says what must have stood there before, so that of two writers one wins.
"""

from pathlib import Path
from typing import Final, NamedTuple, Protocol

S3: Final = "s3://"
ABSENT: Final = ""
"""The tag of what is not there."""


class Entry(NamedTuple):
    """What stands under a key; the tag changes whenever the content does."""

    content: bytes
    tag: str


class Place(Protocol):
    """A registry's store."""

    where: str
    """As a user writes it."""
    folder: Path | None
    """Where the keys are files below a folder of this machine: that folder."""

    def get(self, key: str) -> Entry | None:
        """What stands under a key; None: nothing. Raises RetryableError where the place is out of reach."""
        ...

    def put(self, key: str, content: bytes, *, before: str) -> bool:
        """Write if the tag under the key is still `before` (ABSENT: nothing is there); False: it is another one.

        All of the content appears at once, and is durable when this returns. Raises as `get`.
        """
        ...

    def keys(self, prefix: str = "") -> list[str]:
        """The keys that begin so, sorted. Raises as `get`."""
        ...
