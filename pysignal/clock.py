"""The only reader of time, and a clock that tests turn by hand.

Engine time is 64-bit milliseconds since the epoch: the wall clock at start plus the time that has
really passed since (SPEC §6), so that a step of the wall clock moves no deadline. A hub asks its
clock for the time of each operation and for one timer: the next thing that is due.

`VirtualClock` stands still until it is advanced. It stops at every timer in between, in order, and
lets the event loop settle before it goes on, so a whole system of hubs, tasks and listeners runs
without sleeping and the same way each time.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
from collections.abc import Callable
from typing import Protocol

from pysignal.system_clock import Clock, stopwatch_ns

__all__ = ["Clock", "Timer", "VirtualClock", "stopwatch_ns"]

# Turns of the event loop without work for a hub that a virtual clock grants between two steps. A
# callback may start a chain of tasks, each of which takes a turn or two.
SETTLE_TURNS = 20


class Timer(Protocol):
    """A call to come, as `Clock.call_at` returns it."""

    def cancel(self) -> None:
        """Forget the call. Cancelling twice, or after the call, does nothing."""


class _VirtualTimer:
    __slots__ = ("call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self.call = None


class VirtualClock(Clock):
    """A clock that stands still until `advance` moves it.

    Args:
        start_ms: engine time at the beginning, ms since the epoch.
    """

    def __init__(self, start_ms: int = 1_700_000_000_000) -> None:
        self._now_ms = start_ms
        self._timers: list[tuple[int, int, _VirtualTimer]] = []
        self._order = itertools.count()
        self._rest_ms = 0.0
        self._attached: list[Callable[[], bool]] = []

    def attach(self, is_busy: Callable[[], bool]) -> None:
        """Let time stand still while `is_busy()`: there is work to do at this time."""
        self._attached.append(is_busy)

    def detach(self, is_busy: Callable[[], bool]) -> None:
        """Undo `attach`."""
        self._attached.remove(is_busy)

    def now_ms(self) -> int:
        """Engine time, ms since the epoch."""
        return self._now_ms

    def call_at(self, when_ms: int, call: Callable[[], None]) -> Timer:
        """Call back when `advance` comes to engine time `when_ms`."""
        timer = _VirtualTimer(call)
        heapq.heappush(self._timers, (when_ms, next(self._order), timer))
        return timer

    def __repr__(self) -> str:
        return f"<VirtualClock at {self._now_ms} ms>"

    async def advance(self, seconds: float) -> None:
        """Move time on, stopping at each timer on the way, and let the event loop settle.

        Args:
            seconds: 0 or more; fractions of a millisecond add up over several calls.
        """
        if not (math.isfinite(seconds) and seconds >= 0):
            raise ValueError(f"seconds: a finite number, 0 or more, not {seconds!r}")
        await self.settle()
        span_ms = seconds * 1000 + self._rest_ms
        whole_ms = math.floor(span_ms + 1e-6)
        self._rest_ms = max(span_ms - whole_ms, 0.0)
        until_ms = self._now_ms + whole_ms
        while self._timers and self._timers[0][0] <= until_ms:
            when_ms, _, timer = heapq.heappop(self._timers)
            call, timer.call = timer.call, None
            if call is None:
                continue
            self._now_ms = max(self._now_ms, when_ms)
            call()
            await self.settle()
        self._now_ms = max(self._now_ms, until_ms)  # somebody else may have gone further
        await self.settle()

    async def settle(self) -> None:
        """Let everything that is ready run, without moving time."""
        quiet_turns = 0
        while quiet_turns < SETTLE_TURNS:
            await asyncio.sleep(0)
            busy = any(is_busy() for is_busy in self._attached)
            quiet_turns = 0 if busy else quiet_turns + 1

    async def sleep(self, seconds: float) -> None:
        """Sleep in virtual time: until `advance` has moved it so far."""
        waiter = asyncio.get_running_loop().create_future()
        timer = self.call_at(
            self._now_ms + math.ceil(seconds * 1000),
            lambda: None if waiter.done() else waiter.set_result(None),
        )
        try:
            await waiter
        finally:
            timer.cancel()
