"""Applying records to a core (see `replay.pxd`)."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, qsort

from pysignal.engine.core cimport (
    CALLED_OFF,
    COMPLETED,
    DAY_MS,
    ENTRY,
    FREE_SLOT,
    LISTED,
    OPEN,
    core_entry,
    core_find,
    core_marks,
    core_pending,
    core_seq,
    core_status,
    core_t,
    deadline_of,
    ended_position,
    invitation_at,
    invitation_t,
    list_at,
    list_t,
    opening_t,
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
from pysignal.engine.ids cimport GENERATION_MASK, SLOT_BITS, id_place, id_shard
from pysignal.engine.roster cimport (
    ACCEPTED,
    CANCELLED,
    PENDING,
    REJECTED,
    TIMED_OUT,
    entry_at,
    entry_t,
    roster_init,
    roster_next,
)
from pysignal.engine.slab cimport NONE
from pysignal.engine.store cimport (
    begin_invitation,
    end_invitation,
    end_one,
    end_pending,
    group_link,
    list_give,
    list_take,
    open_link,
    pending_link,
    slot_add,
    slot_claim,
    slot_give,
    timer_arm,
    tombstone_forget,
    tombstone_link,
    tombstone_release,
    tombstones_sweep,
)
from pysignal.engine.users cimport user_at
from pysignal.engine.wheel cimport WHEEL_SPAN_DAYS, timer_at, wheel_follow


cdef int replay_apply(
    core_t *c, const fact_t *fact, const opening_t *opening, uint64_t deadline_ms,
    uint64_t covered, uint64_t *released,
) noexcept nogil:
    """Carry out one record.

    `opening` belongs to FACT_OPENED only, `deadline_ms` with it. `covered` is the position up to
    which the slot is complete already. `released` gets the handle of the data that the record
    replaced or ended, or 0. What is not APPLIED has changed no invitation; a MISFIT may have moved
    time on to the first timer that is due.
    """
    cdef int result
    released[0] = 0
    if fact.position <= c.position:
        return SKIPPED
    if fact.position != c.position + 1:
        return GAP
    if fact.position <= covered:
        follow_time(c, fact.time_ms)
        count(c, fact)
        commit_at(c, fact.position)
        return SKIPPED
    if fact.kind == FACT_OPENED:
        result = compare_opening(c, fact, opening)
    else:
        result = compare_change(c, fact)
    if result == APPLIED and not follow_time(c, fact.time_ms):
        result = MISFIT
    if result != APPLIED:
        return result
    if fact.kind == FACT_OPENED:
        return apply_opening(c, fact, opening, deadline_ms, released)
    if fact.flags & ENDS or fact.kind == FACT_MODIFIED:
        released[0] = invitation_at(c, replay_slot(c, fact)).data
    commit_at(c, fact.position)
    apply_change(c, fact)
    return APPLIED


cdef inline void commit_at(core_t *c, uint64_t position) noexcept nogil:
    c.position = position
    c.taken = position


cdef inline bint follow_time(core_t *c, uint64_t time_ms) noexcept nogil:
    """Move time to that of a record; False when the copy is ahead, or holds what was due before."""
    if c.restoring:
        if time_ms > c.wheel.now:
            c.wheel.now = time_ms
        return True
    return time_ms >= c.wheel.now and wheel_follow(&c.wheel, time_ms)


cdef uint32_t replay_slot(const core_t *c, const fact_t *fact) noexcept nogil:
    """The slot that a record's ID leads to."""
    return <uint32_t>id_place(&c.key, fact.id)


# -- comparing -------------------------------------------------------------------------------------

cdef int compare_opening(const core_t *c, const fact_t *fact, const opening_t *o) noexcept nogil:
    """Whether an opening fits to its slot: slots are taken one after another, each counted."""
    cdef uint32_t slot = replay_slot(c, fact), generation = 0
    if id_shard(fact.id) != c.shard or slot > c.invitations.top:
        return MISFIT
    if slot >= c.invitations.limit:
        return APPLY_FULL
    if slot < c.invitations.top:
        generation = invitation_at(c, slot).generation
        if invitation_at(c, slot).state == OPEN:
            return MISFIT
    if (generation + 1) & GENERATION_MASK != <uint32_t>(id_place(&c.key, fact.id) >> SLOT_BITS):
        return MISFIT
    if fact.affected != o.count or (fact.flags & ENDS != 0) != (o.count == 0):
        return MISFIT
    return APPLIED


