"""The interface that code is written against, whether its hub is embedded or far away.

`Hub.login` gives a session of a hub in the same process, `pysignal.connect` one of a server; both
satisfy `Session`. What an operation does, takes and raises stands at `pysignal.Signaling` and
`GroupOperations`; here is only its shape, so that each kind can be checked against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Protocol, Self

from pysignal.engine.views import InvitationInfo
from pysignal.groups.callbacks import GroupListener
from pysignal.groups.rules import GroupType, Role
from pysignal.groups.state import GroupInfo, MemberInfo
from pysignal.listeners import ConnectionListener, SignalingListener
from pysignal.streams import EventStream

if TYPE_CHECKING:
    from pysignal.invitation import Invitation
    from pysignal.presence import Snapshot
    from pysignal.signaling import SignalingInfo


class Signaling(Protocol):
    """The operations on invitations (SPEC §2)."""

    async def invite(
        self,
        invitee: str | Sequence[str],
        data: str | None = "",
        *,
        timeout: float = 30,  # noqa: ASYNC109 - of the invitation, not of the call
        online_user_only: bool = False,
        offline_push_info: object = None,
        request_id: str | None = None,
    ) -> Invitation:
        """Invite one user, or several without a group."""

    async def invite_in_group(
        self,
        group_id: str,
        invitee_list: Sequence[str],
        data: str | None = "",
        *,
        timeout: float = 30,  # noqa: ASYNC109 - of the invitation, not of the call
        online_user_only: bool = False,
        notify: Literal["members", "parties"] = "members",
        request_id: str | None = None,
    ) -> Invitation:
        """Invite members of a group."""

    async def accept(
        self, invite_id: str, data: str | None = "", *, request_id: str | None = None
    ) -> None:
        """Accept as a pending invitee."""

    async def reject(
        self, invite_id: str, data: str | None = "", *, request_id: str | None = None
    ) -> None:
        """Reject as a pending invitee."""

    async def cancel(
        self, invite_id: str, data: str | None = "", *, request_id: str | None = None
    ) -> None:
        """Cancel as the inviter, from any session, while somebody is pending."""

    async def modify_invitation(
        self,
        invite_id: str,
        data: str | None,
        *,
        expected_version: int | None = None,
        request_id: str | None = None,
    ) -> None:
        """Replace the data of an open invitation as its inviter."""

    async def open_invitations(self, group_id: str) -> list[InvitationInfo]:
        """Return the group's open invitations that every member hears of."""

    async def add_invited_signaling(
        self, info: SignalingInfo, *, request_id: str | None = None
    ) -> None:
        """Mark an invitation that was learned elsewhere as told to this session."""

    def add_signaling_listener(self, listener: SignalingListener) -> None:
        """Add a listener, before the login or after."""

    def remove_signaling_listener(self, listener: SignalingListener) -> None:
        """Remove a listener."""


class Groups(Protocol):
    """The operations on groups (SPEC §8)."""

    async def create_group(
        self,
        group_type: GroupType | str,
        group_id: str | None = None,
        name: str = "",
        *,
        member_list: Sequence[str] = (),
        request_id: str | None = None,
    ) -> str:
        """Create a group whose owner the actor is."""

    async def join_group(self, group_id: str, *, request_id: str | None = None) -> None:
        """Join a group whose type lets anybody in."""

    async def quit_group(self, group_id: str, *, request_id: str | None = None) -> None:
        """Leave a group."""

    async def dismiss_group(self, group_id: str, *, request_id: str | None = None) -> None:
        """End a group as its owner."""

    async def kick_group_member(
        self, group_id: str, user: str | Sequence[str], *, request_id: str | None = None
    ) -> None:
        """Remove members of a lower role."""

    async def invite_user_to_group(
        self, group_id: str, user_list: Sequence[str], *, request_id: str | None = None
    ) -> dict[str, bool]:
        """Make users members, where the type of the group allows it."""

    async def set_group_member_role(
        self, group_id: str, user: str, role: Role | int, *, request_id: str | None = None
    ) -> None:
        """Grant or revoke a member's administration as the owner."""

    async def transfer_group_owner(
        self, group_id: str, user: str, *, request_id: str | None = None
    ) -> None:
        """Make another member the owner."""

    async def set_group_info(
        self,
        group_id: str,
        *,
        name: str | None = None,
        introduction: str | None = None,
        notification: str | None = None,
        face_url: str | None = None,
        request_id: str | None = None,
    ) -> None:
        """Change the texts of a group."""

    async def set_group_member_info(
        self, group_id: str, user: str, *, name_card: str, request_id: str | None = None
    ) -> None:
        """Set a member's name card."""

    async def get_group_info(self, group_id: str) -> GroupInfo:
        """Return what is known of a group."""

    async def get_joined_group_list(self) -> list[GroupInfo]:
        """Return the groups that the actor is a member of."""

    async def get_group_member_list(
        self, group_id: str, *, role: Role | int | None = None, next_seq: int = 0, count: int = 50
    ) -> tuple[list[MemberInfo], int]:
        """Return a page of a group's members, and where the next begins."""

    def add_group_listener(self, listener: GroupListener) -> None:
        """Add a listener, before the login or after."""

    def remove_group_listener(self, listener: GroupListener) -> None:
        """Remove a listener."""


class Session(Protocol):
    """One device of a user.

    Attributes:
        user_id: the user.
        device_id: the device.
        online: whether it is logged in; a connection that is away for a moment ends no login.
        snapshot: what the last login found: open invitations, and those that ended meanwhile.
        signaling: the operations on invitations.
        groups: the operations on groups.
    """

    user_id: str
    device_id: str
    online: bool
    snapshot: Snapshot

    @property
    def signaling(self) -> Signaling:
        """The operations on invitations."""

    @property
    def groups(self) -> Groups:
        """The operations on groups."""

    async def login(self, start: Literal["cold", "hot"] = "cold") -> None:
        """Come online."""

    async def logout(self) -> None:
        """Go offline."""

    def add_connection_listener(self, listener: ConnectionListener) -> None:
        """Add a listener for the session itself."""

    def remove_connection_listener(self, listener: ConnectionListener) -> None:
        """Remove a listener for the session itself."""

    def add_signaling_listener(self, listener: SignalingListener) -> None:
        """Add a listener for invitations."""

    def remove_signaling_listener(self, listener: SignalingListener) -> None:
        """Remove a listener for invitations."""

    def add_group_listener(self, listener: GroupListener) -> None:
        """Add a listener for groups."""

    def remove_group_listener(self, listener: GroupListener) -> None:
        """Remove a listener for groups."""

    def events(self) -> EventStream:
        """Iterate over everything that the session hears from now on."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...
