"""Applying records to a core (see `replay.pxd`)."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, qsort

from pysignal.engine.core cimport (
    CALLED_OFF,
    COMPLETED,
    ENTRY,
    FREE_SLOT,
    LISTED,
    NO_DEADLINE,
    OPEN,
    TIMER_DEADLINE,
    TIMER_LIFETIME,
    core_entry,
    core_forget,
    core_t,
    end_invitation,
    end_one,
    end_pending,
    ended_position,
    group_link,
    invitation_at,
    invitation_t,
    list_at,
    list_give,
    list_t,
    list_take,
    open_link,
    opening_t,
    pending_link,
    slot_add,
    slot_claim,
    slot_give,
    tombstone_link,
    tombstone_release,
)
from pysignal.engine.facts cimport (
    ENDS,
    FACT_ACCEPTED,
    FACT_CANCELLED,
    FACT_MARKED,
    FACT_MODIFIED,
    FACT_OPENED,
    FACT_REJECTED,
    FACT_TIMED_OUT,
    fact_t,
)
from pysignal.engine.ids cimport SLOT_BITS, id_place
from pysignal.engine.roster cimport (
    ACCEPTED,
    CANCELLED,
    PENDING,
    REJECTED,
    TIMED_OUT,
    entry_at,
    roster_add,
    roster_init,
    roster_next,
)
from pysignal.engine.slab cimport NONE
from pysignal.engine.users cimport users_acquire
from pysignal.engine.wheel cimport wheel_arm, wheel_follow


cdef uint32_t replay_slot(const core_t *c, const fact_t *fact) noexcept nogil:
    """The slot that a record's ID leads to."""
    return <uint32_t>id_place(&c.key, fact.id)


cdef bint replay_claim(core_t *c, uint32_t slot) noexcept nogil:
    """Make a slot ready for an invitation: not free, not a tombstone. False when full."""
    while c.invitations.top <= slot:
        if not slot_add(c):
            return False
    if invitation_at(c, slot).state == FREE_SLOT:
        slot_claim(c, slot)
        return True
    # The slot was given away before this record was made: so its tombstone was forgotten, and all
    # that are older with it.
    if c.restoring:
        tombstone_release(c, slot)
    else:
        while invitation_at(c, slot).state not in (FREE_SLOT, OPEN) and c.ended_first != NONE:
            c.forgotten = ended_position(invitation_at(c, c.ended_first))
            core_forget(c, 1)
    if invitation_at(c, slot).state != FREE_SLOT:
        return False
    slot_claim(c, slot)
    return True


cdef int apply_opening(
    core_t *c, const fact_t *fact, const opening_t *o, uint64_t deadline_ms,
) noexcept nogil:
    cdef uint32_t slot = replay_slot(c, fact), i, index = NONE, ref
    cdef uint8_t flags = o.flags
    cdef invitation_t *one
    cdef list_t *l
    if flags & LISTED:
        index = list_take(c)
        if index == NONE:
            return APPLY_FULL
        if not roster_init(&c.pages, &list_at(c, index).roster, index, o.count):
            list_give(c, index)
            return APPLY_FULL
    if not replay_claim(c, slot):
        return APPLY_FULL
    one = invitation_at(c, slot)
    one.secret = fact.id.low
    one.data = o.data
    one.position = fact.position
    one.generation = <uint32_t>(id_place(&c.key, fact.id) >> SLOT_BITS)
    one.inviter = o.inviter
    one.opened_ms = <uint32_t>fact.time_ms
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
        l = list_at(c, index)
        l.slot = slot
        l.group = o.group
        for i in range(o.count):
            users_acquire(&c.users, o.invitees[i])
            ref = roster_add(&c.pages, &l.roster, o.invitees[i])
            if not c.restoring:
                pending_link(c, ref | ENTRY, o.invitees[i])
        if o.group != NONE:
            users_acquire(&c.groups, o.group)
            if not c.restoring:
                group_link(c, index)
    if not c.restoring:
        open_link(c, slot)
        wheel_arm(
            &c.wheel, slot, deadline_ms, TIMER_LIFETIME if flags & NO_DEADLINE else TIMER_DEADLINE,
        )
    c.open_count += 1
    if fact.flags & ENDS:
        end_invitation(c, slot, COMPLETED, 0, fact.device)
    return APPLIED


cdef int apply_change(core_t *c, const fact_t *fact, uint64_t data) noexcept nogil:
    """Everything but an opening."""
    cdef uint32_t slot = replay_slot(c, fact), ref
    cdef invitation_t *one
    cdef list_t *l
    if slot >= c.invitations.top or invitation_at(c, slot).state != OPEN:
        return MISFIT
    one = invitation_at(c, slot)
    if fact.kind == FACT_MODIFIED:
        one.data = data
        one.data_version = fact.data_version
        return APPLIED
    if fact.subject != NONE:
        ref = core_entry(c, slot, fact.subject)
        if ref == NONE:
            return MISFIT
    if fact.kind == FACT_MARKED:
        if ref & ENTRY:
            entry_at(&c.pages, ref & ~<uint32_t>ENTRY).marks |= fact.marks
        else:
            one.flags |= fact.marks
        return APPLIED
    if one.flags & LISTED:
        list_at(c, one.invitee).answers += 1
    if fact.kind == FACT_ACCEPTED or fact.kind == FACT_REJECTED:
        end_one(
            c, slot, ref, ACCEPTED if fact.kind == FACT_ACCEPTED else REJECTED, fact.device,
        )
        if fact.flags & ENDS:
            end_invitation(c, slot, COMPLETED, fact.reason, fact.device)
    elif fact.kind == FACT_CANCELLED:
        end_pending(c, slot, CANCELLED)
        end_invitation(c, slot, CALLED_OFF, fact.reason, fact.device)
    else:
        end_pending(c, slot, TIMED_OUT)
        end_invitation(c, slot, COMPLETED, fact.reason, fact.device)
    return APPLIED


