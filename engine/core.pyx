"""The operations of the core (see `core.pxd` for the structs and the rules that all of them keep).

Each operation has three parts: find and judge, where nothing is changed; reserve what could run
out; then change, in the steps of `store`, where nothing can fail. A change ends with one fact.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
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
    facts_reserve,
)
from pysignal.engine.ids cimport SHARD_BITS, id_key_t, invite_id_t
from pysignal.engine.roster cimport (
    ACCEPTED,
    CANCELLED,
    PAGE_ENTRIES,
    PAGE_SHIFT,
    PENDING,
    REJECTED,
    STATUSES,
    TIMED_OUT,
    pages_init,
    roster_free,
    roster_init,
)
from pysignal.engine.slab cimport NONE, pysignal_prefetch, slab_bytes, slab_free, slab_init
from pysignal.engine.store cimport (
    begin_invitation,
    commit,
    end_by,
    end_invitation,
    list_give,
    list_take,
    settle,
    slot_claim,
    slot_ready,
    tombstones_kept,
    tombstones_sweep,
)
from pysignal.engine.users cimport user_at, users_init, users_known, users_open, users_pending
from pysignal.engine.wheel cimport wheel_enter, wheel_init, wheel_step, wheel_upcoming

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

# Ended invitations whose facts were not taken yet, beside the remembered ones.
cdef enum: UNTAKEN_MAX = 65536

# Tombstones looked at by each opening, so that memory follows traffic without a sweep.
cdef enum: FORGET_PER_OPEN = 2

# What a number or a reference can hold beside its flag.
cdef enum:
    SLOTS_MAX = 0x7FFFFFFF
    INVITEES_MAX = 0x7FFFFFF0
    NUMBERS_MAX = 0x7FFFFFFF


# -- the core as a whole ---------------------------------------------------------------------------

def require_abi(int abi):
    """Refuse an extension that was built against other structs of the engine.

    Call it at import with the ENGINE_ABI that the extension was compiled with.
    """
    if abi != ENGINE_ABI:
        raise ImportError(
            f"this extension was built against engine ABI {abi}, but ABI {ENGINE_ABI} is "
            "installed: rebuild the extension"
        )


cdef int core_init(
    core_t *c, const limits_t *limits, id_key_t key, uint32_t shard, uint64_t now_ms,
) noexcept nogil:
    """An empty core; BAD_NUMBER, and a core that may only be freed, for limits out of range."""
    cdef uint64_t slots = <uint64_t>limits.capacity + limits.ended_max + UNTAKEN_MAX
    memset(c, 0, sizeof(core_t))
    if slots > SLOTS_MAX or limits.invitees > <uint32_t>INVITEES_MAX or shard >> SHARD_BITS:
        return BAD_NUMBER
    if limits.users > <uint32_t>NUMBERS_MAX or limits.groups > <uint32_t>NUMBERS_MAX:
        return BAD_NUMBER
    if not 0 < limits.lifetime_ms <= <uint64_t>TIMEOUT_DAYS_MAX * DAY_MS:
        return BAD_NUMBER
    wheel_init(&c.wheel, now_ms, <uint32_t>slots)
    slab_init(&c.invitations, sizeof(invitation_t), <uint32_t>slots)
    slab_init(&c.lists, sizeof(list_t), <uint32_t>slots)
    pages_init(&c.pages, (limits.invitees + PAGE_ENTRIES - 1) >> PAGE_SHIFT)
    users_init(&c.users, limits.users)
    users_init(&c.groups, limits.groups)
    facts_init(&c.facts, <uint32_t>1 << 26)
    c.key = key
    c.shard = shard
    c.capacity = limits.capacity
    c.ended_max = limits.ended_max
    c.keep_ms = limits.keep_ms
    c.lifetime_ms = limits.lifetime_ms
    c.ended_first = NONE
    c.ended_last = NONE
    c.kept_first = NONE
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


# -- what operations have in common ----------------------------------------------------------------

cdef inline int core_enter(core_t *c, uint64_t now_ms) noexcept nogil:
    """Move time to now, unless something is due before."""
    if c.restoring:
        return RESTORING
    return DONE if wheel_enter(&c.wheel, now_ms) else DUE


cdef inline int find_open(
    core_t *c, uint64_t now_ms, invite_id_t name, uint32_t *slot,
) noexcept nogil:
    cdef int entered = core_enter(c, now_ms)
    if entered != DONE:
        return entered
    slot[0] = core_find(c, name)
    if slot[0] == NONE:
        return UNKNOWN
    return DONE if invitation_at(c, slot[0]).state == OPEN else ENDED


cdef inline fact_t *commit_slot(core_t *c, uint8_t kind, uint32_t slot) noexcept nogil:
    """Begin the fact of a slot's invitation, whose ID no caller has named."""
    return commit(c, kind, slot, invitation_at(c, slot), core_id(c, slot))


