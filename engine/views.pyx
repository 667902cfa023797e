"""Invitations as Python objects, whole, for queries and login snapshots."""

from libc.stdint cimport uint32_t

from pysignal.engine.core cimport (
    LISTED,
    NO_DEADLINE,
    ONLINE_ONLY,
    OPEN,
    PARTIES_ONLY,
    core_bytes,
    core_id,
    core_seq,
    core_t,
    deadline_of,
    ended_by,
    ended_ms,
    ended_position,
    invitation_at,
    invitation_t,
    links_at,
    list_at,
    list_t,
    opened_ms,
    slot_of,
)
from pysignal.engine.facts cimport facts_waiting
from pysignal.engine.ids cimport id_text
from pysignal.engine.roster cimport STATUSES, entry_at, entry_t, roster_next
from pysignal.engine.slab cimport NONE
from pysignal.engine.texts cimport text_of
from pysignal.engine.users cimport users_open, users_pending

from pysignal.engine import facts

# Names of where an invitee stands, and of the states of an invitation, by their numbers.
STATUS_NAMES = ("waiting", "pending", "accepted", "rejected", "cancelled", "timed_out")
STATE_NAMES = ("free", "open", "completed", "cancelled")

cdef tuple STATUS_OF = STATUS_NAMES
cdef tuple STATE_OF = STATE_NAMES
cdef tuple REASON_OF = facts.REASON_NAMES


cdef class InvitationInfo:
    """One invitation as it stands at the moment of asking (SPEC section 7).

    Attributes:
        state: open, completed, cancelled.
        reason: why it ended where no party did it, as in `Event.reason`.
        statuses: where each invitee stands (pending, accepted, rejected, cancelled, timed_out), in
            invited order.
        data: the invitation's data of now; "" once it has ended.
        opened_at, expires_at, ended_at: ms since the epoch on the engine's clock; None for never.
        seq: how many events it has had.
        data_version: 1, and 1 more for each modify.
        position, ended_position: commit positions of the opening and of the end (0 while open).
        ended_by: number of the device that acted last; 0 for none.
    """

    def __init__(self):
        raise TypeError("an InvitationInfo is made by the engine: ask Machine.info()")

    @property
    def invitee_list(self):
        """Who was invited, in invited order."""
        return list(self.statuses)

    @property
    def pending(self):
        """Who has not answered yet, in invited order."""
        return [user for user, status in self.statuses.items() if status == "pending"]

    def __repr__(self):
        return f"<InvitationInfo {self.invite_id} {self.state} {self.statuses}>"


cdef InvitationInfo info_of(const core_t *c, uint32_t slot, Names users, Names groups):
    """The open or ended invitation of a slot."""
    cdef const invitation_t *one = invitation_at(c, slot)
    cdef bint is_open = one.state == OPEN
    cdef InvitationInfo info = InvitationInfo.__new__(InvitationInfo)
    info.invite_id = id_text(core_id(c, slot))
    info.inviter = users.name(one.inviter)
    info.group_id = ""
    info.data = text_of(one.data) if is_open else ""
    info.state = <str>STATE_OF[one.state]
    info.reason = <str>REASON_OF[one.reason]
    info.opened_at = <long long>opened_ms(one, c.wheel.now if is_open else ended_ms(one))
    if is_open and not one.flags & NO_DEADLINE:
        info.expires_at = deadline_of(c, slot, c.wheel.now)
    if not is_open:
        info.ended_at = ended_ms(one)
        info.ended_by = ended_by(one)
        info.ended_position = ended_position(one)
    info.seq = core_seq(c, slot)
    info.data_version = one.data_version
    info.position = one.position
    info.online_only = one.flags & ONLINE_ONLY
    info.parties_only = one.flags & PARTIES_ONLY
    info.no_deadline = one.flags & NO_DEADLINE
    info.statuses = {}
    if one.flags & LISTED:
        tell_list(c, list_at(c, one.invitee), info, users, groups)
    else:
        info.statuses[users.name(one.invitee)] = STATUS_OF[one.status]
    return info


cdef int tell_list(
    const core_t *c, const list_t *asked, InvitationInfo info, Names users, Names groups,
) except -1:
    """Complete what is told of a list: its group, and where each invitee stands."""
    cdef const entry_t *entry
    cdef uint32_t ref = NONE, index = NONE
    if asked.group != NONE:
        info.group_id = groups.name(asked.group)
    while True:
        ref = roster_next(&c.pages, &asked.roster, ref, index)
        if ref == NONE:
            return 0
        index += 1
        entry = entry_at(&c.pages, ref)
        info.statuses[users.name(entry.user)] = STATUS_OF[entry.status]


cdef list infos_pending(const core_t *c, uint32_t user, Names users, Names groups):
    """The open invitations in which a user is a pending invitee, oldest first; NONE has none."""
    cdef list out = []
    cdef uint32_t ref = NONE if user == NONE else users_pending(&c.users, user)
    while ref != NONE:
        out.append(info_of(c, slot_of(c, ref), users, groups))
        ref = links_at(c, ref).next
    return out


cdef list infos_sent(const core_t *c, uint32_t user, Names users, Names groups):
    """The open invitations that a user sent, oldest first."""
    cdef list out = []
    cdef uint32_t slot = NONE if user == NONE else users_open(&c.users, user)
    while slot != NONE:
        out.append(info_of(c, slot, users, groups))
        slot = invitation_at(c, slot).open.next
    out.reverse()
    return out


cdef list ids_of_party(const core_t *c, uint32_t user):
    """The IDs of the open invitations that wait for a user or that the user sent."""
    cdef list out = []
    cdef uint32_t ref = NONE if user == NONE else users_pending(&c.users, user)
    cdef uint32_t slot = NONE if user == NONE else users_open(&c.users, user)
    while ref != NONE:
        out.append(id_text(core_id(c, slot_of(c, ref))))
        ref = links_at(c, ref).next
    while slot != NONE:
        out.append(id_text(core_id(c, slot)))
        slot = invitation_at(c, slot).open.next
    return out


cdef list ids_in_group(const core_t *c, uint32_t group):
    """The IDs of the open invitations of a group, oldest first."""
    cdef list out = []
    cdef uint32_t index = NONE if group == NONE else users_pending(&c.groups, group)
    while index != NONE:
        out.append(id_text(core_id(c, list_at(c, index).slot)))
        index = list_at(c, index).in_group.next
    return out


cdef list infos_of_lists(const core_t *c, Names users, Names groups):
    """The open invitations that have a list of invitees or a group, in the order of slots."""
    cdef uint32_t slot
    cdef list out = []
    for slot in range(c.invitations.top):
        if invitation_at(c, slot).state == OPEN and invitation_at(c, slot).flags & LISTED:
            out.append(info_of(c, slot, users, groups))
    return out


cdef dict stats_of(const core_t *c):
    """Counts of what there is and what there was, by name."""
    cdef int status
    cdef dict out = {
        "open": c.open_count,
        "ended_remembered": c.ended_count,
        "free": c.free_count,
        "slots": c.invitations.top,
        "timers": c.wheel.armed,
        "users": c.users.used,
        "groups": c.groups.used,
        "facts_waiting": facts_waiting(&c.facts),
        "memory_bytes": core_bytes(c),
        "position": c.position,
        "invitations": c.counts.invitations,
    }
    for status in range(STATUSES):
        out["invitees_" + <str>STATUS_OF[status]] = c.counts.invitees[status]
    return out
