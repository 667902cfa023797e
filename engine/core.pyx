"""The operations of the core (see `core.pxd` for the structs and the rules that all of them keep).

Each operation has three parts: find and judge, where nothing is changed; reserve what could run
out; then change, where nothing can fail. A change ends with one fact.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from pysignal.engine.facts cimport (
    ENDS,
    FACT_ACCEPTED,
    FACT_CANCELLED,
    FACT_MARKED,
    FACT_MODIFIED,
    FACT_OPENED,
    FACT_REJECTED,
    FACT_TIMED_OUT,
    REASON_GROUP_DISMISSED,
    REASON_LEFT_GROUP,
    REASON_LIFETIME,
    REASON_NONE,
    REASON_SERVER,
    RELEASES,
    fact_t,
    facts_free,
    facts_give_back,
    facts_init,
    facts_push,
    facts_reserve,
)
from pysignal.engine.ids cimport (
    GENERATION_MASK,
    SLOT_BITS,
    id_key_t,
    id_make,
    id_place,
    id_shard,
    invite_id_t,
)
from pysignal.engine.roster cimport (
    ACCEPTED,
    CANCELLED,
    PAGE_SHIFT,
    PENDING,
    REJECTED,
    STATUSES,
    TIMED_OUT,
    entry_at,
    entry_set_ended,
    entry_t,
    page_at,
    pages_init,
    roster_add,
    roster_find,
    roster_free,
    roster_init,
    roster_next,
)
from pysignal.engine.slab cimport NONE, slab_bytes, slab_free, slab_init, slab_reserve
from pysignal.engine.users cimport (
    user_at,
    user_t,
    users_acquire,
    users_init,
    users_known,
    users_open,
    users_pending,
    users_release,
)
from pysignal.engine.wheel cimport (
    pysignal_prefetch,
    timer_at,
    wheel_arm,
    wheel_disarm,
    wheel_enter,
    wheel_init,
    wheel_step,
)

# What arrives for one invitee.
cdef enum:  # Arrival
    ANSWER_YES = 0
    ANSWER_NO = 1
    CALL_OFF = 2
    DEADLINE = 3
    ARRIVALS = 4

cdef enum: REFUSED = 255

# Row: where the invitee stands. Column: what arrives. REFUSED changes nothing.
cdef uint8_t[STATUSES][ARRIVALS] NEXT = [
    # ANSWER_YES  ANSWER_NO  CALL_OFF    DEADLINE
    [REFUSED,     REFUSED,   CANCELLED,  TIMED_OUT],    # WAITING
    [ACCEPTED,    REJECTED,  CANCELLED,  TIMED_OUT],    # PENDING
    [REFUSED,     REFUSED,   REFUSED,    REFUSED],      # ACCEPTED
    [REFUSED,     REFUSED,   REFUSED,    REFUSED],      # REJECTED
    [REFUSED,     REFUSED,   REFUSED,    REFUSED],      # CANCELLED
    [REFUSED,     REFUSED,   REFUSED,    REFUSED],      # TIMED_OUT
]

# Open invitations without a deadline from one user to one other (SPEC section 3).
cdef enum: NO_DEADLINE_MAX = 16

# Half of what 32 bits of milliseconds hold.
cdef enum: LEAP_MS = 0x7FFFFFFF

# Ended invitations whose facts were not taken yet, beside the remembered ones.
cdef enum: UNTAKEN_MAX = 65536

# Tombstones looked at by each opening, so that memory follows traffic without a sweep.
cdef enum: FORGET_PER_OPEN = 2


# -- the core as a whole ---------------------------------------------------------------------------

cdef int core_init(
    core_t *c, const limits_t *limits, id_key_t key, uint32_t shard, uint64_t now_ms,
) noexcept nogil:
    cdef uint32_t slots = limits.capacity + limits.ended_max + UNTAKEN_MAX
    memset(c, 0, sizeof(core_t))
    wheel_init(&c.wheel, now_ms, slots)
    slab_init(&c.invitations, sizeof(invitation_t), slots)
    slab_init(&c.lists, sizeof(list_t), slots)
    pages_init(&c.pages, limits.invitees)
    users_init(&c.users, limits.users)
    users_init(&c.groups, limits.groups)
    facts_init(&c.facts, <uint32_t>1 << 26)
    c.key = key
    c.shard = shard
    c.capacity = limits.capacity
    c.ended_max = limits.ended_max
    c.keep_ms = limits.keep_ms
    c.lifetime_ms = limits.lifetime_ms
    c.swept_ms = now_ms
    c.ended_first = NONE
    c.ended_last = NONE
    c.free_first = NONE
    c.list_free = NONE
    return DONE


cdef void core_free(core_t *c) noexcept nogil:
    cdef uint32_t i
    for i in range(c.lists.top):
        if list_at(c, i).roster.table != NULL:
            roster_free(&c.pages, &list_at(c, i).roster)
    slab_free(&c.wheel.timers)
    slab_free(&c.invitations)
    slab_free(&c.lists)
    slab_free(&c.pages.table)
    slab_free(&c.users.table)
    slab_free(&c.groups.table)
    facts_free(&c.facts)


cdef uint64_t core_bytes(const core_t *c) noexcept nogil:
    """Memory of all tables, in bytes."""
    return (
        sizeof(core_t) + slab_bytes(&c.wheel.timers) + slab_bytes(&c.invitations)
        + slab_bytes(&c.lists) + slab_bytes(&c.pages.table) + c.pages.table_bytes
        + slab_bytes(&c.users.table) + slab_bytes(&c.groups.table)
        + <uint64_t>c.facts.room * sizeof(fact_t)
    )


# -- slots and lists -------------------------------------------------------------------------------

cdef uint32_t slot_take(core_t *c) noexcept nogil:
    """A free slot, or NONE when the table or memory is full."""
    cdef uint32_t slot = c.free_first
    if slot == NONE and slot_add(c):
        slot = c.free_first
    if slot != NONE:
        slot_claim(c, slot)
    return slot


cdef bint slot_add(core_t *c) noexcept nogil:
    """Add one free slot at the top; False when the table or memory is full."""
    cdef uint32_t slot = c.invitations.top
    if slot >= c.invitations.limit or not slab_reserve(&c.wheel.timers, slot + 1):
        return False
    if not slab_reserve(&c.invitations, slot + 1):
        return False
    c.invitations.top += 1
    c.wheel.timers.top = c.invitations.top
    timer_at(&c.wheel, slot).kind = 0
    invitation_at(c, slot).generation = 0
    slot_give(c, slot)
    return True


cdef void slot_claim(core_t *c, uint32_t slot) noexcept nogil:
    """Take one free slot out of the free list."""
    cdef links_t *links = &invitation_at(c, slot).pending
    if links.prev != NONE:
        invitation_at(c, links.prev).pending.next = links.next
    else:
        c.free_first = links.next
    if links.next != NONE:
        invitation_at(c, links.next).pending.prev = links.prev
    c.free_count -= 1


cdef void slot_give(core_t *c, uint32_t slot) noexcept nogil:
    cdef invitation_t *one = invitation_at(c, slot)
    one.state = FREE_SLOT
    one.pending.prev = NONE
    one.pending.next = c.free_first
    if c.free_first != NONE:
        invitation_at(c, c.free_first).pending.prev = slot
    c.free_first = slot
    c.free_count += 1


cdef uint32_t list_take(core_t *c) noexcept nogil:
    cdef uint32_t index = c.list_free
    if index != NONE:
        c.list_free = list_at(c, index).slot
    else:
        index = c.lists.top
        if index >= c.lists.limit or not slab_reserve(&c.lists, index + 1):
            return NONE
        c.lists.top += 1
    memset(list_at(c, index), 0, sizeof(list_t))
    c.list_count += 1
    return index


cdef void list_give(core_t *c, uint32_t index) noexcept nogil:
    list_at(c, index).slot = c.list_free
    list_at(c, index).roster.table = NULL
    c.list_free = index
    c.list_count -= 1


# -- the lists that run through records and entries ------------------------------------------------

cdef void pending_link(core_t *c, uint32_t ref, uint32_t number) noexcept nogil:
    """Append to the user's pending invitations."""
    cdef user_t *user = user_at(&c.users, number)
    cdef links_t *links = links_at(c, ref)
    links.next = NONE
    links.prev = user.pending_last
    if links.prev != NONE:
        links_at(c, links.prev).next = ref
    else:
        user.pending_first = ref
    user.pending_last = ref


