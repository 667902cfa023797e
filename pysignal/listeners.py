"""Listener base classes, and how a listener's methods are found and called.

A listener is a subclass that overrides what it wants to hear. A listener of plain methods is called
by the hub when it delivers; one with an `async def` method is called by its session's courier, one
task that runs all such calls one after another. A listener that raises is logged and harms nobody
else.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from pysignal.delivery import Call, Subscription
from pysignal.engine.facts import Event
from pysignal.errors import SignalingError

log = logging.getLogger("pysignal")

# How long the end of a hub waits for what listeners do about it, seconds.
STOP_S = 1.0


class SignalingListener:
    """Override what you want to hear; each method can be a plain one or `async def`.

    Plain methods are called when the hub delivers. A listener with an `async def` method is called,
    with all its methods, in one task of its session, so that it hears everything in order.

    Who hears what is the table of SPEC §4: the acting session hears nothing of what it did itself,
    the actor's other sessions do. Users, groups and invitations are given by their IDs.
    """

    def on_receive_new_invitation(
        self, invite_id: str, inviter: str, group_id: str, invitee_list: list[str], data: str
    ) -> Awaitable[None] | None:
        """Hear of a new invitation.

        Args:
            invite_id: its ID, for `accept`, `reject` and `cancel`.
            inviter: who invites.
            group_id: the group, `""` where there is none.
            invitee_list: who is invited, in the order of invitation.
            data: the inviter's data, byte-exact.
        """
        return None

    def on_invitee_accepted(
        self, invite_id: str, invitee: str, data: str
    ) -> Awaitable[None] | None:
        """Hear that an invitee accepted.

        Args:
            invite_id: the invitation.
            invitee: who accepted; yourself where another device of yours did.
            data: the invitee's data.
        """
        return None

    def on_invitee_rejected(
        self, invite_id: str, invitee: str, data: str
    ) -> Awaitable[None] | None:
        """Hear that an invitee rejected, or left the group while pending (data `""`).

        Args:
            invite_id: the invitation.
            invitee: who rejected.
            data: the invitee's data.
        """
        return None

    def on_invitation_cancelled(
        self, invite_id: str, inviter: str, data: str
    ) -> Awaitable[None] | None:
        """Hear that an invitation was cancelled.

        Args:
            invite_id: the invitation.
            inviter: who had invited.
            data: the inviter's data, `""` where the server or a group change cancelled.
        """
        return None

    def on_invitation_timeout(
        self, invite_id: str, invitee_list: list[str]
    ) -> Awaitable[None] | None:
        """Hear that an invitation's deadline has passed.

        Args:
            invite_id: the invitation.
            invitee_list: who had not answered, in the order of invitation.
        """
        return None

    def on_invitation_modified(self, invite_id: str, data: str) -> Awaitable[None] | None:
        """Hear that the inviter replaced the invitation's data.

        Args:
            invite_id: the invitation.
            data: the new data.
        """
        return None

    def on_signaling_event(self, event: Event) -> Awaitable[None] | None:
        """Hear any of the above as one object, with all that the callbacks have no room for.

        Args:
            event: shared by all who hear it, and read-only.
        """
        return None


class ConnectionListener:
    """Override what you want to hear of the session itself; plain methods or `async def`."""

    def on_disconnected(self, error: SignalingError) -> Awaitable[None] | None:
        """Hear that the session has ended without a logout.

        Args:
            error: why: the session was too slow (7008; log in hot to catch up), or the hub was
                closed (6013).
        """
        return None

    def on_kicked_offline(self, error: SignalingError) -> Awaitable[None] | None:
        """Hear that a newer login of the same device took this session's place.

        Args:
            error: code 6208.
        """
        return None


# The method for each kind of event, by the number of the kind (`Event.kind`).
_METHODS = (
    "",
    "on_receive_new_invitation",
    "on_invitee_accepted",
    "on_invitee_rejected",
    "on_invitation_cancelled",
    "on_invitation_timeout",
    "on_invitation_modified",
)


def subscribe(listener: object, base: type) -> Subscription:
    """Look up what a listener overrides, once.

    Where one of its methods is `async def`, all are called by the session's courier: what a
    listener hears is in order, however its methods are written.
    """
    found = {
        name: overridden(listener, base, name) for name in vars(base) if name.startswith("on_")
    }
    return Subscription(
        listener,
        [found.get(name) for name in _METHODS],
        found.get("on_signaling_event"),
        any(method is not None and is_async(method) for method in found.values()),
    )


def overridden(listener: object, base: type, name: str) -> Callable[..., Any] | None:
    """Return a listener's method, or None where it is the one of the base class."""
    method: Callable[..., Any] = getattr(listener, name)
    if getattr(method, "__func__", None) is getattr(base, name):
        return None
    return method


