"""The operations on groups (SPEC §8): of a session, and of the embedding server.

What may be done is decided in `decisions`; here parameters are taken apart, and the command goes
the same way as those on invitations, so that "is a member" has one answer at each point.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pysignal import text
from pysignal.errors import InvalidParameter, NoSuchGroup
from pysignal.groups.callbacks import GroupListener
from pysignal.groups.decisions import GroupInfo, Groups, GroupType, MemberInfo, Role
from pysignal.groups.records import GroupRecord

if TYPE_CHECKING:
    from pysignal.hub import Hub
    from pysignal.invitation import Actor

MEMBERS_PER_PAGE_MAX = 100


class GroupOperations:
    """The operations on groups, for one actor."""

    def __init__(self, actor: Actor) -> None:
        self._actor = actor

    async def create_group(
        self,
        group_type: GroupType | str,
        group_id: str | None = None,
        name: str = "",
        *,
        member_list: Sequence[str] = (),
        request_id: str | None = None,
    ) -> str:
        """Create a group whose owner the actor is, and return its ID.

        Args:
            group_type: Work, Public, Meeting, AVChatRoom or Community.
            group_id: 1 to 128 bytes; one is made up for None.
            name: for people, at most 100 bytes.
            member_list: further members, where the type lets its members be invited.
            request_id: a retry with the same one returns the first result.

        Raises:
            GroupIdTaken, InvalidParameter, LimitExceeded, NoGroupPermission, NotLoggedIn.
        """
        actor = self._actor
        groups = self._groups
        if group_id is not None:
            group_id = text.group_id(group_id)
        members = text.user_ids(member_list, "member_list")

        record = await self._change(
            request_id,
            ("create_group", group_type, group_id, name, members),
            groups.create,
            actor.user_id,
            group_type,
            group_id or f"group-{secrets.token_hex(8)}",
            name=name,
            members=members,
            time_ms=actor.hub.now_ms,
        )
        return record.group_id

    async def join_group(self, group_id: str, *, request_id: str | None = None) -> None:
        """Join a group whose type lets anybody in.

        Raises:
            InvalidParameter, InvitationRequired, LimitExceeded, NoGroupPermission, NoSuchGroup,
            NotLoggedIn.
        """
        groups = self._groups
        await self._simple("join_group", groups.join, group_id, request_id=request_id, timed=True)

    async def quit_group(self, group_id: str, *, request_id: str | None = None) -> None:
        """Leave a group. Pending invitations in it count as rejected, own ones are cancelled.

        Raises:
            InvalidParameter, NoGroupPermission, NoSuchGroup, NotLoggedIn, OwnerMayNotQuit.
        """
        groups = self._groups
        await self._simple("quit_group", groups.quit, group_id, request_id=request_id)

    async def dismiss_group(self, group_id: str, *, request_id: str | None = None) -> None:
        """End a group as its owner. Its open invitations are cancelled.

        Raises:
            InvalidParameter, NoGroupPermission, NoSuchGroup, NotLoggedIn.
        """
        groups = self._groups
        await self._simple("dismiss_group", groups.dismiss, group_id, request_id=request_id)

    async def kick_group_member(
        self, group_id: str, user: str | Sequence[str], *, request_id: str | None = None
    ) -> None:
        """Remove members of a lower role from a group.

        Raises:
            InvalidParameter, NoGroupPermission, NoSuchGroup, NotLoggedIn.
        """
        groups = self._groups
        users = _at_least_one(user, "user")
        await self._simple("kick_group_member", groups.kick, group_id, users, request_id=request_id)

    async def invite_user_to_group(
        self, group_id: str, user_list: Sequence[str], *, request_id: str | None = None
    ) -> dict[str, bool]:
        """Make users members of a group, where the type allows the actor to.

        Returns:
            For each user, whether they were added; False for who was a member already.

        Raises:
            InvalidParameter, LimitExceeded, NoGroupPermission, NoSuchGroup, NotLoggedIn.
        """
        groups = self._groups
        users = _at_least_one(user_list, "user_list")
        record = await self._simple(
            "invite_user_to_group",
            groups.invite_users,
            group_id,
            users,
            request_id=request_id,
            timed=True,
        )
        return record.added()

    async def set_group_member_role(
        self, group_id: str, user: str, role: Role | int, *, request_id: str | None = None
    ) -> None:
        """Grant or revoke a member's administration as the owner.

        Raises:
            InvalidParameter, NoGroupPermission, NoSuchGroup, NotLoggedIn.
        """
        groups = self._groups
        group_id, user = text.group_id(group_id), text.user_id(user, "user")
        await self._simple(
            "set_group_member_role", groups.set_role, group_id, user, role, request_id=request_id
        )

    async def transfer_group_owner(
        self, group_id: str, user: str, *, request_id: str | None = None
    ) -> None:
        """Make another member the owner.

        Raises:
            InvalidParameter, NoGroupPermission, NoSuchGroup, NotLoggedIn.
        """
        groups = self._groups
        group_id, user = text.group_id(group_id), text.user_id(user, "user")
        await self._simple(
            "transfer_group_owner", groups.transfer_owner, group_id, user, request_id=request_id
        )

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
        """Change the texts of a group; None leaves one as it is.

        Raises:
            InvalidParameter, NoGroupPermission, NoSuchGroup, NotLoggedIn.
        """
        groups = self._groups
        await self._simple(
            "set_group_info",
            groups.set_info,
            group_id,
            request_id=request_id,
            name=name,
            introduction=introduction,
            notification=notification,
            face_url=face_url,
        )

    async def set_group_member_info(
        self, group_id: str, user: str, *, name_card: str, request_id: str | None = None
    ) -> None:
        """Set a member's name card: one's own, or that of a lower role.

        Raises:
            InvalidParameter, NoGroupPermission, NoSuchGroup, NotLoggedIn.
        """
        groups = self._groups
        group_id, user = text.group_id(group_id), text.user_id(user, "user")
        await self._simple(
            "set_group_member_info",
            groups.set_member_info,
            group_id,
            user,
            request_id=request_id,
            name_card=name_card,
        )

    async def get_group_info(self, group_id: str) -> GroupInfo:
        """Return what is known of a group.

        Raises:
            InvalidParameter, NoSuchGroup, NotLoggedIn.
        """
        self._actor._require()
        hub = self._actor.hub
        info: GroupInfo = await hub._perform(_group_info, hub, text.group_id(group_id))
        return info

    async def get_joined_group_list(self) -> list[GroupInfo]:
        """Return the groups that the actor is a member of, in the order of joining."""
        self._actor._require()
        hub = self._actor.hub
        infos: list[GroupInfo] = await hub._perform(_joined, hub, self._actor.user_id)
        return infos

    async def get_group_member_list(
        self, group_id: str, *, role: Role | int | None = None, next_seq: int = 0, count: int = 50
    ) -> tuple[list[MemberInfo], int]:
        """Return a page of a group's members, in the order of joining.

        Args:
            group_id: a group whose member the actor is.
            role: only members of this role; None for all.
            next_seq: 0, then what the page before gave.
            count: members in a page, 1 to 100.

        Returns:
            (members, next_seq of the page after; 0 after the last).

        Raises:
            InvalidParameter, NoGroupPermission, NoSuchGroup, NotLoggedIn.
        """
        self._actor._require()
        group_id = text.group_id(group_id)
        _check_range("next_seq", next_seq, 0, 1 << 62)
        _check_range("count", count, 1, MEMBERS_PER_PAGE_MAX)
        if role is not None and (isinstance(role, bool) or role not in tuple(Role)):
            raise InvalidParameter("role", f"200, 300, 400 or None, not {role!r}")
        hub = self._actor.hub
        page: tuple[list[MemberInfo], int] = await hub._perform(
            _member_page, hub, self._actor.user_id, group_id, role, next_seq, count
        )
        return page

    def add_group_listener(self, listener: GroupListener) -> None:
        """Add a listener, before the login or after; the same one twice counts once."""
        self._session().add_group_listener(listener)

    def remove_group_listener(self, listener: GroupListener) -> None:
        """Remove a listener; nothing of it is called once this has returned."""
        self._session().remove_group_listener(listener)

    @property
    def _groups(self) -> Groups:
        """The groups to decide on; who is not logged in is refused before anything else."""
        self._actor._require()
        return self._actor.hub.shard.groups

    def _session(self) -> Any:
        session: Any = self._actor
        if not hasattr(session, "add_group_listener"):
            raise InvalidParameter("listener", "an act of the server has no listeners: log in")
        return session

    async def _simple(
        self,
        operation: str,
        decide: Callable[..., GroupRecord],
        group_id: str,
        *args: Any,
        request_id: str | None,
        timed: bool = False,
        **options: Any,
    ) -> GroupRecord:
        """Change a group by a deciding method that takes the actor and the group first."""
        actor = self._actor
        group_id = text.group_id(group_id)

        arguments = (operation, group_id, *args, *sorted(options.items()))
        if timed:
            options["time_ms"] = actor.hub.now_ms
        return await self._change(
            request_id, arguments, decide, actor.user_id, group_id, *args, **options
        )

    async def _change(
        self,
        request_id: str | None,
        arguments: tuple[Any, ...],
        decide: Callable[..., GroupRecord],
        *args: Any,
        **options: Any,
    ) -> GroupRecord:
        actor = self._actor
        hub = actor.hub
        command: Callable[..., Any] = hub.shard.change_group
        if request_id is not None:
            command = hub._requests.once(actor.user_id, request_id, arguments, command)
        record: GroupRecord = await hub._perform(
            command, actor.user_id, actor.device_number, decide, args, options
        )
        return record


class ServerGroups:
    """Groups whose members the embedding server owns, without the rules of types (SPEC §2)."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def put(self, group_id: str, members: Sequence[str], owner: str = "") -> None:
        """Create a group, or replace the members of one that the server made.

        Who is dropped leaves the group as a kicked member does: their pending invitations in it
        count as rejected, their own are cancelled.

        Args:
            group_id: the group.
            members: users, in the order of joining.
            owner: one of the members, who may then kick and dismiss; `""` for nobody.

        Raises:
            GroupIdTaken: a session made a group of this ID.
            HubClosed, InvalidParameter.
        """
        await self._change(
            self._groups.put,
            text.group_id(group_id),
            text.user_ids(members, "members"),
            owner,
            time_ms=self._hub.now_ms,
        )

    async def add(self, group_id: str, users: Sequence[str]) -> None:
        """Make users members of a group of any type.

        Raises:
            HubClosed, InvalidParameter, NoSuchGroup.
        """
        await self._change(
            self._groups.add,
            text.group_id(group_id),
            _users(users, "users"),
            time_ms=self._hub.now_ms,
        )

    async def remove(self, group_id: str, users: Sequence[str]) -> None:
        """Remove users from a group of any type, as kicking does.

        Raises:
            HubClosed, InvalidParameter, NoSuchGroup.
        """
        await self._change(self._groups.remove, text.group_id(group_id), _users(users, "users"))

    async def dismiss(self, group_id: str) -> None:
        """End a group of any type. Its open invitations are cancelled.

        Raises:
            HubClosed, InvalidParameter, NoSuchGroup.
        """
        await self._change(self._groups.dismiss_by_server, text.group_id(group_id))

    async def members(self, group_id: str) -> list[str]:
        """Return the members of a group, in the order of joining; empty where there is none."""
        self._hub._require()
        members: list[str] = await self._hub._perform(_members, self._hub, text.group_id(group_id))
        return members

    async def _change(self, decide: Callable[..., GroupRecord], *args: Any, **options: Any) -> None:
        await self._hub._perform(self._hub.shard.change_group, "", 0, decide, args, options)

    @property
    def _groups(self) -> Groups:
        self._hub._require()
        return self._hub.shard.groups