cdef void pending_unlink(core_t *c, links_t *links, uint32_t number) noexcept nogil:
    cdef user_t *user = user_at(&c.users, number)
    if links.prev != NONE:
        links_at(c, links.prev).next = links.next
    else:
        user.pending_first = links.next
    if links.next != NONE:
        links_at(c, links.next).prev = links.prev
    else:
        user.pending_last = links.prev


cdef void open_link(core_t *c, uint32_t slot) noexcept nogil:
    """Put in front of the inviter's open invitations."""
    cdef invitation_t *one = invitation_at(c, slot)
    cdef user_t *user = user_at(&c.users, one.inviter)
    one.open.prev = NONE
    one.open.next = user.open_first
    if one.open.next != NONE:
        invitation_at(c, one.open.next).open.prev = slot
    user.open_first = slot


cdef void open_unlink(core_t *c, invitation_t *one) noexcept nogil:
    if one.open.prev != NONE:
        invitation_at(c, one.open.prev).open.next = one.open.next
    else:
        user_at(&c.users, one.inviter).open_first = one.open.next
    if one.open.next != NONE:
        invitation_at(c, one.open.next).open.prev = one.open.prev


cdef void group_link(core_t *c, uint32_t index) noexcept nogil:
    """Append to the group's open invitations."""
    cdef list_t *l = list_at(c, index)
    cdef user_t *group = user_at(&c.groups, l.group)
    l.in_group.next = NONE
    l.in_group.prev = group.pending_last
    if l.in_group.prev != NONE:
        list_at(c, l.in_group.prev).in_group.next = index
    else:
        group.pending_first = index
    group.pending_last = index


