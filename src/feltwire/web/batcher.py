"""Texts of many requests through one model: gathered while the model works, scored together, answered in order."""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from feltwire import metrics
from feltwire.columns import SCORED_BY
from feltwire.errors import ConfigError, FeltwireError, ModelAwayError, ModelBusyError, ModelError
from feltwire.interfaces import Model
from feltwire.loading import CHECK_S, Current, load
from feltwire.schema import MAX_TEXT_CHARS, SENTIMENTS
from feltwire.scoring import score_rows
from feltwire.text import clean

MAX_TEXTS: Final = 512
"""About so many texts go through the model at a time; a request is not torn apart."""
MAX_WAITING: Final = 16_384
"""Texts that may wait; beyond, a request is declined."""
PATIENCE_S: Final = 25.0
"""So long a model that is elsewhere is asked again before its requests are declined."""

_log: Final = logging.getLogger(__name__)
_THREE: Final = frozenset(SENTIMENTS) - {"mixed"}


class FullError(FeltwireError):
    """More texts wait than are taken."""


@dataclass(slots=True, eq=False)
class _Job:
    texts: Sequence[str]
    answer: "asyncio.Future[bytes]"


class Batcher:
    """Scores texts with the model of a URI, in a thread of its own that begins with the first request.

    Where another version of the model is promoted, it serves from the next batch on.
    """

    def __init__(self, uri: str, *, max_texts: int = MAX_TEXTS, max_waiting: int = MAX_WAITING) -> None:
        self.uri = uri
        self.batches = 0
        """Times that the model was asked."""
        self._max_texts = max_texts
        self._max_waiting = max_waiting
        self._jobs: deque[_Job] = deque()
        self._waiting = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._ended = False
        self._current: Current | None = None
        self._about: tuple[str, dict[str, Any]] = ("", {})

    async def score(self, texts: Sequence[str]) -> bytes:
        """The answer of `POST /api/v1/score` as JSON (docs/remote.md); without texts, what the model is.

        Raises FullError where too much waits, ModelError or ConfigError where the model cannot be used,
        ModelAwayError where it is elsewhere and does not answer.
        """
        job = _Job(texts, asyncio.get_running_loop().create_future())
        with self._changed:
            if self._ended:
                raise ModelAwayError("the server is stopping")
            if self._waiting and self._waiting + len(texts) > self._max_waiting:
                raise FullError(f"{self._waiting} texts are waiting to be scored: ask again later")
            self._jobs.append(job)
            self._waiting += len(texts)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="score", daemon=True)
                self._thread.start()
            self._changed.notify()
        return await job.answer

    def close(self) -> None:
        """End the thread; who waits is told so."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(10.0)

    def model_name(self) -> str | None:
        """The name of the model that has been loaded; None: none has been yet."""
        return self._about[1].get("model")

    def _work(self) -> None:
        while True:
            jobs = self._take()
            if jobs is None:
                return
            try:
                for job, answer in zip(jobs, self._answer([job.texts for job in jobs]), strict=True):
                    _settle(job, answer)
            except Exception as error:  # noqa: BLE001 - whatever a model raises, its requests are answered
                if not isinstance(error, FeltwireError):
                    _log.error("scoring ended by %s", type(error).__name__)
                for job in jobs:
                    _settle(job, error if isinstance(error, FeltwireError) else ModelError("the model failed"))

    def _take(self) -> list[_Job] | None:
        """What waits, about MAX_TEXTS texts; None at the end. While nothing does, another version is looked for."""
        with self._changed:
            while not self._jobs and not self._ended:
                self._changed.wait()
            taken: list[_Job] = []
            count = 0
            while self._jobs and (not taken or self._ended or count + len(self._jobs[0].texts) <= self._max_texts):
                job = self._jobs.popleft()
                count += len(job.texts)
                self._waiting -= len(job.texts)
                if not job.answer.cancelled():
                    taken.append(job)
            if self._ended:
                for job in taken:
                    _settle(job, ModelAwayError("the server is stopping"))
                return None
        return taken

    def _answer(self, requests: Sequence[Sequence[str]]) -> list[bytes]:
        if not requests:
            return []
        model = self._model()
        about = self._told(model)
        texts = [text for request in requests for text in request]
        rows = score(model, texts) if texts else []
        if texts:
            self.batches += 1
            metrics.API_BATCHES.inc()
            metrics.API_TEXTS.inc(len(texts))
        head = msgspec.json.encode(about)[:-1]
        answers, start = [], 0
        for request in requests:
            scores = msgspec.json.encode(rows[start : start + len(request)])
            answers.append(b'%s,"scores":%s}' % (head, scores))
            start += len(request)
        return answers

    def _model(self) -> Model:
        if self._current is None:
            self._current = Current(self.uri)
            if self._current.moves:
                threading.Thread(target=self._follow, args=(self._current,), name="score model", daemon=True).start()
        return load(self._current.uri)

    def _follow(self, current: Current) -> None:
        """Look for another version beside, so that no request waits while it is loaded."""
        while not self._ended:
            try:
                current.check()
            except Exception as error:  # noqa: BLE001 - whatever a library raises, the next version is looked for
                _log.error("model %s goes on, since a %s was raised", current.uri, type(error).__name__)
            time.sleep(CHECK_S)

    def _told(self, model: Model) -> dict[str, Any]:
        name = model.name
        if self._about[0] != name or not self._about[1]:
            self._about = (name, about(model))
        return self._about[1]


def about(model: Model) -> dict[str, Any]:
    """What a model is, as docs/remote.md has it. Raises ConfigError for one without heads."""
    if not model.heads:
        raise ConfigError("this pipeline has no model (none:): there is nothing to score with")
    heads = {head: list(labels) for head, labels in model.heads.items()}
    if _mixes(model):
        heads["sentiment"].append("mixed")
    spans = [head for head, given in model.predict([]).items() if isinstance(given, list)]
    told: dict[str, Any] = {
        "model": model.name,
        "languages": None if model.languages is None else sorted(model.languages),
        "heads": heads,
        "spans": spans,
    }
    band = getattr(model, "neutral_band", None)
    floors = dict(getattr(model, "floors", {}))
    members = getattr(model, "members", ())
    if band is not None:
        told["neutral_band"] = list(band)
    if floors:
        told["floors"] = floors
    if members:
        told["members"] = [{"name": one.name, "heads": sorted(one.heads)} for one in members]
    return told


def score(model: Model, texts: Sequence[str]) -> list[dict[str, Any]]:
    """An entry for each text as docs/remote.md has it: the probabilities that the stream would get."""
    entries: list[dict[str, Any]] = [{"error": why} if (why := _refusal(text)) else {} for text in texts]
    rows = [i for i, entry in enumerate(entries) if not entry]
    for start in range(0, len(rows), MAX_TEXTS):
        chosen = rows[start : start + MAX_TEXTS]
        for row, entry in zip(chosen, _entries(model, [texts[i] for i in chosen]), strict=True):
            entries[row] = entry
    return entries


def _refusal(text: str) -> str:
    """Why a text is not scored, as a code; empty: it is."""
    if len(text) > MAX_TEXT_CHARS:
        return "TEXT_TOO_LONG"
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can write and no text can hold
        return "NO_UNICODE"
    return ""


def _entries(model: Model, texts: list[str]) -> list[dict[str, Any]]:
    originals = pa.array(texts, pa.string())
    cleaned = pa.array(clean(texts, model.profile), pa.string())
    wanted = np.ones(len(texts), np.bool_)
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            scores, failures = score_rows(model, cleaned, wanted, originals=originals, probabilities=True)
            break
        except ModelBusyError:
            if time.monotonic() > until:
                raise
    scored = scores["scored"].to_numpy(zero_copy_only=False)
    answers = _answers(model, scores.filter(scores["scored"]) if not scored.all() else scores)
    return [
        next(answers) if scored[i] else {"error": "MODEL_FAILED"} if i in failures else {"scored": False}
        for i in range(len(texts))
    ]


def _answers(model: Model, scores: pa.RecordBatch) -> "Any":
    """One entry for each row, all of them scored."""
    n = scores.num_rows
    heads, outer, inner, p = _flat(scores["probabilities"])
    sentiment = _sentiment(model, scores)
    truncated = scores["truncated"].to_pylist()
    entities = _placed(scores["entities"].to_pylist()) if "entities" in model.heads else None
    members = [one.name for one in getattr(model, "members", ())]
    by = scores["model"].to_pylist() if members else []
    shapes = {head: _shape(tuple(names)) for head, names in model.heads.items()}
    for row in range(n):
        entry: dict[str, Any] = {}
        for cell in range(outer[row], outer[row + 1]):
            head = heads[cell]
            entry[head] = shapes[head](*p[inner[cell] : inner[cell + 1]])
        if sentiment is not None:
            entry["sentiment"] = sentiment[row]
        if entities is not None:
            entry["entities"] = entities[row]
        entry["truncated"] = truncated[row]
        if members:
            entry[SCORED_BY] = members.index(by[row])
        yield entry


@lru_cache(maxsize=256)
def _shape(labels: tuple[str, ...]) -> Callable[..., Any]:
    """Makes of probabilities what is written as {label: probability}: a struct, or a dictionary where a label has a
    sign that a struct's names cannot have."""
    fields = {f"p{number}": label for number, label in enumerate(labels)}
    try:
        return msgspec.defstruct("Probabilities", [(name, float) for name in fields], rename=fields, gc=False)
    except ValueError:
        return lambda *p: dict(zip(labels, p, strict=True))


