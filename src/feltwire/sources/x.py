"""X's posts by its API v2: `x:stream`, `x:search`, `x:sample` and, for those who may, `x:compliance`.

A stream is listened to for good; after a break, what was missed is fetched by a search of the last seven days. A
search reads what was written between two times and ends. X bills every post that it delivers: what that costs is
shown, and may be limited.
"""

import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl, urlsplit

import pyarrow as pa
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from feltwire.errors import ConfigError
from feltwire.interfaces import Cursor
from feltwire.sources._x_client import Client, Timing
from feltwire.sources._x_parse import NAME
from feltwire.sources._x_period import count_posts, parse_pages, search_pages
from feltwire.sources._x_rules import MAX_QUERY_CHARS, TAG, Query, Rule, query_of, rules_of
from feltwire.sources._x_search import Search, Searched
from feltwire.sources._x_session import Pace, Session, Yielded
from feltwire.sources._x_spend import Spend
from feltwire.sources._x_stream import Asked, Listener
from feltwire.spend import Period
from feltwire.tracks import Track

MODES: Final = ("stream", "search", "search/recent", "search/all", "sample", "compliance/1 … compliance/4")

FIELDS: Final = {
    "tweet.fields": "id,text,note_tweet,created_at,author_id,lang,conversation_id,in_reply_to_user_id,"
    "referenced_tweets,public_metrics,entities,edit_history_tweet_ids",
    "user.fields": "id,name,username,verified,verified_type,location",
    "expansions": "author_id,referenced_tweets.id,referenced_tweets.id.author_id",
}
"""What X is asked to say of a post."""

_SEARCH_ONLY: Final = frozenset({"max_results", "sort_order"})
_PATHS: Final = {
    "stream": "/2/tweets/search/stream",
    "sample": "/2/tweets/sample/stream",
    "compliance": "/2/tweets/compliance/stream",
}

_log = logging.getLogger("feltwire.sources.x")


def _table(value: object) -> object:
    """A table of parameters, which in a URI is a query string of its own."""
    if isinstance(value, str):
        return dict(parse_qsl(value, keep_blank_values=True))
    return {key: str(one) for key, one in value.items()} if isinstance(value, dict) else value


