"""The past: a period of a source that can be searched, slice by slice."""

import re
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from feltwire.cli import common, output
from feltwire.cli.common import AsJson, ConfigFile, LakePath, ModelUri, Tracks
from feltwire.cli.when import parse_when
from feltwire.errors import ConfigError, FatalError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from feltwire.backfill.pull import Estimate, Task
    from feltwire.backfill.run import Report
    from feltwire.config import Settings
    from feltwire.interfaces import Searchable
    from feltwire.plan import Plan

DEFAULT_SOURCE: Final = "x:search"

_YOUNGEST: Final = timedelta(minutes=1)  # what is younger, a search may not find yet
_DAY: Final = timedelta(days=1)
_SECOND: Final = timedelta(seconds=1)
_DATE: Final = re.compile(r"\d{4}-?\d\d-?\d\d")
_TELL_S: Final = 10.0


def backfill(
    *,
    start: Annotated[str, typer.Option(metavar="TIME", help="From here on: 2026-11-20, 2026-11-20T08:00, yesterday.")],
    end: Annotated[str, typer.Option(metavar="TIME", help="Up to here, included: of a date the whole day.")],
    every: Annotated[
        str, typer.Option("--slice", metavar="ALIAS", help="How long a slice is: any pandas offset alias.")
    ] = "15min",
    track: Tracks = None,
    limit: Annotated[
        int | None, typer.Option("--limit-per-slice", metavar="N", min=1, help="At most so many posts of each slice.")
    ] = None,
    parallel: Annotated[int, typer.Option(min=1, max=64, help="Slices that are pulled at a time.")] = 8,
    source: Annotated[
        str | None,
        typer.Option("--source", "-s", metavar="URI", help="Without: the settings' that can be searched, or x:search."),
    ] = None,
    model: ModelUri = None,
    staging: Annotated[
        str, typer.Option(metavar="DIR", help="Where what came is kept, a file a slice: a folder or s3://.")
    ] = "staging",
    sentiments: Annotated[
        str, typer.Option(metavar="DIR", help="Where the scores are kept, a file a slice: a folder or s3://.")
    ] = "sentiments",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before money is spent.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be pulled, and its price.")] = False,
    lake: LakePath = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Bring a period of the past into the lake: cut into slices, pulled in parallel, each once.

    \b
      feltwire backfill --track "delta OR united" --start 2026-11-17 --end 2026-11-20
      feltwire backfill -t delta --start 2026-11-20T08:00 --end 2026-11-20T12:00 --slice 5min --dry-run
      feltwire backfill --start yesterday --end yesterday --limit-per-slice 500 --yes

    Stopped or killed and started again, it goes on: no finished slice is pulled again, and no post is stored twice,
    also where `feltwire run` has been listening or is.
    """
    from feltwire.backfill.pull import Task, estimate
    from feltwire.backfill.slices import cut
    from feltwire.backfill.staging import Folder
    from feltwire.planning import to_plan

    settings = common.load_settings(config, lake=lake, tracks=track, model=model)
    plan = to_plan(settings, ingest=False)
    first, last = parse_period(start, end)
    options = settings.lake.storage_options
    task = Task(
        source=_source(settings, plan, source),
        slices=tuple(cut(first, last, every)),
        staging=Folder(staging, options),
        limit=limit,
        parallel=parallel,
    )
    unfinished = task.unfinished()
    guess = estimate(task, unfinished)
    if dry_run and as_json:
        output.write_json({"slices": len(task.slices), "to_pull": len(unfinished), **_estimated(guess)})
        return
    _tell_plan(task, guess)
    if dry_run:
        return
    if unfinished and not yes:
        _ask()
    report = _run(task, Folder(sentiments, options), plan, settings.engine.name)
    _tell_report(report, as_json=as_json)


def parse_period(start: str, end: str, now: datetime | None = None) -> tuple[datetime, datetime]:
    """(from when on, before when): whole seconds, and nothing that is still being written. Raises ConfigError.

    The end is included: of a date the whole day, of a time its second.
    """
    now = now or datetime.now(UTC)
    first, _ = _parse_end(start, "--start", now)
    end_at, whole_day = _parse_end(end, "--end", now)
    last = end_at + _DAY if whole_day else end_at.replace(microsecond=0) + _SECOND
    return first.replace(microsecond=0), min(last, (now - _YOUNGEST).replace(microsecond=0))


def _parse_end(text: str, option: str, now: datetime) -> tuple[datetime, bool]:
    """(a time, whether it is the beginning of a day that was named)."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    match text.strip().lower():
        case "today":
            return midnight, True
        case "yesterday":
            return midnight - _DAY, True
        case plain:
            at = parse_when(text, option, now=now) or now
            return at, _DATE.fullmatch(plain) is not None


def _source(settings: "Settings", plan: "Plan", uri: str | None) -> "Searchable":
    """The source to search, told the tracks. Raises ConfigError for one that cannot be searched."""
    from feltwire import registry
    from feltwire.backfill.pull import searchable

    def made(uri: str, options: dict[str, Any]) -> "Searchable":
        source = searchable(registry.create("sources", uri, options), uri.partition("?")[0])
        listen_for = getattr(source, "listen_for", None)
        if listen_for is not None:
            listen_for(plan.tracks)
        return source

    if uri is not None:
        return made(uri, {})
    for one in settings.sources:
        try:
            return made(one.uri, one.options)
        except ConfigError as error:
            if "cannot be asked for a period" not in str(error):
                raise
    return made(DEFAULT_SOURCE, {})


def _tell_plan(task: "Task", guess: "Estimate") -> None:
    first, last = task.slices[0].start, task.slices[-1].end
    staged = len(task.slices) - guess.slices
    told = f"{len(task.slices):,} slices from {first:%Y-%m-%d %H:%M:%S} to {last:%Y-%m-%d %H:%M:%S} (UTC)"
    common.talk(told + (f", {staged:,} of them are staged already." if staged else "."))
    if not guess.slices:
        common.talk("Nothing is to be pulled.")
    elif guess.posts is None:
        common.talk(f"What pulling {guess.slices:,} of them costs cannot be told: {guess.why}")
    else:
        price = f", for about {guess.cost:,.2f} at {task.source.cost_per_post:g} a post" if guess.cost else ""
        common.talk(f"To be pulled: {guess.slices:,} slices, at most {guess.posts:,} posts{price}.")


def _ask() -> None:
    if not sys.stdin.isatty():
        raise ConfigError("nobody can be asked here: say --yes to spend this, or --dry-run to look only")
    if not typer.confirm("Pull them?", err=True):
        raise typer.Exit(1)


def _run(task: "Task", scores: Any, plan: "Plan", engine: str) -> "Report":
    from feltwire.backfill.run import Backfill
    from feltwire.service import stopped_by_signals

    with _showing(len(task.slices)) as show:
        run = Backfill(task, scores, plan, engine=engine, observe=show)
        with stopped_by_signals(run.stop):
            return run.run()


@contextmanager
def _showing(total: int) -> "Iterator[Callable[[Report], None]]":
    """A bar in a terminal, elsewhere a line now and then."""
    from feltwire.cli.progress import counting

    told_at, finished, waiting = time.monotonic(), 0, ""
    with counting("backfill", unit="slices", total=total) as advance:

        def show(report: "Report") -> None:
            nonlocal told_at, finished, waiting
            advance(report.finished - finished)
            finished = report.finished
            now, bar = time.monotonic(), sys.stderr.isatty()
            if report.waiting and report.waiting != waiting:
                common.talk(f"backfill {output.harmless(report.waiting)}")
            elif not bar and now - told_at >= _TELL_S:
                common.talk(
                    f"{report.pulled:,} of {report.slices:,} slices pulled, {report.finished:,} finished, "
                    f"{report.posts:,} posts"
                )
                told_at = now
            waiting = report.waiting

        yield show


def _tell_report(report: "Report", *, as_json: bool) -> None:
    if as_json:
        failed = [{"start": one.start, "end": one.end, "error": why} for one, why in sorted(report.failed.items())]
        shown = {name: getattr(report, name) for name in ("slices", "pulled", "finished", "posts", "new", "stopped")}
        output.write_json({**shown, "failed": failed})
    else:
        known = report.posts - report.new
        there = f", {known:,} of them were there already" if known else ""
        common.talk(
            f"{report.finished:,} of {report.slices:,} slices are finished; {report.posts:,} posts came now{there}."
        )
    if report.failed:
        one, why = min(report.failed.items())
        raise FatalError(
            f"{len(report.failed):,} slices could not be pulled, the first is {one.name}: {why}; the same command "
            "tries them again"
        )
    if report.stopped:
        raise FatalError("stopped before its end: the same command goes on")


def _estimated(guess: "Estimate") -> dict[str, Any]:
    return {"posts": guess.posts, "cost": guess.cost, "why": guess.why or None}


add_to = common.adder({"backfill": backfill}, "Run")
