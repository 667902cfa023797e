"""Groups: who may change them, decided first, recorded, and only then applied.

A deterministic state machine beside the invitations' one: no clock, no I/O, no randomness. Every
deciding method only looks: it checks the operation against the state and the table of types,
raises or returns the `GroupRecord` that says what is to become true. The caller keeps the record
and applies it; between the two nothing may be decided about the same group. That order is what
lets a journal, a second node or a test replay a history without asking again whether it was
allowed.

Checks run in one order (SPEC §8): parameters (6017), the group exists (10010), the rest. What is
so already is no error: joining twice or inviting a member gives a record that `changes_nothing`,
so that a retry ends as the first try did. The acting user is taken as given, checked at login.

`put`, `add`, `remove` and `dismiss_by_server` are acts of the embedding server, without the rules
of types and their limits. `put` makes groups of a type of their own, `Server` (see `rules`);
the others work on every group. A group that sessions made always has an owner: when the server
removes the owner, the longest-standing member follows, and when it removes everyone, the group
ends.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NoReturn

from pysignal import text
from pysignal.errors import (
    GroupIdTaken,
    InvalidParameter,
    LimitExceeded,
    NoGroupPermission,
    NoSuchGroup,
    OwnerMayNotQuit,
)
from pysignal.groups.records import GroupRecord, RecordKind, leavers
from pysignal.groups.rules import (
    ENTRY_REFUSED,
    INFO_BYTES_MAX,
    NAME_CARD_BYTES_MAX,
    RULES,
    Entry,
    GroupLimits,
    GroupType,
    OwnerQuit,
    Role,
    Rules,
)
from pysignal.groups.state import Group, GroupInfo, GroupState, Member, MemberInfo

__all__ = [
    "RULES",
    "GroupInfo",
    "GroupLimits",
    "GroupRecord",
    "GroupType",
    "Groups",
    "MemberInfo",
    "OwnerQuit",
    "RecordKind",
    "Role",
    "Rules",
    "leavers",
]


class Groups(GroupState):
    """All groups of a shard, and the decisions about them.

    Args:
        limits: the most members that a group of a type may have, at least 1, `None` for no limit;
            types that are absent keep the limits of SPEC §8. Limits bind only who comes in later.
    """

    def __init__(self, limits: GroupLimits | None = None) -> None:
        super().__init__()
        self._members_max = {kind: rules.members_max for kind, rules in RULES.items()}
        for kind, members_max in (limits or {}).items():
            if members_max is not None and members_max < 1:
                raise InvalidParameter("limits", f"{kind} groups have room for at least 1 member")
            self._members_max[GroupType(kind)] = members_max

    def create(
        self,
        actor: str,
        group_type: str,
        group_id: str,
        *,
        name: str = "",
        members: Collection[str] = (),
        time_ms: int = 0,
    ) -> GroupRecord:
        """Decide on a new group that `actor` owns.

        Args:
            actor: the creator.
            group_type: a `GroupType` other than `SERVER`, or its text.
            group_id: a group ID that is not taken.
            name: at most 100 bytes of UTF-8.
            members: a list or tuple of who else is in from the start, in joining order.
            time_ms: engine time, milliseconds since the epoch.

        Raises:
            GroupIdTaken: there is a group of this ID.
            NoGroupPermission: initial members for a type that nobody can be brought into.
            LimitExceeded: more members than the type has room for.
        """
        kind = _creatable(group_type)
        group_id = text.group_id(group_id)
        changes = _texts({"name": name})
        users = tuple(dict.fromkeys((actor, *text.user_ids(members, "members"))))
        if self.exists(group_id):
            raise GroupIdTaken(
                f"group {group_id!r} exists already; choose another ID", group_id=group_id
            )
        if len(users) > 1 and not RULES[kind].initial_members:
            raise NoGroupPermission(
                f"group {group_id!r}: a group of type {kind} begins with its owner alone; create "
                "it without members and let them join",
                group_id=group_id,
            )
        self._check_room(group_id, kind, 0, len(users))
        return GroupRecord(
            RecordKind.CREATED,
            group_id,
            actor,
            users,
            group_type=kind,
            owner=actor,
            changes=tuple(change for change in changes if change[1]),
            time_ms=time_ms,
        )

    def join(self, actor: str, group_id: str, *, time_ms: int = 0) -> GroupRecord:
        """Decide on `actor` coming in alone. A member stays one, whatever the type.

        Raises:
            InvitationRequired: a Work group.
            NoGroupPermission: a type that is not joined freely.
            LimitExceeded: the group is full.
        """
        group = self._existing(group_id)
        if actor in group.members:
            return GroupRecord(RecordKind.JOINED, group.group_id, actor, already=(actor,))
        entry = RULES[group.group_type].entry
        if entry is not Entry.FREE:
            error, why = ENTRY_REFUSED[entry]
            raise error(
                f"group {group.group_id!r} of type {group.group_type} {why}",
                group_id=group.group_id,
            )
        self._check_room(group.group_id, group.group_type, len(group.members), 1)
        return GroupRecord(RecordKind.JOINED, group.group_id, actor, (actor,), time_ms=time_ms)

    def quit(self, actor: str, group_id: str) -> GroupRecord:
        """Decide on `actor` leaving. The owner of a Work group leaves it to an heir, or ends it.

        Raises:
            NoGroupPermission: not a member.
            OwnerMayNotQuit: the owner, in a type whose owner stays.
        """
        group = self._existing(group_id)
        _member(group, actor)
        owner, dismissed = None, False
        if actor == group.owner:
            if RULES[group.group_type].owner_quit is OwnerQuit.REFUSED:
                raise OwnerMayNotQuit(
                    f"group {group.group_id!r}: the owner of a group of type {group.group_type} "
                    "cannot quit; transfer or dismiss it",
                    group_id=group.group_id,
                )
            owner, dismissed = _succession(group, {actor})
        return GroupRecord(
            RecordKind.LEFT, group.group_id, actor, (actor,), owner=owner, dismissed=dismissed
        )

    def kick(self, actor: str, group_id: str, users: Collection[str]) -> GroupRecord:
        """Decide on removing `users`, a list or tuple of at least one: all of them or nobody.

        Raises:
            NoGroupPermission: the actor's role is too low, or one of the users is no member, not
                of a lower role, or the actor.
        """
        wanted = _at_least_one(users)
        group = self._existing(group_id)
        role = _allowed(group, actor, RULES[group.group_type].kick, "kick members").role
        for user in wanted:
            _check_lower(group, actor, role, user)
        return GroupRecord(RecordKind.KICKED, group.group_id, actor, wanted)

    def dismiss(self, actor: str, group_id: str) -> GroupRecord:
        """Decide on ending the group.

        Raises:
            NoGroupPermission: not its owner.
        """
        group = self._existing(group_id)
        _allowed(group, actor, RULES[group.group_type].dismiss, "dismiss it")
        return GroupRecord(RecordKind.DISMISSED, group.group_id, actor, dismissed=True)

    def invite_users(
        self, actor: str, group_id: str, users: Collection[str], *, time_ms: int = 0
    ) -> GroupRecord:
        """Decide on bringing `users` in, a list or tuple of at least one; they are not asked.

        Who is a member already is left out; `added()` of the record tells user by user.

        Raises:
            NoGroupPermission: not a member, or the role is too low for this type.
            LimitExceeded: not all of them find room; nobody comes in.
        """
        wanted = _at_least_one(users)
        group = self._existing(group_id)
        _allowed(group, actor, RULES[group.group_type].invite, "invite users to it")
        record = _bring_in(RecordKind.INVITED, group, actor, wanted, time_ms)
        self._check_room(group.group_id, group.group_type, len(group.members), len(record.users))
        return record

    def set_role(self, actor: str, group_id: str, user: str, role: int) -> GroupRecord:
        """Decide on making `user` an admin (300) or a plain member (200).

        Raises:
            NoGroupPermission: not the owner, a type without admins, or `user` is no member, or
                the actor.
        """
        user = text.user_id(user, "user")
        if role not in (Role.MEMBER, Role.ADMIN):
            raise InvalidParameter(
                "role", "expected 200 (member) or 300 (admin); an owner is made by a transfer"
            )
        group = self._existing(group_id)
        rank = _allowed(group, actor, Role.OWNER, "set roles").role
        if not RULES[group.group_type].has_admins:
            _refuse(group, f"a group of type {group.group_type} has no admins")
        target = _check_lower(group, actor, rank, user)
        users = () if target.role == role else (user,)
        return GroupRecord(RecordKind.ROLE_SET, group.group_id, actor, users, role=Role(role))

    def transfer_owner(self, actor: str, group_id: str, user: str) -> GroupRecord:
        """Decide on making `user` the owner; the one until then becomes a plain member.

        Raises:
            NoGroupPermission: not the owner, a type that stays with its owner, or `user` is no
                member, or the actor.
        """
        user = text.user_id(user, "user")
        group = self._existing(group_id)
        rank = _allowed(group, actor, Role.OWNER, "transfer it").role
        if not RULES[group.group_type].transferable:
            _refuse(group, f"the owner of a group of type {group.group_type} cannot transfer it")
        _check_lower(group, actor, rank, user)
        return GroupRecord(RecordKind.OWNER_SET, group.group_id, actor, (user,), owner=user)

    def set_info(
        self,
        actor: str,
        group_id: str,
        *,
        name: str | None = None,
        introduction: str | None = None,
        notification: str | None = None,
        face_url: str | None = None,
    ) -> GroupRecord:
        """Decide on new texts of the group; `None` leaves one as it is, `""` clears it.

        At most 100, 400, 400 and 500 bytes of UTF-8. The record has only what differs.

        Raises:
            NoGroupPermission: not a member, or the role is too low for this type.
        """
        given = {
            "name": name,
            "introduction": introduction,
            "notification": notification,
            "face_url": face_url,
        }
        texts = _texts(given)
        if not texts:
            raise InvalidParameter("changes", f"nothing to set; name one of {', '.join(given)}")
        group = self._existing(group_id)
        _allowed(group, actor, RULES[group.group_type].set_info, "change its information")
        changes = tuple(
            (field, value) for field, value in texts if group.info.get(field, "") != value
        )
        return GroupRecord(RecordKind.INFO_SET, group.group_id, actor, changes=changes)

    def set_member_info(
        self, actor: str, group_id: str, user: str, *, name_card: str
    ) -> GroupRecord:
        """Decide on the name that `user` has in the group, at most 50 bytes of UTF-8.

        Members set their own; admins and owners also that of members of a lower role.

        Raises:
            NoGroupPermission: one of both is no member, or the role is too low.
        """
        user = text.user_id(user, "user")
        name_card = text.label(name_card, "name_card", NAME_CARD_BYTES_MAX)
        group = self._existing(group_id)
        target = _member(group, actor)
        if user != actor:
            rank = _allowed(group, actor, Role.ADMIN, "change others' name cards").role
            target = _check_lower(group, actor, rank, user)
        if target.name_card == name_card:
            return GroupRecord(RecordKind.MEMBER_INFO_SET, group.group_id, actor)
        return GroupRecord(
            RecordKind.MEMBER_INFO_SET,
            group.group_id,
            actor,
            (user,),
            changes=(("name_card", name_card),),
        )

    def put(
        self, group_id: str, members: Collection[str], owner: str = "", *, time_ms: int = 0
    ) -> GroupRecord:
        """Decide on a group of the server having these members, and this owner or none.

        A group that is new begins so; in one that was put before, who is in `members` comes in or
        keeps the place and the name card, and who isn't goes out.

        Args:
            group_id: of no group, or of one that was put.
            members: a list or tuple in joining order; the owner need not be in it.
            owner: a user, `""` for none.
            time_ms: engine time, milliseconds since the epoch.

        Raises:
            GroupIdTaken: the group was made by a session; its members' rules stay theirs.
        """
        group_id = text.group_id(group_id)
        wanted = text.user_ids(members, "members")
        if owner != "":
            owner = text.user_id(owner, "owner")
            wanted = wanted if owner in wanted else (owner, *wanted)
        group = self._groups.get(group_id)
        if group is None:
            return GroupRecord(
                RecordKind.PUT,
                group_id,
                "",
                wanted,
                group_type=GroupType.SERVER,
                owner=owner or None,
                time_ms=time_ms,
            )
        if group.group_type is not GroupType.SERVER:
            raise GroupIdTaken(
                f"group {group_id!r} was made by a session and has type {group.group_type}; "
                "use add and remove, or another ID",
                group_id=group_id,
            )
        kept = set(wanted)
        return GroupRecord(
            RecordKind.PUT,
            group_id,
            "",
            tuple(user for user in wanted if user not in group.members),
            removed=tuple(user for user in group.members if user not in kept),
            owner=None if owner == group.owner else owner,
            time_ms=time_ms,
        )

    def add(self, group_id: str, users: Collection[str], *, time_ms: int = 0) -> GroupRecord:
        """Decide, as the server, on bringing `users` in; members are left out. No limit holds."""
        wanted = text.user_ids(users, "users")
        return _bring_in(RecordKind.ADDED, self._existing(group_id), "", wanted, time_ms)

    def remove(self, group_id: str, users: Collection[str]) -> GroupRecord:
        """Decide, as the server, on taking `users` out; who is no member is left out.

        A group that sessions made passes to its longest-standing member with the owner removed,
        and ends with its last member removed.
        """
        wanted = text.user_ids(users, "users")
        group = self._existing(group_id)
        going = tuple(user for user in wanted if user in group.members)
        owner, dismissed = _succession(group, set(going))
        return GroupRecord(
            RecordKind.REMOVED, group.group_id, "", going, owner=owner, dismissed=dismissed
        )

    def dismiss_by_server(self, group_id: str) -> GroupRecord:
        """Decide, as the server, on ending a group of any type."""
        group = self._existing(group_id)
        return GroupRecord(RecordKind.DISMISSED, group.group_id, "", dismissed=True)

    def _existing(self, group_id: str) -> Group:
        """Return the group, after the check of its ID, or raise that there is none."""
        group_id = text.group_id(group_id)
        group = self._groups.get(group_id)
        if group is None:
            raise NoSuchGroup(
                f"group {group_id!r} does not exist; it was dismissed, or never created",
                group_id=group_id,
            )
        return group

    def _check_room(self, group_id: str, kind: GroupType, count: int, entering: int) -> None:
        members_max = self._members_max[kind]
        if members_max is not None and entering and count + entering > members_max:
            raise LimitExceeded(
                f"group {group_id!r}: {count} members and {entering} more, but a group of type "
                f"{kind} has room for {members_max}",
                group_id=group_id,
                members_max=members_max,
            )


def _creatable(group_type: object) -> GroupType:
    """Return the type that a session may create, from the enum or its text."""
    creatable = [kind for kind in GroupType if kind is not GroupType.SERVER]
    for kind in creatable:
        if group_type == kind:
            return kind
    raise InvalidParameter("group_type", f"{group_type!r:.60} is none of {', '.join(creatable)}")


def _texts(given: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return the checked texts of a group that were given, `None` standing for not given."""
    return tuple(
        (field, text.label(value, field, INFO_BYTES_MAX[field]))
        for field, value in given.items()
        if value is not None
    )


