"""What the resources of the API share: the lake, the model, the poller; made once for an application."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

from fastapi import Depends, Request

from feltwire.errors import ConfigError, FeltwireError
from feltwire.interfaces import LogReader
from feltwire.lake import Lake
from feltwire.plan import Progress
from feltwire.tracks import Track
from feltwire.web.batcher import Batcher
from feltwire.web.guard import AccessScope, Tokens, allows
from feltwire.web.problems import Problem

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FollowerState:
    """How far a follower is, for showing."""

    name: str
    position: Mapping[int, int]
    alive: bool
    posts: int
    error: str | None


@dataclass(frozen=True, kw_only=True)
class State:
    """What the face shows. Everything is asked anew on each request, and may fail."""

    lake: Callable[[], Lake] | None = None  # None: this process only ingests
    log: Callable[[], LogReader] | None = None  # to tell the lag where no engine runs here
    progress: Callable[[], Progress | None] | None = None  # of the engine in this process; None: there is none
    trouble: Callable[[], str | None] = lambda: None  # why this process is of no use, in one line
    pipeline: str = "main"
    token: str | None = None
    """The token of the scope admin."""
    write_token: str | None = None
    read_token: str | None = None
    ready_lag: int = 1_000_000
    """Records that the lake may be behind the log."""
    model: str = "none:"
    """The URI of what scores."""
    tracks: tuple[Track, ...] = ()
    """Those of the settings."""
    sources: tuple[str, ...] = ()
    """The keys of the sources that this process reads."""
    followers: Callable[[], tuple[FollowerState, ...]] = tuple
    rate: float | None = None
    """Requests a second of one client; None: as many as it likes."""
    max_body_bytes: int = 8_000_000
    max_texts: int = 1_024
    """Texts of one request of `score`."""
    max_streams: int = 64

    @property
    def tokens(self) -> Tokens:
        """Who may do what."""
        return Tokens(read=self.read_token, write=self.write_token, admin=self.token)


@dataclass
class Context:
    """One application's own things."""

    state: State
    batcher: Batcher
    closers: list[Callable[[], None]] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)

    def lake(self) -> Lake:
        """The lake. Raises Problem: 409 where this process has none, 503 where it cannot be opened now."""
        if self.state.lake is None:
            raise Problem(409, "this process has no lake: it only ingests")
        try:
            return self.state.lake()
        except ConfigError as error:
            raise Problem(503, str(error), retry_after_s=5) from error
        except FeltwireError as error:
            raise Problem(503, str(error), retry_after_s=5) from error

    def close(self) -> None:
        """End the threads."""
        for close in self.closers:
            close()
        self.batcher.close()


async def of(request: Request) -> Context:
    """The context of a request's application. A coroutine, since FastAPI gives a function a thread of its own."""
    context: Context = request.app.state.context
    return context


Here = Annotated[Context, Depends(of)]


def may(request: Request, wanted: AccessScope) -> bool:
    """Whether a request brings what a scope needs; for what is reached by other ways than the API's own paths."""
    return allows(request.scope.get("state", {}).get("access"), wanted)
