"""The command line. Importing it is cheap: each command imports what it works with when it is called."""

import logging
import os
import sys
from typing import Annotated

import typer

from feltwire import __version__
from feltwire.cli import (
    backfill,
    build,
    change,
    evaluate,
    explain,
    follow,
    init,
    inspect,
    leaderboard,
    models,
    query,
    report,
    rescore,
    run,
    score,
    tail,
    train,
)
from feltwire.cli.help import HelpGroup
from feltwire.errors import ConfigError, FeltwireError

HELP = """What people feel, as it happens: listens to public posts, scores each one, and keeps the mood.

\b
  feltwire demo                              watch an invented stream, offline
  feltwire run --source bluesky: --track "delta OR united"
  feltwire score "What a lovely airline"     score a text, or a file
  feltwire windows --every 15min --since 6h  the mood, window by window
  feltwire sql "select sentiment, count(*) from posts group by 1"

Every command has a `--help` of its own with examples. Exit codes: 0 done, 1 failed, 2 used or configured wrongly.
"""

app = typer.Typer(
    name="feltwire",
    cls=HelpGroup,
    help=HELP,
    no_args_is_help=True,
    rich_markup_mode=None,  # its help by rich takes half a second, most of it to import Markdown and Pygments
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class _StderrHandler(logging.Handler):
    """Writes to whatever `sys.stderr` is at the time: a live view puts its own in place."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(self.format(record) + "\n")


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"feltwire {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    *,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more on the standard error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and stop.")
    ] = False,
) -> None:
    handler = _StderrHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger("feltwire")
    root.handlers = [handler]
    root.propagate = False
    root.setLevel(logging.INFO if verbose else logging.WARNING)


for _group in (
    run,
    follow,
    backfill,
    query,
    report,
    score,
    explain,
    tail,
    init,
    inspect,
    change,
    train,
    build,
    evaluate,
    leaderboard,
    models,
    rescore,
):
    _group.add_to(app)


def main() -> None:
    """Run the command line; what Feltwire raises on purpose becomes one line on the standard error."""
    try:
        app()
    except ConfigError as error:
        _fail(error, 2)
    except FeltwireError as error:
        _fail(error, 1)
    except BrokenPipeError:
        # Whoever read this has gone; what is still buffered must not raise again when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        _fail(error, 1)  # a file or folder that may not be read or written: it says which
    except KeyboardInterrupt:
        sys.exit(130)


def _fail(error: Exception, code: int) -> None:
    typer.echo(f"feltwire: {' '.join(str(error).split())}", err=True)
    sys.exit(code)
