"""Lines of a file or a socket, and the parsers over them: JSON, CSV, plain text.

A parser is a pure function of lines. It says which lines each row took, so that whoever reads can resume behind
any row, and it never raises: a line that it cannot read becomes a fault.
"""

import csv
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, BinaryIO, Final

import msgspec

MAX_LINE_BYTES: Final = 1_000_000  # an absurd line; one that holds a post of MAX_TEXT_CHARS is shorter
MAX_RECORD_LINES: Final = 1_000  # of one CSV record: a quote that never ends must not swallow the file
BLOCK_BYTES: Final = 1 << 20
BOM: Final = b"\xef\xbb\xbf"

_decode: Final = msgspec.json.Decoder().decode
_LOOKS_LIKE_JSON: Final = re.compile(rb'\s*\{\s*["}]')
_UNDECODED: Final = re.compile("[\udc80-\udcff]")

TOO_LONG: Final = f"a line of {MAX_LINE_BYTES} bytes or more"
NO_UTF8: Final = "not UTF-8"


class Lines:
    """Complete lines out of a file that may grow. `lines` are buffered, `ends[i]` is the offset behind line i."""

    def __init__(self, handle: BinaryIO, offset: int = 0) -> None:
        self.lines: list[bytes] = []
        self.ends: list[int] = []
        self.offset = offset  # behind the last line that was consumed
        self._handle = handle
        self._partial = b""
        self._partial_start = offset
        self._cut = 0  # bytes of the partial line that were read and not kept

    def fill(self) -> bool:
        """Read one block; False when there was nothing more to read."""
        block = self._handle.read(BLOCK_BYTES)
        if not block:
            return False
        self._add(block)
        return True

    def flush(self) -> None:
        """The file has ended for good: what stands behind the last newline is a line too."""
        if self._partial or self._cut:
            length = len(self._partial) + self._cut
            self._append([self._partial], [length - 1])  # no newline behind it
            self._reset_partial()

    def consume(self, count: int) -> None:
        """Forget the first `count` lines."""
        if count:
            self.offset = self.ends[count - 1]
            del self.lines[:count], self.ends[:count]

    def _add(self, block: bytes) -> None:
        head, newline, rest = block.partition(b"\n")
        if not newline:
            self._keep(head)
            return
        self._keep(head)
        first_length = len(self._partial) + self._cut
        first = self._partial
        self._reset_partial()
        middle, _, last = rest.rpartition(b"\n")
        whole = middle.split(b"\n") if _ else []
        self._append([first, *whole], [first_length, *map(len, whole)])
        self._keep(last)

    def _append(self, lines: list[bytes], lengths: list[int]) -> None:
        start = self._partial_start
        self.lines += lines
        ends = [start + end for end in accumulate(length + 1 for length in lengths)]
        self.ends += ends
        self._partial_start = ends[-1]
        if start == 0 and lines[0].startswith(BOM):
            self.lines[-len(lines)] = lines[0][len(BOM) :]

    def _keep(self, piece: bytes) -> None:
        """Add to the partial line; of an absurd one only the beginning is kept."""
        room = max(MAX_LINE_BYTES - len(self._partial), 0)
        self._partial += piece[:room]
        self._cut += len(piece) - len(piece[:room])

    def _reset_partial(self) -> None:
        self._partial, self._cut = b"", 0


@dataclass(slots=True)
class Parsed:
    """Rows, and the lines that each took: row i is lines[starts[i]:stops[i]]."""

    rows: list[Any] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    stops: list[int] = field(default_factory=list)
    faults: dict[int, str] = field(default_factory=dict)
    consumed: int = 0  # lines; fewer than given when the last record is incomplete

    def add(self, row: Any, start: int, stop: int, fault: str | None = None) -> None:
        if fault is not None:
            self.faults[len(self.rows)] = fault
        self.rows.append(row)
        self.starts.append(start)
        self.stops.append(stop)


