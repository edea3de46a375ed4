"""The language of a post: the network's tag as ISO 639-1, else a detector's answer, else none."""

import pyarrow as pa
import pyarrow.compute as pc

from feltwire import language, schema
from feltwire.stages._columns import open_posts, placed, with_columns


def detect(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Normalise `lang` of posts and edits, and fill it by the detector where there is none and it is sure.

    Texts that a later stage refuses (too long) are not read. Other rows keep what they have.
    """
    posts = open_posts(batch)
    given = _normalised(batch.column("lang"))
    text = batch.column("text")
    readable = pc.fill_null(pc.less_equal(pc.utf8_length(text), schema.MAX_TEXT_CHARS), False)
    unknown = pc.and_(pc.and_(posts, pc.is_null(given)), readable)
    if pc.any(unknown).as_py():
        found = language.detect(text.filter(unknown).to_pylist())
        given = pc.coalesce(given, placed(unknown, pa.array(found, pa.string())))
    return with_columns(batch, {"lang": pc.if_else(posts, given, batch.column("lang"))})


def _normalised(tags: pa.StringArray) -> pa.StringArray:
    """Each tag by `language.normalise`; a batch holds few tags, so each is looked at once."""
    coded = tags.dictionary_encode()
    return pa.array([language.normalise(tag) for tag in coded.dictionary.to_pylist()], pa.string()).take(coded.indices)
