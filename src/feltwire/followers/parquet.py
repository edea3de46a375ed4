"""`parquet:DIR`: Parquet files of posts under `DIR/posts`, of withdrawals under `DIR/withdrawn`.

`DIR/_manifest.json` says which files count and how far they reach; it is replaced at one instant after the files of
a batch are complete and durable. A file that it does not name belongs to a batch that was cut short, and goes.
Small files are merged into bigger ones: first the manifest names the bigger one, then the small ones are removed,
then the bigger one appears, so that who lists the folder at that moment may miss posts but never sees one twice.
"""

import contextlib
import logging
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from feltwire.errors import ConfigError, PositionError
from feltwire.followers._options import DEFAULT_FIELDS, Fields, Filter, file_path, select
from feltwire.followers._positions import ahead, fresh, from_json, to_json
from feltwire.followers._state import StateFile, sync_folder, told, write_all
from feltwire.interfaces import Position

MERGE_FILES: Final = 8  # so many files of like size become one
MAX_MERGED_BYTES: Final = 128_000_000  # and no file grows beyond this by merging
ROW_GROUP_ROWS: Final = 100_000

_OURS: Final = re.compile(r"\d{8}-\d{8}\.parquet|\.\d{8}-\d{8}\.parquet\.tmp")
_TABLES: Final = ("posts", "withdrawn")

_log = logging.getLogger(__name__)


class Options(Filter):
    """`parquet:DIR?fields=id,text,sentiment`."""

    fields: Fields = DEFAULT_FIELDS
    """Columns of `posts` to write."""


class ParquetFollower:
    """Implements `interfaces.Follower`. A file is named by the numbers of the first and the last batch in it."""

    def __init__(self, folder: Path, options: Options) -> None:
        self._folder = folder
        self._options = options
        self._state_file = StateFile(folder / "_manifest.json", kind="parquet")
        self._state: dict[str, Any] | None = None  # None: not known, to be read from the manifest

    def position(self) -> Position | None:
        position = self._loaded()["position"]
        return None if position is None else from_json(position)

    def apply(self, posts: pa.RecordBatch, withdrawn: pa.RecordBatch, position: Position) -> None:
        stored = self.position()
        reached = ahead(stored or {}, position)
        if reached == stored:
            return
        posts, withdrawn = select(fresh(posts, stored), self._options), fresh(withdrawn, stored)
        state = self._loaded()
        self._state = None  # until all is done, only the manifest is sure
        batch: int = state["next"]
        state = {**state, "position": to_json(reached)}
        for table, rows in (("posts", posts.select(self._options.fields)), ("withdrawn", withdrawn)):
            if rows.num_rows:
                state["next"] = batch + 1
                with told(self._folder / table):
                    state[table] = [*state[table], self._write(table, batch, rows)]
        self._state_file.save(state)
        for table in _TABLES:
            state = self._merge(state, table)
        self._state = state

    def close(self) -> None:
        """Let go of the folder; another follower may go on."""
        self._state = None
        self._state_file.close()

    def _loaded(self) -> dict[str, Any]:
        if self._state is None:
            state = self._state_file.load()
            with told(self._folder):
                if state is None:
                    state = {"position": None, "next": 1, "posts": [], "withdrawn": []}
                    self._begin(state)
                else:
                    self._tidy(state)
            self._state = state
        return self._state

    def _begin(self, state: dict[str, Any]) -> None:
        for table in _TABLES:
            folder = self._folder / table
            folder.mkdir(exist_ok=True)
            if any(folder.iterdir()):
                raise ConfigError(
                    f"{folder} has files that were not written by this follower: name another folder, or empty it"
                )
        self._state_file.save(state)

    def _tidy(self, state: dict[str, Any]) -> None:
        """Make the folder what the manifest says: finish a merge that was cut short, remove what is not named."""
        for table in _TABLES:
            folder = self._folder / table
            folder.mkdir(exist_ok=True)
            named = {entry["name"] for entry in state[table]}
            unfinished = {name for name in named if not (folder / name).exists()}
            for path in list(folder.iterdir()):
                if _OURS.fullmatch(path.name) and path.name not in {*named, *map(_hidden, unfinished)}:
                    path.unlink()
            for name in sorted(unfinished):
                try:
                    os.replace(folder / _hidden(name), folder / name)
                except FileNotFoundError as error:
                    raise PositionError(
                        f"{folder / name} is missing: restore it, or empty {self._folder} to begin from nothing"
                    ) from error

    def _write(self, table: str, batch: int, rows: pa.RecordBatch) -> dict[str, Any]:
        """One batch as a file, complete and durable. Raises OSError."""
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_batches([rows]), sink, compression="zstd")
        content = sink.getvalue()
        name = f"{batch:08d}-{batch:08d}.parquet"
        hidden = self._folder / table / _hidden(name)
        with _created(hidden) as handle:
            write_all(handle, content)
        os.replace(hidden, hidden.with_name(name))
        sync_folder(hidden.parent)
        return {"name": name, "rows": rows.num_rows, "bytes": content.size, "layout": _layout(rows.schema)}

    def _merge(self, state: dict[str, Any], table: str) -> dict[str, Any]:
        """The manifest after merging the newest files of `table`, if enough of like size have come together.

        A merge that fails is left for later; only what the manifest says is at stake, and it says the same.
        """
        files: list[dict[str, Any]] = state[table]
        start = merge_start(files)
        if start is None:
            return state
        parts, folder = files[start:], self._folder / table
        name = f"{parts[0]['name'][:8]}-{parts[-1]['name'][9:17]}.parquet"
        hidden = folder / _hidden(name)
        try:
            rows, size = _merged(hidden, [folder / part["name"] for part in parts])
            sync_folder(folder)  # the manifest must not outlive, in a power cut, the file that it names
        except (OSError, pa.ArrowException) as error:
            _log.warning("%s: %d files are not merged now: %s", folder, len(parts), error)
            return state
        merged = {"name": name, "rows": rows, "bytes": size, "layout": parts[-1]["layout"]}
        state = {**state, table: [*files[:start], merged]}
        self._state_file.save(state)
        with told(folder):
            for part in parts:
                (folder / part["name"]).unlink()
            os.replace(hidden, folder / name)
            sync_folder(folder)
        return state


