"""A session: one device of a user, and the interface that code is written against.

The same interface stands in front of an embedded hub and of a server far away, so that code moves
between them unchanged. A session does nothing until it is logged in; a newer login of the same
device, a logout, an overflowing queue and the end of the hub all end it for good, except that it
may log in again.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from pysignal.courier import About, Courier, call_back, events_of, log_failure
from pysignal.engine.facts import Event
from pysignal.engine.views import InvitationInfo
from pysignal.errors import (
    HubClosed,
    InvalidParameter,
    LimitExceeded,
    NotLoggedIn,
    OutcomeUnknown,
    SignalingError,
)
from pysignal.groups.callbacks import GroupListener
from pysignal.groups.operations import GroupOperations
from pysignal.listeners import (
    ConnectionListener,
    SignalingListener,
    overridden,
    subscribe,
)
from pysignal.presence import Snapshot
from pysignal.receivers import Call, Receiver, Subscription
from pysignal.signaling import Signaling
from pysignal.streams import EventQueue, EventStream

if TYPE_CHECKING:
    from pysignal.following import Watch
    from pysignal.hub import Hub

# Waits that fail in one turn of the loop, when their session ends.
FAILED_PER_TURN: Final = 512

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

    signaling: Signaling

    def __init__(self, hub: Hub, user_id: str, device_id: str) -> None:
        super().__init__(user_id, device_id)
        self.hub = hub
        self.signaling = Signaling(self)
        self.groups = GroupOperations(self)
        self.snapshot = Snapshot(0)
        self._courier: Courier | None = None  # made when there is something to call
        self._connection_listeners: list[Subscription] = []
        self._group_listeners: list[Subscription] = []
        self._is_abandoned = False
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
        await self.hub._log_in(self, start == "cold")

    async def logout(self) -> None:
        """Go offline. Invitations stay as they are; waiting outcomes fail with 6014."""
        self._require()
        self.hub._log_out(self, NotLoggedIn("the session has logged out: log in again"))
        # So that the device is not rung again after a restart. A journal that has failed is told of
        # by every operation, and need keep nobody from leaving.
        with suppress(OutcomeUnknown):
            await self.hub._until_durable()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.online and self.hub.is_open:  # else the end of the hub logs it out
            await self.logout()

    def _require(self) -> None:
        """Refuse a call without a login, or from another thread."""
        self.hub._require()
        if self.online:
            return
        if self._end is not None:
            raise NotLoggedIn(f"the session is not logged in: {self._end.message}")
        raise NotLoggedIn("the session is not logged in: await session.login() first")

    def _abandon(self) -> None:
        """Let a login that was given up come to nothing; called where nobody has the session."""
        self._is_abandoned = True
        if self.online:
            self.hub._log_out(self, NotLoggedIn("the login was given up"))

    def _may_follow(self, info: InvitationInfo) -> bool:
        """Whether the session hears of an invitation: as a party, or as a member of its group."""
        if self.user_id == info.inviter or self.user_id in info.statuses:
            return True
        groups = self.hub.shard.groups
        return not info.parties_only and groups.is_member(info.group_id, self.user_id)

    def _ended(self, error: SignalingError, callback: str = "") -> None:
        """Note that the session is offline; called by the hub once it is.

        Args:
            error: why.
            callback: the method of `ConnectionListener` that hears it, if any.
        """
        self._end = error
        for queue in self._streams:
            queue.end()
        self._streams = []
        failure = error if isinstance(error, HubClosed) else NotLoggedIn(error.message)
        self._fail(list(reversed(self._watches)), failure)
        if callback:
            for subscription in self._connection_listeners:
                method = overridden(subscription.listener, ConnectionListener, callback)
                if method is not None:
                    self.hub._call_soon(
                        self._call, subscription, method, (error,), "the connection"
                    )

    def _fail(self, watches: list[Watch], error: SignalingError) -> None:
        """Fail those who wait for an invitation, some at each turn: there may be thousands."""
        for _ in range(min(FAILED_PER_TURN, len(watches))):
            watches.pop().fail(error)
        if watches:
            self.hub._call_soon(self._fail, watches, error)

    # -- listeners ---------------------------------------------------------------------------------

    def add_connection_listener(self, listener: ConnectionListener) -> None:
        """Add a listener for the session itself; the same one twice counts once."""
        self._check_listener(listener, ConnectionListener)
        if not _has(self._connection_listeners, listener):
            self._connection_listeners = [
                *self._connection_listeners,
                subscribe(listener, ConnectionListener),
            ]

    def remove_connection_listener(self, listener: ConnectionListener) -> None:
        """Remove a listener; one that was not added is no error."""
        self.hub._require_thread()
        self._connection_listeners = _without(self._connection_listeners, listener)

    def add_signaling_listener(self, listener: SignalingListener) -> None:
        """Add a listener for invitations; see `Signaling.add_signaling_listener`."""
        self._check_listener(listener, SignalingListener)
        if not _has(self._subscriptions, listener):
            self._subscriptions = [*self._subscriptions, subscribe(listener, SignalingListener)]

    def remove_signaling_listener(self, listener: SignalingListener) -> None:
        """Remove a listener for invitations; nothing is called once this has returned."""
        self.hub._require_thread()
        self._subscriptions = _without(self._subscriptions, listener)

    def add_group_listener(self, listener: GroupListener) -> None:
        """Add a listener for groups; see `GroupOperations.add_group_listener`."""
        self._check_listener(listener, GroupListener)
        if not _has(self._group_listeners, listener):
            self._group_listeners = [*self._group_listeners, subscribe(listener, GroupListener)]

    def remove_group_listener(self, listener: GroupListener) -> None:
        """Remove a listener for groups; nothing is called once this has returned."""
        self.hub._require_thread()
        self._group_listeners = _without(self._group_listeners, listener)

    def _check_listener(self, listener: object, base: type) -> None:
        self.hub._require_thread()
        if not isinstance(listener, base):
            raise InvalidParameter(
                "listener", f"an instance of {base.__name__}, not {type(listener).__name__}"
            )

    def events(self) -> EventStream:
        """Iterate over everything that the session hears from now on.

        Ends at logout. An iterator that is not read and has too many events waiting disconnects the
        session, as a slow listener does.
        """
        self._require()
        queue = EventQueue(self.hub.limits.queue_max)
        self._streams = [*self._streams, queue]
        return EventStream(queue, lambda: self._drop(queue))

    def _drop(self, queue: EventQueue) -> None:
        self._streams = [other for other in self._streams if other is not queue]

    # -- called by delivery ------------------------------------------------------------------------

    def _put(
        self,
        method: Callable[..., Any],
        args: tuple[Any, ...],
        subscription: Subscription,
        about: About,
    ) -> bool:
        """Queue a call for the courier; False when it is full."""
        if self._courier is None:
            self._courier = Courier(self.hub.limits.queue_max, self.hub._couriers)
        return self._courier.put(method, args, subscription, about)

    def _close_courier(self) -> list[Event]:
        """Drop what waits for the courier, and return the events among it."""
        return [] if self._courier is None else self._courier.close()

    def _listener_failed(self, method: Callable[..., Any], about: About) -> None:
        """Log what a listener has raised."""
        log_failure(method, about)

    def _returned(
        self,
        result: object,
        method: Callable[..., Any],
        subscription: Subscription,
        about: About,
    ) -> None:
        """Run what a plain method gave back, if it can be awaited."""
        if inspect.isawaitable(result) and not self._put(call_back, (result,), subscription, about):
            self._overflow(about)

    def _overflow(self, about: About) -> None:
        """Disconnect: nobody waits for a slow listener, and nothing is dropped in silence."""
        if self.online:
            error = LimitExceeded(
                f"over {self.hub.limits.queue_max} events wait for a slow listener: the session "
                "was disconnected, log in hot to catch up"
            )
            missed = events_of(about)
            self.hub._log_out(self, error, "on_disconnected", missed)

    def _call_back(self, call: Call) -> None:
        """Call the group listeners."""
        for subscription in self._group_listeners:
            if not self.online:
                return
            method = overridden(subscription.listener, GroupListener, call.name)
            if method is not None:
                self._call(subscription, method, tuple(map(_own, call.args)), call)

    def _call(
        self,
        subscription: Subscription,
        method: Callable[..., Any],
        args: tuple[Any, ...],
        about: Call | str,
    ) -> None:
        if not subscription.active:
            return
        if subscription.is_queued:
            if not self._put(method, args, subscription, about):
                self._overflow(about)
            return
        try:
            result = method(*args)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:
            log_failure(method, about)
        else:
            self._returned(result, method, subscription, about)

    def __repr__(self) -> str:
        state = "online" if self.online else "offline"
        return f"<Session {self.user_id} device {self.device_id} {state}>"


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
