"""The operations on groups (SPEC §8), as requests to a server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pysignal.groups.callbacks import GroupListener
from pysignal.groups.rules import GroupType, Role
from pysignal.groups.state import GroupInfo, MemberInfo
from pysignal.protocol.results import GroupFields, MemberFields

if TYPE_CHECKING:
    from pysignal.client.session import RemoteSession


class RemoteGroups:
    """The operations on groups, for one session of a server.

    They are those of an embedded session's `groups`, with the same refusals; besides, each raises
    `OutcomeUnknown` where it was sent and no answer came in time, and `NotLoggedIn` where it could
    not be sent.
    """

    def __init__(self, session: RemoteSession) -> None:
        self._session = session

    async def create_group(
        self,
        group_type: GroupType | str,
        group_id: str | None = None,
        name: str = "",
        *,
        member_list: Sequence[str] = (),
        request_id: str | None = None,
    ) -> str:
        """Create a group whose owner the actor is; see `GroupOperations.create_group`."""
        result = await self._ask(
            "create_group",
            group_id=group_id,
            member_list=member_list,
            group_type=group_type,
            name=name,
            request_id=request_id,
        )
        created: str = result.group_id
        return created

    async def join_group(self, group_id: str, *, request_id: str | None = None) -> None:
        """Join a group whose type lets anybody in; see `GroupOperations.join_group`."""
        await self._ask("join_group", group_id=group_id, request_id=request_id)

    async def quit_group(self, group_id: str, *, request_id: str | None = None) -> None:
        """Leave a group; see `GroupOperations.quit_group`."""
        await self._ask("quit_group", group_id=group_id, request_id=request_id)

    async def dismiss_group(self, group_id: str, *, request_id: str | None = None) -> None:
        """End a group as its owner; see `GroupOperations.dismiss_group`."""
        await self._ask("dismiss_group", group_id=group_id, request_id=request_id)

    async def kick_group_member(
        self, group_id: str, user: str | Sequence[str], *, request_id: str | None = None
    ) -> None:
        """Remove members of a lower role; see `GroupOperations.kick_group_member`."""
        await self._ask("kick_group_member", user=user, group_id=group_id, request_id=request_id)

    async def invite_user_to_group(
        self, group_id: str, user_list: Sequence[str], *, request_id: str | None = None
    ) -> dict[str, bool]:
        """Make users members of a group; see `GroupOperations.invite_user_to_group`."""
        added: dict[str, bool] = await self._ask(
            "invite_user_to_group", user_list=user_list, group_id=group_id, request_id=request_id
        )
        return added

    async def set_group_member_role(
        self, group_id: str, user: str, role: Role | int, *, request_id: str | None = None
    ) -> None:
        """Grant or revoke administration; see `GroupOperations.set_group_member_role`."""
        await self._ask(
            "set_group_member_role",
            group_id=group_id,
            user=user,
            role=role,
            request_id=request_id,
        )

    async def transfer_group_owner(
        self, group_id: str, user: str, *, request_id: str | None = None
    ) -> None:
        """Make another member the owner; see `GroupOperations.transfer_group_owner`."""
        await self._ask("transfer_group_owner", group_id=group_id, user=user, request_id=request_id)

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
        """Change the texts of a group; see `GroupOperations.set_group_info`."""
        await self._ask(
            "set_group_info",
            group_id=group_id,
            name=name,
            introduction=introduction,
            notification=notification,
            face_url=face_url,
            request_id=request_id,
        )

    async def set_group_member_info(
        self, group_id: str, user: str, *, name_card: str, request_id: str | None = None
    ) -> None:
        """Set a member's name card; see `GroupOperations.set_group_member_info`."""
        await self._ask(
            "set_group_member_info",
            group_id=group_id,
            user=user,
            name_card=name_card,
            request_id=request_id,
        )

    async def get_group_info(self, group_id: str) -> GroupInfo:
        """Return what is known of a group; see `GroupOperations.get_group_info`."""
        return _group(await self._ask("get_group_info", is_changing=False, group_id=group_id))

    async def get_joined_group_list(self) -> list[GroupInfo]:
        """Return the groups that the actor is a member of, in the order of joining."""
        return [_group(each) for each in await self._ask("get_joined_group_list", False)]

    async def get_group_member_list(
        self, group_id: str, *, role: Role | int | None = None, next_seq: int = 0, count: int = 50
    ) -> tuple[list[MemberInfo], int]:
        """Return a page of a group's members; see `GroupOperations.get_group_member_list`."""
        page = await self._ask(
            "get_group_member_list",
            False,
            group_id=group_id,
            next_seq=next_seq,
            count=count,
            role=role,
        )
        return [_member(each) for each in page.members], page.next_seq

    def add_group_listener(self, listener: GroupListener) -> None:
        """Add a listener, before the login or after; the same one twice counts once."""
        self._session.add_group_listener(listener)

    def remove_group_listener(self, listener: GroupListener) -> None:
        """Remove a listener; nothing of it is called once this has returned."""
        self._session.remove_group_listener(listener)

    async def _ask(self, method: str, is_changing: bool = True, **params: Any) -> Any:
        self._session._require()
        return await self._session._calls.ask(method, params, is_changing=is_changing)


def _group(fields: GroupFields) -> GroupInfo:
    return GroupInfo(
        fields.group_id,
        GroupType(fields.group_type),
        fields.owner,
        fields.name,
        fields.introduction,
        fields.notification,
        fields.face_url,
        fields.member_count,
        fields.created_ms,
    )


def _member(fields: MemberFields) -> MemberInfo:
    return MemberInfo(fields.user_id, Role(fields.role), fields.name_card, fields.joined_ms)