def _check_range(parameter: str, value: object, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidParameter(parameter, f"a number from {least} to {most}, not {value!r}")


def _users(users: Any, parameter: str) -> tuple[str, ...]:
    if isinstance(users, str):
        users = (users,)
    return text.user_ids(users, parameter)


def _at_least_one(users: Any, parameter: str) -> tuple[str, ...]:
    found = _users(users, parameter)
    if not found:
        raise InvalidParameter(parameter, "is empty; name at least one user")
    return found


def _group_info(now_ms: int, hub: Hub, group_id: str) -> GroupInfo:
    info = hub.shard.groups.get(group_id)
    if info is None:
        raise NoSuchGroup(f"group {group_id!r} does not exist", group_id=group_id)
    return info


def _joined(now_ms: int, hub: Hub, user: str) -> list[GroupInfo]:
    groups = hub.shard.groups
    infos = [groups.get(group_id) for group_id in groups.joined(user)]
    return [info for info in infos if info is not None]


def _members(now_ms: int, hub: Hub, group_id: str) -> list[str]:
    return list(hub.shard.groups.members(group_id))


def _member_page(
    now_ms: int,
    hub: Hub,
    user: str,
    group_id: str,
    role: Role | int | None,
    next_seq: int,
    count: int,
) -> tuple[list[MemberInfo], int]:
    hub.shard.require_member(user, group_id)
    return hub.shard.groups.member_page(group_id, role, next_seq, count)
