"""Delivery: the queue between what was committed and who hears it.

The hub puts each event in with its receivers, worked out at the commit, in commit order; once a
turn of the event loop it drains the queue. A listener therefore never runs inside the call that
caused an event, and who logs in or joins a group between the two hears nothing of it twice.

A drain stops after a given time and goes on at the next turn, in the middle of an event with many
receivers if need be. Events that rest on records which are not durable yet stay in the queue, and
all behind them.

An event is made once; what differs from one listener to the next (a list in its arguments) is made
for each, so that nobody can change what another hears. Listeners are isolated: what one raises is
logged, and the others go on. Listeners with an `async def` method are called by their session's
courier.
"""

from collections import deque

from libc.stdint cimport uint32_t, uint64_t

from pysignal.engine.facts cimport (
    FACT_CANCELLED,
    FACT_MODIFIED,
    FACT_OPENED,
    FACT_TIMED_OUT,
    Event,
    Roll,
    event_new,
)
from pysignal.engine.views cimport InvitationInfo

# Listeners called between two looks at the clock, while they take no longer than that each.
cdef enum:
    CALLS_PER_LOOK_MAX = 32
    QUICK_NS = 20_000

# Deliveries taken for a sink at once, a little over.
cdef enum: TAKEN_MAX = 4096

# Handles that are fed between two looks at the clock, at most.
cdef enum: FEEDS_PER_LOOK = 8

# Events kept after they were handed over, for handles that begin to follow a moment late.
cdef enum: RECENT = 1024


cdef class Subscription:
    """One listener of one session, with the methods it overrides.

    Args:
        listener: the object that was added.
        methods: by number of the kind of event, the method or None.
        on_event: the method that hears every event, or None.
        is_queued: whether its methods are called by the session's courier: all of them where one
            is `async def`, so that a listener hears everything in order.
    """

    def __init__(self, listener, list methods, on_event, bint is_queued):
        self.listener = listener
        self.active = True
        self.methods = methods
        self.on_event = on_event
        self.is_queued = is_queued


cdef class Receiver:
    """One session, as far as delivery needs it.

    Attributes:
        online: nothing is delivered once it is False.
        _subscriptions: replaced, never changed, so that a drain can walk it.
        _streams: queues of `session.events()`, with a method `put(event) -> bool`.
        _courier: calls queued listeners; `put` returns False when it is full.
        _since: what was queued before this number is not for the session: it logged in later.
    """

    def __init__(self, str user_id, str device_id):
        self.user_id = user_id
        self.device_id = device_id
        self._subscriptions = []
        self._streams = []

    def _set_device_number(self, uint32_t number):
        """Set the number that stands for the device in the engine."""
        self.device_number = number

    def _listener_failed(self, method, about):
        """Called when a listener has raised; overridden."""

    def _returned(self, result, method, Subscription subscription, about):
        """Called with what a plain method of a listener gave back; overridden."""

    def _overflow(self, about):
        """Called when a queue of this session is full; overridden."""

    cdef int hear(self, Event event) except -1:
        """Hand an event to every listener and stream."""
        cdef Subscription subscription
        cdef object method
        cdef tuple args
        for subscription in <list>self._subscriptions:
            method = subscription.methods[event.code]
            if method is not None and subscription.active and self.online:
                args = arguments(event)
                if subscription.is_queued:
                    self.queue(method, args, subscription, event)
                else:
                    try:
                        result = method(*args)
                    except (KeyboardInterrupt, SystemExit):
                        raise
                    except BaseException:
                        self._listener_failed(method, event)
                    else:
                        if result is not None:
                            self._returned(result, method, subscription, event)
            method = subscription.on_event
            if method is not None and subscription.active and self.online:
                if subscription.is_queued:
                    self.queue(method, (event,), subscription, event)
                else:
                    try:
                        result = method(event)
                    except (KeyboardInterrupt, SystemExit):
                        raise
                    except BaseException:
                        self._listener_failed(method, event)
                    else:
                        if result is not None:
                            self._returned(result, method, subscription, event)
        if self._streams and self.online:
            for stream in <list>self._streams:
                if not stream.put(event):
                    self._overflow(event)
                    return 0
        return 0

    cdef int queue(self, method, tuple args, Subscription subscription, Event event) except -1:
        if not self._courier.put(method, args, subscription, event):
            self._overflow(event)
        return 0


