"""Facts as events: the reading that people hear.

An event must say who was pending at its moment, though it may be made later, when more have ended.
For one invitee that follows from the event itself. The events of a list share a *roll*: the names
in invited order, and those who ended in the order of ending, of which each event remembers how many
they were. A roll is found by the number of its list, and belongs to one opening: the number may go
to another invitation before anybody looks.
"""

from operator import itemgetter

from libc.stdint cimport uint32_t, uint64_t

from pysignal.engine.core cimport (
    LISTED,
    NO_DEADLINE,
    ONLINE_ONLY,
    PARTIES_ONLY,
    core_t,
    deadline_of,
    invitation_at,
    invitation_t,
    list_at,
    list_t,
    opened_ms,
)
from pysignal.engine.facts cimport (
    ENDS,
    FACT_ACCEPTED,
    FACT_MARKED,
    FACT_MODIFIED,
    FACT_OPENED,
    FACT_REJECTED,
    Roll,
    event_new,
)
from pysignal.engine.ids cimport id_text
from pysignal.engine.roster cimport PENDING, entry_at, entry_ended, entry_t, roster_next
from pysignal.engine.slab cimport NONE, pysignal_prefetch
from pysignal.engine.texts cimport spelled_at, spelled_t, text_of
from pysignal.engine.views cimport InvitationInfo

cdef object FIRST = itemgetter(0)

# How many facts ahead of the one that is read names are looked up, so that they need not be waited
# for.
cdef enum: AHEAD = 4

# Users whose names are in the cache anyway.
cdef enum: CACHED = 4096


cdef list events_of(
    const core_t *c, uint32_t *count, uint64_t up_to, spelled_t *spelled, Names users,
    Names groups, list rolls,
):
    """The events of the oldest facts that wait: at most `count`, up to a commit position.

    `count` becomes the number of facts that were read. They stay where they are.
    """
    cdef list out = []
    cdef uint32_t at = 0
    cdef fact_t fact
    cdef bint is_large = c.users.table.top > CACHED
    try:
        for at in range(count[0]):
            if is_large and at + AHEAD < count[0]:
                foresee(c, &c.facts.items[c.facts.head + at + AHEAD], users)
            # A copy: making an event may run the garbage collector, and that anything at all.
            fact = c.facts.items[c.facts.head + at]
            if fact.position > up_to:
                count[0] = at
                break
            if fact.kind != FACT_MARKED:
                out.append(event_of(c, &fact, spelled, users, groups, rolls))
    except MemoryError:
        if at == 0:
            raise
        count[0] = at       # those before it are told; it waits for the next call
    return out


cdef inline int foresee(const core_t *c, const fact_t *fact, Names users) except -1:
    """Have the names of a fact's parties brought into the cache, and the text it gives back."""
    cdef const invitation_t *one = invitation_at(c, fact.slot)
    pysignal_prefetch(<const void *>fact.held)
    users.foresee(one.inviter)
    if not one.flags & LISTED:
        users.foresee(one.invitee)
    return 0


cdef Event event_of(
    const core_t *c, const fact_t *fact, spelled_t *spelled, Names users, Names groups, list rolls,
):
    """The event of a fact that was not given back yet.

    `spelled` has texts of IDs by commit position, `rolls` the roll of each list, or None; facts
    must come in commit order.
    """
    cdef const invitation_t *one = invitation_at(c, fact.slot)
    cdef Event event = event_new()
    event.position = fact.position
    event.time = <long long>fact.time_ms
    event.expires = -1
    if not one.flags & NO_DEADLINE:
        event.expires = <long long>deadline_of(c, fact.slot, opened_ms(one, fact.time_ms))
    event.seq = fact.seq
    event.data_version = fact.data_version
    event.code = fact.kind
    event.reason_code = fact.reason
    event.invite_id = spelled_at(spelled, fact.position)
    if event.invite_id is None:
        event.invite_id = id_text(fact.id)
    event.inviter_number = one.inviter
    event.inviter = users.name(one.inviter)
    event.actor_number = fact.actor
    event.device_number = fact.device
    event.device = ""
    if fact.kind == FACT_OPENED or fact.kind == FACT_MODIFIED:
        event.invitation_data = text_of(fact.data)
    else:
        event.invitation_data = text_of(fact.held)
        event.answer = text_of(fact.data)
    if fact.actor == NONE:
        event.other_actor = ""
    elif fact.actor != one.inviter and (one.flags & LISTED or fact.actor != one.invitee):
        event.other_actor = users.name(fact.actor)
    event.ends = fact.flags & ENDS
    event.online_only = one.flags & ONLINE_ONLY
    event.parties_only = one.flags & PARTIES_ONLY
    event.no_deadline = one.flags & NO_DEADLINE
    event.group_id = ""
    if one.flags & LISTED:
        tell_list(c, fact, event, users, groups, rolls)
    else:
        event.invitee_number = one.invitee
        event.invitee_one = users.name(one.invitee)
        event.changed = () if fact.kind == FACT_MODIFIED else None
    return event


