"""The names that columns go by in other people's files, and the option that says so by hand."""

import re
from collections.abc import Mapping
from functools import lru_cache
from itertools import chain
from typing import Final

from feltwire.errors import ConfigError

MAX_CHARS: Final = 64  # a longer name means nothing
PARENTS: Final = frozenset({"user", "author", "account", "publicmetrics"})
"""Objects whose members mean something."""

ALIASES: Final[dict[str, tuple[str, ...]]] = {
    "kind": ("kind",),
    "id": ("idstr", "id", "tweetid", "postid", "statusid", "messageid", "uri"),
    "revision": ("revision",),
    "text": ("text", "fulltext", "content", "body", "tweet", "tweettext", "posttext", "message", "comment"),
    "author_id": (
        "authorid",
        "useridstr",
        "userid",
        "did",
        "user.idstr",
        "user.id",
        "author.id",
        "author.did",
        "account.id",
    ),
    "author_handle": (
        "authorhandle",
        "handle",
        "screenname",
        "username",
        "userscreenname",
        "user",
        "author",
        "user.screenname",
        "user.username",
        "user.handle",
        "author.username",
        "author.handle",
        "account.acct",
        "account.username",
    ),
    "author_name": (
        "authorname",
        "displayname",
        "user.name",
        "author.name",
        "author.displayname",
        "account.displayname",
        "name",
    ),
    "author_verified": ("authorverified", "verified", "isverified", "user.verified", "author.verified"),
    "author_location": (
        "authorlocation",
        "location",
        "userlocation",
        "tweetlocation",
        "user.location",
        "author.location",
    ),
    "lang": ("lang", "language"),
    "created_at": (
        "createdat",
        "created",
        "date",
        "datetime",
        "timestamp",
        "time",
        "tweetcreated",
        "publishedat",
        "published",
    ),
    "conversation_id": ("conversationid", "threadid"),
    "reply_to_id": ("replytoid", "inreplytoid", "inreplytostatusidstr", "inreplytostatusid", "inresponsetotweetid"),
    "quote_of_id": ("quoteofid", "quotedstatusidstr", "quotedstatusid"),
    "repost_of_id": ("repostofid", "retweetedstatusidstr", "retweetedstatusid"),
    "likes": ("likes", "likecount", "favoritecount", "favouritescount", "favorites", "publicmetrics.likecount"),
    "reposts": (
        "reposts",
        "repostcount",
        "retweetcount",
        "retweets",
        "reblogscount",
        "shares",
        "publicmetrics.retweetcount",
    ),
    "replies": ("replies", "replycount", "repliescount", "publicmetrics.replycount"),
    "url": ("url", "permalink", "link"),
    "hashtags": ("hashtags", "tags"),
    "mentions": ("mentions",),
    "links": ("links", "urls"),
    "raw": ("raw",),
}
"""{a column of `schema.RECORD`: the names it goes by, the surest first}, in small letters without _, - and blanks.

`user.name` is the member `name` of an object `user`.
"""

_KNOWN: Final = frozenset(chain.from_iterable(ALIASES.values()))
_RANKS: Final = {(target, alias): rank for target, names in ALIASES.items() for rank, alias in enumerate(names)}


def parse_columns(given: str | Mapping[str, str] | None) -> dict[str, str]:
    """The option `columns`: `"text=body,author_handle=user"` or a table, as {column: name in the input}.

    An empty name leaves the column empty. Raises ConfigError for a column that a post does not have.
    """
    if not given:
        return {}
    if isinstance(given, str):
        pairs = [part.partition("=") for part in given.split(",") if part.strip()]
        for target, equals, _ in pairs:
            if not equals:
                raise ConfigError(f"columns: {target.strip()!r} is no pair: expected column=name, as in text=body")
        given = {target: name for target, _, name in pairs}
    columns = {target.strip(): name.strip() for target, name in given.items()}
    for target in columns:
        if target not in ALIASES:
            raise ConfigError(f"columns: unknown column {target!r}; known are {', '.join(ALIASES)}")
    return columns


@lru_cache(maxsize=4096)
def meanings(name: str) -> tuple[tuple[str, int], ...]:
    """(column, rank) for each column that a name of the input may fill."""
    if len(name) > MAX_CHARS:
        return ()
    squashed = squash(name)
    if squashed not in _KNOWN:
        return ()
    return tuple((target, rank) for (target, alias), rank in _RANKS.items() if alias == squashed)


def squash(name: str) -> str:
    """A name in small letters, without blanks, _ and -."""
    return re.sub(r"[\s_\-]+", "", name.lower())