cdef void group_unlink(core_t *c, list_t *l) noexcept nogil:
    cdef user_t *group = user_at(&c.groups, l.group)
    if l.in_group.prev != NONE:
        list_at(c, l.in_group.prev).in_group.next = l.in_group.next
    else:
        group.pending_first = l.in_group.next
    if l.in_group.next != NONE:
        list_at(c, l.in_group.next).in_group.prev = l.in_group.prev
    else:
        group.pending_last = l.in_group.prev


# -- ending ----------------------------------------------------------------------------------------

cdef void end_one(
    core_t *c, uint32_t slot, uint32_t ref, uint8_t status, uint32_t device,
) noexcept nogil:
    """Give one pending invitee a final status. `ref` is its entry, or the slot itself."""
    cdef invitation_t *one = invitation_at(c, slot)
    cdef list_t *l
    cdef entry_t *entry
    if one.flags & LISTED:
        l = list_at(c, one.invitee)
        entry = entry_at(&c.pages, ref & ~<uint32_t>ENTRY)
        if not c.restoring:
            pending_unlink(c, &entry.pending, entry.user)
        entry.status = status
        entry.device = <uint16_t>device
        entry_set_ended(entry, c.position)
        l.roster.pending -= 1
    else:
        if not c.restoring:
            pending_unlink(c, &one.pending, one.invitee)
        one.status = status


cdef uint32_t end_pending(core_t *c, uint32_t slot, uint8_t status) noexcept nogil:
    """Give everybody who is still pending the same final status; how many they were."""
    cdef invitation_t *one = invitation_at(c, slot)
    cdef list_t *l
    cdef uint32_t ref = NONE, index = NONE, ended = 0
    if not one.flags & LISTED:
        if one.status > PENDING:
            return 0
        end_one(c, slot, slot, status, 0)
        return 1
    l = list_at(c, one.invitee)
    while l.roster.pending:
        ref = roster_next(&c.pages, &l.roster, ref, index)
        index += 1
        if entry_at(&c.pages, ref).status <= PENDING:
            end_one(c, slot, ref | ENTRY, status, 0)
            ended += 1
    return ended


cdef void tombstone_link(core_t *c, uint32_t slot) noexcept nogil:
    invitation_at(c, slot).pending.next = NONE
    if c.ended_last == NONE:
        c.ended_first = slot
    else:
        invitation_at(c, c.ended_last).pending.next = slot
    c.ended_last = slot


cdef void end_invitation(
    core_t *c, uint32_t slot, uint8_t state, uint8_t reason, uint32_t device,
) noexcept nogil:
    """Turn an open invitation, with nobody pending any more, into its own tombstone."""
    cdef invitation_t *one = invitation_at(c, slot)
    if not c.restoring:
        wheel_disarm_if(c, slot)
        open_unlink(c, one)
        if one.flags & LISTED and list_at(c, one.invitee).group != NONE:
            group_unlink(c, list_at(c, one.invitee))
    one.state = state
    one.reason = reason
    one.data = device
    one.open.next = <uint32_t>c.position
    one.open.prev = <uint32_t>(c.position >> 32)
    one.pending.prev = <uint32_t>c.wheel.now
    c.open_count -= 1
    c.ended_count += 1
    if not c.restoring:
        tombstone_link(c, slot)
        if c.ended_count > c.ended_max:
            forget_oldest(c)


