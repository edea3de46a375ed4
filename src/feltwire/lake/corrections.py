"""What people said about posts, as labelled texts: what `feltwire train --with-corrections` learns from."""

from feltwire.errors import ConfigError
from feltwire.lake.lake import CORRECTABLE, Lake
from feltwire.lake.reader import literal


def labelled(lake: Lake, field: str) -> tuple[list[str], list[str]]:
    """(texts, values): the posts that people corrected in `field`, each with the latest value that they gave it.

    Texts are as they were written, in the order of the log; values are as they stand in `corrections`. Left out
    are posts that are withdrawn, corrections that were taken back, and corrections that are older than the revision
    of the post that the lake now has: they were said of another text. Of two corrections of the same moment the
    larger value counts, so that the answer is always the same. Raises ConfigError for a field that cannot be
    corrected, LakeError when the lake cannot be read now.
    """
    if field not in CORRECTABLE:
        raise ConfigError(f"{field!r} cannot be corrected: expected one of {', '.join(CORRECTABLE)}")
    rows = lake.sql(
        "select p.text, c.value from (select post_id, value, at, "
        "row_number() over (partition by post_id order by at desc, value desc nulls last) latest "
        f"from corrections where field = {literal(field)}) c join posts p on p.id = c.post_id "
        "where c.latest = 1 and c.value is not null and p.text is not null "
        "and (coalesce(p.revision, 0) = 0 or p.ingested_at <= c.at) "
        "order by p.log_partition, p.log_offset"
    )
    return rows["text"].to_pylist(), rows["value"].to_pylist()
