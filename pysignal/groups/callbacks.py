"""What members hear of a change to their group: callbacks made from records, and the listener.

A pure function of the record, so that what is heard can never differ from what was kept. One row
per kind of record; the audience is everybody who is a member as of the change, with those who leave
by it (SPEC §8). It is named, not listed: whoever delivers knows which members are online, and a
group may have very many who are not. Which of their sessions acted, and so hears nothing, the
caller knows too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from enum import Enum
from inspect import signature
from typing import Any, Final, NamedTuple

from pysignal.groups.records import GroupRecord, RecordKind, leavers
from pysignal.groups.rules import Role


class GroupCallback(NamedTuple):
    """One call of every listener of every online session of some users.

    Attributes:
        name: the method of `GroupListener`.
        parameters: its arguments by name.
        audience: the users, in joining order, each once.
    """

    name: str
    parameters: dict[str, Any]
    audience: tuple[str, ...]


class GroupListener:
    """Override what you want to hear; each method can be a plain one or `async def`.

    The acting session hears nothing of what it did itself, the actor's other sessions do. `op_user`
    is the user whose operation it was, `""` for the server. Users are user IDs.
    """

    def on_group_created(self, group_id: str) -> Awaitable[None] | None:
        """Hear, on the creator's other sessions, that the group exists.

        Args:
            group_id: the new group.
        """
        return None

    def on_group_dismissed(self, group_id: str, op_user: str) -> Awaitable[None] | None:
        """Hear that the group has ended.

        Args:
            group_id: the group that was.
            op_user: who dismissed it.
        """
        return None

    def on_group_info_changed(
        self, group_id: str, changes: dict[str, str]
    ) -> Awaitable[None] | None:
        """Hear that texts of the group changed, or its owner.

        Args:
            group_id: the group.
            changes: the new values of what changed, by `name`, `introduction`, `notification`,
                `face_url` and `owner` (a user ID, `""` for none).
        """
        return None

    def on_member_enter(self, group_id: str, member_list: list[str]) -> Awaitable[None] | None:
        """Hear that users joined.

        Args:
            group_id: the group.
            member_list: who joined.
        """
        return None

    def on_member_leave(self, group_id: str, member: str) -> Awaitable[None] | None:
        """Hear that a member quit.

        Args:
            group_id: the group.
            member: who quit.
        """
        return None

    def on_quit_from_group(self, group_id: str) -> Awaitable[None] | None:
        """Hear, on the quitter's other sessions, that the user is no longer in the group.

        Args:
            group_id: the group that was left.
        """
        return None

    def on_member_invited(
        self, group_id: str, op_user: str, member_list: list[str]
    ) -> Awaitable[None] | None:
        """Hear that users were brought in; they hear it too.

        Args:
            group_id: the group.
            op_user: who brought them in.
            member_list: who came in, in joining order.
        """
        return None

    def on_member_kicked(
        self, group_id: str, op_user: str, member_list: list[str]
    ) -> Awaitable[None] | None:
        """Hear that members were removed; they hear it too, as the last of this group.

        Args:
            group_id: the group.
            op_user: who removed them.
            member_list: who was removed.
        """
        return None

    def on_member_info_changed(
        self, group_id: str, changes: dict[str, dict[str, str]]
    ) -> Awaitable[None] | None:
        """Hear that what the group knows of members changed.

        Args:
            group_id: the group.
            changes: by user ID, the new values of what changed, by `name_card`.
        """
        return None

    def on_grant_administrator(
        self, group_id: str, op_user: str, member_list: list[str]
    ) -> Awaitable[None] | None:
        """Hear that members became admins.

        Args:
            group_id: the group.
            op_user: the owner, who appointed them.
            member_list: who became an admin.
        """
        return None

    def on_revoke_administrator(
        self, group_id: str, op_user: str, member_list: list[str]
    ) -> Awaitable[None] | None:
        """Hear that admins became plain members.

        Args:
            group_id: the group.
            op_user: the owner, who revoked it.
            member_list: who is no admin any more.
        """
        return None


class Told(Enum):
    """Who hears a callback, of the members around a change; whoever acted is told apart."""

    BEFORE = "the members before it"
    STAYERS = "those of them who stay"
    AFTER = "the stayers, then who comes in"
    ACTOR = "whose operation it was, a member or not"


class GroupCall(NamedTuple):
    """One call of every listener of some members' online sessions.

    Attributes:
        name: the method of `GroupListener`.
        parameters: its arguments by name.
        told: which members.
    """

    name: str
    parameters: dict[str, Any]
    told: Told


def calls(record: GroupRecord, anybody_stays: bool) -> list[GroupCall]:
    """Return what is to be called for a record, in order; nothing where it changes nothing.

    Args:
        record: the decision, applied or not.
        anybody_stays: whether there is a member before it who does not leave by it.
    """
    if record.changes_nothing:
        return []
    return [call for make in _MAKERS[record.kind] for call in make(record, anybody_stays)]


def callbacks(record: GroupRecord, before_members: tuple[str, ...]) -> list[GroupCallback]:
    """Return `calls` with the users who hear each; those that nobody hears are left out.

    Args:
        record: the decision, applied or not.
        before_members: `Groups.members` of its group just before it is applied.
    """
    out = frozenset(leavers(record))
    stayers = tuple(user for user in before_members if user not in out)
    audiences = {
        Told.BEFORE: before_members,
        Told.STAYERS: stayers,
        Told.AFTER: tuple(dict.fromkeys(stayers + record.entrants)),
        Told.ACTOR: (record.actor,),
    }
    found = calls(record, bool(stayers))
    made = [GroupCallback(name, parameters, audiences[told]) for name, parameters, told in found]
    return [callback for callback in made if callback.audience]


def _created(record: GroupRecord, anybody_stays: bool) -> Iterator[GroupCall]:
    yield _call("on_group_created", record, Told.ACTOR)
    invited = [user for user in record.users if user != record.actor]
    if invited:
        yield _call(
            "on_member_invited", record, Told.AFTER, op_user=record.actor, member_list=invited
        )


def _entered(record: GroupRecord, anybody_stays: bool) -> Iterator[GroupCall]:
    yield _call("on_member_enter", record, Told.AFTER, member_list=list(record.users))


def _invited(record: GroupRecord, anybody_stays: bool) -> Iterator[GroupCall]:
    if record.users:
        yield _call(
            "on_member_invited",
            record,
            Told.AFTER,
            op_user=record.actor,
            member_list=list(record.users),
        )


def _left(record: GroupRecord, anybody_stays: bool) -> Iterator[GroupCall]:
    yield _call("on_member_leave", record, Told.STAYERS, member=record.actor)
    yield _call("on_quit_from_group", record, Told.ACTOR)


def _kicked(record: GroupRecord, anybody_stays: bool) -> Iterator[GroupCall]:
    out = leavers(record)
    if out:
        yield _call(
            "on_member_kicked", record, Told.BEFORE, op_user=record.actor, member_list=list(out)
        )


def _dismissed(record: GroupRecord, anybody_stays: bool) -> Iterator[GroupCall]:
    yield _call("on_group_dismissed", record, Told.BEFORE, op_user=record.actor)


def _owner(record: GroupRecord, anybody_stays: bool) -> Iterator[GroupCall]:
    # Where nobody has stayed nobody knew another owner.
    if record.owner is not None and anybody_stays:
        yield _call("on_group_info_changed", record, Told.AFTER, changes={"owner": record.owner})


def _role(record: GroupRecord, anybody_stays: bool) -> Iterator[GroupCall]:
    granted = record.role is Role.ADMIN
    yield _call(
        "on_grant_administrator" if granted else "on_revoke_administrator",
        record,
        Told.BEFORE,
        op_user=record.actor,
        member_list=list(record.users),
    )


def _info(record: GroupRecord, anybody_stays: bool) -> Iterator[GroupCall]:
    yield _call("on_group_info_changed", record, Told.BEFORE, changes=dict(record.changes))


def _member_info(record: GroupRecord, anybody_stays: bool) -> Iterator[GroupCall]:
    yield _call(
        "on_member_info_changed",
        record,
        Told.BEFORE,
        changes={user: dict(record.changes) for user in record.users},
    )


def _call(name: str, record: GroupRecord, told: Told, **parameters: Any) -> GroupCall:
    return GroupCall(name, {"group_id": record.group_id, **parameters}, told)


# The parameters of each callback, in their order.
PARAMETERS: Final[Mapping[str, tuple[str, ...]]] = {
    name: tuple(signature(method).parameters)[1:]
    for name, method in vars(GroupListener).items()
    if name.startswith("on_")
}

_Maker = Callable[[GroupRecord, bool], Iterator[GroupCall]]

_MAKERS: Final[Mapping[RecordKind, tuple[_Maker, ...]]] = {
    RecordKind.CREATED: (_created,),
    RecordKind.JOINED: (_entered,),
    RecordKind.LEFT: (_left, _owner),
    RecordKind.KICKED: (_kicked,),
    RecordKind.DISMISSED: (_dismissed,),
    RecordKind.INVITED: (_invited,),
    RecordKind.ROLE_SET: (_role,),
    RecordKind.OWNER_SET: (_owner,),
    RecordKind.INFO_SET: (_info,),
    RecordKind.MEMBER_INFO_SET: (_member_info,),
    RecordKind.PUT: (_kicked, _invited, _owner),
    RecordKind.ADDED: (_invited,),
    RecordKind.REMOVED: (_kicked, _owner),
}