cdef inline void wheel_disarm_if(core_t *c, uint32_t slot) noexcept nogil:
    """A timer that has just expired is disarmed already."""
    if timer_at(&c.wheel, slot).kind:
        wheel_disarm(&c.wheel, slot)


cdef void tombstone_release(core_t *c, uint32_t slot) noexcept nogil:
    """Free the slot of an ended invitation and all that it counts."""
    cdef invitation_t *one = invitation_at(c, slot)
    cdef list_t *l
    cdef uint32_t ref = NONE, index = NONE
    users_release(&c.users, one.inviter)
    if one.flags & LISTED:
        l = list_at(c, one.invitee)
        while True:
            ref = roster_next(&c.pages, &l.roster, ref, index)
            if ref == NONE:
                break
            index += 1
            users_release(&c.users, entry_at(&c.pages, ref).user)
        roster_free(&c.pages, &l.roster)
        if l.group != NONE:
            users_release(&c.groups, l.group)
        list_give(c, one.invitee)
    else:
        users_release(&c.users, one.invitee)
    c.ended_count -= 1
    slot_give(c, slot)


cdef bint forget_oldest(core_t *c) noexcept nogil:
    """Release the oldest tombstone, unless a fact that waits still names it."""
    cdef uint32_t slot = c.ended_first
    cdef invitation_t *one
    if slot == NONE:
        return False
    one = invitation_at(c, slot)
    if ended_position(one) > c.taken:
        return False
    c.ended_first = one.pending.next
    if c.ended_first == NONE:
        c.ended_last = NONE
    else:
        pysignal_prefetch(invitation_at(c, c.ended_first))
    tombstone_release(c, slot)
    return True


cdef void core_forget(core_t *c, int64_t budget) noexcept nogil:
    """Release tombstones that are too old or too many, at most `budget`."""
    while c.ended_first != NONE:
        if c.ended_count <= c.ended_max and is_remembered(c, invitation_at(c, c.ended_first)):
            break
        if budget <= 0 or not forget_oldest(c):
            return
        budget -= 1
    c.swept_ms = c.wheel.now


cdef inline bint core_enter(core_t *c, uint64_t now_ms) noexcept nogil:
    """Move time to now; False when something is due before."""
    if now_ms > c.swept_ms + LEAP_MS:
        leap(c, now_ms)
    return wheel_enter(&c.wheel, now_ms)


cdef void leap(core_t *c, uint64_t now_ms) noexcept nogil:
    """After so long a time 32 bits no longer tell the age of a tombstone: forget them all."""
    c.forgotten = c.position
    c.swept_ms = now_ms


# -- facts -----------------------------------------------------------------------------------------

cdef inline fact_t *commit(core_t *c, uint8_t kind, uint32_t slot) noexcept nogil:
    """Begin the fact of the next commit position; its room must have been reserved."""
    cdef fact_t *fact = facts_push(&c.facts)
    cdef invitation_t *one = invitation_at(c, slot)
    c.position += 1
    fact.position = c.position
    fact.time_ms = c.wheel.now
    fact.id = id_make(&c.key, c.shard, slot, one.generation, one.secret)
    fact.data = 0
    fact.held = one.data
    fact.slot = slot
    fact.actor = NONE
    fact.subject = NONE
    fact.device = 0
    fact.seq = 0
    fact.data_version = one.data_version
    fact.affected = 0
    fact.kind = kind
    fact.reason = REASON_NONE
    fact.flags = 0
    fact.marks = 0
    return fact


cdef inline uint32_t count_answer(core_t *c, invitation_t *one) noexcept nogil:
    """The number of the event that is neither the opening nor a modify."""
    cdef list_t *l
    if not one.flags & LISTED:
        return one.data_version + 1
    l = list_at(c, one.invitee)
    l.answers += 1
    return one.data_version + l.answers


cdef void core_take(core_t *c, uint32_t count) noexcept nogil:
    """Give back the oldest `count` facts: their readers have done with them."""
    if count == 0:
        return
    c.taken = c.facts.items[c.facts.head + count - 1].position
    facts_give_back(&c.facts, count)
    if c.ended_count > c.ended_max:
        core_forget(c, 2 * <int64_t>count)


# -- finding ---------------------------------------------------------------------------------------

