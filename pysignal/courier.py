"""The courier of a session: calls its listeners that have `async def` methods, in order.

One task for all of them, so that what a session hears is in the order of the commits. It lives only
while there is something to call. Whatever a listener raises is logged, and so is its cancelling of
the task it runs in: neither takes anything from the listeners after it.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from operator import attrgetter
from typing import Any

from pysignal.engine.facts import Event
from pysignal.receivers import Call, Subscription

log = logging.getLogger("pysignal")

# How long the end of a hub waits for a listener at each step, seconds.
STOP_S = 1.0

# What a call is about: an event, a batch of them, a group's callback, or something else by name.
About = Event | tuple[Event, ...] | Call | str

# A call that waits: the method, its arguments, whose it is, and what it is about.
_Waiting = tuple[Callable[..., Any], tuple[Any, ...], Subscription, About]


class Courier:
    """Calls the listeners of one session that have `async def` methods, in one task, in order.

    Args:
        capacity: events (or other news) waiting at most; each may mean several calls.
        running: the couriers of the hub whose task runs; this one enters and leaves it.
    """

    def __init__(self, capacity: int, running: dict[Courier, None]) -> None:
        self._waiting: deque[_Waiting] = deque()
        self._capacity = capacity
        self._count = 0
        self._running = running
        self._task: asyncio.Task[None] | None = None
        self._is_calling = False
        self._is_stopping = False

    def put(
        self,
        method: Callable[..., Any],
        args: tuple[Any, ...],
        subscription: Subscription,
        about: About,
    ) -> bool:
        """Queue a call; False when there is no room.

        Args:
            method: of a listener.
            args: its arguments.
            subscription: the call is dropped when this has been removed meanwhile.
            about: the event, or what the call is about, for the log.
        """
        if not self._waiting or self._waiting[-1][3] is not about:
            if self._count >= self._capacity:
                _discard(args)
                return False
            self._count += _events_in(about)
        self._waiting.append((method, args, subscription, about))
        self._start()
        return True

    def _start(self) -> None:
        if self._task is None:
            self._running[self] = None
            task = asyncio.get_running_loop().create_task(self._run())
            try:
                task.add_done_callback(self._ended)
            except MemoryError:
                task.cancel()  # nobody would note its end
                raise
            self._task = task

    def _ended(self, _: asyncio.Task[None]) -> None:
        self._task = None
        self._is_calling = False
        self._running.pop(self, None)
        if self._waiting and not self._is_stopping:  # somebody has cancelled the task
            self._start()

    async def _run(self) -> None:
        task = asyncio.current_task()
        while self._waiting:
            method, args, subscription, about = self._waiting.popleft()
            if not self._waiting or self._waiting[0][3] is not about:
                self._count -= _events_in(about)
            if not subscription.active:
                _discard(args)
                continue
            self._is_calling = True
            await self._call(method, args, about)
            self._is_calling = False
            if task is not None and task.cancelling() and not self._is_stopping:
                await _withdraw_cancellation(task)

    async def _call(self, method: Callable[..., Any], args: tuple[Any, ...], about: About) -> None:
        try:
            result = method(*args)
            if inspect.isawaitable(result):
                await result
        except asyncio.CancelledError:
            if self._is_stopping:
                raise
            log_failure(method, about)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:
            log_failure(method, about)

    def close(self) -> list[Event]:
        """Drop what waits, and return the events among it. The call that is running may finish."""
        dropped = list(self._waiting)
        self._waiting.clear()
        self._count = 0
        for _, args, _, _ in dropped:
            _discard(args)
        events = dict.fromkeys(event for call in dropped for event in events_of(call[3]))
        return sorted(events, key=attrgetter("position"))

    def oldest(self) -> Event | Call | None:
        """Return the first event, or callback of a group, that waits."""
        for _, _, _, about in self._waiting:
            if isinstance(about, tuple):
                return about[0]
            if not isinstance(about, str):
                return about
        return None

    async def stop(self, closers: set[asyncio.Task[Any] | None]) -> None:
        """Cancel what runs, and end what waits (news of the end) within a few seconds.

        Args:
            closers: tasks that wait for this; a courier which is one of them goes on by itself.
        """
        if self._task in closers:
            return
        if self._is_calling and self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=STOP_S)
        if self._task is not None and self._waiting:
            await asyncio.wait({self._task}, timeout=STOP_S)
        self._is_stopping = True
        self.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=STOP_S)


async def call_back(result: Any) -> None:
    """Await what a plain method has given back."""
    await result


def events_of(about: About) -> tuple[Event, ...]:
    """Return the events that a call is about."""
    if isinstance(about, tuple):
        return about
    return (about,) if isinstance(about, Event) else ()


def _events_in(about: About) -> int:
    """How much of the queue a call takes up."""
    return len(about) if isinstance(about, tuple) else 1


def log_failure(method: Callable[..., Any], about: About) -> None:
    """Log that a listener raised, with the invitation or group, never with its data."""
    name = getattr(method, "__qualname__", repr(method))
    if isinstance(about, tuple):
        about = about[-1]
    if isinstance(about, Event):
        about = about.invite_id
    elif isinstance(about, Call):
        about = about.group_id
    log.error("listener %s raised on %s", name, about, exc_info=True)  # noqa: LOG014


async def _withdraw_cancellation(task: asyncio.Task[Any]) -> None:
    """Undo that a listener has cancelled the task it runs in."""
    with contextlib.suppress(asyncio.CancelledError):  # where it was not thrown yet
        await asyncio.sleep(0)
    while task.uncancel():
        pass


def _discard(args: tuple[Any, ...]) -> None:
    """Close a coroutine that nobody will await any more."""
    for arg in args:
        if isinstance(arg, Coroutine):
            arg.close()
