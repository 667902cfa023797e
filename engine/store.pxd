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
    FORESEEN,
    FREE_SLOT,
    LISTED,
    NO_DEADLINE,
    OPEN,
    TIMER_DEADLINE,
    TIMER_LIFETIME,
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
from pysignal.engine.ids cimport GENERATION_MASK, invite_id_t
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
from pysignal.engine.slab cimport NONE, pysignal_prefetch, slab_reserve
from pysignal.engine.users cimport user_at, user_t, users_acquire, users_release
from pysignal.engine.wheel cimport timer_at, timer_t, wheel_arm, wheel_disarm


# -- slots and lists -------------------------------------------------------------------------------

cdef inline void slot_give(core_t *c, uint32_t slot, invitation_t *one) noexcept nogil:
    """Put a slot, whose record is `one`, in front of the free list."""
    cdef uint32_t first = c.free_first
    one.state = FREE_SLOT
    one.pending.prev = NONE
    one.pending.next = first
    c.free_first = slot
    c.free_count += 1
    if first != NONE:
        invitation_at(c, first).pending.prev = slot


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
    slot_give(c, slot, invitation_at(c, slot))
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

cdef inline void pending_link(
    core_t *c, uint32_t ref, links_t *links, user_t *user,
) noexcept nogil:
    """Append to the user's pending invitations; `links` are those of `ref`."""
    cdef uint32_t last = user.pending_last
    links.next = NONE
    links.prev = last
    user.pending_last = ref
    if last != NONE:
        links_at(c, last).next = ref
    else:
        user.pending_first = ref


cdef inline void pending_unlink(core_t *c, const links_t *links, user_t *user) noexcept nogil:
    cdef uint32_t next = links.next, prev = links.prev
    if prev != NONE:
        links_at(c, prev).next = next
    else:
        user.pending_first = next
    if next != NONE:
        links_at(c, next).prev = prev
    else:
        user.pending_last = prev


cdef inline void open_link(
    core_t *c, uint32_t slot, invitation_t *one, user_t *inviter,
) noexcept nogil:
    """Put in front of the inviter's open invitations."""
    cdef uint32_t first = inviter.open_first
    one.open.prev = NONE
    one.open.next = first
    inviter.open_first = slot
    if first != NONE:
        invitation_at(c, first).open.prev = slot


cdef inline void open_unlink(core_t *c, const invitation_t *one) noexcept nogil:
    cdef uint32_t next = one.open.next, prev = one.open.prev
    if prev != NONE:
        invitation_at(c, prev).open.next = next
    else:
        user_at(&c.users, one.inviter).open_first = next
    if next != NONE:
        invitation_at(c, next).open.prev = prev


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


cdef inline void timer_arm(
    core_t *c, uint32_t slot, uint8_t flags, uint64_t deadline_ms,
) noexcept nogil:
    """Arm the timer of an open invitation that has these flags."""
    wheel_arm(
        &c.wheel, slot, deadline_ms, TIMER_LIFETIME if flags & NO_DEADLINE else TIMER_DEADLINE,
    )


# -- beginning -------------------------------------------------------------------------------------

cdef inline void begin_invitation(
    core_t *c, uint32_t slot, uint32_t index, const opening_t *o, uint8_t flags,
    uint64_t deadline_ms, uint64_t position,
) noexcept nogil:
    """Fill a claimed slot with a new invitation, and its list unless `index` is NONE."""
    cdef invitation_t *one = invitation_at(c, slot)
    cdef user_t *inviter
    cdef user_t *invitee
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
    inviter = users_acquire(&c.users, o.inviter)
    if index == NONE:
        one.invitee = o.invitees[0]
        invitee = users_acquire(&c.users, o.invitees[0])
        if not c.restoring:
            pending_link(c, slot, &one.pending, invitee)
    else:
        one.invitee = index
        begin_list(c, slot, index, o)
    c.open_count += 1
    c.counts.invitations += 1
    c.counts.invitees[PENDING] += o.count
    if not c.restoring:
        open_link(c, slot, one, inviter)
        timer_arm(c, slot, flags, deadline_ms)


