"""What a person changes: a label, or whether a post may be kept."""

from typing import Annotated

import typer

from feltwire.cli import common
from feltwire.cli.common import ConfigFile, LakePath
from feltwire.errors import ConfigError


def correct(
    post_id: Annotated[str, typer.Argument(metavar="ID", help="The post's id, as in `posts`.")],
    field: Annotated[str, typer.Argument(metavar="FIELD", help="sentiment, emotion, irony, complaint, category, …")],
    value: Annotated[str, typer.Argument(metavar="VALUE", help="The right label.")],
    *,
    by: Annotated[str | None, typer.Option("--by", metavar="NAME", help="Who says so. Default: your login.")] = None,
    lake: LakePath = None,
    config: ConfigFile = None,
) -> None:
    """Say what a post's label should be. The model's own stays; `corrections` keeps yours beside it.

    \b
      feltwire correct bluesky:at://did:plc:abc/app.bsky.feed.post/3k sentiment negative
    """
    import getpass

    from feltwire.schema import SENTIMENTS

    if field == "sentiment" and value not in SENTIMENTS:
        raise ConfigError(f"sentiment {value!r}: expected one of {', '.join(SENTIMENTS)}")
    try:
        who = by or getpass.getuser()
    except OSError:
        who = "unknown"
    common.open_the_lake(config, lake).correct(post_id, field, value, who)
    common.talk(f"Noted: {field} of {post_id} is {value!r}, says {who}.")


def withdraw(
    post_ids: Annotated[list[str], typer.Argument(metavar="ID…", help="The posts' ids, as in `posts`.")],
    *,
    lake: LakePath = None,
    config: ConfigFile = None,
) -> None:
    """Take posts back: hidden as soon as they are processed, removed from the tables within minutes.

    \b
      feltwire withdraw bluesky:at://did:plc:abc/app.bsky.feed.post/3k

    Goes into the log, as if the network had deleted the post, so that every pipeline and follower hears of it.
    """
    from feltwire import schema

    rows: list[dict[str, object]] = []
    for post_id in post_ids:
        source, colon, rest = post_id.partition(":")
        if not (colon and source and rest):
            raise ConfigError(f"{post_id!r} is no post's id: expected source:…, as the column `id` of `posts` has it")
        rows.append(
            {
                "kind": schema.WITHDRAWAL,
                "id": post_id,
                "revision": schema.LAST_REVISION,
                "source": source,
                "live": False,
            }
        )
    settings = common.load_settings(config, lake=lake)
    log = common.open_the_log(settings)
    try:
        repeats = log.append(schema.records(rows), source="withdraw", cursor=None)
    finally:
        log.close()
    again = f" ({repeats} withdrawn before)" if repeats else ""
    common.talk(f"{len(rows)} withdrawn{again}. `feltwire run` or `process` carries it out.")


add_to = common.adder({"correct": correct, "withdraw": withdraw}, "Change")
