"""The source `push:` by real HTTP requests: bodies, answers once durable, limits, tokens."""

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sources.reading import Row

from feltwire import registry, schema
from feltwire.errors import ConfigError
from feltwire.interfaces import Cursor
from feltwire.sources._inbox import MAX_ROWS, Declined, parse_body
from feltwire.sources.push import PushSource

NDJSON = {"content-type": "application/x-ndjson"}


class Taker:
    """Reads a push source in a thread as ingest does; `store` stands for the log."""

    def __init__(self, source: PushSource, store: Callable[[list[Row]], None] | None = None) -> None:
        self.rows: list[Row] = []
        self.cursor: Cursor = {}
        self.sizes: list[int] = []
        self._source = source
        self._store = store or (lambda rows: None)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Taker":
        self._thread.start()
        end_s = time.monotonic() + 10
        while self._source.address is None:
            assert time.monotonic() < end_s
            time.sleep(0.005)
        self.url = "http://{}:{}/".format(*self._source.address)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)
        assert not self._thread.is_alive()

    def post(self, content: object, **more: Any) -> httpx.Response:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return httpx.post(self.url, content=body, timeout=20, **more)

    def _run(self) -> None:
        batches = self._source.read(None)
        try:
            for batch, cursor in batches:
                assert batch.schema.equals(schema.RECORD)
                rows = batch.to_pylist()
                self._store(rows)
                self.rows += rows
                self.cursor = cursor
                self.sizes.append(len(rows))
                if self._stop.is_set():
                    break
        except _Full:
            pass
        finally:
            batches.close()  # type: ignore[attr-defined]


class _Full(Exception):  # noqa: N818
    pass


def held_by(event: threading.Event) -> Callable[[list[Row]], None]:
    """A store that takes rows only once the event is set."""

    def store(rows: list[Row]) -> None:
        if rows:
            event.wait(20)

    return store


def make(address: str = "127.0.0.1:0", **options: Any) -> PushSource:
    source: PushSource = registry.create("sources", f"push:{address}", options)
    return source


@contextmanager
def taking(store: Callable[[list[Row]], None] | None = None, **options: Any) -> Iterator[Taker]:
    with Taker(make(**options), store) as taker:
        yield taker