cdef inline void begin_list(
    core_t *c, uint32_t slot, uint32_t index, const opening_t *o,
) noexcept nogil:
    """Enter the invitees and the group of a new invitation into its list."""
    cdef list_t *asked = list_at(c, index)
    cdef user_t *user
    cdef uint32_t i, ref
    asked.slot = slot
    asked.group = o.group
    for i in range(o.count):
        user = users_acquire(&c.users, o.invitees[i])
        ref = roster_add(&c.pages, &asked.roster, o.invitees[i])
        if not c.restoring:
            pending_link(c, ref | ENTRY, &entry_at(&c.pages, ref).pending, user)
    if o.group != NONE:
        users_acquire(&c.groups, o.group)
        if not c.restoring:
            group_link(c, index)


# -- ending ----------------------------------------------------------------------------------------

cdef inline void end_one(
    core_t *c, invitation_t *one, uint32_t ref, uint8_t status, uint32_t device,
) noexcept nogil:
    """Give one pending invitee a final status. `ref` is its entry; any for one without a list."""
    cdef entry_t *entry
    if one.flags & LISTED:
        entry = entry_at(&c.pages, ref & ~<uint32_t>ENTRY)
        if not c.restoring:
            pending_unlink(c, &entry.pending, user_at(&c.users, entry.user))
        entry.status = status
        entry.device = <uint16_t>device
        entry_set_ended(entry, c.position)
        list_at(c, one.invitee).roster.pending -= 1
    else:
        if not c.restoring:
            pending_unlink(c, &one.pending, user_at(&c.users, one.invitee))
        one.status = status
    c.counts.invitees[PENDING] -= 1
    c.counts.invitees[status] += 1


cdef inline uint32_t end_pending(core_t *c, invitation_t *one, uint8_t status) noexcept nogil:
    """Give everybody who is still pending the same final status; how many they were."""
    cdef list_t *asked
    cdef uint32_t ref = NONE, index = NONE, ended = 0
    if not one.flags & LISTED:
        end_one(c, one, NONE, status, 0)
        return 1
    asked = list_at(c, one.invitee)
    while asked.roster.pending:
        ref = roster_next(&c.pages, &asked.roster, ref, index)
        index += 1
        if entry_at(&c.pages, ref).status <= PENDING:
            end_one(c, one, ref | ENTRY, status, 0)
            ended += 1
    return ended


cdef inline void end_invitation(
    core_t *c, uint32_t slot, invitation_t *one, uint8_t state, uint8_t reason, uint32_t device,
) noexcept nogil:
    """Turn an open invitation, with nobody pending any more, into its own tombstone."""
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

cdef inline uint32_t tombstone_next(const core_t *c, uint32_t slot) noexcept nogil:
    """The slot of the one that ended next, or NONE."""
    return timer_at(&c.wheel, slot).next


cdef inline void tombstone_link(core_t *c, uint32_t slot) noexcept nogil:
    """Append to those that have ended; one too many pushes out the oldest that was kept."""
    cdef timer_t *timer = timer_at(&c.wheel, slot)
    cdef timer_t *before = timer_at(&c.wheel, c.recent[c.recent_at])
    timer.next = NONE
    timer.prev = slot
    if before.kind == 0:                # its slot may have been given to another since
        before.prev = slot
    c.recent[c.recent_at] = slot
    c.recent_at = (c.recent_at + 1) % FORESEEN
    if c.ended_last == NONE:
        c.ended_first = slot
    else:
        timer_at(&c.wheel, c.ended_last).next = slot
    c.ended_last = slot
    if c.kept_first == NONE:
        c.kept_first = slot
    c.kept_count += 1
    if c.kept_count > c.ended_max:
        c.forgotten = ended_position(invitation_at(c, c.kept_first))
        c.kept_first = tombstone_next(c, c.kept_first)
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
    c.ended_first = tombstone_next(c, slot)
    if c.kept_first == slot:
        c.kept_first = c.ended_first
        c.kept_count -= 1
    if c.ended_first == NONE:
        c.ended_last = NONE
    else:
        tombstone_foresee(c, slot)
    tombstone_release(c, slot, one)
    return True