cdef void end_lifetime(core_t *c, uint32_t slot) noexcept nogil:
    """End an invitation without a deadline: nobody hears it, but its handles."""
    cdef fact_t *fact = commit_slot(c, FACT_TIMED_OUT, slot)
    fact.reason = REASON_LIFETIME
    end_by(c, slot, fact, NEXT[PENDING][DEADLINE], COMPLETED)


cdef void core_take(core_t *c, uint32_t count) noexcept nogil:
    """Give back the oldest `count` facts: their readers have done with them."""
    if count == 0:
        return
    c.taken = c.facts.items[c.facts.head + count - 1].position
    facts_give_back(&c.facts, count)
    if c.ended_first != c.kept_first:
        tombstones_sweep(c, 2 * <int64_t>count)


# -- opening ---------------------------------------------------------------------------------------

cdef int judge_opening(const core_t *c, const opening_t *o) noexcept nogil:
    cdef uint32_t i
    if not users_known(&c.users, o.inviter):
        return BAD_NUMBER
    for i in range(o.count):
        if not users_known(&c.users, o.invitees[i]) or o.invitees[i] == o.inviter:
            return BAD_NUMBER
    if o.group != NONE and not users_known(&c.groups, o.group):
        return BAD_NUMBER
    if o.count == 0 and o.group == NONE:
        return BAD_NUMBER
    return DONE if o.timeout_ms <= <uint64_t>TIMEOUT_DAYS_MAX * DAY_MS else BAD_NUMBER


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


cdef int reserve_opening(core_t *c, const opening_t *o, uint32_t *index) noexcept nogil:
    """Reserve facts, a slot, and a list where one is needed; all or nothing."""
    cdef uint64_t pages = (<uint64_t>o.count + PAGE_ENTRIES - 1) >> PAGE_SHIFT
    cdef bint listed = o.count != 1 or o.group != NONE
    index[0] = NONE
    if listed and c.pages.used + pages > c.pages.table.limit:
        return TABLE_FULL
    if not facts_reserve(&c.facts, 2):
        return NO_MEMORY
    if not slot_ready(c):
        return NO_MEMORY if c.invitations.top < c.invitations.limit else TABLE_FULL
    if not listed:
        return DONE
    index[0] = list_take(c)
    if index[0] == NONE:
        return NO_MEMORY if c.lists.top < c.lists.limit else TABLE_FULL
    if not roster_init(&c.pages, &list_at(c, index[0]).roster, index[0], o.count):
        list_give(c, index[0])
        return NO_MEMORY
    return DONE


