"""An event loop with virtual time and a seeded order, on which whole systems run as one function.

Nothing waits: when no callback is ready, time jumps to the next timer. So a day passes in a moment,
a deadline has no lateness but the one that the code under test makes, and a run is a function of
its seed. When nothing is ready and no timer is set, whatever still waits waits for ever: the run
ends with `Deadlock`, which tells who waits for what.

There is no I/O here, nor are there threads: every such method raises NotImplementedError. A network
or a disk on this loop is made of futures and timers.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import random
from asyncio import Handle, TimerHandle
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar, TypeVarTuple, Unpack

from pysignal.clock import Clock, Timer

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# Callbacks in one moment of virtual time after which a run counts as one that never ends.
STEPS_PER_MOMENT_MAX = 1_000_000


class Deadlock(AssertionError):
    """Nothing is ready, no timer is set, and somebody waits."""


class Livelock(AssertionError):
    """Callbacks follow each other without end, and time stands still."""


class SimulationLoop(asyncio.AbstractEventLoop):
    """Runs callbacks by turns, as asyncio does, in virtual time.

    Args:
        rng: draws the order of the callbacks that one turn finds ready; None for the order in which
            they were called for, which is the one that asyncio promises.

    Attributes:
        now_ns: virtual time since the loop was made, ns.
        failures: contexts of exceptions that nobody caught.
    """

    def __init__(self, rng: random.Random | None = None) -> None:
        self.now_ns = 0
        self.failures: list[dict[str, Any]] = []
        self._rng = rng
        self._ready: list[Handle] = []
        self._timers: list[tuple[int, int, TimerHandle]] = []
        self._numbers = itertools.count()
        self._is_running = False
        self._is_stopping = False
        self._is_closed = False

    # -- running -----------------------------------------------------------------------------------

    def run_until_complete(self, future: Any) -> Any:
        """Run until a future, or the task of a coroutine, is done; returns its result.

        Raises:
            Deadlock: it never will be.
            Livelock: nothing else happens in this moment.
        """
        task = asyncio.ensure_future(future, loop=self)
        task.add_done_callback(self._stop_by)
        try:
            self.run_forever()
        finally:
            task.remove_done_callback(self._stop_by)
        if not task.done():
            raise RuntimeError("the loop was stopped before the future was done")
        return task.result()

    def _stop_by(self, _: asyncio.Future[Any]) -> None:
        self.stop()

    def run_forever(self) -> None:
        """Run until `stop` is called."""
        self._is_running, self._is_stopping = True, False
        asyncio._set_running_loop(self)
        try:
            while not self._is_stopping:
                self._run_moment()
        finally:
            asyncio._set_running_loop(None)
            self._is_running = False

    def _run_moment(self) -> None:
        """Run everything that is ready at this time, turn by turn, then move time on."""
        for _ in range(STEPS_PER_MOMENT_MAX):
            self._wake_timers()
            if not self._ready:
                self._jump()
                return
            turn, self._ready = self._ready, []
            if self._rng is not None:
                self._rng.shuffle(turn)
            for handle in turn:
                if not handle.cancelled():
                    handle._run()
            if self._is_stopping:
                return
        raise Livelock(f"time stands still at {self.now_ns} ns\n{self._who_waits()}")

    def _wake_timers(self) -> None:
        while self._timers and (
            self._timers[0][0] <= self.now_ns or self._timers[0][2].cancelled()
        ):
            self._ready.append(heapq.heappop(self._timers)[2])

    def _jump(self) -> None:
        if not self._timers:
            raise Deadlock(f"everybody waits for ever at {self.now_ns} ns\n{self._who_waits()}")
        self.now_ns = self._timers[0][0]

    def _who_waits(self) -> str:
        return "\n".join(sorted(_describe(task) for task in asyncio.all_tasks(self)))

    def stop(self) -> None:
        """Stop at the end of this turn."""
        self._is_stopping = True

    def is_running(self) -> bool:
        """Whether the loop runs."""
        return self._is_running

    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._is_closed

    def close(self) -> None:
        """End; callbacks that were not run never will be."""
        if self._is_running:
            raise RuntimeError("a running loop cannot be closed")
        self._is_closed = True
        self._ready.clear()
        self._timers.clear()

    def cancel_all(self) -> None:
        """Cancel what was left by a run that failed, and let it end if it does."""
        tasks = asyncio.all_tasks(self)
        for task in tasks:
            task.cancel()
        if tasks:
            with contextlib.suppress(Deadlock):
                self.run_until_complete(asyncio.wait(tasks, timeout=60))

    async def shutdown_asyncgens(self) -> None:
        """Do nothing: asynchronous generators are their owners' business here."""

    async def shutdown_default_executor(self) -> None:
        """Do nothing: there are no threads."""

    # -- callbacks ---------------------------------------------------------------------------------

    def time(self) -> float:
        """Virtual time, seconds since the loop was made."""
        return self.now_ns / 1e9

    def call_soon(
        self,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> Handle:
        """Call back at the next turn."""
        if self._is_closed:
            raise RuntimeError("the loop is closed")
        handle = Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> TimerHandle:
        """Call back after `delay` seconds of virtual time."""
        return self.call_at_ns(self.now_ns + round(delay * 1e9), callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> TimerHandle:
        """Call back at virtual time `when`, seconds."""
        return self.call_at_ns(round(when * 1e9), callback, *args, context=context)

    def call_at_ns(
        self,
        when_ns: int,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> TimerHandle:
        """Call back at virtual time `when_ns`, or at the next turn where that has passed.

        Timers of one moment are due in the order in which they were set.
        """
        if self._is_closed:
            raise RuntimeError("the loop is closed")
        handle = TimerHandle(when_ns / 1e9, callback, args, self, context)
        heapq.heappush(self._timers, (when_ns, next(self._numbers), handle))
        return handle

    def _timer_handle_cancelled(self, handle: TimerHandle) -> None:
        """Leave a cancelled timer where it is: it is dropped in its turn."""

    # -- futures, tasks, exceptions ----------------------------------------------------------------

    def create_future(self) -> asyncio.Future[Any]:
        """Make a future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Coroutine[Any, Any, T],
        *,
        name: object = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        """Make a task of this loop."""
        named = None if name is None else str(name)
        return asyncio.Task(coro, loop=self, name=named, context=context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Note an exception that nobody caught."""
        self.failures.append(context)

    def get_debug(self) -> bool:
        """Whether asyncio checks more; it does not, as a check may take time."""
        return False


class LoopClock(Clock):
    """Engine time from a simulation loop, so that sleeping tasks and deadlines share one time.

    Args:
        loop: whose time it is.
        start_ms: engine time at the loop's beginning, ms since the epoch.
    """

    def __init__(self, loop: SimulationLoop, start_ms: int = 1_700_000_000_000) -> None:
        self._loop = loop
        self._start_ms = start_ms

    def now_ms(self) -> int:
        """Engine time, ms since the epoch."""
        return self._start_ms + self._loop.now_ns // 1_000_000

    def call_at(self, when_ms: int, call: Callable[[], None]) -> Timer:
        """Call back at engine time `when_ms`, to the nanosecond."""
        return self._loop.call_at_ns((when_ms - self._start_ms) * 1_000_000, call)


def _describe(task: asyncio.Task[Any]) -> str:
    """Say where a task stands: the functions that it is in, the innermost last."""
    places = []
    inner: Any = task.get_coro()
    while inner is not None and hasattr(inner, "cr_await"):
        frame = inner.cr_frame
        if frame is not None:
            places.append(f"{inner.__qualname__}:{frame.f_lineno}")
        inner = inner.cr_await
    waits_for = "" if inner is None else f" waits for {type(inner).__name__}"
    return " > ".join(places) + waits_for
