"""The JSON of X's API v2: a page or a line of a stream in, rows of records out. No I/O.

Objects are those of https://docs.x.com/x-api/fundamentals/data-dictionary: posts under `data`, the authors and
posts that they refer to under `includes`, joined by id. A post that was edited is one post here: its id is that of
its first version (`edit_history_tweet_ids`), its revision the number of the version. Nothing here raises, whatever
the bytes.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec
import pyarrow as pa

from feltwire import language, schema
from feltwire.sources import _records
from feltwire.sources._records import Row

NAME: Final = "x"

_SNOWFLAKE_EPOCH_MS: Final = 1_288_834_974_657  # ids since 4 November 2010 hold their time
_FIRST_SNOWFLAKE: Final = 29_700_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_INT: Final = 2**63

# Events of the compliance streams after which something must not be shown any more.
_POST_GONE: Final = ("delete", "drop")
_AUTHOR_GONE: Final = ("user_delete", "user_suspend", "user_protect")
_OTHER_EVENTS: Final = frozenset(
    {"undrop", "withheld", "tweet_edit", "scrub_geo", "user_undelete", "user_unsuspend", "user_unprotect"}
    | {"user_withheld", "user_scrub_geo", "user_profile_modification"}
)


class Answer(NamedTuple):
    """What one page, or one line of a stream, says."""

    rows: list[Row]
    posts: int = 0
    """Posts that X counts: those of `data`, not those that came along with them."""
    newest: datetime | None = None
    """When the youngest of these posts was written."""
    oldest: datetime | None = None
    next_token: str | None = None
    """Where the next page begins; None: this was the last."""
    problem: str | None = None
    """Why the stream is about to end, in one line."""


def parse_page(body: bytes, *, most: int | None = None) -> Answer:
    """What a page of a search says: its posts from new to old, each behind the posts that it refers to.

    `most`: only so many of its posts are taken, the first ones.
    """
    try:
        page = _object(body)
        given = page.get("data", [])
        if not isinstance(given, list):
            raise _Unreadable("`data` is no list")
    except _Unreadable as reason:
        return Answer([refused(body, str(reason))])
    meta = page.get("meta")
    token = _text(meta, "next_token") if isinstance(meta, dict) else None
    return _answer(given[:most], page, live=False)._replace(next_token=token)


def parse_line(line: bytes) -> Answer:
    """What a line of a stream says: a post, an event of compliance, or a problem after which the stream ends."""
    try:
        message = _object(line)
        data = message.get("data", message)
        if not isinstance(data, dict):
            raise _Unreadable("`data` is no object")
        event = _event(data)
        if event is not None:
            return Answer(event)
        if data is message:
            problem = problem_of(message)
            if problem is None:
                raise _Unreadable("neither a post nor a message that is known")
            return Answer([], problem=problem)
    except _Unreadable as reason:
        return Answer([refused(line, str(reason))])
    return _answer([data], message, live=True)


def problem_of(message: dict[str, Any]) -> str | None:
    """One line out of X's problem document (RFC 7807), alone or in `errors`; None where there is none."""
    errors = message.get("errors")
    first = errors[0] if isinstance(errors, list) and errors else message
    if not isinstance(first, dict):
        return None
    parts = [_text(first, key) for key in ("title", "connection_issue", "disconnect_type", "reason", "detail")]
    details = first.get("details")
    parts += [one for one in details if isinstance(one, str)] if isinstance(details, list) else []
    found = dict.fromkeys(part for part in parts if part) or dict.fromkeys(filter(None, [_text(first, "message")]))
    told = "".join(char if char.isprintable() else " " for char in ": ".join(found))
    return told[:300] or None


def refused(payload: bytes, reason: str) -> Row:
    """The refusal of what came from X."""
    return _records.refusal(NAME, payload, reason)


def to_batch(rows: list[Row]) -> pa.RecordBatch:
    """Rows as a batch of `schema.RECORD`."""
    return _records.to_batch(NAME, rows)


def time_of(post_id: str) -> datetime | None:
    """When the post with this id (X's own, without the source) was written; None for ids of before 2010's end."""
    if not (post_id.isascii() and post_id.isdecimal() and len(post_id) < 20):
        return None
    number = int(post_id)
    if number < _FIRST_SNOWFLAKE:
        return None
    return _EPOCH + timedelta(milliseconds=(number >> 22) + _SNOWFLAKE_EPOCH_MS)