cdef int core_open(core_t *c, const opening_t *o, invite_id_t *out) noexcept nogil:
    """Open an invitation; its ID goes to `out`. An empty list of invitees is born completed."""
    cdef uint32_t slot, index = NONE, excess = NONE
    cdef uint8_t flags = o.flags & (ONLINE_ONLY | PARTIES_ONLY)
    cdef uint64_t timeout_ms = o.timeout_ms
    cdef fact_t *fact
    cdef int result = core_enter(c, o.now_ms)
    if result == DONE:
        result = judge_opening(c, o)
    if result != DONE:
        return result
    if o.count != 1 or o.group != NONE:
        flags |= LISTED
    if timeout_ms == 0:
        timeout_ms = c.lifetime_ms
        flags |= NO_DEADLINE
    if flags & (LISTED | NO_DEADLINE) == NO_DEADLINE:
        excess = oldest_without_deadline(c, o.inviter, o.invitees[0])
    if c.open_count >= c.capacity and excess == NONE:
        return TABLE_FULL
    if not tombstones_kept(c):
        tombstones_sweep(c, FORGET_PER_OPEN)
    result = reserve_opening(c, o, &index)
    if result != DONE:
        return result
    if excess != NONE:
        end_lifetime(c, excess)
    slot = c.free_first
    slot_claim(c, slot)
    begin_invitation(c, slot, index, o, flags, c.wheel.now + timeout_ms, c.position + 1)
    fact = commit_slot(c, FACT_OPENED, slot)
    fact.data = o.data
    fact.actor = o.inviter
    fact.device = o.device
    fact.seq = 1
    fact.affected = o.count
    out[0] = fact.id
    if o.count == 0:
        fact.flags = ENDS | RELEASES
        end_invitation(c, slot, invitation_at(c, slot), COMPLETED, REASON_NONE, o.device)
    return DONE


# -- operations on an open invitation --------------------------------------------------------------

cdef int core_answer(
    core_t *c, uint64_t now_ms, invite_id_t name, uint32_t user, uint8_t status,
    uint64_t data, uint32_t device,
) noexcept nogil:
    """An invitee's own answer: `status` is ACCEPTED or REJECTED."""
    cdef uint32_t slot = NONE, ref
    cdef fact_t *fact
    cdef int found
    if user < c.users.table.top:
        pysignal_prefetch(user_at(&c.users, user))  # not only when the record names it
    found = find_open(c, now_ms, name, &slot)
    if found != DONE:
        return found
    ref = core_entry(c, slot, user)
    if ref == NONE:
        return NOT_PARTY
    status = NEXT[core_status(c, slot, ref)][ANSWER_YES if status == ACCEPTED else ANSWER_NO]
    if status == REFUSED:
        return ANSWERED
    if not facts_reserve(&c.facts, 1):
        return NO_MEMORY
    fact = commit(
        c, FACT_ACCEPTED if status == ACCEPTED else FACT_REJECTED, slot, invitation_at(c, slot),
        name,
    )
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
    fact = commit(c, FACT_CANCELLED, slot, invitation_at(c, slot), name)
    fact.data = data
    fact.actor = user
    fact.device = device
    fact.reason = REASON_SERVER if user == NONE else REASON_NONE
    end_by(c, slot, fact, NEXT[PENDING][CALL_OFF], CALLED_OFF)
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
    fact = commit(c, FACT_MODIFIED, slot, one, name)
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
    place = core_marks(c, slot, ref)
    marks &= MARKS
    if place[0] & marks == marks:
        return DONE
    if not facts_reserve(&c.facts, 1):
        return NO_MEMORY
    place[0] |= marks
    fact = commit(c, FACT_MARKED, slot, invitation_at(c, slot), name)
    fact.subject = user
    fact.marks = marks
    return DONE


# -- group changes and time ------------------------------------------------------------------------

cdef inline int stop_for_memory(const core_t *c, uint64_t began, int64_t *budget) noexcept nogil:
    """What an operation of several commits returns: NO_MEMORY only if it has changed nothing."""
    if c.position == began:
        return NO_MEMORY
    budget[0] = 0
    return DONE


cdef inline bint is_in_group(const core_t *c, uint32_t slot, uint32_t group) noexcept nogil:
    cdef const invitation_t *one = invitation_at(c, slot)
    return (one.flags & LISTED) != 0 and list_at(c, one.invitee).group == group


