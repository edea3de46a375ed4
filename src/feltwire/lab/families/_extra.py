"""What the extra `train` brings, and what is said where it is missing."""

from collections.abc import Iterator
from contextlib import contextmanager

from feltwire.errors import MissingExtraError


@contextmanager
def needs_train(what: str) -> Iterator[None]:
    """Around an import of the lab's own rooms: a library that is missing is a MissingExtraError naming the extra."""
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in {"", "feltwire"}:
            raise
        raise MissingExtraError(f"{what} needs the library {missing!r}: pip install 'feltwire[train]'") from error
