"""One file of lines (JSONL, CSV or plain text) as records, from any place on; it may grow meanwhile."""

import gzip
import hashlib
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.compute as pc

from feltwire import schema
from feltwire.sources._chunk import Chunk, whole_refused
from feltwire.sources._lines import BOM, MAX_RECORD_LINES, Lines, Parsed, parse_csv, parse_json, parse_text
from feltwire.sources._rows import Rows

MAX_ROWS: Final = 8_192
HEAD_BYTES: Final = 256
_SKIP_BYTES: Final = 8 << 20
_SILENT_BLOCKS: Final = 64  # read without a record, before an empty chunk gives a sign of life
_BROKEN: Final = (OSError, EOFError, zlib.error)
_PARSERS: Final[dict[str, Callable[[list[bytes]], Parsed]]] = {"jsonl": parse_json, "text": parse_text}


@dataclass(slots=True)
class Place:
    """How much of a file is read: bytes (of the unpacked text) and lines."""

    offset: int = 0
    line: int = 0
    head: str = ""


@dataclass(frozen=True, slots=True)
class Form:
    """How a file's lines are to be read. `header`: its first record names the columns."""

    name: str
    delimiter: str = ","
    header: bool = True


def place_of(cursor: dict[str, Any]) -> Place:
    """A cursor's place; one that is none (written by something else) is the beginning."""
    offset, line, head = cursor.get("offset"), cursor.get("line"), cursor.get("head")
    if not isinstance(offset, int) or not isinstance(line, int):
        return Place()
    return Place(offset, line, head if isinstance(head, str) else "")


def open_binary(path: Path) -> BinaryIO:
    """The file's bytes, unpacked if its name ends in .gz."""
    if path.suffix == ".gz":
        return _Packed(path)  # type: ignore[return-value]
    return path.open("rb")


