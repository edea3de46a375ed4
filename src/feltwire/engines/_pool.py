"""Where spans of the log are worked on: in this thread while it is calm, in processes under load."""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from functools import cached_property

import pyarrow as pa

from feltwire import metrics
from feltwire.cores import cores
from feltwire.engines._work import Done, Settled, work
from feltwire.lake import Location
from feltwire.pipeline import Pipeline


@dataclass
class Pool:
    """Works on batches; `submit` returns at once when processes do the work, and only when done when they do not.

    `processes` None: as many as there are cores, up to four, from the moment that it is `busy`; 0: never any.
    Until the processes have started (a second or two), the calling thread works.
    """

    location: Location
    processes: int | None = None
    _executor: ProcessPoolExecutor | None = field(default=None, init=False)
    _started: "Future[None] | None" = field(default=None, init=False)

    @property
    def width(self) -> int:
        """How many batches are worth having under way at once."""
        return 2 * self._wanted if self._ready else 1

    def submit(self, pipeline: Pipeline, batch: pa.RecordBatch, settled: Settled, *, busy: bool) -> "Future[Done]":
        """Have a batch worked on. `busy` says that more waits than one thread would get through soon."""
        if self._executor is None and self._wanted and (busy or self.processes is not None):
            self._executor = _executor(self.location, self._wanted)
            self._started = self._executor.submit(_nothing)
        if self._executor is not None and self._ready:
            try:
                return self._executor.submit(_work, pipeline, batch, settled)
            except BrokenProcessPool:  # a process has died: the next `submit` starts new ones
                self._end(wait=False)
        future: Future[Done] = Future()
        try:
            future.set_result(work(pipeline, self.location, batch, settled))
        except Exception as error:  # noqa: BLE001 - handed to whoever asks for the result, as an executor does
            future.set_exception(error)
        return future

    def close(self) -> None:
        """End the processes."""
        self._end(wait=True)

    @cached_property
    def _wanted(self) -> int:
        return min(4, cores()) if self.processes is None else self.processes

    @property
    def _ready(self) -> bool:
        return self._started is not None and self._started.done()

    def _end(self, *, wait: bool) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=wait, cancel_futures=True)
        self._executor = self._started = None


def _nothing() -> None:
    """What a process can do once it has started."""


def _executor(location: Location, processes: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(
        processes,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(location, os.getpid()),
    )


_worker: Callable[[Pipeline, pa.RecordBatch, Settled], Done]


def _begin(location: Location, parent: int) -> None:
    global _worker
    pa.set_cpu_count(1)

    def run(pipeline: Pipeline, batch: pa.RecordBatch, settled: Settled) -> Done:
        done = work(pipeline, location, batch, settled)
        return replace(done, counts=metrics.take_counts())

    _worker = run
    threading.Thread(target=_follow_parent, args=(parent,), daemon=True).start()


def _work(pipeline: Pipeline, batch: pa.RecordBatch, settled: Settled) -> Done:
    return _worker(pipeline, batch, settled)


def _follow_parent(parent: int) -> None:
    """End this process when the one that started it is gone: a killed engine leaves none behind."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(0)
