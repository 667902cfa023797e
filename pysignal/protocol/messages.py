"""The messages of the protocol, as types: what is decoded is checked against them.

Requests go from client to server, each with a number; the server answers each with a result or an
error. Notifications have no number and are answered by nothing. Fields that a message has beyond
those named here are passed over: an older side can talk to a newer one.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct, field

from pysignal.protocol.numbers import NUMBER_MAX
from pysignal.protocol.params import (
    AckParams,
    AddInvitedParams,
    AnswerParams,
    CreateGroupParams,
    FollowParams,
    GroupChangeParams,
    GroupInfoParams,
    GroupParams,
    InvitationParams,
    InviteInGroupParams,
    InviteParams,
    InviteUsersParams,
    KickParams,
    LoginParams,
    MemberInfoParams,
    MemberListParams,
    MemberParams,
    ModifyParams,
    NoParams,
    RoleParams,
    UnfollowParams,
)
from pysignal.protocol.results import (
    EndedParams,
    EventParams,
    FollowedParams,
    FollowEndedParams,
    GroupEventParams,
    GroupFields,
    GroupResult,
    InvitationFields,
    InviteResult,
    LoginResult,
    MemberPage,
    OutcomeResult,
    SyncResult,
)


class Request(Struct, kw_only=True, gc=False, tag_field="method"):
    """A request: an operation with the number under which it is answered.

    Attributes:
        id: a whole number; the login has 0, then it counts up from 1 for as long as the client
            runs, over all its connections. A request that is sent again has the number it had.
        jsonrpc: the version of JSON-RPC.
    """

    id: Annotated[int, Meta(ge=0, le=NUMBER_MAX)]
    jsonrpc: Literal["2.0"]


class Login(Request, tag="login", kw_only=True):
    """Log in: the first message of each connection."""

    params: LoginParams


class Logout(Request, tag="logout", kw_only=True):
    """Log out: the session goes offline, and the server closes the connection."""

    params: NoParams = field(default_factory=NoParams)


class Sync(Request, tag="sync", kw_only=True):
    """Ask for an answer, which comes behind everything that the server had to tell before."""

    params: NoParams = field(default_factory=NoParams)


class Invite(Request, tag="invite", kw_only=True):
    """Invite one user, or several without a group (SPEC §2)."""

    params: InviteParams


class InviteInGroup(Request, tag="invite_in_group", kw_only=True):
    """Invite members of a group (SPEC §2)."""

    params: InviteInGroupParams


class Accept(Request, tag="accept", kw_only=True):
    """Accept as a pending invitee (SPEC §2)."""

    params: AnswerParams


class Reject(Request, tag="reject", kw_only=True):
    """Reject as a pending invitee (SPEC §2)."""

    params: AnswerParams


class Cancel(Request, tag="cancel", kw_only=True):
    """Cancel as the inviter (SPEC §2)."""

    params: AnswerParams


class ModifyInvitation(Request, tag="modify_invitation", kw_only=True):
    """Replace an open invitation's data as its inviter (SPEC §2)."""

    params: ModifyParams


class AddInvitedSignaling(Request, tag="add_invited_signaling", kw_only=True):
    """Mark an invitation that was learned from a push as told to this session (SPEC §2)."""

    params: AddInvitedParams


class OpenInvitations(Request, tag="open_invitations", kw_only=True):
    """Read the open invitations of a group that every member hears of (SPEC §2)."""

    params: GroupParams


class AwaitOutcome(Request, tag="outcome", kw_only=True):
    """Ask how an invitation ends; answered when it has. Ask again after a new connection."""

    params: InvitationParams


class Follow(Request, tag="follow", kw_only=True):
    """Ask for the events of an invitation, one's own included, as `followed` notifications."""

    params: FollowParams


class Unfollow(Request, tag="unfollow", kw_only=True):
    """End what `follow` began."""

    params: UnfollowParams


class CreateGroup(Request, tag="create_group", kw_only=True):
    """Create a group whose owner one is (SPEC §8)."""

    params: CreateGroupParams


class JoinGroup(Request, tag="join_group", kw_only=True):
    """Join a group whose type lets anybody in (SPEC §8)."""

    params: GroupChangeParams