cdef int core_leave(
    core_t *c, uint64_t now_ms, uint32_t user, uint32_t group, int64_t *budget,
) noexcept nogil:
    """End a user's part in every open invitation of a group, in the order of opening.

    DONE with `budget` at 0 or below: there may be more, call again. So it is too where memory runs
    out after something was done; the next call then says so.
    """
    cdef uint64_t began = c.position
    cdef uint32_t asked, sent, before, slot
    cdef fact_t *fact
    cdef int entered = core_enter(c, now_ms)
    if entered != DONE:
        return entered
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
            return stop_for_memory(c, began, budget)
        budget[0] -= 1
        if sent == NONE or (
            asked != NONE
            and invitation_at(c, slot_of(c, asked)).position < invitation_at(c, sent).position
        ):
            slot = slot_of(c, asked)
            before = asked
            asked = links_at(c, asked).next
            fact = commit_slot(c, FACT_REJECTED, slot)
            fact.actor = user
            fact.reason = REASON_LEFT_GROUP
            settle(c, slot, before, user, REJECTED, fact)
        else:
            slot = sent
            sent = invitation_at(c, slot).open.prev
            fact = commit_slot(c, FACT_CANCELLED, slot)
            fact.actor = user
            fact.reason = REASON_LEFT_GROUP
            end_by(c, slot, fact, NEXT[PENDING][CALL_OFF], CALLED_OFF)
            budget[0] -= fact.affected


cdef int core_dismiss(
    core_t *c, uint64_t now_ms, uint32_t group, int64_t *budget,
) noexcept nogil:
    """Cancel every open invitation of a group, in the order of opening.

    DONE with `budget` at 0 or below: there may be more, call again. So it is too where memory runs
    out after something was done.
    """
    cdef uint64_t began = c.position
    cdef uint32_t index
    cdef fact_t *fact
    cdef int entered = core_enter(c, now_ms)
    if entered != DONE:
        return entered
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
            return stop_for_memory(c, began, budget)
        fact = commit_slot(c, FACT_CANCELLED, list_at(c, index).slot)
        fact.reason = REASON_GROUP_DISMISSED
        end_by(c, list_at(c, index).slot, fact, NEXT[PENDING][CALL_OFF], CALLED_OFF)
        budget[0] -= 1 + <int64_t>fact.affected


cdef inline void foresee_due(const core_t *c) noexcept nogil:
    """Fetch early what the next expiry of this tick touches, and the record of the one after it."""
    cdef uint32_t slot = wheel_upcoming(&c.wheel), after
    cdef const invitation_t *one
    if slot == NONE:
        return
    one = invitation_at(c, slot)
    pysignal_prefetch(user_at(&c.users, one.inviter))
    if not one.flags & LISTED:
        pysignal_prefetch(user_at(&c.users, one.invitee))
    after = timer_at(&c.wheel, slot).next
    if after != NONE:
        pysignal_prefetch(invitation_at(c, after))


cdef int core_advance(core_t *c, uint64_t now_ms, int64_t *budget) noexcept nogil:
    """Move time to `now_ms` and end what is due, in the order of deadlines.

    DONE with `budget` at 0 or below: more is due, call again before any other operation. So it is
    too where memory runs out after something was done.
    """
    cdef uint64_t began = c.position
    cdef uint32_t slot, kind = 0
    cdef fact_t *fact
    if c.restoring:
        return RESTORING
    while True:
        if not facts_reserve(&c.facts, 1):
            return stop_for_memory(c, began, budget)
        slot = wheel_step(&c.wheel, now_ms, budget, &kind)
        if slot == NONE:
            break
        foresee_due(c)
        if kind == TIMER_LIFETIME:
            end_lifetime(c, slot)
            continue
        fact = commit_slot(c, FACT_TIMED_OUT, slot)
        end_by(c, slot, fact, NEXT[PENDING][DEADLINE], COMPLETED)
        budget[0] -= fact.affected
    if budget[0] > 0:
        tombstones_sweep(c, budget[0])
    return DONE
