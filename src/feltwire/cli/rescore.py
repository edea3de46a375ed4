"""History with another model, and what two models say of the same posts."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from feltwire.cli import common, output
from feltwire.cli.common import AsJson, ConfigFile, LakePath, OneTrack, Since, Until
from feltwire.cli.when import parse_when

if TYPE_CHECKING:
    import pyarrow as pa

    from feltwire.lake.rescore import Selection


def rescore(
    *,
    model: Annotated[str, typer.Option("--model", "-m", metavar="URI", help="The model to score by.")],
    since: Since = None,
    until: Until = None,
    track: OneTrack = None,
    batch: Annotated[int, typer.Option("--batch", min=1, max=100_000, help="Posts in a commit.")] = 2_000,
    as_json: AsJson = False,
    lake: LakePath = None,
    config: ConfigFile = None,
) -> None:
    """Score the posts of a lake by another model, into `scores` beside the scores that they have.

    \b
      feltwire rescore --model bundled:base --since 30d
      feltwire rescore --model https://scorer.example.org/api/v1/score --track airlines
      feltwire compare-models stream vader@3.3.2

    Stopped and started again it goes on: each post is scored once by each model. It may run beside `feltwire run`.
    """
    import signal
    import threading
    from dataclasses import asdict

    from feltwire.cli.progress import counting
    from feltwire.lake import rescore as rescoring

    stop = threading.Event()
    opened = common.open_the_lake(config, lake)
    before = signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        with counting("rescoring", unit="posts") as advance:
            report = rescoring.rescore(
                opened,
                model,
                selection=_selection(since, until, track),
                batch_rows=batch,
                stop=stop,
                observe=advance,
            )
    finally:
        signal.signal(signal.SIGTERM, before)
    if as_json:
        output.write_json({**asdict(report), "stopped": stop.is_set()})
        return
    parts = [f"{report.scored:,} scored by {report.model}"]
    for count, what in (
        (report.already, "scored by it before"),
        (report.unspoken, "in a language that it does not speak"),
        (report.failed, "that it could not score"),
    ):
        parts += [f"{count:,} {what}"] if count else []
    common.talk(", ".join(parts) + ("; stopped: the same command goes on." if stop.is_set() else "."))


def compare_models(
    first: Annotated[str, typer.Argument(metavar="MODEL", help="name@version, or `stream`: as the posts came.")],
    second: Annotated[str, typer.Argument(metavar="MODEL", help="Another one, as `feltwire rescore` names it.")],
    *,
    field: Annotated[
        str, typer.Option("--field", metavar="FIELD", help="sentiment, emotion, irony, complaint, category, …")
    ] = "sentiment",
    since: Since = None,
    until: Until = None,
    track: OneTrack = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, max=10_000, help="Posts that changed most.")] = 10,
    as_json: AsJson = False,
    lake: LakePath = None,
    config: ConfigFile = None,
) -> None:
    """What two models say of the same posts: agreement, confusion, the mood by day, the posts that changed most.

    \b
      feltwire compare-models stream base@1.0
      feltwire compare-models base@1.0 fast@1.0 --field emotion --since 7d --json
    """
    from feltwire.lake import scores

    where = _selection(since, until, track).predicate("p")
    found = scores.compare(common.open_the_lake(config, lake), first, second, field=field, where=where, limit=limit)
    if as_json:
        output.write_json(scores.as_json(found))
        return
    common.talk(f"{found.n:,} posts with {field} by both: {found.agreement:.1%} agree, Cohen's kappa {found.kappa:.2f}")
    if not found.n:
        return
    names = {"first": first, "second": second}
    write_renamed(found.confusion, names, {})
    if field == "sentiment":
        days = found.days.select(["day", "n", "first_net", "second_net"])
        shown = {f"{key}_net": f"{name} net" for key, name in names.items()}
        write_renamed(days, shown, dict.fromkeys(shown.values(), output.signed))
    if limit:
        write_renamed(found.changed, names, {})


def write_renamed(table: "pa.Table", names: dict[str, str], show: dict[str, Any]) -> None:
    """A table for people, with other names for some columns."""
    renamed = table.rename_columns([names.get(name, name) for name in table.column_names])
    output.write_table(renamed, output.Format.table, show=show)


def _selection(since: str | None, until: str | None, track: str | None) -> "Selection":
    from feltwire.lake.rescore import Selection

    return Selection(since=parse_when(since, "--since"), until=parse_when(until, "--until"), track=track)


add_to = common.adder({"rescore": rescore, "compare-models": compare_models}, "Models")
