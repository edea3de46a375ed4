"""Posts from files: JSONL, CSV, Parquet or plain lines; read once, followed while they grow, or replayed."""

import glob
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from feltwire import schema
from feltwire.errors import ConfigError
from feltwire.interfaces import Cursor
from feltwire.sources import _parquet, _textfile
from feltwire.sources._chunk import Chunk, whole_refused
from feltwire.sources._follow import follow
from feltwire.sources._names import parse_columns
from feltwire.sources._pace import HEARTBEAT_S, slices
from feltwire.sources._rows import Rows
from feltwire.sources._textfile import Form, Head, Place, place_of

_ENDINGS: Final = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".txt": "text",
}


class Options(BaseModel):
    """What can be said of a `file:` source."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["auto", "jsonl", "csv", "parquet", "text"] = Field(
        "auto", description="How the files are read; auto: by the ending, with or without .gz behind it."
    )
    columns: str | dict[str, str] = Field(
        "", description="Which name in the file fills which column, as in text=body,author_handle=user."
    )
    delimiter: str = Field(
        "", max_length=1, description="Between the fields of CSV; by default a comma, in .tsv a tab."
    )
    mode: Literal["finite", "follow", "replay"] = Field(
        "finite", description="finite: read to the end; follow: like tail -F; replay: at the pace of a clock."
    )
    speed: float = Field(
        1.0, gt=0, le=1e9, description="replay: how many times faster than the posts were written (created_at)."
    )
    rate: float | None = Field(
        None, gt=0, le=1e6, description="replay: this many posts a second, instead of the pace of created_at."
    )
    source: str = Field(
        "file",
        pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$",
        description="The column source and the first part of every id: the network that the posts are from.",
    )


class FileSource:
    """Reads files in the order of their names. Its cursor names a file, and the byte and line reached in it."""

    def __init__(self, path: str, options: Options) -> None:
        if not path:
            raise ConfigError(
                "file: needs a path, as in file:posts.jsonl; a folder or a pattern (*) means several files"
            )
        if options.rate is not None and options.mode != "replay":
            raise ConfigError(f"file: rate = {options.rate:g} needs mode = replay; the mode is {options.mode}")
        self.name = options.source
        self._path = os.path.abspath(os.path.expanduser(path))
        self._options = options
        self._columns = parse_columns(options.columns)
        self._rows = Rows(options.source, live=False, columns=self._columns)

    def read(self, cursor: Cursor | None) -> Iterator[tuple[pa.RecordBatch, Cursor]]:
        """See `interfaces.Source`. Raises ConfigError for a path without files or a file without a text column."""
        if self._options.mode == "follow":
            return follow(self.paths, self._form, self._rows, cursor)
        if self._options.mode == "replay":
            return self._replay(cursor)
        return self._finite(cursor)

    def paths(self) -> list[Path]:
        """The files that the path means now, in the order of their names."""
        if os.path.isdir(self._path):
            found = [entry.path for entry in os.scandir(self._path) if not entry.name.startswith(".")]
            if self._options.format == "auto":
                found = [path for path in found if _ending(Path(path)) in _ENDINGS]
        elif os.path.exists(self._path):
            return [Path(self._path)]
        else:
            found = glob.glob(self._path, recursive=True)
        return [Path(path) for path in sorted(found) if os.path.isfile(path)]

    def _form(self, path: Path) -> Form:
        """How one file is read. Raises ConfigError for an ending that says nothing."""
        name = self._options.format
        if name == "auto":
            ending = _ending(path)
            if ending not in _ENDINGS:
                raise ConfigError(
                    f"file: cannot tell the format of {path.name!r}: endings known are {', '.join(_ENDINGS)}; "
                    "say format=jsonl, csv, parquet or text"
                )
            name = _ENDINGS[ending]  # type: ignore[assignment]
        numbered = bool(self._columns) and all(value.isdecimal() for value in self._columns.values() if value)
        delimiter = self._options.delimiter or ("\t" if _ending(path) == ".tsv" else ",")
        return Form(name, delimiter, header=not numbered)

    def _finite(self, cursor: Cursor | None) -> Iterator[tuple[pa.RecordBatch, Cursor]]:
        spoke_s = time.monotonic()
        last = dict(cursor or {})
        for path, head, chunk in self._chunks(cursor):
            if chunk is not None and chunk.records.num_rows:
                last = _cursor(path, head, chunk, chunk.records.num_rows)
                yield chunk.records, last
                spoke_s = time.monotonic()
            elif time.monotonic() - spoke_s >= HEARTBEAT_S:
                yield schema.empty(), last
                spoke_s = time.monotonic()

    def _replay(self, cursor: Cursor | None) -> Iterator[tuple[pa.RecordBatch, Cursor]]:
        start_s = time.monotonic()
        clock = _Clock(self._options)
        last = dict(cursor or {})
        for path, head, chunk in self._chunks(cursor):
            if chunk is None or not chunk.records.num_rows:
                yield schema.empty(), last
                continue
            for first, stop in slices(clock.due_s(chunk.records), start_s):
                if stop > first:
                    last = _cursor(path, head, chunk, stop)
                yield chunk.records.slice(first, stop - first), last

    def _chunks(self, cursor: Cursor | None) -> Iterator[tuple[Path, Head, Chunk | None]]:
        """(file, its fingerprint, records) behind the cursor."""
        paths = self.paths()
        if not paths:
            raise ConfigError(f"file: no file at {self._path!r}; give the path of a file or folder, or a pattern")
        reached = str(cursor["file"]) if cursor and "file" in cursor else ""
        for path in paths:
            if str(path) < reached:
                continue
            place = place_of(cursor) if cursor and str(path) == reached else Place()
            if not _textfile.is_same(path, place):
                place = Place()
            head = _textfile.Head(path)
            for chunk in self._file_chunks(path, place, alone=len(paths) == 1):
                yield path, head, chunk

    def _file_chunks(self, path: Path, place: Place, *, alone: bool) -> Iterator[Chunk | None]:
        form = self._form(path)
        parquet = form.name == "parquet"
        if form.name == "jsonl" and _ending(path) == ".json" and _textfile.is_array(path):
            reason = "one JSON array: make it an object a line, as by jq -c '.[]'"
            if alone:
                raise ConfigError(f"file: {path.name!r} is {reason}")
            if place.line == 0:
                yield whole_refused(self._rows, str(path), 1, reason)
            return
        fits = _parquet.has_text(path, self._rows) if parquet else _textfile.has_text(path, form, self._rows)
        if not fits:
            if alone:
                raise ConfigError(f"file: no column of {path.name!r} is known as a post's text: say columns=text=NAME")
            if place.line == 0:
                yield whole_refused(self._rows, str(path), 1, "no column that is known as a post's text")
            return
        if parquet:
            yield from _parquet.chunks(path, self._rows, place.line)
        else:
            yield from _textfile.chunks(path, form, self._rows, place)


class _Clock:
    """When rows are due in a replay, in seconds after its start."""

    def __init__(self, options: Options) -> None:
        self._rate = options.rate
        self._speed = options.speed
        self._given = 0
        self._first_us: int | None = None
        self._latest_us = 0

    def due_s(self, records: pa.RecordBatch) -> npt.NDArray[np.float64]:
        """A row without created_at, or older than one before it, is due with the row before it."""
        count = records.num_rows
        if self._rate is not None:
            numbers = np.arange(self._given, self._given + count, dtype=np.float64)
            self._given += count
            return numbers / self._rate
        created = records.column("created_at").cast(pa.int64())
        if self._first_us is None:
            known = pc.drop_null(created)
            if not len(known):
                return np.zeros(count)
            self._first_us = self._latest_us = int(known[0].as_py())
        times_us = np.asarray(pc.fill_null(created, self._latest_us), dtype=np.int64)
        latest_us = np.maximum.accumulate(np.maximum(times_us, self._latest_us))
        self._latest_us = int(latest_us[-1])
        due: npt.NDArray[np.float64] = (latest_us - self._first_us) / 1e6 / self._speed
        return due


def create(rest: str, options: Options) -> FileSource:
    """The source of `file:PATH`; PATH is a file, a folder, or a pattern such as `posts/2026-*.jsonl.gz`."""
    return FileSource(rest, options)


def _cursor(path: Path, head: Head, chunk: Chunk, stop: int) -> Cursor:
    offset, line = chunk.place(stop)
    return {"file": str(path), "offset": offset, "line": line, "head": head.at(offset)}


def _ending(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return suffixes[-1] if suffixes else ""
