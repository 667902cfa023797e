"""The core: invitations as plain structs, and the functions on them. C API of the engine.

An invitation with one invitee and no group is one line of 64 bytes; its timer lies in the wheel
under the same slot. What only lists and groups need is in a second table (`list_t`, with a roster).
An ended invitation stays in its slot as its own tombstone, first in first out, until `keep_ms` has
passed or `ended_max` later ends push it out; the fields that an open one needs are then reused
(see `set_ended` below). Whether it is remembered follows from the time and from the number of later
ends alone; when its slot is given back is the memory's business, and shows nowhere.

Every operation takes the time, and the actor as a user number. It returns a `Result`; whatever is
not DONE has changed nothing. Operations never end what is due: they return DUE, and the caller
calls `core_advance` first. So all that was due has ended before any later operation is looked at.

Nothing here holds a Python object, so all of it runs without the GIL; one core belongs to one
thread at a time. Structs may change between versions: an extension built against another ENGINE_ABI
fails at import when it calls `require_abi(ENGINE_ABI)`.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from pysignal.engine.facts cimport facts_t
from pysignal.engine.ids cimport (
    SLOT_BITS,
    id_key_t,
    id_make,
    id_place,
    id_shard,
    invite_id_t,
)
from pysignal.engine.roster cimport (
    ACCEPTED,
    PAGE_SHIFT,
    PENDING,
    REJECTED,
    entry_at,
    entry_t,
    links_t,
    page_at,
    pages_t,
    roster_find,
    roster_t,
)
from pysignal.engine.slab cimport NONE, pysignal_prefetch, slab_at, slab_t
from pysignal.engine.users cimport users_t
from pysignal.engine.wheel cimport timer_at, wheel_t

cdef enum: ENGINE_ABI = 2

cdef enum:  # Result
    DONE = 0
    DUE = 1                 # timers have to move, or to end something, by now: advance first
    UNKNOWN = 2             # the ID names nothing that is remembered
    ENDED = 3               # the invitation has ended and is remembered
    ANSWERED = 4            # the invitee has ended already
    NOT_PARTY = 5           # the actor is not the one who may do this
    NOT_MODIFIABLE = 6      # online-only
    CONFLICT = 7            # another data_version than expected
    TABLE_FULL = 8          # a configured limit is reached
    NO_MEMORY = 9
    BAD_NUMBER = 10         # a number that was never given out, or out of its range
    RESTORING = 11          # a restore has not been finished
    RESULTS = 12

cdef enum:  # State
    FREE_SLOT = 0
    OPEN = 1
    COMPLETED = 2
    CALLED_OFF = 3

# Flags of an invitation. The marks of its one invitee stand in the same byte.
cdef enum:  # Flag
    ONLINE_ONLY = 1
    PARTIES_ONLY = 2
    LISTED = 4              # `invitee` is the index of a list
    NO_DEADLINE = 8         # timeout 0: the timer is the lifetime
    MARK_TOLD = 16
    MARK_DELIVERED = 32
    MARK_RINGING = 64
    MARKS = 112

# Kinds of timers.
cdef enum:
    TIMER_DEADLINE = 1
    TIMER_LIFETIME = 2

# The longest timeout; a lifetime of those without one is no longer.
cdef enum: TIMEOUT_DAYS_MAX = 30

cdef enum: DAY_MS = 86_400_000

# How many releases ahead a tombstone is fetched: as many as memory needs to answer.
cdef enum: FORESEEN = 8

# Top bit of a reference in a user's pending list: an entry of a roster, not a slot.
cdef enum: ENTRY = 0x80000000

ctypedef struct invitation_t:
    uint64_t secret         # random bits of the ID
    uint64_t data           # handle of the data; ended: see ended_by and ended_ms
    uint64_t position       # commit position of the opening
    uint32_t generation     # of the slot; counts its invitations
    uint32_t inviter        # user number
    uint32_t invitee        # user number; LISTED: index of the list
    uint32_t opened_ms      # low 32 bits of the time of opening
    links_t pending         # in the invitee's pending list; free: in the free list; ended: `prev`
    #                         is the low half of the time of the end
    links_t open            # in the inviter's open list (slots); ended: position of the end
    uint32_t data_version
    uint8_t state           # State
    uint8_t status          # Status of the one invitee
    uint8_t flags
    uint8_t reason          # ended: Reason

ctypedef struct list_t:
    roster_t roster
    uint32_t slot           # of its invitation; free: the next free list
    uint32_t group          # group number, or NONE
    links_t in_group        # in the group's list of open invitations (list indexes)
    uint32_t answers        # events that were neither the opening nor a modify
    uint32_t accept_limit   # 0 = none

ctypedef struct counts_t:
    uint64_t invitations    # opened so far
    uint64_t[6] invitees    # by Status: WAITING and PENDING now, the others so far

ctypedef struct core_t:
    wheel_t wheel           # the time is wheel.now
    slab_t invitations      # invitation_t by slot
    slab_t lists            # list_t by index
    pages_t pages
    users_t users
    users_t groups          # a group's open invitations are its `pending`
    facts_t facts
    id_key_t key
    uint32_t shard
    uint32_t capacity       # open invitations at most
    uint32_t open_count
    uint32_t ended_count    # ended ones that still have their slot
    uint32_t ended_max      # ended ones remembered at most
    uint32_t ended_first    # slot, or NONE; oldest
    uint32_t ended_last     # slot, or NONE
    uint32_t kept_first     # slot, or NONE; oldest that `ended_max` later ones did not push out
    uint32_t kept_count     # from there to the last
    uint32_t[8] recent      # slots of the FORESEEN last ends, in a ring
    uint32_t recent_at      # where the oldest of them stands
    uint32_t free_first     # slot, or NONE
    uint32_t free_count
    uint32_t list_free      # index, or NONE
    uint32_t list_count     # lists in use
    uint64_t keep_ms        # how long an ended one is remembered
    uint64_t lifetime_ms    # of a timeout of 0
    uint64_t forget_ms      # before then no tombstone is too old (a lower bound)
    uint64_t position       # of the last commit
    uint64_t forgotten      # those that ended up to this position were pushed out
    uint64_t taken          # facts up to this position were given back
    bint restoring          # lists, timers and queues are linked at the end
    counts_t counts

ctypedef struct limits_t:
    uint32_t capacity
    uint32_t users
    uint32_t groups
    uint32_t invitees       # of lists, in all; each list rounds up to eight
    uint32_t ended_max
    uint64_t keep_ms
    uint64_t lifetime_ms

ctypedef struct opening_t:
    uint64_t now_ms
    uint64_t timeout_ms     # 0 = never; at most 30 days
    uint64_t data           # handle
    uint64_t random         # 64 unpredictable bits
    const uint32_t *invitees    # user numbers, none twice, the inviter not among them
    uint32_t count          # invitees; 0 only with a group
    uint32_t inviter        # user number
    uint32_t group          # group number, or NONE
    uint32_t device         # number of the acting device, 0 = none
    uint8_t flags           # ONLINE_ONLY, PARTIES_ONLY


cdef inline invitation_t *invitation_at(const core_t *c, uint32_t slot) noexcept nogil:
    return <invitation_t *>slab_at(&c.invitations, slot, sizeof(invitation_t))


cdef inline list_t *list_at(const core_t *c, uint32_t index) noexcept nogil:
    return <list_t *>slab_at(&c.lists, index, sizeof(list_t))


cdef inline links_t *links_at(const core_t *c, uint32_t ref) noexcept nogil:
    """The links of a reference in a user's pending list."""
    if ref & ENTRY:
        return &entry_at(&c.pages, ref & ~<uint32_t>ENTRY).pending
    return &invitation_at(c, ref).pending


