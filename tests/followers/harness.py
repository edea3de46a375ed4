"""What the contract suite needs of a destination: how to make it, and how to read it back.

`tests/followers/targets/<name>.py` holds a class `Target(folder)` for the follower `<name>`.
"""

import importlib
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any, Protocol

import pytest
from tests.followers.feeds import MemoryFeed

from feltwire import following, registry
from feltwire.interfaces import Follower, Position

Place = tuple[int, int]


class Target(Protocol):
    """A destination under test."""

    uri: str
    options: dict[str, Any]
    durable: bool
    """Whether it outlives its process."""
    exact: bool
    """Whether a kill at any instant leaves every post exactly once."""

    def attach(self, follower: Any) -> None:
        """Called with every follower that is made for it."""
        ...

    def posts(self) -> list[Place]:
        """(log_partition, log_offset) of every post that it has, as often as it has it."""
        ...

    def withdrawn(self) -> list[Place] | None:
        """The same of withdrawals; None: it does not keep them so that they can be told apart."""
        ...

    def close(self) -> None:
        """Release what reading it back needs."""
        ...


class Opened:
    """A target and the follower that is at work on it; opening it anew is what a restart does."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._follower: Any = None

    def follower(self, **options: Any) -> Follower:
        """A new follower over the same destination; the one before is gone, as after a kill."""
        if self._follower is not None and not self.target.durable:
            return self._follower  # type: ignore[no-any-return]
        self.release()
        self._follower = registry.create("followers", self.target.uri, {**self.target.options, **options})
        self.target.attach(self._follower)
        return self._follower  # type: ignore[no-any-return]

    def release(self) -> None:
        """Let go of locks and connections, as the end of a process does."""
        if hasattr(self._follower, "close"):
            self._follower.close()
        if self.target.durable:
            self._follower = None

    def close(self) -> None:
        self.release()
        self.target.close()


def make(name: str, folder: Path) -> Opened:
    """The target of the follower `name`."""
    module = importlib.import_module(f"tests.followers.targets.{name}")
    target: Target = module.Target(folder)
    return Opened(target)


def catch_up(feed: MemoryFeed, follower: Follower, *, max_posts: int = 7) -> Position:
    """Follow to the end of the feed."""
    return following.follow(feed, follower, stop=Event(), max_posts=max_posts, poll_s=0.001, once=True)


def check(feed: MemoryFeed, target: Target) -> None:
    """Every post once, but for those withdrawn: at most once; every withdrawal once; nothing else."""
    counts = Counter(target.posts())
    assert max(counts.values(), default=1) == 1, "a post is doubled"
    wanted = {(row["log_partition"], row["log_offset"]) for row in feed.rows if not feed.hidden(row)}
    known = {(row["log_partition"], row["log_offset"]) for row in feed.rows}
    assert wanted <= set(counts), "a post is lost"
    assert set(counts) <= known
    withdrawn = target.withdrawn()
    if withdrawn is not None:
        assert sorted(withdrawn) == [(row["log_partition"], row["log_offset"]) for row in feed.withdrawals]


class Killed(BaseException):
    """The process ends here."""


STEPS = ("open", "write", "fsync", "replace", "ftruncate", "truncate", "unlink")


@contextmanager
def fault(patch: pytest.MonkeyPatch, at: int, when: str, error: Callable[[], BaseException]) -> Iterator[list[str]]:
    """Raise `error` at the `at`-th call that changes a file (0: never), `before`, `midway` or `after` its effect.

    Yields the list of the calls made.
    """
    calls: list[str] = []

    def wrap(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            if len(calls) != at:
                return real(*args, **kwargs)
            if when == "midway" and name == "write":
                real(args[0], bytes(args[1])[: len(args[1]) // 2])
            elif when == "after":
                result = real(*args, **kwargs)
                if name == "open":
                    os.close(result)
            raise error()

        return step

    with patch.context() as inner:
        for name in STEPS:
            inner.setattr(os, name, wrap(name, getattr(os, name)))
        yield calls
