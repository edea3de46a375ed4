"""In which order the regions of a page are brought up to date, and what is sent."""

import asyncio
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from tests.lake.building import Builder, post

from feltwire.errors import ConfigError, LakeError
from feltwire.lake import Lake
from feltwire.plan import Progress
from feltwire.web.dashboard import live, pages
from feltwire.web.dashboard.context import Context, State
from feltwire.web.dashboard.live import Region, Sent, Shared, Watch, refresh
from feltwire.web.dashboard.view import parse


class Clock:
    """A watch whose versions the test sets."""

    fast = slow = 1


def region(name: str, seconds: float, versions: Clock, *, broken: bool = False) -> Region:
    def compute() -> dict[str, str]:
        time.sleep(seconds)
        if broken:
            raise LakeError("away")
        return {name: str(versions.fast)}

    return Region(name, name, slow=False, compute=compute, failed=lambda error: {name: f'"{error}"'})


def sent_by(*rounds: list[Region], versions: Clock) -> list[list[str]]:
    """What a page is sent in each round, in its order; all rest in between."""

    async def run() -> list[list[str]]:
        shared, sent, found = Shared(), Sent(), []
        for regions in rounds:
            messages: list[str] = []

            async def send(text: str, messages: list[str] = messages) -> None:
                messages.append(text)

            rest_s = await refresh(regions, cast(Watch, versions), shared, sent, cast(Any, send))
            assert rest_s == 0.0
            await asyncio.sleep(0.5)
            found.append(messages)
            versions.fast += 1
        return found

    return asyncio.run(run())


def test_first_in_their_order_and_later_the_quickest_first() -> None:
    versions = Clock()
    regions = [region("chart", 0.08, versions), region("posts", 0.01, versions)]
    first, later = sent_by(regions, regions, versions=versions)
    assert first == ['{"parts":{"chart":1}}', '{"parts":{"posts":1}}']
    assert later == ['{"parts":{"posts":2}}', '{"parts":{"chart":2}}']


def test_what_fails_fails_alone() -> None:
    versions = Clock()
    regions = [region("chart", 0.0, versions, broken=True), region("posts", 0.0, versions)]
    (found,) = sent_by(regions, versions=versions)
    assert sorted(found) == ['{"parts":{"chart":"away"}}', '{"parts":{"posts":1}}']


def test_nothing_is_sent_twice() -> None:
    versions = Clock()

    def still() -> dict[str, str]:
        return {"posts": "0"}

    quiet = Region("posts", "posts", slow=False, compute=still, failed=lambda _: {})
    first, later = sent_by([quiet], [quiet], versions=versions)
    assert (len(first), later) == (1, [])


@pytest.mark.parametrize("page", ["overview", "health", "compare"])
def test_the_first_post_is_noticed_on_every_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    """Opened before there is a lake, a page says so, and no longer once there is a post."""
    for name in ("health", "compare"):
        monkeypatch.setitem(pages.EXTRA, name, lambda *_: [])
    made: list[Lake] = []

    def lake() -> Lake:
        if not made:
            raise ConfigError("there is no lake at lake")
        return made[0]

    context, versions = Context(State(lake=lake, progress=Progress)), Clock()
    regions = pages.regions_of(context, parse(f"?page={page}&range=30d"), UTC)

    def posts() -> list[int]:
        (messages,) = sent_by(regions, versions=versions)
        versions.fast = versions.slow = versions.fast + 1
        context.forget()
        parts = [json.loads(message)["parts"] for message in messages]
        return [part["posts"] for part in parts if "posts" in part]

    assert set(posts()) == {0}
    builder = Builder(tmp_path)
    made.append(builder.lake)
    assert posts() == [0]
    builder.store(post(1, "a good flight", created_at=context.now()), at=context.now())
    assert posts() == [1]


@pytest.mark.parametrize("page", ["overview", "health", "compare"])
def test_an_hour_without_posts_is_no_wait_for_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    for name in ("health", "compare"):
        monkeypatch.setitem(pages.EXTRA, name, lambda *_: [])
    builder = Builder(tmp_path)
    builder.store(post(1, "a good flight"))  # months ago
    context = Context(State(lake=lambda: builder.lake, progress=Progress))
    regions = pages.regions_of(context, parse(f"?page={page}&range=1h"), UTC)
    (messages,) = sent_by(regions, versions=Clock())
    parts = [json.loads(message)["parts"] for message in messages]
    assert [part["posts"] for part in parts if "posts" in part] == [1]


def test_how_far_behind_is_told_of_old_posts_too(tmp_path: Path) -> None:
    """A page of a lake whose posts are all of days before must not look as if they still came."""
    builder = Builder(tmp_path)
    builder.store(post(1, "a good flight"))
    watch = live.Watch(Context(State(lake=lambda: builder.lake, progress=Progress)))

    async def look() -> float | None:
        event = asyncio.Event()
        watch.join(event)
        try:
            async with asyncio.timeout(20):
                while watch.behind_s is None:
                    await asyncio.sleep(0.02)
        finally:
            watch.leave(event)
        return watch.behind_s

    now = datetime.now(UTC)
    least = (now - now.replace(hour=0, minute=0, second=0, microsecond=0)).total_seconds()
    found = asyncio.run(look())
    assert found is not None
    assert (found - least) % 86_400 < 30, "by the clock, whatever day it is by now"
