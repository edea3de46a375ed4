"""History with another model: its scores of posts that the lake has, into `scores`, beside those of the stream.

Exactly once for each revision of a post and each model, however often it is stopped and started again: what is there
already is left out, and each commit moves a counter of the model's own, so that of two that run at once one gives way.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from deltalake.exceptions import DeltaError

from feltwire import loading, schema
from feltwire.errors import ClaimError, ConfigError, FeltwireError, ModelError, RetryableError
from feltwire.interfaces import Model
from feltwire.lake import rollup
from feltwire.lake.append import Appender
from feltwire.lake.lake import Lake
from feltwire.lake.maintain import Maintainer
from feltwire.lake.reader import literal, one_batch
from feltwire.lake.storage import Location
from feltwire.scoring import score_texts, speaks

logger = logging.getLogger(__name__)

BATCH_ROWS: Final = 2_000
_TIDY_EVERY: Final = 32  # commits
_FIRST_WAIT_S: Final = 0.5
_LONGEST_WAIT_S: Final = 30.0

_PAGE: Final = pa.schema([schema.POSTS.field(name) for name in ("id", "revision", "log_offset", "text", "lang")])

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which posts: of a time (`event_time`) and of a track. Without any: all."""

    since: datetime | None = None
    until: datetime | None = None
    track: str | None = None

    def predicate(self, table: str = "posts") -> str:
        """The selection as SQL that follows another condition; empty where everything is selected."""
        where = rollup.between(f"{table}.event_time", self.since, self.until)
        if self.track not in (None, schema.ALL_TRACKS):
            where += f" and array_has({table}.tracks, {literal(str(self.track))})"
        return where


@dataclass(kw_only=True)
class Rescored:
    """What a run did. The posts that it looked at are the sum of the four counts."""

    model: str
    scored: int = 0
    already: int = 0  # had this model's scores before
    unspoken: int = 0  # in a language that the model does not speak
    failed: int = 0  # refused by the model, or without a text: left out, and tried again by the next run


@dataclass
class _Run:
    lake: Lake
    uri: str
    model: Model
    selection: Selection
    batch_rows: int
    stop: threading.Event
    appender: Appender
    report: Rescored
    observe: Callable[[int], None]
    done: dict[int, npt.NDArray[np.int64]] = field(default_factory=dict)
    commits: int = 0

    @property
    def counter(self) -> str:
        return counter_of(self.lake, self.report.model)


def counter_of(lake: Lake, model: str) -> str:
    """The application transaction that counts a model's commits to `scores`."""
    return f"feltwire/{lake.owner.pipeline}/{lake.owner.log}/scores/{model}"


def rescore(
    lake: Lake,
    model: str,
    *,
    selection: Selection | None = None,
    batch_rows: int = BATCH_ROWS,
    stop: threading.Event | None = None,
    observe: Callable[[int], None] = lambda posts: None,
) -> Rescored:
    """Score what the lake has by the model of a URI, until the end that the lake has now or `stop` is set.

    A model or a lake that is away is waited for. `observe` is told how many posts were done, batch by batch. Raises
    ConfigError or ModelError for a model that cannot be used or that becomes another one meanwhile, ClaimError when
    another run with the same model is at it.
    """
    stop = stop or threading.Event()
    uri = loading.pin(model)
    scorer = loading.load(uri)
    if not _patiently(lambda: scorer.heads, stop):
        raise ConfigError(f"model {model!r} scores nothing")
    report = Rescored(model=scorer.name)
    appender = Appender(lake.location, "scores", [counter_of(lake, scorer.name)])
    run = _Run(lake, uri, scorer, selection or Selection(), batch_rows, stop, appender, report, observe)
    run.done = _patiently(lambda: _scored_already(lake, scorer.name), stop)
    for partition, end in sorted(_patiently(lake.positions, stop)["posts"].items()):
        for posts in _pages(run, partition, end):
            _score_page(run, partition, posts)
            if stop.is_set():
                return report
    _tidy(lake.location, run)
    return report


def _scored_already(lake: Lake, model: str) -> dict[int, npt.NDArray[np.int64]]:
    """{log partition: the sorted offsets of the posts that have the model's scores}."""
    found = lake.sql(
        "select p.log_partition, p.log_offset from posts p join scores_all s on s.id = p.id "
        f"and coalesce(s.revision, 0) = coalesce(p.revision, 0) where s.model = {literal(model)}"
    )
    partitions = found["log_partition"].to_numpy()
    offsets = found["log_offset"].to_numpy()
    return {int(p): np.unique(offsets[partitions == p]) for p in np.unique(partitions)}


