"""The self-check of a core (see `audit.pxd`).

Slow and obvious on purpose. Each rule is counted twice: once by walking the slots, once by walking
the lists; links are followed in both directions. Returns the first rule that is broken, or NULL.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from pysignal.engine.core cimport (
    CALLED_OFF,
    COMPLETED,
    ENTRY,
    FREE_SLOT,
    LISTED,
    OPEN,
    core_status,
    core_t,
    ended_ms,
    ended_position,
    invitation_at,
    invitation_t,
    links_at,
    list_at,
    list_t,
    slot_of,
)
from pysignal.engine.roster cimport (
    PAGE_ENTRIES,
    PAGE_SHIFT,
    PENDING,
    entry_at,
    entry_t,
    page_at,
    roster_find,
    roster_next,
)
from pysignal.engine.slab cimport NONE, pysignal_clz32
from pysignal.engine.store cimport tombstone_next
from pysignal.engine.users cimport FREE, user_at, users_open, users_pending, users_t
from pysignal.engine.wheel cimport (
    HEAD,
    RING_MASK,
    WHEEL_HEADS,
    timer_at,
    timer_t,
    wheel_t,
)

NO_MEMORY_TO_AUDIT = b"no memory to check with"

ctypedef struct tally_t:
    uint32_t *users         # mentions by user number
    uint32_t *groups        # mentions by group number
    uint64_t pending        # pending invitees
    uint64_t in_groups      # open invitations of groups
    uint32_t open
    uint32_t ended
    uint32_t free
    uint32_t lists
    uint64_t pages


cdef const char *core_audit(const core_t *c) noexcept nogil:
    """The first broken rule, or NULL when all hold."""
    cdef tally_t tally
    cdef const char *broken
    tally.users = <uint32_t *>calloc(c.users.table.top + 1, sizeof(uint32_t))
    tally.groups = <uint32_t *>calloc(c.groups.table.top + 1, sizeof(uint32_t))
    tally.pending = 0
    tally.in_groups = 0
    tally.open = 0
    tally.ended = 0
    tally.free = 0
    tally.lists = 0
    tally.pages = 0
    if tally.users == NULL or tally.groups == NULL:
        broken = NO_MEMORY_TO_AUDIT
    else:
        broken = audit_slots(c, &tally)
        if broken == NULL:
            broken = audit_counts(c, &tally)
        if broken == NULL:
            broken = audit_wheel(&c.wheel)
        if broken == NULL:
            broken = audit_pending(c, &tally)
        if broken == NULL:
            broken = audit_open(c, &tally)
        if broken == NULL:
            broken = audit_groups(c, &tally)
        if broken == NULL:
            broken = audit_users(&c.users, tally.users)
        if broken == NULL:
            broken = audit_users(&c.groups, tally.groups)
        if broken == NULL:
            broken = audit_tombstones(c)
    free(tally.users)
    free(tally.groups)
    return broken


cdef const char *audit_slots(const core_t *c, tally_t *tally) noexcept nogil:
    cdef uint32_t slot
    cdef const invitation_t *one
    cdef const char *broken
    for slot in range(c.invitations.top):
        one = invitation_at(c, slot)
        if one.state == FREE_SLOT:
            tally.free += 1
            if timer_at(&c.wheel, slot).kind:
                return b"a free slot has an armed timer"
            continue
        if one.state == OPEN:
            tally.open += 1
            if not timer_at(&c.wheel, slot).kind:
                return b"an open invitation has no timer (E3)"
        elif one.state == COMPLETED or one.state == CALLED_OFF:
            tally.ended += 1
            if timer_at(&c.wheel, slot).kind:
                return b"an ended invitation has an armed timer (E3)"
        else:
            return b"an invitation has an unknown state"
        tally.users[one.inviter] += 1
        if one.flags & LISTED:
            broken = audit_list(c, slot, one, tally)
            if broken != NULL:
                return broken
            continue
        tally.users[one.invitee] += 1
        if (one.status <= PENDING) != (one.state == OPEN):
            return b"an invitation is open without anybody pending, or the other way round"
        tally.pending += one.status <= PENDING
    return NULL


cdef const char *audit_list(
    const core_t *c, uint32_t slot, const invitation_t *one, tally_t *tally,
) noexcept nogil:
    cdef const list_t *asked = list_at(c, one.invitee)
    cdef const entry_t *entry
    cdef uint32_t ref = NONE, index = NONE, pending = 0
    if asked.slot != slot:
        return b"a list does not name its invitation"
    tally.lists += 1
    tally.pages += (asked.roster.count + PAGE_ENTRIES - 1) >> PAGE_SHIFT
    if asked.group != NONE:
        tally.groups[asked.group] += 1
        tally.in_groups += one.state == OPEN
    while True:
        ref = roster_next(&c.pages, &asked.roster, ref, index)
        if ref == NONE:
            break
        index += 1
        entry = entry_at(&c.pages, ref)
        tally.users[entry.user] += 1
        pending += entry.status <= PENDING
        if page_at(&c.pages, ref >> PAGE_SHIFT).list != one.invitee:
            return b"a page does not name its list"
        if roster_find(&c.pages, &asked.roster, entry.user) != ref:
            return b"an invitee is not found in its roster"
    if pending != asked.roster.pending:
        return b"a roster miscounts who is pending"
    if (pending != 0) != (one.state == OPEN):
        return b"a list is open without anybody pending, or the other way round"
    tally.pending += pending
    return NULL


cdef const char *audit_counts(const core_t *c, const tally_t *tally) noexcept nogil:
    cdef uint32_t slot, free_count = 0
    if tally.open != c.open_count or tally.ended != c.ended_count:
        return b"open or ended invitations are miscounted"
    if tally.open + tally.ended + tally.free != c.invitations.top or tally.free != c.free_count:
        return b"open + ended + free is not the capacity (E2)"
    if tally.lists != c.list_count:
        return b"lists are miscounted"
    if tally.pages != c.pages.used:
        return b"pages are miscounted"
    if tally.pending != c.counts.invitees[PENDING]:
        return b"pending invitees are miscounted (E1)"
    slot = c.free_first
    while slot != NONE:
        free_count += 1
        if free_count > tally.free or invitation_at(c, slot).state != FREE_SLOT:
            return b"the free list holds a slot that is not free"
        slot = invitation_at(c, slot).pending.next
    if free_count != tally.free:
        return b"a free slot is not in the free list"
    if c.wheel.armed != tally.open:
        return b"armed timers are not the open invitations (E3)"
    return NULL


cdef const char *audit_wheel(const wheel_t *w) noexcept nogil:
    cdef uint32_t head, index, previous, ring, differs, start, armed = 0
    cdef uint64_t due
    cdef const timer_t *t
    for head in range(<uint32_t>WHEEL_HEADS):
        index = w.heads[head]
        if (index != NONE) != (w.bits[head >> 6] >> (head & 63) & 1):
            return b"a bitmap of the wheel disagrees with its slot"
        previous = head | HEAD
        while index != NONE:
            t = timer_at(w, index)
            armed += 1
            if armed > w.armed:
                return b"the wheel holds more timers than are armed, or a ring"
            if t.prev != previous:
                return b"a timer does not lead back"
            if not t.kind:
                return b"a disarmed timer is in the wheel"
            ring = head >> 8
            if ((t.deadline >> (ring * 8)) ^ head) & <uint32_t>RING_MASK:
                return b"a timer is in the wrong slot"
            differs = t.deadline ^ <uint32_t>w.now
            if (31 - pysignal_clz32(differs | 1)) >> 3 > ring:
                return b"a timer is on too low a ring"
            start = t.deadline >> (ring * 8) << (ring * 8)
            due = w.now
            if (<uint32_t>w.now ^ start) >> (ring * 8):
                due += <uint32_t>(start - <uint32_t>w.now)
            if due < w.next:
                return b"the wheel would sleep past a timer"
            previous = index
            index = t.next
    if armed != w.armed:
        return b"a timer is armed and not in the wheel"
    return NULL


cdef const char *audit_pending(const core_t *c, const tally_t *tally) noexcept nogil:
    """Each user's pending list: owners, both directions, oldest first, nobody missing."""
    cdef uint32_t number, ref, previous, slot, owner
    cdef uint64_t found = 0, position
    for number in range(c.users.table.top):
        if user_at(&c.users, number).count == FREE:
            continue
        ref = users_pending(&c.users, number)
        previous = NONE
        position = 0
        while ref != NONE:
            found += 1
            if found > tally.pending:
                return b"pending lists hold more than is pending, or a ring"
            slot = slot_of(c, ref)
            if ref & ENTRY:
                owner = entry_at(&c.pages, ref & ~<uint32_t>ENTRY).user
            else:
                owner = invitation_at(c, ref).invitee
            if owner != number or core_status(c, slot, ref) > PENDING:
                return b"a pending list holds what is not this user's, or not pending"
            if links_at(c, ref).prev != previous:
                return b"a pending list does not lead back"
            if invitation_at(c, slot).position <= position:
                return b"a pending list is not in the order of opening"
            position = invitation_at(c, slot).position
            previous = ref
            ref = links_at(c, ref).next
        if user_at(&c.users, number).count and user_at(&c.users, number).pending_last != previous:
            return b"a pending list does not end where its user says"
    if found == tally.pending:
        return NULL
    return b"a pending invitee is in no list"


