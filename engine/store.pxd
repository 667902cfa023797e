"""The steps that operations are made of: slots, links, beginnings, ends, facts.

`core` judges first and then takes these steps; `replay` takes the same ones for what was decided
elsewhere. No step can fail but those that reserve what could run out: a slot (`slot_ready`), a list
(`list_take`), room for facts (`facts_reserve`).

While a core is `restoring`, invitations begin and end without being linked anywhere; at the end
`replay_finish` links what is there.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from pysignal.engine.core cimport (
    COMPLETED,
    ENTRY,
    FREE_SLOT,
    LISTED,
    NO_DEADLINE,
    OPEN,
    TIMER_DEADLINE,
    TIMER_LIFETIME,
    core_id,
    core_pending,
    core_t,
    ended_ms,
    ended_position,
    invitation_at,
    invitation_t,
    is_remembered,
    links_at,
    list_at,
    list_t,
    opening_t,
    set_ended,
)
from pysignal.engine.facts cimport ENDS, REASON_NONE, RELEASES, fact_t, facts_push
from pysignal.engine.ids cimport GENERATION_MASK
from pysignal.engine.roster cimport (
    PENDING,
    entry_at,
    entry_set_ended,
    entry_t,
    links_t,
    roster_add,
    roster_free,
    roster_next,
)
from pysignal.engine.slab cimport NONE, slab_reserve
from pysignal.engine.users cimport user_at, user_t, users_acquire, users_release
from pysignal.engine.wheel cimport pysignal_prefetch, timer_at, wheel_arm, wheel_disarm


# -- slots and lists -------------------------------------------------------------------------------

cdef inline void slot_give(core_t *c, uint32_t slot) noexcept nogil:
    cdef invitation_t *one = invitation_at(c, slot)
    one.state = FREE_SLOT
    one.pending.prev = NONE
    one.pending.next = c.free_first
    if c.free_first != NONE:
        invitation_at(c, c.free_first).pending.prev = slot
    c.free_first = slot
    c.free_count += 1


cdef inline bint slot_add(core_t *c) noexcept nogil:
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


cdef inline bint slot_ready(core_t *c) noexcept nogil:
    """See to it that a slot is free; False when the table or memory is full."""
    return c.free_first != NONE or slot_add(c)


cdef inline void slot_claim(core_t *c, uint32_t slot) noexcept nogil:
    """Take one free slot out of the free list."""
    cdef links_t *links = &invitation_at(c, slot).pending
    if links.prev != NONE:
        invitation_at(c, links.prev).pending.next = links.next
    else:
        c.free_first = links.next
    if links.next != NONE:
        invitation_at(c, links.next).pending.prev = links.prev
    c.free_count -= 1


cdef inline uint32_t list_take(core_t *c) noexcept nogil:
    """An empty list; NONE when the table or memory is full."""
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


cdef inline void list_give(core_t *c, uint32_t index) noexcept nogil:
    """Give back a list that has no roster any more."""
    list_at(c, index).slot = c.list_free
    list_at(c, index).roster.table = NULL
    c.list_free = index
    c.list_count -= 1


# -- the lists that run through records and entries ------------------------------------------------

cdef inline void pending_link(core_t *c, uint32_t ref, uint32_t number) noexcept nogil:
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


cdef inline void pending_unlink(core_t *c, links_t *links, uint32_t number) noexcept nogil:
    cdef user_t *user = user_at(&c.users, number)
    if links.prev != NONE:
        links_at(c, links.prev).next = links.next
    else:
        user.pending_first = links.next
    if links.next != NONE:
        links_at(c, links.next).prev = links.prev
    else:
        user.pending_last = links.prev


cdef inline void open_link(core_t *c, uint32_t slot) noexcept nogil:
    """Put in front of the inviter's open invitations."""
    cdef invitation_t *one = invitation_at(c, slot)
    cdef user_t *user = user_at(&c.users, one.inviter)
    one.open.prev = NONE
    one.open.next = user.open_first
    if one.open.next != NONE:
        invitation_at(c, one.open.next).open.prev = slot
    user.open_first = slot


cdef inline void open_unlink(core_t *c, invitation_t *one) noexcept nogil:
    if one.open.prev != NONE:
        invitation_at(c, one.open.prev).open.next = one.open.next
    else:
        user_at(&c.users, one.inviter).open_first = one.open.next
    if one.open.next != NONE:
        invitation_at(c, one.open.next).open.prev = one.open.prev


cdef inline void group_link(core_t *c, uint32_t index) noexcept nogil:
    """Append to the group's open invitations."""
    cdef list_t *asked = list_at(c, index)
    cdef user_t *group = user_at(&c.groups, asked.group)
    asked.in_group.next = NONE
    asked.in_group.prev = group.pending_last
    if asked.in_group.prev != NONE:
        list_at(c, asked.in_group.prev).in_group.next = index
    else:
        group.pending_first = index
    group.pending_last = index


