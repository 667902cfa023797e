"""Groups as they are: the state, its queries, and `apply`, the only way to change it.

This half judges nothing. It takes records that were decided elsewhere (`decisions`, or a journal
written last year) and does as they say; what a record asks for that is so already is skipped, so
that applying cannot fail and the same history gives the same state in every process.

Two indexes: members by group, users' groups by user, each a dict, so that membership is one lookup
and both stay in joining order. One counter numbers memberships over all groups; it is what lets a
snapshot restore the order in which a user joined several groups.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import islice
from operator import itemgetter, length_hint
from typing import Any, Final

from pysignal.groups.records import GroupRecord, RecordKind, leavers
from pysignal.groups.rules import GroupType, Role

IMAGE_VERSION: Final = 1

_POSITION = itemgetter(0)


@dataclass(frozen=True, slots=True)
class Member:
    """What there is to a membership; one object may stand for all who came in together."""

    role: Role
    joined_ms: int
    name_card: str = ""


@dataclass(slots=True)
class Group:
    """One group, as the state holds it.

    Attributes:
        members: in joining order.
        positions: of the same users, in the same order: counts the memberships of all groups, in
            the order in which they began.
        disbanding: whose lists of groups still name this one, while it ends.
    """

    group_id: str
    group_type: GroupType
    created_ms: int
    owner: str = ""
    info: dict[str, str] = field(default_factory=dict)
    members: dict[str, Member] = field(default_factory=dict)
    positions: dict[str, int] = field(default_factory=dict)
    disbanding: Iterator[str] | None = None


@dataclass(frozen=True, slots=True)
class GroupInfo:
    """What there is to read about a group, as of the moment of asking.

    `owner` is `""` only for a group of the server that has none; `created_ms` is engine time.
    """

    group_id: str
    group_type: GroupType
    owner: str
    name: str
    introduction: str
    notification: str
    face_url: str
    member_count: int
    created_ms: int


@dataclass(frozen=True, slots=True)
class MemberInfo:
    """What there is to read about one member, as of the moment of asking."""

    user_id: str
    role: Role
    name_card: str
    joined_ms: int


class GroupState:
    """All groups of a shard. Deterministic: no clock, no randomness, no I/O."""

    def __init__(self) -> None:
        self._groups: dict[str, Group] = {}
        # The only group of a user, or all of them in the order of joining by their IDs: the same
        # objects as in `_groups`. Most are in one; a user who is in no group has no entry.
        self._joined: dict[str, Group | dict[str, Group]] = {}
        self._next_position = 0

    def __len__(self) -> int:
        return len(self._groups)

    def get(self, group_id: str) -> GroupInfo | None:
        """Return what there is to read about a group, or `None` if there is no such group."""
        group = self._groups.get(group_id)
        if group is None:
            return None
        info = group.info
        return GroupInfo(
            group_id=group.group_id,
            group_type=group.group_type,
            owner=group.owner,
            name=info.get("name", ""),
            introduction=info.get("introduction", ""),
            notification=info.get("notification", ""),
            face_url=info.get("face_url", ""),
            member_count=len(group.members),
            created_ms=group.created_ms,
        )

    def exists(self, group_id: str) -> bool:
        """Return whether there is such a group."""
        return group_id in self._groups

    def is_member(self, group_id: str, user: str) -> bool:
        """Return whether `user` is in the group; no for a group that doesn't exist."""
        group = self._groups.get(group_id)
        return group is not None and user in group.members

    def first_stranger(self, group_id: str, users: Sequence[str]) -> str | None:
        """Return the first of some users who is no member of a group, if there is one."""
        group = self._groups.get(group_id)
        members = {} if group is None else group.members
        return next((user for user in users if user not in members), None)

    def count(self, group_id: str) -> int:
        """Return how many members a group has; 0 for one that doesn't exist."""
        group = self._groups.get(group_id)
        return 0 if group is None else len(group.members)

    def member(self, group_id: str, user: str) -> MemberInfo | None:
        """Return what there is to read about a member, or `None` if `user` is not one."""
        group = self._groups.get(group_id)
        member = None if group is None else group.members.get(user)
        if member is None:
            return None
        return MemberInfo(user, member.role, member.name_card, member.joined_ms)

    def members(self, group_id: str) -> tuple[str, ...]:
        """Return the members in joining order; nobody for a group that doesn't exist."""
        group = self._groups.get(group_id)
        return () if group is None else tuple(group.members)

    def member_page(
        self, group_id: str, role: Role | int | None, after: int, count: int
    ) -> tuple[list[MemberInfo], int]:
        """Return members in joining order, and where the next page begins; 0 after the last.

        Args:
            group_id: the group; one that doesn't exist has no members.
            role: only members of this role; None for all.
            after: 0, then what the page before gave. Who leaves meanwhile shifts nobody.
            count: members at most.
        """
        group = self._groups.get(group_id)
        if group is None:
            return [], 0
        first = bisect_left(list(group.positions.values()), after)
        page: list[MemberInfo] = []
        for user, member in islice(group.members.items(), first, None):
            if role is not None and member.role != role:
                continue
            if len(page) == count:
                return page, group.positions[page[-1].user_id] + 1
            page.append(MemberInfo(user, member.role, member.name_card, member.joined_ms))
        return page, 0

    def joined(self, user: str) -> tuple[str, ...]:
        """Return the IDs of the groups that `user` is in, in the order of joining them."""
        joined = self._joined.get(user, {})
        return (joined.group_id,) if isinstance(joined, Group) else tuple(joined)

    def apply(self, record: GroupRecord) -> None:
        """Make a record true. It is not judged, and what is so already is skipped."""
        group = self._groups.get(record.group_id)
        if group is None:
            # Only a record that begins a group names a type.
            if record.group_type is None:
                return
            group = Group(record.group_id, record.group_type, record.time_ms)
            self._groups[record.group_id] = group
        for user in leavers(record):
            self._leave(group, user)
        self._enter(group, record.entrants, record.time_ms)
        if record.owner is not None:
            self._set_owner(group, record.owner)
        if record.role is not None:
            for user in record.users:
                if user in group.members:
                    _change(group, user, role=record.role)
        if record.kind is RecordKind.MEMBER_INFO_SET:
            for user in record.users:
                if user in group.members:
                    _change(group, user, name_card=dict(record.changes)["name_card"])
        else:
            group.info.update(record.changes)
        if record.dismissed:
            self.disband(group.group_id, len(group.members))
            del self._groups[group.group_id]

    def disband(self, group_id: str, count: int) -> bool:
        """Take a group that is to end from the lists of its members, some at a time.

        Nobody may look at it between this and the record by which it ends.

        Args:
            group_id: a group that exists.
            count: members at most.

        Returns:
            Whether there are more.
        """
        group = self._groups[group_id]
        if group.disbanding is None:
            group.disbanding = iter(tuple(group.members))
        for user in islice(group.disbanding, count):
            self._unjoin(group_id, user)
        return length_hint(group.disbanding) > 0

    def state_hash(self) -> bytes:
        """Return 16 bytes that are equal for equal states, in every process and version."""
        digest = blake2b(digest_size=16)
        digest.update(str(self._next_position).encode())
        for group_id in sorted(self._groups):
            group = _group_to_builtins(self._groups[group_id])
            # JSON text has no bare line break, so that one ends each group unmistakably.
            digest.update(json.dumps(group, sort_keys=True).encode() + b"\n")
        return digest.digest()

    @property
    def next_position(self) -> int:
        """How many memberships have begun, of all groups."""
        return self._next_position

    def ids(self) -> list[str]:
        """Return the IDs of all groups."""
        return list(self._groups)

    def image(self, group_id: str, count: int) -> Iterator[dict[str, Any]]:
        """Yield a group as it is now, in parts, as values that JSON has.

        The group is copied at once, a few milliseconds for 100,000 members, and may change while
        the parts are read.

        Args:
            group_id: a group that exists.
            count: members of one part, above 0.
        """
        group = self._groups[group_id]
        rest: dict[str, Any] = {
            "v": IMAGE_VERSION,
            "group_id": group_id,
            "group_type": group.group_type.value,
            "owner": group.owner,
            "created_ms": group.created_ms,
            "info": dict(group.info),
        }
        return _parts(rest, dict(group.members), dict(group.positions), count)

    def load(self, part: dict[str, Any]) -> None:
        """Take over the next part of an image; `relink` comes after the last.

        Raises:
            ValueError: another version wrote it.
        """
        if part.get("v") != IMAGE_VERSION:
            raise ValueError(
                f"a group of version {part.get('v')!r}; this program reads version "
                f"{IMAGE_VERSION}, so open the journal with the program that wrote it"
            )
        group = self._groups.get(part["group_id"])
        if group is None:
            group = Group(part["group_id"], GroupType(part["group_type"]), part["created_ms"])
            group.owner = part["owner"]
            group.info = part["info"]
            self._groups[group.group_id] = group
        for user, role, position, joined_ms, name_card in part["members"]:
            group.members[user] = Member(Role(role), joined_ms, name_card)
            group.positions[user] = position

    def skip(self, record: GroupRecord) -> None:
        """Take note of a record that an image contains already."""
        self._next_position += len(record.entrants)

    def relink(self, next_position: int) -> None:
        """Find the groups of each user again, in the order of joining.

        Args:
            next_position: how many memberships had begun.
        """
        memberships = [
            (position, user, group)
            for group in self._groups.values()
            for user, position in group.positions.items()
        ]
        memberships.sort(key=_POSITION)
        self._joined = {}
        for _, user, group in memberships:
            self._join(group, user)
        self._next_position = next_position

    def _enter(self, group: Group, users: Sequence[str], time_ms: int) -> None:
        entering = [user for user in users if user not in group.members]
        first = self._next_position
        self._next_position += len(entering)
        group.members.update(dict.fromkeys(entering, Member(Role.MEMBER, time_ms)))
        group.positions.update(zip(entering, range(first, self._next_position), strict=True))
        elsewhere = [user for user in entering if user in self._joined]
        alone = entering
        if elsewhere:
            alone = [user for user in entering if user not in self._joined]
        self._joined.update(dict.fromkeys(alone, group))
        for user in elsewhere:
            self._join(group, user)

    def _join(self, group: Group, user: str) -> None:
        joined = self._joined.get(user)
        if joined is None:
            self._joined[user] = group
        elif isinstance(joined, Group):
            self._joined[user] = {joined.group_id: joined, group.group_id: group}
        else:
            joined[group.group_id] = group

    def _leave(self, group: Group, user: str) -> None:
        if group.members.pop(user, None) is None:
            return
        del group.positions[user]
        if group.disbanding is None:
            self._unjoin(group.group_id, user)

    def _unjoin(self, group_id: str, user: str) -> None:
        joined = self._joined[user]
        if not isinstance(joined, Group):
            del joined[group_id]
            if len(joined) > 1:
                return
            [self._joined[user]] = joined.values()
        else:
            del self._joined[user]

    def _set_owner(self, group: Group, user: str) -> None:
        if group.owner in group.members:
            _change(group, group.owner, role=Role.MEMBER)
        group.owner = user if user in group.members else ""
        if group.owner:
            _change(group, user, role=Role.OWNER)


def _change(group: Group, user: str, **changes: Any) -> None:
    group.members[user] = replace(group.members[user], **changes)


def _group_to_builtins(group: Group) -> dict[str, Any]:
    return {
        "group_id": group.group_id,
        "group_type": group.group_type.value,
        "owner": group.owner,
        "created_ms": group.created_ms,
        "info": dict(group.info),
        "members": [
            _member_to_builtins(user, member, group.positions)
            for user, member in group.members.items()
        ],
    }


def _parts(
    rest: dict[str, Any], members: dict[str, Member], positions: dict[str, int], count: int
) -> Iterator[dict[str, Any]]:
    users = iter(members.items())
    while True:
        page = [_member_to_builtins(*user, positions) for user in islice(users, count)]
        yield {**rest, "members": page}
        if length_hint(users) == 0:
            return


def _member_to_builtins(user: str, member: Member, positions: dict[str, int]) -> list[Any]:
    return [user, member.role.value, positions[user], member.joined_ms, member.name_card]
