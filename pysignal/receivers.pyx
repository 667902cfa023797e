"""Receivers: sessions as delivery knows them, and how their listeners are called.

An event is made once; what differs from one listener to the next (a list in its arguments) is made
for each, so that nobody can change what another hears. Listeners are isolated: what one raises is
logged, and the others go on. Listeners with an `async def` method are called by their session's
courier.

A listener that overrides `on_signaling_events` hears events in batches. Each event joins its batch
at the moment at which its single callback would be called, so a batch has the order of the commits
and leaves nothing out; the whole is handed over when the drain comes to its end, or at the next
turn of the loop where the drain ran out of time.
"""

from libc.stdint cimport uint32_t, uint64_t

from pysignal.engine.facts cimport (
    FACT_ACCEPTED,
    FACT_CANCELLED,
    FACT_MODIFIED,
    FACT_OPENED,
    FACT_REJECTED,
    FACT_TIMED_OUT,
    Event,
)
from pysignal.engine.slab cimport NONE


cdef class Subscription:
    """One listener of one session, with the methods it overrides.

    Args:
        listener: the object that was added.
        methods: by number of the kind of event, the method or None.
        on_event: the method that hears every event, or None.
        on_events: the method that hears every event, in batches, or None.
        is_queued: whether its methods are called by the session's courier: all of them where one
            is `async def`, so that a listener hears everything in order.
    """

    def __init__(self, listener, list methods, on_event, on_events, bint is_queued):
        self.listener = listener
        self.active = True
        self.on_opened = methods[FACT_OPENED]
        self.on_accepted = methods[FACT_ACCEPTED]
        self.on_rejected = methods[FACT_REJECTED]
        self.on_cancelled = methods[FACT_CANCELLED]
        self.on_timed_out = methods[FACT_TIMED_OUT]
        self.on_modified = methods[FACT_MODIFIED]
        self.on_event = on_event
        self.on_events = on_events
        self.is_queued = is_queued
        self.is_plain = not is_queued and on_event is None and on_events is None

    cdef object method_for(self, Event event):
        """The method for the kind of an event, or None."""
        if event.code == FACT_OPENED:
            return self.on_opened
        if event.code == FACT_ACCEPTED:
            return self.on_accepted
        if event.code == FACT_REJECTED:
            return self.on_rejected
        if event.code == FACT_CANCELLED:
            return self.on_cancelled
        if event.code == FACT_TIMED_OUT:
            return self.on_timed_out
        return self.on_modified


