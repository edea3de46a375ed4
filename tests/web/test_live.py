"""The API while posts arrive: pages, streams, pushed posts, tracks that are added."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from feltwire.client import AnswerError, Client, Event
from feltwire.errors import ConfigError
from feltwire.lake import open_lake
from feltwire.plan import Plan, SourcePlan
from feltwire.service import Listen, Service
from feltwire.sources._inbox import listening
from feltwire.web.hub import position_id, read_position

WAIT_S = 60.0


@contextmanager
def running(folder: Path, source: str, **plan: Any) -> Iterator[Client]:
    """A client of a service that reads a source."""
    sources = (SourcePlan(key="source", uri=source),)
    whole = Plan(log=f"sqlite:{folder}/log.sqlite", lake=str(folder / "lake"), sources=sources, processes=0, **plan)
    with Service(whole, listen=Listen(port=0)) as service:
        wait_for((folder / "lake" / "corrections").exists, "a lake")
        with Client(str(service.url)) as client:
            yield client


def wait_for(what: Callable[[], object], name: str) -> None:
    until = time.monotonic() + WAIT_S
    while not what():
        assert time.monotonic() < until, f"no {name} within {WAIT_S} s"
        time.sleep(0.05)


def listen(client: Client, events: list[Event], count: int, **options: Any) -> None:
    events += itertools.islice(client.stream(**options), count)


@pytest.mark.slow
def test_while_posts_arrive_nothing_is_lost_or_repeated(tmp_path: Path) -> None:
    with running(tmp_path, "simulator:?rate=150&seed=3") as client:
        wait_for(lambda: next(client.posts(page=1), None), "post")
        events: list[Event] = []
        listen(client, events, 60, what=["posts", "windows"])
        # A page after the other, while more arrive: what was there at the first page comes once.
        there = {post["id"] for post in client.posts(page=1_000)}
        pages = [post["id"] for post in client.posts(page=40)]
        assert len(pages) == len(set(pages))
        gone = open_lake(str(tmp_path / "lake")).sql("select id from withdrawn")["id"].to_pylist()
        assert there <= {*pages, *gone}
        # The stream goes on behind the last event that came.
        for _ in range(2):
            last = [event["id"] for event in events if event["id"]][-1]
            listen(client, events, 60, after=last, what=["posts", "windows"])
        posts = [event["data"] for event in events if event["event"] == "post"]
        places = [post["log_offset"] for post in posts]
        stored = open_lake(str(tmp_path / "lake")).sql(
            f"select log_offset from posts_all where log_offset between {places[0]} and {places[-1]} order by 1"
        )
        assert places == stored["log_offset"].to_pylist()
        assert "raw" not in posts[0]
        sums: list[Event] = []
        listen(client, sums, 1, what=["windows"])
        window = sums[0]["data"]
        assert sums[0]["event"] == "window"
        assert window["n"] >= window["n_scored"] > 0


@pytest.mark.slow
def test_streams_share_one_poller_and_are_filtered(tmp_path: Path) -> None:
    with running(tmp_path, "simulator:?rate=150&seed=3") as client:
        base = str(client._http.base_url).removesuffix("/api/v1/")
        wait_for(lambda: next(client.posts(page=1), None), "post")
        found: dict[str, list[Event]] = {}

        def one(name: str, **filters: Any) -> None:
            with Client(base) as own:
                listen(own, found.setdefault(name, []), 10, **filters)

        wanted: list[dict[str, Any]] = [{"sentiment": "negative"}, {"lang": "en", "q": "-xyzzy"}, {"track": "*"}]
        threads = [
            threading.Thread(target=one, args=(f"{number}",), kwargs=filters)
            for number, filters in enumerate(wanted * 3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)
        assert [len(events) for events in found.values()] == [10] * 9
        assert {event["data"]["sentiment"] for event in found["0"]} == {"negative"}
        assert {event["data"]["lang"] for event in found["1"]} == {"en"}


def test_a_place_that_the_lake_never_had_is_refused(tmp_path: Path) -> None:
    with running(tmp_path, "simulator:?rate=100&seed=3") as client:
        for after in ("0:999999999", "nonsense", "0:-1"):
            with pytest.raises(AnswerError, match="422"):
                next(client.stream(after=after))
    assert read_position(position_id({0: 5, 3: 7})) == {0: 5, 3: 7}


@pytest.mark.slow
def test_posts_are_pushed_and_matched_by_tracks_that_are_added(tmp_path: Path) -> None:
    with running(tmp_path, "push:127.0.0.1:0") as client:
        wait_for(lambda: client.status()["engine"], "engine")
        post = {"id": "1", "text": "a cup of tea", "lang": "en"}
        wait_for(listening, "push source")
        assert client.push([post, {"id": "2"}])["refused"] == [{"index": 1, "reason": "no text"}]
        wait_for(lambda: list(client.posts()), "post")
        assert client.add_track("tea", "tea OR oolong")["name"] == "tea"
        numbers = itertools.count(100)

        def found() -> bool:
            client.push([{"id": str(next(numbers)), "text": "more tea", "lang": "en"}])
            return any(one["tracks"] for one in client.posts())

        wait_for(found, "post of the track")  # an engine looks for tracks once a second
        client.push([{"id": "3", "text": "more tea", "lang": "en"}, {"id": "4", "text": "coffee", "lang": "en"}])
        received = 4 + next(numbers) - 100
        wait_for(lambda: client.status()["ledger"]["total"]["received"] == received, "last post")
        tracks = {one["id"]: one["tracks"] for one in client.posts()}
        before = [f"push:{number}" for number in range(100, 96 + received)]
        assert tracks.keys() == {"push:1", *before, "push:3"}  # with a track, what none of them finds is not kept
        assert (tracks["push:1"], tracks["push:3"]) == ([], ["tea"])
        with pytest.raises(AnswerError, match="already"):
            client.add_track("tea", "x")
        client.remove_track("tea")
        assert client.tracks() == []


def test_the_client_speaks_to_every_resource(lake: Path) -> None:
    plan = Plan(log=f"sqlite:{lake}-log.sqlite", lake=str(lake), model="lexicon:vader")
    with Service(plan, engine=None, listen=Listen(port=0)) as service, Client(str(service.url)) as client:
        assert client.score(["I love it"])["model"] == "vader@3.3.2"
        assert client.windows(every="1d", track="airline")[0]["track"] == "airline"
        assert client.terms("hashtag", limit=1)[0]["kind"] == "hashtag"
        assert client.explain("I love it")["label"] == "positive"
        assert list(client.corrections()) == []
        assert client.status()["ledger"]["balances"]
        with pytest.raises(AnswerError, match=r"HTTP 422: query.limit"):
            list(client.posts(page=0))
    for url in ("127.0.0.1:8050", "ftp://x", ""):
        with pytest.raises(ConfigError, match="no address"):
            Client(url)
