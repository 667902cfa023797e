"""Groups as SPEC §8 has them: the table of types, who may do what, and what members hear."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from oracle import parameters
from oracle.parameters import Failure, wrong

MEMBER, ADMIN, OWNER = 200, 300, 400
NOBODY = 500


class Type(NamedTuple):
    """One column of the table; a role stands for itself and the higher ones."""

    join: int  # 0, or the code of the refusal
    bring_in: int
    has_admins: bool
    owner_may_quit: bool
    remove: int
    change_texts: int
    hand_over: bool
    members_at_creation: bool
    members_max: int | None


TYPES: Final = {
    "Work": Type(8508, MEMBER, False, True, OWNER, MEMBER, True, True, 200),
    "Public": Type(10007, ADMIN, True, False, ADMIN, ADMIN, True, True, 2_000),
    "Meeting": Type(0, ADMIN, True, False, ADMIN, ADMIN, True, True, 6_000),
    "AVChatRoom": Type(0, NOBODY, False, False, OWNER, OWNER, False, False, None),
    "Community": Type(0, MEMBER, True, False, ADMIN, ADMIN, True, True, 100_000),
    "Server": Type(10007, NOBODY, False, True, OWNER, OWNER, False, False, None),
}
TEXT_BYTES: Final = {"name": 100, "introduction": 400, "notification": 400, "face_url": 500}
NAME_CARD_BYTES: Final = 50
NO_PERMISSION, OWNER_STAYS, NO_GROUP, TAKEN, FULL = 10007, 10009, 10010, 10021, 7008


@dataclass(slots=True)
class Member:
    role: int
    joined_ms: int
    card: str = ""


@dataclass(slots=True)
class Group:
    """A group; members in the order of joining."""

    kind: str
    created_ms: int
    owner: str = ""
    members: dict[str, Member] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=lambda: dict.fromkeys(TEXT_BYTES, ""))

    @property
    def type(self) -> Type:
        return TYPES[self.kind]


@dataclass(slots=True)
class Change:
    """A change that was allowed: what becomes of the group, and what is called (SPEC §8).

    `callbacks` are (name without `on_`, parameters after the group, users who hear it).
    """

    group_id: str
    gone: tuple[str, ...] = ()
    came: tuple[str, ...] = ()
    owner: str | None = None
    dismissed: bool = False
    founded: str = ""
    role: tuple[str, int] | None = None
    card: tuple[str, str] | None = None
    texts: dict[str, str] = field(default_factory=dict)
    callbacks: list[tuple[str, tuple[Any, ...], tuple[str, ...]]] = field(default_factory=list)
    result: Any = None

    def call(self, name: str, users: tuple[str, ...], *args: Any) -> None:
        self.callbacks.append((name, args, users))


class GroupsModel:
    """All groups. Each operation decides and returns a `Change`, or fails; `apply` does it."""

    def __init__(self, members_max: dict[str, int | None]) -> None:
        self.groups: dict[str, Group] = {}
        self.joined: dict[str, dict[str, None]] = {}  # groups by user, in the order of joining
        self.members_max = {kind: each.members_max for kind, each in TYPES.items()} | members_max

    def members(self, group_id: str) -> dict[str, Member]:
        group = self.groups.get(group_id)
        return {} if group is None else group.members

    def existing(self, group_id: str) -> Group:
        if group_id not in self.groups:
            raise Failure(NO_GROUP)
        return self.groups[group_id]

    def require_member(self, group_id: str, user: str) -> Member:
        member = self.existing(group_id).members.get(user)
        if member is None:
            raise Failure(NO_PERMISSION)
        return member

    def _require_role(self, group_id: str, user: str, role: int) -> Group:
        if self.require_member(group_id, user).role < role:
            raise Failure(NO_PERMISSION)
        return self.groups[group_id]

    def _require_lower(self, group: Group, actor: str, user: str) -> Member:
        target = group.members.get(user)
        if user == actor or target is None or target.role >= group.members[actor].role:
            raise Failure(NO_PERMISSION)
        return target

    def _require_room(self, kind: str, count: int, more: int) -> None:
        most = self.members_max[kind]
        if most is not None and more and count + more > most:
            raise Failure(FULL)

    # -- what sessions do --------------------------------------------------------------------------

    def create(self, actor: str, kind: Any, group_id: str, name: Any, members: list[str]) -> Change:
        if kind not in TYPES or kind == "Server":
            raise wrong("group_type")
        name = parameters.text(name, "name", TEXT_BYTES["name"])
        if group_id in self.groups:
            raise Failure(TAKEN)
        others = tuple(user for user in members if user != actor)
        if others and not TYPES[kind].members_at_creation:
            raise Failure(NO_PERMISSION)
        self._require_room(kind, 0, 1 + len(others))
        came = (actor, *others)
        change = Change(
            group_id, came=came, owner=actor, founded=kind, texts={"name": name}, result=group_id
        )
        change.call("group_created", (actor,))
        if others:
            change.call("member_invited", came, actor, list(others))
        return change

    def join(self, actor: str, group_id: str) -> Change:
        group = self.existing(group_id)
        change = Change(group_id)
        if actor not in group.members:
            if group.type.join:
                raise Failure(group.type.join)
            self._require_room(group.kind, len(group.members), 1)
            change.came = (actor,)
            change.call("member_enter", (*group.members, actor), [actor])
        return change

    def quit(self, actor: str, group_id: str) -> Change:
        self.require_member(group_id, actor)
        group = self.groups[group_id]
        if actor == group.owner and not group.type.owner_may_quit:
            raise Failure(OWNER_STAYS)
        change = self._without(group_id, (actor,))
        stayers = tuple(user for user in group.members if user != actor)
        change.call("member_leave", stayers, actor)
        change.call("quit_from_group", (actor,))
        self._tell_owner(change, group)
        return change

    def kick(self, actor: str, group_id: str, users: list[str]) -> Change:
        group = self._require_role(group_id, actor, self.existing(group_id).type.remove)
        for user in users:
            self._require_lower(group, actor, user)
        change = self._without(group_id, tuple(users))
        change.call("member_kicked", tuple(group.members), actor, users)
        return change

    def dismiss(self, actor: str | None, group_id: str) -> Change:
        """End a group as its owner; as the server where the actor is None."""
        group = self.existing(group_id)
        if actor is not None:
            self._require_role(group_id, actor, OWNER)
        change = Change(group_id, dismissed=True)
        change.call("group_dismissed", tuple(group.members), actor or "")
        return change

    def bring_in(self, actor: str, group_id: str, users: list[str]) -> Change:
        group = self._require_role(group_id, actor, self.existing(group_id).type.bring_in)
        came = tuple(user for user in users if user not in group.members)
        self._require_room(group.kind, len(group.members), len(came))
        change = Change(group_id, came=came, result={user: user in came for user in users})
        if came:
            change.call("member_invited", (*group.members, *came), actor, list(came))
        return change

    def set_role(self, actor: str, group_id: str, user: str, role: Any) -> Change:
        if role not in (MEMBER, ADMIN):
            raise wrong("role")
        group = self._require_role(group_id, actor, OWNER)
        if not group.type.has_admins:
            raise Failure(NO_PERMISSION)
        target = self._require_lower(group, actor, user)
        change = Change(group_id)
        if target.role != role:
            change.role = user, role
            name = "grant_administrator" if role == ADMIN else "revoke_administrator"
            change.call(name, tuple(group.members), actor, [user])
        return change

    def hand_over(self, actor: str, group_id: str, user: str) -> Change:
        group = self._require_role(group_id, actor, OWNER)
        if not group.type.hand_over:
            raise Failure(NO_PERMISSION)
        self._require_lower(group, actor, user)
        change = Change(group_id, owner=user)
        self._tell_owner(change, group)
        return change

    def set_texts(self, actor: str, group_id: str, texts: dict[str, Any]) -> Change:
        for name, value in texts.items():
            parameters.text(value, name, TEXT_BYTES[name])
        group = self._require_role(group_id, actor, self.existing(group_id).type.change_texts)
        new = {name: value for name, value in texts.items() if group.texts[name] != value}
        change = Change(group_id, texts=new)
        if new:
            change.call("group_info_changed", tuple(group.members), new)
        return change

    def set_card(self, actor: str, group_id: str, user: str, card: Any) -> Change:
        parameters.text(card, "name_card", NAME_CARD_BYTES)
        self.require_member(group_id, actor)
        group = self.groups[group_id]
        if user != actor:
            self._require_lower(self._require_role(group_id, actor, ADMIN), actor, user)
        change = Change(group_id)
        if group.members[user].card != card:
            change.card = user, card
            changes = {user: {"name_card": card}}
            change.call("member_info_changed", tuple(group.members), changes)
        return change

    # -- what the embedding server does ------------------------------------------------------------

    def put(self, group_id: str, users: list[str], owner: str) -> Change:
        group = self.groups.get(group_id)
        if group is None:
            change = Change(group_id, came=tuple(users), owner=owner, founded="Server")
            if users:
                change.call("member_invited", tuple(users), "", list(users))
            return change
        if group.kind != "Server":
            raise Failure(TAKEN)
        gone = tuple(user for user in group.members if user not in users)
        came = tuple(user for user in users if user not in group.members)
        change = Change(group_id, gone, came, None if owner == group.owner else owner)
        if gone:
            change.call("member_kicked", tuple(group.members), "", list(gone))
        if came:
            change.call("member_invited", self._after(change, group), "", list(came))
        self._tell_owner(change, group)
        return change

    def add(self, group_id: str, users: list[str]) -> Change:
        group = self.existing(group_id)
        change = Change(group_id, came=tuple(user for user in users if user not in group.members))
        if change.came:
            change.call("member_invited", self._after(change, group), "", list(change.came))
        return change

    def remove(self, group_id: str, users: list[str]) -> Change:
        group = self.existing(group_id)
        change = self._without(group_id, tuple(user for user in users if user in group.members))
        if change.gone:
            change.call("member_kicked", tuple(group.members), "", list(change.gone))
        self._tell_owner(change, group)
        return change

    # -- doing it ----------------------------------------------------------------------------------

    def _without(self, group_id: str, gone: tuple[str, ...]) -> Change:
        """Let users go; a group that sessions made passes to an heir, or ends with its last."""
        group = self.groups[group_id]
        change = Change(group_id, gone=gone)
        if group.owner in gone:
            heirs = [user for user in group.members if user not in gone]
            change.owner = heirs[0] if heirs and group.kind != "Server" else ""
            change.dismissed = not heirs and group.kind != "Server"
        return change

    def _after(self, change: Change, group: Group) -> tuple[str, ...]:
        return (*[user for user in group.members if user not in change.gone], *change.came)

    def _tell_owner(self, change: Change, group: Group) -> None:
        """Tell of a new owner, if somebody is left who knew another."""
        if change.owner is not None and set(group.members) - set(change.gone):
            users = self._after(change, group)
            change.call("group_info_changed", users, {"owner": change.owner})

    def apply(self, change: Change, now_ms: int) -> None:
        name = change.group_id
        if change.founded:
            self.groups[name] = Group(change.founded, now_ms)
        group = self.groups[name]
        leaving = tuple(group.members) if change.dismissed else change.gone
        for user in leaving:
            del group.members[user], self.joined[user][name]
        if change.dismissed:
            del self.groups[name]
            return
        for user in change.came:
            group.members[user] = Member(MEMBER, now_ms)
            self.joined.setdefault(user, {})[name] = None
        if change.owner is not None:
            if group.owner in group.members:
                group.members[group.owner].role = MEMBER
            group.owner = change.owner
            if change.owner:
                group.members[change.owner].role = OWNER
        if change.role is not None:
            group.members[change.role[0]].role = change.role[1]
        if change.card is not None:
            group.members[change.card[0]].card = change.card[1]
        group.texts.update(change.texts)