cdef int compare_change(const core_t *c, const fact_t *fact) noexcept nogil:
    """Whether anything but an opening fits to its invitation."""
    cdef uint32_t slot = core_find(c, fact.id), affected, ref
    cdef const invitation_t *one
    cdef bint ends = False
    if slot == NONE or invitation_at(c, slot).state != OPEN:
        return MISFIT
    one = invitation_at(c, slot)
    if fact.kind == FACT_MARKED or fact.kind == FACT_MODIFIED:
        affected = 0
    elif fact.kind == FACT_ACCEPTED or fact.kind == FACT_REJECTED:
        affected = 1
        ends = core_pending(c, one) == 1
    else:
        affected = core_pending(c, one)
        ends = True
    if fact.affected != affected or (fact.flags & ENDS != 0) != ends:
        return MISFIT
    if fact.kind != FACT_MARKED and fact.seq != core_seq(c, slot) + 1:
        return MISFIT
    if fact.data_version != one.data_version + (fact.kind == FACT_MODIFIED):
        return MISFIT
    if fact.kind == FACT_MODIFIED or fact.kind == FACT_CANCELLED or fact.kind == FACT_TIMED_OUT:
        return APPLIED
    ref = NONE if fact.subject == NONE else core_entry(c, slot, fact.subject)
    if ref == NONE or (affected and core_status(c, slot, ref) > PENDING):
        return MISFIT
    return APPLIED


# -- applying --------------------------------------------------------------------------------------

cdef bint replay_ready(core_t *c, uint32_t slot) noexcept nogil:
    """See to it that a slot that is not open is free. False when the table or memory is full.

    Where the slot holds a tombstone, that was forgotten before the record was made, and all that
    are older with it.
    """
    while c.invitations.top <= slot:
        if not slot_add(c):
            return False
    if invitation_at(c, slot).state == FREE_SLOT:
        return True
    if c.restoring:
        tombstone_release(c, slot, invitation_at(c, slot))
        return True
    while invitation_at(c, slot).state != FREE_SLOT:
        if not tombstone_forget(c):
            return False
    return True


cdef int apply_opening(
    core_t *c, const fact_t *fact, const opening_t *o, uint64_t deadline_ms, uint64_t *released,
) noexcept nogil:
    cdef uint32_t slot = replay_slot(c, fact), index = NONE
    if not replay_ready(c, slot):
        return APPLY_FULL
    if o.flags & LISTED:
        index = list_take(c)
        if index == NONE:
            return APPLY_FULL
        if not roster_init(&c.pages, &list_at(c, index).roster, index, o.count):
            list_give(c, index)
            return APPLY_FULL
    slot_claim(c, slot)
    begin_invitation(c, slot, index, o, o.flags, deadline_ms, fact.position)
    commit_at(c, fact.position)
    if c.restoring:
        timer_at(&c.wheel, slot).deadline = <uint32_t>deadline_ms
    if fact.flags & ENDS:
        released[0] = o.data
        end_invitation(c, slot, invitation_at(c, slot), COMPLETED, fact.reason, fact.device)
    return APPLIED


cdef void apply_change(core_t *c, const fact_t *fact) noexcept nogil:
    """Everything but an opening."""
    cdef uint32_t slot = replay_slot(c, fact)
    cdef invitation_t *one = invitation_at(c, slot)
    if fact.kind == FACT_MODIFIED:
        one.data = fact.data
        one.data_version = fact.data_version
        return
    if fact.kind == FACT_MARKED:
        core_marks(c, slot, core_entry(c, slot, fact.subject))[0] |= fact.marks
        return
    if one.flags & LISTED:
        list_at(c, one.invitee).answers += 1
    if fact.kind == FACT_ACCEPTED or fact.kind == FACT_REJECTED:
        end_one(c, one, core_entry(c, slot, fact.subject), status_of(fact.kind), fact.device)
    else:
        end_pending(c, one, status_of(fact.kind))
    if fact.flags & ENDS:
        end_invitation(
            c, slot, one, CALLED_OFF if fact.kind == FACT_CANCELLED else COMPLETED, fact.reason,
            fact.device,
        )


