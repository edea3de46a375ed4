"""The source `tcp:` against real servers on loopback that hang up, fall silent, and send rubbish."""

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sources.reading import reading, texts, until

from feltwire import registry, schema
from feltwire.errors import ConfigError
from feltwire.interfaces import Source
from feltwire.sources import _lines
from feltwire.sources._rows import Rows


class LineServer:
    """Gives each connection the next of its scripts: pieces of bytes, and pauses in seconds; then hangs up."""

    def __init__(self, *scripts: list[bytes | float], reset: bool = False) -> None:
        self.connections = 0
        self._scripts = list(scripts)
        self._reset = reset
        self._stopped = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            while not self._stopped.is_set():
                connection, _ = self._listener.accept()
                script = self._scripts[min(self.connections, len(self._scripts) - 1)]
                self.connections += 1
                with connection, suppress(OSError):
                    for step in script:
                        if isinstance(step, bytes):
                            connection.sendall(step)
                        else:
                            self._stopped.wait(step)
                    if self._reset:
                        linger = b"\x01\0\0\0\0\0\0\0"  # close by RST
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    def close(self) -> None:
        self._stopped.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


@contextmanager
def served(*scripts: list[bytes | float], reset: bool = False) -> Iterator[LineServer]:
    server = LineServer(*scripts, reset=reset)
    try:
        yield server
    finally:
        server.close()


def make(port: int, **options: Any) -> Source:
    source: Source = registry.create("sources", f"tcp://127.0.0.1:{port}", {"max_pause_s": 0.1, **options})
    return source


def count(number: int) -> Any:
    return lambda rows: len(rows) >= number


def test_text_and_json_decided_line_by_line() -> None:
    lines = [
        b"just words\r\n",
        b'{"id": 5, "text": "in JSON", "user": "amy", "lang": "en"}\n',
        b"\n",
        b"{sigh} no JSON\n",
        b"[live] no JSON either\n",
        "käse 😍\n".encode(),
        b'{"id": 6}\n',
        b'{"text": "cut\n',
        b"caf\xe9\n",
    ]
    with served([*lines, 60.0]) as server, reading(make(server.port)) as batches:
        rows, cursor = until(batches, count(8))
    assert texts(rows[:5]) == ["just words", "in JSON", "{sigh} no JSON", "[live] no JSON either", "käse 😍"]
    assert (rows[1]["id"], rows[1]["author_handle"]) == ("tcp:5", "amy")
    assert [(row["refusal"], row["payload"]) for row in rows[5:]] == [
        ("no text", '{"id": 6}'),
        ("Input data was truncated", '{"text": "cut'),
        ("not UTF-8", "caf\\xe9"),
    ]
    assert cursor == {"received": 9}
    assert {row["live"] for row in rows} == {True}
    assert {row["source"] for row in rows} == {"tcp"}


def test_it_connects_again_and_numbers_go_on() -> None:
    with served([b"same\n"], [b"same\nsame\n"], [60.0]) as server:
        with reading(make(server.port)) as batches:
            rows, cursor = until(batches, count(3))
        assert cursor == {"received": 3}
        assert len({row["id"] for row in rows}) == 3
    with served([b"same\n", 60.0]) as again, reading(make(again.port), cursor) as batches:
        _, cursor = until(batches, count(1))
        assert cursor == {"received": 4}


def test_a_last_line_without_an_end_counts_if_the_server_closed_in_order() -> None:
    with served([b"one\ntwo"], [60.0]) as server, reading(make(server.port)) as batches:
        assert texts(until(batches, count(2))[0]) == ["one", "two"]


def test_a_connection_that_breaks_in_a_line_leaves_a_refusal() -> None:
    with served([b"one\n", b"tw", 0.3], [60.0], reset=True) as server, reading(make(server.port)) as batches:
        rows, _ = until(batches, count(2))
    assert texts(rows) == ["one", None]
    assert rows[1]["refusal"] == "the connection broke in the middle of a line"
    assert rows[1]["payload"] == "tw"


