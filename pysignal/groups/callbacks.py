"""What members hear of a change to their group: callbacks made from records, and the listener.

A pure function of the record and of who was a member just before it, so that what is heard can
never differ from what was kept. One row per kind of record; the audience is everybody who is a
member as of the change, with those who leave by it (SPEC §8). Which of their sessions acted, and
so hears nothing, the caller knows.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
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


def callbacks(record: GroupRecord, before_members: tuple[str, ...]) -> list[GroupCallback]:
    """Return what is to be called for a record, in order; nothing where it changes nothing.

    Args:
        record: the decision, applied or not.
        before_members: `Groups.members` of its group just before it is applied.
    """
    if record.changes_nothing:
        return []
    found = (make(record, before_members) for make in _MAKERS[record.kind])
    return [callback for part in found for callback in part if callback.audience]


def _stayers(record: GroupRecord, before: tuple[str, ...]) -> tuple[str, ...]:
    out = frozenset(leavers(record))
    return tuple(user for user in before if user not in out) if out else before


def _after(record: GroupRecord, before: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_stayers(record, before) + record.entrants))


def _created(record: GroupRecord, before: tuple[str, ...]) -> Iterator[GroupCallback]:
    yield _callback("on_group_created", record, audience=(record.actor,))
    invited = [user for user in record.users if user != record.actor]
    if invited:
        yield _callback(
            "on_member_invited",
            record,
            audience=_after(record, before),
            op_user=record.actor,
            member_list=invited,
        )


def _entered(record: GroupRecord, before: tuple[str, ...]) -> Iterator[GroupCallback]:
    yield _callback(
        "on_member_enter",
        record,
        audience=_after(record, before),
        member_list=list(record.users),
    )


def _invited(record: GroupRecord, before: tuple[str, ...]) -> Iterator[GroupCallback]:
    if record.users:
        yield _callback(
            "on_member_invited",
            record,
            audience=_after(record, before),
            op_user=record.actor,
            member_list=list(record.users),
        )


def _left(record: GroupRecord, before: tuple[str, ...]) -> Iterator[GroupCallback]:
    yield _callback(
        "on_member_leave", record, audience=_stayers(record, before), member=record.actor
    )
    yield _callback("on_quit_from_group", record, audience=(record.actor,))


def _kicked(record: GroupRecord, before: tuple[str, ...]) -> Iterator[GroupCallback]:
    out = leavers(record)
    if out:
        yield _callback(
            "on_member_kicked",
            record,
            audience=before,
            op_user=record.actor,
            member_list=list(out),
        )


def _dismissed(record: GroupRecord, before: tuple[str, ...]) -> Iterator[GroupCallback]:
    yield _callback("on_group_dismissed", record, audience=before, op_user=record.actor)


def _owner(record: GroupRecord, before: tuple[str, ...]) -> Iterator[GroupCallback]:
    # Where nobody has stayed nobody knew another owner.
    if record.owner is not None and _stayers(record, before):
        yield _callback(
            "on_group_info_changed",
            record,
            audience=_after(record, before),
            changes={"owner": record.owner},
        )


def _role(record: GroupRecord, before: tuple[str, ...]) -> Iterator[GroupCallback]:
    granted = record.role is Role.ADMIN
    yield _callback(
        "on_grant_administrator" if granted else "on_revoke_administrator",
        record,
        audience=before,
        op_user=record.actor,
        member_list=list(record.users),
    )


def _info(record: GroupRecord, before: tuple[str, ...]) -> Iterator[GroupCallback]:
    yield _callback("on_group_info_changed", record, audience=before, changes=dict(record.changes))


def _member_info(record: GroupRecord, before: tuple[str, ...]) -> Iterator[GroupCallback]:
    yield _callback(
        "on_member_info_changed",
        record,
        audience=before,
        changes={user: dict(record.changes) for user in record.users},
    )


def _callback(
    name: str, record: GroupRecord, *, audience: tuple[str, ...], **parameters: Any
) -> GroupCallback:
    return GroupCallback(name, {"group_id": record.group_id, **parameters}, audience)


_Maker = Callable[[GroupRecord, tuple[str, ...]], Iterator[GroupCallback]]

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
