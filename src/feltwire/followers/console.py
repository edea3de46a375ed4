"""`console:`: one line a post on the terminal, for people: time, label, source, author, text."""

import contextlib
import logging
import re
import time
import unicodedata
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field
from rich.console import Console
from rich.text import Text

from feltwire import schema
from feltwire.errors import ConfigError, FatalError
from feltwire.followers._options import Filter, select
from feltwire.followers._positions import ahead, fresh, from_json, log_order, to_json
from feltwire.followers._state import StateFile
from feltwire.interfaces import Position

MAX_CHARS: Final = 500  # of a text are shown at most, however wide the terminal

# The sign says what the colour says: not everyone sees colours, and a pipe has none.
LABELS: Final = {
    "negative": ("-", "red"),
    "neutral": ("=", "white"),
    "positive": ("+", "green"),
    "mixed": ("~", "yellow"),
    None: ("?", "bright_black"),
}
_COLUMNS: Final = ["event_time", "sentiment", "complaint", "source", "author_handle", "author_name", "text"]
_KEPT_FORMATS: Final = "\u200c\u200d"  # the joiners: emoji and several scripts are made with them
_BLANKS: Final = re.compile(r"\s+")

_log = logging.getLogger(__name__)


class Options(Filter):
    """`console:?track=delta&since_s=3600`, or `console:stderr`."""

    state: str = ""
    """A file that keeps the position; none: what is shown is forgotten at the end."""
    since_s: float = Field(default=60.0, ge=0)
    """At a first start, posts that arrived more than so many seconds before it are passed over."""


class Terminal(Console):
    """rich's Console; when nobody reads it any more, that is an error and not the end of the process."""

    def on_broken_pipe(self) -> None:
        raise FatalError("nobody reads what is shown: the terminal or pipe was closed")


class ConsoleFollower:
    """Implements `interfaces.Follower`. A kill between a line and its position shows the line again."""

    def __init__(self, console: Console, options: Options) -> None:
        self.console = console
        self._options = options
        self._state = StateFile(Path(options.state).expanduser(), kind="console") if options.state else None
        self._since: datetime | None = None
        self._position: Position | None = None
        self._begun = False

    def position(self) -> Position | None:
        if not self._begun:
            stored = self._state.load() if self._state is not None else None
            if stored is None:
                with contextlib.suppress(OverflowError, ValueError):  # since ever
                    self._since = datetime.fromtimestamp(time.time() - self._options.since_s, UTC)
            else:
                self._position = from_json(stored["position"])
            self._begun = True
        return None if self._position is None else dict(self._position)

    def apply(self, posts: pa.RecordBatch, withdrawn: pa.RecordBatch, position: Position) -> None:
        stored = self.position()
        reached = ahead(stored or {}, position)
        if reached == stored:
            return
        posts, withdrawn = select(fresh(posts, stored), self._options), fresh(withdrawn, stored)
        if self._since is not None:
            posts, withdrawn = _since(posts, "ingested_at", self._since), _since(withdrawn, "at", self._since)
        lines = [*map(_withdrawal, withdrawn.to_pylist()), *map(line, posts.select(_COLUMNS).to_pylist())]
        for row in log_order(posts, withdrawn).tolist():
            # A terminal shows as much as fits into a line; a pipe or a file gets all of it.
            text = _writable(lines[row], self.console.encoding)
            if self.console.is_terminal:
                self.console.print(text, no_wrap=True, overflow="ellipsis")
            else:
                self.console.print(text, soft_wrap=True)
        self._position = reached  # before it is saved: what was shown is not shown again because a disk is full
        if self._state is not None:
            self._state.save({"position": to_json(reached)})

    def close(self) -> None:
        """Let go of the state file; another follower may go on."""
        self._begun = False
        if self._state is not None:
            self._state.close()


def create(rest: str, options: Options) -> ConsoleFollower:
    """The follower of `console:` (standard output) or `console:stderr`."""
    if rest not in ("", "stderr"):
        raise ConfigError(f"follower 'console': {rest!r} is no terminal; expected console: or console:stderr")
    return ConsoleFollower(Terminal(stderr=rest == "stderr", highlight=False), options)


def line(row: dict[str, Any]) -> Text:
    """A post as one line; times are UTC."""
    sign, colour = LABELS.get(row["sentiment"], LABELS[None])
    text = Text(no_wrap=True, overflow="ellipsis")
    when = row["event_time"]
    text.append(f"{when:%H:%M:%S} " if when is not None else "--:--:-- ", style="bright_black")
    text.append(f"{sign} {clean(row['sentiment'] or 'unscored'):<8} ", style=colour)
    text.append("! " if row["complaint"] else "  ", style="bold red")
    text.append(f"{clean(row['source'] or ''):<9} ", style="bright_black")
    text.append(f"@{clean(row['author_handle'] or row['author_name'] or '?')} ", style="cyan")
    text.append(clean(row["text"] or ""))
    return text


def clean(text: str) -> str:
    """One line without anything that steers a terminal or turns the writing direction around."""
    spaced = _BLANKS.sub(" ", text[:MAX_CHARS])
    plain = "".join(char for char in spaced if unicodedata.category(char)[0] != "C" or char in _KEPT_FORMATS)
    return " ".join(plain.split())


def _withdrawal(row: dict[str, Any]) -> Text:
    if row["id"] is None:
        what = f"all posts of {clean(row['source'] or '')} author {clean(row['author_id'] or '')}"
    elif row["revision"] == schema.LAST_REVISION:
        what = clean(row["id"])
    else:
        what = f"{clean(row['id'])} up to revision {row['revision']}"
    when = row["at"]
    return Text(f"{when:%H:%M:%S} x withdrawn  {what}" if when else f"--:--:-- x withdrawn  {what}", "bright_black")


def _since(batch: pa.RecordBatch, column: str, since: datetime) -> pa.RecordBatch:
    return batch.filter(pc.greater_equal(batch.column(column), pa.scalar(since, schema.TIME)))


def _writable(text: Text, encoding: str) -> Text:
    """The same with `?` for what the terminal's encoding does not have."""
    plain = text.plain.encode(encoding, "replace").decode(encoding)
    if plain != text.plain:
        text = Text(plain, text.style, spans=text.spans)
    return text