def create(rest: str, options: Options) -> ParquetFollower:
    """The follower of `parquet:DIR`. Nothing is opened before the first call."""
    return ParquetFollower(file_path(rest, "parquet"), options)


def merge_start(files: list[dict[str, Any]]) -> int | None:
    """Where the newest files begin that are worth one merge; None if there is nothing worth it.

    Sizes go in steps of MERGE_FILES, so that a row is rewritten once a step: a handful of times, ever.
    """
    for step in range(8):
        start = len(files)
        while start and _step(files[start - 1]) <= step and files[start - 1]["layout"] == files[-1]["layout"]:
            start -= 1
        if len(files) - start >= MERGE_FILES and sum(part["bytes"] for part in files[start:]) <= MAX_MERGED_BYTES:
            return start
    return None


def _step(entry: dict[str, Any]) -> int:
    return int(math.log(max(entry["rows"], 1), MERGE_FILES))


def _hidden(name: str) -> str:
    """Where a file is written: readers of Parquet folders pass over a leading dot, patterns over the ending."""
    return f".{name}.tmp"


def _layout(schema: pa.Schema) -> str:
    return xxhash.xxh64_hexdigest(schema.to_string().encode())


def _merged(path: Path, parts: list[Path]) -> tuple[int, int]:
    """Write the rows of `parts`, in order, into `path`, durably; return how many, and the size in bytes.

    Raises OSError or ArrowException; then there is no `path`.
    """
    schema = pq.read_schema(parts[0])
    rows = 0
    with _created(path) as handle, os.fdopen(handle, "wb", closefd=False) as sink:
        with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
            waiting: list[pa.Table] = []
            for part in parts:
                waiting.append(pq.read_table(part))
                rows += waiting[-1].num_rows
                if sum(table.num_rows for table in waiting) >= ROW_GROUP_ROWS:
                    writer.write_table(pa.concat_tables(waiting))
                    waiting = []
            if waiting:
                writer.write_table(pa.concat_tables(waiting))
        sink.flush()
        size = os.fstat(handle).st_size
    return rows, size


@contextlib.contextmanager
def _created(path: Path) -> Iterator[int]:
    """A new file open for writing: durable at the end, or gone. Raises OSError."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        try:
            yield handle
            os.fsync(handle)
        finally:
            os.close(handle)
    except (OSError, pa.ArrowException):
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise
