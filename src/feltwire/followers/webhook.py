"""`webhook:https://…`: posts and withdrawals by HTTP POST, in the order of the log, one request after the other.

A request is stored in the state file before it is sent and until it is answered with 2xx. After a kill or a failure
the same bytes go out again under the same `Idempotency-Key`, so that who keeps the keys has every row exactly once.
Signed as "Standard Webhooks" says: standardwebhooks.com.
"""

import base64
import binascii
import contextlib
import email.utils
import hashlib
import hmac
import logging
import stat
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
import pyarrow as pa
from pydantic import Field, SecretStr

from feltwire import __version__
from feltwire.errors import ConfigError, DestinationError, FatalError
from feltwire.followers._options import DEFAULT_FIELDS, Fields, Filter, select
from feltwire.followers._positions import ahead, cut, fresh, from_json, to_json
from feltwire.followers._rows import encode, rows
from feltwire.followers._state import StateFile
from feltwire.interfaces import Position

MAX_PAUSE_S: Final = 3600.0  # longer than this is never waited for, whatever Retry-After says
MAX_ANSWER_BYTES: Final = 65_536  # of an answer, this much is read so that the connection can be used again

# Answers that say "later". 409: the same key is being worked on (draft-ietf-httpapi-idempotency-key-header).
_LATER: Final = frozenset({408, 409, 425, 429})
# Answers that say "never with this body": it is forgotten, so that it is made anew under changed options.
_BAD_BODY: Final = frozenset({400, 413, 415, 422})


class Options(Filter):
    """`webhook:https://example.org/hook?state=hook.json&track=delta`."""

    url: str = ""
    """The address, where it has a query of its own and so cannot stand in the URI."""
    state: str = ""
    """The file that keeps the position; needed."""
    secret: SecretStr | None = None
    """Signs every request; `whsec_` + base64, or any text."""
    secret_file: str = ""
    """A file with the secret, which only its owner may read."""
    fields: Fields = DEFAULT_FIELDS
    """Columns of `posts` to send."""
    max_posts: int = Field(default=500, ge=1, le=100_000)
    """A request has about so many posts and withdrawals at most."""
    timeout_s: float = Field(default=10.0, gt=0, le=600)
    """How long to wait for the connection, and for each part of the answer."""


class WebhookFollower:
    """Implements `interfaces.Follower`; `position` first finishes a request that was cut short."""

    def __init__(self, url: httpx.URL, secret: bytes | None, options: Options) -> None:
        self._url = url
        self._secret = secret
        self._options = options
        self._state_file = StateFile(Path(options.state).expanduser(), kind="webhook")
        self._state: dict[str, Any] | None = None
        self._client: httpx.Client | None = None
        self._not_before = 0.0  # time.monotonic() until which the far side asked for peace

    def position(self) -> Position | None:
        position = self._settled()["position"]
        return None if position is None else from_json(position)

    def apply(self, posts: pa.RecordBatch, withdrawn: pa.RecordBatch, position: Position) -> None:
        stored = self.position()
        reached = ahead(stored or {}, position)
        if reached == stored:
            return
        posts, withdrawn = select(fresh(posts, stored), self._options), fresh(withdrawn, stored)
        after = stored or {}
        for some_posts, some_withdrawn, end in cut(posts, withdrawn, after, reached, self._options.max_posts):
            if some_posts.num_rows or some_withdrawn.num_rows:
                self._save({**self._settled(), "pending": self._request(some_posts, some_withdrawn, after, end)})
                self._settled()
            else:
                self._save({**self._settled(), "position": to_json(end)})
            after = end

    def close(self) -> None:
        """Close the connection and let go of the state file; another follower may go on."""
        self._state = None
        self._state_file.close()
        if self._client is not None:
            self._client.close()
            self._client = None

    def _request(
        self, posts: pa.RecordBatch, withdrawn: pa.RecordBatch, after: Position, end: Position
    ) -> dict[str, Any]:
        number = self._settled()["sequence"] + 1
        place = {"after": to_json(after), "position": to_json(end)}
        what = self._options.model_dump(mode="json", include={"track", "sentiment", "complaint", "fields"})
        key = hashlib.sha256(encode([str(self._url), what, place])).hexdigest()[:32]
        told = rows(withdrawn)
        body = {"id": key, "sequence": number, **place, "posts": rows(posts.select(self._options.fields))}
        return {
            "key": key,
            "sequence": number,
            "position": place["position"],
            "body": encode({**body, "withdrawn": told}).decode(),
        }

    def _settled(self) -> dict[str, Any]:
        """The state, once no request is pending any more."""
        if self._state is None:
            self._state = self._state_file.load() or {"position": None, "sequence": 0, "pending": None}
        pending = self._state["pending"]
        if pending is not None:
            try:
                self._send(pending["key"], pending["body"].encode())
            except _BadBodyError:
                self._save({**self._state, "pending": None})
                raise
            self._save({"position": pending["position"], "sequence": pending["sequence"], "pending": None})
        return self._state

    def _save(self, state: dict[str, Any]) -> None:
        self._state = None  # if saving fails, only the file knows
        self._state_file.save(state)
        self._state = state

    def _send(self, key: str, body: bytes) -> None:
        """One attempt. Returns on 2xx; raises DestinationError to try again, FatalError when a person must act."""
        pause_s = self._not_before - time.monotonic()
        if pause_s > 0:
            raise DestinationError(f"{self._url.host} asked to be left alone for another {pause_s:.0f} s")
        if self._client is None:
            self._client = _client(self._options.timeout_s)
        headers = {"Content-Type": "application/json", "Idempotency-Key": key, **self._signed(key, body)}
        try:
            with self._client.stream("POST", self._url, content=body, headers=headers) as answer:
                status, retry_after = answer.status_code, answer.headers.get("Retry-After", "")
                _drain(answer, self._options.timeout_s)
        except httpx.TransportError as error:
            raise DestinationError(f"{self._url.host} cannot be reached: {type(error).__name__}") from error
        if 200 <= status < 300:
            return
        if status >= 500 or status in _LATER:
            self._not_before = time.monotonic() + seconds_to_wait(retry_after, now=datetime.now(UTC))
            raise DestinationError(f"{self._url.host} answered {status}")
        if status in _BAD_BODY:
            raise _BadBodyError(
                f"{self._url.host} refused a request with {status}: see what it expects; fewer `max_posts` or other "
                "`fields` may help; then start the follower again"
            )
        raise FatalError(
            f"{self._url.host} answered {status}: correct the address or the secret, and start the follower again"
        )

    def _signed(self, key: str, body: bytes) -> dict[str, str]:
        sent_at = str(int(time.time()))
        headers = {"webhook-id": key, "webhook-timestamp": sent_at}
        if self._secret is not None:
            headers["webhook-signature"] = signature(self._secret, key, sent_at, body)
        return headers