class _Unreadable(Exception):  # noqa: N818 (it never leaves this module)
    """Why something is refused; the message becomes the reason, so it holds nothing of a post's text."""


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(data)
    except RecursionError:
        raise _Unreadable("nested too deep") from None
    except ValueError as error:
        raise _Unreadable(f"no JSON: {error}") from None
    if not isinstance(value, dict):
        raise _Unreadable("no JSON object")
    return value


class _Includes:
    """What came along with posts, by id."""

    def __init__(self, message: dict[str, Any]) -> None:
        includes = message.get("includes")
        includes = includes if isinstance(includes, dict) else {}
        self.users = {user["id"]: user for user in _objects(includes.get("users")) if _text(user, "id")}
        self.posts = {post["id"]: post for post in _objects(includes.get("tweets")) if _text(post, "id")}

    def id_of(self, post_id: str | None) -> str | None:
        """The id of a post that is referred to: that of its first version, where that is known."""
        if post_id is None:
            return None
        history = _history(self.posts.get(post_id, {}), post_id)
        return f"{NAME}:{history[0]}"


def _answer(given: list[Any], message: dict[str, Any], *, live: bool) -> Answer:
    """Rows of some posts and of those that came along with them, which come first."""
    includes = _Includes(message)
    rows: list[Row] = []
    own = {_text(post, "id") for post in given if isinstance(post, dict)}
    for post_id, post in includes.posts.items():
        if post_id not in own:
            rows += _rows(post, includes, live=False)
    seen: list[datetime] = []
    for post in given:
        rows += _rows(post, includes, live=live)
        if isinstance(post, dict) and (at := time_of(_text(post, "id") or "")):
            seen.append(at)
    return Answer(rows, len(given), max(seen, default=None), min(seen, default=None))


def _rows(post: Any, includes: _Includes, *, live: bool) -> list[Row]:
    """The record of a post; behind it the withdrawal of a version that a later one has replaced."""
    try:
        if not isinstance(post, dict):
            raise _Unreadable("a post that is no JSON object")
        row, number, versions = _post(post, includes, live)
        if any(_holds_nul(value) for value in row):
            raise _Unreadable("a NUL character in a text")
    except _Unreadable as reason:
        return [refused(msgspec.json.encode(post), str(reason))]
    if number + 1 == versions:
        return [row]
    return [row, Row(schema.WITHDRAWAL, row.id, number, live=live)]


def _post(post: dict[str, Any], includes: _Includes, live: bool) -> tuple[Row, int, int]:
    """(its record, the number of its version, how many versions there are)."""
    post_id = _text(post, "id")
    if post_id is None or not (post_id.isascii() and post_id.isdecimal() and len(post_id) < 25):
        raise _Unreadable("a post without an id")
    history = _history(post, post_id)
    number = history.index(post_id)
    author = includes.users.get(_text(post, "author_id") or "", {})
    references = {
        ref["type"]: _text(ref, "id") for ref in _objects(post.get("referenced_tweets")) if _text(ref, "type")
    }
    original = includes.posts.get(references.get("retweeted") or "")
    text, marked = _full(post)
    if original is not None and (whole := _full(original)[0]) is not None:
        # A repost carries the beginning of the original's text only.
        by = _text(includes.users.get(_text(original, "author_id") or "", {}), "username")
        text = f"RT @{by}: {whole}" if by else whole
        marked = [*marked, *_full(original)[1]]
    if text is None:
        raise _Unreadable("a post without a text")
    if len(text) > schema.MAX_TEXT_CHARS:
        raise _Unreadable(f"a text of {len(text)} characters: at most {schema.MAX_TEXT_CHARS} are taken")
    counts = post.get("public_metrics")
    handle = _text(author, "username")
    at = time_of(post_id)
    row = Row(
        schema.EDIT if number else schema.POST,
        f"{NAME}:{history[0]}",
        number,
        live,
        author_id=_text(post, "author_id"),
        author_handle=handle,
        author_name=_text(author, "name"),
        author_verified=_verified(author),
        author_location=_text(author, "location"),
        text=text,
        lang=language.normalise(_text(post, "lang")),
        created_at=_text(post, "created_at") or (at.isoformat() if at else None),
        conversation_id=includes.id_of(_text(post, "conversation_id")),
        reply_to_id=includes.id_of(references.get("replied_to")),
        quote_of_id=includes.id_of(references.get("quoted")),
        repost_of_id=includes.id_of(references.get("retweeted")),
        likes=_count(counts, "like_count"),
        reposts=_count(counts, "retweet_count"),
        replies=_count(counts, "reply_count"),
        url=f"https://x.com/{handle or 'i'}/status/{post_id}",
        hashtags=_once(_text(tag, "tag") for part in marked for tag in _objects(part.get("hashtags"))),
        mentions=_once(_text(name, "username") for part in marked for name in _objects(part.get("mentions"))),
        links=_once(_link(url) for part in marked for url in _objects(part.get("urls"))),
    )
    return row, number, len(history)