class _Packed:
    """What can be unpacked of a .gz file: a damaged one is read up to the damage, and only then raises."""

    def __init__(self, path: Path) -> None:
        self._file = gzip.open(path, "rb")  # noqa: SIM115  # closed by close()
        self._damage: Exception | None = None

    def read(self, size: int) -> bytes:
        if self._damage is not None:
            raise self._damage
        pieces: list[bytes] = []
        try:
            while size > 0 and (piece := self._file.read1(size)):
                pieces.append(piece)
                size -= len(piece)
        except _BROKEN as error:
            if not pieces:
                raise
            self._damage = error
        return b"".join(pieces)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> "_Packed":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Head:
    """A fingerprint of a file's first bytes: it tells a file that grew from another one of the same name."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._packed = is_packed(path)
        self._bytes = b""

    def at(self, offset: int) -> str:
        """Of the bytes before `offset`, 256 at most; "" where there are none, or no file."""
        count = HEAD_BYTES if self._packed else min(offset, HEAD_BYTES)
        if len(self._bytes) < count:
            try:
                with self._path.open("rb") as handle:
                    self._bytes = handle.read(HEAD_BYTES)
            except OSError:
                return ""
        head = self._bytes[:count]
        return hashlib.sha256(head).hexdigest()[:16] if head else ""


def is_packed(path: Path) -> bool:
    """Whether offsets in this file are not those of its bytes on disk."""
    return path.suffix in (".gz", ".parquet")


def is_same(path: Path, place: Place) -> bool:
    """Whether the file is still the one that `place` is in: as long at least, with the same beginning."""
    if place.offset == 0:
        return True
    try:
        long_enough = is_packed(path) or path.stat().st_size >= place.offset
    except OSError:
        return False
    return long_enough and (not place.head or Head(path).at(place.offset) == place.head)


def read_header(path: Path, form: Form) -> tuple[list[str], int] | None:
    """(names of a CSV file's columns, lines that they take); None when it has no first record yet.

    Without a header the columns are called 1, 2, 3 …
    """
    with open_binary(path) as handle:
        lines = Lines(handle)
        more = True
        while more:
            more = lines.fill()
            if not more:
                lines.flush()
            parsed = parse_csv(lines.lines[:MAX_RECORD_LINES], delimiter=form.delimiter, final=not more)
            if parsed.rows:
                first = parsed.rows[0]
                return (first, parsed.stops[0]) if form.header else ([str(i + 1) for i in range(len(first))], 0)
            if parsed.consumed:
                lines.consume(parsed.consumed)
    return None


class TextFile:
    """Reads one open file. `chunk()` gives the next records, None when there are none for now.

    `name` is what its posts' ids are made of, its path by default.
    Raises OSError, EOFError or zlib.error when the file cannot be read (on).
    """

    def __init__(self, path: Path, form: Form, rows: Rows, place: Place, *, name: str | None = None) -> None:
        self.path = path
        self.inode = -1
        self._form = form
        self._rows = rows
        self._line = place.line
        self._name = name or str(path)
        self._header: list[str] | None = None
        self._handle = open_binary(path)
        self._lines = Lines(self._handle, place.offset)
        if path.suffix != ".gz":
            self.inode = os.fstat(self._handle.fileno()).st_ino
            self._handle.seek(place.offset)

    @property
    def offset(self) -> int:
        return self._lines.offset

    @property
    def line(self) -> int:
        return self._line

    @property
    def bytes_read(self) -> int:
        return self._handle.tell()

    def close(self) -> None:
        self._handle.close()

    def skip(self, offset: int) -> Iterator[None]:
        """Go to an offset of a packed file, which takes reading it; a step at a time."""
        while (left := offset - self._handle.tell()) > 0:
            if not self._handle.read(min(left, _SKIP_BYTES)):
                return
            yield None

    def chunk(self, *, final: bool) -> Chunk | None:
        """The next records. `final`: what stands behind the last newline is a line too, if the file ends there."""
        for _ in range(_SILENT_BLOCKS):
            ended = False
            if len(self._lines.lines) < MAX_ROWS:
                ended = not self._lines.fill()
                if ended and final:
                    self._lines.flush()
            if self._form.name != "csv" or self._has_header():
                lines = self._lines.lines[:MAX_ROWS]
                last = ended and final and len(lines) == len(self._lines.lines)
                parsed = self._parse(lines, last)
                if parsed.consumed:
                    return self._taken(parsed, lines)
            if ended:
                return None
        return Chunk(schema.empty(), [], [])

    def _parse(self, lines: list[bytes], final: bool) -> Parsed:
        if self._form.name == "csv":
            return parse_csv(lines, delimiter=self._form.delimiter, final=final)
        return _PARSERS[self._form.name](lines)

    def _has_header(self) -> bool:
        if self._header is None:
            found = read_header(self.path, self._form)
            if found is None:
                return False
            names, height = found
            if self.offset == 0:
                if len(self._lines.lines) < height:
                    return False
                self._lines.consume(height)
                self._line += height
            self._header = names
        return True

    def _taken(self, parsed: Parsed, lines: list[bytes]) -> Chunk:
        ends, base, name = self._lines.ends, self._line, self._name

        def key(i: int) -> str:
            return f"{name}\0{base + parsed.starts[i] + 1}"

        def payload(i: int) -> bytes:
            return b"\n".join(lines[parsed.starts[i] : parsed.stops[i]])

        if self._form.name == "csv":
            columns = self._columns(parsed)
            records = self._rows.from_columns(columns, len(parsed.rows), parsed.faults, key=key, payload=payload)
        else:
            records = self._rows.from_objects(parsed.rows, parsed.faults, key=key, payload=payload)
        offsets = [ends[stop - 1] for stop in parsed.stops]
        numbers = [base + stop for stop in parsed.stops]
        self._lines.consume(parsed.consumed)
        self._line += parsed.consumed
        return Chunk(records, offsets, numbers, (self._lines.offset, self._line))

    def _columns(self, parsed: Parsed) -> dict[str, pa.Array]:
        """The columns that a record needs; rows of another width than the header become faults."""
        header = self._header or []
        width = len(header)
        rows = parsed.rows
        if any(len(row) != width for row in rows) or parsed.faults:
            for i, row in enumerate(rows):
                if len(row) != width and i not in parsed.faults:
                    parsed.faults[i] = f"{len(row)} columns, where the file has {width}"
            nothing = [""] * width
            rows = [nothing if i in parsed.faults else row for i, row in enumerate(rows)]
        needed = set(chain.from_iterable(self._rows.wanted(header).values()))
        columns: dict[str, pa.Array] = {}
        for name, values in zip(header, zip(*rows, strict=True), strict=bool(rows)):
            if name in needed and name not in columns:
                texts = pa.array(values, pa.string())
                columns[name] = pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)
        return columns


def chunks(path: Path, form: Form, rows: Rows, place: Place) -> Iterator[Chunk | None]:
    """A whole file's records from a place on; None now and then, where going there takes time."""
    text: TextFile | None = None
    try:
        text = TextFile(path, form, rows, place)
        if path.suffix == ".gz" and place.offset:
            yield from text.skip(place.offset)
        while (chunk := text.chunk(final=True)) is not None:
            yield chunk
    except _BROKEN as error:
        line = text.line if text else place.line
        offset = text.offset if text else place.offset
        reason = f"a file that cannot be read on behind line {line}: {type(error).__name__}"
        yield whole_refused(rows, str(path), line + 1, reason, offset=offset)
    finally:
        if text:
            text.close()


def has_text(path: Path, form: Form, rows: Rows) -> bool:
    """Whether a column of a CSV file is a post's text; True also for what cannot be read or is empty."""
    if form.name != "csv":
        return True
    try:
        found = read_header(path, form)
    except _BROKEN:
        return True
    return found is None or "text" in rows.wanted(found[0])


def is_array(path: Path) -> bool:
    """Whether a file begins as one JSON array over several lines does, or as one of objects in a single line."""
    try:
        with open_binary(path) as handle:
            head = handle.read(4_096).removeprefix(BOM).split()
    except _BROKEN:
        return False
    return bool(head) and (head[0] == b"[" or head[0].startswith((b"[{", b"[[")))
