"""Invitations as Python objects, whole, for queries and login snapshots."""

# Names of where an invitee stands, and of the states of an invitation, by their numbers.
STATUS_NAMES = ("waiting", "pending", "accepted", "rejected", "cancelled", "timed_out")
STATE_NAMES = ("free", "open", "completed", "cancelled")


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


cdef InvitationInfo info_new():
    return InvitationInfo.__new__(InvitationInfo)
