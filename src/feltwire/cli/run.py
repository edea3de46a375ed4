"""What runs: demo, run, ingest, process, serve."""

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from feltwire.cli import common
from feltwire.cli.common import AsJson, ConfigFile, LakePath, ModelUri, Sources, Tracks
from feltwire.cli.follow import destinations
from feltwire.errors import ConfigError

if TYPE_CHECKING:
    from feltwire.cli.watching import Look
    from feltwire.config import Settings
    from feltwire.plan import Plan
    from feltwire.service import Service

DEMO_LAKE: Final = "feltwire-data/demo"
DEMO_TRACKS: Final = (
    "airline=larkwing OR #larkwingfail",
    "phone=quillo",
    "football=castlemere",
    'film="lanterns of vessary"',
)
# The story has begun a minute ago, at high rates less, and turns a little after the start.
DEMO_HISTORY_S: Final = 60.0
DEMO_HISTORY_RECORDS: Final = 20_000
DEMO_TURN_S: Final = 15.0
TURN_SHARE: Final = 0.2  # of the simulator's story has passed when the mood turns

UntilIdle = Annotated[
    bool, typer.Option("--until-idle", help="Stop once every source has ended and everything is stored.")
]
Engine = Annotated[
    str | None, typer.Option("--engine", metavar="NAME", help="What runs the pipeline: local, or spark.")
]
Master = Annotated[
    str | None, typer.Option("--master", metavar="URL", help="Engine spark: the cluster, such as local[4] or yarn.")
]
Port = Annotated[int | None, typer.Option("--port", min=0, max=65_535, help="The web port; 0 takes a free one.")]


def demo(
    *,
    seconds: Annotated[float | None, typer.Option(min=1, help="Stop by itself after so many seconds.")] = None,
    rate: Annotated[float, typer.Option(min=0.1, max=50_000, help="Posts a second.")] = 60.0,
    seed: Annotated[int, typer.Option(min=0, help="The same seed invents the same posts.")] = 1,
    lake: Annotated[str, typer.Option("--lake", "-l", metavar="DIR", help="Where to keep it.")] = DEMO_LAKE,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Do not open the page in a browser.")] = False,
    as_json: AsJson = False,
) -> None:
    """Watch the mood of an invented stream: an airline's bad day, on this machine alone.

    \b
      feltwire demo                          until Ctrl-C; a second start goes on where it stopped
      feltwire demo --seconds 30 --rate 500
      feltwire demo --rate 20000 --lake /tmp/fast

    The page opens in a browser where there is a terminal and a display. Everything is as with real posts: they are
    kept exactly once, scored, summed, and can be asked afterwards.
    """
    from feltwire.cli.watching import Look, watch

    with_web = demo_service(lake, rate=rate, seed=seed)
    watch(
        with_web,
        Look.json if as_json else Look.view,
        title="demo",
        seconds=seconds,
        greet=_tell_page if no_browser else _open_page,
    )
    _tell_end(with_web)
    common.talk(
        f"\nThe lake is at {lake}. Try:\n"
        f"{_activation()}"
        f"  feltwire windows --lake {lake} --every 1min --since 10min\n"
        f"  feltwire terms --lake {lake} --kind hashtag\n"
        f"  feltwire tail --at {lake} --track airline\n"
        f"  feltwire doctor --lake {lake}\n"
        'With real posts: feltwire run --source bluesky: --track "coffee OR tea"'
    )


def demo_service(lake: str, *, rate: float, seed: int) -> "Service":
    """What `feltwire demo` runs."""
    from feltwire.planning import to_plan

    history_s = min(DEMO_HISTORY_S, DEMO_HISTORY_RECORDS / rate)
    story_s = (history_s + DEMO_TURN_S) / TURN_SHARE
    story = f"story_minutes={story_s / 60:.3f}&history_minutes={history_s / 60:.3f}"
    source = f"simulator:?seed={seed}&rate={rate}&{story}"
    settings = common.load_settings(Path("/dev/null"), lake=lake, sources=[source], tracks=DEMO_TRACKS)
    return _service(to_plan(settings), settings, web=True, any_port=True)


