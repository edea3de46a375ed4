"""What flows through the simulation: records of every kind, and a pipeline whose model need not repeat itself."""

import hashlib
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import numpy as np
import pyarrow as pa

from feltwire import schema
from feltwire.logs.memory import MemoryLog, Options
from feltwire.pipeline import Pipeline
from feltwire.stages._columns import with_columns
from feltwire.stages.clean import clean
from feltwire.stages.date import date
from feltwire.stages.match import match
from feltwire.tracks import Track

BEGINNING: Final = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
WORDS: Final = ("alpha", "beta")
TRACKS: Final = tuple(Track(word, word) for word in WORDS)
SOURCES: Final = ("north", "south")
PAYLOAD: Final = "{broken"

_TEXTS: Final = (
    "alpha is fine #Sun https://www.example.com/a",
    "beta is late again #rain #RAIN 😀😀",
    "alpha and beta meet @someone http://shop.example.org/x?y=1 #sun",
    "gamma alone",
    "alpha 😡 https://example.com/b",
)
_LANGS: Final = ("en", "de", None)
# Behind their arrival: on time, late, late by a day (believed from a file, not from a network), before the 48 hours
# after which minutes of terms become hours, from 1971, from the future.
_AGES: Final = tuple(
    timedelta(seconds=s) for s in (0, 2, 30, 400, 7_000, 100_000, 300_000, 310_000, 1_700_000_000, -3_600)
)


@dataclass
class Stream:
    """Fills a log with records as they come: posts, edits, withdrawals, refusals, repeats; late and misdated ones."""

    rng: random.Random
    partitions: int
    clock: datetime = BEGINNING
    tracked: bool = True
    _posts: list[dict[str, Any]] = field(default_factory=list)
    _sent: list[dict[str, Any]] = field(default_factory=list)
    _revisions: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.log = MemoryLog(Options(partitions=self.partitions), clock=lambda: self.clock)

    def append(self, rows: int) -> None:
        """Append so many records."""
        self.clock += timedelta(seconds=self.rng.choice((0.1, 1.0, 20.0)))
        batch = [self._next() for _ in range(rows)]
        self._sent += batch
        self.log.append(schema.records(batch), source="simulation", cursor={"n": len(self._sent)})

    def _next(self) -> dict[str, Any]:
        kinds = (self._post, self._edit, self._take_back, self._close_account, self._refusal, self._repeat)
        return self.rng.choices(kinds, weights=(60, 8, 10, 2, 6, 10))[0]()

    def _post(self) -> dict[str, Any]:
        return self._written(schema.POST, f"post:{len(self._sent)}-{self.rng.randrange(10**6)}", 0)

    def _written(self, kind: str, post_id: str, revision: int) -> dict[str, Any]:
        rng = self.rng
        row = {
            "kind": kind,
            "id": post_id,
            "revision": revision,
            "source": rng.choice(SOURCES),
            "live": rng.random() < 0.5,
            "author_id": f"author:{rng.randrange(5)}",
            "text": None if rng.random() < 0.03 else rng.choice(_TEXTS),
            "lang": rng.choice(_LANGS),
            "created_at": None if rng.random() < 0.05 else self.clock - rng.choice(_AGES),
            "hashtags": rng.choice((None, [], ["Sun", "moon"])),
        }
        self._posts.append(row)
        return row

    def _edit(self) -> dict[str, Any]:
        if not self._posts:
            return self._post()
        old = self.rng.choice(self._posts)
        revision = self._revisions.get(old["id"], 0) + 1
        self._revisions[old["id"]] = revision
        return self._written(schema.EDIT, old["id"], revision)

    def _take_back(self) -> dict[str, Any]:
        if not self._posts:
            return self._post()
        old = self.rng.choice(self._posts[-40:])
        revision = self.rng.choice((None, old["revision"]))
        return {"kind": schema.WITHDRAWAL, "id": old["id"], "revision": revision, "source": old["source"]}

    def _close_account(self) -> dict[str, Any]:
        author, source = f"author:{self.rng.randrange(5)}", self.rng.choice(SOURCES)
        return {"kind": schema.WITHDRAWAL, "author_id": author, "source": source, "created_at": self.clock}

    def _refusal(self) -> dict[str, Any]:
        return {
            "kind": schema.REFUSAL,
            "source": self.rng.choice(SOURCES),
            "refusal": "no JSON",
            "payload": PAYLOAD,
        }

    def _repeat(self) -> dict[str, Any]:
        return dict(self.rng.choice(self._sent)) if self._sent else self._post()


def pipeline_for(rng: random.Random | None, *, tracked: bool) -> Pipeline:
    """The product's stages with a model that gives every post the same scores each time or, with `rng`, other scores
    and other failures at every run."""
    tracks = TRACKS if tracked else ()
    stages = (
        date,
        partial(match, tracks=tracks),
        partial(_stumble, rng=rng),
        partial(clean, profile="social"),
        partial(_score, rng=rng),
    )
    return Pipeline(stages)


def _stumble(batch: pa.RecordBatch, *, rng: random.Random | None) -> pa.RecordBatch:
    """Now and then a stage fails on a record in a way that nobody foresaw."""
    if rng is not None:
        kept = sum(outcome == schema.KEPT for outcome in batch["outcome"].to_pylist())
        if any(rng.random() < 0.02 for _ in range(kept)):
            raise ValueError("a stage that fails now and then")
    return batch


def _score(batch: pa.RecordBatch, *, rng: random.Random | None) -> pa.RecordBatch:
    outcomes, reasons, rows = batch["outcome"].to_pylist(), batch["refusal"].to_pylist(), []
    places = zip(batch["log_partition"].to_pylist(), batch["log_offset"].to_pylist(), strict=True)
    for i, place in enumerate(places):
        seed = hashlib.sha256(repr(place).encode()).hexdigest()
        dice = rng or random.Random(seed)
        if outcomes[i] == schema.KEPT and dice.random() < 0.08:
            outcomes[i], reasons[i] = schema.DEAD, "model: failed"
        rows.append(_scores(dice) if outcomes[i] == schema.KEPT else {"scored": False, "truncated": False})
    scores = pa.RecordBatch.from_pylist(rows, schema=schema.SCORES)
    columns = dict(zip(scores.schema.names, scores.columns, strict=True))
    columns["outcome"] = pa.array(outcomes, pa.string())
    columns["refusal"] = pa.array(reasons, pa.string())
    return with_columns(batch, columns)


def _scores(dice: random.Random) -> dict[str, Any]:
    if dice.random() < 0.1:
        return {"scored": False, "truncated": False}
    cuts = sorted(dice.randrange(schema.PROBABILITY_STEPS + 1) for _ in range(3))
    steps = np.diff([0, *cuts, schema.PROBABILITY_STEPS])
    best = int(steps.argmax())
    row: dict[str, Any] = {
        "scored": True,
        "truncated": False,
        "sentiment": schema.SENTIMENTS[best],
        "confidence": steps[best] / schema.PROBABILITY_STEPS,
        "emotion": dice.choice((None, "joy", "anger")),
        "category": dice.choice((None, None, "delay", "luggage")),
        "emoji": [{"emoji": e, "p": 0.5} for e in dice.sample(("😀", "😡", "🎉"), dice.randrange(3))],
        "entities": [{"text": t, "label": "product", "p": 0.5} for t in dice.choices(("alpha", "Beta"), k=2)],
        "model": "dice@1",
    }
    row |= {f"p_{label}": steps[i] / schema.PROBABILITY_STEPS for i, label in enumerate(schema.SENTIMENTS)}
    return row
