"""One process of Feltwire: the engine, the followers and the web server, each in a thread, stopped together."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Final, cast

import pyarrow as pa

from feltwire import metrics, registry
from feltwire.errors import FeltwireError
from feltwire.following import FollowerThread
from feltwire.interfaces import Follower, LogReader, Position
from feltwire.lake import Lake, open_lake
from feltwire.plan import Plan, Progress, Report
from feltwire.web.app import FollowerState, State, create_app
from feltwire.web.server import WebServer

WATCH_S: Final = 0.25
STOP_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True, kw_only=True)
class Destination:
    """A follower that the service shall run."""

    name: str
    follower: Follower


@dataclass(frozen=True, kw_only=True)
class Listen:
    """Where the web server listens."""

    host: str = "127.0.0.1"
    port: int = 8050
    token: str | None = None
    write_token: str | None = None
    read_token: str | None = None
    ready_lag: int = 1_000_000
    rate: float | None = None
    max_body_bytes: int = 8_000_000
    max_texts: int = 1_024
    max_streams: int = 64


class _Stop(threading.Event):
    """An event that passes on to another, which may be set without this one."""

    def __init__(self, other: threading.Event) -> None:
        super().__init__()
        self._other = other

    def set(self) -> None:
        super().set()
        self._other.set()


class Service:
    """Runs a plan until `stop` is set or, with `until_idle`, all is done. Use it as a context manager.

    The engine's error, if it ends by one, is raised by `wait`; a follower's never ends the service.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        engine: str | None = "local",
        destinations: tuple[Destination, ...] = (),
        listen: Listen | None = None,
    ) -> None:
        """`engine` None: nothing is ingested or processed, the lake is only shown and followed.

        Raises ConfigError where the port is taken.
        """
        self.plan = plan
        self._engine_stop = threading.Event()  # the engine sets it as well, when it ends by itself
        self.stop: threading.Event = _Stop(self._engine_stop)
        """Set it to end the service; it is not set when the engine ends by itself."""
        self.progress: Progress | None = None
        """The engine's last word; None before its first."""
        self.report: Report | None = None
        self.error: BaseException | None = None
        self.followers = [FollowerThread(one.name, _Feed(self), one.follower) for one in destinations]
        self._followed: dict[str, int] = {}
        self._errors: dict[str, Exception | None] = {}
        self._lake: Lake | None = None
        self._log: LogReader | None = None
        self._engine = threading.Thread(target=self._run_engine, name="engine") if engine else None
        self._engine_name = engine
        self._watcher = threading.Thread(target=self._watch, name="watch", daemon=True)
        self._ended = threading.Event()
        self._following = threading.Event()
        self._web = _web_server(self, listen) if listen else None

    @property
    def url(self) -> str | None:
        """Where the web server answers; None: there is none."""
        return self._web.url if self._web else None

    @property
    def running(self) -> bool:
        """Whether there is still something to wait for."""
        return not self.stop.is_set() and (self._engine is None or self._engine.is_alive())

    def lake(self) -> Lake:
        """The plan's lake. Raises ConfigError while there is none."""
        if self._lake is None:
            if self.plan.lake is None:
                raise FeltwireError("this process has no lake: it only ingests")
            self._lake = open_lake(self.plan.lake, storage_options=self.plan.storage_options)
        return self._lake

    def log(self) -> LogReader:
        """The plan's log, for reading how far it goes. Raises FeltwireError while it cannot be opened."""
        if self._log is None:
            self._log = cast(LogReader, registry.create("logs", self.plan.log, self.plan.log_options))
        return self._log

    def __enter__(self) -> "Service":
        if self._web is not None:
            self._web.start()
        if self._engine is not None:
            self._engine.start()
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        if self._engine is not None:
            self._engine.join(STOP_TIMEOUT_S)
        self._ended.set()
        self._watcher.join(STOP_TIMEOUT_S)
        for thread in self.followers:
            thread.stop()
        if self._web is not None:
            self._web.stop()
        close = getattr(self._log, "close", None)
        if close is not None:
            close()

    def wait(self, timeout_s: float) -> bool:
        """Wait so long at most; whether the service still runs. Raises the error by which the engine ended."""
        if self._engine is None:
            self.stop.wait(timeout_s)
        else:
            self._engine.join(timeout_s)
        if self.error is not None:
            raise self.error
        return self.running

    def catch_up(self) -> None:
        """Wait until every follower has what the lake has, or cannot go on, or `stop` is set."""
        if not self.followers or self.plan.lake is None:
            return
        end = self.lake().positions()["posts"]
        while not self.stop.wait(WATCH_S):
            if self._following.is_set() and all(
                behind(end, thread.position) == 0 or not thread.alive for thread in self.followers
            ):
                return

    def _run_engine(self) -> None:
        try:
            engine = registry.load("engines", str(self._engine_name))
            self.report = engine.run(self.plan, stop=self._engine_stop, observe=self._observe)
        except BaseException as error:  # noqa: BLE001  (raised again in the thread that waits)
            self.error = error

    def _observe(self, progress: Progress) -> None:
        self.progress = progress
        metrics.LAG.labels(pipeline=self.plan.pipeline).set(progress.lag)

    def _watch(self) -> None:
        """Start the followers once there is a lake, and measure them."""
        while not self._ended.wait(WATCH_S):
            if not self.followers:
                continue
            try:
                lake = self.lake()
                if not self._following.is_set():
                    for thread in self.followers:
                        thread.start()
                    self._following.set()
                self._measure(lake)
            except FeltwireError:
                continue

    def _measure(self, lake: Lake) -> None:
        end = lake.positions()["posts"]
        for thread in self.followers:
            before = self._followed.get(thread.name, 0)
            metrics.FOLLOWER_LAG.labels(follower=thread.name).set(behind(end, thread.position))
            metrics.FOLLOWER_POSTS.labels(follower=thread.name).inc(max(0, thread.applied - before))
            self._followed[thread.name] = thread.applied
            if thread.error is not None and thread.error is not self._errors.get(thread.name):
                metrics.FOLLOWER_ERRORS.labels(follower=thread.name).inc()
            self._errors[thread.name] = thread.error


