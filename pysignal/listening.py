"""A session that can be listened to: what every kind of session has, wherever its hub is.

It keeps the listeners and streams, and says how a listener is called that delivery does not call by
itself: one with `async def` methods, one for groups, one for the connection. Delivery hands events
to its compiled half, `Receiver`.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any, Literal

from pysignal.courier import About, Courier, call_back, events_of, log_failure
from pysignal.engine.facts import Event
from pysignal.errors import InvalidParameter, LimitExceeded, SignalingError
from pysignal.groups.callbacks import GroupListener
from pysignal.listeners import ConnectionListener, SignalingListener, overridden, subscribe
from pysignal.receivers import Call, Receiver, Subscription
from pysignal.streams import EventQueue, EventStream

Start = Literal["cold", "hot"]


class ListeningSession(Receiver):
    """One device of a user, as far as it is listened to.

    Args:
        user_id: the user.
        device_id: the device.
        queue_max: events waiting in one queue of it at most; one more disconnects it.
        couriers: those whose task runs; its own enters and leaves it.
    """

    def __init__(
        self, user_id: str, device_id: str, queue_max: int, couriers: dict[Courier, None]
    ) -> None:
        super().__init__(user_id, device_id)
        self._queue_max = queue_max
        self._couriers = couriers
        self._courier: Courier | None = None  # made when there is something to call
        self._connection_listeners: list[Subscription] = []
        self._group_listeners: list[Subscription] = []

    # -- what each kind of session does in its own way ---------------------------------------------

    def _require(self) -> None:
        """Refuse a call without a login, or from another thread."""
        raise NotImplementedError

    def _require_thread(self) -> None:
        """Refuse a call from another thread than that of the event loop."""
        raise NotImplementedError

    def _call_soon(self, call: Callable[..., object], *args: Any) -> None:
        """Call back at a later turn of the event loop, in the order of these calls."""
        raise NotImplementedError

    def _disconnect(self, error: SignalingError, missed: tuple[Event, ...]) -> None:
        """End the session, as a queue of it is full.

        Args:
            error: why.
            missed: events that found no room.
        """
        raise NotImplementedError

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
        self._require_thread()
        self._connection_listeners = _without(self._connection_listeners, listener)

    def add_signaling_listener(self, listener: SignalingListener) -> None:
        """Add a listener for invitations; see `Signaling.add_signaling_listener`."""
        self._check_listener(listener, SignalingListener)
        if not _has(self._subscriptions, listener):
            self._subscriptions = [*self._subscriptions, subscribe(listener, SignalingListener)]

    def remove_signaling_listener(self, listener: SignalingListener) -> None:
        """Remove a listener for invitations; nothing is called once this has returned."""
        self._require_thread()
        self._subscriptions = _without(self._subscriptions, listener)

    def add_group_listener(self, listener: GroupListener) -> None:
        """Add a listener for groups; see `GroupOperations.add_group_listener`."""
        self._check_listener(listener, GroupListener)
        if not _has(self._group_listeners, listener):
            self._group_listeners = [*self._group_listeners, subscribe(listener, GroupListener)]

    def remove_group_listener(self, listener: GroupListener) -> None:
        """Remove a listener for groups; nothing is called once this has returned."""
        self._require_thread()
        self._group_listeners = _without(self._group_listeners, listener)

    def _check_listener(self, listener: object, base: type) -> None:
        self._require_thread()
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
        queue = EventQueue(self._queue_max)
        self._streams = [*self._streams, queue]
        return EventStream(queue, lambda: self._drop(queue))

    def _drop(self, queue: EventQueue) -> None:
        self._streams = [other for other in self._streams if other is not queue]

    def _end_streams(self) -> None:
        """Let every reader of `events()` come to its end."""
        for queue in self._streams:
            queue.end()
        self._streams = []

    def _tell_connection(self, callback: str, *args: Any) -> None:
        """Call a method of every connection listener, soon."""
        for subscription in self._connection_listeners:
            method = overridden(subscription.listener, ConnectionListener, callback)
            if method is not None:
                self._call_soon(self._call, subscription, method, args, "the connection")

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
            self._courier = Courier(self._queue_max, self._couriers)
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
                f"over {self._queue_max} events wait for a slow listener: the session "
                "was disconnected, log in hot to catch up"
            )
            self._disconnect(error, events_of(about))

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
