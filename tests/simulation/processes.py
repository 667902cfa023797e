"""Processes of a simulated world: each has a loop of its own, and can be killed at any moment.

All loops share the time and the order of the world's. A process that was killed runs nothing more:
what its tasks, timers and callbacks were about to do never happens, and what still calls it is not
heard. So a crash takes from the code under test all that it takes in reality.
"""

from __future__ import annotations

import asyncio
import contextlib
from asyncio import Handle, TimerHandle
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

from simulation.loop import SimulationLoop


class _Timer(TimerHandle):
    """A timer of a process, with the one of the world that wakes it."""

    __slots__ = ("outer",)

    outer: TimerHandle | None


class Process(SimulationLoop):
    """The event loop of one process.

    Args:
        world: the loop of the world.
        name: for messages.

    Attributes:
        is_dead: whether it was killed, or has exited.
    """

    def __init__(self, world: SimulationLoop, name: str) -> None:
        self.failures: list[dict[str, Any]] = []
        self.name = name
        self.is_dead = False
        self._world = world
        self._set: dict[_Timer, None] = {}

    @property
    def now_ns(self) -> int:  # type: ignore[override]
        """Virtual time, ns."""
        return self._world.now_ns

    # -- callbacks ---------------------------------------------------------------------------------

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        """Call back at the next turn, if the process still lives then."""
        handle = Handle(callback, args, self, context)
        if not self.is_dead:
            self._world.call_soon(self._run, handle)
        return handle

    def call_at_ns(
        self,
        when_ns: int,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> TimerHandle:
        """Call back at virtual time `when_ns`, if the process still lives then."""
        handle = _Timer(when_ns / 1e9, callback, args, self, context)
        handle.outer = None
        if not self.is_dead:
            handle.outer = self._world.call_at_ns(when_ns, self._wake, handle)
            self._set[handle] = None
        return handle

    def _timer_handle_cancelled(self, handle: TimerHandle) -> None:
        assert isinstance(handle, _Timer)
        self._set.pop(handle, None)
        if handle.outer is not None:
            handle.outer.cancel()

    def _wake(self, handle: _Timer) -> None:
        self._set.pop(handle, None)
        self._run(handle)

    def _run(self, handle: Handle) -> None:
        if self.is_dead or handle.cancelled():
            return
        outer = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        try:
            handle._run()
        finally:
            asyncio._set_running_loop(outer)

    def is_closed(self) -> bool:
        """Whether the process is dead."""
        return self.is_dead

    def is_running(self) -> bool:
        """Whether the process lives."""
        return not self.is_dead

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Note an exception that nobody caught; a dead process has none."""
        if not self.is_dead:
            super().call_exception_handler(context)

    # -- life --------------------------------------------------------------------------------------

    def spawn(self, work: Coroutine[Any, Any, Any], name: str = "") -> asyncio.Task[Any]:
        """Begin something in this process; in a dead one it never runs."""
        task = self.create_task(work, name=name)
        if self.is_dead:
            self._drop(task)
        return task

    def left(self) -> list[str]:
        """What would still run: tasks and timers."""
        if self.is_dead:
            return []
        tasks = [repr(task) for task in asyncio.all_tasks(self)]
        return tasks + [repr(timer) for timer in self._set]

    def kill(self) -> None:
        """End at once: nothing is closed, said or written any more."""
        self.is_dead = True
        for timer in list(self._set):
            timer.cancel()
        outer = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        try:
            for task in asyncio.all_tasks(self):
                self._drop(task)
        finally:
            asyncio._set_running_loop(outer)

    @staticmethod
    def _drop(task: asyncio.Task[Any]) -> None:
        """Let go of a task; what it does on its way out nobody hears, as the process is dead."""
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        coro: Any = task.get_coro()
        with contextlib.suppress(BaseException):
            coro.close()
