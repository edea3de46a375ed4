"""Files of rows: CSV, JSONL, Parquet and plain lines, read and written a chunk at a time."""

import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, BinaryIO, Final, Literal, TypeAlias, TypeVar

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

from feltwire.cli import output
from feltwire.errors import ConfigError

Kind: TypeAlias = Literal["csv", "jsonl", "parquet"]
KINDS: Final[tuple[Kind, ...]] = ("csv", "jsonl", "parquet")
_ENDINGS: Final[dict[str, Kind]] = {
    ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip

CHUNK_ROWS: Final = 2_048

Row = TypeVar("Row")


def kind_of(path: str) -> Kind | None:
    """What a file's name says of its form; None: nothing."""
    return _ENDINGS.get(Path(path).suffix.lower())


def kind_of_out(out: str) -> Kind | None:
    """The form that `--out` asks for by its ending; None: it has none. Raises ConfigError for an unknown one."""
    kind = kind_of(out)
    suffix = Path(out).suffix
    if kind is None and suffix and not out.startswith("/dev/"):
        raise ConfigError(f"--out {out!r}: unknown ending {suffix!r}; expected one of {', '.join(_ENDINGS)}")
    return kind


@contextmanager
def open_lines(out: str) -> Iterator[Callable[[str], None]]:
    """A function that appends text to a file, or to the standard output for `-`; otherwise as `open_writer`."""
    with _sink(out) as sink:
        yield lambda text: (sink.write(text.encode("utf-8", "replace")), None)[1]


@contextmanager
def open_writer(out: str, kind: Kind, schema: pa.Schema) -> Iterator[Callable[[pa.RecordBatch], None]]:
    """A function that appends batches of `schema` to a file, or to the standard output for `-`.

    A file appears under its name when the block has ended well, and not otherwise. Raises ConfigError where it
    cannot be written, and for Parquet to a terminal.
    """
    if out == "-" and kind == "parquet" and sys.stdout.isatty():
        raise ConfigError("Parquet is not for a terminal: name a file by --out")
    with _sink(out) as sink, _encode(sink, kind, schema) as write:
        yield write


@contextmanager
def _sink(out: str) -> "Iterator[BinaryIO | IO[bytes]]":
    if out == "-":
        yield sys.stdout.buffer
        sys.stdout.flush()
        return
    path = Path(out).expanduser()
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        file = part.open("wb")
    except OSError as error:
        raise ConfigError(f"--out {out!r} cannot be written: {error.strerror}") from error
    try:
        with file:
            yield file
        part.replace(path)
    finally:
        with suppress(FileNotFoundError):
            part.unlink()


@contextmanager
def _encode(sink: "BinaryIO | IO[bytes]", kind: Kind, schema: pa.Schema) -> Iterator[Callable[[pa.RecordBatch], None]]:
    match kind:
        case "parquet":
            # Not closed with the sink: the standard output stays open.
            with pq.ParquetWriter(pa.PythonFile(sink, mode="w"), schema, compression="zstd") as writer:
                yield writer.write_batch
        case "csv":
            head = csv_line(schema.names)
            sink.write(head)

            def write_csv(batch: pa.RecordBatch) -> None:
                flat = output.flat(pa.Table.from_batches([batch]))
                pc.write_csv(flat, sink, pc.WriteOptions(include_header=False))

            yield write_csv
        case "jsonl":

            def write_jsonl(batch: pa.RecordBatch) -> None:
                lines = [output.to_json(row) for row in output.to_rows(batch)]
                sink.write(("\n".join(lines) + "\n").encode("utf-8", "replace") if lines else b"")

            yield write_jsonl


def csv_line(values: list[str]) -> bytes:
    """One line of CSV."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(values)
    return buffer.getvalue().encode("utf-8", "replace")


Chunk: TypeAlias = "pa.RecordBatch | list[dict[str, Any]]"
"""Some rows: a batch where the columns are known from the start, dictionaries where each row has its own (JSONL)."""


def read_chunks(path: str, kind: Kind | None) -> Iterator[Chunk]:
    """The rows of a file (`-`: the standard input), CHUNK_ROWS at a time.

    `kind` None: by the file's name, else by its first character: `{` is JSONL, anything else is a text a line,
    given as the column `text`. CSV values are texts as they stand. Raises ConfigError for what cannot be read.
    """
    kind = kind or (None if path == "-" else kind_of(path))
    if kind == "parquet":
        yield from _read_parquet(path)
        return
    with _open_text(path) as file:
        if kind is None:
            first = file.readline()
            kind = "jsonl" if first.lstrip().startswith("{") else None
            lines: Iterator[str] = chain([first] if first else [], file)
        else:
            lines = file
        match kind:
            case "csv":
                yield from _read_csv(lines, path)
            case "jsonl":
                yield from in_chunks(_read_jsonl(lines, path))
            case _:
                for chunk in in_chunks(line.rstrip("\r\n") for line in lines):
                    yield pa.record_batch([pa.array(chunk, pa.string())], names=["text"])


def in_chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """The rows, CHUNK_ROWS at a time."""
    left = iter(rows)
    while chunk := list(islice(left, CHUNK_ROWS)):
        yield chunk


@contextmanager
def _open_text(path: str) -> Iterator[IO[str]]:
    if path == "-":
        yield io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", errors="replace", newline="")
        return
    try:
        file = Path(path).expanduser().open(encoding="utf-8-sig", errors="replace", newline="")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    with file:
        yield file


def _read_parquet(path: str) -> Iterator[pa.RecordBatch]:
    source: Any = pa.BufferReader(sys.stdin.buffer.read()) if path == "-" else str(Path(path).expanduser())
    try:
        file = pq.ParquetFile(source)
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(f"{path}: no Parquet file that can be read: {error}") from error
    with file:
        yield from file.iter_batches(batch_size=CHUNK_ROWS)


def _read_csv(lines: Iterable[str], path: str) -> Iterator[pa.RecordBatch]:
    csv.field_size_limit(2**27)
    reader = csv.reader(lines)
    names = next(reader, [])
    if not names:
        raise ConfigError(f"{path}: empty; expected a CSV whose first line names the columns")
    twins = sorted({name for name in names if names.count(name) > 1})
    if twins:
        raise ConfigError(f"{path}: two columns are named {twins[0]!r}")
    # First no rows: a file of a head alone becomes one with a longer head.
    yield pa.record_batch([pa.array([], pa.string()) for _ in names], names=names)
    try:
        for chunk in in_chunks(_whole(reader, len(names), path)):
            columns = zip(*chunk, strict=True)
            yield pa.record_batch([pa.array(column, pa.string()) for column in columns], names=names)
    except csv.Error as error:
        raise ConfigError(f"{path}: line {reader.line_num} is no CSV: {error}") from error


def _whole(reader: Any, width: int, path: str) -> Iterator[list[str]]:
    """The rows of a CSV reader, short ones filled up with empty texts."""
    for values in reader:
        if len(values) > width:
            raise ConfigError(f"{path}: line {reader.line_num} has {len(values)} fields, the head has {width}")
        if values:
            yield [*values, *[""] * (width - len(values))]


def _read_jsonl(lines: Iterable[str], path: str) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ConfigError(f"{path}: line {number} is no JSON: {error}") from error
        except RecursionError as error:
            raise ConfigError(f"{path}: line {number} is nested too deeply") from error
        if not isinstance(row, dict):
            raise ConfigError(f"{path}: line {number}: expected an object, came {type(row).__name__}")
        yield row
