"""Questions to a lake: windows, terms, sql, export."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from feltwire.cli import common, output
from feltwire.cli.common import AsJson, AsOf, ConfigFile, LakePath, OneTrack, Since, Until
from feltwire.cli.output import Format
from feltwire.cli.when import parse_when
from feltwire.errors import ConfigError

if TYPE_CHECKING:
    from feltwire.cli.tables import Kind

Form = Annotated[Format, typer.Option("--format", "-f", help="For people, or for a program.")]


def windows(
    *,
    every: Annotated[str, typer.Option(metavar="SPAN", help="How long a window is: 1min, 15min, 1h, 1d.")] = "15min",
    track: Annotated[
        list[str] | None,
        typer.Option("--track", "-t", metavar="NAME", help="Only this track; may be repeated. `*` is all posts."),
    ] = None,
    since: Since = None,
    until: Until = None,
    as_of: AsOf = None,
    form: Form = Format.table,
    as_json: AsJson = False,
    lake: LakePath = None,
    config: ConfigFile = None,
) -> None:
    """The mood over time: how many posts of each sentiment, window by window.

    \b
      feltwire windows                              in steps of 15 minutes, every track
      feltwire windows --every 1min --since 30min   the last half hour, by the minute
      feltwire windows -t airlines --format csv > mood.csv

    Shares are of the posts that were scored; `net` is the share of positive less that of negative posts.
    """
    found = common.open_the_lake(config, lake).windows(
        every=every,
        tracks=track or (),
        since=parse_when(since, "--since"),
        until=parse_when(until, "--until"),
        as_of=parse_when(as_of, "--as-of"),
    )
    show: dict[str, Any] = {f"share_{label}": output.percent for label in ("negative", "neutral", "positive", "mixed")}
    if not as_json and form is Format.table:
        shares = [name for name in found.column_names if name.startswith("share_")]
        names = {name: name.removeprefix("share_") for name in shares}
        people = found.select(["window", "track", "n", *shares, "net"])
        people = people.rename_columns([names.get(name, name) for name in people.column_names])
        show = {**dict.fromkeys(names.values(), output.percent), "net": output.signed}
        output.write_table(people, Format.table, show=show)
        if not found.num_rows:
            common.talk("No posts in this time.")
        return
    output.write_table(found, Format.json if as_json else form)


def terms(
    *,
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind",
            "-k",
            metavar="KIND",
            help="Only these: hashtag, entity, domain, category, emotion, emoji_used (written), emoji (the model's).",
        ),
    ] = None,
    track: OneTrack = None,
    since: Since = None,
    until: Until = None,
    as_of: AsOf = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="How many of a kind at most.")] = 20,
    form: Form = Format.table,
    as_json: AsJson = False,
    lake: LakePath = None,
    config: ConfigFile = None,
) -> None:
    """What people speak of: hashtags, entities, links, emoji, and how many of the posts are negative or positive.

    \b
      feltwire terms --since 1h
      feltwire terms --kind hashtag --track airlines --limit 50 --json
    """
    from feltwire.schema import ALL_TRACKS

    found = common.open_the_lake(config, lake).terms(
        kind=kind,
        track=track or ALL_TRACKS,
        since=parse_when(since, "--since"),
        until=parse_when(until, "--until"),
        as_of=parse_when(as_of, "--as-of"),
        limit=limit,
    )
    output.write_table(found, Format.json if as_json else form)
    if not found.num_rows and form is Format.table and not as_json:
        common.talk("No terms in this time.")


def sql(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="A statement that reads; `-` takes it from the input.")],
    *,
    as_of: AsOf = None,
    form: Form = Format.table,
    as_json: AsJson = False,
    lake: LakePath = None,
    config: ConfigFile = None,
) -> None:
    """Ask the lake in SQL (DataFusion's). Withdrawn posts are hidden.

    Tables: posts, windows, terms, ledger, dead_letters, withdrawn, scores, corrections.

    \b
      feltwire sql "select sentiment, count(*) n from posts group by 1 order by n desc"
      feltwire sql "select text from posts where array_has(tracks, 'airlines') order by p_negative desc limit 10"
      feltwire sql "describe posts"
    """
    statement = sys.stdin.read() if query == "-" else query
    found = common.open_the_lake(config, lake).sql(statement, as_of=parse_when(as_of, "--as-of"))
    output.write_table(found, Format.json if as_json else form)


def export(
    *,
    kind: Annotated[
        str | None,
        typer.Option(
            "--format", "-f", metavar="csv|jsonl|parquet", help="The form. Without: by the ending of FILE, else jsonl."
        ),
    ] = None,
    out: Annotated[
        str, typer.Option("--out", "-o", metavar="FILE", help="Where to; `-` is the standard output.")
    ] = "-",
    track: OneTrack = None,
    since: Since = None,
    until: Until = None,
    as_of: AsOf = None,
    lake: LakePath = None,
    config: ConfigFile = None,
) -> None:
    """Write posts with their scores as CSV, JSONL or Parquet, in the order in which they arrived.

    \b
      feltwire export --since 1d > posts.jsonl
      feltwire export --out airlines.parquet --track airlines

    Lists, such as hashtags and entities, are JSON in a CSV. A file appears under its name once it is whole.
    """
    from feltwire.cli.progress import counting
    from feltwire.cli.tables import kind_of_out, open_writer
    from feltwire.schema import POSTS

    form: Kind = check_kind(kind) if kind else kind_of_out(out) or "jsonl"
    found = common.open_the_lake(config, lake).export(
        track=track,
        since=parse_when(since, "--since"),
        until=parse_when(until, "--until"),
        as_of=parse_when(as_of, "--as-of"),
    )
    with open_writer(out, form, POSTS) as write, counting("exporting", unit="posts") as advance:
        for batch in found:
            write(batch)
            advance(batch.num_rows)


def check_kind(text: str) -> "Kind":
    """The form of a file by its name. Raises ConfigError."""
    from feltwire.cli.tables import KINDS

    for kind in KINDS:
        if text == kind:
            return kind
    raise ConfigError(f"--format {text!r}: expected one of {', '.join(KINDS)}")


add_to = common.adder({"windows": windows, "terms": terms, "sql": sql, "export": export}, "Ask")
