"""Pulling slices: what is to be done, and doing it in parallel, each slice staged as soon as it is whole."""

import hashlib
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, cast

import msgspec

from feltwire.backfill.slices import Slice, spans
from feltwire.backfill.staging import Folder, Staged
from feltwire.errors import ConfigError, DestinationError, FatalError, FeltwireError, SourceError
from feltwire.interfaces import Searchable

_MOST_SPANS: Final = 10  # are counted one by one
_WAIT_S: Final = 0.2
_STAGE_WAITS_S: Final = (0.5, 2.0, 5.0)


def searchable(source: object, uri: str) -> Searchable:
    """A source as one that can be asked for a period. Raises ConfigError for one that cannot."""
    if not all(callable(getattr(type(source), name, None)) for name in ("search", "parse", "count")):
        raise ConfigError(f"the source {uri} cannot be asked for a period of the past: name one that can, as x:search")
    return cast(Searchable, source)


@dataclass(frozen=True, kw_only=True)
class Task:
    """A period of a source, in slices, at most `limit` posts of each, staged in a folder."""

    source: Searchable
    slices: tuple[Slice, ...]
    staging: Folder
    limit: int | None = None
    parallel: int = 8
    key: str = field(init=False)
    """Of all that is asked for: a file of another key answers another question."""

    def __post_init__(self) -> None:
        asked = f"{self.source.name}\0{self.source.asked}\0{self.limit}"
        object.__setattr__(self, "key", hashlib.sha256(asked.encode()).hexdigest()[:12])

    def name(self, one: Slice) -> str:
        """The name of a slice's file."""
        return f"{one.name}-{self.key}"

    def unfinished(self) -> list[Slice]:
        """The slices that are not staged. Raises DestinationError."""
        names = self.staging.names()
        return [one for one in self.slices if self.name(one) not in names]

    def staged(self, one: Slice) -> Staged | None:
        """What was pulled of a slice; None where its file is none of ours. Raises DestinationError."""
        try:
            return msgspec.json.decode(self.staging.read(self.name(one)), type=Staged)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None


@dataclass(frozen=True)
class Estimate:
    """What pulling some slices would bring at most; None: nobody knows."""

    slices: int
    posts: int | None
    cost: float | None
    why: str = ""
    """Why nobody knows."""


def estimate(task: Task, slices: Sequence[Slice]) -> Estimate:
    """What pulling these slices would cost, asked of the far side. Raises ConfigError."""
    price = task.source.cost_per_post
    most = None if task.limit is None else task.limit * len(slices)
    why = ""
    try:
        counted: int | None = sum(task.source.count(one.start, one.end) for one in spans(list(slices), _MOST_SPANS))
    except SourceError as error:
        counted, why = None, str(error)
    known = [number for number in (counted, most) if number is not None]
    posts = min(known, default=None)
    return Estimate(len(slices), posts, None if posts is None else posts * price, why)


@dataclass(frozen=True)
class Pulled:
    """A slice that was pulled, or the error by which it could not be."""

    slice: Slice
    staged: Staged | None
    error: FeltwireError | None = None


def pull(
    task: Task, slices: Sequence[Slice], stop: threading.Event, *, gives_up: bool = True
) -> Iterator[list[Pulled]]:
    """Pull slices in parallel and stage each; yields those that are done, and an empty list now and then meanwhile.

    What is yielded with pages is staged. A slice that fails for good does not keep the others; where the settings
    are wrong or, with `gives_up`, the first ones all fail, it ends. Raises FatalError or DestinationError.
    """
    left = list(reversed(slices))
    running: set[Future[Pulled | None]] = set()
    succeeded, failures = False, 0
    halt = threading.Event()

    def stopped() -> bool:
        return stop.is_set() or halt.is_set()

    with ThreadPoolExecutor(task.parallel, thread_name_prefix="pull") as pool:
        try:
            while (left or running) and not stop.is_set():
                while left and len(running) < 2 * task.parallel:
                    running.add(pool.submit(_pull_one, task, left.pop(), stopped))
                done, running = wait(running, timeout=_WAIT_S, return_when=FIRST_COMPLETED)
                results = [pulled for future in done if (pulled := future.result()) is not None]
                errors = [pulled.error for pulled in results if pulled.error is not None]
                succeeded |= len(results) > len(errors)
                failures += len(errors)
                if gives_up and errors and not succeeded and failures >= min(task.parallel, len(slices)):
                    raise errors[-1]
                yield results
        finally:
            halt.set()
            pool.shutdown(wait=True, cancel_futures=True)


def _pull_one(task: Task, one: Slice, stopped: Any) -> Pulled | None:
    """Pull and stage a slice; None when stopped before its end. Raises ConfigError."""
    if stopped():
        return None
    pages: list[msgspec.Raw] = []
    pulled_at = datetime.now(UTC)
    try:
        with closing(_generator(task.source.search(one.start, one.end, limit=task.limit))) as found:
            for page in found:
                if stopped():
                    return None
                if page is not None:
                    pages.append(msgspec.Raw(page))
    except ConfigError:
        raise
    except FatalError as error:
        return Pulled(one, None, error)
    staged = Staged(task.source.name, one.start, one.end, task.limit, pulled_at, pages)
    return _stage(task, one, staged)


def _stage(task: Task, one: Slice, staged: Staged) -> Pulled:
    """Write a slice's file; what was paid for is not given up at once."""
    content = msgspec.json.encode(staged)
    for wait_s in (*_STAGE_WAITS_S, None):
        try:
            task.staging.write(task.name(one), content)
        except DestinationError as error:
            if wait_s is None:
                return Pulled(one, None, error)
            time.sleep(wait_s)
        else:
            break
    return Pulled(one, staged)


def _generator(pages: Iterator[bytes | None]) -> Any:
    """The iterator as something that can be closed: a generator is, another one need not be."""
    return pages if hasattr(pages, "close") else (page for page in pages)
