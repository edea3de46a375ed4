"""The API, resource by resource, over a real server on loopback."""

import base64
import json
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from tests.web.serving import served, serving

from feltwire import scoring
from feltwire.lake import open_lake
from feltwire.web.app import State

TEXTS = ["I love it", "terrible, I hate this", "", "the train leaves at noon", "😀😀", "x" * 5_000]


def get(client: httpx.Client, path: str, **params: Any) -> Any:
    answer = client.get(f"/api/v1/{path}", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def problem(answer: httpx.Response, status: int) -> str:
    """The detail of a problem of this status."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["status"] == status
    assert document["title"]
    return str(document["detail"])


def test_texts_get_the_scores_of_the_stream(api: httpx.Client) -> None:
    answer = api.post("/api/v1/score", json={"texts": TEXTS}).json()
    here = scoring.score_texts(TEXTS, "lexicon:vader", probabilities=True).to_pylist()
    assert answer["model"] == "vader@3.3.2"
    assert answer["heads"] == {"sentiment": ["negative", "neutral", "positive"]}
    for given, expected in zip(answer["scores"], here, strict=True):
        if not expected["scored"]:
            assert given == {"scored": False}
            continue
        assert given["truncated"] == expected["truncated"]
        assert given["sentiment"] == {label: expected[f"p_{label}"] for label in ("negative", "neutral", "positive")}


def test_no_texts_ask_what_the_model_is(api: httpx.Client) -> None:
    answer = api.post("/api/v1/score", json={"texts": []}).json()
    assert (answer["model"], answer["scores"], answer["languages"]) == ("vader@3.3.2", [], ["en"])


def test_a_text_that_is_too_long_is_refused_alone(api: httpx.Client) -> None:
    scores = api.post("/api/v1/score", json={"texts": ["x" * 65_537, "good"]}).json()["scores"]
    assert scores[0] == {"error": "TEXT_TOO_LONG"}
    assert scores[1]["sentiment"]["positive"] > 0.5


def test_without_a_model_nothing_is_scored() -> None:
    with serving(State()) as client:
        assert "no model" in problem(client.post("/api/v1/score", json={"texts": ["a"]}), 409)


def test_a_model_that_cannot_be_loaded_is_told() -> None:
    with serving(State(model="bundle:/nowhere")) as client:
        answer = client.post("/api/v1/score", json={"texts": ["a"]})
        assert answer.status_code in (409, 503)


def all_posts(client: httpx.Client, **params: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        page = get(client, "posts", **params)
        found += page["posts"]
        if page["next"] is None:
            return found
        params["cursor"] = page["next"]


def test_posts_come_newest_first_and_in_pages(api: httpx.Client, lake: Path) -> None:
    stored = open_lake(str(lake)).sql("select id from posts order by event_time desc, id desc")["id"].to_pylist()
    for limit in (1_000, 97):
        assert [post["id"] for post in all_posts(api, limit=limit)] == stored
    first = get(api, "posts", limit=1)["posts"][0]
    assert "raw" not in first
    assert datetime.fromisoformat(first["event_time"]).tzinfo is not None


@pytest.mark.parametrize(
    ("params", "where"),
    [
        ({"track": "airline"}, "array_has(tracks, 'airline')"),
        ({"track": "*"}, "true"),
        ({"sentiment": "negative"}, "sentiment = 'negative'"),
        ({"lang": "en", "source": "simulator"}, "lang = 'en' and source = 'simulator'"),
        ({"lang": ["de", "en"]}, "lang in ('de', 'en')"),
        ({"lang": "und"}, "lang is null"),
        ({"source": "elsewhere"}, "false"),
        ({"q": "larkwing -flight"}, "regexp_like(text, '(?i)larkwing') and not regexp_like(text, '(?i)\\bflight\\b')"),
        ({"from": "2026-03-01T12:00:00.005Z"}, "event_time >= '2026-03-01T12:00:00.005Z'"),
        ({"to": "2026-03-01T12:00:00.005"}, "event_time < '2026-03-01T12:00:00.005Z'"),
    ],
)
def test_posts_are_filtered(api: httpx.Client, lake: Path, params: dict[str, Any], where: str) -> None:
    expected = open_lake(str(lake)).sql(f"select id from posts where {where} order by event_time desc, id desc")
    assert [post["id"] for post in all_posts(api, **params)] == expected["id"].to_pylist()


def test_a_word_of_a_list_is_a_filter(api: httpx.Client) -> None:
    for kind in ("hashtag", "emoji_used"):
        top = get(api, "terms", kind=kind, limit=1)["terms"][0]
        assert len(all_posts(api, **{kind: top["term"]})) == top["n"]


def minutes_between(first: str, last: str) -> float:
    return (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds() / 60


def test_windows_are_those_of_the_lake(api: httpx.Client, lake: Path) -> None:
    begin = "2020-01-01T00:00:00Z"
    answer = get(api, "windows", every="1min", **{"from": begin})
    stored = open_lake(str(lake)).windows(every="1min")
    assert not answer["cut"]
    assert [(row["track"], row["n"], row["net"]) for row in answer["windows"]] == list(
        zip(stored["track"].to_pylist(), stored["n"].to_pylist(), stored["net"].to_pylist(), strict=True)
    )
    last = get(api, "windows", every="1min")["windows"]
    assert last == answer["windows"][-len(last) :], "without a beginning the newest ones"
    assert minutes_between(last[0]["window"], last[-1]["window"]) < 96
    to = answer["windows"][-1]["window"]
    assert all(row["window"] < to for row in get(api, "windows", every="1min", to=to)["windows"])
    english = get(api, "windows", every="1d", track="*", lang="en")["windows"]
    other = get(api, "windows", every="1d", track="*")["windows"]
    assert 0 < sum(row["n"] for row in english) < sum(row["n"] for row in other)
    assert get(api, "windows", every="1min", limit=1)["cut"]


def test_terms_are_counted_and_words_too(api: httpx.Client) -> None:
    answer = get(api, "terms", limit=3)
    assert {row["kind"] for row in answer["terms"]} >= {"hashtag"}
    words = get(api, "terms", kind="word", limit=5, track="airline")["terms"]
    assert words[0]["n"] >= words[-1]["n"] > 0
    assert {row["kind"] for row in words} == {"word"}


def test_a_score_is_explained(api: httpx.Client) -> None:
    found = api.post("/api/v1/explain", json={"text": "I love it, but the food is awful"}).json()
    values = {word["text"]: word["value"] for word in found["words"]}
    assert found["method"] == "exact"
    assert values["love"] * values["awful"] < 0
    post = get(api, "posts", limit=1)["posts"][0]
    assert api.post("/api/v1/explain", json={"post_id": post["id"]}).json()["text"] == post["text"]
    assert "no post" in problem(api.post("/api/v1/explain", json={"post_id": "x:1"}), 404)
    assert "has no head" in problem(api.post("/api/v1/explain", json={"text": "a", "head": "taste"}), 422)
    problem(api.post("/api/v1/explain", json={}), 422)


def test_corrections_are_stored_and_taken_back(own_lake: Path) -> None:
    with serving(State(lake=served(own_lake))) as client:
        post_id = get(client, "posts", limit=1)["posts"][0]["id"]
        given = {"post_id": post_id, "field": "sentiment", "value": "positive", "by": "amy"}
        stored = client.post("/api/v1/corrections", json=given)
        assert stored.status_code == 201
        assert get(client, "corrections")["corrections"] == [stored.json()]
        client.post("/api/v1/corrections", json={**given, "field": "emotion", "value": "joy"})
        client.post("/api/v1/corrections", json={**given, "value": "negative"})
        listed = get(client, "corrections", limit=1)
        assert listed["corrections"][0]["value"] == "negative"
        behind = get(client, "corrections", limit=1, cursor=listed["next"])
        assert (behind["corrections"][0]["value"], behind["next"]) == ("joy", None)
        taken = {"post_id": post_id, "field": "sentiment"}
        assert client.delete("/api/v1/corrections", params=taken).status_code == 204
        assert [one["field"] for one in get(client, "corrections")["corrections"]] == ["emotion"]
        problem(client.delete("/api/v1/corrections", params=taken), 404)
        problem(client.post("/api/v1/corrections", json={**given, "post_id": "x:1"}), 404)
        problem(client.post("/api/v1/corrections", json={**given, "value": "splendid"}), 422)


def test_tracks_are_added_and_removed(own_lake: Path) -> None:
    with serving(State(lake=served(own_lake))) as client:
        added = client.post("/api/v1/tracks", json={"name": "tea", "query": "tea OR coffee"})
        assert (added.status_code, added.json()["configured"]) == (201, False)
        problem(client.post("/api/v1/tracks", json={"name": "tea", "query": "x"}), 409)
        assert "position" in problem(client.post("/api/v1/tracks", json={"name": "a", "query": "(("}), 422)
        assert [one["name"] for one in get(client, "tracks")["tracks"]] == ["tea"]
        assert client.delete("/api/v1/tracks/tea").status_code == 204
        for name in ("tea/coffee", "50 % off?", "a#b", "☕"):
            assert client.post("/api/v1/tracks", json={"name": name, "query": "x"}).status_code == 201
            assert client.delete(f"/api/v1/tracks/{quote(name, safe='')}").status_code == 204
        assert get(client, "tracks")["tracks"] == []
        problem(client.delete("/api/v1/tracks/tea"), 404)


def test_the_status_balances(api: httpx.Client) -> None:
    found = get(api, "status")
    assert found["ledger"]["balances"]
    assert found["ledger"]["total"]["received"] > 400
    assert found["model"] == {"uri": "lexicon:vader", "name": "vader@3.3.2"}
    assert found["bytes"] > 0
    assert sum(one["n"] for one in found["dead_letters"]) == found["ledger"]["total"]["dead"]


def test_without_a_push_source_nothing_is_pushed(api: httpx.Client) -> None:
    assert "no push source" in problem(api.post("/api/v1/push", json={"text": "a"}), 409)


def test_errors_are_problems(api: httpx.Client) -> None:
    problem(api.get("/api/v1/nothing"), 404)
    refused = api.delete("/api/v1/score")
    problem(refused, 405)
    assert refused.headers["allow"] == "POST"
    assert api.put("/api/v1/tracks").headers["allow"] == "GET, POST"
    for path, method in (("/api/v1/posts", "POST"), ("/metrics", "DELETE"), ("/healthz", "PUT")):
        assert api.request(method, path, json={}).headers["allow"] == "GET", path
    problem(api.post("/api/nothing", json={}), 404)
    assert "text/html" in api.get("/", headers={"Accept": "text/html"}).headers["content-type"]  # the page has its own
    assert "JSON" in problem(api.post("/api/v1/score", content=b"{", headers={"Content-Type": "application/json"}), 400)
    problem(api.post("/api/v1/score", content=b"a=1"), 415)
    problem(api.post("/api/v1/score", json={"texts": []}, headers={"Content-Encoding": "gzip"}), 415)
    assert "body.texts" in problem(api.post("/api/v1/score", json={"texts": "a"}), 422)
    assert "1025" in problem(api.post("/api/v1/score", json={"texts": [""] * 1_025}), 413)
    problem(api.post("/api/v1/score", content=b'{"texts": ["' + b"x" * 8_000_000 + b'"]}',
                     headers={"Content-Type": "application/json"}), 413)  # fmt: skip
    problem(api.get("/api/v1/posts", params={"from": "tomorrow"}), 422)
    problem(api.get("/api/v1/posts", params={"from": "2026-01-02", "to": "2026-01-01"}), 422)
    problem(api.get("/api/v1/posts", params={"cursor": "AAAA"}), 422)
    for edge in ([0, "x", -(2**63)], [0, "x", 2**63 - 1], [2**62, "x", 0], [-(2**62), "x", 0], [0, "\x7f'", 0]):
        cursor = base64.urlsafe_b64encode(json.dumps(edge).encode()).decode()
        assert api.get("/api/v1/posts", params={"cursor": cursor}).status_code in (200, 422), edge


@pytest.mark.parametrize(
    "odd",
    [
        "''; drop table posts; --",
        "\\'\"%_(*",
        "\u202e😀",
        pytest.param("9" * 400, id="9"),
        pytest.param("a\x00b", id="0"),
    ],
)
def test_odd_values_are_answered(api: httpx.Client, odd: str) -> None:
    for name in ("track", "source", "lang", "sentiment", "category", "hashtag", "entity", "emoji", "q", "from", "limit",
                 "cursor", "domain", "word"):  # fmt: skip
        assert api.get("/api/v1/posts", params={name: odd}).status_code in (200, 422), name
    for path, name in (("windows", "every"), ("windows", "track"), ("terms", "kind"), ("terms", "track"),
                       ("corrections", "post_id"), ("corrections", "cursor")):  # fmt: skip
        assert api.get(f"/api/v1/{path}", params={name: odd}).status_code in (200, 422), path
    assert api.post("/api/v1/explain", json={"post_id": odd}).status_code in (404, 422)
    assert get(api, "posts", limit=1)["posts"]


def test_half_a_surrogate_pair_is_refused(api: httpx.Client) -> None:
    kind = {"Content-Type": "application/json"}
    body = json.dumps({"texts": ["\ud800", "good"]}).encode()
    scores = api.post("/api/v1/score", content=body, headers=kind).json()["scores"]
    assert scores[0] == {"error": "NO_UNICODE"}
    assert scores[1]["sentiment"]["positive"] > 0.5
    for odd in ({"text": "\ud800"}, {"post_id": "a\ud800"}):
        problem(api.post("/api/v1/explain", content=json.dumps(odd).encode(), headers=kind), 422)


def test_the_page_of_the_document_loads_nothing(api: httpx.Client) -> None:
    page = api.get("/docs")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "<script" not in page.text
    document = api.get("/openapi.json").json()
    for operation in (one for path in document["paths"].values() for one in path.values()):
        assert operation["operationId"] in page.text