cdef int tell_list(
    const core_t *c, const fact_t *fact, Event event, Names users, Names groups, list rolls,
) except -1:
    """Complete the event of a list: its group, who changed, who is still pending."""
    cdef uint32_t index = invitation_at(c, fact.slot).invitee
    cdef const list_t *asked = list_at(c, index)
    cdef Roll roll = roll_of(c, index, fact.position, users, rolls)
    event.invitee_number = NONE
    event.roll = roll
    if asked.group != NONE:
        event.group_id = groups.name(asked.group)
    if fact.kind == FACT_MODIFIED:
        event.changed = ()
    elif fact.kind == FACT_ACCEPTED or fact.kind == FACT_REJECTED:
        event.changed = (users.name(fact.subject),)
        roll.ended.append(event.changed[0])
    elif fact.kind != FACT_OPENED:
        event.changed = ended_at(c, asked, fact.position, users)
        roll.ended.extend(event.changed)
    event.ended_count = len(roll.ended)
    return 0


cdef Roll roll_of(
    const core_t *c, uint32_t index, uint64_t position, Names users, list rolls,
):
    """The roll of a list as it was before a commit position, made when it is first asked for."""
    cdef const list_t *asked = list_at(c, index)
    cdef uint64_t opened = invitation_at(c, asked.slot).position
    cdef const entry_t *entry
    cdef uint32_t ref = NONE, at = NONE
    cdef list names = [], ended = []
    cdef Roll roll
    while <uint32_t>len(rolls) <= index:
        rolls.append(None)
    if rolls[index] is not None:
        roll = <Roll>rolls[index]
        if roll.opened == opened:
            return roll
    while True:
        ref = roster_next(&c.pages, &asked.roster, ref, at)
        if ref == NONE:
            break
        at += 1
        entry = entry_at(&c.pages, ref)
        names.append(users.name(entry.user))
        if entry.status > PENDING and entry_ended(entry) < position:
            ended.append((entry_ended(entry), names[at]))
    ended.sort(key=FIRST)
    roll = Roll(tuple(names))
    roll.opened = opened
    roll.ended = [name for _, name in ended]
    rolls[index] = roll
    return roll


cdef tuple ended_at(const core_t *c, const list_t *asked, uint64_t position, Names users):
    """Who of a list ended at a commit position, in invited order."""
    cdef const entry_t *entry
    cdef uint32_t ref = NONE, index = NONE
    cdef list names = []
    while True:
        ref = roster_next(&c.pages, &asked.roster, ref, index)
        if ref == NONE:
            return tuple(names)
        index += 1
        entry = entry_at(&c.pages, ref)
        if entry.status > PENDING and entry_ended(entry) == position:
            names.append(users.name(entry.user))


cdef Event opened_again(InvitationInfo info):
    """The opening of an invitation as a login tells it: with the data of now."""
    cdef Event event = event_new()
    event.position = info.position
    event.time = info.opened_at
    event.expires = -1 if info.expires_at is None else <long long>info.expires_at
    event.seq = info.seq
    event.data_version = info.data_version
    event.replayed = True
    event.code = FACT_OPENED
    event.invite_id = info.invite_id
    event.group_id = info.group_id
    event.inviter = info.inviter
    event.other_actor = info.inviter
    event.device = ""
    event.invitation_data = info.data
    event.online_only = info.online_only
    event.parties_only = info.parties_only
    event.no_deadline = info.no_deadline
    event.roll = Roll(tuple(info.statuses))
    event.roll.ended = [user for user in info.statuses if info.statuses[user] != "pending"]
    event.ended_count = len(event.roll.ended)
    return event


cdef int drop_rolls(const core_t *c, list rolls) except -1:
    """Forget the rolls of lists that were given back; the latest stand first in their list."""
    cdef uint32_t index = c.list_free
    while index < <uint32_t>len(rolls) and rolls[index] is not None:
        rolls[index] = None
        index = list_at(c, index).slot
    return 0
