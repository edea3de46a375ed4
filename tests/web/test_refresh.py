"""In which order the regions of a page are brought up to date, and what is sent."""

import asyncio
import json
import time
from datetime import UTC
from pathlib import Path
from typing import Any, cast

import pytest
from tests.lake.building import Builder, post

from feltwire.errors import ConfigError, LakeError
from feltwire.lake import Lake
from feltwire.plan import Progress
from feltwire.web.dashboard import pages
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