def _tell_page(url: str) -> None:
    common.talk(f"The page: {url}")


def _open_page(url: str) -> None:
    """Tell where the page is, and open it where somebody sits in front of it."""
    import webbrowser

    _tell_page(url)
    display = sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if sys.stdout.isatty() and display and not os.environ.get("CI"):
        with contextlib.suppress(webbrowser.Error):
            webbrowser.open(url)


def _activation() -> str:
    """How `feltwire` comes on the path, where it is not."""
    import shutil

    if shutil.which("feltwire") or sys.prefix == sys.base_prefix:
        return ""
    place, here = Path(sys.prefix), Path.cwd()
    return f"  . {place.relative_to(here) if place.is_relative_to(here) else place}/bin/activate\n"


def run(
    *,
    source: Sources = None,
    track: Tracks = None,
    model: ModelUri = None,
    until_idle: UntilIdle = False,
    engine: Engine = None,
    master: Master = None,
    port: Port = None,
    lake: LakePath = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Listen, score, store and show: the whole way, in one process.

    \b
      feltwire run                                      what feltwire.toml says
      feltwire run --source bluesky: --track "delta OR united" --track tea=tea
      feltwire run --source file:posts.csv --until-idle --lake ./posts
      feltwire run --source bluesky: --model none: --json

    Stopped or killed, it goes on where it was: nothing is lost and nothing doubled.
    """
    from feltwire.cli.watching import Look, watch
    from feltwire.planning import to_plan

    settings = common.load_settings(
        config, lake=lake, sources=source, tracks=track, model=model, other=_serve_at(port) | _worked_by(engine, master)
    )
    if not settings.sources:
        raise ConfigError("sources: none; name one by --source URI, or run `feltwire init` for a feltwire.toml")
    plan = to_plan(settings, until_idle=until_idle)
    service = _service(plan, settings, web=True, any_port=port is None and config is None)
    watch(service, Look.json if as_json else Look.view, title=settings.pipeline.name, greet=_tell_page)
    _tell_end(service)


def ingest(
    *, source: Sources = None, lake: LakePath = None, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """Only listen: put what the sources deliver into the log. One line a second.

    \b
      feltwire ingest --source bluesky:
      feltwire ingest --config airline.toml

    `feltwire process`, here or in another process, takes it from there.
    """
    from feltwire.cli.watching import watch
    from feltwire.planning import to_plan

    settings = common.load_settings(config, lake=lake, sources=source)
    if not settings.sources:
        raise ConfigError("sources: none; name one by --source URI, or in [[sources]] of feltwire.toml")
    service = _service(to_plan(settings, process=False), settings)
    watch(service, _work_look(as_json), title="ingest")
    _tell_end(service)


def process(
    *,
    track: Tracks = None,
    model: ModelUri = None,
    until_idle: UntilIdle = False,
    engine: Engine = None,
    master: Master = None,
    partitions: Annotated[
        str | None, typer.Option("--partitions", metavar="N,N", help="Work on these partitions of the log alone.")
    ] = None,
    lake: LakePath = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Only work: score what is in the log and store it in the lake. One line a second.

    \b
      feltwire process
      feltwire process --config other-model.toml --until-idle
      feltwire process --engine spark --master spark://host:7077
      feltwire process --partitions 0,1

    Several pipelines, each with a name and a lake of its own, read one log without waiting for each other.
    """
    from feltwire.cli.watching import watch
    from feltwire.planning import to_plan

    other = _worked_by(engine, master, partitions)
    settings = common.load_settings(config, lake=lake, tracks=track, model=model, other=other)
    service = _service(to_plan(settings, ingest=False, until_idle=until_idle), settings)
    watch(service, _work_look(as_json), title="process")
    _tell_end(service)


def _numbers(text: str) -> list[int]:
    """`0,2` as numbers. Raises ConfigError."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise ConfigError(f"--partitions {text!r}: expected numbers with commas between, such as 0,2") from error


def serve(
    *,
    host: Annotated[
        str | None, typer.Option("--host", help="The address to listen on; beyond this machine only with a token.")
    ] = None,
    port: Port = None,
    lake: LakePath = None,
    config: ConfigFile = None,
) -> None:
    """Serve a lake that is there: the page, the API, `/healthz`, `/readyz` and `/metrics`. It ingests nothing.

    \b
      feltwire serve
      FELTWIRE_SERVE__TOKEN=… feltwire serve --host 0.0.0.0 --port 8080
    """
    from feltwire.lake import open_lake
    from feltwire.planning import to_plan
    from feltwire.service import stopped_by_signals

    at = _serve_at(port)
    if host is not None:
        at = {"serve": {**at.get("serve", {}), "host": host}}
    settings = common.load_settings(config, lake=lake, other=at)
    open_lake(settings.lake.path, storage_options=settings.lake.storage_options)
    service = _service(to_plan(settings, ingest=False), settings, web=True, engine=None)
    with stopped_by_signals(service.stop), service:
        common.talk(f"Serving {settings.lake.path} at {service.url} (Ctrl-C stops)")
        while service.wait(3600.0):
            pass


def _serve_at(port: int | None) -> dict[str, dict[str, object]]:
    return {} if port is None else {"serve": {"port": port}}


def _worked_by(engine: str | None, master: str | None, partitions: str | None = None) -> dict[str, dict[str, object]]:
    """The settings' section `engine`, of what the command line says; a master is one of Spark's."""
    if master is not None and engine not in (None, "spark"):
        raise ConfigError(f"--master {master} is for the engine 'spark', and --engine is {engine!r}")
    given: dict[str, object] = {"name": engine or "spark", "master": master} if master is not None else {}
    given |= {"name": engine} if engine is not None else {}
    given |= {"partitions": _numbers(partitions)} if partitions is not None else {}
    return {"engine": given} if given else {}


def _work_look(as_json: bool) -> "Look":
    from feltwire.cli.watching import Look

    return Look.json if as_json else Look.lines


def _service(
    plan: "Plan", settings: "Settings", *, web: bool = False, any_port: bool = False, engine: str | None = "local"
) -> "Service":
    """The service of a plan. `any_port`: where the port is taken, a free one does."""
    from dataclasses import replace

    from feltwire import config
    from feltwire.service import Listen, Service

    name = settings.engine.name if engine else None
    followed = destinations(settings) if plan.lake is not None and web and engine else ()
    listen: Listen | None = None
    if web:
        serve = settings.serve
        listen = Listen(
            host=serve.host,
            port=serve.port,
            token=config.token(settings),
            write_token=config.token(settings, "write_token"),
            read_token=config.token(settings, "read_token"),
            ready_lag=serve.ready_lag,
            rate=serve.rate,
            max_body_bytes=round(serve.max_body_mb * 1e6),
            max_texts=serve.max_texts,
            max_streams=serve.max_streams,
        )
    try:
        return Service(plan, engine=name, destinations=followed, listen=listen)
    except ConfigError as error:
        if not (any_port and listen and "cannot listen" in str(error)):
            raise
        return Service(plan, engine=name, destinations=followed, listen=replace(listen, port=0))


def _tell_end(service: "Service") -> None:
    report = service.report
    if report is None:
        return
    done = report.received if service.plan.lake is None else report.processed
    what = "received" if service.plan.lake is None else "processed"
    left = f", {report.lag:,} left in the log" if report.lag else ""
    common.talk(
        f"{done:,} records {what} in {report.seconds:,.1f} s ({done / max(report.seconds, 1e-9):,.0f}/s){left}."
    )


add_to = common.adder({"demo": demo, "run": run, "ingest": ingest, "process": process, "serve": serve}, "Run")
