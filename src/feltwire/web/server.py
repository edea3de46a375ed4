"""Uvicorn in a thread: bound before it starts, stopped cleanly."""

import socket
import threading
from typing import Final

import uvicorn
from fastapi import FastAPI

from feltwire.errors import ConfigError, FatalError
from feltwire.web.guard import check_host

START_TIMEOUT_S: Final = 15.0


class WebServer:
    """Serves an application until `stop()`; `url` is where."""

    def __init__(self, app: FastAPI, *, host: str, port: int, token: str | None = None) -> None:
        """Bind the port; 0 takes a free one.

        Raises ConfigError where the port is taken, or where others could reach it and no token is set.
        """
        check_host(host, token)
        self._app = app
        name = host.strip("[]")
        family = socket.AF_INET6 if ":" in name else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((name, port))
        except OSError as error:
            self._socket.close()
            raise ConfigError(
                f"serve: cannot listen on {host}:{port}: {error.strerror}; choose another port"
            ) from error
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://{f'[{name}]' if ':' in name else name}:{self.port}"
        settings = uvicorn.Config(
            app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=3, lifespan="off"
        )
        self._server = uvicorn.Server(settings)
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)

    def start(self) -> None:
        """Serve; returns once requests are answered. Call it once."""
        self._thread.start()
        waited = threading.Event()
        for _ in range(int(START_TIMEOUT_S / 0.02)):
            if self._server.started:
                return
            if not self._thread.is_alive():
                break
            waited.wait(0.02)
        raise FatalError(f"the web server at {self.url} did not start")

    def stop(self) -> None:
        """End after the requests at hand, within a few seconds."""
        self._server.should_exit = True
        context = getattr(self._app.state, "context", None)
        if context is not None:
            context.close()
        if self._thread.ident is not None:
            self._thread.join(10)
        self._socket.close()

    @property
    def alive(self) -> bool:
        """Whether it serves."""
        return self._thread.is_alive()

    def _run(self) -> None:
        self._server.run(sockets=[self._socket])
