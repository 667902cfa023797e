"""Events: what everybody hears of a fact, as Python objects.

An event is made once and shared by all who hear it, so nothing of it can be changed. Its ID and
names are made when it is; the lists of a large invitation are shared with its other events.
"""

cimport cython

# Names of the kinds and reasons, by their numbers.
KINDS = ("", "opened", "accepted", "rejected", "cancelled", "timed_out", "modified", "marked")
REASON_NAMES = (
    "", "left_group", "group_dismissed", "server", "lifetime", "answered_elsewhere",
)

cdef tuple KIND_OF = KINDS
cdef tuple REASON_OF = REASON_NAMES


@cython.no_gc
cdef class Roll:
    """Who was asked by one invitation, and in which order they ended; shared by its events.

    Args:
        invitees: in invited order; None where an event came from elsewhere without them.
    """

    def __cinit__(self, tuple invitees):
        self.invitees = invitees
        self.ended = []


# All that an event refers to are texts, and a roll of texts: no cycle, nothing to collect.
@cython.no_gc
@cython.freelist(2048)
cdef class Event:
    """One committed change of an invitation, as everybody hears it (SPEC section 4).

    Attributes:
        kind: opened, accepted, rejected, cancelled, timed_out, modified.
        reason: "" for what a party did, else left_group, group_dismissed, server, lifetime,
            answered_elsewhere.
        seq: counts the invitation's events from 1.
        data_version: 1, and 1 more for each modify.
        position: commit position of the engine; counts all changes of all invitations.
        time: when it was committed, ms since the epoch on the engine's clock.
        data: the data of the operation; "" for what no operation did.
        invitation_data: the invitation's data as of this event.
        actor: the user who did it; who has left, with the reason left_group; "" for a deadline,
            the server and a dismissal.
        device: the acting device; "" where no session acted.
        ends: whether the invitation ended with this event.
        replayed: whether a login is told of an older opening, with the data of now.

    A client far away is told of a long list in the opening alone. Where that passed it by,
    `invitees` and `pending` are not known, and reading them is a LookupError.
    """

    def __init__(self):
        raise TypeError("an Event is made by the engine: take it from Machine.take()")

    @property
    def kind(self):
        """What happened: opened, accepted, rejected, cancelled, timed_out, modified."""
        return KIND_OF[self.code]

    @property
    def reason(self):
        """Why, where no party did it; see the class."""
        return REASON_OF[self.reason_code]

    @property
    def data(self):
        """The data of the operation; "" for what no operation did."""
        return self.invitation_data if self.answer is None else self.answer

    @property
    def actor(self):
        """The user who did it; see the class."""
        if self.other_actor is not None:
            return self.other_actor
        return self.inviter if self.actor_number == self.inviter_number else self.invitee_one

    @property
    def expires_at(self):
        """The invitation's deadline, ms since the epoch on the engine's clock; None for never."""
        return None if self.expires < 0 else self.expires

    @property
    def invitee_list(self):
        """Opened: who was invited. Otherwise whose status changed. In invited order."""
        return list(self.affected)

    @property
    def invitees(self):
        """Everybody who was invited, in invited order."""
        if self.roll is None:
            return (self.invitee_one,)
        if self.roll.invitees is None:
            raise not_known(self, "who was invited")
        return self.roll.invitees

    @property
    def affected(self):
        """Whose status this event changed, in invited order."""
        if self.changed is None:
            return self.invitees
        return self.changed

    @property
    def invitee(self):
        """The one whose status changed; "" where it is nobody or several."""
        cdef tuple affected = self.affected
        return affected[0] if len(affected) == 1 else ""

    @property
    def pending(self):
        """Who was still pending after this event, in invited order."""
        if self.ends:
            return ()
        if self.roll is None:
            return (self.invitee_one,)
        if self.ended_count < 0 or self.roll.invitees is None:
            raise not_known(self, "who is pending")
        cdef set ended = set(self.roll.ended[:self.ended_count])
        return tuple([user for user in self.roll.invitees if user not in ended])

    def __repr__(self):
        return (
            f"<Event {self.invite_id} seq {self.seq} {self.kind}"
            f"{' ' + self.reason if self.reason else ''} by {self.actor or 'the engine'}>"
        )


cdef object not_known(Event event, str what):
    """The error of asking for what the opening of a long list said."""
    how = "log in again and look at its snapshot"
    if event.group_id:
        how = f"ask signaling.open_invitations({event.group_id!r})"
    return LookupError(f"{what} of {event.invite_id} is not known to this session: {how}")


cdef Event event_new():
    return Event.__new__(Event)
