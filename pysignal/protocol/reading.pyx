"""What a client decodes, as the objects that the engine itself gives.

A program should not notice whether its hub is in the same process, so an event from far away is an
`Event` and no likeness of one. Names of a long list come with its opening alone; later events
share them with it, as the engine's own do: each remembers how many had ended, of a list that grows.
That is checked against what the event says, so a client that has missed an event of an invitation
does not know who is pending any more, and says so.
"""

from pysignal.engine.events cimport opened_again
from pysignal.engine.facts cimport FACT_MODIFIED, FACT_OPENED, Event, Roll, event_new
from pysignal.engine.slab cimport NONE
from pysignal.engine.views cimport InvitationInfo

import msgspec

from pysignal.engine import facts

cdef dict CODE_OF = {kind: code for code, kind in enumerate(facts.KINDS)}
cdef dict REASON_CODE_OF = {reason: code for code, reason in enumerate(facts.REASON_NAMES)}
cdef object NOT_THERE = msgspec.UNSET

# Of an invitation whose opening passed by.
cdef Roll NOBODY_KNOWS = Roll(None)


def event_from(fields not None, Event opening=None):
    """Return the event that decoded fields stand for.

    Args:
        fields: `EventFields`.
        opening: of the same invitation, where it is known: the event that `event_from` or
            `opening_from` gave. It is needed where a list is too long to stand in each event; the
            events of the invitation must then come here in the order of their `seq`.

    Raises:
        ValueError: a number or a reason is none that an event can have.
    """
    cdef Event event = event_new()
    try:
        event.code = CODE_OF[fields.kind]
        event.reason_code = REASON_CODE_OF[fields.reason]
        event.position = fields.position
        event.time = fields.time
        event.seq = fields.seq
        event.data_version = fields.data_version
        event.expires = -1 if fields.expires_at is None else <long long>fields.expires_at
    except (KeyError, OverflowError) as error:
        raise ValueError(f"this is no event of protocol version 1: {error}") from None
    event.no_deadline = event.expires < 0
    event.actor_number = event.inviter_number = event.invitee_number = NONE
    event.ends = fields.ends
    event.replayed = fields.replayed
    event.online_only = fields.online_only
    event.parties_only = fields.parties_only
    event.invite_id = fields.invite_id
    event.group_id = fields.group_id
    event.inviter = fields.inviter
    event.invitation_data = fields.invitation_data
    event.device = fields.device
    event.answer = fields.data
    event.other_actor = fields.actor
    event.changed = None if event.code == FACT_OPENED else tuple(fields.invitee_list)
    fill_roll(event, fields, opening)
    return event


def info_from(fields not None):
    """Return the invitation that decoded `InvitationFields` stand for.

    `ended_by` is a number inside the server, and 0 here.

    Raises:
        ValueError: a number is none that an invitation can have.
    """
    cdef InvitationInfo info = InvitationInfo.__new__(InvitationInfo)
    info.invite_id = fields.invite_id
    info.group_id = fields.group_id
    info.inviter = fields.inviter
    info.data = fields.data
    info.state = fields.state
    info.reason = fields.reason
    info.statuses = fields.statuses
    info.expires_at = fields.expires_at
    info.ended_at = fields.ended_at
    info.online_only = fields.online_only
    info.parties_only = fields.parties_only
    info.no_deadline = fields.no_deadline
    try:
        info.opened_at = fields.opened_at
        info.seq = fields.seq
        info.data_version = fields.data_version
        info.position = fields.position
        info.ended_position = fields.ended_position
    except OverflowError as error:
        raise ValueError(f"this is no invitation of protocol version 1: {error}") from None
    return info


def opening_from(InvitationInfo info not None):
    """Return the opening of an invitation as a login tells it: who is pending now, with its data.

    It can stand for the opening in `event_from` where a snapshot told of the invitation.
    """
    return opened_again(info)


cdef int fill_roll(Event event, object fields, Event opening) except -1:
    """Complete an event: who was invited, and who is pending."""
    cdef object invitees = fields.invitees
    cdef object pending = fields.pending
    cdef Roll roll
    cdef set waiting
    cdef Py_ssize_t ended_count
    if invitees is not NOT_THERE and pending is not NOT_THERE:
        if len(invitees) == 1:
            event.invitee_one = invitees[0]
            return 0
        waiting = set(pending)
        roll = Roll(tuple(invitees))
        roll.ended = [user for user in invitees if user not in waiting]
        event.roll = roll
        event.ended_count = len(roll.ended)
        return 0
    if event.code == FACT_OPENED or (not event.changed and event.code != FACT_MODIFIED):
        raise ValueError(f"the event {event.invite_id} {fields.kind} does not say whom it is about")
    event.roll = NOBODY_KNOWS
    event.ended_count = -1
    if opening is None or opening.invite_id != event.invite_id:
        return 0
    roll = opening.roll
    if roll is None or roll.invitees is None:
        return 0
    event.roll = roll
    ended_count = len(roll.invitees) - <Py_ssize_t>fields.pending_count
    if follows(roll.ended, ended_count, event) and ended_count >= opening.ended_count:
        event.ended_count = ended_count
    return 0


cdef bint follows(list ended, Py_ssize_t ended_count, Event event) except -1:
    """Whether so many have ended after an event, who then stand first in the list.

    The event's own are added where they are the next. In which order those ended who had before the
    opening that is known, nobody can say; the caller leaves out what falls among them.
    """
    cdef Py_ssize_t changed = 0 if event.code == FACT_MODIFIED else len(event.changed)
    if ended_count < changed:
        return False
    if len(ended) == ended_count - changed:
        ended.extend(event.changed)
    return len(ended) >= ended_count and (
        event.code == FACT_MODIFIED
        or ended[ended_count - changed:ended_count] == list(event.changed)
    )