cdef const char *audit_open(const core_t *c, const tally_t *tally) noexcept nogil:
    cdef uint32_t number, slot, previous, found = 0
    cdef uint64_t position
    for number in range(c.users.table.top):
        if user_at(&c.users, number).count == FREE:
            continue
        slot = users_open(&c.users, number)
        previous = NONE
        position = <uint64_t>-1
        while slot != NONE:
            found += 1
            if found > tally.open:
                return b"open lists hold more than is open, or a ring"
            if invitation_at(c, slot).inviter != number or invitation_at(c, slot).state != OPEN:
                return b"an open list holds what is not this user's, or not open"
            if invitation_at(c, slot).open.prev != previous:
                return b"an open list does not lead back"
            if invitation_at(c, slot).position >= position:
                return b"an open list is not newest first"
            position = invitation_at(c, slot).position
            previous = slot
            slot = invitation_at(c, slot).open.next
    if found == tally.open:
        return NULL
    return b"an open invitation is in no list"


cdef const char *audit_groups(const core_t *c, const tally_t *tally) noexcept nogil:
    cdef uint32_t number, index, previous
    cdef uint64_t found = 0
    for number in range(c.groups.table.top):
        if user_at(&c.groups, number).count == FREE:
            continue
        index = users_pending(&c.groups, number)
        previous = NONE
        while index != NONE:
            found += 1
            if found > tally.in_groups:
                return b"groups hold more than is open, or a ring"
            if list_at(c, index).group != number:
                return b"a group holds an invitation of another"
            if list_at(c, index).in_group.prev != previous:
                return b"a group's list does not lead back"
            previous = index
            index = list_at(c, index).in_group.next
    if found == tally.in_groups:
        return NULL
    return b"an open invitation is not in its group"


