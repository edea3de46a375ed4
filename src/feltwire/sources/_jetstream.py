"""The wire of Jetstream, Bluesky's event stream as JSON: one frame in, one `Event` out. No I/O.

Two wires carry the same events (bluesky-social/jetstream, docs/README.md and lexicons/network/bsky/jetstream):

* v1, `/subscribe`: `{"did", "time_us", "kind": "commit", "commit": {"rev", "operation", "collection", "rkey",
  "record"}}`; kinds are commit, identity and account.
* v2, `/xrpc/network.bsky.jetstream.subscribeEvents`: `{"$type": "message", "payload": {"$type": "…#commit", "seq",
  "did", "time", "witnessedAt", "rev", …}}`; kinds are commit, identity, account, sync and the notice info; and
  `{"$type": "error", "error", "message"}`, after which the server hangs up.

Most frames are decoded once, straight into typed structs. One that does not fit is decoded again as plain JSON,
the parts that may have any shape (unknown embeds and facets, records of other collections) are cut out, and only
what still does not fit is refused. Nothing here raises, whatever the bytes.
"""

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec

from feltwire import schema, times
from feltwire.sources._bluesky_rows import NAME, FrameBytes, refused, tid_number
from feltwire.sources._records import Row

POSTS: Final = "app.bsky.feed.post"
MAX_FRAME_BYTES: Final = 2**20  # a record holds at most 1 MiB; a larger frame is no post

# An account in one of these states asks for its posts to be hidden (com.atproto.sync.subscribeRepos#account).
_GONE: Final = frozenset({"deleted", "takendown", "suspended", "deactivated"})

_DID: Final = r"did:[a-z]{1,32}:[A-Za-z0-9._:%-]{1,2048}"
_RKEY: Final = r"[A-Za-z0-9._:~-]{1,512}"
_is_did: Final = re.compile(_DID).fullmatch
_is_rkey: Final = re.compile(_RKEY).fullmatch
_post_uri: Final = re.compile(f"at://({_DID})/{re.escape(POSTS)}/({_RKEY})").fullmatch
_language: Final = re.compile(r"([A-Za-z]{2,3})(?:[-_].{0,64})?").fullmatch

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Event(NamedTuple):
    """What one frame says."""

    row: Row | None = None
    """The record that it makes; None for what is not asked for (likes, follows, identities, …)."""
    time_us: int | None = None
    """When the server saw it, in microseconds since 1970: a place to resume from, on any host."""
    seq: int | None = None
    """Its sequence number: the exact place to resume from, on this host alone (v2)."""
    notice: str | None = None
    """The name of a notice about the stream, as `OutdatedCursor` (v2)."""
    error: str | None = None
    """The name of the error after which the server hangs up, as `ConsumerTooSlow` (v2)."""
    synced: str | None = None
    """The account whose repository the server is about to send anew, as creates (v2)."""


class _Feature(msgspec.Struct):
    type: str = msgspec.field(name="$type", default="")
    tag: str | None = None
    did: str | None = None
    uri: str | None = None


class _Facet(msgspec.Struct):
    features: list[_Feature] | None = None


class _Ref(msgspec.Struct):
    uri: str | None = None


class _Reply(msgspec.Struct):
    parent: _Ref | None = None
    root: _Ref | None = None


class _Quoted(msgspec.Struct):
    uri: str | None = None
    record: _Ref | None = None


class _Media(msgspec.Struct):
    external: _Ref | None = None


class _Embed(msgspec.Struct):
    type: str = msgspec.field(name="$type", default="")
    record: _Quoted | None = None
    external: _Ref | None = None
    media: _Media | None = None


class _Post(msgspec.Struct):
    text: str
    created_at: str | None = msgspec.field(name="createdAt", default=None)
    langs: list[str] | None = None
    tags: list[str] | None = None
    facets: list[_Facet] | None = None
    reply: _Reply | None = None
    embed: _Embed | None = None


class _Account(msgspec.Struct):
    active: bool | None = None
    status: str | None = None
    time: str | None = None  # when the account changed, the same on every host


class _Commit(msgspec.Struct):
    rev: str = ""
    operation: str = ""
    collection: str = ""
    rkey: str = ""
    record: _Post | None = None


class _V1(msgspec.Struct):
    did: str
    time_us: int
    kind: str
    commit: _Commit | None = None
    account: _Account | None = None


class _Payload(_Commit):
    type: str = msgspec.field(name="$type", default="")
    did: str = ""
    seq: int | None = None
    time: str = ""
    witnessed_at: str | None = msgspec.field(name="witnessedAt", default=None)
    account: _Account | None = None
    name: str = ""


