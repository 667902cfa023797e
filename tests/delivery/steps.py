"""A meter of steps: how long each call that an event loop makes keeps it, in CPU time.

A step is one run of a handle: a step of a task, a callback, a timer. Nothing else can run on the
loop meanwhile, so the longest step is what the hub adds to everybody's answer. CPU time of the
thread is measured, so that other processes of the machine cost nothing; the garbage collector of
Python runs when it pleases, in whatever step allocates, and is counted apart.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from scale import SLOWDOWN

# What a step may take at most, ms of CPU: the aim, and what the tests insist on. Machines that are
# shared, and slower than the one which the aim is measured on, make the difference.
AIM_MS = 5.0
STEP_MS_MAX = 25.0 * SLOWDOWN


@dataclass
class Step:
    """One run of a handle: its name, how long it took, and the share of the garbage collector."""

    name: str = ""
    work_ns: int = 0
    garbage_ns: int = 0

    @property
    def work_ms(self) -> float:
        """CPU time without the garbage collector, ms."""
        return self.work_ns / 1e6

    def __str__(self) -> str:
        return f"{self.work_ms:6.2f} ms + {self.garbage_ns / 1e6:6.2f} ms gc  {self.name}"


class StepMeter:
    """Keeps the longest step, and counts them, while it is on.

    Attributes:
        longest: by its work; the garbage collector's share is not counted.
        garbage_ns: of the step in which the collector took the longest.
        count: steps so far.
    """

    def __init__(self) -> None:
        self.longest = Step()
        self.garbage_ns = 0
        self.count = 0
        self._is_on = False
        self._collecting_ns = 0
        self._began_ns = 0

    @contextmanager
    def on(self) -> Iterator[None]:
        """Measure the steps that both begin and end in this block: sleep at its two ends."""
        self._is_on = True
        try:
            yield
        finally:
            self._is_on = False

    def run(self, run: Callable[[asyncio.Handle], None], handle: asyncio.Handle) -> None:
        """Run a handle, and note how long it took."""
        if not self._is_on:
            run(handle)
            return
        collecting_ns = self._collecting_ns
        began_ns = time.thread_time_ns()
        run(handle)
        took_ns = time.thread_time_ns() - began_ns
        if not self._is_on:
            return
        garbage_ns = self._collecting_ns - collecting_ns
        self.count += 1
        self.garbage_ns = max(self.garbage_ns, garbage_ns)
        if took_ns - garbage_ns > self.longest.work_ns:
            self.longest = Step(_name_of(handle), took_ns - garbage_ns, garbage_ns)

    def collecting(self, phase: str, _: dict[str, int]) -> None:
        """Hear from the garbage collector."""
        if phase == "start":
            self._began_ns = time.thread_time_ns()
        else:
            self._collecting_ns += time.thread_time_ns() - self._began_ns


def _name_of(handle: asyncio.Handle) -> str:
    callback: Any = handle._callback  # type: ignore[attr-defined]
    if callback is None:
        return "cancelled"
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, asyncio.Task):
        return getattr(owner.get_coro(), "__qualname__", repr(owner))
    return getattr(callback, "__qualname__", repr(callback))


def run_metered(work: Callable[[StepMeter], Coroutine[Any, Any, None]]) -> StepMeter:
    """Run a coroutine on an event loop of asyncio whose steps are measured.

    Args:
        work: called with the meter, which it puts on where it matters.
    """
    meter = StepMeter()
    original = asyncio.Handle._run  # type: ignore[attr-defined]
    gc.callbacks.append(meter.collecting)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio.Handle, "_run", lambda handle: meter.run(original, handle))
        try:
            with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                runner.run(work(meter))
        finally:
            gc.callbacks.remove(meter.collecting)
    return meter
