"""What requests carry.

The types check shapes; what a value may be (how long a text, which timeout) is the hub's business,
so that a call is refused with the same words over the network as in the same process.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct, field


class Params(Struct, kw_only=True, gc=False):
    """Parameters of a request, by name."""


class LoginParams(Params, kw_only=True):
    """Who logs in, with what proof, and what it has heard so far.

    Attributes:
        user_id: the user.
        token: a JWT or a UserSig for that user.
        client: 1 to 64 characters that this client made up when it started, and keeps: numbers of
            requests belong to it.
        device_id: tells the user's devices apart.
        start: `"cold"` for a new process, `"hot"` for one that comes back.
        cursor: of the last message that it has taken, where it comes back.
    """

    user_id: str
    token: str
    client: str
    device_id: str = "1"
    start: Literal["cold", "hot"] = "cold"
    cursor: str | None = None


class NoParams(Params, kw_only=True):
    """No parameters."""


class ChangeParams(Params, kw_only=True):
    """Parameters of an operation that changes something.

    Attributes:
        request_id: the same ID from the same user gives the first result again; without it the
            client's name and the request's number are one.
    """

    request_id: str | None = None


class InviteParams(ChangeParams, kw_only=True):
    """One user to invite, or several without a group.

    Attributes:
        invitee: a user, or a list of users.
        data: opaque text, at most 12 KiB of UTF-8.
        timeout: seconds, 0 for never.
        online_user_only: only sessions that are online now are told of the opening.
        offline_push_info: for a push service; this server has none.
    """

    invitee: str | list[str]
    data: str | None = ""
    timeout: int | float = 30
    online_user_only: bool = False
    offline_push_info: Any = None


class InviteInGroupParams(ChangeParams, kw_only=True):
    """Members of a group to invite.

    Attributes:
        group_id: the group.
        invitee_list: members; may be empty.
        data: opaque text, at most 12 KiB of UTF-8.
        timeout: seconds, 0 for never.
        online_user_only: only sessions that are online now are told of the opening.
        notify: who is told: every member, or inviter and invitees alone.
    """

    group_id: str
    invitee_list: list[str]
    data: str | None = ""
    timeout: int | float = 30
    online_user_only: bool = False
    notify: Literal["members", "parties"] = "members"


class AnswerParams(ChangeParams, kw_only=True):
    """An invitation to accept, reject or cancel.

    Attributes:
        invite_id: the invitation.
        data: opaque text, at most 12 KiB of UTF-8.
    """

    invite_id: str
    data: str | None = ""


class ModifyParams(ChangeParams, kw_only=True):
    """An invitation whose data is replaced.

    Attributes:
        invite_id: the invitation.
        data: the new data.
        expected_version: refuse unless this is its `data_version`.
    """

    invite_id: str
    data: str | None
    expected_version: int | None = None


class SignalingInfoFields(Struct, kw_only=True, gc=False):
    """An invitation as a push tells of it; fields as in `SignalingInfo`."""

    invite_id: str
    inviter: str
    group_id: str = ""
    invitee_list: list[str] = field(default_factory=list)
    data: str = ""
    timeout: int = 0
    action_type: int = 1


class AddInvitedParams(ChangeParams, kw_only=True):
    """An invitation that was learned from a push."""

    info: SignalingInfoFields


class InvitationParams(Params, kw_only=True):
    """An invitation to await."""

    invite_id: str


class FollowParams(Params, kw_only=True):
    """An invitation whose events are asked for.

    Attributes:
        invite_id: the invitation.
        after: the `seq` of the last event that was taken, 0 for none.
    """

    invite_id: str
    after: int = 0


class UnfollowParams(Params, kw_only=True):
    """A following that ends.

    Attributes:
        follow: number of the request that began it.
    """

    follow: int


class GroupParams(Params, kw_only=True):
    """A group to look at."""

    group_id: str


class GroupChangeParams(ChangeParams, kw_only=True):
    """A group to join, quit or dismiss."""

    group_id: str


class CreateGroupParams(ChangeParams, kw_only=True):
    """A group to create.

    Attributes:
        group_type: Work, Public, Meeting, AVChatRoom or Community.
        group_id: its ID; null to have one made up.
        name: for people, at most 100 bytes.
        member_list: further members.
    """

    group_type: str
    group_id: str | None = None
    name: str = ""
    member_list: list[str] = field(default_factory=list)


class KickParams(ChangeParams, kw_only=True):
    """Members to remove: one, or several."""

    group_id: str
    user: str | list[str]


class InviteUsersParams(ChangeParams, kw_only=True):
    """Users to bring into a group."""

    group_id: str
    user_list: list[str]


class RoleParams(ChangeParams, kw_only=True):
    """A role to give: 200 member, 300 admin."""

    group_id: str
    user: str
    role: int


class MemberParams(ChangeParams, kw_only=True):
    """A member to make the owner."""

    group_id: str
    user: str


class GroupInfoParams(ChangeParams, kw_only=True):
    """Texts of a group to replace; null leaves one as it is."""

    group_id: str
    name: str | None = None
    introduction: str | None = None
    notification: str | None = None
    face_url: str | None = None


class MemberInfoParams(ChangeParams, kw_only=True):
    """A member's name card."""

    group_id: str
    user: str
    name_card: str


class MemberListParams(Params, kw_only=True):
    """A page of members.

    Attributes:
        group_id: the group.
        role: only members of this role; null for all.
        next_seq: 0, then what the page before gave.
        count: members in a page, 1 to 100.
    """

    group_id: str
    role: int | None = None
    next_seq: int = 0
    count: int = 50


class AckParams(Params, kw_only=True):
    """How far the client has come.

    Attributes:
        cursor: of the last message that it has taken.
    """

    cursor: str