def parse_json(lines: Sequence[bytes]) -> Parsed:
    """One JSON value a line; blank lines are no rows. A row that is faulty is {}."""
    rows: list[Any] = []
    numbers: list[int] = []
    faults: dict[int, str] = {}
    for number, line in enumerate(lines):
        if not line or line.isspace():
            continue
        try:
            if len(line) >= MAX_LINE_BYTES:
                raise msgspec.DecodeError(TOO_LONG)
            rows.append(_decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            faults[len(rows)] = why_no_json(error)
            rows.append({})
        numbers.append(number)
    return Parsed(rows, numbers, [number + 1 for number in numbers], faults, len(lines))


def parse_text(lines: Sequence[bytes]) -> Parsed:
    """One post a line, as {"text": …}; blank lines are no rows."""
    parsed = Parsed(consumed=len(lines))
    for number, line in enumerate(lines):
        if line and not line.isspace():
            row, fault = text_row(line)
            parsed.add(row, number, number + 1, fault)
    return parsed


def parse_mixed(lines: Sequence[bytes]) -> Parsed:
    """A JSON object or plain text, decided line by line: what begins with {" or {} is JSON."""
    parsed = Parsed(consumed=len(lines))
    for number, line in enumerate(lines):
        if not line or line.isspace():
            continue
        if _LOOKS_LIKE_JSON.match(line):
            one = parse_json([line])
            parsed.add(one.rows[0], number, number + 1, one.faults.get(0))
        else:
            row, fault = text_row(line)
            parsed.add(row, number, number + 1, fault)
    return parsed


def text_row(line: bytes) -> tuple[dict[str, str], str | None]:
    """A line as a row with a text, and what is wrong with it."""
    if len(line) >= MAX_LINE_BYTES:
        return {}, TOO_LONG
    try:
        return {"text": line.rstrip(b"\r").decode()}, None
    except UnicodeDecodeError:
        return {}, NO_UTF8


def why_no_json(error: Exception) -> str:
    """One line on what is wrong with a JSON text, with nothing of the text in it."""
    if isinstance(error, UnicodeDecodeError):
        return NO_UTF8
    if isinstance(error, RecursionError):
        return "JSON nested too deeply"
    return str(error)


class _Runaway(Exception):  # noqa: N818  # not an error of anyone: a way out of csv.reader
    """A record went on over too many lines or bytes."""


class _Feed:
    """Lines for csv.reader, which takes them one by one, with a bound on those of one record."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = lines
        self.start = 0  # of the record being read
        self.next = 0
        self.bytes = 0

    def __iter__(self) -> Iterator[str]:
        lines = self._lines
        while self.next < len(lines):
            line = lines[self.next]
            if self.next > self.start:
                self.bytes += len(line)
                if self.next - self.start >= MAX_RECORD_LINES or self.bytes > MAX_LINE_BYTES:
                    raise _Runaway
            self.next += 1
            yield line
            # `start` is moved on by whoever reads, once the record is complete


def parse_csv(lines: Sequence[bytes], *, delimiter: str = ",", final: bool = True) -> Parsed:
    """Records of CSV (RFC 4180, fields in quotes may hold line breaks), each a list of texts.

    A record with broken quotes is a fault of its first line, and reading goes on with the line after it. An
    incomplete record at the end is left (`consumed`) unless the lines are final. Blank lines are no rows.
    """
    texts, bad_utf8 = _decoded(lines)
    feed = _Feed(texts)
    parsed = Parsed()
    ran_away = False
    csv.field_size_limit(MAX_LINE_BYTES)
    while feed.next < len(texts):
        reader = csv.reader(iter(feed), delimiter=delimiter, strict=True)
        rows, starts, stops = parsed.rows, parsed.starts, parsed.stops
        try:
            for row in reader:
                if row:
                    rows.append(row)
                    starts.append(feed.start)
                    stops.append(feed.next)
                feed.start = feed.next
                feed.bytes = 0
                ran_away = False
        except (csv.Error, _Runaway) as error:
            cut_short = feed.next == len(texts) and "unexpected end" in str(error)
            if cut_short and not final:
                break
            whole = isinstance(error, _Runaway) and ran_away
            stop = feed.next if whole else feed.start + 1
            parsed.add([], feed.start, stop, _why_no_csv(error))
            ran_away = isinstance(error, _Runaway)
            feed.start = feed.next = stop
            feed.bytes = 0
    parsed.consumed = feed.start
    for i, line in enumerate(lines):
        if len(line) >= MAX_LINE_BYTES:
            _mark(parsed, i, TOO_LONG)
    for i in bad_utf8:
        _mark(parsed, i, NO_UTF8)
    return parsed


def _decoded(lines: Sequence[bytes]) -> tuple[list[str], list[int]]:
    """The lines as text with their newlines, and which of them are no UTF-8."""
    joined = b"\n".join(lines)
    try:
        return [line + "\n" for line in joined.decode().split("\n")] if lines else [], []
    except UnicodeDecodeError:
        texts = joined.decode(errors="surrogateescape").split("\n")
    bad = [i for i, text in enumerate(texts) if _UNDECODED.search(text)]
    return [line + "\n" for line in texts], bad


def _mark(parsed: Parsed, line: int, fault: str) -> None:
    """Make the row that holds this line a fault."""
    i = bisect_right(parsed.starts, line) - 1
    if i >= 0 and line < parsed.stops[i]:
        parsed.faults.setdefault(i, fault)


def _why_no_csv(error: Exception) -> str:
    if isinstance(error, _Runaway) or "unexpected end" in str(error):
        return "a quoted CSV field that does not end"
    if "new-line" in str(error):
        return "broken CSV: a carriage return outside quotes"
    return f"broken CSV: {error}"
