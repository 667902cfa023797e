"""A session: one device of a user, and the interface that code is written against.

The same interface stands in front of an embedded hub and of a server far away, so that code moves
between them unchanged. A session does nothing until it is logged in; a newer login of the same
device, a logout, an overflowing queue and the end of the hub all end it for good, except that it
may log in again.
"""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, Literal, Self

from pysignal.delivery import Call, Receiver, Subscription
from pysignal.engine.facts import Event
from pysignal.errors import HubClosed, InvalidParameter, LimitExceeded, NotLoggedIn, SignalingError
from pysignal.group_events import GroupListener
from pysignal.groups import GroupOperations
from pysignal.listeners import (
    ConnectionListener,
    Courier,
    SignalingListener,
    is_async,
    log_failure,
    overridden,
    subscribe,
)
from pysignal.presence import Snapshot
from pysignal.signaling import Signaling

if TYPE_CHECKING:
    from pysignal.hub import Hub
    from pysignal.invitation import Watch

Start = Literal["cold", "hot"]


class Session(Receiver):
    """One device of a user; made by `Hub.session` and `Hub.login`.

    Attributes:
        user_id: the user.
        device_id: the device.
        signaling: the operations on invitations (SPEC §2).
        groups: the operations on groups (SPEC §8).
        snapshot: what the last login found: open invitations, and those that ended meanwhile.
    """

    def __init__(self, hub: Hub, user_id: str, device_id: str) -> None:
        super().__init__(user_id, device_id)
        self.hub = hub
        self.signaling = Signaling(self)
        self.groups = GroupOperations(self)
        self.snapshot = Snapshot(0)
        self.courier = Courier(hub.limits.queue_max, hub.couriers)
        self.watches: set[Watch] = set()
        self._connection_listeners: list[Subscription] = []
        self._group_listeners: list[Subscription] = []
        self._end: SignalingError | None = None

    # -- login -------------------------------------------------------------------------------------

    async def login(self, start: Start = "cold") -> None:
        """Come online. Callbacks begin after this has returned.

        Args:
            start: `"cold"` for a new process, which is told again what waits for an answer; `"hot"`
                for the same device coming back, which is told what it has missed (SPEC §7).

        Raises:
            LimitExceeded: the user has too many sessions.
            HubClosed: the hub is not open.
        """
        if start not in ("cold", "hot"):
            raise InvalidParameter("start", f'"cold" or "hot", not {start!r}')
        await self.hub.log_in(self, start == "cold")

    async def logout(self) -> None:
        """Go offline. Invitations stay as they are; waiting outcomes fail with 6014."""
        self.require()
        self.hub.log_out(self, NotLoggedIn("the session has logged out: log in again"))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.online:
            await self.logout()

    def require(self) -> None:
        """Refuse a call without a login, or from another thread."""
        self.hub.require_thread()
        if self.online:
            return
        if not self.hub.is_open:
            raise HubClosed("the hub is not open: use it inside `async with Hub() as hub`")
        if self._end is not None:
            raise NotLoggedIn(f"the session is not logged in: {self._end.message}")
        raise NotLoggedIn("the session is not logged in: await session.login() first")

    def ended(self, error: SignalingError, callback: str = "") -> None:
        """Note that the session is offline; called by the hub once it is.

        Args:
            error: why.
            callback: the method of `ConnectionListener` that hears it, if any.
        """
        self._end = error
        for stream in list(self.streams):
            stream.end()
        failure = error if isinstance(error, HubClosed) else NotLoggedIn(error.message)
        for watch in list(self.watches):
            watch.fail(failure)
        if callback:
            for subscription in self._connection_listeners:
                method = overridden(subscription.listener, ConnectionListener, callback)
                if method is not None:
                    self.hub.call_soon(self._call, subscription, method, (error,), "the connection")

    # -- listeners ---------------------------------------------------------------------------------

    def add_connection_listener(self, listener: ConnectionListener) -> None:
        """Add a listener for the session itself; the same one twice counts once."""
        self._check_listener(listener, ConnectionListener)
        if not _has(self._connection_listeners, listener):
            self._connection_listeners = [*self._connection_listeners, _subscribe(listener)]

    def remove_connection_listener(self, listener: ConnectionListener) -> None:
        """Remove a listener; one that was not added is no error."""
        self.hub.require_thread()
        self._connection_listeners = _without(self._connection_listeners, listener)

    def add_signaling_listener(self, listener: SignalingListener) -> None:
        """Add a listener for invitations; see `Signaling.add_signaling_listener`."""
        self._check_listener(listener, SignalingListener)
        if not _has(self.subscriptions, listener):
            self.subscriptions = [*self.subscriptions, subscribe(listener)]

    def remove_signaling_listener(self, listener: SignalingListener) -> None:
        """Remove a listener for invitations; nothing is called once this has returned."""
        self.hub.require_thread()
        self.subscriptions = _without(self.subscriptions, listener)

    def add_group_listener(self, listener: GroupListener) -> None:
        """Add a listener for groups; see `GroupOperations.add_group_listener`."""
        self._check_listener(listener, GroupListener)
        if not _has(self._group_listeners, listener):
            self._group_listeners = [*self._group_listeners, _subscribe(listener)]

    def remove_group_listener(self, listener: GroupListener) -> None:
        """Remove a listener for groups; nothing is called once this has returned."""
        self.hub.require_thread()
        self._group_listeners = _without(self._group_listeners, listener)

    def _check_listener(self, listener: object, base: type) -> None:
        self.hub.require_thread()
        if not isinstance(listener, base):
            raise InvalidParameter(
                "listener", f"an instance of {base.__name__}, not {type(listener).__name__}"
            )

    def events(self) -> AsyncIterator[Event]:
        """Iterate over everything that the session hears from now on.

        Ends at logout. An iterator that is not read and has too many events waiting disconnects the
        session, as a slow listener does.
        """
        self.require()
        return _Events(_Stream(self, self.hub.limits.queue_max))

    # -- called by delivery ------------------------------------------------------------------------

    def listener_failed(self, method: Callable[..., Any], about: Event | str) -> None:
        """Log what a listener has raised."""
        log_failure(method, about)

    def overflow(self, about: Event | str) -> None:
        """Disconnect: nobody waits for a slow listener, and nothing is dropped in silence."""
        if self.online:
            error = LimitExceeded(
                f"over {self.hub.limits.queue_max} events wait for a slow listener: the session "
                "was disconnected, log in hot to catch up"
            )
            missed = [about] if isinstance(about, Event) else []
            self.hub.log_out(self, error, "on_disconnected", missed)

    def call_back(self, call: Call) -> None:
        """Call the group listeners."""
        for subscription in self._group_listeners:
            if not self.online:
                return
            method = overridden(subscription.listener, GroupListener, call.name)
            if method is not None:
                self._call(subscription, method, tuple(map(_own, call.args)), call.about)

    def _call(
        self,
        subscription: Subscription,
        method: Callable[..., Any],
        args: tuple[Any, ...],
        about: str,
    ) -> None:
        if not subscription.active:
            return
        if is_async(method):
            if not self.courier.put(method, args, subscription, about):
                self.overflow(about)
            return
        try:
            method(*args)
        except (Exception, asyncio.CancelledError):
            log_failure(method, about)

    def __repr__(self) -> str:
        state = "online" if self.online else "offline"
        return f"<Session {self.user_id} device {self.device_id} {state}>"