cdef inline uint32_t slot_of(const core_t *c, uint32_t ref) noexcept nogil:
    """The slot of the invitation that a reference in a user's pending list belongs to."""
    if ref & ENTRY:
        return list_at(c, page_at(&c.pages, (ref & ~<uint32_t>ENTRY) >> PAGE_SHIFT).list).slot
    return ref


# -- what the fields of an invitation say ----------------------------------------------------------

cdef inline uint64_t ended_position(const invitation_t *one) noexcept nogil:
    return <uint64_t>one.open.prev << 32 | one.open.next


cdef inline uint64_t ended_ms(const invitation_t *one) noexcept nogil:
    return (one.data >> 32 << 32) | one.pending.prev


cdef inline uint32_t ended_by(const invitation_t *one) noexcept nogil:
    """Number of the device that acted last."""
    return <uint32_t>one.data


cdef inline void set_ended(
    invitation_t *one, uint64_t position, uint64_t at_ms, uint32_t device,
) noexcept nogil:
    one.open.next = <uint32_t>position
    one.open.prev = <uint32_t>(position >> 32)
    one.pending.prev = <uint32_t>at_ms
    one.data = (at_ms >> 32 << 32) | device


cdef inline uint64_t opened_ms(const invitation_t *one, uint64_t since_ms) noexcept nogil:
    """When an invitation was opened: at most 2**32 ms before `since_ms`, when it was open."""
    return since_ms - <uint32_t>(<uint32_t>since_ms - one.opened_ms)


cdef inline uint64_t deadline_of(
    const core_t *c, uint32_t slot, uint64_t since_ms,
) noexcept nogil:
    """The deadline of an invitation: at most 2**32 ms after `since_ms`, when it was open.

    It can be asked for until the slot is given to another invitation.
    """
    return since_ms + <uint32_t>(timer_at(&c.wheel, slot).deadline - <uint32_t>since_ms)


cdef inline bint is_remembered(const core_t *c, const invitation_t *one) noexcept nogil:
    """Whether an ended invitation is neither too old nor pushed out by later ones."""
    return c.wheel.now - ended_ms(one) < c.keep_ms and ended_position(one) > c.forgotten


cdef inline uint32_t core_seq(const core_t *c, uint32_t slot) noexcept nogil:
    """How many events an invitation has had."""
    cdef const invitation_t *one = invitation_at(c, slot)
    if one.flags & LISTED:
        return one.data_version + list_at(c, one.invitee).answers
    return one.data_version + (one.state != OPEN)