def test_one_post_many_posts_and_lines() -> None:
    with taking() as taker:
        answers = [
            taker.post({"id": 1, "text": "one", "user": "amy"}),
            taker.post([{"id": 2, "text": "two"}, {"id": 3}, 4]),
            taker.post(b'{"id": 5, "text": "five"}\n\n{"id": 6\n{"id": 7, "text": "seven"}'),
            taker.post(b'{"id": 8, "text": "eight"}\r\n', headers=NDJSON),
            taker.post([]),
            httpx.post(taker.url + "push", json={"id": 9, "text": "nine"}),
        ]
    assert {answer.status_code for answer in answers} == {200}
    assert [answer.json() for answer in answers[:3]] == [
        {"received": 1, "refused": []},
        {
            "received": 3,
            "refused": [
                {"index": 1, "reason": "no text"},
                {"index": 2, "reason": "a JSON number, where an object is expected"},
            ],
        },
        {"received": 3, "refused": [{"index": 1, "reason": "Input data was truncated"}]},
    ]
    assert answers[4].json() == {"received": 0, "refused": []}
    assert [row["text"] for row in taker.rows] == ["one", "two", None, None, "five", None, "seven", "eight", "nine"]
    assert [row["payload"] for row in taker.rows if row["payload"]] == ['{"id":3}', "4", '{"id": 6']
    assert (taker.rows[0]["id"], taker.rows[0]["author_handle"], taker.rows[0]["live"]) == ("push:1", "amy", True)
    assert taker.cursor == {"received": 9}


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"", 400, "the body is empty"),
        (b"  \n ", 400, "the body is empty"),
        (b'{"text": ', 400, "the body is no JSON"),
        (b"hello", 400, "the body is no JSON"),
        (b'{"text": "\xff"}', 400, "not UTF-8"),
        (b"[" * 100_000, 400, "nested too deeply"),
        (b'"hello"', 400, "bare JSON value"),
        (json.dumps([{}] * (MAX_ROWS + 1)).encode(), 413, "at most 10000"),
        (b"{}\n" * (MAX_ROWS + 1), 413, "at most 10000"),
        (b'{"text": "' + b"x" * 1_000_001 + b'"}', 413, "more than 1000000 bytes"),
    ],
)
def test_a_bad_body_is_declined_in_one_clear_line(body: bytes, status: int, says: str) -> None:
    with taking(max_body_mb=1) as taker:
        answer = taker.post(body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert says in answer.json()["detail"]
    assert "\n" not in answer.json()["detail"]
    assert taker.rows == []


def test_a_body_without_a_length_is_bounded_too() -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(40):
            yield b"x" * 100_000

    with taking(max_body_mb=1) as taker, suppress(httpx.WriteError):  # it may hang up before all was sent
        assert httpx.post(taker.url, content=pieces()).status_code == 413


def test_other_methods_paths_and_encodings() -> None:
    with taking() as taker:
        assert httpx.get(taker.url).status_code == 405
        assert httpx.post(taker.url + "elsewhere", json={}).status_code == 404
        gzipped = taker.post(b"\x1f\x8b", headers={"content-encoding": "gzip"})
        from_page = taker.post({"text": "x"}, headers={"origin": "https://evil.example"})
    assert (gzipped.status_code, from_page.status_code) == (415, 403)
    assert taker.rows == []


def test_the_answer_waits_until_the_batch_is_durable() -> None:
    durable = threading.Event()
    with taking(held_by(durable)) as taker, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(taker.post, {"text": "x"})
        time.sleep(0.3)
        assert not answer.done()
        durable.set()
        assert answer.result(10).status_code == 200


def test_a_store_that_fails_for_good_is_a_503_and_nothing_is_promised() -> None:
    def refuse(rows: list[Row]) -> None:
        if rows:
            raise _Full

    with taking(refuse) as taker:
        answer = taker.post({"text": "x"})
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"


def test_a_store_that_takes_too_long_is_a_503() -> None:
    go_on = threading.Event()
    with taking(held_by(go_on), answer_s=0.2) as taker:
        answer = taker.post({"text": "x"})
        go_on.set()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "Idempotency-Key" in answer.json()["detail"]


def test_a_full_queue_is_a_429() -> None:
    go_on = threading.Event()
    with taking(held_by(go_on), max_waiting=5) as taker, ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(taker.post, {"text": "first"})]
        time.sleep(0.3)
        waiting += [pool.submit(taker.post, [{"text": str(i)}] * 3) for i in range(4)]
        time.sleep(0.5)
        go_on.set()
        answers = [answer.result(20) for answer in waiting]
    codes = sorted(answer.status_code for answer in answers)
    assert codes == [200, 200, 429, 429, 429]
    assert all(answer.headers["retry-after"] == "1" for answer in answers if answer.status_code == 429)
    assert len(taker.rows) == 4


def test_many_at_once_are_gathered_and_answered_apart() -> None:
    def send(number: int) -> dict[str, Any]:
        rows: list[dict[str, Any]] = [{"id": f"{number}-{i}", "text": f"post {number}-{i}"} for i in range(number % 4)]
        return dict(client.post(taker.url, json=[*rows, {"id": f"{number}-bad"}]).json())

    with taking() as taker, httpx.Client(timeout=20) as client, ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(send, range(200)))
    for number, answer in enumerate(answers):
        count = number % 4
        assert answer == {"received": count + 1, "refused": [{"index": count, "reason": "no text"}]}
    assert len({row["id"] for row in taker.rows if row["kind"] == "post"}) == sum(n % 4 for n in range(200))
    assert max(taker.sizes) > 4


def test_a_request_sent_again_under_its_key_has_the_same_ids() -> None:
    body = [{"text": "gm"}, {"text": "gm"}, {"nothing": 1}]
    with taking() as taker:
        for key in ("abc", "abc", "abd", None, None):
            taker.post(body, headers={} if key is None else {"idempotency-key": key})
        bad = taker.post(body, headers={"idempotency-key": "x" * 201})
    ids = [row["id"] for row in taker.rows]
    assert ids[:3] == ids[3:6]
    assert len(set(ids)) == 12
    assert bad.status_code == 400


