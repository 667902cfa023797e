"""Random histories of groups against an obvious model, replayed and restored."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from pysignal.errors import SignalingError
from pysignal.groups.decisions import GroupRecord, Groups, GroupType, leavers


def images(groups: Groups) -> list[dict[str, Any]]:
    """Every group, in parts of two members, after a way through JSON."""
    parts = [part for group_id in groups.ids() for part in groups.image(group_id, 2)]
    return list(json.loads(json.dumps(parts)))


def copy_of(groups: Groups) -> Groups:
    copy = Groups()
    for part in images(groups):
        copy.load(part)
    copy.relink(groups.next_position)
    return copy


class Model:
    """The obvious way: one dict of lists, roles beside, written without a look at the module."""

    def __init__(self) -> None:
        self.order: dict[str, list[str]] = {}
        self.role: dict[tuple[str, str], int] = {}
        self.kind: dict[str, str] = {}
        self.joined: dict[str, list[str]] = {}

    def enter(self, group: str, user: str) -> None:
        if user not in self.order[group]:
            self.order[group].append(user)
            self.role[group, user] = 200
            self.joined.setdefault(user, []).append(group)

    def leave(self, group: str, user: str) -> None:
        if user in self.order[group]:
            self.order[group].remove(user)
            was_owner = self.role.pop((group, user)) == 400
            self.joined[user].remove(group)
            if was_owner and self.kind[group] != "Server" and self.order[group]:
                self.role[group, self.order[group][0]] = 400

    def end(self, group: str) -> None:
        for user in list(self.order[group]):
            del self.role[group, user]
            self.joined[user].remove(group)
        del self.order[group], self.kind[group]

    def do(self, op: str, actor: str, group: str, args: tuple[Any, ...]) -> None:
        if op == "create":
            self.order[group], self.kind[group] = [], args[0]
            for user in (actor, *args[1]):
                self.enter(group, user)
            self.role[group, actor] = 400
        elif op == "put":
            members, owner = args
            if group not in self.order:
                self.order[group], self.kind[group] = [], "Server"
            for user in list(self.order[group]):
                if user not in members and user != owner:
                    self.leave(group, user)
            for user in members if owner in members or not owner else [owner, *members]:
                self.enter(group, user)
            for user in self.order[group]:
                self.role[group, user] = 400 if user == owner else 200
        elif op in {"join", "invite_users", "add"}:
            for user in args[0] if args else [actor]:
                self.enter(group, user)
        elif op in {"quit", "kick"}:
            for user in args[0] if args else [actor]:
                self.leave(group, user)
        elif op == "remove":
            # The owner last, so that the heir is none of those who go too.
            for user in sorted(args[0], key=lambda user: self.role.get((group, user), 0)):
                self.leave(group, user)
        elif op == "set_role":
            self.role[group, args[0]] = args[1]
        elif op == "transfer_owner":
            self.role[group, actor], self.role[group, args[0]] = 200, 400
        emptied = self.kind[group] != "Server" and not self.order[group]
        if op in {"dismiss", "dismiss_by_server"} or emptied:
            self.end(group)


USERS = ["amy", "bob", "cy", "dee", "émil"]
GROUPS = ["g", "h", "k"]
OPERATIONS = (
    *("create", "put", "join", "join", "quit", "quit", "kick", "dismiss", "invite_users"),
    *("invite_users", "set_role", "transfer_owner", "set_info", "set_member_info", "add"),
    *("remove", "dismiss_by_server"),
)
BY_SERVER = {"put", "add", "remove", "dismiss_by_server"}


def random_operation(rng: random.Random) -> tuple[str, str, str, tuple[Any, ...]]:
    op = rng.choice(OPERATIONS)
    some = rng.sample(USERS, rng.randint(1, 3))
    owner = rng.choice(["", *USERS])
    args: dict[str, tuple[Any, ...]] = {
        "create": (
            rng.choice([kind.value for kind in GroupType if kind is not GroupType.SERVER]),
            some,
        ),
        "put": (some, owner),
        "set_role": (some[0], rng.choice([200, 300])),
        "transfer_owner": (some[0],),
        "set_info": (rng.choice(["", "crew", "bänd"]),),
        "set_member_info": (some[0], rng.choice(["", "A", "B"])),
    }
    few = (some,) if op in {"kick", "invite_users", "add", "remove"} else ()
    return op, rng.choice(USERS), rng.choice(GROUPS), args.get(op, few)


def decide(
    groups: Groups, op: str, actor: str, group: str, args: tuple[Any, ...], now: int
) -> GroupRecord:
    if op == "create":
        members = args[1] if args[0] != "AVChatRoom" else []
        return groups.create(actor, args[0], group, members=members, time_ms=now)
    if op == "set_info":
        return groups.set_info(actor, group, name=args[0])
    if op == "set_member_info":
        return groups.set_member_info(actor, group, args[0], name_card=args[1])
    timed = {"time_ms": now} if op in {"put", "join", "invite_users", "add"} else {}
    by = () if op in BY_SERVER else (actor,)
    record: GroupRecord = getattr(groups, op)(*by, group, *args, **timed)
    return record


def check_against(model: Model, groups: Groups) -> None:
    assert len(groups) == len(model.order)
    for group in GROUPS:
        info = groups.get(group)
        assert groups.members(group) == tuple(model.order.get(group, ()))
        assert (info is None) == (group not in model.order)
        for user in USERS:
            member = groups.member(group, user)
            assert (member.role if member else None) == model.role.get((group, user))
            assert groups.is_member(group, user) == ((group, user) in model.role)
        if info is not None:
            owners = [user for user in model.order[group] if model.role[group, user] == 400]
            assert owners == ([info.owner] if info.owner else [])
            assert info.owner or info.group_type is GroupType.SERVER
            assert info.group_type == model.kind[group]
    for user in USERS:
        assert groups.joined(user) == tuple(model.joined.get(user, ()))


@pytest.mark.parametrize("seed", range(300))
def test_random_histories_match_the_model_and_replay_to_the_same_hash(seed: int) -> None:
    rng = random.Random(seed)
    groups, model, journal = Groups(), Model(), []
    branch: Groups | None = None
    for now in range(60):
        op, actor, group, args = random_operation(rng)
        before, stood = groups.state_hash(), groups.members(group)
        try:
            record = decide(groups, op, actor, group, args, now)
        except SignalingError:
            assert groups.state_hash() == before
            continue
        assert groups.state_hash() == before
        stored = json.dumps(record.to_builtins())
        assert GroupRecord.from_builtins(json.loads(stored)) == record
        groups.apply(record)
        if branch is not None:
            branch.apply(record)
        assert record.changes_nothing == (groups.state_hash() == before)
        if not record.changes_nothing:
            journal.append(stored)
        if op == "create" and args[0] == "AVChatRoom":
            args = (args[0], [])
        model.do(op, actor, group, args)
        check_against(model, groups)
        gone = {user for user in stood if not groups.is_member(group, user)}
        assert gone == set(stood if record.dismissed else leavers(record))
        if now == 30:
            branch = copy_of(groups)
    replayed = Groups(dict.fromkeys(GroupType, 1))
    for stored in journal:
        replayed.apply(GroupRecord.from_builtins(json.loads(stored)))
    for other in (replayed, branch):
        if other is not None:
            assert other.state_hash() == groups.state_hash()
            assert images(other) == images(groups)
            check_against(model, other)
