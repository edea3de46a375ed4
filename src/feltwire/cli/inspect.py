"""How it stands: status, doctor, pipelines."""

from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any

import typer

from feltwire.cli import common, output
from feltwire.cli.common import AsJson, ConfigFile, LakePath
from feltwire.errors import ConfigError

if TYPE_CHECKING:
    from feltwire.config import Settings
    from feltwire.lake import Lake

pipelines = typer.Typer(
    help="The pipelines that the log waits for before it forgets.", no_args_is_help=True, rich_markup_mode=None
)


def status(*, lake: LakePath = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """How far everything is: log, lag, ledger, followers, and the size of the tables.

    \b
      feltwire status
      feltwire status --json | jq .lag
    """
    from feltwire.lake import open_lake

    settings = common.load_settings(config, lake=lake)
    opened = open_lake(settings.lake.path, storage_options=settings.lake.storage_options)
    found = _status(settings, opened)
    if as_json:
        output.write_json(found)
    else:
        _show_status(found)


def _status(settings: "Settings", lake: "Lake") -> dict[str, Any]:
    from feltwire.service import behind

    positions = lake.positions()
    reached = positions["posts"]
    found: dict[str, Any] = {
        "lake": settings.lake.path,
        "pipeline": lake.owner.pipeline,
        "positions": positions,
        "lag": None,
        "log": None,
        "ledger": lake.ledger().to_pylist(),
        "followers": [],
        "tables": lake.sizes(),
    }
    with ExitStack() as resources:
        try:
            log = common.open_the_log(settings)
        except ConfigError as error:
            found["log_error"] = str(error)
        else:
            resources.callback(log.close)
            found["log"] = log.stats()
            found["lag"] = behind(log.ends(), reached)
    for follower in settings.followers:
        found["followers"].append({"name": follower.name, **_follower_state(follower, reached)})
    return found


def _follower_state(follower: Any, reached: dict[int, int]) -> dict[str, Any]:
    from feltwire import registry
    from feltwire.errors import FeltwireError
    from feltwire.service import behind

    try:
        made = registry.create("followers", follower.uri, follower.options)
        try:
            position = made.position() or {}
        finally:
            close = getattr(made, "close", None)
            if close is not None:
                close()
    except FeltwireError as error:
        return {"position": None, "lag": None, "error": str(error)}
    return {"position": position, "lag": behind(reached, position), "error": None}


def _show_status(found: dict[str, Any]) -> None:
    from rich.text import Text

    from feltwire.schema import LEDGER_COUNTS

    out = common.console()
    lag = "unknown" if found["lag"] is None else f"{found['lag']:,} records"
    log = found["log"]
    kept = f"{log['uri']}, {log['records']:,} records, {_size(log['bytes'])}" if log else str(found.get("log_error"))
    lake = f"{found['lake']} (pipeline {found['pipeline']})"
    for name, text in (("Lake", lake), ("Log", kept), ("Lag", lag)):
        out.print(Text.assemble((f"{name:<6}", "bold"), output.harmless(text)))
    out.print()
    sources = found["ledger"]
    ledger = [[name, *(row[name] for row in sources)] for name in LEDGER_COUNTS]
    names = ["", *(row["source"] for row in sources)]
    _print_rows(out, "Ledger: received = kept + duplicate + filtered + dead", names, ledger)
    if found["followers"]:
        rows = [[one["name"], "?" if one["lag"] is None else one["lag"], one["error"]] for one in found["followers"]]
        _print_rows(out, "Followers", ["name", "lag", "trouble"], rows)
    tables = [
        [name, size["rows"], size["files"], _size(size["bytes"]), _place(found["positions"].get(name, {}))]
        for name, size in found["tables"].items()
    ]
    _print_rows(out, "Tables", ["table", "rows", "files", "size", "position"], tables)


def _print_rows(out: Any, title: str, names: list[str], rows: list[list[Any]]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0))
    for number, name in enumerate(names):
        numeric = bool(rows) and isinstance(rows[0][number], int)
        table.add_column(name, justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*(Text(output.cell(value)) for value in row))
    out.print(table)


def _place(position: dict[int, int]) -> str:
    if len(position) == 1:
        return f"{next(iter(position.values())):,}"
    return " ".join(f"{partition}:{offset:,}" for partition, offset in position.items())


def _size(n: int | None) -> str:
    if n is None:
        return "size unknown"
    size = float(n)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"


def doctor(*, lake: LakePath = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Prove that the lake is whole: every post once, the ledger balanced, the sums equal to a recount.

    \b
      feltwire doctor
      feltwire doctor --json

    Also while it is being written. Ends with exit code 1 when something is wrong.
    """
    from feltwire.cli.progress import working
    from feltwire.doctor import examine
    from feltwire.lake import open_lake

    settings = common.load_settings(config, lake=lake)
    opened = open_lake(settings.lake.path, storage_options=settings.lake.storage_options)
    with ExitStack() as resources:
        try:
            log = common.open_the_log(settings)
            resources.callback(log.close)
        except ConfigError as error:
            log = None
            common.talk(f"Without the log: {error}")
        with working("examining the lake"):
            findings = examine(opened, log)
    if as_json:
        output.write_json([{"name": one.name, "ok": one.ok, "detail": one.detail} for one in findings])
    else:
        for one in findings:
            output.write_verdict(one.ok, one.name, one.detail)
    if not all(one.ok for one in findings):
        raise typer.Exit(1)


@pipelines.command("list")
def list_pipelines(*, lake: LakePath = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """The pipelines that are registered with the log, and how far each is.

    \b
      feltwire pipelines list
    """
    log = common.open_the_log(common.load_settings(config, lake=lake))
    try:
        found = log.stats()["pipelines"]
    finally:
        log.close()
    rows = [{"name": name, **state} for name, state in found.items()]
    if as_json:
        output.write_json(rows)
        return
    shown = [[row["name"], row["backlog"], row["seen_at"][:19]] for row in rows]
    _print_rows(common.console(), "Pipelines", ["name", "backlog", "last seen"], shown)


@pipelines.command("remove")
def remove_pipeline(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A pipeline that will not come back.")],
    *,
    lake: LakePath = None,
    config: ConfigFile = None,
) -> None:
    """Forget a pipeline, so that the log no longer keeps records for it. Its lake stays as it is.

    \b
      feltwire pipelines remove experiment
    """
    log = common.open_the_log(common.load_settings(config, lake=lake))
    try:
        known = log.stats()["pipelines"]
        if name not in known:
            raise ConfigError(f"unknown pipeline {name!r}: registered are {', '.join(known) or 'none'}")
        log.unregister(name)
    finally:
        log.close()
    common.talk(f"The log no longer waits for {name!r}.")


_add_commands = common.adder({"status": status, "doctor": doctor}, "Look after it")


def add_to(app: typer.Typer) -> None:
    """Register these commands."""
    _add_commands(app)
    app.add_typer(pipelines, name="pipelines", rich_help_panel="Look after it")
