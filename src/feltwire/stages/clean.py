"""What a post carries, out of its text and from its network, and the text as the model reads it."""

from collections.abc import Callable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from feltwire import schema, text
from feltwire.stages._columns import placed, with_columns


def clean(batch: pa.RecordBatch, *, profile: str) -> pa.RecordBatch:
    """Add `clean_text` and `emoji_used` to the kept rows, and to their `hashtags`, `mentions` and `links` what the
    text holds besides; the network's own come first, hashtags in lower case. Other rows keep what they have.

    Raises ConfigError for an unknown cleaning profile.
    """
    kept = pc.fill_null(pc.equal(batch.column("outcome"), schema.KEPT), False)
    texts = [text.decode(one) for one in pc.fill_null(batch.column("text").filter(kept), "").to_pylist()]
    extracts = text.extract(texts)
    columns = {
        "emoji_used": placed(kept, _lists(extracts.emoji_used)),
        "clean_text": placed(kept, pa.array(text.clean_decoded(texts, profile), pa.string())),
    }
    for name, found, key in (
        ("hashtags", extracts.hashtags, _tag),
        ("mentions", extracts.mentions, _handle),
        ("links", extracts.links, _link),
    ):
        own = batch.column(name)
        columns[name] = placed(kept, _lists(_union(own.filter(kept), found, key)), elsewhere=own)
    return with_columns(batch, columns)


def _lists(rows: Sequence[Sequence[str]]) -> pa.ListArray:
    return pa.array(rows, schema.STRINGS)


def _tag(tag: str) -> str:
    return tag.removeprefix("#").lower()


def _handle(handle: str) -> str:
    return handle.removeprefix("@")


def _link(link: str) -> str:
    return link


def _union(own: pa.ListArray, found: list[list[str]], shape: Callable[[str], str]) -> list[list[str]]:
    """The network's own, shaped as ours are, then what only the text holds.

    Hashtags and handles that differ by case alone are the same; links are not.
    """
    if own.null_count == len(own):
        return found
    return [
        _merged([shape(one) for one in mine if one], theirs, shape is not _link) if mine else theirs
        for mine, theirs in zip(own.to_pylist(), found, strict=True)
    ]


def _merged(mine: list[str], theirs: list[str], fold: bool) -> list[str]:
    merged: dict[str, str] = {}
    for one in (*mine, *theirs):
        merged.setdefault(one.lower() if fold else one, one)
    return list(merged.values())
