"""What answers and notifications carry. Times are ms since the epoch on the engine's clock."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType, field


class InvitationFields(Struct, kw_only=True, gc=False):
    """An invitation, whole, as it stands (SPEC §7); times are ms since the epoch.

    Attributes:
        invite_id: its ID.
        group_id: the group, `""` for none.
        inviter: who invites.
        data: its data of now, `""` once it has ended.
        state: open, completed, cancelled.
        reason: why it ended, where no party did it.
        statuses: where each invitee stands, in the order of invitation.
        opened_at: when it was opened.
        expires_at: its deadline, null for never.
        ended_at: when it ended, null while it is open.
        seq: how many events it has had.
        data_version: 1, and 1 more for each modify.
        position: commit position of the opening.
        ended_position: commit position of the end, 0 while it is open.
        online_only: whether only who was online was told of it.
        parties_only: whether the other members of the group hear nothing of it.
        no_deadline: whether it has none.
    """

    invite_id: str
    group_id: str
    inviter: str
    data: str
    state: str
    reason: str
    statuses: dict[str, str]
    opened_at: int
    expires_at: int | None
    ended_at: int | None
    seq: int
    data_version: int
    position: int
    ended_position: int
    online_only: bool
    parties_only: bool
    no_deadline: bool


class SnapshotFields(Struct, kw_only=True, gc=False):
    """What a login finds, beside what it is told (SPEC §7).

    Attributes:
        now: engine time, ms since the epoch.
        open: the open invitations that the user is party to, oldest first.
        ended: those that this device was told of and that have ended since.
    """

    now: int
    open: list[InvitationFields]
    ended: list[InvitationFields]


class LoginResult(Struct, kw_only=True, gc=False):
    """What a login gives.

    Attributes:
        recovered: whether the session went on: all that it missed follows, in order, once. Else it
            was logged in anew, and the snapshot says how things stand.
        cursor: where it stands now.
        now: engine time, ms since the epoch.
        resume_window: how long the server keeps the session after a break, seconds.
        ping: after how much silence the server sends a ping, seconds.
        snapshot: null where it has recovered.
    """

    recovered: bool
    cursor: str
    now: int
    resume_window: float
    ping: float
    snapshot: SnapshotFields | None


class SyncResult(Struct, kw_only=True, gc=False):
    """Engine time, ms since the epoch."""

    now: int


class InviteResult(Struct, kw_only=True, gc=False):
    """The ID of the new invitation."""

    invite_id: str


class EventFields(Struct, kw_only=True, gc=False):
    """One change of an invitation, as everybody hears it (SPEC §4); times are ms since the epoch.

    Attributes:
        kind: opened, accepted, rejected, cancelled, timed_out, modified.
        reason: `""` for what a party did, else left_group, group_dismissed, server, lifetime,
            answered_elsewhere.
        invite_id: the invitation.
        group_id: the group, `""` for none.
        inviter: who invited.
        invitee_list: opened: who was invited; else whose status changed. In invited order.
        data: the data of the operation, `""` for what no operation did.
        invitation_data: the invitation's data as of this event.
        actor: the user who did it; who has left, with the reason left_group; else `""`.
        device: the acting device, `""` where no session acted.
        seq: counts the invitation's events from 1.
        data_version: 1, and 1 more for each modify.
        position: commit position; counts all changes of all invitations.
        time: when it was committed, on the engine's clock.
        expires_at: the invitation's deadline, null for never.
        ends: whether the invitation ended with it.
        replayed: whether a login is told of an older opening, with the data of now.
        online_only: whether only who was online was told of the opening.
        parties_only: whether the other members of the group hear nothing.
        pending_count: how many were still pending after it.
        invitees: everybody who was invited; left out where they are more than 32 and this is no
            opening.
        pending: who was still pending after it; left out likewise.
    """

    kind: Literal["opened", "accepted", "rejected", "cancelled", "timed_out", "modified"]
    reason: str
    invite_id: str
    group_id: str
    inviter: str
    invitee_list: list[str]
    data: str
    invitation_data: str
    actor: str
    device: str
    seq: int
    data_version: int
    position: int
    time: int
    expires_at: int | None
    ends: bool
    replayed: bool
    online_only: bool
    parties_only: bool
    pending_count: int
    invitees: list[str] | UnsetType = UNSET
    pending: list[str] | UnsetType = UNSET


class OutcomeResult(Struct, kw_only=True, gc=False):
    """How an invitation ended, as in `Outcome`.

    Attributes:
        invite_id: the invitation.
        state: completed or cancelled.
        reason: why, where no party did it.
        statuses: where each invitee stands, in the order of invitation.
        event: the last event, null where it is not remembered any more.
    """

    invite_id: str
    state: str
    reason: str
    statuses: dict[str, str]
    event: EventFields | None


class GroupResult(Struct, kw_only=True, gc=False):
    """The ID of the new group."""

    group_id: str


class GroupFields(Struct, kw_only=True, gc=False):
    """What is known of a group, as in `GroupInfo`."""

    group_id: str
    group_type: str
    owner: str
    name: str
    introduction: str
    notification: str
    face_url: str
    member_count: int
    created_ms: int


class MemberFields(Struct, kw_only=True, gc=False):
    """What is known of a member, as in `MemberInfo`."""

    user_id: str
    role: int
    name_card: str
    joined_ms: int


class MemberPage(Struct, kw_only=True, gc=False):
    """A page of members, and where the next begins: 0 after the last."""

    members: list[MemberFields]
    next_seq: int


class ErrorFields(Struct, kw_only=True, gc=False):
    """What an error says beside its message.

    Attributes:
        name: a stable word for it.
        remedy: retry: the same call may succeed later; caller: the call is wrong; final: the answer
            is no.
        details: the facts of the message.
    """

    name: str
    remedy: str
    details: dict[str, Any] = field(default_factory=dict)


class Error(Struct, kw_only=True, gc=False):
    """Why a request was refused.

    Attributes:
        code: as in SPEC §5; below -32000 for a text that is no request.
        message: which thing, what was wrong, what to do.
        data: the same for programs; not there for a text that is no request.
    """

    code: int
    message: str
    data: ErrorFields | UnsetType = UNSET


class EventParams(EventFields, kw_only=True):
    """An event for this session.

    Attributes:
        cursor: where the session stands once it has taken this.
        now: engine time when it left, ms since the epoch.
    """

    cursor: str
    now: int


class GroupEventParams(Struct, kw_only=True, gc=False):
    """A callback of a group for this session.

    Attributes:
        cursor: where the session stands once it has taken this.
        now: engine time when it left, ms since the epoch.
        callback: the method of `GroupListener`.
        parameters: its parameters by name.
    """

    cursor: str
    now: int
    callback: str
    parameters: dict[str, Any]


class FollowedParams(Struct, kw_only=True, gc=False):
    """An event of an invitation that is followed.

    Attributes:
        follow: number of the request that began it.
        event: the event.
    """

    follow: int
    event: EventFields


class FollowEndedParams(Struct, kw_only=True, gc=False):
    """There are no more events of an invitation that was followed.

    Attributes:
        follow: number of the request that began it.
        error: why, where it is not that the invitation has ended.
    """

    follow: int
    error: Error | None = None


class EndedParams(Struct, kw_only=True, gc=False):
    """The session has ended; the connection is closed next.

    Attributes:
        error: why.
    """

    error: Error