cdef uint32_t core_find(const core_t *c, invite_id_t name) noexcept nogil:
    """The slot of an open or remembered invitation, or NONE."""
    cdef uint64_t place = id_place(&c.key, name)
    cdef uint32_t slot = <uint32_t>place
    cdef const invitation_t *one
    if id_shard(name) != c.shard or slot >= c.invitations.top:
        return NONE
    one = invitation_at(c, slot)
    if one.secret != name.low or one.state == FREE_SLOT:
        return NONE
    if one.generation != <uint32_t>(place >> SLOT_BITS):
        return NONE
    if one.state != OPEN and not is_remembered(c, one):
        return NONE
    return slot


cdef uint32_t core_entry(const core_t *c, uint32_t slot, uint32_t user) noexcept nogil:
    """Where an invitee stands: the reference of its entry, the slot itself, or NONE."""
    cdef const invitation_t *one = invitation_at(c, slot)
    cdef uint32_t ref
    if not one.flags & LISTED:
        return slot if one.invitee == user else NONE
    ref = roster_find(&c.pages, &list_at(c, one.invitee).roster, user)
    return NONE if ref == NONE else ref | ENTRY


cdef invite_id_t core_id(const core_t *c, uint32_t slot) noexcept nogil:
    cdef const invitation_t *one = invitation_at(c, slot)
    return id_make(&c.key, c.shard, slot, one.generation, one.secret)


cdef uint32_t core_seq(const core_t *c, uint32_t slot) noexcept nogil:
    """How many events an invitation has had."""
    cdef const invitation_t *one = invitation_at(c, slot)
    if one.flags & LISTED:
        return one.data_version + list_at(c, one.invitee).answers
    return one.data_version + (one.state != OPEN)


cdef inline int find_open(
    core_t *c, uint64_t now_ms, invite_id_t name, uint32_t *slot,
) noexcept nogil:
    if not core_enter(c, now_ms):
        return DUE
    slot[0] = core_find(c, name)
    if slot[0] == NONE:
        return UNKNOWN
    return DONE if invitation_at(c, slot[0]).state == OPEN else ENDED


# -- operations ------------------------------------------------------------------------------------

cdef uint32_t oldest_without_deadline(
    core_t *c, uint32_t inviter, uint32_t invitee,
) noexcept nogil:
    """The oldest of one user's one-to-one invitations without a deadline to another.

    NONE while they are fewer than the limit. Both users' lists are walked side by side, so that the
    work is bounded by the shorter one.
    """
    cdef uint32_t sent = users_open(&c.users, inviter)
    cdef uint32_t asked = users_pending(&c.users, invitee)
    cdef uint32_t oldest_sent = NONE, oldest_asked = NONE, sent_count = 0, asked_count = 0
    cdef invitation_t *one
    while sent != NONE and asked != NONE:
        one = invitation_at(c, sent)
        if one.invitee == invitee and one.flags & (LISTED | NO_DEADLINE) == NO_DEADLINE:
            oldest_sent = sent      # newest first: the last one found is the oldest
            sent_count += 1
        sent = one.open.next
        if not asked & ENTRY:
            one = invitation_at(c, asked)
            if one.inviter == inviter and one.flags & NO_DEADLINE:
                if oldest_asked == NONE:
                    oldest_asked = asked
                asked_count += 1
        asked = links_at(c, asked).next
    if sent == NONE:
        return oldest_sent if sent_count >= NO_DEADLINE_MAX else NONE
    return oldest_asked if asked_count >= NO_DEADLINE_MAX else NONE


cdef void end_lifetime(core_t *c, uint32_t slot) noexcept nogil:
    """End an invitation without a deadline: nobody hears it, but its handles."""
    cdef invitation_t *one = invitation_at(c, slot)
    cdef fact_t *fact = commit(c, FACT_TIMED_OUT, slot)
    fact.reason = REASON_LIFETIME
    end_by(c, slot, fact, TIMED_OUT, COMPLETED)


cdef void end_by(
    core_t *c, uint32_t slot, fact_t *fact, uint8_t status, uint8_t state,
) noexcept nogil:
    """End all who are pending, and the invitation with them, and complete the fact."""
    cdef invitation_t *one = invitation_at(c, slot)
    fact.seq = count_answer(c, one)
    fact.affected = end_pending(c, slot, status)
    fact.flags = ENDS | RELEASES
    c.counts.invitees[PENDING] -= fact.affected
    c.counts.invitees[status] += fact.affected
    end_invitation(c, slot, state, fact.reason, fact.device)


