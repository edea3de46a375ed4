"""A client of Feltwire's API, in typed results: what `docs/api.md` describes, from Python.

with Client("http://127.0.0.1:8050") as client:
    for post in client.posts(track="airlines", sentiment="negative"):
        print(post["text"])
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

import httpx

from feltwire.answers import Correction, Event, Explanation, Post, Pushed, Scored, Term, TrackInfo, Window
from feltwire.errors import ConfigError, FatalError, FeltwireError, RetryableError

__all__ = [
    "AnswerError", "AwayError", "Client", "Correction", "Event", "Explanation", "Post", "Pushed", "Scored", "Term",
    "TrackInfo", "When", "Window",
]  # fmt: skip

_TIMEOUT_S: Final = 30.0
_HEARTBEAT_S: Final = 30.0  # the server speaks every 10 s; a stream that is silent for longer is broken

When: TypeAlias = datetime | str


class AnswerError(FatalError):
    """The server refuses a request; trying the same again cannot help. `status` is that of HTTP."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"HTTP {status}: {detail}")
        self.status = status
        self.detail = detail


class AwayError(RetryableError):
    """The server does not answer now, or may not be asked now. `retry_after_s`: when to try again, if it said so."""

    def __init__(self, detail: str, *, status: int | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(detail if status is None else f"HTTP {status}: {detail}")
        self.status = status
        self.retry_after_s = retry_after_s


class Client:
    """Asks one server. Not for several threads at once; use it as a context manager, or `close` it.

    Every method raises AwayError where the server does not answer now, and AnswerError where it refuses.
    """

    def __init__(self, url: str, token: str | None = None, *, timeout_s: float = _TIMEOUT_S) -> None:
        """`url` is that of the server, as `http://127.0.0.1:8050`. Raises ConfigError for one that is none."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            base = httpx.URL(url)
            if base.scheme not in ("http", "https") or not base.host:
                raise httpx.InvalidURL("expected http:// or https://")
            self._http = httpx.Client(base_url=f"{url.rstrip('/')}/api/v1/", headers=headers, timeout=timeout_s)
        except (httpx.InvalidURL, UnicodeError) as error:
            raise ConfigError(f"{url!r} is no address of a server: expected http://HOST:PORT") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def score(self, texts: Sequence[str]) -> Scored:
        """What the server's model says of each text; without texts, what the model is."""
        found: Scored = self._ask("POST", "score", json={"texts": list(texts)})
        return found

    def posts(
        self, *, since: When | None = None, until: When | None = None, page: int = 200, **filters: str | Sequence[str]
    ) -> Iterator[Post]:
        """The posts from `since` to before `until`, newest first, page by page as they are needed.

        `filters` are those of `GET /api/v1/posts`: track, source, lang, sentiment, category, hashtag, q and so on.
        """
        params = {**filters, "from": _iso(since), "to": _iso(until), "limit": page}
        while True:
            found = self._ask("GET", "posts", params=params)
            yield from found["posts"]
            if found["next"] is None:
                return
            params["cursor"] = found["next"]

    def windows(
        self,
        *,
        every: str = "15min",
        track: str | Sequence[str] | None = None,
        since: When | None = None,
        until: When | None = None,
        source: str | Sequence[str] | None = None,
        lang: str | Sequence[str] | None = None,
        limit: int = 2_000,
    ) -> list[Window]:
        """The mood by window and track, oldest first; of more than `limit` windows the newest.

        Without `since` the last 96 windows up to `until`, or to the newest post.
        """
        params = {
            "every": every, "track": track, "from": _iso(since), "to": _iso(until), "source": source, "lang": lang,
            "limit": limit,
        }  # fmt: skip
        found: list[Window] = self._ask("GET", "windows", params=params)["windows"]
        return found

    def terms(
        self,
        kind: str | None = None,
        *,
        track: str | None = None,
        since: When | None = None,
        until: When | None = None,
        source: str | Sequence[str] | None = None,
        lang: str | Sequence[str] | None = None,
        limit: int = 20,
    ) -> list[Term]:
        """What people use most, `limit` of each kind; `kind` None: all kinds but `word`."""
        params = {
            "kind": kind, "track": track, "from": _iso(since), "to": _iso(until), "source": source, "lang": lang,
            "limit": limit,
        }  # fmt: skip
        found: list[Term] = self._ask("GET", "terms", params=params)["terms"]
        return found

    def explain(
        self,
        text: str | None = None,
        *,
        post_id: str | None = None,
        head: str = "sentiment",
        label: str | None = None,
        method: str = "auto",
        samples: int | None = None,
        seed: int = 0,
    ) -> Explanation:
        """Which words moved the score of a text, or of a stored post."""
        given = {
            "text": text, "post_id": post_id, "head": head, "label": label, "method": method, "samples": samples,
            "seed": seed,
        }  # fmt: skip
        found: Explanation = self._ask("POST", "explain", json=given)
        return found

    def tracks(self) -> list[TrackInfo]:
        """What is listened for; none: everything is kept."""
        found: list[TrackInfo] = self._ask("GET", "tracks")["tracks"]
        return found

    def add_track(self, name: str, query: str) -> TrackInfo:
        """Listen for something more."""
        found: TrackInfo = self._ask("POST", "tracks", json={"name": name, "query": query})
        return found

    def remove_track(self, name: str) -> None:
        """Listen for it no longer; its posts stay."""
        self._ask("DELETE", f"tracks/{httpx.URL('', path=name).raw_path.decode().replace('/', '%2F')}")

    def corrections(self, *, post_id: str | None = None, field: str | None = None) -> Iterator[Correction]:
        """What people said about posts, newest first."""
        params: dict[str, Any] = {"post_id": post_id, "field": field, "limit": 200}
        while True:
            found = self._ask("GET", "corrections", params=params)
            yield from found["corrections"]
            if found["next"] is None:
                return
            params["cursor"] = found["next"]

    def correct(self, post_id: str, field: str, value: str, *, by: str = "api") -> Correction:
        """Say what a post's label should be."""
        given = {"post_id": post_id, "field": field, "value": value, "by": by}
        found: Correction = self._ask("POST", "corrections", json=given)
        return found

    def retract(self, post_id: str, field: str, *, by: str = "api") -> None:
        """Take a correction back."""
        self._ask("DELETE", "corrections", params={"post_id": post_id, "field": field, "by": by})

    def status(self) -> dict[str, Any]:
        """How everything is: lag, ledger, followers, model, sizes."""
        found: dict[str, Any] = self._ask("GET", "status")
        return found

    def push(
        self, posts: Iterable[Mapping[str, Any]], *, idempotency_key: str | None = None, source: str | None = None
    ) -> Pushed:
        """Send posts to the server's push source; returns once they are durable."""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        found: Pushed = self._ask(
            "POST", "push", json=[dict(post) for post in posts], params={"source": source}, headers=headers
        )
        return found

    def stream(
        self, *, after: str | None = None, what: Sequence[str] = ("posts",), **filters: str | Sequence[str]
    ) -> Iterator[Event]:
        """What arrives, as it arrives, without end; from behind `after`, the `id` of an event that came before.

        Raises AwayError when the connection breaks: call it again with the id of the last event.
        """
        params = _present({**filters, "what": list(what), "after": after})
        timeout = httpx.Timeout(_TIMEOUT_S, read=_HEARTBEAT_S)
        try:
            with self._http.stream("GET", "stream", params=params, timeout=timeout) as answer:
                if answer.status_code != 200:
                    answer.read()
                    raise _error(answer)
                yield from _events(answer.iter_lines(), after or "")
        except httpx.TransportError as error:
            raise AwayError(f"the stream broke: {type(error).__name__}") from error
        raise AwayError("the stream ended")

    def _ask(self, method: str, path: str, *, params: Mapping[str, Any] | None = None, **more: Any) -> Any:
        try:
            answer = self._http.request(method, path, params=_present(params or {}), **more)
        except httpx.TransportError as error:
            raise AwayError(f"{self._http.base_url} does not answer: {type(error).__name__}") from error
        if answer.is_success:
            return answer.json() if answer.content else None
        raise _error(answer)


def _present(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if value is not None}


def _iso(when: When | None) -> str | None:
    """Raises ConfigError for a time without a zone."""
    if not isinstance(when, datetime):
        return when
    if when.tzinfo is None:
        raise ConfigError(f"{when.isoformat()} has no zone: expected one, as datetime.now(UTC) has it")
    return when.astimezone(UTC).isoformat()


def _error(answer: httpx.Response) -> FeltwireError:
    try:
        detail = str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        detail = answer.reason_phrase
    if answer.status_code in (408, 425, 429, 503) or answer.status_code >= 502:
        after = answer.headers.get("retry-after", "")
        wait_s = float(after) if after.isdecimal() else None
        return AwayError(detail, status=answer.status_code, retry_after_s=wait_s)
    return AnswerError(answer.status_code, detail)


def _events(lines: Iterator[str], last_id: str) -> Iterator[Event]:
    """Server-sent events (WHATWG HTML, 9.2) out of lines; an id stays until another comes."""
    kind, data = "message", ""
    for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "":
                if not line and data:
                    yield {"event": kind, "id": last_id, "data": json.loads(data)}
                if not line:
                    kind, data = "message", ""
            case "id":
                last_id = value
            case "event":
                kind = value
            case "data":
                data += value
