"""Facts: what was decided, written once, read as events and as records.

Every change to an invitation is one fact of 80 bytes in a queue. An event (what people hear) and a
record (what a journal keeps) are two readings of the same fact. The queue grows by doubling; facts
are given back when both readers have passed them.

A fact names users, lists and slots by number. They stay valid until the fact has been taken: the
core gives no slot, number or list away while a fact that names it waits.
"""

cimport cython
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memmove

from pysignal.engine.ids cimport invite_id_t
from pysignal.engine.slab cimport NONE

cdef enum:  # Kind
    FACT_OPENED = 1
    FACT_ACCEPTED = 2
    FACT_REJECTED = 3
    FACT_CANCELLED = 4
    FACT_TIMED_OUT = 5
    FACT_MODIFIED = 6
    FACT_MARKED = 7         # a mark was set; no event
    FACT_KINDS = 8

cdef enum:  # Reason
    REASON_NONE = 0         # what a party did
    REASON_LEFT_GROUP = 1
    REASON_GROUP_DISMISSED = 2
    REASON_SERVER = 3
    REASON_LIFETIME = 4
    REASON_ANSWERED_ELSEWHERE = 5
    REASONS = 6

cdef enum:  # FactFlag
    ENDS = 1                # the invitation ended with this fact
    RELEASES = 2            # `held` is given back: its owner may free it after this fact

# Facts for which room is kept when none waits.
cdef enum: FACTS_KEPT = 16384

ctypedef struct fact_t:
    uint64_t position       # commit position, counted from 1
    uint64_t time_ms        # engine time of the commit
    invite_id_t id
    uint64_t data           # handle of the operation's own data; 0 = none
    uint64_t held           # handle of the invitation's data; modified: of the data replaced
    uint32_t slot
    uint32_t actor          # user number; NONE = a deadline or the server
    uint32_t subject        # the invitee affected, user number; NONE = all who were pending
    uint32_t device         # number of the acting device of the actor; 0 = none
    uint32_t seq            # counts the invitation's events from 1
    uint32_t data_version
    uint32_t affected       # invitees whose status changed
    uint8_t kind
    uint8_t reason
    uint8_t flags
    uint8_t marks           # FACT_MARKED: the bits set

ctypedef struct facts_t:
    fact_t *items
    uint32_t room           # items allocated
    uint32_t head           # first fact not given back yet
    uint32_t tail           # one past the newest
    uint32_t limit          # facts waiting at most


cdef inline void facts_init(facts_t *f, uint32_t limit) noexcept nogil:
    f.items = NULL
    f.room = 0
    f.head = 0
    f.tail = 0
    f.limit = limit


cdef inline void facts_free(facts_t *f) noexcept nogil:
    free(f.items)
    facts_init(f, f.limit)


cdef inline uint32_t facts_waiting(const facts_t *f) noexcept nogil:
    return f.tail - f.head


cdef inline bint facts_reserve(facts_t *f, uint32_t count) noexcept nogil:
    """Make room for count more facts. False when memory or the limit is out; nothing changed."""
    cdef uint32_t room
    cdef void *more
    if f.tail + count <= f.room:
        return True
    if f.tail - f.head + count > f.limit:
        return False
    if f.head >= f.room >> 1 and f.head:
        memmove(f.items, f.items + f.head, <size_t>(f.tail - f.head) * sizeof(fact_t))
        f.tail -= f.head
        f.head = 0
        if f.tail + count <= f.room:
            return True
    room = f.room * 2 if f.room else 64
    while room < f.tail + count:
        room *= 2
    more = realloc(f.items, <size_t>room * sizeof(fact_t))
    if more == NULL:
        return False
    f.items = <fact_t *>more
    f.room = room
    return True


cdef inline fact_t *facts_push(facts_t *f) noexcept nogil:
    """The next fact, to be filled; its room must have been reserved."""
    f.tail += 1
    return &f.items[f.tail - 1]


cdef inline void facts_give_back(facts_t *f, uint32_t count) noexcept nogil:
    """Forget the oldest facts; what a burst needed is freed when all are forgotten."""
    f.head += count
    if f.head == f.tail:
        f.head = 0
        f.tail = 0
        if f.room > FACTS_KEPT:
            facts_free(f)


@cython.final
cdef class Roll:
    """Who was asked by one invitation, and in which order they ended; shared by its events."""

    cdef readonly tuple invitees        # None = not known
    cdef list ended
    cdef uint64_t opened                # commit position of the opening: which invitation it is of


@cython.final
cdef class Event:
    """One committed change of an invitation, as everybody hears it (SPEC section 4)."""

    cdef readonly unsigned long long position
    cdef readonly long long time
    cdef long long expires              # -1 = never
    cdef Py_ssize_t ended_count         # how many of the roll had ended after it; -1 = not known
    cdef readonly unsigned int seq
    cdef readonly unsigned int data_version
    cdef uint32_t actor_number
    cdef uint32_t device_number
    cdef uint32_t inviter_number
    cdef uint32_t invitee_number        # of the one invitee; NONE for a list
    cdef uint8_t code                   # FACT_...
    cdef uint8_t reason_code            # REASON_...
    cdef readonly bint ends
    cdef readonly bint replayed
    cdef readonly bint online_only
    cdef readonly bint parties_only
    cdef readonly bint no_deadline
    cdef readonly str invite_id
    cdef readonly str group_id
    cdef readonly str inviter
    cdef readonly str invitation_data
    cdef readonly str device
    cdef str answer                     # the data of what was neither an opening nor a modify
    cdef str invitee_one                # of an invitation without a roll
    cdef str other_actor                # who is neither the inviter nor the one invitee
    cdef Roll roll
    cdef tuple changed                  # None = everybody invited


cdef Event event_new()