cdef int core_open(core_t *c, const opening_t *o, invite_id_t *out) noexcept nogil:
    """Open an invitation; its ID goes to `out`. An empty list of invitees is born completed."""
    cdef uint32_t slot, i, index = NONE, excess = NONE
    cdef invitation_t *one
    cdef list_t *l
    cdef fact_t *fact
    cdef uint64_t deadline
    if not core_enter(c, o.now_ms):
        return DUE
    if not users_known(&c.users, o.inviter):
        return BAD_NUMBER
    for i in range(o.count):
        if not users_known(&c.users, o.invitees[i]) or o.invitees[i] == o.inviter:
            return BAD_NUMBER
    if o.group != NONE and not users_known(&c.groups, o.group):
        return BAD_NUMBER
    if o.count == 0 and o.group == NONE:
        return BAD_NUMBER
    if c.open_count >= c.capacity:
        return TABLE_FULL
    core_forget(c, FORGET_PER_OPEN)
    if not facts_reserve(&c.facts, 2):
        return NO_MEMORY
    if o.count != 1 or o.group != NONE:
        index = list_take(c)
        if index == NONE:
            return NO_MEMORY
        l = list_at(c, index)
        if not roster_init(&c.pages, &l.roster, index, o.count):
            list_give(c, index)
            return NO_MEMORY
    elif o.timeout_ms == 0:
        excess = oldest_without_deadline(c, o.inviter, o.invitees[0])
    slot = slot_take(c)
    if slot == NONE:
        if index != NONE:
            roster_free(&c.pages, &list_at(c, index).roster)
            list_give(c, index)
        return NO_MEMORY if c.invitations.top < c.invitations.limit else TABLE_FULL
    if excess != NONE:
        end_lifetime(c, excess)

    one = invitation_at(c, slot)
    one.secret = o.random
    one.data = o.data
    one.position = c.position + 1
    one.generation = (one.generation + 1) & GENERATION_MASK
    one.inviter = o.inviter
    one.opened_ms = <uint32_t>c.wheel.now
    one.data_version = 1
    one.state = OPEN
    one.status = PENDING
    one.flags = o.flags & (ONLINE_ONLY | PARTIES_ONLY)
    one.reason = REASON_NONE
    users_acquire(&c.users, o.inviter)
    if index == NONE:
        one.invitee = o.invitees[0]
        users_acquire(&c.users, one.invitee)
        pending_link(c, slot, one.invitee)
    else:
        one.flags |= LISTED
        one.invitee = index
        fill_list(c, slot, o)
    open_link(c, slot)
    if o.timeout_ms:
        deadline = c.wheel.now + o.timeout_ms
        wheel_arm(&c.wheel, slot, deadline, TIMER_DEADLINE)
    else:
        one.flags |= NO_DEADLINE
        wheel_arm(&c.wheel, slot, c.wheel.now + c.lifetime_ms, TIMER_LIFETIME)
    c.open_count += 1
    c.counts.invitations += 1
    c.counts.invitees[PENDING] += o.count

    fact = commit(c, FACT_OPENED, slot)
    fact.data = o.data
    fact.actor = o.inviter
    fact.device = o.device
    fact.seq = 1
    fact.affected = o.count
    out[0] = fact.id
    if o.count == 0:
        fact.flags = ENDS | RELEASES
        end_invitation(c, slot, COMPLETED, REASON_NONE, o.device)
    return DONE


cdef void fill_list(core_t *c, uint32_t slot, const opening_t *o) noexcept nogil:
    """Enter the invitees and the group of a new invitation into its list."""
    cdef uint32_t index = invitation_at(c, slot).invitee, i, ref
    cdef list_t *l = list_at(c, index)
    l.slot = slot
    l.group = o.group
    l.answers = 0
    l.accept_limit = 0
    for i in range(o.count):
        users_acquire(&c.users, o.invitees[i])
        ref = roster_add(&c.pages, &l.roster, o.invitees[i])
        pending_link(c, ref | ENTRY, o.invitees[i])
    if o.group != NONE:
        users_acquire(&c.groups, o.group)
        group_link(c, index)


cdef void settle(
    core_t *c, uint32_t slot, uint32_t ref, uint32_t user, uint8_t status, fact_t *fact,
) noexcept nogil:
    """End one invitee, and the invitation if it was the last, and complete the fact."""
    cdef invitation_t *one = invitation_at(c, slot)
    fact.subject = user
    fact.affected = 1
    fact.seq = count_answer(c, one)
    end_one(c, slot, ref, status, fact.device)
    c.counts.invitees[PENDING] -= 1
    c.counts.invitees[status] += 1
    if not one.flags & LISTED or list_at(c, one.invitee).roster.pending == 0:
        fact.flags = ENDS | RELEASES
        end_invitation(c, slot, COMPLETED, fact.reason, fact.device)