class _Feed:
    """The service's lake as a feed, opened when it is first asked."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def changes(self, after: Position, max_posts: int) -> tuple[pa.RecordBatch, pa.RecordBatch, Position]:
        return self._service.lake().changes(after, max_posts)


def _web_server(service: Service, listen: Listen) -> WebServer:
    def trouble() -> str | None:
        if service.error is not None:
            return f"the engine ended: {service.error}"
        return None

    def followers() -> tuple[FollowerState, ...]:
        return tuple(
            FollowerState(
                name=one.name,
                position=one.position,
                alive=one.alive,
                posts=one.applied,
                error=None if one.error is None else str(one.error),
            )
            for one in service.followers
        )

    runs = service.plan.lake is not None
    state = State(
        lake=service.lake if runs else None,
        log=service.log,
        progress=(lambda: service.progress) if service._engine is not None else None,
        trouble=trouble,
        pipeline=service.plan.pipeline,
        token=listen.token,
        write_token=listen.write_token,
        read_token=listen.read_token,
        ready_lag=listen.ready_lag,
        model=service.plan.model,
        tracks=service.plan.tracks,
        sources=tuple(source.key for source in service.plan.sources),
        followers=followers,
        rate=listen.rate,
        max_body_bytes=listen.max_body_bytes,
        max_texts=listen.max_texts,
        max_streams=listen.max_streams,
    )
    return WebServer(create_app(state), host=listen.host, port=listen.port, token=listen.token)


def behind(end: Position, reached: Position) -> int:
    """Records between two positions: the lag of what has reached the second behind the first."""
    return sum(max(0, offset - reached.get(partition, 0)) for partition, offset in end.items())


@contextmanager
def stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    """SIGINT and SIGTERM set `stop`; a second SIGINT interrupts at once. In the main thread only."""

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
