"""What others put into a topic or a stream, as records: one record a message, in its place. Pure functions.

`post` is Feltwire's own JSON, `text` plain text, `connect-twitter` the record of the Kafka Connect source for
Twitter. A message that cannot be read becomes a refusal with its reason; nothing raises.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
import numpy as np
import pyarrow as pa

from feltwire.errors import ConfigError
from feltwire.schema import RECORD, conform, empty
from feltwire.sources._lines import MAX_LINE_BYTES, NO_UTF8, why_no_json
from feltwire.sources._rows import Rows

TWITTER: Final = "x"  # the network whose posts `connect-twitter` gives, as the source `x` names it

_decode: Final = msgspec.json.Decoder().decode
_SOURCE: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_TOO_LONG: Final = f"a message of {MAX_LINE_BYTES} bytes or more"
_NO_VALUE: Final = "a message without a value"


class Message(NamedTuple):
    """What a topic or a stream gave."""

    value: bytes | None
    key: bytes | None
    place: str
    """Where it stands, unique within the log and the same each time: a post without an id gets one from it."""


Decoder: TypeAlias = Callable[[Sequence[Message]], pa.RecordBatch]
"""As many rows of `schema.RECORD` out as messages in; `ingested_at` is null."""


def decoder(name: str, *, source: str) -> Decoder:
    """The decoder of this name. `source` is the column `source`, and the first part of every id, where a message
    does not say so itself. Raises ConfigError for a name that is none.
    """
    if name not in DECODERS:
        raise ConfigError(f"decoder {name!r}: known are {', '.join(DECODERS)}")
    if not _SOURCE.fullmatch(source):
        raise ConfigError(f"source {source!r}: expected small letters, digits, '_', '-' and '.', at most 64")
    return partial(DECODERS[name], source=source)


def decode_posts(messages: Sequence[Message], *, source: str) -> pa.RecordBatch:
    """JSON objects with the columns of a record by their names, or by the ones that other people use.

    `source` may stand in each, and so may `live`: whether an old `created_at` is to be doubted.
    """
    objects, faults = _objects(messages)
    groups: dict[tuple[str, bool], list[int]] = {}
    for i, value in enumerate(objects):
        named = value.get("source") if type(value) is dict else None
        known = named if isinstance(named, str) and _SOURCE.fullmatch(named) else source
        live = type(value) is dict and value.get("live") is True
        groups.setdefault((known, live), []).append(i)
    if len(groups) <= 1:
        (known, live) = next(iter(groups), (source, False))
        return _records(Rows(known, live=live), objects, faults, messages)
    pieces = []
    for (known, live), places in groups.items():
        found = {number: faults[i] for number, i in enumerate(places) if i in faults}
        chosen = [messages[i] for i in places]
        pieces.append(_records(Rows(known, live=live), [objects[i] for i in places], found, chosen))
    order = np.argsort(np.concatenate([np.asarray(places) for places in groups.values()]), kind="stable")
    return pa.concat_batches(pieces).take(pa.array(order))


def decode_texts(messages: Sequence[Message], *, source: str) -> pa.RecordBatch:
    """Plain text in UTF-8; the message's key is the author's handle, if there is one."""
    texts: list[str | None] = []
    faults: dict[int, str] = {}
    for i, message in enumerate(messages):
        text, fault = _text(message.value)
        texts.append(text)
        if fault is not None:
            faults[i] = fault
    columns = {"text": texts, "author_handle": [_handle(message.key) for message in messages]}
    rows = Rows(source, live=True, columns={"text": "text", "author_handle": "author_handle"})
    return rows.from_columns(columns, len(messages), faults, key=_place(messages), payload=_payload(messages))


def decode_connect_twitter(messages: Sequence[Message], *, source: str = TWITTER) -> pa.RecordBatch:
    """The structured record of the Kafka Connect source for Twitter as JSON, bare or with its schema beside it
    (`{"schema": …, "payload": …}`).

    A retweet says only that it is one, so `repost_of_id` is left empty: the text, `RT @…`, shows it.
    """
    objects, faults = _objects(messages)
    rows: list[Any] = []
    for i, came in enumerate(objects):
        value = came["payload"] if type(came) is dict and came.keys() == {"schema", "payload"} else came
        if i not in faults and type(value) is dict and value.get("id") is None:
            faults[i] = "no id"
        rows.append(_of_twitter(value) if type(value) is dict else value)
    made = Rows(source, live=True, columns={name: name for name in _TWITTER_COLUMNS})
    return _records(made, rows, faults, messages)


DECODERS: Final[Mapping[str, Callable[..., pa.RecordBatch]]] = {
    "post": decode_posts,
    "text": decode_texts,
    "connect-twitter": decode_connect_twitter,
}

_TWITTER_COLUMNS: Final = (
    "id", "text", "lang", "created_at", "author_id", "author_handle", "author_name", "author_verified",
    "author_location", "hashtags", "mentions", "links", "url",
)  # fmt: skip


def _of_twitter(value: dict[str, Any]) -> dict[str, Any]:
    """The record's members under the names of our columns."""
    user, entities = _member(value, "user"), _member(value, "entities")
    handle = user.get("screen_name")
    url = f"https://x.com/{handle}/status/{value['id']}" if isinstance(handle, str) and handle else None
    return {
        "id": value.get("id"),
        "text": value.get("text"),
        "lang": value.get("lang"),
        "created_at": value.get("created_at"),
        "author_id": user.get("id"),
        "author_handle": handle,
        "author_name": user.get("name"),
        "author_verified": user.get("verified"),
        "author_location": user.get("location"),
        "hashtags": _each(entities.get("hashtags"), "text"),
        "mentions": _each(entities.get("user_mentions"), "screen_name"),
        "links": _each(entities.get("urls"), "expanded_url"),
        "url": url if value.get("id") is not None else None,
    }