def is_async(method: Callable[..., Any]) -> bool:
    """Whether a method is `async def`."""
    return inspect.iscoroutinefunction(method) or inspect.iscoroutinefunction(
        getattr(method, "__call__", None)  # noqa: B004 - an object whose __call__ is async
    )


# A call that waits: the method, its arguments, whose it is, and the event or group it is about.
_Waiting = tuple[Callable[..., Any], tuple[Any, ...], Subscription | None, Event | Call | str]


class Courier:
    """Calls the listeners of one session that have `async def` methods, in one task, in order.

    The task lives only while there is something to run.

    Args:
        capacity: events (or other news) waiting at most; each may mean several calls.
        running: the couriers of the hub whose task runs; this one enters and leaves it.
    """

    def __init__(self, capacity: int, running: set[Courier]) -> None:
        self._waiting: deque[_Waiting] = deque()
        self._capacity = capacity
        self._count = 0
        self._running = running
        self._task: asyncio.Task[None] | None = None
        self._is_calling = False

    def put(
        self,
        method: Callable[..., Any],
        args: tuple[Any, ...],
        subscription: Subscription | None,
        about: Event | Call | str,
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
                return False
            self._count += 1
        self._waiting.append((method, args, subscription, about))
        self._start()
        return True

    def _start(self) -> None:
        # A task that was cancelled before its first step is done without having run.
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())
            self._running.add(self)

    async def _run(self) -> None:
        try:
            while self._waiting:
                method, args, subscription, about = self._waiting.popleft()
                if not self._waiting or self._waiting[0][3] is not about:
                    self._count -= 1
                if subscription is None or subscription.active:
                    self._is_calling = True
                    await guarded(method, args, about)
                    self._is_calling = False
        finally:
            self._is_calling = False
            self._task = None
            self._running.discard(self)
            if self._waiting:  # the task was cancelled, by a listener of its own perhaps
                self._start()

    def close(self) -> list[Event]:
        """Drop what waits, and return the events among it. The call that is running may finish."""
        dropped = [waiting[3] for waiting in self._waiting]
        self._clear()
        return [about for about in dropped if isinstance(about, Event)]

    def _clear(self) -> None:
        self._waiting.clear()
        self._count = 0

    async def stop(self, closers: set[asyncio.Task[Any] | None]) -> None:
        """Cancel what runs, and end what waits (news of the end) within `STOP_S`.

        Args:
            closers: tasks that wait for this; a courier which is one of them goes on by itself.
        """
        if self._task in closers:
            return
        if self._is_calling:
            await self._cancel()
        if self._task is not None and self._waiting:
            await asyncio.wait({self._task}, timeout=STOP_S)
        self._clear()
        await self._cancel()

    async def _cancel(self) -> None:
        task = self._task
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def guarded(
    method: Callable[..., Any], args: tuple[Any, ...], about: Event | Call | str
) -> None:
    """Call a listener's method, and await it if need be; what it raises is logged."""
    try:
        result = method(*args)
        if inspect.isawaitable(result):
            await result
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        log_failure(method, about)
    except Exception:
        log_failure(method, about)


def log_failure(method: Callable[..., Any], about: Event | Call | str) -> None:
    """Log that a listener raised, with the invitation or group, never with its data."""
    name = getattr(method, "__qualname__", repr(method))
    if isinstance(about, Event):
        about = about.invite_id
    elif isinstance(about, Call):
        about = about.group_id
    log.error("listener %s raised on %s", name, about, exc_info=True)  # noqa: LOG014