cdef inline void tombstone_foresee(const core_t *c, uint32_t slot) noexcept nogil:
    """Fetch early what the releases after this one touch; they lie anywhere.

    Going along the chain would wait for memory at each link. So the timer of a tombstone also names
    the one that ended FORESEEN ends later, as long as both are there: a hint, and itself where
    there is none. When that one has become the oldest, its record tells which users it names.
    """
    cdef uint32_t ahead = timer_at(&c.wheel, slot).prev
    cdef const invitation_t *oldest = invitation_at(c, c.ended_first)
    pysignal_prefetch(timer_at(&c.wheel, ahead))
    pysignal_prefetch(invitation_at(c, ahead))
    pysignal_prefetch(user_at(&c.users, oldest.inviter))
    if not oldest.flags & LISTED:
        pysignal_prefetch(user_at(&c.users, oldest.invitee))


cdef inline uint64_t tombstone_due(const core_t *c) noexcept nogil:
    """When the oldest tombstone need not be kept any more, in ms; 2**64 - 1 where there is none."""
    cdef const invitation_t *one
    if c.ended_first == NONE:
        return <uint64_t>-1
    one = invitation_at(c, c.ended_first)
    return ended_ms(one) + c.keep_ms if is_remembered(c, one) else c.wheel.now


cdef inline bint tombstones_kept(const core_t *c) noexcept nogil:
    """Whether all tombstones are certainly to be kept, judged without looking at any."""
    return c.ended_first == c.kept_first and (c.wheel.now < c.forget_ms or c.ended_first == NONE)


cdef inline void tombstones_sweep(core_t *c, int64_t budget) noexcept nogil:
    """Release tombstones that are not remembered any more, at most `budget`."""
    cdef const invitation_t *oldest
    while budget > 0 and not tombstones_kept(c):
        oldest = invitation_at(c, c.ended_first)
        if is_remembered(c, oldest):
            c.forget_ms = ended_ms(oldest) + c.keep_ms
            return
        if not tombstone_forget(c):
            return
        budget -= 1


cdef inline void tombstone_release(core_t *c, uint32_t slot, invitation_t *one) noexcept nogil:
    """Free the slot of an ended invitation and all that it counts."""
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
    slot_give(c, slot, one)


# -- facts -----------------------------------------------------------------------------------------

cdef inline fact_t *commit(
    core_t *c, uint8_t kind, uint32_t slot, const invitation_t *one, invite_id_t name,
) noexcept nogil:
    """Begin the fact of the next commit position; its room must have been reserved."""
    cdef fact_t *fact = facts_push(&c.facts)
    c.position += 1
    fact.position = c.position
    fact.time_ms = c.wheel.now
    fact.id = name
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


cdef inline uint32_t count_answer(core_t *c, const invitation_t *one) noexcept nogil:
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
    end_one(c, one, ref, status, fact.device)
    if core_pending(c, one) == 0:
        fact.flags = ENDS | RELEASES
        end_invitation(c, slot, one, COMPLETED, fact.reason, fact.device)


cdef inline void end_by(
    core_t *c, uint32_t slot, fact_t *fact, uint8_t status, uint8_t state,
) noexcept nogil:
    """End all who are pending, and the invitation with them, and complete the fact."""
    cdef invitation_t *one = invitation_at(c, slot)
    fact.seq = count_answer(c, one)
    fact.affected = end_pending(c, one, status)
    fact.flags = ENDS | RELEASES
    end_invitation(c, slot, one, state, fact.reason, fact.device)
