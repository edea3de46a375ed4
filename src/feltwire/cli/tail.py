"""`feltwire tail`: what arrives, before scoring and after."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from feltwire.cli import common
from feltwire.cli.common import AsJson, ConfigFile, OneTrack

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from feltwire.config import Settings

POLL_S = 0.3
MAX_ROWS = 2_000

Rows = list[dict[str, Any]]


def tail(
    *,
    log: Annotated[bool, typer.Option("--log/--lake", help="The log, before scoring, or the lake, after.")] = False,
    track: OneTrack = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, max=10_000, help="Begin with so many.")] = 10,
    once: Annotated[bool, typer.Option("--once", help="Show what is there and stop.")] = False,
    at: Annotated[
        str | None, typer.Option("--at", metavar="DIR", help="The lake, where it is not the settings'.")
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show posts as they arrive: from the lake with their scores, or from the log as they came in.

    \b
      feltwire tail
      feltwire tail --track airlines --json | jq .text
      feltwire tail --log -n 100 --once          also repeats, withdrawals, and what could not be read
    """
    import threading

    from feltwire.service import stopped_by_signals

    settings = common.load_settings(config, lake=at)
    stop = threading.Event()
    if once:
        stop.set()
    write = _json_line if as_json else (_log_line if log else _lake_line)
    with stopped_by_signals(stop):
        batches = _log_rows(settings, lines, stop) if log else _lake_rows(settings, lines, track, stop)
        for batch in batches:
            for row in batch:
                write(row)
            sys.stdout.flush()


def _lake_rows(settings: "Settings", lines: int, track: str | None, stop: "threading.Event") -> "Iterator[Rows]":
    from feltwire.lake import open_lake
    from feltwire.lake.reader import literal

    lake = open_lake(settings.lake.path, storage_options=settings.lake.storage_options)
    after = lake.positions()["posts"]
    only = f"where array_has(tracks, {literal(track)})" if track else ""
    last = lake.sql(f"select * from posts {only} order by ingested_at desc, log_offset desc limit {lines}")
    yield list(reversed(last.to_pylist()))
    while not stop.wait(POLL_S):
        posts, _, after = lake.changes(after, MAX_ROWS)
        yield [row for row in posts.to_pylist() if track is None or track in (row["tracks"] or ())]


def _log_rows(settings: "Settings", lines: int, stop: "threading.Event") -> "Iterator[Rows]":
    log = common.open_the_log(settings)
    try:
        ends = log.ends()
        yield log.tail(lines).to_pylist()
        while not stop.wait(POLL_S):
            for partition in ends:
                rows = log.read(partition, ends[partition], MAX_ROWS)
                if rows.num_rows:
                    ends[partition] = rows["log_offset"][-1].as_py() + 1
                    yield rows.to_pylist()
    finally:
        log.close()


def _json_line(row: dict[str, Any]) -> None:
    from feltwire.cli.output import to_json

    sys.stdout.write(to_json({key: value for key, value in row.items() if value is not None}) + "\n")


def _printer() -> "Callable[[Any], None]":
    terminal = common.console()
    return lambda text: terminal.print(text, no_wrap=True, overflow="ellipsis" if sys.stdout.isatty() else "ignore")


def _lake_line(row: dict[str, Any]) -> None:
    from feltwire.followers.console import line

    _printer()(line(row))


def _log_line(row: dict[str, Any]) -> None:
    from rich.text import Text

    from feltwire.cli.output import harmless

    at = row["ingested_at"]
    text = Text(f"{at:%H:%M:%S} " if at else "--:--:-- ", "bright_black")
    text.append(f"{row['kind']:<10} ", "cyan" if row["kind"] == "post" else "yellow")
    text.append(f"{row['source'] or '':<9} ", "bright_black")
    what = row["text"] or row["refusal"] or row["id"] or f"author {row['author_id']}"
    who = row["author_handle"] or row["author_name"]
    text.append(f"@{harmless(who)} " if who else "", "cyan")
    text.append(harmless(" ".join(str(what)[:500].split())))
    _printer()(text)


add_to = common.adder({"tail": tail}, "Ask")