def _full(post: dict[str, Any]) -> tuple[str | None, list[dict[str, Any]]]:
    """A post's whole text, and the entities marked in it. Of a long post, `text` is the beginning only."""
    note = post.get("note_tweet")
    marked = [part for part in (post.get("entities"),) if isinstance(part, dict)]
    if isinstance(note, dict) and (whole := _text(note, "text")):
        inner = note.get("entities")
        return whole, [*marked, *([inner] if isinstance(inner, dict) else [])]
    return _text(post, "text"), marked


def _history(post: dict[str, Any], post_id: str) -> list[str]:
    """The ids of a post's versions, the first one first."""
    given = post.get("edit_history_tweet_ids")
    known = [one for one in given if isinstance(one, str) and one.isdecimal()] if isinstance(given, list) else []
    return sorted(set(known), key=int) if post_id in known else [post_id]


def _verified(author: dict[str, Any]) -> bool | None:
    flag, kind = author.get("verified"), _text(author, "verified_type")
    if kind is not None and kind != "none":
        return True
    return flag if isinstance(flag, bool) else None


def _link(url: dict[str, Any]) -> str | None:
    """Where a shortened link leads; None for the post's own pictures."""
    if "media_key" in url or (_text(url, "display_url") or "").startswith("pic."):
        return None
    return _text(url, "unwound_url") or _text(url, "expanded_url") or _text(url, "url")


def _event(data: dict[str, Any]) -> list[Row] | None:
    """The withdrawal that an event of compliance asks for; [] for one that asks for none, None if it is no event."""
    for name in _POST_GONE:
        event = data.get(name)
        if isinstance(event, dict):
            post = event.get("tweet", event.get("status"))
            post_id = _text(post, "id") or _text(post, "id_str") if isinstance(post, dict) else None
            if post_id is None:
                raise _Unreadable(f"an event `{name}` without a post")
            return [Row(schema.WITHDRAWAL, f"{NAME}:{post_id}", schema.LAST_REVISION, live=True)]
    for name in _AUTHOR_GONE:
        event = data.get(name)
        if isinstance(event, dict):
            user = event.get("user")
            user_id = _text(user, "id") if isinstance(user, dict) else None
            if user_id is None:
                raise _Unreadable(f"an event `{name}` without a user")
            # The time tells a repeat of this withdrawal, which must not hide posts written since, from a later one.
            at = _text(event, "event_at")
            return [Row(schema.WITHDRAWAL, None, schema.LAST_REVISION, live=True, author_id=user_id, created_at=at)]
    return [] if "id" not in data and _OTHER_EVENTS & data.keys() else None


def _text(holder: dict[str, Any], key: str) -> str | None:
    """A member that is a string and not empty."""
    value = holder.get(key)
    return value if isinstance(value, str) and value else None


def _objects(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _count(counts: Any, key: str) -> int | None:
    value = counts.get(key) if isinstance(counts, dict) else None
    return value if type(value) is int and 0 <= value < _MAX_INT else None


def _once(values: Iterable[str | None]) -> list[str]:
    return list(dict.fromkeys(value for value in values if value))


def _holds_nul(value: object) -> bool:
    if isinstance(value, list):
        return any("\0" in item for item in value)
    return isinstance(value, str) and "\0" in value