cdef class Receiver:
    """One session, as far as delivery needs it.

    Attributes:
        online: nothing is delivered once it is False.
        signaling: the operations on invitations (SPEC §2).
        _subscriptions: replaced, never changed, so that a drain can walk it.
        _streams: queues of `session.events()`, with a method `put(event) -> bool`; replaced too.
        _commands: the hub's, once it is open.
        _watches: what its user follows by handles, in the order in which that began, as all that is
            told has one order.
        _since: what was queued before this number is not for the session: it logged in later.
    """

    def __init__(self, str user_id, str device_id):
        self.user_id = user_id
        self.device_id = device_id
        self.number = NONE
        self.subscriptions = []
        self._watches = {}

    def _set_device_number(self, uint32_t number):
        """Set the number that stands for the device in the engine."""
        self.device_number = number

    @property
    def _subscriptions(self):
        return self.subscriptions

    @_subscriptions.setter
    def _subscriptions(self, list subscriptions not None):
        self.only = subscriptions[0] if len(subscriptions) == 1 else None
        self.subscriptions = subscriptions

    @property
    def _streams(self):
        return [] if self.streams is None else self.streams

    @_streams.setter
    def _streams(self, list streams not None):
        self.streams = streams or None

    def _put(self, method, tuple args, Subscription subscription, about):
        """Queue a call for the session's courier; False when it is full. Overridden."""

    def _listener_failed(self, method, about):
        """Called when a listener has raised; overridden."""

    def _returned(self, result, method, Subscription subscription, about):
        """Called with what a plain method of a listener gave back; overridden."""

    def _overflow(self, about):
        """Called when a queue of this session is full; overridden."""

    def _take_batches(self):
        """Take the events that wait in batches out of them, in order."""
        cdef Subscription subscription
        cdef dict found = {}
        for subscription in self.subscriptions:
            if subscription.batch is not None:
                for event in subscription.batch:
                    found[(<Event>event).position] = event
                subscription.batch = None
        return list(map(found.get, sorted(found)))

    cdef int hear(self, Event event, uint64_t turn) except -1:
        """Hand an event to every listener and stream; returns what is to be done, by `Heard`."""
        cdef int wanted = 0
        if self.only is not None:
            wanted = self.tell(self.only, event, turn)
        else:
            for subscription in self.subscriptions:
                wanted |= self.tell(<Subscription>subscription, event, turn)
        if self.streams is not None and self.online:
            for stream in self.streams:
                if not stream.put(event):
                    self._overflow(event)
                    return wanted
                wanted |= self.is_filling(turn)
        return wanted

    cdef int tell(self, Subscription subscription, Event event, uint64_t turn) except -1:
        """Hand an event to one listener."""
        cdef int wanted = 0
        cdef object method = subscription.method_for(event)
        if subscription.is_plain:
            if method is not None and subscription.active and self.online:
                self.call(method, event, False, subscription)
            return 0
        if method is not None and subscription.active and self.online:
            if subscription.is_queued:
                self.queue(method, arguments(event), subscription, event)
                wanted |= self.is_filling(turn)
            else:
                self.call(method, event, False, subscription)
        method = subscription.on_event
        if method is not None and subscription.active and self.online:
            if subscription.is_queued:
                self.queue(method, (event,), subscription, event)
                wanted |= self.is_filling(turn)
            else:
                self.call(method, event, True, subscription)
        if subscription.on_events is not None and subscription.active and self.online:
            if subscription.batch is None:
                subscription.batch = [event]
                self.has_batch = True
                wanted |= HAS_BATCH
            else:
                subscription.batch.append(event)
        return wanted

    cdef int call(self, method, Event event, bint whole, Subscription subscription) except -1:
        """Call a plain method with an event, whole or as the parameters of its callback."""
        # What memory may run out for comes before the call: the listener has not heard it then.
        cdef list users = None if whole else users_told(event)
        try:
            result = method(event) if whole else call_with(method, event, users)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:
            self._listener_failed(method, event)
        else:
            if result is not None:
                self._returned(result, method, subscription, event)
        return 0

    cdef int queue(self, method, tuple args, Subscription subscription, about) except -1:
        if not self._put(method, args, subscription, about):
            self._overflow(about)
        return 0

    cdef bint is_filling(self, uint64_t turn) noexcept:
        """Count what went into a queue; whether it is so much that its reader should run."""
        if self.turn != turn:
            self.turn = turn
            self.queued = 0
        self.queued += 1
        return self.queued >= QUEUED_PER_TURN

    cdef int flush(self) except -1:
        """Hand over the batches."""
        cdef Subscription subscription
        self.has_batch = False
        cdef list batch
        for subscription in self.subscriptions:
            batch = subscription.batch
            if batch is None:
                continue
            if not subscription.active or not self.online:
                subscription.batch = None
                continue
            about = tuple(batch)    # the list is the listener's, who may change it
            if subscription.is_queued:
                self.queue(subscription.on_events, (batch,), subscription, about)
                subscription.batch = None
                continue
            subscription.batch = None
            try:
                result = subscription.on_events(batch)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException:
                self._listener_failed(subscription.on_events, about)
            else:
                if result is not None:
                    self._returned(result, subscription.on_events, subscription, about)
        return 0


cdef list users_told(Event event):
    """The users that a callback's parameters name in a list, or None; who gets it may change it."""
    if event.code == FACT_OPENED:
        return [event.invitee_one] if event.roll is None else list(event.roll.invitees)
    if event.code == FACT_TIMED_OUT:
        return list(event.affected)
    return None


cdef object call_with(method, Event event, list users):
    """Call a method with the parameters of V2TIM's callback (SPEC section 4)."""
    if event.code == FACT_OPENED:
        return method(
            event.invite_id, event.inviter, event.group_id, users, event.invitation_data,
        )
    if event.code == FACT_CANCELLED:
        return method(event.invite_id, event.inviter, event.data)
    if event.code == FACT_TIMED_OUT:
        return method(event.invite_id, users)
    if event.code == FACT_MODIFIED:
        return method(event.invite_id, event.data)
    # An answer is that of the only invitee, or of the one that has changed.
    invitee = event.invitee_one if event.changed is None else event.changed[0]
    return method(event.invite_id, invitee, event.data)


cdef tuple arguments(Event event):
    """The same parameters, for a call that waits."""
    return call_with(_as_tuple, event, users_told(event))


def _as_tuple(*args):
    return args


cdef class Account:
    """A user who is logged in, or whose devices are remembered.

    Attributes:
        online: the sessions that are logged in; replaced, never changed.
        devices: what is remembered of each device, by its ID.
    """

    def __init__(self, str user_id):
        self.user_id = user_id
        self.number = NONE
        self.sessions = []
        self.devices = {}

    @property
    def online(self):
        return self.sessions

    @online.setter
    def online(self, list sessions not None):
        self.count = len(sessions)
        self.only = sessions[0] if self.count == 1 else None
        self.sessions = sessions


cdef class Call:
    """A callback that is no event of an invitation.

    Args:
        name: the method of `Receiver._call_back`.
        args: its arguments.
        group_id: the group that it is about.

    Attributes:
        position: of the last commit that was queued for delivery before it.
    """

    def __init__(self, str name, tuple args, str group_id):
        self.name = name
        self.args = args
        self.group_id = group_id