class QuitGroup(Request, tag="quit_group", kw_only=True):
    """Leave a group (SPEC §8)."""

    params: GroupChangeParams


class DismissGroup(Request, tag="dismiss_group", kw_only=True):
    """End a group as its owner (SPEC §8)."""

    params: GroupChangeParams


class KickGroupMember(Request, tag="kick_group_member", kw_only=True):
    """Remove members of a lower role (SPEC §8)."""

    params: KickParams


class InviteUserToGroup(Request, tag="invite_user_to_group", kw_only=True):
    """Make users members, where the type of the group allows it (SPEC §8)."""

    params: InviteUsersParams


class SetGroupMemberRole(Request, tag="set_group_member_role", kw_only=True):
    """Grant or revoke a member's administration as the owner (SPEC §8)."""

    params: RoleParams


class TransferGroupOwner(Request, tag="transfer_group_owner", kw_only=True):
    """Make another member the owner (SPEC §8)."""

    params: MemberParams


class SetGroupInfo(Request, tag="set_group_info", kw_only=True):
    """Change the texts of a group (SPEC §8)."""

    params: GroupInfoParams


class SetGroupMemberInfo(Request, tag="set_group_member_info", kw_only=True):
    """Set a member's name card (SPEC §8)."""

    params: MemberInfoParams


class GetGroupInfo(Request, tag="get_group_info", kw_only=True):
    """Read what is known of a group (SPEC §8)."""

    params: GroupParams


class GetJoinedGroupList(Request, tag="get_joined_group_list", kw_only=True):
    """Read the groups that one is a member of (SPEC §8)."""

    params: NoParams = field(default_factory=NoParams)


class GetGroupMemberList(Request, tag="get_group_member_list", kw_only=True):
    """Read a page of a group's members (SPEC §8)."""

    params: MemberListParams


class Ack(Struct, kw_only=True, gc=False, tag_field="method", tag="ack"):
    """Tell how far one has come, now and then; it is a notification, and has no answer."""

    params: AckParams
    jsonrpc: Literal["2.0"]


class Notification(Struct, kw_only=True, gc=False, tag_field="method"):
    """What the server tells by itself."""

    jsonrpc: Literal["2.0"]


class EventNotification(Notification, tag="event", kw_only=True):
    """Something happened to an invitation (SPEC §4)."""

    params: EventParams


class GroupEventNotification(Notification, tag="group_event", kw_only=True):
    """Something happened to a group (SPEC §8)."""

    params: GroupEventParams


class FollowedNotification(Notification, tag="followed", kw_only=True):
    """Something happened to an invitation that is followed."""

    params: FollowedParams


class FollowEndedNotification(Notification, tag="follow_ended", kw_only=True):
    """What was followed has ended."""

    params: FollowEndedParams


class SessionEndedNotification(Notification, tag="session_ended", kw_only=True):
    """The session has ended: another login of its device, its token, the end of the server."""

    params: EndedParams


# Every request, with the type of its result; None where it is null.
REQUESTS: Final[dict[type[Request], Any]] = {
    Login: LoginResult,
    Logout: None,
    Sync: SyncResult,
    Invite: InviteResult,
    InviteInGroup: InviteResult,
    Accept: None,
    Reject: None,
    Cancel: None,
    ModifyInvitation: None,
    AddInvitedSignaling: None,
    OpenInvitations: list[InvitationFields],
    AwaitOutcome: OutcomeResult,
    Follow: None,
    Unfollow: None,
    CreateGroup: GroupResult,
    JoinGroup: None,
    QuitGroup: None,
    DismissGroup: None,
    KickGroupMember: None,
    InviteUserToGroup: dict[str, bool],
    SetGroupMemberRole: None,
    TransferGroupOwner: None,
    SetGroupInfo: None,
    SetGroupMemberInfo: None,
    GetGroupInfo: GroupFields,
    GetJoinedGroupList: list[GroupFields],
    GetGroupMemberList: MemberPage,
}

NOTIFICATIONS: Final[tuple[type[Notification], ...]] = (
    EventNotification,
    GroupEventNotification,
    FollowedNotification,
    FollowEndedNotification,
    SessionEndedNotification,
)