cdef inline bint hears(Entry entry, Receiver receiver):
    """Whether a receiver of an entry is to hear it now."""
    return receiver.online and receiver is not entry.acting and entry.number >= receiver._since


cdef bint is_in(list receivers, Py_ssize_t first, Receiver receiver):
    """Whether a session is in a list from a place on; compared by identity, which is quick."""
    cdef Py_ssize_t at
    for at in range(first, len(receivers)):
        if receivers[at] is receiver:
            return True
    return False


cdef tuple arguments(Event event):
    """The parameters of V2TIM's callback (SPEC section 4); who gets a list may change it."""
    if event.code == FACT_OPENED:
        return (
            event.invite_id, event.inviter, event.group_id, list(event.invitees),
            event.invitation_data,
        )
    if event.code == FACT_CANCELLED:
        return event.invite_id, event.inviter, event.data
    if event.code == FACT_TIMED_OUT:
        return event.invite_id, list(event.affected)
    if event.code == FACT_MODIFIED:
        return event.invite_id, event.data
    return event.invite_id, event.invitee, event.data


cdef class Account:
    """A user who is logged in, or whose devices are remembered.

    Attributes:
        online: the sessions that are logged in; replaced, never changed.
        devices: what is remembered of each device, by its ID.
    """

    def __init__(self, str user_id):
        self.user_id = user_id
        self.online = []
        self.devices = {}


cdef class Call:
    """A callback that is no event of an invitation.

    Args:
        name: the method of `Receiver._call_back`.
        args: its arguments.
        group_id: the group that it is about.
    """

    def __init__(self, str name, tuple args, str group_id):
        self.name = name
        self.args = args
        self.group_id = group_id


cdef class Entry:
    """One item of the queue: an event or a call, for whom, and as of which commit."""

    def __init__(self):
        raise TypeError("an Entry is made by Delivery.post")


