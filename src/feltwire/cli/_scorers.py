"""Scoring a long file on all cores: chunks in, chunks out, in their order."""

import multiprocessing
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Final, NamedTuple

import pyarrow as pa

from feltwire.cores import cores
from feltwire.errors import FatalError
from feltwire.scoring import score_texts

ALONE_S: Final = 2.0
"""So long this process scores alone: others take about as long to start, and a short file needs none."""


class Job(NamedTuple):
    """A chunk, and what is scored of it."""

    chunk: Any
    texts: list[str | None]
    langs: list[str | None] | None


def scored(
    jobs: Iterable[Job], uri: str, *, probabilities: bool, processes: int | None = None, alone_s: float = ALONE_S
) -> Iterator[tuple[Any, pa.RecordBatch]]:
    """(chunk, scores) of every job, in their order; a few jobs at a time are read ahead.

    `processes` None: as many as there are cores, up to four. For `alone_s`, and until they
    have started, this process scores. Raises
    FatalError when one of them dies.
    """
    wanted = min(4, cores()) if processes is None else processes
    pool: ProcessPoolExecutor | None = None
    started: Future[None] | None = None
    waiting: deque[tuple[Any, Future[pa.RecordBatch]]] = deque()
    try:
        began_s = time.monotonic()
        for job in jobs:
            if pool is None and wanted > 1 and time.monotonic() - began_s >= alone_s:
                pool = ProcessPoolExecutor(wanted, mp_context=multiprocessing.get_context("spawn"))
                started = pool.submit(_nothing)
            if pool is None or started is None or not started.done():
                yield job.chunk, score_texts(job.texts, uri, langs=job.langs, probabilities=probabilities)
                continue
            waiting.append((job.chunk, pool.submit(_scores, job.texts, job.langs, uri, probabilities)))
            if len(waiting) > 2 * wanted:
                yield _next(waiting)
        while waiting:
            yield _next(waiting)
    finally:
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)


def _next(waiting: "deque[tuple[Any, Future[pa.RecordBatch]]]") -> tuple[Any, pa.RecordBatch]:
    chunk, future = waiting.popleft()
    try:
        return chunk, future.result()
    except BrokenProcessPool as error:
        raise FatalError("a process that scored has died, perhaps for lack of memory: score again") from error


def _nothing() -> None:
    """What a process can do once it has started."""


def _scores(texts: list[str | None], langs: list[str | None] | None, uri: str, probabilities: bool) -> pa.RecordBatch:
    return score_texts(texts, uri, langs=langs, probabilities=probabilities)
