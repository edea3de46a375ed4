"""The loop that every follower runs in, and a thread that runs it apart from the others.

A destination knows how far it is; the loop asks the feed for what comes behind, hands it over, and begins again.
Nothing is remembered here: after any failure the destination is asked anew, so a batch that landed without an
answer is not sent twice and one that did not land is not left out.
"""

import functools
import logging
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from feltwire.errors import PositionError, RetryableError
from feltwire.interfaces import Feed, Follower, Position

FIRST_WAIT_S: Final = 0.25
LONGEST_WAIT_S: Final = 30.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Step:
    """One turn of the loop, as told to `observe`: what was applied, or why nothing could be."""

    position: Position
    posts: int = 0  # handed over; the destination's own filters come after
    withdrawn: int = 0
    error: RetryableError | None = None


def follow(
    feed: Feed,
    follower: Follower,
    *,
    stop: threading.Event,
    max_posts: int = 5000,
    poll_s: float = 0.25,
    once: bool = False,
    start: Position | None = None,
    observe: Callable[[Step], None] | None = None,
    name: str = "follower",
) -> Position:
    """Bring `follower` up to the feed and keep it there until `stop` is set; return the position reached.

    A follower that has nothing yet begins at `start` (None: from nothing, so it is given everything there is).
    With `once` it returns at the end of the feed. A RetryableError is waited out, longer each time up to
    LONGEST_WAIT_S, and logged once; a FatalError ends the loop and is raised. `observe` is called after every turn,
    in this thread. The follower is not closed.
    """
    reached: Position = {}
    asked = False
    failures = 0
    while not stop.is_set():
        try:
            if not asked:
                reached = follower.position() or start or {}
            asked = True
            posts, withdrawn, end = feed.changes(reached, max_posts)
            end = {**reached, **end}
            _check_forward(reached, end, name)
            moved = end != reached
            if moved:
                follower.apply(posts, withdrawn, end)
        except RetryableError as error:
            asked = False
            if not failures:
                _log.warning("%s waits: %s", name, error)
            if observe is not None:
                observe(Step(position=reached, error=error))
            stop.wait(backoff_s(failures))
            failures += 1
            continue
        if failures:
            _log.info("%s goes on after %d failures", name, failures)
        failures, reached = 0, end
        if observe is not None:
            observe(Step(position=reached, posts=posts.num_rows, withdrawn=withdrawn.num_rows))
        if not moved:
            if once:
                break
            stop.wait(poll_s)
    return reached


def _check_forward(reached: Position, end: Position, name: str) -> None:
    """Going back would mean another log under the same numbers: what lies between would be passed over in silence."""
    for partition, offset in reached.items():
        if end[partition] < offset:
            raise PositionError(
                f"{name} is at offset {offset} of log partition {partition}, the lake only at {end[partition]}: it is "
                "another lake than before. Name another destination, or remove this one to begin from nothing"
            )


def backoff_s(failures: int) -> float:
    """How long to wait after so many earlier failures in a row: doubling, bounded, and never in step with others."""
    longest: float = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(failures, 16))
    return longest * random.uniform(0.5, 1.0)


class FollowerThread:
    """One follower in a thread of its own: however slow or broken it is, the others do not notice.

    `feed` and `follower` are used by this thread alone. The attributes may be read from any thread at any time.
    """

    def __init__(
        self,
        name: str,
        feed: Feed,
        follower: Follower,
        *,
        max_posts: int = 5000,
        poll_s: float = 0.25,
        once: bool = False,
        start: Position | None = None,
    ) -> None:
        self.name = name
        self.position: Position = {}
        """How far it is; lag is the lake's position less this one."""
        self.error: Exception | None = None
        """Why it waits, or, when it is no longer `alive`, why it ended; None: all is well."""
        self.applied = 0
        """Posts handed over since the start of this thread."""
        self.withdrawn = 0
        """Withdrawals handed over since the start of this thread."""
        self.last_ok_at: datetime | None = None
        """When feed and destination last both answered."""
        self._follower = follower
        self._follow = functools.partial(
            follow, feed, follower, max_posts=max_posts, poll_s=poll_s, once=once, start=start, name=name
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"follower-{name}", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether it still follows, be it waiting."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin. Call it once."""
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> bool:
        """Ask it to end after the batch at hand and wait so long; whether it has ended.

        One that hangs in its destination is left behind: it is a daemon thread, and being cut off in the middle of
        a batch is a thing that every destination survives.
        """
        self._stop.set()
        return self.join(timeout_s)

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait until it has ended by itself (`once`, or a fatal error); whether it has."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self.alive

    def _run(self) -> None:
        try:
            self._follow(stop=self._stop, observe=self._note)
        except Exception as error:  # noqa: BLE001  (the wall between followers: whatever it is, it stays in here)
            self.error = error
            _log.error("%s ended: %s: %s", self.name, type(error).__name__, error)
        finally:
            close = getattr(self._follower, "close", None)
            if close is not None:
                close()

    def _note(self, step: Step) -> None:
        self.error = step.error
        self.position = step.position
        self.applied += step.posts
        self.withdrawn += step.withdrawn
        if step.error is None:
            self.last_ok_at = datetime.now(UTC)
