"""What the embedding server does itself, without a session (SPEC §2).

The actor is named by the server, and stands in the record as any other. An act of the server has no
acting session: all sessions of the actor hear of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from pysignal import bulk, text
from pysignal.bulk import Answer, Invite, Refusal
from pysignal.engine.views import InvitationInfo
from pysignal.errors import InvalidParameter
from pysignal.groups.operations import GroupOperations
from pysignal.invitation import Invitation
from pysignal.receivers import Receiver
from pysignal.shard import LookUp
from pysignal.signaling import Signaling

if TYPE_CHECKING:
    from pysignal.hub import Hub


class ServerActor(Receiver):
    """A user whom the embedding server acts for.

    Attributes:
        signaling: the operations on invitations, as that user.
    """

    signaling: Signaling

    def __init__(self, hub: Hub, user_id: str) -> None:
        super().__init__(user_id, "")
        self.hub = hub
        self.online = True  # it may always act; nothing is ever delivered to it
        self._commands = hub._commands
        self.signaling = Signaling(self)

    @property
    def groups(self) -> GroupOperations:
        """The operations on groups, as that user."""
        return GroupOperations(self)

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

    async def invite_many(self, items: Sequence[Invite]) -> list[str | Refusal]:
        """Open many invitations in one call, as the users that the items name.

        Args:
            items: what to open; plain tuples with the same fields will do.

        Returns:
            For each item, in order, the ID of its invitation, or the error that refused it.

        Raises:
            InvalidParameter: `items` is no list or tuple.
            HubClosed: the hub is not open; or it was closed meanwhile, and of the items some may
                have been carried out: those with a request ID can be sent again.
        """
        hub = cast("Hub", self)
        hub._require()
        results: list[str | Refusal] = await hub._perform(bulk.invite_many(hub, _listed(items)))
        return results

    async def answer_many(self, items: Sequence[Answer]) -> list[Refusal | None]:
        """Accept and reject many invitations in one call, as the users that the items name.

        Args:
            items: the answers; plain tuples with the same fields will do.

        Returns:
            For each item, in order, None, or the error that refused it.

        Raises:
            InvalidParameter, HubClosed: as for `invite_many`.
        """
        hub = cast("Hub", self)
        hub._require()
        results: list[Refusal | None] = await hub._perform(bulk.answer_many(hub, _listed(items)))
        return results

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


def _listed(items: Sequence[Any]) -> list[Any]:
    """Return the items of a bulk call, as they are now."""
    if not isinstance(items, (list, tuple)):
        raise InvalidParameter("items", f"a list or tuple, not {type(items).__name__}")
    return list(items)
