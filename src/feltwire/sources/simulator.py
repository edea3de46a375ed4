"""Invented posts without end: several subjects and languages, and an airline's bad day that turns the mood.

The records depend on the seed, the rate, the start and the story's length alone: never on the clock, on how they
are batched, or on where reading was broken off and resumed.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from feltwire import schema
from feltwire.errors import ConfigError
from feltwire.interfaces import Cursor
from feltwire.sources._blocks import BLOCK_ROWS, SOURCE, World, block
from feltwire.sources._pace import HEARTBEAT_S
from feltwire.times import parse_time

_MAX_BATCH_ROWS: Final = 10_000
_MIN_WAIT_S: Final = 0.02
_MAX_LAG_S: Final = 60.0  # after a longer pause the story goes on from now, rather than from when it was stopped


class Options(BaseModel):
    """What can be said of a `simulator:` source."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(1, ge=0, le=2**63 - 1, description="The same seed gives the same posts.")
    rate: float = Field(20.0, gt=0, le=50_000, description="Records a second.")
    count: int | None = Field(None, ge=0, description="End after so many records; by default never.")
    start: str = Field(
        "", description="created_at of the first post, ISO 8601; by default the time at which it is started."
    )
    story_minutes: float = Field(
        20.0,
        gt=0,
        le=100_000,
        description="Length of the story: calm, incident (at a fifth), anger, apology, recovery.",
    )
    history_minutes: float = Field(
        0.0, ge=0, le=1_440, description="Begin as if started so long ago: what was written since then comes at once."
    )
    mess: float = Field(
        0.03, ge=0, le=0.5, description="Share of edits, withdrawals, duplicates, late and broken posts together."
    )


class SimulatorSource:
    """Its cursor is {seed, start, block, row}: the record behind which to go on."""

    name = SOURCE

    def __init__(self, options: Options) -> None:
        self._options = options
        self._fixed_us: int | None = None
        if options.start:
            start = parse_time(options.start)
            if start is None:
                raise ConfigError(f"simulator: start = {options.start!r} is no time: give it as 2026-03-01T12:00:00Z")
            self._fixed_us = _micros(start)

    def read(self, cursor: Cursor | None) -> Iterator[tuple[pa.RecordBatch, Cursor]]:
        """See `interfaces.Source`."""
        options = self._options
        number, start_us = self._resumed(cursor)
        world = _world(options, start_us)
        wall = self._fixed_us is None  # a fixed start is the past or the future: then only the rate counts
        passed_s = (time.time_ns() // 1_000 - start_us) / 1e6 if wall else number / options.rate
        zero_s = time.monotonic() - passed_s  # when record 0 was due
        blocks = _Blocks(world)
        spoke_s = time.monotonic()
        while options.count is None or number < options.count:
            now_s = time.monotonic()
            due = int((now_s - zero_s) * options.rate) + 1
            due = due if options.count is None else min(due, options.count)
            if due > number:
                stop = min(due, number + _MAX_BATCH_ROWS)
                records = blocks.records(number, stop)
                number = stop
                yield records, _cursor(world, number)
                spoke_s = time.monotonic()
            elif now_s - spoke_s >= HEARTBEAT_S:
                yield schema.empty(), _cursor(world, number)
                spoke_s = time.monotonic()
            else:
                wait_s = zero_s + number / options.rate - now_s
                time.sleep(min(max(wait_s, _MIN_WAIT_S), HEARTBEAT_S))

    def _resumed(self, cursor: Cursor | None) -> tuple[int, int]:
        """(number of the next record, time of record 0 in microseconds)."""
        options = self._options
        now_us = time.time_ns() // 1_000
        begun_us = now_us - round(options.history_minutes * 60e6)
        number, start = 0, None
        if cursor and cursor.get("seed") == options.seed:
            row, of_block, start = cursor.get("row"), cursor.get("block"), parse_time(str(cursor.get("start")))
            if isinstance(row, int) and isinstance(of_block, int):
                number = of_block * BLOCK_ROWS + row
        if self._fixed_us is not None:
            return number, self._fixed_us
        if start is None:
            return number, begun_us - round(number / options.rate * 1e6)
        start_us = _micros(start)
        next_us = start_us + round(number / options.rate * 1e6)
        lag_s = (now_us - next_us) / 1e6
        if not -_MAX_LAG_S <= lag_s <= _MAX_LAG_S + options.history_minutes * 60:
            start_us += now_us - next_us
        return number, start_us


class _Blocks:
    """Records by their number; the last block is kept."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._number = -1
        self._block = schema.empty()

    def records(self, first: int, stop: int) -> pa.RecordBatch:
        parts = []
        while first < stop:
            number, row = divmod(first, BLOCK_ROWS)
            if number != self._number:
                self._block, self._number = block(self._world, number), number
            parts.append(self._block.slice(row, min(stop - first, BLOCK_ROWS - row)))
            first += parts[-1].num_rows
        return parts[0] if len(parts) == 1 else pa.concat_batches(parts)


def create(rest: str, options: Options) -> SimulatorSource:
    """The source of `simulator:`."""
    if rest.strip("/"):
        raise ConfigError(
            f"simulator: takes nothing behind its colon, not {rest!r}; say options as in simulator:?rate=100"
        )
    return SimulatorSource(options)


def generate(options: Options, blocks: int) -> Iterator[pa.RecordBatch]:
    """The first `blocks` blocks of what the source delivers with these options, at once: for tests.

    Needs `start`; raises ConfigError without.
    """
    start = parse_time(options.start)
    if start is None:
        raise ConfigError("simulator: generate needs the option start, the time of the first post")
    world = _world(options, _micros(start))
    return (block(world, number) for number in range(blocks))


def _world(options: Options, start_us: int) -> World:
    return World(options.seed, options.rate, start_us, options.story_minutes * 60.0, options.mess)


def _cursor(world: World, number: int) -> Cursor:
    of_block, row = divmod(number, BLOCK_ROWS)
    start = datetime.fromtimestamp(world.start_us / 1e6, tz=UTC).isoformat()
    return {"seed": world.seed, "start": start, "block": of_block, "row": row}


def _micros(moment: datetime) -> int:
    return round(moment.timestamp() * 1e6)