cdef const char *audit_users(const users_t *u, const uint32_t *mentions) noexcept nogil:
    """Counts are at least the mentions found (logins count too), and the lists are disjoint."""
    cdef uint32_t number, idle = 0, unused = 0, listed = 0
    for number in range(u.table.top):
        if user_at(u, number).count == FREE:
            unused += 1
            if mentions[number]:
                return b"a free number is named"
            continue
        if user_at(u, number).count < mentions[number]:
            return b"a number is named more often than it counts"
        idle += user_at(u, number).count == 0
    if u.table.top - unused != u.used:
        return b"numbers in use are miscounted"
    number = u.idle_first
    while number != NONE:
        listed += 1
        if listed > idle or user_at(u, number).count != 0:
            return b"the idle list holds a number that is not idle"
        number = user_at(u, number).open_first
    if listed != idle:
        return b"an idle number is not in the idle list"
    listed = 0
    number = u.free_first
    while number != NONE:
        listed += 1
        if listed > unused or user_at(u, number).count != FREE:
            return b"the free list holds a number that is not free"
        number = user_at(u, number).pending_last
    if listed == unused:
        return NULL
    return b"a free number is not in the free list"


cdef const char *audit_tombstones(const core_t *c) noexcept nogil:
    cdef uint32_t slot = c.ended_first, found = 0, kept = 0, last = NONE
    cdef uint64_t position = 0
    while slot != NONE:
        found += 1
        if found > c.ended_count:
            return b"the tombstones are more than have ended, or a ring"
        if invitation_at(c, slot).state <= OPEN:
            return b"a tombstone has not ended"
        if ended_position(invitation_at(c, slot)) <= position:
            return b"the tombstones are not in the order of ending"
        position = ended_position(invitation_at(c, slot))
        kept += slot == c.kept_first or kept != 0
        if (kept != 0) != (position > c.forgotten):
            return b"what was pushed out is not what came before those that are kept"
        if slot == c.kept_first and ended_ms(invitation_at(c, slot)) + c.keep_ms < c.forget_ms:
            return b"a tombstone would be kept past its time"
        last = slot
        slot = tombstone_next(c, slot)
    if last != c.ended_last:
        return b"the tombstones do not end where the core says"
    if kept != c.kept_count or kept > c.ended_max:
        return b"the tombstones that are kept are miscounted, or too many"
    if found == c.ended_count:
        return NULL
    return b"an ended invitation is no tombstone"