# -- finding ---------------------------------------------------------------------------------------

cdef inline invite_id_t core_id(const core_t *c, uint32_t slot) noexcept nogil:
    cdef const invitation_t *one = invitation_at(c, slot)
    return id_make(&c.key, c.shard, slot, one.generation, one.secret)


cdef inline uint32_t core_find(const core_t *c, invite_id_t name) noexcept nogil:
    """The slot of an open or remembered invitation, or NONE."""
    cdef uint64_t place = id_place(&c.key, name)
    cdef uint32_t slot = <uint32_t>place
    cdef const invitation_t *one
    if id_shard(name) != c.shard or slot >= c.invitations.top:
        return NONE
    pysignal_prefetch(timer_at(&c.wheel, slot))     # what is found is most often ended
    one = invitation_at(c, slot)
    if one.secret != name.low or one.state == FREE_SLOT:
        return NONE
    if one.generation != <uint32_t>(place >> SLOT_BITS):
        return NONE
    if one.state != OPEN and not is_remembered(c, one):
        return NONE
    return slot


cdef inline uint32_t core_invitee(const core_t *c, invite_id_t name) noexcept nogil:
    """The one invitee of the invitation that an ID may name; any number where it names none."""
    cdef uint32_t slot = <uint32_t>id_place(&c.key, name)
    return invitation_at(c, slot).invitee if slot < c.invitations.top else NONE


cdef inline uint32_t core_entry(const core_t *c, uint32_t slot, uint32_t user) noexcept nogil:
    """Where an invitee stands: the reference of its entry, the slot itself, or NONE."""
    cdef const invitation_t *one = invitation_at(c, slot)
    cdef uint32_t ref
    if not one.flags & LISTED:
        return slot if one.invitee == user else NONE
    ref = roster_find(&c.pages, &list_at(c, one.invitee).roster, user)
    return NONE if ref == NONE else ref | ENTRY


cdef inline uint32_t core_answered_on(
    const core_t *c, uint32_t slot, uint32_t user,
) noexcept nogil:
    """Low 16 bits of the number of the device on which an invitee has answered; 0 for none."""
    cdef const invitation_t *one = invitation_at(c, slot)
    cdef uint32_t ref = core_entry(c, slot, user)
    cdef const entry_t *entry
    if ref == NONE:
        return 0
    if ref & ENTRY:
        entry = entry_at(&c.pages, ref & ~<uint32_t>ENTRY)
        return entry.device if entry.status in (ACCEPTED, REJECTED) else 0
    if one.state == OPEN or one.status not in (ACCEPTED, REJECTED):
        return 0
    return ended_by(one) & 0xFFFF


cdef inline uint8_t core_status(const core_t *c, uint32_t slot, uint32_t ref) noexcept nogil:
    """The status behind what `core_entry` gave."""
    if ref & ENTRY:
        return entry_at(&c.pages, ref & ~<uint32_t>ENTRY).status
    return invitation_at(c, slot).status


cdef inline uint8_t *core_marks(const core_t *c, uint32_t slot, uint32_t ref) noexcept nogil:
    """The byte that holds the marks behind what `core_entry` gave."""
    if ref & ENTRY:
        return &entry_at(&c.pages, ref & ~<uint32_t>ENTRY).marks
    return &invitation_at(c, slot).flags


cdef inline uint32_t core_pending(const core_t *c, const invitation_t *one) noexcept nogil:
    """How many invitees of an invitation are pending."""
    return list_at(c, one.invitee).roster.pending if one.flags & LISTED else one.status <= PENDING


# -- operations ------------------------------------------------------------------------------------

cdef int core_init(
    core_t *c, const limits_t *limits, id_key_t key, uint32_t shard, uint64_t now_ms,
) noexcept nogil
cdef void core_free(core_t *c) noexcept nogil
cdef uint64_t core_bytes(const core_t *c) noexcept nogil

cdef int core_open(core_t *c, const opening_t *opening, invite_id_t *out) noexcept nogil
cdef int core_answer(
    core_t *c, uint64_t now_ms, invite_id_t name, uint32_t user, uint8_t status,
    uint64_t data, uint32_t device,
) noexcept nogil
cdef int core_cancel(
    core_t *c, uint64_t now_ms, invite_id_t name, uint32_t user, uint64_t data, uint32_t device,
) noexcept nogil
cdef int core_modify(
    core_t *c, uint64_t now_ms, invite_id_t name, uint32_t user, uint64_t data,
    uint32_t expected_version, uint32_t device,
) noexcept nogil
cdef int core_mark(
    core_t *c, uint64_t now_ms, invite_id_t name, uint32_t user, uint8_t marks,
) noexcept nogil
cdef int core_leave(
    core_t *c, uint64_t now_ms, uint32_t user, uint32_t group, int64_t *budget,
) noexcept nogil
cdef int core_dismiss(
    core_t *c, uint64_t now_ms, uint32_t group, int64_t *budget,
) noexcept nogil
cdef int core_advance(core_t *c, uint64_t now_ms, int64_t *budget) noexcept nogil
cdef void core_take(core_t *c, uint32_t count) noexcept nogil