def test_an_endless_line_is_one_refusal_and_bounded() -> None:
    pieces: list[bytes | float] = [b"y" * 1_000_000] * 8
    with served([b"before\n", *pieces, b"\nafter\n", 60.0]) as server, reading(make(server.port)) as batches:
        rows, _ = until(batches, count(3))
    assert texts(rows) == ["before", None, "after"]
    assert rows[1]["refusal"] == _lines.TOO_LONG
    assert len(rows[1]["payload"]) == schema.MAX_PAYLOAD_CHARS


def test_heartbeats_while_silent_and_while_nobody_listens() -> None:
    with served([60.0]) as server, reading(make(server.port)) as batches:
        for _ in range(3):
            begun_s = time.monotonic()
            assert next(batches)[0].num_rows == 0
            assert time.monotonic() - begun_s < 1.5
        port = server.port
    with reading(make(port, max_pause_s=30)) as batches:
        for _ in range(4):
            begun_s = time.monotonic()
            assert next(batches)[0].num_rows == 0
            assert time.monotonic() - begun_s < 1.5


def test_a_server_that_comes_up_later_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]

    def greet(listener: socket.socket) -> None:
        with listener.accept()[0] as connection:
            connection.sendall(b"late\n")

    with reading(make(port)) as batches:
        next(batches)
        with socket.create_server(("127.0.0.1", port)) as listener:
            thread = threading.Thread(target=greet, args=(listener,), daemon=True)
            thread.start()
            assert texts(until(batches, count(1))[0]) == ["late"]
            thread.join()


def test_close_releases_the_socket() -> None:
    before = len(os.listdir("/proc/self/fd"))
    with served([b"one\n", 60.0]) as server, reading(make(server.port)) as batches:
        until(batches, count(1))
        begun_s = time.monotonic()
        batches.close()
        assert time.monotonic() - begun_s < 0.5
    assert len(os.listdir("/proc/self/fd")) <= before + 1


def test_many_lines_come_quickly_and_whole() -> None:
    lines = [json.dumps({"id": i, "text": f"post {i}"}).encode() + b"\n" for i in range(30_000)]
    with served([b"".join(lines), 60.0]) as server, reading(make(server.port)) as batches:
        rows, _ = until(batches, count(30_000))
    assert texts(rows) == [f"post {i}" for i in range(30_000)]


@pytest.mark.parametrize(
    "uri",
    ["tcp:", "tcp://", "tcp://host", "tcp://host:x", "tcp://host:99999", "tcp://:80", "tcp://a@b:9", "tcp://h:1/x"],
)
def test_no_address_is_a_config_error(uri: str) -> None:
    with pytest.raises(ConfigError, match="expected tcp://HOST:PORT"):
        registry.create("sources", uri)


LINES = st.lists(
    st.binary(max_size=30)
    | st.text(max_size=20).map(str.encode)
    | st.sampled_from([b"{", b'{"', b"{}", b'{"text":"x"}', b'{"text":["x"]}', b'{"a":' * 3_000, b"\xff", b"\r"]),
    max_size=8,
).map(lambda lines: [line.replace(b"\n", b" ") for line in lines])


@pytest.mark.prove
@given(LINES, st.sampled_from([_lines.parse_mixed, _lines.parse_json, _lines.parse_text]))
def test_any_line_is_a_record_or_a_refusal(lines: list[bytes], parse: Callable[[list[bytes]], _lines.Parsed]) -> None:
    parsed = parse(lines)
    assert parsed.consumed == len(lines)
    assert len(parsed.rows) == sum(1 for line in lines if line and not line.isspace())
    made = Rows("tcp", live=True).from_objects(
        parsed.rows, parsed.faults, key=str, payload=lambda i: lines[parsed.starts[i]]
    )
    for row in made.to_pylist():
        assert (row["kind"] == "refusal") == (row["refusal"] is not None)