cdef int core_answer(
    core_t *c, uint64_t now_ms, invite_id_t name, uint32_t user, uint8_t status,
    uint64_t data, uint32_t device,
) noexcept nogil:
    """An invitee's own answer: `status` is ACCEPTED or REJECTED."""
    cdef uint32_t slot = NONE, ref
    cdef invitation_t *one
    cdef fact_t *fact
    cdef uint8_t stands
    cdef int found = find_open(c, now_ms, name, &slot)
    if found != DONE:
        return found
    one = invitation_at(c, slot)
    ref = core_entry(c, slot, user)
    if ref == NONE:
        return NOT_PARTY
    stands = entry_at(&c.pages, ref & ~<uint32_t>ENTRY).status if ref & ENTRY else one.status
    status = NEXT[stands][ANSWER_YES if status == ACCEPTED else ANSWER_NO]
    if status == REFUSED:
        return ANSWERED
    if not facts_reserve(&c.facts, 1):
        return NO_MEMORY
    fact = commit(c, FACT_ACCEPTED if status == ACCEPTED else FACT_REJECTED, slot)
    fact.data = data
    fact.actor = user
    fact.device = device
    settle(c, slot, ref, user, status, fact)
    return DONE


cdef int core_cancel(
    core_t *c, uint64_t now_ms, invite_id_t name, uint32_t user, uint64_t data, uint32_t device,
) noexcept nogil:
    """Cancel by the inviter, or by the server where `user` is NONE."""
    cdef uint32_t slot = NONE
    cdef fact_t *fact
    cdef int found = find_open(c, now_ms, name, &slot)
    if found != DONE:
        return found
    if user != NONE and invitation_at(c, slot).inviter != user:
        return NOT_PARTY
    if not facts_reserve(&c.facts, 1):
        return NO_MEMORY
    fact = commit(c, FACT_CANCELLED, slot)
    fact.data = data
    fact.actor = user
    fact.device = device
    fact.reason = REASON_SERVER if user == NONE else REASON_NONE
    end_by(c, slot, fact, CANCELLED, CALLED_OFF)
    return DONE


cdef int core_modify(
    core_t *c, uint64_t now_ms, invite_id_t name, uint32_t user, uint64_t data,
    uint32_t expected_version, uint32_t device,
) noexcept nogil:
    """Replace the data of an open invitation; an `expected_version` of 0 is not compared."""
    cdef uint32_t slot = NONE
    cdef invitation_t *one
    cdef fact_t *fact
    cdef int found = find_open(c, now_ms, name, &slot)
    if found != DONE:
        return found
    one = invitation_at(c, slot)
    if one.inviter != user:
        return NOT_PARTY
    if one.flags & ONLINE_ONLY:
        return NOT_MODIFIABLE
    if expected_version and expected_version != one.data_version:
        return CONFLICT
    if not facts_reserve(&c.facts, 1):
        return NO_MEMORY
    fact = commit(c, FACT_MODIFIED, slot)
    one.data_version += 1
    one.data = data
    fact.data = data
    fact.actor = user
    fact.device = device
    fact.data_version = one.data_version
    fact.seq = core_seq(c, slot)
    fact.flags = RELEASES
    return DONE


cdef int core_mark(
    core_t *c, uint64_t now_ms, invite_id_t name, uint32_t user, uint8_t marks,
) noexcept nogil:
    """Set marks of an invitee; a mark that is set already commits nothing."""
    cdef uint32_t slot = NONE, ref
    cdef fact_t *fact
    cdef uint8_t *place
    cdef int found = find_open(c, now_ms, name, &slot)
    if found != DONE:
        return found
    ref = core_entry(c, slot, user)
    if ref == NONE:
        return NOT_PARTY
    if ref & ENTRY:
        place = &entry_at(&c.pages, ref & ~<uint32_t>ENTRY).marks
    else:
        place = &invitation_at(c, slot).flags
    marks &= MARKS
    if place[0] & marks == marks:
        return DONE
    if not facts_reserve(&c.facts, 1):
        return NO_MEMORY
    place[0] |= marks
    fact = commit(c, FACT_MARKED, slot)
    fact.subject = user
    fact.marks = marks
    return DONE


# -- group changes and time ------------------------------------------------------------------------