class _V2(msgspec.Struct):
    type: str = msgspec.field(name="$type")
    payload: _Payload | None = None
    error: str = ""


class _Unreadable(Exception):  # noqa: N818 (it never leaves this module)
    """Why a frame is refused; the message becomes the reason, so it holds nothing of the frame's text."""


_V1_DECODER: Final = msgspec.json.Decoder(_V1)
_V2_DECODER: Final = msgspec.json.Decoder(_V2)
_PLAIN: Final = msgspec.json.Decoder()


def parse_v1(frame: FrameBytes, *, raw: bool = False) -> Event:
    """What a frame of the v1 wire says; `raw`: keep its JSON in the record."""
    try:
        message = _decode(frame, _V1_DECODER, "commit")
        row = _row(message.kind, message.did, message.commit, message.account)
        return Event(_finished(row, frame, raw), message.time_us)
    except _Unreadable as reason:
        return Event(refused(frame, str(reason)))


def parse_v2(frame: FrameBytes, *, raw: bool = False) -> Event:
    """What a frame of the v2 wire says; `raw`: keep its JSON in the record."""
    try:
        message = _decode(frame, _V2_DECODER, "payload")
        if message.type == "error":
            return Event(error=message.error[:100] or "unnamed")
        payload = message.payload
        if message.type != "message" or payload is None:
            raise _Unreadable("neither a message with a payload nor an error")
        kind = payload.type.rpartition("#")[2]
        if kind == "info":
            return Event(notice=payload.name[:100] or "unnamed")
        row = _row(kind, payload.did, payload, payload.account)
        synced = payload.did if kind == "sync" and _is_did(payload.did) else None
        time_us = _microseconds(payload.witnessed_at or payload.time)
        return Event(_finished(row, frame, raw), time_us, payload.seq, synced=synced)
    except _Unreadable as reason:
        return Event(refused(frame, str(reason)))


PARSERS: Final[dict[str, Callable[..., Event]]] = {"v1": parse_v1, "v2": parse_v2}


def _decode(frame: FrameBytes, decoder: Any, holder: str) -> Any:
    """The frame as the decoder's struct; `holder` is the member in which a commit's record lies."""
    if len(frame) > MAX_FRAME_BYTES:
        raise _Unreadable(f"{len(frame)} bytes: a frame may have {MAX_FRAME_BYTES}")
    try:
        return decoder.decode(frame)
    except RecursionError:
        raise _Unreadable("nested too deep") from None
    except ValueError:
        pass  # it may still be good: look closer
    try:
        plain = _PLAIN.decode(frame)
    except RecursionError:
        raise _Unreadable("nested too deep") from None
    except ValueError as error:
        raise _Unreadable(f"no JSON: {error}") from None
    if isinstance(plain, dict):
        _cut_open_parts(plain, holder)
    try:
        return msgspec.convert(plain, decoder.type)
    except msgspec.ValidationError as error:
        raise _Unreadable(str(error)) from None


def _row(kind: str, did: str, commit: _Commit | None, account: _Account | None) -> Row | None:
    if kind == "commit":
        if commit is None:
            raise _Unreadable("a commit without its content")
        return _commit_row(did, commit) if commit.collection == POSTS else None
    if kind == "account" and account is not None and account.active is False and account.status in _GONE:
        if not _is_did(did):
            raise _Unreadable("`did` is no DID")
        # The time tells a repeat of this withdrawal, which must not hide posts written since, from a later one.
        return Row(schema.WITHDRAWAL, revision=schema.LAST_REVISION, author_id=did, created_at=account.time)
    return None


def _commit_row(did: str, commit: _Commit) -> Row:
    rkey = commit.rkey
    if not (_is_did(did) and _is_rkey(rkey)):
        raise _Unreadable("`did` is no DID or `rkey` no record key")
    post_id = f"{NAME}:{did}/{rkey}"
    operation = commit.operation
    if operation == "delete":
        return Row(schema.WITHDRAWAL, post_id, schema.LAST_REVISION)
    if operation == "create":
        kind, revision = schema.POST, 0
    elif operation == "update":
        number = tid_number(commit.rev)
        if not number:
            raise _Unreadable("`rev` is no timestamp identifier")
        kind, revision = schema.EDIT, number
    else:
        raise _Unreadable("`operation` is none of create, update, delete")
    post = commit.record
    if post is None:
        raise _Unreadable(f"a {operation} without a record")
    if len(post.text) > schema.MAX_TEXT_CHARS:
        raise _Unreadable(f"a text of {len(post.text)} characters: at most {schema.MAX_TEXT_CHARS} are taken")
    hashtags, mentions, links = _marks(post)
    reply = post.reply
    return Row(
        kind,
        post_id,
        revision,
        author_id=did,
        text=post.text,
        lang=_lang(post.langs),
        created_at=post.created_at,
        conversation_id=_id_of(reply.root) if reply else None,
        reply_to_id=_id_of(reply.parent) if reply else None,
        quote_of_id=_quoted(post.embed) if post.embed else None,
        url=f"https://bsky.app/profile/{did}/post/{rkey}",
        hashtags=hashtags,
        mentions=mentions,
        links=links,
    )