class Options(BaseModel):
    """The options of an X source."""

    model_config = ConfigDict(extra="forbid")

    query: str = Field(
        default="", max_length=4_096, description="X's own query, asked as it stands instead of the tracks"
    )
    start: AwareDatetime | None = Field(
        default=None, description="search: from this time on; without: the last seven days"
    )
    end: AwareDatetime | None = Field(default=None, description="search: before this time; without: until now")
    params: Annotated[dict[str, str], BeforeValidator(_table)] = Field(
        default={},
        description="X's own request parameters, over the defaults: tweet.fields, user.fields, expansions, "
        "max_results of a search, backfill_minutes of a stream, …",
    )
    base_url: str = Field(default="https://api.x.com", description="where X's API is")
    token_env: str = Field(
        default="FELTWIRE_X_TOKEN", description="the environment variable that holds the bearer token"
    )
    cost_per_1000: float = Field(default=5.0, ge=0, description="what X bills for 1,000 posts that it delivers")
    spend_limit: float | None = Field(default=None, gt=0, description="money that may be spent in a spend_period")
    spend_period: Period = Field(default="day", description="day and month are UTC's, as X's own; or total")

    @field_validator("base_url")
    @classmethod
    def _web_address(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise ValueError("expected https://HOST, without a name, a password or a query")
        if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
            raise ValueError("http:// would show the token to everybody on the way: expected https://")
        return value.rstrip("/")


def create(rest: str, options: Options) -> "XSource":
    """A source in the mode that `rest` names. Raises ConfigError."""
    return XSource(rest, options)


class XSource:
    """Reads X; implements `interfaces.Source`. One iterator at a time."""

    name = NAME

    def __init__(self, mode: str, options: Options, timing: Timing | None = None) -> None:
        """Raises ConfigError for a mode that is none, and for options that do not go together."""
        kind, _, part = mode.partition("/")
        whole = not part or (kind == "search" and part in ("recent", "all")) or kind == "compliance"
        if kind not in ("search", *_PATHS) or not whole or (kind == "compliance" and part not in ("1", "2", "3", "4")):
            raise ConfigError(f"source 'x': {mode!r} came behind the colon; allowed are {', '.join(MODES)}")
        if options.start and options.end and options.start >= options.end:
            raise ConfigError(f"source 'x': start = {options.start} is not before end = {options.end}")
        if kind != "search" and (options.start or options.end):
            raise ConfigError("source 'x': start and end are options of x:search")
        if options.spend_limit is not None and not options.cost_per_1000:
            raise ConfigError("source 'x': spend_limit needs cost_per_1000: what 1,000 posts cost")
        self._backfill_minutes = _number(options.params, "backfill_minutes", 0, 5, 0)
        _number(options.params, "max_results", 10, 500, 100)
        self._kind, self._part = kind, part
        self._options = options
        self._timing = timing or Timing()
        self._tracks: tuple[Track, ...] = ()
        self._pace = Pace()

    def listen_for(self, tracks: Sequence[Track]) -> None:
        """The tracks that X is to be asked for; called before `read`. Raises ConfigError for one that X cannot be
        asked for; what is left out of the question is told in the log."""
        self._tracks = tuple(tracks)
        if self._kind in ("stream", "search") and not self._options.query:
            for name, query in self._queries():
                if query.left_out:
                    _log.warning(
                        "track %r: X cannot be asked for %s: it is asked for more, and Feltwire leaves out the rest",
                        name,
                        ", ".join(query.left_out),
                    )
                if not query.alternatives:
                    _log.warning("track %r: no post of X can match it", name)

    def read(self, cursor: Cursor | None) -> Iterator[Yielded]:
        """As `interfaces.Source.read`. A search ends, everything else does not."""
        mode = self._searched() if self._kind == "search" else self._asked()
        with self._session() as session:
            reader = Listener(session, mode, cursor) if isinstance(mode, Asked) else Search(session, mode, cursor)
            yield from reader.batches()

    # As `interfaces.Searchable`

    @property
    def cost_per_post(self) -> float:
        """What X bills for a post."""
        return self._options.cost_per_1000 / 1_000

    @property
    def asked(self) -> str:
        """The queries and the parameters of a search. Raises ConfigError where there is nothing to search for."""
        searched = self._searched()
        return json.dumps([searched.queries, searched.params, searched.where], sort_keys=True)

    def search(self, start: datetime, end: datetime, *, limit: int | None = None) -> Iterator[bytes | None]:
        """As `interfaces.Searchable.search`. A spend limit that is reached is a FatalError: it is not waited for."""
        searched = replace(self._searched(), start=start, end=end, limit=limit)
        with self._session(waits=False) as session:
            yield from search_pages(session, searched)

    def parse(self, pages: Sequence[bytes], *, limit: int | None = None) -> pa.RecordBatch:
        """As `interfaces.Searchable.parse`."""
        return parse_pages(pages, limit)

    def count(self, start: datetime, end: datetime) -> int:
        """As `interfaces.Searchable.count`: X's counts, which cost no posts."""
        with self._session() as session:
            return count_posts(session, replace(self._searched(), start=start, end=end))

    @contextmanager
    def _session(self, *, waits: bool = True) -> Iterator[Session]:
        """A session, closed in the end. Several may be open, in a thread each."""
        options, token = self._options, self._token()
        spend = Spend(
            f"x {options.base_url} {options.token_env}",
            cost_per_1000=options.cost_per_1000,
            limit=options.spend_limit,
            period=options.spend_period,
            waits=waits,
        )
        client = partial(Client, options.base_url, token, options.token_env, self._timing)
        session = Session(client, spend, self._timing, self._pace)
        try:
            yield session
        finally:
            session.close()
            if spend.posts and waits:
                _log.info("%s", spend.told())

    def _token(self) -> str:
        name = self._options.token_env
        token = os.environ.get(name, "").strip().removeprefix("Bearer ")
        if not token or not token.isprintable() or not token.isascii() or " " in token:
            raise ConfigError(
                f"source 'x': the environment variable {name} holds no bearer token; X's developer console gives one"
            )
        return token

    def _queries(self) -> list[tuple[str, Query]]:
        """(a name, what X is asked for it) for each track, or for the query that stands instead of them."""
        if self._options.query:
            return [("query", Query([self._options.query]))]
        return [(track.name, query_of(track)) for track in self._tracks]

    def _searches(self, max_chars: int) -> list[str]:
        if self._options.query:
            return [self._options.query]
        return list(dict.fromkeys(one for _, query in self._queries() for one in query.packed(max_chars)))

    def _searched(self) -> Searched:
        queries = self._searches(MAX_QUERY_CHARS)
        if not queries:
            raise ConfigError("source 'x': nothing to search for: name a track, or X's own query (option query)")
        options = self._options
        params = {**FIELDS, **options.params}
        params.pop("backfill_minutes", None)
        return Searched(queries, options.start, options.end, params, self._part)

    def _asked(self) -> Asked:
        extra = {key: value for key, value in self._options.params.items() if key != "backfill_minutes"}
        if self._kind == "compliance":
            return Asked(_PATHS["compliance"], {"partition": self._part, **extra}, self._backfill_minutes)
        shown = {key: value for key, value in {**FIELDS, **extra}.items() if key not in _SEARCH_ONLY}
        if self._kind == "sample":
            return Asked(_PATHS["sample"], shown, self._backfill_minutes)
        queries = self._queries()
        rules = rules_of(queries) if not self._options.query else [Rule(self._options.query, f"{TAG}query")]
        if queries and not rules:
            raise ConfigError("source 'x': no post of X can match a track: name one that is not of other sources alone")
        return Asked(
            _PATHS["stream"],
            shown,
            self._backfill_minutes,
            rules if queries else None,
            filtered=True,
            queries=self._searches(MAX_QUERY_CHARS),
            page_params=shown,
        )


def _number(params: dict[str, Any], key: str, least: int, most: int, otherwise: int) -> int:
    value = params.get(key)
    if value is None:
        return otherwise
    if not (value.isascii() and value.isdecimal() and least <= int(value) <= most):
        raise ConfigError(f"source 'x': params: {key} = {value!r} came; allowed are {least} to {most}")
    return int(value)