cdef inline bint is_in_group(const core_t *c, uint32_t slot, uint32_t group) noexcept nogil:
    cdef const invitation_t *one = invitation_at(c, slot)
    return (one.flags & LISTED) != 0 and list_at(c, one.invitee).group == group


cdef inline uint32_t slot_of(const core_t *c, uint32_t ref) noexcept nogil:
    """The slot of the invitation that a reference in a pending list belongs to."""
    if ref & ENTRY:
        return list_at(c, page_at(&c.pages, (ref & ~<uint32_t>ENTRY) >> PAGE_SHIFT).list).slot
    return ref


cdef int core_leave(
    core_t *c, uint64_t now_ms, uint32_t user, uint32_t group, int64_t *budget,
) noexcept nogil:
    """End a user's part in every open invitation of a group, in the order of opening.

    DONE with `budget` at 0 or below: there may be more, call again.
    """
    cdef uint32_t asked, sent, before, slot
    cdef fact_t *fact
    if not core_enter(c, now_ms):
        return DUE
    if not users_known(&c.users, user) or not users_known(&c.groups, group):
        return BAD_NUMBER
    asked = users_pending(&c.users, user)
    sent = NONE
    before = users_open(&c.users, user)
    while before != NONE:
        sent = before
        before = invitation_at(c, before).open.next
    while True:
        while asked != NONE and not is_in_group(c, slot_of(c, asked), group):
            asked = links_at(c, asked).next
        while sent != NONE and not is_in_group(c, sent, group):
            sent = invitation_at(c, sent).open.prev
        if asked == NONE and sent == NONE:
            budget[0] = 1 if budget[0] < 1 else budget[0]
            return DONE
        if budget[0] <= 0:
            return DONE
        if not facts_reserve(&c.facts, 1):
            return NO_MEMORY
        budget[0] -= 1
        if sent == NONE or (
            asked != NONE
            and invitation_at(c, slot_of(c, asked)).position < invitation_at(c, sent).position
        ):
            slot = slot_of(c, asked)
            before = asked
            asked = links_at(c, asked).next
            fact = commit(c, FACT_REJECTED, slot)
            fact.actor = user
            fact.reason = REASON_LEFT_GROUP
            settle(c, slot, before, user, REJECTED, fact)
        else:
            slot = sent
            sent = invitation_at(c, slot).open.prev
            fact = commit(c, FACT_CANCELLED, slot)
            fact.actor = user
            fact.reason = REASON_LEFT_GROUP
            end_by(c, slot, fact, CANCELLED, CALLED_OFF)
            budget[0] -= fact.affected


cdef int core_dismiss(
    core_t *c, uint64_t now_ms, uint32_t group, int64_t *budget,
) noexcept nogil:
    """Cancel every open invitation of a group, in the order of opening.

    DONE with `budget` at 0 or below: there may be more, call again.
    """
    cdef uint32_t index
    cdef fact_t *fact
    if not core_enter(c, now_ms):
        return DUE
    if not users_known(&c.groups, group):
        return BAD_NUMBER
    while True:
        index = users_pending(&c.groups, group)
        if index == NONE:
            budget[0] = 1 if budget[0] < 1 else budget[0]
            return DONE
        if budget[0] <= 0:
            return DONE
        if not facts_reserve(&c.facts, 1):
            return NO_MEMORY
        fact = commit(c, FACT_CANCELLED, list_at(c, index).slot)
        fact.reason = REASON_GROUP_DISMISSED
        end_by(c, list_at(c, index).slot, fact, CANCELLED, CALLED_OFF)
        budget[0] -= 1 + <int64_t>fact.affected


cdef int core_advance(core_t *c, uint64_t now_ms, int64_t *budget) noexcept nogil:
    """Move time to `now_ms` and end what is due, in the order of deadlines.

    DONE with `budget` at 0 or below: more is due, call again before any other operation.
    """
    cdef uint32_t slot, kind = 0
    cdef fact_t *fact
    if now_ms > c.swept_ms + LEAP_MS:
        leap(c, now_ms)
    while True:
        if not facts_reserve(&c.facts, 1):
            return NO_MEMORY
        slot = wheel_step(&c.wheel, now_ms, budget, &kind)
        if slot == NONE:
            break
        if kind == TIMER_LIFETIME:
            end_lifetime(c, slot)
            continue
        fact = commit(c, FACT_TIMED_OUT, slot)
        end_by(c, slot, fact, TIMED_OUT, COMPLETED)
        budget[0] -= fact.affected
    if budget[0] > 0:
        core_forget(c, budget[0])
    return DONE
