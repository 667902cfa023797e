"""What each type of group allows: one table (SPEC §8), read by `decisions`.

A rule that differs between types is a column here and nothing else; a new type is a new row.
Where a column names a role, that role and the higher ones may, and `None` means nobody.

The type `Server` is for groups that the embedding server puts. Only the server brings members in,
without limit; sessions can leave, and the owner, if the server names one, can kick and dismiss as
in a Work group. When the owner leaves, the group goes on without one, and it may be empty: such a
group is as the server wants it, until the server wants it otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum, StrEnum
from typing import Final, TypeAlias

from pysignal.errors import InvitationRequired, NoGroupPermission, SignalingError


class GroupType(StrEnum):
    """The types that sessions can create, and `SERVER` for groups that the server puts."""

    WORK = "Work"
    PUBLIC = "Public"
    MEETING = "Meeting"
    AV_CHAT_ROOM = "AVChatRoom"
    COMMUNITY = "Community"
    SERVER = "Server"


class Role(IntEnum):
    """What a member is in a group; a greater number may more."""

    MEMBER = 200
    ADMIN = 300
    OWNER = 400


class Entry(Enum):
    """How a user comes into a group by an own wish."""

    FREE = "free"
    APPLICATION = "application"
    INVITATION = "invitation"
    SERVER = "server"


class OwnerQuit(Enum):
    """What becomes of a group whose owner wants to leave."""

    HEIR = "heir"  # the longest-standing member becomes owner; the last to leave ends the group
    REFUSED = "refused"
    OWNERLESS = "ownerless"  # the group goes on without an owner


@dataclass(frozen=True, slots=True)
class Rules:
    """One row: what a type of group allows.

    Attributes:
        entry: how a user joins.
        invite: the lowest role that may bring users in.
        kick: the lowest role that may remove members of a lower role.
        dismiss: the lowest role that may end the group.
        set_info: the lowest role that may change the group's name and so on.
        owner_quit: what happens when the owner quits.
        has_admins: whether the owner may appoint admins.
        transferable: whether the owner may hand the group over.
        initial_members: whether the creator may name members at once.
        members_max: how many members it has at most, the owner counted; `None` is no limit.
    """

    entry: Entry
    invite: Role | None
    kick: Role
    dismiss: Role
    set_info: Role
    owner_quit: OwnerQuit
    has_admins: bool
    transferable: bool
    initial_members: bool
    members_max: int | None


RULES: Final[Mapping[GroupType, Rules]] = {
    GroupType.WORK: Rules(
        entry=Entry.INVITATION,
        invite=Role.MEMBER,
        kick=Role.OWNER,
        dismiss=Role.OWNER,
        set_info=Role.MEMBER,
        owner_quit=OwnerQuit.HEIR,
        has_admins=False,
        transferable=True,
        initial_members=True,
        members_max=200,
    ),
    GroupType.PUBLIC: Rules(
        entry=Entry.APPLICATION,
        invite=Role.ADMIN,
        kick=Role.ADMIN,
        dismiss=Role.OWNER,
        set_info=Role.ADMIN,
        owner_quit=OwnerQuit.REFUSED,
        has_admins=True,
        transferable=True,
        initial_members=True,
        members_max=2_000,
    ),
    GroupType.MEETING: Rules(
        entry=Entry.FREE,
        invite=Role.ADMIN,
        kick=Role.ADMIN,
        dismiss=Role.OWNER,
        set_info=Role.ADMIN,
        owner_quit=OwnerQuit.REFUSED,
        has_admins=True,
        transferable=True,
        initial_members=True,
        members_max=6_000,
    ),
    GroupType.AV_CHAT_ROOM: Rules(
        entry=Entry.FREE,
        invite=None,
        kick=Role.OWNER,
        dismiss=Role.OWNER,
        set_info=Role.OWNER,
        owner_quit=OwnerQuit.REFUSED,
        has_admins=False,
        transferable=False,
        initial_members=False,
        members_max=None,
    ),
    GroupType.COMMUNITY: Rules(
        entry=Entry.FREE,
        invite=Role.MEMBER,
        kick=Role.ADMIN,
        dismiss=Role.OWNER,
        set_info=Role.ADMIN,
        owner_quit=OwnerQuit.REFUSED,
        has_admins=True,
        transferable=True,
        initial_members=True,
        members_max=100_000,
    ),
    GroupType.SERVER: Rules(
        entry=Entry.SERVER,
        invite=None,
        kick=Role.OWNER,
        dismiss=Role.OWNER,
        set_info=Role.OWNER,
        owner_quit=OwnerQuit.OWNERLESS,
        has_admins=False,
        transferable=False,
        initial_members=False,
        members_max=None,
    ),
}

# Why a user cannot simply join, per way of entry that isn't free.
ENTRY_REFUSED: Final[Mapping[Entry, tuple[type[SignalingError], str]]] = {
    Entry.INVITATION: (InvitationRequired, "is entered by invitation; ask a member to invite you"),
    Entry.APPLICATION: (NoGroupPermission, "is not joined freely; an admin must invite you"),
    Entry.SERVER: (NoGroupPermission, "has the members that the server gives it"),
}

# How many members a group of a type may have, `None` for no limit; absent types keep the table's.
GroupLimits: TypeAlias = Mapping[GroupType, int | None]

# Bytes of UTF-8 of the texts of a group, the largest that the documentation of the API names.
INFO_BYTES_MAX: Final[Mapping[str, int]] = {
    "name": 100,
    "introduction": 400,
    "notification": 400,
    "face_url": 500,
}
NAME_CARD_BYTES_MAX: Final = 50
