"""Delivery: the queue between what was committed and who hears it.

The hub puts each event in with its receivers, worked out at the commit, in commit order; once a
turn of the event loop it drains the queue. A listener therefore never runs inside the call that
caused an event, and who logs in or joins a group between the two hears nothing of it twice.

A drain stops after a given time and goes on at the next turn, in the middle of an event with many
receivers if need be. Events that rest on records which are not durable yet stay in the queue, and
all behind them. How a receiver hears an event is told in `receivers.pyx`.
"""

cimport cython
from cpython.list cimport PyList_GET_ITEM
from libc.stdint cimport uint32_t, uint64_t

from pysignal.engine.events cimport opened_again
from pysignal.engine.facts cimport FACT_OPENED, FACT_TIMED_OUT, REASON_LIFETIME, Event
from pysignal.engine.slab cimport NONE, pysignal_prefetch
from pysignal.engine.views cimport InvitationInfo
from pysignal.receivers cimport HAS_BATCH, LET_RUN, QUEUED_PER_TURN, Account, Call, Receiver

# Listeners called between two looks at the clock, while they take no longer than that each.
cdef enum:
    CALLS_PER_LOOK_MAX = 32
    QUICK_NS = 20_000

# Deliveries taken for a sink at once, a little over.
cdef enum: TAKEN_MAX = 4096

# Handles that are fed between two looks at the clock, at most.
cdef enum: FEEDS_PER_LOOK = 8

# Places for numbers of the engine that one look for an account adds: there may be millions of them.
cdef enum: NUMBERS_PER_LOOK = 64

# Entries for the same sessions that are handed over in one go.
cdef enum: RUN_MAX = 256

# Sessions from which on each has its batch as soon as it has heard such a run.
cdef enum: MANY = 64

# Events kept after they were handed over, for handles that begin to follow a moment late.
cdef enum: RECENT = 1024

cdef list NOBODY = []


cdef inline bint hears(Entry entry, Receiver receiver):
    """Whether a receiver of an entry is to hear it now."""
    return (
        receiver is not None and receiver is not entry.acting and receiver.online
        and entry.number >= receiver._since
    )


cdef inline Py_ssize_t receiver_count(Entry entry):
    """How many places `receiver_at` has; those of a party may be empty."""
    return 2 + len(entry.receivers)


cdef inline bint is_for_many(Entry entry):
    return len(entry.receivers) >= MANY


cdef inline Receiver receiver_at(Entry entry, Py_ssize_t at):
    """The receiver at a place of an entry, or None."""
    if at >= 2:
        return <Receiver>entry.receivers[at - 2]
    return entry.inviter if at == 0 else entry.invitee


cdef inline bint is_unheard(Event event):
    """Whether an event is the end of an invitation without a deadline: only handles hear of it."""
    return event.code == FACT_TIMED_OUT and event.reason_code == REASON_LIFETIME


cdef inline void fetch(char *start) noexcept:
    """Have the beginning of an object brought into the cache; it may lie across two lines."""
    pysignal_prefetch(start)
    pysignal_prefetch(start + 48)


cdef inline int foresee_listeners(Entry entry) except -1:
    """Have what is called for an entry, and for the one after it, brought into the cache."""
    cdef Entry later = entry.next
    foresee_method(entry, entry.inviter)
    foresee_method(entry, entry.invitee)
    if later is not None:
        if later.inviter is not None:
            fetch(<char *><void *>later.inviter.only)
        if later.invitee is not None:
            fetch(<char *><void *>later.invitee.only)
    return 0


cdef inline int foresee_method(Entry entry, Receiver receiver) except -1:
    if receiver is not None and receiver is not entry.acting and receiver.only is not None:
        if isinstance(entry.item, Event):
            method = receiver.only.method_for(<Event>entry.item)
            fetch(<char *><void *>method)
    return 0


cdef bint is_in(list receivers, Receiver receiver):
    """Whether a session is in a list; compared by identity, which is quick."""
    for other in receivers:
        if other is receiver:
            return True
    return False