def test_a_token_is_asked_for_and_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    with taking(token="s3cret-token") as taker:
        codes = [
            taker.post({"text": "x"}, headers=headers).status_code
            for headers in (
                {},
                {"authorization": "Bearer wrong"},
                {"authorization": "Basic s3cret-token"},
                {"authorization": "Bearer s3cret-token\u00e9".encode()},
                {"authorization": "Bearer s3cret-token"},
                {"authorization": "Bearer s3cret-token", "origin": "https://page.example"},
            )
        ]
        unasked = taker.post({"text": "x"})
    assert codes == [401, 401, 401, 401, 200, 200]
    assert unasked.headers["www-authenticate"] == "Bearer"
    assert "s3cret" not in unasked.text + caplog.text + repr(make(token="s3cret-token")._options)


@pytest.mark.parametrize("address", ["0.0.0.0:0", "192.0.2.7:80", "[::]:0", "example.org:80"])
def test_beyond_loopback_a_token_is_needed(address: str) -> None:
    with pytest.raises(ConfigError, match="needs the option token"):
        make(address)
    with pytest.raises(ConfigError, match="needs the option token"):
        make(address, token="")
    make(address, token="t")


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("", "127.0.0.1", 8051),
        ("127.0.0.1", "127.0.0.1", 8051),
        (":9000", "127.0.0.1", 9000),
        ("//localhost:9000/", "localhost", 9000),
        ("[::1]:9000", "::1", 9000),
    ],
)
def test_addresses(address: str, host: str, port: int) -> None:
    source = make(address)
    assert (source._host, source._port) == (host, port)


@pytest.mark.parametrize("address", ["a:b:c", "127.0.0.1:99999", "host:port", "http://127.0.0.1:80", "127.0.0.1:80/x"])
def test_what_is_no_address_is_a_config_error(address: str) -> None:
    with pytest.raises(ConfigError, match="expected push:HOST:PORT"):
        make(address)


def test_a_taken_port_is_a_config_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1 port {port}"):
            next(iter(make(f"127.0.0.1:{port}").read(None)))


def left_behind(before: tuple[int, int]) -> list[str]:
    """What there is more of than `before` (threads, open files)."""
    threads, files = threading.active_count(), os.listdir("/proc/self/fd")
    more = [f"{threads} threads"] if threads > before[0] else []
    if len(files) > before[1]:
        more += [os.readlink(path) for one in files if os.path.islink(path := f"/proc/self/fd/{one}")]
    return more


def test_close_is_quick_and_leaves_nothing_behind() -> None:
    for _ in range(2):  # the first server of a process makes a pipe that stays
        before = (threading.active_count(), len(os.listdir("/proc/self/fd")))
        source = make()
        batches = source.read({"received": 7})
        assert next(batches)[1] == {"received": 7}
        assert source.address is not None
        with httpx.Client() as idle:  # a connection that is kept open does not hold it up
            threading.Thread(target=next, args=(batches,), daemon=True).start()
            idle.post("http://{}:{}/".format(*source.address), json=[])
            begun_s = time.monotonic()
            while True:
                try:
                    batches.close()  # type: ignore[attr-defined]
                    break
                except ValueError:  # still executing
                    time.sleep(0.01)
            assert time.monotonic() - begun_s < 3.0
        assert vars(source)["address"] is None
    deadline_s = time.monotonic() + 5.0  # what other tests of this process have running may open a file in between
    while time.monotonic() < deadline_s and left_behind(before):
        time.sleep(0.05)
    assert not left_behind(before)


BODIES = st.binary(max_size=40) | st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["text", "id"]), inner, max_size=2),
    max_leaves=5,
).map(lambda value: json.dumps(value).encode())


@pytest.mark.prove
@pytest.mark.timeout(1_800)
@given(st.lists(BODIES, max_size=3).map(b"\n".join), st.sampled_from(["", "application/json", NDJSON["content-type"]]))
def test_any_body_is_taken_or_declined(body: bytes, content_type: str) -> None:
    try:
        posted = parse_body(body, content_type, "key")
    except Declined:
        return
    batch, refused = make()._records([posted, posted])
    assert batch.num_rows == 2 * len(posted.objects)
    assert refused[0] == refused[1]
    for i, row in enumerate(batch.to_pylist()[: len(posted.objects)]):
        assert (row["kind"] == "refusal") == (i in refused[0])
