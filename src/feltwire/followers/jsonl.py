"""`jsonl:PATH`: one post a line, as JSON, in files that only grow; each post exactly once through any kill."""

from collections.abc import Iterable
from typing import Literal

import pyarrow as pa

from feltwire.followers._appended import AppendedFiles, Rotation
from feltwire.followers._options import DEFAULT_FIELDS, Fields, Filter, file_path, select
from feltwire.followers._positions import ahead, fresh, log_order
from feltwire.followers._rows import days, encode, rows
from feltwire.interfaces import Position


class Options(Filter):
    """`jsonl:PATH?fields=id,text,sentiment&rotate=day`."""

    fields: Fields = DEFAULT_FIELDS
    """Columns to write."""
    rotate: Rotation = "never"
    """When a new file begins: `never`, `day`, or a size such as `64MB`."""
    withdrawals: Literal["inline", "beside"] = "inline"
    """Where withdrawals are told: in the same file as `{"withdrawn": {…}}`, or in `STEM.withdrawn.jsonl`."""


class JsonlFollower:
    """Implements `interfaces.Follower` over `AppendedFiles`."""

    def __init__(self, files: AppendedFiles, options: Options) -> None:
        self._files = files
        self._options = options

    def position(self) -> Position | None:
        return self._files.position()

    def apply(self, posts: pa.RecordBatch, withdrawn: pa.RecordBatch, position: Position) -> None:
        stored = self._files.position()
        reached = ahead(stored or {}, position)
        if reached == stored:
            return
        posts, withdrawn = select(fresh(posts, stored), self._options), fresh(withdrawn, stored)
        post_lines = [encode(row) for row in rows(posts.select(self._options.fields))]
        post_days = posts.column("day").to_pylist()
        told_lines = [encode({"withdrawn": row}) for row in rows(withdrawn)]
        told_days = days(withdrawn.column("at"))
        contents: dict[str, list[bytes]] = {}
        if self._options.withdrawals == "beside":
            _sort(contents, self._files.names(post_days), post_lines)
            _sort(contents, self._files.names(told_days, insert=".withdrawn"), told_lines)
        else:
            order = log_order(posts, withdrawn).tolist()
            lines, of_days = told_lines + post_lines, told_days + post_days
            _sort(contents, self._files.names([of_days[row] for row in order]), (lines[row] for row in order))
        joined = {name: b"\n".join(lines) + b"\n" for name, lines in contents.items()}
        self._files.append(joined, reached, notes={})

    def close(self) -> None:
        """Let go of the files."""
        self._files.close()


def create(rest: str, options: Options) -> JsonlFollower:
    """The follower of `jsonl:PATH`. Nothing is opened before the first call."""
    return JsonlFollower(AppendedFiles(file_path(rest, "jsonl"), kind="jsonl", rotate=options.rotate), options)


def _sort(contents: dict[str, list[bytes]], names: list[str], lines: Iterable[bytes]) -> None:
    for name, line in zip(names, lines, strict=True):
        contents.setdefault(name, []).append(line)
