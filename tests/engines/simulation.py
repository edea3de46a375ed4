"""Random schedules against real Delta tables: rival engines and maintainers that are interrupted and killed anywhere.

Every actor runs the product's own code in a thread of its own, and only one thread runs at a time: whenever an actor
is about to touch a table, and again when it has, the schedule's dice decide who goes on, whether the call fails, fails
although it was done, or never returns because its process died. One seed gives one schedule.
"""

import contextlib
import itertools
import logging
import multiprocessing
import os
import random
import tempfile
import threading
import types
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction
from tests.engines.simulation_records import Stream, pipeline_for
from tests.engines.simulation_truth import Place, Row, check, check_all, hidden, place, same, window_sums

from feltwire import schema
from feltwire.engines import _commit
from feltwire.engines._commit import Committer
from feltwire.engines._work import Done, Settled, work
from feltwire.errors import ClaimError, FeltwireError, LakeError
from feltwire.interfaces import Position
from feltwire.lake import Lake, Location, Owner, append, create_lake, maintain, rewrite, storage, tables, withdraw
from feltwire.lake.maintain import Maintainer
from feltwire.pipeline import Pipeline

PIPELINE: Final = "main"
_PASSING: Final = (LakeError, DeltaError, OSError)


class Killed(BaseException):
    """The actor's process is gone: nothing of its code catches this."""


class Actor:
    """A thread that runs only when it is its turn."""

    def __init__(self, name: str, body: Callable[["Actor"], None]) -> None:
        self.name = name
        self.doomed = False
        self.idle = True
        self._body = body
        self._over = False
        self._error: BaseException | None = None
        self._turn, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.thread.start()

    def turn(self) -> None:
        """Let the actor go on until it pauses; raises what it raised."""
        self._turn.release()
        self._back.acquire()
        if self._error:
            raise self._error

    def pause(self) -> None:
        """Called by the actor: let somebody else go on."""
        self._back.release()
        self._turn.acquire()
        if self.doomed:
            raise Killed

    def end(self) -> None:
        """Kill the actor where it stands."""
        self.doomed = True
        while not self._over:
            self.turn()
        self.thread.join()

    def _run(self) -> None:
        self._turn.acquire()
        try:
            if not self.doomed:
                self._body(self)
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again in the thread of the schedule
            self._error = error
        finally:
            self._over = True
            self._back.release()


@dataclass(frozen=True)
class Knobs:
    """What differs from schedule to schedule besides the order of things."""

    turns: int
    partitions: int
    repeatable: bool
    tracked: bool
    rivals: bool  # engines share their partitions; else each has its own
    fault_rate: float
    pause_rate: float
    idle_move_s: float
    level_rows: int
    commits_a_handle: int
    fan_in: int
    checkpoint_every: int

    @classmethod
    def throw(cls, rng: random.Random) -> "Knobs":
        """Knobs of a random schedule."""
        return cls(
            turns=rng.randint(40, 180),
            partitions=rng.randint(1, 3),
            repeatable=rng.random() < 0.3,
            tracked=rng.random() < 0.7,
            rivals=rng.random() < 0.5,
            fault_rate=rng.choice((0.0, 0.003, 0.01, 0.03)),
            pause_rate=rng.choice((0.1, 0.3, 0.6)),
            idle_move_s=rng.choice((0.0, 1e9)),
            level_rows=rng.choice((3, 10, 1000)),
            commits_a_handle=rng.choice((1, 3, 32)),
            fan_in=rng.choice((2, 4)),
            checkpoint_every=rng.choice((2, 5, 20)),
        )


