"""Calling a model that is elsewhere: many calls at a time in a thread of their own, under limits, with patience.

`Caller.answer` waits a short while and then says that it is not done, or why it cannot be; the calls go on beside it,
and what they bring is kept for the next time that the same texts are asked for. So an engine is never held up, and
nothing that was paid for is paid for again.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, TypeVar

from feltwire.errors import FeltwireError, ModelAwayError, ModelBusyError
from feltwire.models._limits import Limits, SpentError
from feltwire.models._loop import LoopThread

HARMLESS: Final = "ok"
"""The text by which the far side is tried when it has refused one."""

_FIRST_WAIT_S: Final = 0.2
_LONGEST_WAIT_S: Final = 5.0
_FORGET_S: Final = 60.0  # what nobody has asked for in this time is not called for and not kept
_SERVED_S: Final = 5.0  # so long an answer is kept that was handed over
_FAULTS: Final = 8  # so often a call must fail, while others succeed, before its text is taken for the cause

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Refusal:
    """The far side does not score this text; `reason` holds none of it."""

    reason: str


AGAIN: Final = Refusal("")
"""In the place of a row: the far side failed over this text alone, which is asked for again."""

Row: TypeAlias = Any
"""What the far side says of one text, in whatever form the model that calls likes to keep it."""

Call: TypeAlias = Callable[[Sequence[str]], Awaitable[Sequence["Row | Refusal"]]]
"""One call for some texts: as many rows as texts. Raises AwayError or RefusingError."""


class AwayError(Exception):
    """A call to be made again. `sent`: it may have cost money. `fault`: the far side failed over this very call."""

    def __init__(
        self, message: str, *, retry_after_s: float | None = None, sent: bool = True, fault: bool = False
    ) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.sent = sent
        self.fault = fault


class RefusingError(Exception):
    """The far side refuses a call as it stands. `of_text`: it says so of the text, not of who asks or where."""

    def __init__(self, message: str, *, of_text: bool) -> None:
        super().__init__(message)
        self.of_text = of_text


@dataclass(eq=False)
class _Unit:
    """Texts that one call is made for."""

    texts: list[str]
    faults: int = 0
    failed_at: float = 0.0  # when its last call that failed by a fault had begun
    refused: bool = False  # it was, while a harmless text was not


@dataclass(eq=False)
class _Wait:
    """Somebody who waits for texts."""

    missing: set[str]
    done: "asyncio.Future[None]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Caller:
    """Answers for texts by calls. May be used from several threads."""

    def __init__(
        self,
        call: Call,
        limits: Limits,
        *,
        who: str,
        batch: int,
        concurrency: int,
        patience_s: float,
        price: Callable[[Sequence[str]], float],
    ) -> None:
        """`who` names the far side in messages; `price` is what a call for some texts costs."""
        self._call, self._limits, self._who, self._price = call, limits, who, price
        self._batch, self._concurrency, self._patience_s = batch, concurrency, patience_s
        self._thread = LoopThread("remote model")
        self.at_end = self._thread.at_end
        """What is called in the event loop as the last, also when nobody closed; none may hold on to the model."""
        self._units: deque[_Unit] = deque()
        self._open: set[str] = set()  # texts that stand in a unit, waiting or under way
        self._done: dict[str, Row | Refusal] = {}
        self._asked: dict[str, float] = {}  # when a text was last asked for
        self._swept_at = 0.0
        self._waits: list[_Wait] = []
        self._workers: set[asyncio.Task[None]] = set()
        self._probing = asyncio.Lock()
        self._trying = asyncio.Lock()
        self._fails = 0
        self._until = 0.0  # no call before then
        self._trouble = ""
        self._fatal: FeltwireError | None = None
        self._ok_began = self._ok_at = float("-inf")

    def answer(self, texts: Sequence[str]) -> list[Row | Refusal]:
        """A row for each text, in their order; equal texts share one.

        Raises ModelAwayError when the far side does not answer, ModelBusyError when it does and is not done.
        """
        if not texts:
            return []
        found = self.run(self._answer(list(dict.fromkeys(texts))))
        return [found[text] for text in texts]

    def run(self, work: "Awaitable[T]") -> T:
        """Do something in the callers' event loop, and wait for it."""
        return self._thread.run(work)

    def forget(self) -> None:
        """Drop what was answered, from within the loop: it is of a model that is gone."""
        self._done.clear()

    def close(self) -> None:
        """End the calls and their thread, for good."""
        self._thread.close(self._end)

    async def _end(self) -> None:
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        self._units.clear()
        self._open.clear()

    async def _answer(self, texts: list[str]) -> dict[str, Row | Refusal]:
        now = asyncio.get_running_loop().time()
        self._sweep(now)
        self._asked.update(dict.fromkeys(texts, now))
        missing = {text for text in texts if text not in self._done}
        if missing:
            fresh = [text for text in texts if text in missing and text not in self._open]
            self._open.update(fresh)
            self._units.extend(_Unit(fresh[i : i + self._batch]) for i in range(0, len(fresh), self._batch))
            if self._until - now > self._patience_s:
                raise self._reason()
            await self._wait_for(missing)
        try:
            found = {text: self._done[text] for text in texts}
        except KeyError:  # what was answered has been forgotten
            raise self._reason() from None
        self._asked.update(dict.fromkeys(texts, asyncio.get_running_loop().time() - _FORGET_S + _SERVED_S))
        return found

    async def _wait_for(self, missing: set[str]) -> None:
        wait = _Wait(missing)
        self._waits.append(wait)
        self._hire()
        try:
            async with asyncio.timeout(self._patience_s):
                await wait.done
        except TimeoutError:
            raise self._reason() from None
        finally:
            self._waits.remove(wait)

    def _reason(self) -> FeltwireError:
        """Why not everything is answered."""
        if self._fatal:
            return self._fatal
        if self._trouble:
            return ModelAwayError(f"{self._who}: {self._trouble}")
        return ModelBusyError(f"{self._who} has not answered everything yet; the rest is asked for as fast as allowed")

    def _sweep(self, now: float) -> None:
        """Drop answers that nobody asks for any more."""
        if now - self._swept_at < _SERVED_S:
            return
        self._swept_at = now
        self._asked = {text: at for text, at in self._asked.items() if now - at < _FORGET_S}
        self._done = {text: row for text, row in self._done.items() if text in self._asked}

    # Workers

    def _hire(self) -> None:
        for _ in range(min(len(self._units), self._concurrency - len(self._workers))):
            worker = asyncio.get_running_loop().create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    async def _work(self) -> None:
        """Make calls until none is to be made; while the far side is away, one worker alone tries it."""
        while self._units:
            if not self._ailing():
                await self._turn()
                continue
            async with self._probing:
                if self._ailing():
                    await self._turn()

    def _ailing(self) -> bool:
        return self._fails > 0 or self._until > asyncio.get_running_loop().time()

    async def _turn(self) -> None:
        loop = asyncio.get_running_loop()
        wait_s = self._until - loop.time()
        if wait_s > 0:
            await asyncio.sleep(min(wait_s, 0.5))
            return
        unit = self._next_unit(loop.time())
        if unit is None:
            return
        began = loop.time()
        try:
            rows = await self._under_limits(unit.texts)
        except asyncio.CancelledError:
            self._units.appendleft(unit)
            raise
        except AwayError as error:
            self._units.appendleft(unit)
            await self._failed(unit, error, began)
        except RefusingError as error:
            await self._refused(unit, error, began)
        except SpentError as error:
            self._units.appendleft(unit)
            self._hold(str(error), error.wait_s)
        except FeltwireError as error:
            self._units.appendleft(unit)
            self._fatal = error
            self._hold(str(error), _LONGEST_WAIT_S)
            self._release()
            self._fatal = None
        except Exception as error:  # noqa: BLE001 - whatever an answer provokes, its texts are not lost over it
            await self._refused(unit, RefusingError(f"raised {type(error).__name__}", of_text=False), began)
        else:
            self._succeeded(began)
            self._answered(unit, rows, began)

    def _next_unit(self, now: float) -> _Unit | None:
        """The next texts that somebody still wants."""
        while self._units:
            unit = self._units.popleft()
            wanted = [text for text in unit.texts if now - self._asked.get(text, float("-inf")) < _FORGET_S]
            self._open.difference_update(set(unit.texts) - set(wanted))
            unit.texts = wanted
            if wanted:
                return unit
        return None

    async def _under_limits(self, texts: Sequence[str]) -> Sequence[Row | Refusal]:
        price = self._price(texts)
        slot = await self._limits.enter(price)
        try:
            rows = await self._call(texts)
            if len(rows) != len(texts):
                raise RefusingError(f"gave {len(rows)} answers for {len(texts)} texts", of_text=False)
            return rows
        except AwayError as error:
            if not error.sent:
                self._limits.refund(price)
            raise
        finally:
            self._limits.leave(slot)

    # What became of a call

    def _succeeded(self, began: float) -> None:
        now = asyncio.get_running_loop().time()
        self._ok_began, self._ok_at = max(self._ok_began, began), now
        if self._until <= now:
            self._fails, self._trouble = 0, ""

    def _answered(self, unit: _Unit, rows: Sequence[Row | Refusal], began: float) -> None:
        self._store((text, row) for text, row in zip(unit.texts, rows, strict=True) if row is not AGAIN)
        for text, row in zip(unit.texts, rows, strict=True):
            if row is AGAIN and unit.faults >= _FAULTS:
                self._store([(text, Refusal(f"failed over it {unit.faults} times"))])
            elif row is AGAIN:
                wait_s = min(_FIRST_WAIT_S * 2.0**unit.faults, _LONGEST_WAIT_S)
                asyncio.get_running_loop().call_later(wait_s, self._take_in, _Unit([text], unit.faults + 1, began))

    def _take_in(self, unit: _Unit) -> None:
        self._units.append(unit)
        self._hire()

    def _store(self, rows: Iterable[tuple[str, Row | Refusal]]) -> None:
        for text, row in rows:
            self._done[text] = row
            self._open.discard(text)
            for wait in self._waits:
                wait.missing.discard(text)
        for wait in self._waits:
            if not wait.missing and not wait.done.done():
                wait.done.set_result(None)

    def _hold(self, trouble: str, wait_s: float) -> None:
        """No call for so long; who waits is told at once where that is longer than anybody is patient."""
        now = asyncio.get_running_loop().time()
        self._trouble = trouble
        self._until = max(self._until, now + wait_s)
        if self._until - now > self._patience_s:
            self._release()

    def _release(self) -> None:
        for wait in self._waits:
            if not wait.done.done():
                wait.done.set_exception(self._reason())

    async def _failed(self, unit: _Unit, error: AwayError, began: float) -> None:
        """Wait longer each round, however many calls fail in it; and look whether it is this call alone that fails."""
        if asyncio.get_running_loop().time() >= self._until:
            self._fails += 1
        wait_s = min(_FIRST_WAIT_S * 2.0 ** min(self._fails - 1, 10), _LONGEST_WAIT_S) * random.uniform(0.5, 1.0)
        self._hold(str(error), wait_s if error.retry_after_s is None else error.retry_after_s)
        if not error.fault:
            return
        unit.faults += 1
        alone = unit.faults > _FAULTS and self._ok_began > unit.failed_at
        unit.failed_at = began
        if alone and unit in self._units:
            self._units.remove(unit)
            self._take_apart(unit, f"failed over it {unit.faults} times: {error}")
        elif unit.faults >= _FAULTS:
            await self._try(began)

    async def _refused(self, unit: _Unit, error: RefusingError, began: float) -> None:
        """A text that is refused while others are not is refused for good; all at once are a matter of who asks.

        Between a refusal and the harmless text's answer an outage may have ended: so the text is asked for once more.
        """
        lately = error.of_text and asyncio.get_running_loop().time() - self._ok_at < _FORGET_S
        if lately:
            self._take_apart(unit, f"refused it: {error}")
        elif await self._try(began):
            if unit.refused:
                self._take_apart(unit, f"refused it: {error}")
            else:
                unit.refused = True
                self._units.appendleft(unit)
        else:
            unit.refused = False
            self._units.appendleft(unit)
            await self._failed(unit, AwayError(f"refuses even a harmless text: {error}"), began)

    def _take_apart(self, unit: _Unit, reason: str) -> None:
        """Halve a unit, or, where it is one text, let the text be refused."""
        middle = len(unit.texts) // 2
        if middle:
            self._units.appendleft(_Unit(unit.texts[middle:], refused=unit.refused))
            self._units.appendleft(_Unit(unit.texts[:middle], refused=unit.refused))
            self._hire()
        else:
            self._store([(unit.texts[0], Refusal(reason))])

    async def _try(self, since: float) -> bool:
        """Whether the far side answers for a harmless text, in a call that began after `since`."""
        async with self._trying:
            if self._ok_began > since:
                return True
            began = asyncio.get_running_loop().time()
            try:
                await self._under_limits([HARMLESS])
            except Exception:  # noqa: BLE001 - what went wrong does not matter: it does not answer
                return False
            self._succeeded(began)
            return True