cdef inline uint8_t status_of(uint8_t kind) noexcept nogil:
    """The status that a fact gives to those whom it affects."""
    if kind == FACT_ACCEPTED:
        return ACCEPTED
    if kind == FACT_REJECTED:
        return REJECTED
    return CANCELLED if kind == FACT_CANCELLED else TIMED_OUT


cdef void count(core_t *c, const fact_t *fact) noexcept nogil:
    """Count what a slice of a snapshot contains already."""
    if fact.kind == FACT_OPENED:
        c.counts.invitations += 1
        c.counts.invitees[PENDING] += fact.affected
    elif FACT_ACCEPTED <= fact.kind <= FACT_TIMED_OUT:
        c.counts.invitees[PENDING] -= fact.affected
        c.counts.invitees[status_of(fact.kind)] += fact.affected


# -- the end of a restore --------------------------------------------------------------------------

ctypedef struct place_t:
    uint64_t position
    uint32_t slot


cdef int by_position(const void *left, const void *right) noexcept nogil:
    cdef uint64_t a = (<const place_t *>left).position, b = (<const place_t *>right).position
    return (a > b) - (a < b)


cdef inline uint64_t deadline_kept(const core_t *c, uint32_t slot) noexcept nogil:
    """The deadline that an open invitation was given: now, where it lies in the past.

    Nothing that was due has been left open, but in a damaged snapshot.
    """
    cdef uint64_t deadline_ms = deadline_of(c, slot, c.wheel.now)
    if deadline_ms - c.wheel.now > <uint64_t>WHEEL_SPAN_DAYS * DAY_MS:
        return c.wheel.now
    return deadline_ms


cdef void link_open(core_t *c, uint32_t slot) noexcept nogil:
    """Link an open invitation into all lists and arm its timer."""
    cdef invitation_t *one = invitation_at(c, slot)
    cdef list_t *asked
    cdef entry_t *entry
    cdef uint32_t ref = NONE, index = NONE
    if one.flags & LISTED:
        asked = list_at(c, one.invitee)
        while True:
            ref = roster_next(&c.pages, &asked.roster, ref, index)
            if ref == NONE:
                break
            index += 1
            if entry_at(&c.pages, ref).status <= PENDING:
                entry = entry_at(&c.pages, ref)
                pending_link(c, ref | ENTRY, &entry.pending, user_at(&c.users, entry.user))
        if asked.group != NONE:
            group_link(c, one.invitee)
    else:
        pending_link(c, slot, &one.pending, user_at(&c.users, one.invitee))
    open_link(c, slot, one, user_at(&c.users, one.inviter))
    timer_arm(c, slot, one.flags, deadline_kept(c, slot))


cdef bint replay_finish(core_t *c) noexcept nogil:
    """Link everything after a restore. False when memory is out; then call again.

    The timer of each slot that is open has its deadline, and is not armed.
    """
    cdef uint32_t slot, top = c.invitations.top, open_count = 0, ended_first = top, i
    cdef place_t *places = <place_t *>malloc((<size_t>top + 1) * sizeof(place_t))
    cdef invitation_t *one
    if places == NULL:
        return False
    c.free_first = NONE
    c.free_count = 0
    for i in range(top):
        slot = top - 1 - i      # so that low slots are used first
        one = invitation_at(c, slot)
        if one.state == FREE_SLOT:
            slot_give(c, slot, one)
        elif one.state == OPEN:
            places[open_count].position = one.position
            places[open_count].slot = slot
            open_count += 1
        else:
            ended_first -= 1
            places[ended_first].position = ended_position(one)
            places[ended_first].slot = slot
    qsort(places, open_count, sizeof(place_t), by_position)
    qsort(places + ended_first, top - ended_first, sizeof(place_t), by_position)
    for i in range(open_count):
        link_open(c, places[i].slot)
    for i in range(ended_first, top):
        tombstone_link(c, places[i].slot)
    free(places)
    c.restoring = False
    commit_at(c, c.position)
    tombstones_sweep(c, top)
    return True
