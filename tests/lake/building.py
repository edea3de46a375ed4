"""Small lakes for tests: a log that a test fills, and a worker that brings it into a lake step by step."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from feltwire import schema
from feltwire.engines._commit import Committer
from feltwire.engines._work import Done, work
from feltwire.lake import Lake, Owner, create_lake
from feltwire.logs.memory import MemoryLog, Options
from feltwire.pipeline import Pipeline
from feltwire.stages._columns import with_columns
from feltwire.stages.clean import clean
from feltwire.stages.date import date
from feltwire.stages.match import match
from feltwire.tracks import Track

NOON: Final = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
_LABELS: Final = {"good": "positive", "bad": "negative", "mixed": "mixed"}


def post(number: int, text: str = "good", **more: Any) -> dict[str, Any]:
    """A post as a source gives it: `x:NUMBER` by author `a`, in English, written at noon."""
    row = {"kind": schema.POST, "id": f"x:{number}", "revision": 0, "source": "x", "author_id": "a", "text": text}
    return {**row, "lang": "en", "created_at": NOON, **more}


def edit(number: int, revision: int, text: str = "bad") -> dict[str, Any]:
    """A later revision of a post."""
    return post(number, text, kind=schema.EDIT, revision=revision)


def withdrawal(number: int | None = None, **more: Any) -> dict[str, Any]:
    """A post that is taken back; without a number, everything by author `a`."""
    who = {"author_id": "a", "created_at": NOON} if number is None else {"id": f"x:{number}"}
    return {"kind": schema.WITHDRAWAL, "source": "x", **who, **more}


@dataclass
class Builder:
    """A log, a lake, and one worker for both."""

    folder: Path | str
    partitions: int = 1
    tracks: tuple[Track, ...] = ()
    pipeline_name: str = "main"
    storage_options: dict[str, str] = field(default_factory=dict)
    now: datetime = NOON
    given: MemoryLog | None = None  # the log, if it has records already
    worker_of: Sequence[int] | None = None  # the partitions that the worker has; None: all

    def __post_init__(self) -> None:
        self.log = self.given or MemoryLog(Options(partitions=self.partitions), clock=lambda: self.now)
        self.owner = Owner(self.pipeline_name, self.log.identity, self.partitions)
        self.lake: Lake = create_lake(str(self.folder), self.owner, storage_options=self.storage_options)
        self.committer = self.worker(self.worker_of)

    def worker(self, partitions: Sequence[int] | None = None) -> Committer:
        """Another worker, its tables level."""
        committer = Committer(self.lake, self.log, range(self.partitions) if partitions is None else partitions)
        committer.level()
        return committer

    def append(self, *rows: dict[str, Any], at: datetime | None = None) -> None:
        """Append records to the log, one second after the last ones or at a time."""
        self.now = at or self.now + timedelta(seconds=1)
        self.log.append(schema.records(list(rows)), source="x", cursor=None)

    def work(self, committer: Committer | None = None, max_rows: int = 1000, **scoring: Any) -> list[Done]:
        """Work on what the log has behind a worker's position, without committing it."""
        committer = committer or self.committer
        done = []
        for partition in committer.partitions:
            batch = self.log.read(partition, committer.position("posts", partition), max_rows)
            if batch.num_rows:
                pipeline = word_pipeline(self.tracks, **scoring)
                done.append(work(pipeline, self.lake.location, batch, committer.settled(partition)))
        return done

    def store(self, *rows: dict[str, Any], at: datetime | None = None) -> None:
        """Append records and commit them, in a batch of their own."""
        self.append(*rows, at=at)
        self.drain()

    def drain(self, max_rows: int = 1000) -> None:
        """Commit everything that the log has."""
        while done := self.work(max_rows=max_rows):
            self.committer.commit(done)
        self.committer.rest()

    def ids(self, table: str = "posts", as_of: datetime | None = None) -> list[str]:
        """The ids of a table's rows, sorted."""
        ids: list[str] = self.lake.sql(f"select id from {table} order by id", as_of=as_of)["id"].to_pylist()
        return ids

    def mood(self, **options: Any) -> list[tuple[str, int, int, int]]:
        """(track, n, n_negative, n_positive) of all windows of a day."""
        rows = self.lake.windows(every="1d", **options).to_pylist()
        return [(row["track"], row["n"], row["n_negative"], row["n_positive"]) for row in rows]


def word_pipeline(tracks: tuple[Track, ...] = (), *, fails_on: str = "") -> Pipeline:
    """The product's stages with a model that goes by the first word: good, bad, mixed, silent, and else neutral.

    A text with "lost it" has the category `lost`.

    It fails on texts that hold `fails_on`: they are dead letters.
    """
    stages = (date, partial(match, tracks=tracks), partial(clean, profile="social"), partial(_score, fails_on=fails_on))
    return Pipeline(stages)


def _score(batch: pa.RecordBatch, *, fails_on: str) -> pa.RecordBatch:
    outcomes, reasons, rows = batch["outcome"].to_pylist(), batch["refusal"].to_pylist(), []
    for i, text in enumerate(batch["text"].to_pylist()):
        if outcomes[i] == schema.KEPT and fails_on and fails_on in text:
            outcomes[i], reasons[i] = schema.DEAD, "model: failed"
        rows.append(_scores(text) if outcomes[i] == schema.KEPT else {"scored": False})
    scores = pa.RecordBatch.from_pylist(rows, schema=schema.SCORES)
    columns = dict(zip(scores.schema.names, scores.columns, strict=True))
    columns |= {"outcome": pa.array(outcomes, pa.string()), "refusal": pa.array(reasons, pa.string())}
    return with_columns(batch, columns)


def _scores(text: str) -> dict[str, Any]:
    first = text.split(maxsplit=1)[0]
    if first == "silent":
        return {"scored": False, "truncated": False}
    label = _LABELS.get(first, "neutral")
    p = {f"p_{name}": 0.625 if name == label else 0.125 for name in schema.SENTIMENTS}
    category = {"category": "lost"} if "lost it" in text else {}
    scores = {"scored": True, "truncated": False, "sentiment": label, "confidence": 0.625, "model": "word@1"}
    return {**scores, **p, **category}