cdef inline void group_unlink(core_t *c, list_t *asked) noexcept nogil:
    cdef user_t *group = user_at(&c.groups, asked.group)
    if asked.in_group.prev != NONE:
        list_at(c, asked.in_group.prev).in_group.next = asked.in_group.next
    else:
        group.pending_first = asked.in_group.next
    if asked.in_group.next != NONE:
        list_at(c, asked.in_group.next).in_group.prev = asked.in_group.prev
    else:
        group.pending_last = asked.in_group.prev


cdef inline void timer_arm(core_t *c, uint32_t slot, uint64_t deadline_ms) noexcept nogil:
    """Arm the timer of an open invitation."""
    wheel_arm(
        &c.wheel, slot, deadline_ms,
        TIMER_LIFETIME if invitation_at(c, slot).flags & NO_DEADLINE else TIMER_DEADLINE,
    )


# -- beginning -------------------------------------------------------------------------------------

cdef inline void begin_invitation(
    core_t *c, uint32_t slot, uint32_t index, const opening_t *o, uint8_t flags,
    uint64_t deadline_ms, uint64_t position,
) noexcept nogil:
    """Fill a claimed slot with a new invitation, and its list unless `index` is NONE."""
    cdef invitation_t *one = invitation_at(c, slot)
    one.secret = o.random
    one.data = o.data
    one.position = position
    one.generation = (one.generation + 1) & GENERATION_MASK
    one.inviter = o.inviter
    one.opened_ms = <uint32_t>c.wheel.now
    one.data_version = 1
    one.state = OPEN
    one.status = PENDING
    one.flags = flags
    one.reason = 0
    users_acquire(&c.users, o.inviter)
    if index == NONE:
        one.invitee = o.invitees[0]
        users_acquire(&c.users, one.invitee)
        if not c.restoring:
            pending_link(c, slot, one.invitee)
    else:
        one.invitee = index
        begin_list(c, slot, index, o)
    c.open_count += 1
    c.counts.invitations += 1
    c.counts.invitees[PENDING] += o.count
    if not c.restoring:
        open_link(c, slot)
        timer_arm(c, slot, deadline_ms)


cdef inline void begin_list(
    core_t *c, uint32_t slot, uint32_t index, const opening_t *o,
) noexcept nogil:
    """Enter the invitees and the group of a new invitation into its list."""
    cdef list_t *asked = list_at(c, index)
    cdef uint32_t i, ref
    asked.slot = slot
    asked.group = o.group
    for i in range(o.count):
        users_acquire(&c.users, o.invitees[i])
        ref = roster_add(&c.pages, &asked.roster, o.invitees[i])
        if not c.restoring:
            pending_link(c, ref | ENTRY, o.invitees[i])
    if o.group != NONE:
        users_acquire(&c.groups, o.group)
        if not c.restoring:
            group_link(c, index)


# -- ending ----------------------------------------------------------------------------------------

cdef inline void end_one(
    core_t *c, uint32_t slot, uint32_t ref, uint8_t status, uint32_t device,
) noexcept nogil:
    """Give one pending invitee a final status. `ref` is its entry, or the slot itself."""
    cdef invitation_t *one = invitation_at(c, slot)
    cdef entry_t *entry
    if one.flags & LISTED:
        entry = entry_at(&c.pages, ref & ~<uint32_t>ENTRY)
        if not c.restoring:
            pending_unlink(c, &entry.pending, entry.user)
        entry.status = status
        entry.device = <uint16_t>device
        entry_set_ended(entry, c.position)
        list_at(c, one.invitee).roster.pending -= 1
    else:
        if not c.restoring:
            pending_unlink(c, &one.pending, one.invitee)
        one.status = status
    c.counts.invitees[PENDING] -= 1
    c.counts.invitees[status] += 1


cdef inline uint32_t end_pending(core_t *c, uint32_t slot, uint8_t status) noexcept nogil:
    """Give everybody who is still pending the same final status; how many they were."""
    cdef invitation_t *one = invitation_at(c, slot)
    cdef list_t *asked
    cdef uint32_t ref = NONE, index = NONE, ended = 0
    if not one.flags & LISTED:
        end_one(c, slot, slot, status, 0)
        return 1
    asked = list_at(c, one.invitee)
    while asked.roster.pending:
        ref = roster_next(&c.pages, &asked.roster, ref, index)
        index += 1
        if entry_at(&c.pages, ref).status <= PENDING:
            end_one(c, slot, ref | ENTRY, status, 0)
            ended += 1
    return ended


cdef inline void end_invitation(
    core_t *c, uint32_t slot, uint8_t state, uint8_t reason, uint32_t device,
) noexcept nogil:
    """Turn an open invitation, with nobody pending any more, into its own tombstone."""
    cdef invitation_t *one = invitation_at(c, slot)
    if not c.restoring:
        if timer_at(&c.wheel, slot).kind:       # one that has just expired is disarmed already
            wheel_disarm(&c.wheel, slot)
        open_unlink(c, one)
        if one.flags & LISTED and list_at(c, one.invitee).group != NONE:
            group_unlink(c, list_at(c, one.invitee))
    one.state = state
    one.reason = reason
    set_ended(one, c.position, c.wheel.now, device)
    c.open_count -= 1
    c.ended_count += 1
    if not c.restoring:
        tombstone_link(c, slot)
        if c.ended_first != c.kept_first:
            tombstone_forget(c)