def _member(value: dict[str, Any], name: str) -> dict[str, Any]:
    found = value.get(name)
    return found if type(found) is dict else {}


def _each(values: Any, name: str) -> list[str]:
    """One member of each object of a list; a text in the place of an object stands for it."""
    listed = values if isinstance(values, list) else []
    found = [one.get(name) if isinstance(one, dict) else one for one in listed]
    return [one for one in found if isinstance(one, str)]


def _records(rows: Rows, objects: list[Any], faults: dict[int, str], messages: Sequence[Message]) -> pa.RecordBatch:
    if not messages:
        return empty()
    made = rows.from_objects(objects, faults, key=_place(messages), payload=_payload(messages))
    return conform(made, RECORD)


def _objects(messages: Sequence[Message]) -> tuple[list[Any], dict[int, str]]:
    """The JSON value of each message, {} where there is none, and what is wrong with those."""
    objects: list[Any] = []
    faults: dict[int, str] = {}
    for i, message in enumerate(messages):
        value: Any = {}
        if message.value is None:
            faults[i] = _NO_VALUE
        elif len(message.value) >= MAX_LINE_BYTES:
            faults[i] = _TOO_LONG
        else:
            try:
                value = _decode(message.value)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                faults[i] = why_no_json(error)
        objects.append(value)
    return objects, faults


def _text(value: bytes | None) -> tuple[str | None, str | None]:
    """A message as text, or what is wrong with it."""
    if value is None:
        return None, _NO_VALUE
    if len(value) >= MAX_LINE_BYTES:
        return None, _TOO_LONG
    try:
        return value.decode(), None
    except UnicodeDecodeError:
        return None, NO_UTF8


def _handle(key: bytes | None) -> str | None:
    """A handle; a key that cannot be one, such as a number in binary, says nothing of the author."""
    if not key or len(key) > 256:
        return None
    try:
        handle = key.decode()
    except UnicodeDecodeError:
        return None
    return handle if handle.isprintable() else None


def _place(messages: Sequence[Message]) -> Callable[[int], str]:
    return lambda i: messages[i].place


def _payload(messages: Sequence[Message]) -> Callable[[int], bytes | str]:
    return lambda i: messages[i].value or b""