def _finished(row: Row | None, frame: FrameBytes, raw: bool) -> Row | None:
    """The row with its raw JSON if asked for. A NUL in any of its texts is refused: databases do not take it."""
    if row is None:
        return None
    if b"\\u0000" in frame and any(_holds_nul(value) for value in row):  # JSON can write a NUL in no other way
        raise _Unreadable("a NUL character in a text")
    if not raw:
        return row
    try:
        return row._replace(raw=frame.decode())
    except UnicodeDecodeError:
        raise _Unreadable("not UTF-8") from None


def _holds_nul(value: object) -> bool:
    if isinstance(value, list):
        return any("\0" in item for item in value)
    return isinstance(value, str) and "\0" in value


def _marks(post: _Post) -> tuple[list[str], list[str], list[str]]:
    """(hashtags without their #, DIDs of the accounts mentioned, links), each once, in order."""
    tags = list(post.tags or ())
    mentions: list[str] = []
    links: list[str] = []
    for facet in post.facets or ():
        for feature in facet.features or ():
            kind = feature.type
            if kind == "app.bsky.richtext.facet#tag" and feature.tag:
                tags.append(feature.tag)
            elif kind == "app.bsky.richtext.facet#mention" and feature.did:
                mentions.append(feature.did)
            elif kind == "app.bsky.richtext.facet#link" and feature.uri:
                links.append(feature.uri)
    embed = post.embed
    if embed is not None:
        card = embed.external or (embed.media.external if embed.media else None)
        if card is not None and card.uri:
            links.append(card.uri)
    return _once(tag for tag in tags if tag), _once(mentions), _once(links)


def _once(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _lang(langs: list[str] | None) -> str | None:
    """The first language's primary subtag (BCP 47), in small letters: `pt-BR` is `pt`."""
    found = _language(langs[0]) if langs else None
    return found[1].lower() if found else None


def _id_of(ref: _Ref | None) -> str | None:
    """The id of the post that a reference names; None if it names something else (a list, a feed, …)."""
    found = _post_uri(ref.uri) if ref is not None and ref.uri else None
    return f"{NAME}:{found[1]}/{found[2]}" if found else None


def _quoted(embed: _Embed) -> str | None:
    quoted = embed.record
    if quoted is None:
        return None
    if embed.type == "app.bsky.embed.record":
        return _id_of(_Ref(quoted.uri))
    return _id_of(quoted.record) if embed.type == "app.bsky.embed.recordWithMedia" else None


def _microseconds(text: str) -> int | None:
    time = times.parse_time(text)
    return None if time is None else (time - _EPOCH) // _MICROSECOND


def _cut_open_parts(message: dict[str, Any], holder: str) -> None:
    """Cut out of plain JSON, in place, what may have any shape: it must not get a post refused."""
    commit = message.get(holder)
    if not isinstance(commit, dict):
        return
    record = commit.get("record")
    if commit.get("collection") != POSTS:
        commit.pop("record", None)
    elif isinstance(record, dict):
        if isinstance(record.get("embed"), dict):
            record["embed"] = _known_embed(record["embed"])
        for facet in record["facets"] if isinstance(record.get("facets"), list) else ():
            if isinstance(facet, dict) and isinstance(facet.get("features"), list):
                facet["features"] = [_strings(feature) for feature in facet["features"] if isinstance(feature, dict)]


def _known_embed(embed: dict[str, Any]) -> dict[str, Any]:
    known: dict[str, Any] = _strings(embed)
    record, external, media = embed.get("record"), embed.get("external"), embed.get("media")
    if isinstance(record, dict):
        inner = record.get("record")
        known["record"] = {**_strings(record), **({"record": _strings(inner)} if isinstance(inner, dict) else {})}
    if isinstance(external, dict):
        known["external"] = _strings(external)
    if isinstance(media, dict) and isinstance(media.get("external"), dict):
        known["media"] = {"external": _strings(media["external"])}
    return known


def _strings(part: dict[str, Any]) -> dict[str, Any]:
    """The members of a part that are strings, save those that our structs expect to be objects."""
    nested = ("record", "external", "media")
    return {key: value for key, value in part.items() if isinstance(value, str) and key not in nested}
