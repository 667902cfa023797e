"""What the embedding server does itself, without a session (SPEC §2).

The actor is named by the server, and stands in the record as any other. An act of the server has no
acting session: all sessions of the actor hear of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from pysignal import text
from pysignal.engine.views import InvitationInfo
from pysignal.groups.operations import GroupOperations
from pysignal.invitation import Invitation
from pysignal.receivers import Receiver
from pysignal.shard import LookUp
from pysignal.signaling import Signaling

if TYPE_CHECKING:
    from pysignal.hub import Hub
    from pysignal.invitation import Watch


class ServerActor(Receiver):
    """A user whom the embedding server acts for.

    Attributes:
        signaling: the operations on invitations, as that user.
        groups: the operations on groups, as that user.
    """

    signaling: Signaling

    def __init__(self, hub: Hub, user_id: str) -> None:
        super().__init__(user_id, "")
        self.hub = hub
        self.online = True  # it may always act; nothing is ever delivered to it
        self._commands = hub._commands
        self._watches: dict[Watch, None] = {}
        self.signaling = Signaling(self)
        self.groups = GroupOperations(self)

    def _require(self) -> None:
        """Refuse a call to a hub that is not open, or from another thread."""
        self.hub._require()

    def _may_follow(self, info: InvitationInfo) -> bool:
        """Whether the actor hears of an invitation: the embedding server does of all."""
        return True


class ServerActs:
    """The part of a hub that acts for users."""

    def acting_as(self, user: str) -> ServerActor:
        """Return every operation as a user, who need not be logged in.

        Args:
            user: the actor.

        Raises:
            HubClosed, InvalidParameter.
        """
        hub = cast("Hub", self)
        hub._require()
        return ServerActor(hub, text.user_id(user, "user"))

    async def invite_as(
        self, user: str, invitee: str | Sequence[str], data: str | None = "", **options: Any
    ) -> Invitation:
        """Invite as a user; see `Signaling.invite`."""
        return await self.acting_as(user).signaling.invite(invitee, data, **options)

    async def invite_in_group_as(
        self,
        user: str,
        group_id: str,
        invitee_list: Sequence[str],
        data: str | None = "",
        **options: Any,
    ) -> Invitation:
        """Invite in a group as a user; see `Signaling.invite_in_group`."""
        signaling = self.acting_as(user).signaling
        return await signaling.invite_in_group(group_id, invitee_list, data, **options)

    async def accept_as(
        self, user: str, invite_id: str, data: str | None = "", **options: Any
    ) -> None:
        """Accept as a user; see `Signaling.accept`."""
        await self.acting_as(user).signaling.accept(invite_id, data, **options)

    async def reject_as(
        self, user: str, invite_id: str, data: str | None = "", **options: Any
    ) -> None:
        """Reject as a user; see `Signaling.reject`."""
        await self.acting_as(user).signaling.reject(invite_id, data, **options)

    async def cancel_as(
        self, user: str, invite_id: str, data: str | None = "", **options: Any
    ) -> None:
        """Cancel as a user; see `Signaling.cancel`."""
        await self.acting_as(user).signaling.cancel(invite_id, data, **options)

    async def modify_invitation_as(
        self, user: str, invite_id: str, data: str | None, **options: Any
    ) -> None:
        """Modify as a user; see `Signaling.modify_invitation`."""
        await self.acting_as(user).signaling.modify_invitation(invite_id, data, **options)

    async def open_invitations_as(self, user: str, group_id: str) -> list[InvitationInfo]:
        """Look up a group's open invitations as a member; see `Signaling.open_invitations`."""
        return await self.acting_as(user).signaling.open_invitations(group_id)

    async def quit_group_as(self, user: str, group_id: str, **options: Any) -> None:
        """Leave a group as a user; see `GroupOperations.quit_group`."""
        await self.acting_as(user).groups.quit_group(group_id, **options)

    async def kick_group_member_as(
        self, user: str, group_id: str, member: str | Sequence[str], **options: Any
    ) -> None:
        """Remove members from a group as a user; see `GroupOperations.kick_group_member`."""
        await self.acting_as(user).groups.kick_group_member(group_id, member, **options)

    async def dismiss_group_as(self, user: str, group_id: str, **options: Any) -> None:
        """End a group as a user; see `GroupOperations.dismiss_group`."""
        await self.acting_as(user).groups.dismiss_group(group_id, **options)

    async def cancel_by_server(self, invite_id: str, data: str | None = "") -> None:
        """Cancel any open invitation; all parties hear it, with the reason `server`.

        Raises:
            DataTooLong, HubClosed, InvalidParameter, InvitationEnded.
        """
        hub = cast("Hub", self)
        hub._require()
        data = text.data(data, bytes_max=hub.limits.data_bytes_max)
        invite_id = text.exact(invite_id, "invite_id")
        await hub._perform(hub.shard.cancel, None, 0, invite_id, data)

    async def pending(self, user: str) -> list[InvitationInfo]:
        """Return what waits for a user's answer, oldest first.

        Raises:
            HubClosed, InvalidParameter.
        """
        hub = cast("Hub", self)
        hub._require()
        user = text.user_id(user, "user")
        found = LookUp(lambda: hub.shard.machine.open_ids_of(user))
        infos: list[InvitationInfo] = await hub._perform(hub.shard.pending, user, found)
        return infos

    async def invitation(self, invite_id: str) -> InvitationInfo | None:
        """Return an invitation as it stands; None where the ID names nothing remembered.

        Raises:
            HubClosed, InvalidParameter.
        """
        hub = cast("Hub", self)
        hub._require()
        info: InvitationInfo | None = await hub._perform(
            hub.shard.info, text.exact(invite_id, "invite_id")
        )
        return info