@cython.freelist(1024)
@cython.trashcan(True)
cdef class Entry:
    """One item of the queue: an event or a call, for whom, and as of which commit.

    The sessions of two parties have a place each, so that no list need be made for them.
    """

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
        self.failed = failed
        self.recent = [None] * RECENT
        self.told = []
        self.followers = []
        self.batching = []
        self.by_number = []

    def __len__(self):
        return self.waiting

    @property
    def is_ready(self):
        """Whether anything that is queued may leave now."""
        if self.run or self.batching:
            return True
        return self.head is not None and self.head.rests_on <= self.durable

    def post(self, item, list receivers, Receiver acting, uint64_t rests_on):
        """Queue an event or a call.

        Args:
            item: an `Event`, a `Call`, or the `InvitationInfo` that a login rings again.
            receivers: sessions; the list must not change any more.
            acting: the session among them that hears nothing, or None.
            rests_on: how many records of the journal must be durable first.
        """
        if isinstance(item, Call):
            (<Call>item).position = self.position
        self.append(item, receivers, acting, rests_on)

    def post_event(self, Event event not None, list audience not None, uint64_t rests_on):
        """Queue an event for its audience of now.

        Args:
            event: just committed.
            audience: the online sessions that hear it; the list must not change any more.
            rests_on: how many records of the journal must be durable first.
        """
        cdef Receiver acting = None
        self.position = event.position
        if event.device_number:
            acting = self.acting(event, self.account_of(event.actor_number, event.actor))
        self.append(event, NOBODY if is_unheard(event) else audience, acting, rests_on)

    cdef int post_to_parties(self, Event event, uint64_t rests_on) except -1:
        """Queue an event of an invitation to one user, without a group, for both of them."""
        cdef Account inviter, invitee
        cdef Receiver acting = None
        cdef Entry entry
        self.position = event.position
        if is_unheard(event):
            self.append(event, NOBODY, None, rests_on)
            return 0
        inviter = self.account_of(event.inviter_number, event.inviter)
        invitee = self.account_of(event.invitee_number, event.invitee_one)
        if event.device_number:
            acting = self.acting(
                event, inviter if event.actor_number == event.inviter_number else invitee,
            )
        if (inviter is None or inviter.count <= 1) and (invitee is None or invitee.count <= 1):
            entry = self.append(event, NOBODY, acting, rests_on)
            if inviter is not None:
                entry.inviter = inviter.only
                fetch(<char *><void *>inviter.only)
            if invitee is not None:
                entry.invitee = invitee.only
                fetch(<char *><void *>invitee.only)
            return 0
        receivers = [] if inviter is None else list(inviter.sessions)
        if invitee is not None:
            receivers.extend(invitee.sessions)
        self.append(event, receivers, acting, rests_on)
        return 0

    cdef Account account_of(self, uint32_t number, str user):
        """The account of a user of the engine, or None.

        It is looked up by number first, which is as good as a hint: a number goes to somebody else
        when nothing in the engine mentions its user any more.
        """
        cdef Account account = None
        if number < <uint32_t>len(self.by_number):
            account = <Account>self.by_number[number]
            if account is not None and (account.user_id is user or account.user_id == user):
                return account
        account = <Account>self.accounts.get(user)
        if account is not None and number != NONE:
            self.remember(account, number)
        return account

    cdef int remember(self, Account account, uint32_t number) except -1:
        """Keep an account under the number that its user has in the engine for now."""
        cdef Account other
        cdef int _
        for _ in range(NUMBERS_PER_LOOK):
            if number < <uint32_t>len(self.by_number):
                break
            self.by_number.append(None)
        if number >= <uint32_t>len(self.by_number):
            return 0
        other = <Account>self.by_number[number]
        if other is not None:
            other.number = NONE
        if account.number != NONE:
            self.by_number[account.number] = None
        self.by_number[number] = account
        account.number = number
        return 0

    def forget(self, Account account not None):
        """Let go of an account that is in `accounts`."""
        del self.accounts[account.user_id]
        if account.number != NONE:
            self.by_number[account.number] = None
            account.number = NONE

    cdef int foresee(self, Event event) except -1:
        """Have the accounts of an event's parties brought into the cache."""
        if event.inviter_number < <uint32_t>len(self.by_number):
            fetch(<char *>PyList_GET_ITEM(self.by_number, event.inviter_number))
        if event.invitee_number < <uint32_t>len(self.by_number):
            fetch(<char *>PyList_GET_ITEM(self.by_number, event.invitee_number))
        return 0

    cdef Receiver acting(self, Event event, Account account):
        """The session that did it, which hears nothing of it, or None; the event learns which."""
        cdef Receiver session
        if account is None:
            return None
        session = account.only
        if session is None or session.device_number != event.device_number:
            for other in account.sessions:
                session = <Receiver>other
                if session.device_number == event.device_number:
                    break
            else:
                return None
        event.device = session.device_id
        return session

    cdef Entry append(self, item, list receivers, Receiver acting, uint64_t rests_on):
        cdef Entry entry = Entry.__new__(Entry)
        entry.item = item
        entry.receivers = receivers
        entry.acting = acting
        entry.rests_on = rests_on
        entry.number = self.posted
        self.posted += 1
        if self.head is None:
            self.head = entry
        else:
            self.tail.next = entry
        self.tail = entry
        self.waiting += 1
        return entry

    cdef int pop(self) except -1:
        """Take the first entry off the queue."""
        cdef Entry entry = self.head
        self.head = entry.next
        entry.next = None
        if self.head is None:
            self.tail = None
        self.waiting -= 1
        return 0

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
        cdef Py_ssize_t at
        cdef dict found = {}    # whether the session is in a list; entries share their lists
        cdef list out = receiver._take_batches()
        cdef Py_ssize_t number = 0
        entry = self.head
        while entry is not None:
            number += 1
            if isinstance(entry.item, Call) or not hears(entry, receiver):
                pass
            elif number <= self.run:
                # Who comes first of its receivers has heard it, and one of them the first entries.
                for at in range(self.at + (number <= self.step), receiver_count(entry)):
                    if receiver_at(entry, at) is receiver:
                        out.append(entry.item)
                        break
            else:
                key = id(entry.receivers)
                if key not in found:
                    found[key] = is_in(entry.receivers, receiver)
                if found[key] or receiver is entry.inviter or receiver is entry.invitee:
                    out.append(entry.item)
            entry = entry.next
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
        cdef Py_ssize_t taken = 0, count = 0, at
        self.followed_count = 0
        while (
            self.head is not None and count < TAKEN_MAX
            and self.followed_count < QUEUED_PER_TURN
        ):
            entry = self.head
            if entry.rests_on > self.durable:
                break
            try:
                unfold(entry)
                listening = []
                for at in range(receiver_count(entry)):
                    receiver = receiver_at(entry, at)
                    if hears(entry, receiver):
                        listening.append(receiver)
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
            self.pop()
            taken += 1
            count += 1 + len(listening)
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
        self.turn += 1
        self.let_run = False
        self.followed_count = 0
        if self.flush(until_ns, now_ns):
            return True
        while True:
            if not self.run:
                if not self.begin_run():
                    return self.flush(until_ns, now_ns)
                if self.head.next is not None:
                    foresee_listeners(self.head.next)
            while self.followers:
                self.feed_some()
                if self.is_late(until_ns, now_ns):
                    return True
            while self.at < receiver_count(self.head):
                receiver = receiver_at(self.head, self.at)
                while self.step < self.run:
                    entry = self.stepped
                    if not hears(entry, receiver):
                        self.step += 1
                        self.stepped = entry.next
                        continue
                    if isinstance(entry.item, Event):
                        self.note_told(<Event>entry.item, receiver)
                    self.step += 1
                    self.stepped = entry.next
                    self.give(entry, receiver)
                    if self.is_late(until_ns, now_ns):
                        return True
                self.at += 1
                self.step = 0
                self.stepped = self.head
                if is_for_many(self.head) and receiver is not None and receiver.has_batch:
                    # A batch for each of thousands, all at once, would keep the collector busy.
                    self.hand_over(receiver)
                    if self.is_late(until_ns, now_ns):
                        return True
            while self.run:
                self.pop()
                self.run -= 1
            if self.is_late(until_ns, now_ns):
                return self.is_ready

    cdef int begin_run(self) except -1:
        """Begin with the first entry, and those behind it that are for the same sessions.

        So a session hears what has happened in its group in one go; it hears everything in order,
        whatever others have heard. What memory may run out for is done here, for one entry after
        the other: none is handed over before.

        Returns:
            How many there are.
        """
        cdef Entry entry = self.head
        self.at = 0
        self.step = 0
        self.stepped = entry
        while entry is not None and entry.rests_on <= self.durable and self.run < RUN_MAX:
            if entry.receivers is not self.head.receivers:
                break
            unfold(entry)
            if isinstance(entry.item, Event):
                self.feed(<Event>entry.item)
            self.run += 1
            if self.followers or not entry.receivers:
                break       # its followers come first; nobody else hears the next one
            entry = entry.next
        return self.run

    cdef bint flush(self, long long until_ns, now_ns) except -1:
        """Hand over the batches; whether the time was used up before the last."""
        if self.batching:
            # How quick it was to collect tells nothing of how long it takes to hear.
            self.calls = 0
            self.calls_per_look = 1
        while self.batching:
            self.hand_over(<Receiver>self.batching[len(self.batching) - 1])
            self.batching.pop()
            if self.is_late(until_ns, now_ns):
                return True
        return False

    cdef int hand_over(self, Receiver receiver) except -1:
        """Call a session with its batches."""
        try:
            receiver.flush()
        except MemoryError:         # as in `give`; what is left in its batches counts as missed
            receiver._overflow("")
        except BaseException:       # the program is to end; who goes on with it gets the others
            self.batching.append(receiver)
            raise
        return 0

    cdef bint is_late(self, long long until_ns, now_ns) except -1:
        """Whether a drain has used its time up; looks at the clock as seldom as calls are quick."""
        cdef long long looked_ns
        if self.let_run:
            return True
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
        cdef int wanted
        if isinstance(entry.item, Event):
            try:
                wanted = receiver.hear(<Event>entry.item, self.turn)
                if wanted & HAS_BATCH and not is_for_many(entry):
                    self.batching.append(receiver)
                if wanted & LET_RUN:
                    self.let_run = True
            except MemoryError:     # who knows what it has heard: it has to log in and catch up
                receiver._overflow(entry.item)
            except BaseException:   # the program is to end; who goes on with it gets the batch
                self.batching.append(receiver)
                raise
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
        cdef list followers = None
        if event.replayed:      # a login is told again; handles have heard it
            return 0
        if self.watchers:
            followers = self.watchers.get(event.invite_id)
            if followers is not None:
                followers = followers[::-1] if len(followers) > 1 else list(followers)
        if event.position > self.fed:
            self.fed = event.position
        self.recent[self.recent_at] = event
        self.recent_at = (self.recent_at + 1) % RECENT
        if followers:
            self.followed = event
            self.followers = followers
            self.followed_count += 1
            if self.followed_count >= QUEUED_PER_TURN:
                self.let_run = True
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