def _at_least_one(users: object) -> tuple[str, ...]:
    wanted = text.user_ids(users, "users")
    if not wanted:
        raise InvalidParameter("users", "is empty; name at least one user")
    return wanted


def _member(group: Group, user: str) -> Member:
    member = group.members.get(user)
    if member is None:
        _refuse(group, f"user {user!r} is not a member", user=user)
    return member


def _allowed(group: Group, actor: str, lowest: Role | None, act: str) -> Member:
    """Return the actor's membership, or raise that the actor may not `act` on the group."""
    member = _member(group, actor)
    if lowest is None:
        _refuse(group, f"no member of a group of type {group.group_type} can {act}", user=actor)
    if member.role < lowest:
        _refuse(
            group,
            f"user {actor!r} has role {member.role.value} and cannot {act}; that takes role "
            f"{lowest.value}",
            user=actor,
        )
    return member


def _check_lower(group: Group, actor: str, rank: Role, user: str) -> Member:
    """Return the membership of a target other than the actor and of a role below `rank`."""
    if user == actor:
        _refuse(group, f"user {actor!r} cannot do this to oneself", user=user)
    member = _member(group, user)
    if member.role >= rank:
        _refuse(group, f"user {user!r} has no lower role than user {actor!r}", user=user)
    return member


def _bring_in(
    kind: RecordKind, group: Group, actor: str, users: tuple[str, ...], time_ms: int
) -> GroupRecord:
    return GroupRecord(
        kind,
        group.group_id,
        actor,
        tuple(user for user in users if user not in group.members),
        already=tuple(user for user in users if user in group.members),
        time_ms=time_ms,
    )


def _succession(group: Group, leaving: Collection[str]) -> tuple[str | None, bool]:
    """Return who owns the group once `leaving` are out, `None` for no change, and if it ends."""
    if group.owner not in leaving:
        return None, False
    if RULES[group.group_type].owner_quit is OwnerQuit.OWNERLESS:
        return "", False
    heir = next((user for user in group.members if user not in leaving), None)
    return heir, heir is None


def _refuse(group: Group, why: str, **details: Any) -> NoReturn:
    raise NoGroupPermission(f"group {group.group_id!r}: {why}", group_id=group.group_id, **details)
