"""Who may do what, how often, and how much at once."""

import asyncio
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.web.serving import served, serving
from tests.web.test_api import problem

from feltwire import metrics
from feltwire.lake import Lake, open_lake
from feltwire.web.api.explain import _HERE
from feltwire.web.app import State
from feltwire.web.batcher import Batcher, FullError
from feltwire.web.guard import needed
from feltwire.web.limits import Buckets

TOKENS = {"read": "r-secret", "write": "w-secret", "admin": "a-secret"}
CALLS = {
    ("GET", "/api/v1/tracks"): "read",
    ("POST", "/api/v1/score"): "read",
    ("POST", "/api/v1/explain"): "read",
    ("GET", "/openapi.json"): "read",
    ("POST", "/api/v1/push"): "write",
    ("POST", "/api/v1/corrections"): "write",
    ("DELETE", "/api/v1/corrections"): "write",
    ("POST", "/api/v1/tracks"): "admin",
    ("DELETE", "/api/v1/tracks/a"): "admin",
}
ORDER = ["read", "write", "admin"]


def test_a_token_of_enough_scope_is_needed(lake: Path) -> None:
    state = State(lake=served(lake), read_token=TOKENS["read"], write_token=TOKENS["write"], token=TOKENS["admin"])
    with serving(state) as client:
        for (method, path), wanted in CALLS.items():
            assert needed(method, path) == wanted
            body: Any = {"json": {}} if method == "POST" else {}
            problem(client.request(method, path, **body), 401)
            for scope, token in TOKENS.items():
                headers = {"Authorization": f"Bearer {token}", "Origin": "https://elsewhere.example"}
                status = client.request(method, path, headers=headers, **body).status_code
                enough = ORDER.index(scope) >= ORDER.index(wanted)
                assert (status not in (401, 403)) if enough else (status == 403), (method, path, scope, status)
        for wrong in ("r-secre", "r-secret2", "R-SECRET"):
            answer = client.get("/api/v1/tracks", headers={"Authorization": f"Basic {wrong}"})
            assert answer.headers["www-authenticate"] == "Bearer"
        assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://elsewhere.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://[::"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 422),
        ({}, 422),
    ],
)
def test_a_page_of_another_origin_changes_nothing(api: httpx.Client, headers: dict[str, str], status: int) -> None:
    problem(api.post("/api/v1/tracks", json={}, headers=headers), status)


def test_a_page_of_this_origin_may(api: httpx.Client) -> None:
    origin = str(api.base_url).rstrip("/")
    problem(api.post("/api/v1/tracks", json={}, headers={"Origin": origin, "Sec-Fetch-Site": "same-origin"}), 422)
    problem(api.get("/api/v1/tracks", headers={"Host": "elsewhere.example"}), 421)


def test_a_bucket_fills_by_its_rate() -> None:
    now = [0.0]
    buckets = Buckets(rate=2.0, burst=4.0, clock=lambda: now[0])
    assert [buckets.take("a") for _ in range(5)] == [0.0, 0.0, 0.0, 0.0, 0.5]
    assert buckets.take("b") == 0.0
    now[0] = 0.5
    assert [buckets.take("a"), buckets.take("a")] == [0.0, 0.5]
    now[0] = 100.0
    assert [buckets.take("a") for _ in range(5)][3:] == [0.0, 0.5]


def test_too_many_requests_wait() -> None:
    with serving(State(rate=2.0)) as client:
        answers = [client.post("/api/v1/score", json={"texts": []}) for _ in range(8)]
        assert [answer.status_code for answer in answers[:4]] == [409] * 4
        assert "serve.rate" in problem(answers[-1], 429)
        assert answers[-1].headers["retry-after"] == "1"
        assert client.get("/healthz").status_code == 200


def test_a_body_without_a_length_is_bounded_too() -> None:
    def endless() -> "list[bytes]":
        return [b'{"texts": ["'] + [b"x" * 100_000] * 30

    with serving(State(max_body_bytes=1_000_000)) as client:
        kind = {"Content-Type": "application/json"}
        problem(client.post("/api/v1/score", content=iter(endless()), headers=kind), 413)


def test_requests_are_gathered_and_keep_their_order() -> None:
    async def ask() -> tuple[list[bytes], int]:
        batcher = Batcher("lexicon:vader")
        try:
            requests = [[f"good {i} {j}" if (i + j) % 2 else f"bad {i} {j}" for j in range(5)] for i in range(60)]
            answers = await asyncio.gather(*(batcher.score(texts) for texts in requests))
            return list(answers), batcher.batches
        finally:
            batcher.close()

    answers, batches = asyncio.run(ask())
    assert batches < 30
    for i, answer in enumerate(answers):
        scores = json.loads(answer)["scores"]
        good = [score["sentiment"]["positive"] > score["sentiment"]["negative"] for score in scores]
        assert good == [bool((i + j) % 2) for j in range(5)]
    assert b"feltwire_api_texts_total" in metrics.exposition()


def test_what_waits_is_bounded() -> None:
    async def ask() -> int:
        batcher = Batcher("lexicon:vader", max_waiting=10)
        try:
            answers = await asyncio.gather(*(batcher.score(["a"] * 8) for _ in range(5)), return_exceptions=True)
            return sum(isinstance(answer, FullError) for answer in answers)
        finally:
            batcher.close()

    assert asyncio.run(ask()) >= 3


def test_however_much_is_asked_the_process_says_that_it_is_alive(lake: Path) -> None:
    go = threading.Event()
    opened = open_lake(str(lake))

    def slow() -> Lake:
        go.wait(60)
        return opened

    with serving(State(lake=slow)) as client, ThreadPoolExecutor(50) as pool:
        try:
            limits = httpx.Limits(max_connections=100)
            with httpx.Client(base_url=client.base_url, timeout=90, limits=limits) as other:
                asked = [pool.submit(other.get, "/api/v1/tracks") for _ in range(45)]  # more than there are threads
                time.sleep(0.3)
                assert client.get("/healthz").text == "ok\n"
                assert not any(one.done() for one in asked)
                go.set()
                assert {one.result().status_code for one in asked} == {200}
        finally:
            go.set()


def test_only_so_many_explanations_wait(api: httpx.Client) -> None:
    for _ in range(8):
        assert _HERE.acquire(timeout=0)
    try:
        answer = api.post("/api/v1/explain", json={"text": "I love it"})
        assert "under way" in problem(answer, 503)
        assert int(answer.headers["retry-after"]) > 0
    finally:
        _HERE.release(8)
    assert api.post("/api/v1/explain", json={"text": "I love it"}).status_code == 200