def _pages(run: _Run, partition: int, end: int) -> Iterator[pa.RecordBatch]:
    """The selected posts of a partition in the order of the log, a batch at a time, asked for span by span."""
    start, span = 0, run.batch_rows
    while start < end and not run.stop.is_set():
        stop = min(end, start + span)
        query = (
            f"select {', '.join(_PAGE.names)} from posts where log_partition = {partition} "
            f"and log_offset >= {start} and log_offset < {stop}"
            f"{run.selection.predicate()} order by log_offset limit {run.batch_rows}"
        )
        posts = one_batch([_patiently(partial(run.lake.sql, query), run.stop)], _PAGE)
        if posts.num_rows:
            yield posts
        full = posts.num_rows == run.batch_rows
        start = int(posts["log_offset"][-1].as_py()) + 1 if full else stop
        span = run.batch_rows * (1 if posts.num_rows * 2 > run.batch_rows else 16)


def _score_page(run: _Run, partition: int, posts: pa.RecordBatch) -> None:
    n = posts.num_rows
    known = run.done.get(partition)
    if known is not None:
        posts = posts.filter(pa.array(~np.isin(posts["log_offset"].to_numpy(), known, assume_unique=True)))
    run.report.already += n - posts.num_rows
    spoken = posts.filter(pa.array(_patiently(lambda: speaks(run.model, posts["lang"]), run.stop)))
    run.report.unspoken += posts.num_rows - spoken.num_rows
    if spoken.num_rows:
        texts, languages = spoken["text"].to_pylist(), spoken["lang"].to_pylist()
        scores = _patiently(lambda: score_texts(texts, run.uri, langs=languages), run.stop)
        _store(run, spoken, scores)
    run.observe(n)


def _store(run: _Run, posts: pa.RecordBatch, scores: pa.RecordBatch) -> None:
    """Commit the rows that were scored, with the counter one further."""
    good = scores["scored"]
    run.report.failed += scores.num_rows - (pc.sum(good).as_py() or 0)
    names = set(pc.unique(scores["model"].filter(good)).to_pylist())
    if not names:
        return
    if names != {run.report.model}:
        raise ModelError(f"{run.report.model} has become {', '.join(sorted(names))} meanwhile: run it again")
    now = datetime.now(UTC)
    columns = {"id": posts["id"], "revision": posts["revision"], "at": pa.array([now] * posts.num_rows, schema.TIME)}
    columns |= dict(zip(scores.schema.names, scores.columns, strict=True))
    rows = schema.conform(pa.RecordBatch.from_pydict(columns).filter(good), schema.SCORES_TABLE)
    file = _patiently(lambda: run.lake.location.write("scores", [rows], schema.SCORES_TABLE), run.stop)
    moves = {run.counter: run.appender.known[run.counter] + 1}
    try:
        _patiently(lambda: run.appender.commit([file], moves), run.stop)
    except ClaimError as error:
        raise ClaimError(f"another rescore by {run.report.model} is writing to this lake: let one end") from error
    run.report.scored += rows.num_rows
    run.commits += 1
    if not run.commits % _TIDY_EVERY:
        _tidy(run.lake.location, run)


def _tidy(location: Location, run: _Run) -> None:
    """Merge the small files of `scores`; whoever else maintains the lake may be at it too."""
    if run.commits:
        try:
            Maintainer(location, run.lake.owner).tidy("scores")
        except (FeltwireError, DeltaError, OSError) as error:
            logger.info("scores were not tidied: %s", error)


def _patiently(step: Callable[[], T], stop: threading.Event) -> T:
    """Do it, again and again while what it needs is away. When stopped meanwhile, raises what stood in the way."""
    wait_s, told = _FIRST_WAIT_S, ""
    while True:
        try:
            return step()
        except (RetryableError, DeltaError, OSError) as error:
            why = " ".join(str(error).split())
            if why != told:
                logger.warning("waiting: %s", why)
            told = why
            if stop.wait(wait_s):
                raise
            wait_s = min(wait_s * 2, _LONGEST_WAIT_S)