cdef void count(core_t *c, const fact_t *fact) noexcept nogil:
    """Keep the counters of the core's history."""
    cdef uint8_t status
    if fact.kind == FACT_OPENED:
        c.counts.invitations += 1
        c.counts.invitees[PENDING] += fact.affected
        return
    if fact.kind == FACT_ACCEPTED:
        status = ACCEPTED
    elif fact.kind == FACT_REJECTED:
        status = REJECTED
    elif fact.kind == FACT_CANCELLED:
        status = CANCELLED
    elif fact.kind == FACT_TIMED_OUT:
        status = TIMED_OUT
    else:
        return
    c.counts.invitees[PENDING] -= fact.affected
    c.counts.invitees[status] += fact.affected


cdef int replay_apply(
    core_t *c, const fact_t *fact, const opening_t *opening, uint64_t deadline_ms,
    uint64_t covered, uint64_t *released,
) noexcept nogil:
    """Carry out one record.

    `opening` belongs to FACT_OPENED only, `deadline_ms` with it. `covered` is the position up to
    which the slot is complete already. `released` gets the handle of the data that the record
    replaced or ended, or 0.
    """
    cdef int result
    cdef uint32_t slot = replay_slot(c, fact)
    cdef uint64_t held = 0
    released[0] = 0
    if fact.position <= c.position:
        return SKIPPED
    if fact.position != c.position + 1:
        return GAP
    if c.restoring:
        if fact.time_ms > c.wheel.now:
            c.wheel.now = fact.time_ms
    elif not wheel_follow(&c.wheel, fact.time_ms):
        return MISFIT
    c.position += 1
    c.taken = c.position
    if fact.position <= covered:
        count(c, fact)
        return SKIPPED
    if fact.kind == FACT_OPENED:
        result = apply_opening(c, fact, opening, deadline_ms)
        held = opening.data
    else:
        if slot < c.invitations.top and invitation_at(c, slot).state == OPEN:
            held = invitation_at(c, slot).data
        result = apply_change(c, fact, fact.data)
    if result != APPLIED:
        c.position -= 1
        return result
    count(c, fact)
    if fact.flags & ENDS or fact.kind == FACT_MODIFIED:
        released[0] = held
    return APPLIED


# -- the end of a restore --------------------------------------------------------------------------

ctypedef struct place_t:
    uint64_t position
    uint32_t slot


cdef int by_position(const void *left, const void *right) noexcept nogil:
    cdef uint64_t a = (<const place_t *>left).position, b = (<const place_t *>right).position
    return (a > b) - (a < b)


cdef void link_open(core_t *c, uint32_t slot, uint64_t deadline_ms) noexcept nogil:
    """Link an open invitation into all lists and arm its timer."""
    cdef invitation_t *one = invitation_at(c, slot)
    cdef list_t *l
    cdef uint32_t ref = NONE, index = NONE
    if one.flags & LISTED:
        l = list_at(c, one.invitee)
        while True:
            ref = roster_next(&c.pages, &l.roster, ref, index)
            if ref == NONE:
                break
            index += 1
            if entry_at(&c.pages, ref).status <= PENDING:
                pending_link(c, ref | ENTRY, entry_at(&c.pages, ref).user)
        if l.group != NONE:
            group_link(c, one.invitee)
    else:
        pending_link(c, slot, one.invitee)
    open_link(c, slot)
    wheel_arm(
        &c.wheel, slot, deadline_ms, TIMER_LIFETIME if one.flags & NO_DEADLINE else TIMER_DEADLINE,
    )


cdef bint replay_finish(core_t *c, const uint64_t *deadlines) noexcept nogil:
    """Link everything after a restore. False when memory is out; then call again.

    `deadlines` has the deadline in ms of each slot that is open.
    """
    cdef uint32_t slot, top = c.invitations.top, open_count = 0, ended_count = 0, i
    cdef place_t *open_ones = <place_t *>malloc((<size_t>top + 1) * 2 * sizeof(place_t))
    cdef place_t *ended_ones = open_ones + top + 1
    cdef invitation_t *one
    if open_ones == NULL:
        return False
    c.free_first = NONE
    c.free_count = 0
    for i in range(top):
        slot = top - 1 - i      # so that low slots are used first
        one = invitation_at(c, slot)
        if one.state == FREE_SLOT:
            slot_give(c, slot)
        elif one.state == OPEN:
            open_ones[open_count].position = one.position
            open_ones[open_count].slot = slot
            open_count += 1
        else:
            ended_ones[ended_count].position = ended_position(one)
            ended_ones[ended_count].slot = slot
            ended_count += 1
    qsort(open_ones, open_count, sizeof(place_t), by_position)
    qsort(ended_ones, ended_count, sizeof(place_t), by_position)
    for i in range(open_count):
        link_open(c, open_ones[i].slot, deadlines[open_ones[i].slot])
    for i in range(ended_count):
        tombstone_link(c, ended_ones[i].slot)
    free(open_ones)
    c.restoring = False
    c.taken = c.position
    core_forget(c, <uint32_t>-1)
    return True
