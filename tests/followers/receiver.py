"""A webhook's far side: a real HTTP server on loopback that can be told to misbehave."""

import http.server
import json
import queue
import socket
import threading
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Answer:
    """What to do with one request. With `status` None the connection is dropped instead of answered."""

    status: int | None = 200
    headers: dict[str, str] = field(default_factory=dict)
    take: bool | None = None
    """Whether the rows count as taken; None: when the status is 2xx."""
    hang_s: float = 0.0
    """Wait so long before answering."""


@dataclass
class Request:
    """A request as it came."""

    headers: dict[str, str]
    body: bytes


class Receiver:
    """Answers every request by the next of `script`, and with 200 once that is empty."""

    def __init__(self) -> None:
        self.script: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self.requests: list[Request] = []
        self.taken: dict[str, Any] = {}
        """{Idempotency-Key: the body}, each once, in the order of the first taking."""
        self.contradictions: list[str] = []
        """Keys that came again with other bytes."""
        self._bytes: dict[str, bytes] = {}
        self._closing = threading.Event()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _take(self, request: Request, answer: Answer) -> None:
        key = request.headers["Idempotency-Key"]
        if self._bytes.setdefault(key, request.body) != request.body:
            self.contradictions.append(key)
        taken = answer.take if answer.take is not None else answer.status is not None and 200 <= answer.status < 300
        if taken and key not in self.taken:
            self.taken[key] = json.loads(request.body)

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                request = Request(dict(self.headers), body)
                receiver.requests.append(request)
                answer = Answer() if receiver.script.empty() else receiver.script.get()
                receiver._take(request, answer)
                if answer.hang_s:
                    receiver._closing.wait(answer.hang_s)
                if answer.status is None:
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *args: Any) -> None:
                pass

        return Handler