# -- tombstones ------------------------------------------------------------------------------------

cdef inline void tombstone_link(core_t *c, uint32_t slot) noexcept nogil:
    """Append to those that have ended; one too many pushes out the oldest that was kept."""
    cdef invitation_t *one = invitation_at(c, slot)
    one.pending.next = NONE
    if c.ended_last == NONE:
        c.ended_first = slot
    else:
        invitation_at(c, c.ended_last).pending.next = slot
    c.ended_last = slot
    if c.kept_first == NONE:
        c.kept_first = slot
    c.kept_count += 1
    if c.kept_count > c.ended_max:
        one = invitation_at(c, c.kept_first)
        c.forgotten = ended_position(one)
        c.kept_first = one.pending.next
        c.kept_count -= 1


cdef inline bint tombstone_forget(core_t *c) noexcept nogil:
    """Release the oldest tombstone. False when there is none, or a fact that waits names it."""
    cdef uint32_t slot = c.ended_first
    cdef invitation_t *one
    if slot == NONE:
        return False
    one = invitation_at(c, slot)
    if ended_position(one) > c.taken:
        return False
    c.ended_first = one.pending.next
    if c.kept_first == slot:
        c.kept_first = c.ended_first
        c.kept_count -= 1
    if c.ended_first == NONE:
        c.ended_last = NONE
    else:
        pysignal_prefetch(invitation_at(c, c.ended_first))
    tombstone_release(c, slot)
    return True


cdef inline uint64_t tombstone_due(const core_t *c) noexcept nogil:
    """When the oldest tombstone need not be kept any more, in ms; 2**64 - 1 where there is none."""
    cdef const invitation_t *one
    if c.ended_first == NONE:
        return <uint64_t>-1
    one = invitation_at(c, c.ended_first)
    return ended_ms(one) + c.keep_ms if is_remembered(c, one) else c.wheel.now


cdef inline void tombstones_sweep(core_t *c, int64_t budget) noexcept nogil:
    """Release tombstones that are not remembered any more, at most `budget`."""
    while budget > 0 and c.ended_first != NONE:
        if is_remembered(c, invitation_at(c, c.ended_first)) or not tombstone_forget(c):
            return
        budget -= 1


cdef inline void tombstone_release(core_t *c, uint32_t slot) noexcept nogil:
    """Free the slot of an ended invitation and all that it counts."""
    cdef invitation_t *one = invitation_at(c, slot)
    cdef list_t *asked
    cdef uint32_t ref = NONE, index = NONE
    users_release(&c.users, one.inviter)
    if one.flags & LISTED:
        asked = list_at(c, one.invitee)
        while True:
            ref = roster_next(&c.pages, &asked.roster, ref, index)
            if ref == NONE:
                break
            index += 1
            users_release(&c.users, entry_at(&c.pages, ref).user)
        roster_free(&c.pages, &asked.roster)
        if asked.group != NONE:
            users_release(&c.groups, asked.group)
        list_give(c, one.invitee)
    else:
        users_release(&c.users, one.invitee)
    c.ended_count -= 1
    slot_give(c, slot)


# -- facts -----------------------------------------------------------------------------------------

cdef inline fact_t *commit(core_t *c, uint8_t kind, uint32_t slot) noexcept nogil:
    """Begin the fact of the next commit position; its room must have been reserved."""
    cdef fact_t *fact = facts_push(&c.facts)
    cdef invitation_t *one = invitation_at(c, slot)
    c.position += 1
    fact.position = c.position
    fact.time_ms = c.wheel.now
    fact.id = core_id(c, slot)
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
    cdef list_t *asked
    if not one.flags & LISTED:
        return one.data_version + 1
    asked = list_at(c, one.invitee)
    asked.answers += 1
    return one.data_version + asked.answers


cdef inline void settle(
    core_t *c, uint32_t slot, uint32_t ref, uint32_t user, uint8_t status, fact_t *fact,
) noexcept nogil:
    """End one invitee, and the invitation if it was the last, and complete the fact."""
    cdef invitation_t *one = invitation_at(c, slot)
    fact.subject = user
    fact.affected = 1
    fact.seq = count_answer(c, one)
    end_one(c, slot, ref, status, fact.device)
    if core_pending(c, one) == 0:
        fact.flags = ENDS | RELEASES
        end_invitation(c, slot, COMPLETED, fact.reason, fact.device)


cdef inline void end_by(
    core_t *c, uint32_t slot, fact_t *fact, uint8_t status, uint8_t state,
) noexcept nogil:
    """End all who are pending, and the invitation with them, and complete the fact."""
    fact.seq = count_answer(c, invitation_at(c, slot))
    fact.affected = end_pending(c, slot, status)
    fact.flags = ENDS | RELEASES
    end_invitation(c, slot, state, fact.reason, fact.device)
