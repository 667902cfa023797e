"""What was decided about a group: the facts that a journal keeps and that replay applies.

A record says what became true, never what was asked: who is in now, who is out, who owns the group
from here on. Whoever applies it needs no rule and no table of types, so that a history written
under old rules replays into the same state under new ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from pysignal.groups.rules import GroupType, Role

RECORD_VERSION: Final = 1


class RecordKind(StrEnum):
    """What happened to the group."""

    CREATED = "created"
    JOINED = "joined"
    LEFT = "left"
    KICKED = "kicked"
    DISMISSED = "dismissed"
    INVITED = "invited"
    ROLE_SET = "role_set"
    OWNER_SET = "owner_set"
    INFO_SET = "info_set"
    MEMBER_INFO_SET = "member_info_set"
    PUT = "put"
    ADDED = "added"
    REMOVED = "removed"


_ENTER: Final = frozenset(
    {
        RecordKind.CREATED,
        RecordKind.JOINED,
        RecordKind.INVITED,
        RecordKind.PUT,
        RecordKind.ADDED,
    }
)
_LEAVE: Final = frozenset({RecordKind.LEFT, RecordKind.KICKED, RecordKind.REMOVED})


@dataclass(frozen=True, slots=True)
class GroupRecord:
    """One decision about one group.

    Attributes:
        kind: what happened.
        group_id: to which group.
        actor: the user whose operation it was, `""` for the server.
        users: whom it concerns, in order: who came in (for a creation the owner first), who went
            out, whose role or name card changed.
        removed: for `PUT`, who went out; `users` are then those who came in.
        already: who was to come in and is a member already; not part of the change.
        group_type: the type of a group that begins with this record, else `None`.
        owner: the owner from now on, `""` for none; `None` where that stays as it is.
        role: the role that `users` have from now on, else `None`.
        changes: texts that changed, as pairs of field and new value.
        dismissed: whether the group ends with this record.
        time_ms: engine time in milliseconds since the epoch, for records by which users come in.
    """

    kind: RecordKind
    group_id: str
    actor: str
    users: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    already: tuple[str, ...] = ()
    group_type: GroupType | None = None
    owner: str | None = None
    role: Role | None = None
    changes: tuple[tuple[str, str], ...] = ()
    dismissed: bool = False
    time_ms: int = 0

    @property
    def entrants(self) -> tuple[str, ...]:
        """The users who become members by this record, in joining order."""
        return self.users if self.kind in _ENTER else ()

    @property
    def changes_nothing(self) -> bool:
        """Whether all was so already: such a record need not be kept and nobody hears of it."""
        return (
            not (self.users or self.removed or self.changes or self.dismissed)
            and self.owner is None
            and self.group_type is None
        )

    def added(self) -> dict[str, bool]:
        """Return for each user that was to come in whether the record brings them in."""
        return dict.fromkeys(self.entrants, True) | dict.fromkeys(self.already, False)

    def to_builtins(self) -> dict[str, Any]:
        """Return the record as values that JSON has, without the fields that say nothing."""
        record: dict[str, Any] = {
            "v": RECORD_VERSION,
            "kind": self.kind.value,
            "group_id": self.group_id,
            "actor": self.actor,
        }
        for field in ("users", "removed", "already"):
            if users := getattr(self, field):
                record[field] = list(users)
        if self.group_type is not None:
            record["group_type"] = self.group_type.value
        if self.owner is not None:
            record["owner"] = self.owner
        if self.role is not None:
            record["role"] = self.role.value
        if self.changes:
            record["changes"] = [list(change) for change in self.changes]
        if self.dismissed:
            record["dismissed"] = True
        if self.time_ms:
            record["time_ms"] = self.time_ms
        return record

    @classmethod
    def from_builtins(cls, record: dict[str, Any]) -> GroupRecord:
        """Return the record that `to_builtins` wrote, also after a way through JSON.

        Raises:
            ValueError: another version wrote it, so that its fields may mean other things.
        """
        if record.get("v") != RECORD_VERSION:
            raise ValueError(
                f"a group record of version {record.get('v')!r}; this program reads version "
                f"{RECORD_VERSION}, so open the journal with the program that wrote it"
            )
        group_type, role = record.get("group_type"), record.get("role")
        return cls(
            kind=RecordKind(record["kind"]),
            group_id=record["group_id"],
            actor=record["actor"],
            users=tuple(record.get("users", ())),
            removed=tuple(record.get("removed", ())),
            already=tuple(record.get("already", ())),
            group_type=None if group_type is None else GroupType(group_type),
            owner=record.get("owner"),
            role=None if role is None else Role(role),
            changes=tuple((field, value) for field, value in record.get("changes", ())),
            dismissed=record.get("dismissed", False),
            time_ms=record.get("time_ms", 0),
        )


def leavers(record: GroupRecord) -> tuple[str, ...]:
    """Return whose membership the record ends, one by one, in order.

    A dismissal ends every membership at once and is told by `record.dismissed` instead. When the
    last member of a group leaves it, both hold.
    """
    return record.removed or (record.users if record.kind in _LEAVE else ())