class _Stream:
    """The queue behind an iterator over a session's events."""

    def __init__(self, session: Session, capacity: int) -> None:
        self._session = session
        self._capacity = capacity
        self._waiting: deque[Event] = deque()
        self._reader: asyncio.Future[None] | None = None
        self._ended = False
        session.streams = [*session.streams, self]

    def put(self, event: Event) -> bool:
        """Queue an event; False when there is no room."""
        if len(self._waiting) >= self._capacity:
            return False
        self._waiting.append(event)
        self._wake()
        return True

    def end(self) -> None:
        """Let the iteration end after what is queued."""
        self._ended = True
        self._session.streams = [other for other in self._session.streams if other is not self]
        self._wake()

    def close(self) -> None:
        """Stop listening, and drop what is queued."""
        self._waiting.clear()
        self.end()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def take(self) -> Event:
        """Return the next event, or raise StopAsyncIteration after the last."""
        while not self._waiting:
            if self._ended:
                raise StopAsyncIteration
            if self._reader is not None:
                raise RuntimeError("events() is read by another task: make one iterator for each")
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        return self._waiting.popleft()


class _Events:
    """An iterator over a session's events; dropping it stops listening."""

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        return await self._stream.take()

    async def aclose(self) -> None:
        """Stop listening."""
        self._stream.close()

    def __del__(self) -> None:
        self._stream.close()


def _subscribe(listener: object) -> Subscription:
    """Enter a listener whose methods are looked up at each call."""
    return Subscription(listener, [], None, is_async)


def _own(argument: Any) -> Any:
    """A listener's own copy of a list or dict, so that nobody can change what another hears."""
    if isinstance(argument, list):
        return list(argument)
    return copy.deepcopy(argument) if isinstance(argument, dict) else argument


def _has(subscriptions: list[Subscription], listener: object) -> bool:
    return any(other.listener is listener for other in subscriptions)


def _without(subscriptions: list[Subscription], listener: object) -> list[Subscription]:
    """Drop a listener, and what is queued for it."""
    for other in subscriptions:
        if other.listener is listener:
            other.active = False
    return [other for other in subscriptions if other.active]