cdef class Delivery:
    """The queue between what was committed and who hears it.

    Args:
        failed: called with (method, about) when something here has raised; it must not raise.

    Attributes:
        accounts: `Account` by user ID, kept by the hub.
        watchers: lists of handles that follow an invitation, by its ID; each has `feed(event)`.
        durable: entries that rest on this many records, or fewer, may leave.
        fed: commit position of the last event that handles have heard.
        posted: how many entries have been queued so far.
        told: (invite ID, user) of openings without a deadline and group that were handed over; the
            hub takes them out.
    """

    def __init__(self, failed):
        self.accounts = {}
        self.watchers = {}
        self.durable = <uint64_t>-1
        self.queue = deque()
        self.failed = failed
        self.recent = [None] * RECENT
        self.told = []
        self.followers = []

    def __len__(self):
        return len(self.queue) + (self.current is not None)

    @property
    def is_ready(self):
        """Whether anything that is queued may leave now."""
        if self.current is not None:
            return True
        return len(self.queue) > 0 and (<Entry>self.queue[0]).rests_on <= self.durable

    def post(self, item, list receivers, Receiver acting, uint64_t rests_on):
        """Queue an event or a call.

        Args:
            item: an `Event`, a `Call`, or the `InvitationInfo` that a login rings again.
            receivers: sessions; the list must not change any more.
            acting: the session among them that hears nothing, or None.
            rests_on: how many records of the journal must be durable first.
        """
        cdef Entry entry = Entry.__new__(Entry)
        entry.item = item
        entry.receivers = receivers
        entry.acting = acting
        entry.rests_on = rests_on
        entry.number = self.posted
        self.posted += 1
        self.queue.append(entry)

    def post_event(self, Event event, audience, uint64_t rests_on):
        """Queue an event for its audience of now.

        Args:
            event: just committed.
            audience: the online sessions that hear it, as a list that does not change any more;
                None where the parties do.
            rests_on: how many records of the journal must be durable first.
        """
        cdef list receivers
        cdef Account account
        cdef Receiver acting = None
        cdef Receiver session
        if event.code == FACT_TIMED_OUT and event.reason == "lifetime":
            receivers = []
        elif audience is not None:
            receivers = audience
        else:
            receivers = self.sessions_of(event.invitees, event.inviter)
        if event.device_number:
            account = self.accounts.get(event.actor)
            if account is not None:
                for session in account.online:
                    if session.device_number == event.device_number:
                        acting = session
                        event.device = session.device_id
        self.post(event, receivers, acting, rests_on)

    def sessions_of(self, users, str first=None):
        """The online sessions of some users, and of one more before them."""
        cdef list out = []
        cdef Account account
        if first is not None:
            account = self.accounts.get(first)
            if account is not None:
                out.extend(account.online)
        for user in users:
            account = self.accounts.get(user)
            if account is not None:
                out.extend(account.online)
        return out

    def undelivered(self, Receiver receiver not None):
        """The events that wait for a session, in order, and what its login rings again."""
        cdef Entry entry
        cdef list out = []
        cdef dict found = {}    # whether the session is in a list; entries share their lists
        if self.current is not None and is_in(self.current.receivers, self.at, receiver):
            if hears(self.current, receiver) and not isinstance(self.current.item, Call):
                out.append(self.current.item)
        for entry in self.queue:
            if not isinstance(entry.item, Call) and hears(entry, receiver):
                key = id(entry.receivers)
                if key not in found:
                    found[key] = is_in(entry.receivers, 0, receiver)
                if found[key]:
                    out.append(entry.item)
        return out

    def recall(self, str invite_id not None):
        """The events of an invitation among the last that were handed over, in order."""
        cdef Event event
        cdef list out = []
        for event in self.recent[self.recent_at:] + self.recent[:self.recent_at]:
            if event is not None and event.invite_id == invite_id:
                out.append(event)
        return out

    def take_all(self):
        """Take what may leave out of the queue, for a sink: some of it where it is very much.

        Returns:
            (events and calls, for each the sessions that hear it).
        """
        cdef Entry entry
        cdef Receiver receiver
        cdef list listening, items = [], receivers = []
        cdef Py_ssize_t taken = 0, count = 0
        while self.queue and count < TAKEN_MAX:
            entry = self.queue[0]
            if entry.rests_on > self.durable:
                break
            try:
                unfold(entry)
                listening = [receiver for receiver in entry.receivers if hears(entry, receiver)]
                items.append(entry.item)
                receivers.append(listening)
                if isinstance(entry.item, Event):
                    for receiver in listening:
                        self.note_told(<Event>entry.item, receiver)
                    self.feed(<Event>entry.item)
            except MemoryError:
                if not taken:
                    raise
                # Those before it are taken; it waits for the next call.
                del items[taken:], receivers[taken:]
                break
            self.queue.popleft()
            taken += 1
            count += 1 + len(entry.receivers)
            while self.followers:
                self.feed_some()
        return items, receivers

    def drain(self, long long until_ns, now_ns):
        """Hand over what is queued, until a time.

        Args:
            until_ns: stop at this time.
            now_ns: tells the time, ns.

        Returns:
            Whether there is more that may leave.
        """
        cdef Entry entry
        cdef Receiver receiver
        self.calls = 0
        self.calls_per_look = 1
        self.looked_ns = now_ns()
        while True:
            entry = self.current
            if entry is None:
                if not self.queue:
                    return False
                entry = self.queue[0]
                if entry.rests_on > self.durable:
                    return False
                # What memory may run out for comes first: an entry that is off the queue is told.
                unfold(entry)
                if isinstance(entry.item, Event):
                    self.feed(<Event>entry.item)
                self.queue.popleft()
                self.current = entry
                self.at = 0
            while self.followers:
                self.feed_some()
                if self.is_late(until_ns, now_ns):
                    return True
            while self.at < len(entry.receivers):
                receiver = entry.receivers[self.at]
                if not hears(entry, receiver):
                    self.at += 1
                    continue
                if isinstance(entry.item, Event):
                    self.note_told(<Event>entry.item, receiver)
                self.at += 1
                self.give(entry, receiver)
                if self.is_late(until_ns, now_ns):
                    return True
            self.current = None
            if self.is_late(until_ns, now_ns):
                return len(self.queue) > 0

    cdef bint is_late(self, long long until_ns, now_ns) except -1:
        """Whether a drain has used its time up; looks at the clock as seldom as calls are quick."""
        cdef long long looked_ns
        self.calls += 1
        if self.calls < self.calls_per_look:
            return False
        looked_ns = now_ns()
        if looked_ns - self.looked_ns > self.calls * QUICK_NS:
            self.calls_per_look = 1
        elif self.calls_per_look < CALLS_PER_LOOK_MAX:
            self.calls_per_look *= 2
        self.looked_ns = looked_ns
        self.calls = 0
        return looked_ns >= until_ns

    cdef int give(self, Entry entry, Receiver receiver) except -1:
        if isinstance(entry.item, Event):
            try:
                receiver.hear(<Event>entry.item)
            except MemoryError:     # who knows what it has heard: it has to log in and catch up
                receiver._overflow(entry.item)
        else:
            try:
                receiver._call_back(entry.item)
            except Exception:
                self.failed(receiver._call_back, (<Call>entry.item).group_id)
        return 0

    cdef int note_told(self, Event event, Receiver receiver) except -1:
        """Note who was told of an opening without a deadline: it is not told again (SPEC 3)."""
        if event.code == FACT_OPENED and event.no_deadline and not event.group_id:
            self.told.append((event.invite_id, receiver.user_id))
        return 0

    cdef int feed(self, Event event) except -1:
        """Note that an event is handed over, and who follows its invitation by a handle."""
        cdef list followers = []
        if event.replayed:      # a login is told again; handles have heard it
            return 0
        if self.watchers:
            followers = self.watchers.get(event.invite_id, followers)[::-1]
        if event.position > self.fed:
            self.fed = event.position
        self.recent[self.recent_at] = event
        self.recent_at = (self.recent_at + 1) % RECENT
        if followers:
            self.followed = event
            self.followers = followers
            if event.ends:
                del self.watchers[event.invite_id]
        return 0

    cdef int feed_some(self) except -1:
        """Give the event to the next of those that follow it; there may be thousands."""
        cdef int _
        for _ in range(min(FEEDS_PER_LOOK, len(self.followers))):
            watcher = self.followers.pop()
            try:
                watcher.feed(self.followed)
            except MemoryError:     # it has missed something, and must not wait for ever
                watcher.give_up()
            except Exception:
                self.failed(watcher.feed, self.followed.invite_id)
        if not self.followers:
            self.followed = None
        return 0


cdef int unfold(Entry entry) except -1:
    """Make the event of what a login rings again: not sooner, there may be thousands."""
    if isinstance(entry.item, InvitationInfo):
        entry.item = opened_again(<InvitationInfo>entry.item)
    return 0


cdef Event opened_again(InvitationInfo info):
    """The opening of an invitation as a login tells it: with the data of now."""
    cdef Event event = event_new()
    event.position = info.position
    event.time = info.opened_at
    event.expires = -1 if info.expires_at is None else <long long>info.expires_at
    event.seq = info.seq
    event.data_version = info.data_version
    event.replayed = True
    event.code = FACT_OPENED
    event.kind = "opened"
    event.reason = ""
    event.invite_id = info.invite_id
    event.group_id = info.group_id
    event.inviter = info.inviter
    event.actor = info.inviter
    event.device = ""
    event.data = info.data
    event.invitation_data = info.data
    event.online_only = info.online_only
    event.parties_only = info.parties_only
    event.no_deadline = info.no_deadline
    event.roll = Roll(tuple(info.statuses))
    event.roll.ended = [user for user in info.statuses if info.statuses[user] != "pending"]
    event.ended_count = len(event.roll.ended)
    return event
