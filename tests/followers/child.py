"""What the tests kill: a process that follows a story into a destination, one post at a time."""

from multiprocessing.synchronize import Event
from threading import Event as Stop
from typing import Any

from tests.followers.feeds import story

from feltwire import following, registry
from feltwire.followers import parquet

SEED = 8
POSTS = 300


def run(uri: str, options: dict[str, Any], ready: Event) -> None:
    """Follow to the end; `ready` is set when following begins."""
    parquet.MERGE_FILES = 2  # type: ignore[misc]
    feed = story(SEED, POSTS)
    follower = registry.create("followers", uri, options)
    ready.set()
    following.follow(feed, follower, stop=Stop(), max_posts=1, once=True)
