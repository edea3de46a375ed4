"""`feltwire init` writes the settings, `feltwire check` tries them."""

import logging
import queue
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from feltwire.cli import common, output
from feltwire.cli.common import AsJson, ConfigFile, LakePath
from feltwire.errors import ConfigError, FeltwireError

if TYPE_CHECKING:
    from feltwire.config import Settings
    from feltwire.interfaces import Directed
    from feltwire.tracks import Track

FILE: Final = "feltwire.toml"
SOURCE_TIMEOUT_S: Final = 10.0


def init(
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing, take what is given or usual.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    source: Annotated[str | None, typer.Option("--source", "-s", metavar="URI", help="Where posts come from.")] = None,
    track: Annotated[
        str | None, typer.Option("--track", "-t", metavar="[NAME=]QUERY", help="What to listen for; empty: everything.")
    ] = None,
    lake: LakePath = None,
    model: Annotated[str | None, typer.Option("--model", "-m", metavar="URI", help="What scores the posts.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The file to write.")] = Path(FILE),
) -> None:
    """Ask a few questions and write a commented feltwire.toml.

    \b
      feltwire init
      feltwire init --yes --source bluesky: --track "airlines=(delta OR united) -football"
    """
    from feltwire import config
    from feltwire.cli.reference import toml
    from feltwire.planning import to_plan

    if out.exists() and not force:
        raise ConfigError(f"{out} is there already: --force writes over it, --out names another file")
    defaults = config.Settings()
    asking = not yes and sys.stdin.isatty()
    source = _ask("Source of posts (bluesky:, simulator:, file:posts.jsonl, …)", source, "bluesky:", asking)
    track = _ask("What to listen for, as a query (empty: everything)", track, "", asking)
    lake = _ask("Folder of the lake", lake, defaults.lake.path, asking)
    model = _ask("Model", model, defaults.model.uri, asking)
    answers: dict[str, Any] = {"lake": {"path": lake}, "model": {"uri": model}, "sources": [{"uri": source}]}
    if track.strip():
        answers["tracks"] = [common.parse_track(track)]
    text = toml(answers)
    partial = out.with_name(f".{out.name}.new")
    try:
        partial.write_text(text, encoding="utf-8")
        to_plan(config.load(partial, {}))  # what was answered is checked before anything is in place
        partial.replace(out)
    except OSError as error:
        raise ConfigError(f"{out} cannot be written: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)
    common.talk(f"Wrote {out}. Next: feltwire check, then feltwire run")


def _ask(question: str, given: str | None, default: str, asking: bool) -> str:
    if given is not None:
        return given
    return str(typer.prompt(question, default=default, err=True)) if asking else default


@dataclass(frozen=True)
class Tried:
    """One thing that `check` tried."""

    name: str
    ok: bool
    detail: str


def check(*, lake: LakePath = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Check the settings and try each connection: log, lake, model, sources, followers.

    \b
      feltwire check
      feltwire check --config airline.toml --json

    A network source is asked for its first batch, for 10 seconds at most; nothing is stored. Ends with exit code
    1 when something does not work, 2 when a setting is wrong.
    """
    from feltwire.config import token
    from feltwire.planning import to_plan

    settings = common.load_settings(config, lake=lake)
    to_plan(settings)
    token(settings)
    results = []
    for tried in _trials(settings):
        results.append(tried)
        if not as_json:
            output.write_verdict(tried.ok, tried.name, tried.detail)
    if as_json:
        output.write_json([{"name": one.name, "ok": one.ok, "detail": one.detail} for one in results])
    if not all(one.ok for one in results):
        raise typer.Exit(1)


def _trials(settings: "Settings") -> "Iterator[Tried]":
    from feltwire import registry, scoring
    from feltwire.planning import to_plan
    from feltwire.web.guard import check_host

    tracks = to_plan(settings).tracks
    yield _try(f"model {settings.model.uri}", lambda: scoring.load(settings.model.uri).name)
    yield _try(f"log {settings.log_uri}", lambda: _try_log(settings))
    yield _try(f"lake {settings.lake.path}", lambda: _try_lake(settings))
    for source in settings.sources:
        yield _try(
            f"source {source.uri}",
            lambda s=source: _try_source(registry.create("sources", s.uri, s.options), tracks),  # type: ignore[misc]
        )
    for follower in settings.followers:
        yield _try(f"follower {follower.name}", lambda f=follower: _try_follower(f))  # type: ignore[misc]
    yield _try(f"serve {settings.serve.host}:{settings.serve.port}", lambda: _try_serve(settings, check_host))


def _try(name: str, trial: Callable[[], str]) -> Tried:
    from feltwire.cli.progress import working

    try:
        with working(f"trying {name}"):
            return Tried(name, True, trial())
    except FeltwireError as error:
        return Tried(name, False, str(error))
    except OSError as error:
        return Tried(name, False, f"{error.strerror or error}")


def _try_log(settings: "Settings") -> str:
    from feltwire import registry

    try:
        log = common.open_the_log(settings)
    except ConfigError:
        # There is none yet: at least its plugin and its options are right, and it can be made.
        name = settings.log_uri.partition(":")[0]
        module = registry.load("logs", name)
        registry.validate(module.Options, settings.log.options, where=f"log {name!r}")
        if name != "sqlite":
            return "will be made"
        place = Path(settings.log_uri.partition(":")[2]).expanduser()
        return f"will be made; {_writable(place.parent)}"
    try:
        return f"{sum(log.ends().values()):,} records so far"
    finally:
        log.close()


def _try_lake(settings: "Settings") -> str:
    from feltwire.lake import open_lake

    path = settings.lake.path
    if "://" not in path and not Path(path).exists():
        return f"will be made; {_writable(Path(path).parent)}"
    lake = open_lake(path, storage_options=settings.lake.storage_options)
    return f"{lake.sizes()['posts']['rows']:,} posts"


def _writable(folder: Path) -> str:
    """Say that a folder, or the first one above it that exists, can be written. Raises ConfigError."""
    import os

    place = folder.expanduser().absolute()
    while not place.exists():
        place = place.parent
    if not os.access(place, os.W_OK):
        raise ConfigError(f"{place} cannot be written")
    return f"{place} can be written"


class _Warnings(logging.Handler):
    """Keeps what the sources complain of, instead of showing it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


@contextmanager
def _complaints() -> Iterator[list[str]]:
    logger, handler = logging.getLogger("feltwire.sources"), _Warnings()
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield handler.texts
    finally:
        logger.propagate = True
        logger.removeHandler(handler)


def _try_source(source: Any, tracks: "Sequence[Track]") -> str:
    """Ask a source for its first batch, in a thread: one that hangs is told, not waited for."""
    directed: Directed | None = source if hasattr(source, "listen_for") else None
    if directed is not None:
        directed.listen_for(tracks)
    answer: queue.Queue[str | Exception] = queue.Queue()
    enough = threading.Event()

    def read() -> None:
        batches = source.read(None)
        try:
            for records, _ in batches:
                if records.num_rows:
                    answer.put(f"{records.num_rows:,} records came")
                if records.num_rows or enough.is_set():
                    return
            answer.put("it is empty")
        except Exception as error:  # noqa: BLE001  (told to the one who asked)
            answer.put(error)
        finally:
            batches.close()

    reader = threading.Thread(target=read, daemon=True)
    with _complaints() as complaints:
        reader.start()
        try:
            found = answer.get(timeout=SOURCE_TIMEOUT_S)
        except queue.Empty:
            found = ConfigError(complaints[-1]) if complaints else "nothing to hear, and no complaint"
        enough.set()
        reader.join(2.0)
    if isinstance(found, Exception):
        raise ConfigError(str(found)) from found
    return found


def _try_follower(follower: Any) -> str:
    from feltwire import registry

    made = registry.create("followers", follower.uri, follower.options)
    try:
        position = made.position()
    finally:
        close = getattr(made, "close", None)
        if close is not None:
            close()
    return "has nothing yet" if position is None else f"is at {sum(position.values()):,}"


def _try_serve(settings: "Settings", check_host: Callable[[str, str | None], None]) -> str:
    from feltwire.config import token

    has = token(settings)
    check_host(settings.serve.host, has)
    return "with a token" if has else "this machine only"


add_to = common.adder({"init": init, "check": check}, "Set up")