class _BadBodyError(FatalError):
    """The far side will never take this body."""


def create(rest: str, options: Options) -> WebhookFollower:
    """The follower of `webhook:URL`. Nothing is opened before the first call, but for `secret_file`.

    Raises ConfigError for an address that is none, a missing `state`, or a secret that others can read.
    """
    try:
        url = httpx.URL(options.url or rest)
    except httpx.InvalidURL as error:
        raise ConfigError(f"follower 'webhook': this is no address ({error})") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigError("follower 'webhook': no address; expected webhook:https://HOST/PATH")
    if not options.state:
        raise ConfigError("follower 'webhook': `state` is missing: name a file that keeps the position")
    return WebhookFollower(url, _secret(options), options)


def signature(secret: bytes, key: str, sent_at: str, body: bytes) -> str:
    """The header `webhook-signature`: HMAC-SHA256 over id, timestamp and body, joined by dots."""
    digest = hmac.new(secret, b".".join([key.encode(), sent_at.encode(), body]), hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def seconds_to_wait(retry_after: str, *, now: datetime) -> float:
    """What a Retry-After header asks for: seconds or an HTTP date (RFC 9110, 10.2.3), at most MAX_PAUSE_S."""
    if retry_after.isascii() and retry_after.isdigit():
        return min(float(retry_after), MAX_PAUSE_S)
    try:
        until = email.utils.parsedate_to_datetime(retry_after)
    except ValueError:
        return 0.0
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return min(max((until - now).total_seconds(), 0.0), MAX_PAUSE_S)


def _client(timeout_s: float) -> httpx.Client:
    # httpx logs every address at INFO, and the address of a webhook is often its secret.
    for name in ("httpx", "httpcore"):
        logger = logging.getLogger(name)
        logger.setLevel(max(logger.level, logging.WARNING))
    return httpx.Client(timeout=timeout_s, follow_redirects=False, headers={"User-Agent": f"feltwire/{__version__}"})


def _drain(answer: httpx.Response, timeout_s: float) -> None:
    """Read a little of the answer: the status has decided already, so nothing in here can fail it."""
    until, size = time.monotonic() + timeout_s, 0
    with contextlib.suppress(httpx.HTTPError):
        for chunk in answer.iter_raw():
            size += len(chunk)
            if size > MAX_ANSWER_BYTES or time.monotonic() > until:
                return


def _secret(options: Options) -> bytes | None:
    text = options.secret.get_secret_value() if options.secret is not None else ""
    if options.secret_file:
        path = Path(options.secret_file).expanduser()
        try:
            mode, text = path.stat().st_mode, path.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"follower 'webhook': secret_file = {str(path)!r} cannot be read: {error}") from error
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigError(f"follower 'webhook': secret_file = {str(path)!r} is open to others: chmod 600 it")
    if not text:
        return None
    if text.startswith("whsec_"):
        try:
            return base64.b64decode(text.removeprefix("whsec_"), validate=True)
        except binascii.Error as error:
            raise ConfigError("follower 'webhook': the secret begins with whsec_ and is not base64") from error
    return text.encode()