@dataclass
class Simulation:
    """One schedule. `run()` returns counts, or raises AssertionError where the lake lies."""

    seed: int
    folder: Path
    mutate: Callable[[pytest.MonkeyPatch], None] | None = None
    counts: dict[str, int] = field(default_factory=dict)
    committed: dict[str, dict[Place, Row]] = field(default_factory=lambda: {"posts": {}, "dead_letters": {}})
    _followed: dict[Place, Row] = field(default_factory=dict)
    _following: Position = field(default_factory=dict)
    _moments: list[tuple[datetime, dict[Place, Row]]] = field(default_factory=list)
    _faults: bool = True

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.knobs = Knobs.throw(self.rng)
        self.stream = Stream(self.rng, self.knobs.partitions)
        self.log = self.stream.log
        self.owner = Owner(PIPELINE, self.log.identity, self.knobs.partitions)
        dice = None if self.knobs.repeatable else random.Random(self.seed + 1)
        self.pipeline: Pipeline = pipeline_for(dice, tracked=self.knobs.tracked)
        self.log.pipeline = self.pipeline  # type: ignore[attr-defined]  # for a mutant
        self.actors: list[Actor] = []

    def run(self) -> dict[str, int]:
        """Play the schedule, drain the log with an engine that nobody disturbs, and check everything."""
        with pytest.MonkeyPatch.context() as patch:
            self._tighten(patch)
            if self.mutate:
                self.mutate(patch)
            self._hook(patch)
            self.lake: Lake = create_lake(str(self.folder / "lake"), self.owner)
            self.actors = [Actor(f"engine {i}", self._engine) for i in range(2)]
            self.actors += [Actor(f"maintainer {i}", self._maintainer) for i in range(2)]
            try:
                self._play()
            finally:
                for actor in self.actors:
                    actor.end()
            self._faults = False
            return self._finish()

    # The schedule

    def _play(self) -> None:
        steps: tuple[Callable[[], None], ...] = (
            *(actor.turn for actor in self.actors),
            lambda: self.stream.append(self.rng.randint(1, 30)),
            self._look,
            self._follow,
            self._remember,
        )
        self.stream.append(self.rng.randint(1, 30))
        for _ in range(self.knobs.turns):
            self.rng.choices(steps, weights=(20, 20, 7, 7, 5, 0.7, 1, 0.6))[0]()

    def _finish(self) -> dict[str, int]:
        self._drain()
        for _ in range(2):  # the first may have to finish what a killed one began
            withdraw.remove_withdrawn(self.lake.location, self.owner)
        self._tidy_up()
        counts = self._check_all()
        self._look()
        before = self._visible()
        for table in schema.TABLES:
            handle = tables.open_table(self.lake.location, table)
            handle.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False, full=True)
        same(self._visible(), before, "the posts after the vacuum")
        self._follow_to_the_end()
        same(set(self._followed), set(map(place, before)), "what a follower has")
        self._count("moments", len(self._moments))
        return {**self.counts, **counts}

    def _check_all(self) -> dict[str, int]:
        kept, dead = self.committed["posts"], self.committed["dead_letters"]
        return check_all(self.lake, self.log, kept, dead, self.stream.clock, tracked=self.knobs.tracked)

    def _drain(self) -> None:
        committer = Committer(self.lake, self.log, range(self.knobs.partitions))
        committer.level()
        settled = {p: committer.settled(p) for p in committer.partitions}
        while done := self._work(self._at(committer), settled):
            committer.commit(done)
        committer.rest()

    def _tidy_up(self) -> None:
        for table in schema.STREAMED:
            before = -1
            while (version := tables.open_table(self.lake.location, table).version()) != before:
                before = version
                self._new_maintainer().tidy(table)

    # Engines

    def _engine(self, actor: Actor) -> None:
        while True:
            actor.idle = True
            actor.pause()
            actor.idle = False
            try:
                self._live(actor)
            except Killed:
                if actor.doomed:
                    raise
                self._count("deaths")
            except ClaimError:
                self._count("claims lost")
            except _PASSING:
                self._count("gave up")

    def _live(self, actor: Actor) -> None:
        """One life of a worker, in the steps of `engines._processing`."""
        committer = Committer(self.lake, self.log, self._partitions_of(actor))
        committer.level()
        settled = {p: committer.settled(p) for p in committer.partitions}
        following = self._at(committer)
        try:
            while self.rng.random() < 0.97:
                done = self._work(following, settled)
                if done:
                    self._commit(committer, done)
                    following |= {each.partition: each.end for each in done}
                else:
                    actor.pause()
                if self.rng.random() < 0.1:
                    committer.rest()
        finally:
            if not actor.doomed:
                with contextlib.suppress(FeltwireError, *_PASSING):
                    committer.rest()

    def _commit(self, committer: Committer, done: list[Done]) -> None:
        """Again and again until it is done; now and then the worker is stopped before."""
        while True:
            try:
                committer.commit(done)
                break
            except _PASSING:
                self._count("commits tried again")
                if self.rng.random() < 0.2:
                    raise
        self._count("batches")

    def _work(self, following: Position, settled: Mapping[int, Settled]) -> list[Done]:
        """A few consecutive spans of some partitions, worked on."""
        done: list[Done] = []
        for partition, offset in following.items():
            if len(following) > 1 and self.rng.random() < 0.3 and self._faults:
                continue
            for _ in range(self.rng.choice((1, 1, 2, 3))):
                batch = self.log.read(partition, offset, self.rng.randint(1, 30) if self._faults else 100)
                if not batch.num_rows:
                    break
                done.append(work(self.pipeline, self.lake.location, batch, settled[partition]))
                offset = done[-1].end  # noqa: PLW2901
        return done

    def _at(self, committer: Committer) -> Position:
        return {p: committer.position("posts", p) for p in committer.partitions}

    def _partitions_of(self, actor: Actor) -> list[int]:
        every = list(range(self.knobs.partitions))
        if self.knobs.rivals:
            return self.rng.sample(every, self.rng.randint(1, len(every)))
        return [p for p in every if p % 2 == self.actors.index(actor)] or every[:0]

    # Maintainers

    def _maintainer(self, actor: Actor) -> None:
        maintainer = self._new_maintainer()
        while True:
            actor.idle = True
            actor.pause()
            actor.idle = False
            try:
                self._maintain(maintainer)
            except Killed:
                if actor.doomed:
                    raise
                maintainer = self._new_maintainer()
            except _PASSING:
                self._count("maintenance gave way")

    def _maintain(self, maintainer: Maintainer) -> None:
        table = self.rng.choice((*schema.STREAMED, "posts", "windows"))
        match self.rng.choices(("tidy", "withdraw", "vacuum"), weights=(5, 4, 1))[0]:
            case "tidy":
                maintainer.tidy(table)
            case "withdraw":
                if withdraw.remove_withdrawn(self.lake.location, self.owner):
                    self._count("removals")
            case _:
                # Only what has left the table: whoever still reads it finds its files gone, and starts over.
                maintain.vacuum(tables.open_table(self.lake.location, table), retention_h=0)

    def _new_maintainer(self) -> Maintainer:
        return Maintainer(self.lake.location, self.owner, clock=lambda: self.stream.clock)

    # What is true at any moment, between any two steps of anybody

    def _visible(self, as_of: datetime | None = None) -> list[Row]:
        order = "order by log_partition, log_offset"
        rows: list[Row] = self.lake.sql(f"select * from posts {order}", as_of=as_of).to_pylist()
        return rows

    def _withdrawn(self) -> list[Row]:
        rows: list[Row] = self.lake.sql("select * from withdrawn").to_pylist()
        return rows

    def _look(self) -> None:
        """No row twice, no withdrawn post in sight; every moment that was remembered reads as it did."""
        posts = self._visible()
        check(len({place(row) for row in posts}) == len(posts), "a post is visible twice")
        same(hidden(posts, self._withdrawn()), set(), "withdrawn posts in sight")
        for at, before in self._moments:
            now = {place(row): row for row in self._visible(at)}
            gone = hidden(before.values(), self._withdrawn())
            same(now, {where: row for where, row in before.items() if where not in gone}, f"the posts as of {at}")
            found = self.lake.windows(every="1min", as_of=at).to_pylist()
            counts = {(row["window"], row["track"]): (row["n"], row["n_scored"]) for row in found}
            same(counts, _by_window(now.values()), f"the windows as of {at}")
        self._count("looks")

    def _remember(self) -> None:
        """Remember the lake as of the latest time up to which it has everything; a few times at most."""
        if len(self._moments) == 3:
            return
        reached = self.lake.positions()["posts"]
        at = self.stream.clock
        for partition in self.log.ends():
            waiting = self.log.read(partition, reached.get(partition, 0), 1)
            if waiting.num_rows:
                at = min(at, pc.min(waiting["ingested_at"]).as_py() - timedelta(microseconds=1))
        self._moments.append((at, {place(row): row for row in self._visible(at)}))

    def _follow(self) -> None:
        """A follower takes a few posts: each once, and never a withdrawal before its post."""
        room = self.rng.randint(1, 60) if self._faults else 1000
        posts, withdrawn, position = self.lake.changes(self._following, room)
        for row in posts.to_pylist():
            check(place(row) not in self._followed, f"a follower got the post at {place(row)} twice")
            self._followed[place(row)] = row
        for where in hidden(self._followed.values(), withdrawn.to_pylist()):
            del self._followed[where]
        self._following = position

    def _follow_to_the_end(self) -> None:
        before: Position = {-1: 0}
        while before != self._following:
            before = self._following
            self._follow()

    # Interruptions

    def _tighten(self, patch: pytest.MonkeyPatch) -> None:
        """Let happen within a hundred rows what otherwise takes millions, and make names repeat with the seed."""
        knobs = self.knobs
        patch.setattr(_commit, "IDLE_MOVE_S", knobs.idle_move_s)
        patch.setattr(_commit, "_LEVEL_ROWS", knobs.level_rows)
        patch.setattr(append, "_COMMITS_A_HANDLE", knobs.commits_a_handle)
        patch.setattr(rewrite, "FAN_IN", knobs.fan_in)
        patch.setattr(maintain, "CHECKPOINT_EVERY", knobs.checkpoint_every)
        at_once = {"delta.logRetentionDuration", "delta.deletedFileRetentionDuration"}
        configuration = tables._CONFIGURATION | dict.fromkeys(at_once, "interval 0 seconds")
        patch.setattr(tables, "_CONFIGURATION", configuration)
        names = random.Random(self.seed + 2)
        uuids = types.SimpleNamespace(uuid4=lambda: uuid.UUID(int=names.getrandbits(128)))
        patch.setattr(storage, "uuid", uuids)

    def _hook(self, patch: pytest.MonkeyPatch) -> None:
        for owner, name in (
            (DeltaTable, "__init__"),
            (DeltaTable, "update_incremental"),
            (DeltaTable, "create_checkpoint"),
            (DeltaTable, "cleanup_metadata"),
            (DeltaTable, "vacuum"),
            (Location, "write"),
        ):
            patch.setattr(owner, name, self._interrupted(getattr(owner, name)))
        commit = DeltaTable.create_write_transaction

        def noted(handle: DeltaTable, actions: list[Any], *args: Any, **kwargs: Any) -> None:
            commit(handle, actions, *args, **kwargs)
            self._note(handle, actions)

        patch.setattr(DeltaTable, "create_write_transaction", self._interrupted(noted, CommitFailedError))

    def _interrupted(self, call: Callable[..., Any], *errors: type[Exception]) -> Callable[..., Any]:
        def interrupted(*args: Any, **kwargs: Any) -> Any:
            actor = next((a for a in self.actors if a.thread is threading.current_thread()), None)
            if actor is None or not self._faults:
                return call(*args, **kwargs)
            if self.rng.random() < self.knobs.pause_rate:
                actor.pause()
            if actor.doomed:
                raise Killed
            self._perhaps_fail(OSError, *errors)
            result = call(*args, **kwargs)
            self._perhaps_fail(OSError)
            return result

        return interrupted

    def _perhaps_fail(self, *errors: type[Exception]) -> None:
        if self.rng.random() < self.knobs.fault_rate:
            kinds: tuple[type[BaseException], ...] = (Killed, *errors)
            error = self.rng.choice(kinds)
            self._count(f"{error.__name__} thrown")
            raise error("thrown by the simulation")

    def _note(self, handle: DeltaTable, actions: list[Any]) -> None:
        """Remember the posts and the dead letters that a commit has brought in, as they were."""
        table = os.path.basename(handle.table_uri.rstrip("/"))
        added = [action for action in actions if isinstance(action, AddAction) and action.data_change]
        known = self.committed.get(table)
        if known is None or len(added) < len(actions):
            return
        for action in added:
            day = {"day": action.path.partition("/")[0].removeprefix("day=")} if table == "posts" else {}
            for batch in self.lake.location.read(table, action.path):
                for row in batch.to_pylist():
                    check(place(row) not in known, f"{place(row)} was committed to {table} twice")
                    known[place(row)] = row | day

    def _count(self, what: str, n: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + n


def _by_window(posts: Any) -> dict[Any, tuple[Any, ...]]:
    counts: dict[Any, tuple[int, int]] = {}
    for (minute, track, _, _), row in window_sums(posts).items():
        before = counts.get((minute, track), (0, 0))
        counts[minute, track] = (before[0] + row[0], before[1] + row[1])
    return counts


def play(seed: int, folder: Path, mutate: Callable[[pytest.MonkeyPatch], None] | None = None) -> dict[str, int]:
    """Run the schedule of a seed in an empty folder; returns its counts. `mutate` spoils the product beforehand.

    Raises AssertionError, which names the seed, where the lake lies.
    """
    simulation = Simulation(seed, folder, mutate)
    try:
        return simulation.run()
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise AssertionError(f"schedule {seed} ({simulation.knobs}): {what}") from error


@dataclass(frozen=True)
class Outcome:
    """What came of one schedule; `error` says where the lake lied."""

    seed: int
    counts: Mapping[str, int]
    error: str | None


def attempt(seed: int, mutate: Callable[[pytest.MonkeyPatch], None] | None) -> Outcome:
    """`play` in a folder of its own, for a process beside the tests."""
    logging.disable(logging.CRITICAL)  # what is thrown at the product is no news
    with tempfile.TemporaryDirectory(prefix="feltwire-simulation-") as folder:
        try:
            return Outcome(seed, play(seed, Path(folder), mutate), None)
        except AssertionError as error:
            return Outcome(seed, {}, str(error))


def play_many(
    seeds: Iterable[int], mutate: Callable[[pytest.MonkeyPatch], None] | None = None
) -> Generator[Outcome, None, None]:
    """Play schedules in as many processes as there are cores; closing the iterator ends it early."""
    context = multiprocessing.get_context("spawn")
    width = min(4, os.cpu_count() or 1)
    waiting = iter(seeds)
    with ProcessPoolExecutor(width, mp_context=context) as pool:
        running = deque(pool.submit(attempt, seed, mutate) for seed in itertools.islice(waiting, width))
        while running:
            outcome = running.popleft().result()
            running.extend(pool.submit(attempt, seed, mutate) for seed in itertools.islice(waiting, 1))
            yield outcome