def _flat(column: pa.MapArray) -> tuple[list[str], list[int], list[int], list[float]]:
    """(head of each cell, where each row's cells begin, where each cell's values begin, the values)."""
    if column.offset or column.null_count:
        column = pa.concat_arrays([column.filter(column.is_valid())])
    cells = column.items
    return column.keys.to_pylist(), column.offsets.to_pylist(), cells.offsets.to_pylist(), cells.items.to_pylist()


def _mixes(model: Model) -> bool:
    """Whether `mixed` comes to the model's sentiments by clauses."""
    return bool(getattr(model, "clauses", False)) and set(model.heads.get("sentiment", ())) == _THREE


def _sentiment(model: Model, scores: pa.RecordBatch) -> list[dict[str, float]] | None:
    """The four probabilities as the columns have them: exact multiples of 2**-20 that sum to 1."""
    if "sentiment" not in model.heads:
        return None
    labels = (*model.heads["sentiment"], *(("mixed",) if _mixes(model) else ()))
    columns = [scores[f"p_{label}"].to_numpy().tolist() for label in labels]
    return [dict(zip(labels, row, strict=True)) for row in zip(*columns, strict=True)]


def _placed(entities: list[list[dict[str, Any]] | None]) -> list[list[dict[str, Any]]]:
    return [[one for one in row or [] if one["start"] is not None] for row in entities]


def _settle(job: _Job, answer: bytes | Exception) -> None:
    def set_answer() -> None:
        if job.answer.done():
            return
        if isinstance(answer, Exception):
            job.answer.set_exception(answer)
        else:
            job.answer.set_result(answer)

    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        job.answer.get_loop().call_soon_threadsafe(set_answer)
