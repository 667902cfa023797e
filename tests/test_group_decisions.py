"""Groups: the rules of each type, decisions that change nothing, and records that replay."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from pysignal.errors import SignalingError
from pysignal.groups.decisions import (
    RULES,
    GroupRecord,
    Groups,
    GroupType,
    RecordKind,
    Role,
    leavers,
)

SESSION_TYPES = [kind for kind in GroupType if kind is not GroupType.SERVER]
WITH_ADMINS = {GroupType.PUBLIC, GroupType.MEETING, GroupType.COMMUNITY}
OK = 0


def code(decide: Callable[..., GroupRecord], *args: Any, **kwargs: Any) -> int:
    """Return the code that a decision is refused with, `OK` if it isn't."""
    try:
        decide(*args, **kwargs)
    except SignalingError as error:
        return error.code
    return OK


def settled(kind: GroupType, **limits: int | None) -> Groups:
    """Return a group `g` of owner amy, admin ann where the type has admins, bob and cy."""
    groups = Groups({kind: limits["limit"]} if limits else None)
    if kind is GroupType.SERVER:
        groups.apply(groups.put("g", ["amy", "ann", "bob", "cy"], "amy"))
        return groups
    groups.apply(groups.create("amy", kind, "g"))
    groups.apply(groups.add("g", ["ann", "bob", "cy"]))
    if kind in WITH_ADMINS:
        groups.apply(groups.set_role("amy", "g", "ann", Role.ADMIN))
    return groups


def owner_of(groups: Groups) -> str:
    info = groups.get("g")
    assert info is not None
    return info.owner


# Rows: the operation by whom. Columns: Work, Public, Meeting, AVChatRoom, Community, Server.
TABLE: dict[str, tuple[Callable[[Groups], GroupRecord], tuple[int, ...]]] = {
    "join": (lambda g: g.join("new", "g"), (8508, 10007, OK, OK, OK, 10007)),
    "owner invites": (
        lambda g: g.invite_users("amy", "g", ["new"]),
        (OK, OK, OK, 10007, OK, 10007),
    ),
    "admin invites": (
        lambda g: g.invite_users("ann", "g", ["new"]),
        (OK, OK, OK, 10007, OK, 10007),
    ),
    "member invites": (
        lambda g: g.invite_users("bob", "g", ["new"]),
        (OK, 10007, 10007, 10007, OK, 10007),
    ),
    "stranger invites": (lambda g: g.invite_users("eve", "g", ["new"]), (10007,) * 6),
    "owner quits": (lambda g: g.quit("amy", "g"), (OK, 10009, 10009, 10009, 10009, OK)),
    "admin quits": (lambda g: g.quit("ann", "g"), (OK,) * 6),
    "member quits": (lambda g: g.quit("bob", "g"), (OK,) * 6),
    "stranger quits": (lambda g: g.quit("eve", "g"), (10007,) * 6),
    "owner dismisses": (lambda g: g.dismiss("amy", "g"), (OK,) * 6),
    "admin dismisses": (lambda g: g.dismiss("ann", "g"), (10007,) * 6),
    "member dismisses": (lambda g: g.dismiss("bob", "g"), (10007,) * 6),
    "stranger dismisses": (lambda g: g.dismiss("eve", "g"), (10007,) * 6),
    "owner kicks member": (lambda g: g.kick("amy", "g", ["bob"]), (OK,) * 6),
    "owner kicks admin": (lambda g: g.kick("amy", "g", ["ann"]), (OK,) * 6),
    "owner kicks oneself": (lambda g: g.kick("amy", "g", ["amy"]), (10007,) * 6),
    "owner kicks stranger": (lambda g: g.kick("amy", "g", ["eve"]), (10007,) * 6),
    "admin kicks member": (
        lambda g: g.kick("ann", "g", ["bob"]),
        (10007, OK, OK, 10007, OK, 10007),
    ),
    "admin kicks owner": (lambda g: g.kick("ann", "g", ["amy"]), (10007,) * 6),
    "admin kicks oneself": (lambda g: g.kick("ann", "g", ["ann"]), (10007,) * 6),
    "member kicks member": (lambda g: g.kick("bob", "g", ["cy"]), (10007,) * 6),
    "stranger kicks member": (lambda g: g.kick("eve", "g", ["cy"]), (10007,) * 6),
    "owner appoints admin": (
        lambda g: g.set_role("amy", "g", "bob", 300),
        (10007, OK, OK, 10007, OK, 10007),
    ),
    "owner revokes admin": (
        lambda g: g.set_role("amy", "g", "ann", 200),
        (10007, OK, OK, 10007, OK, 10007),
    ),
    "owner demotes oneself": (lambda g: g.set_role("amy", "g", "amy", 200), (10007,) * 6),
    "owner appoints stranger": (lambda g: g.set_role("amy", "g", "eve", 300), (10007,) * 6),
    "admin appoints admin": (lambda g: g.set_role("ann", "g", "bob", 300), (10007,) * 6),
    "owner transfers": (
        lambda g: g.transfer_owner("amy", "g", "bob"),
        (OK, OK, OK, 10007, OK, 10007),
    ),
    "owner transfers to stranger": (lambda g: g.transfer_owner("amy", "g", "eve"), (10007,) * 6),
    "owner transfers to oneself": (lambda g: g.transfer_owner("amy", "g", "amy"), (10007,) * 6),
    "admin transfers": (lambda g: g.transfer_owner("ann", "g", "ann"), (10007,) * 6),
    "owner sets info": (lambda g: g.set_info("amy", "g", name="n"), (OK,) * 6),
    "admin sets info": (
        lambda g: g.set_info("ann", "g", name="n"),
        (OK, OK, OK, 10007, OK, 10007),
    ),
    "member sets info": (
        lambda g: g.set_info("bob", "g", name="n"),
        (OK, 10007, 10007, 10007, 10007, 10007),
    ),
    "stranger sets info": (lambda g: g.set_info("eve", "g", name="n"), (10007,) * 6),
    "own card": (lambda g: g.set_member_info("bob", "g", "bob", name_card="B"), (OK,) * 6),
    "owner sets card": (lambda g: g.set_member_info("amy", "g", "bob", name_card="B"), (OK,) * 6),
    "admin sets card": (
        lambda g: g.set_member_info("ann", "g", "bob", name_card="B"),
        (10007, OK, OK, 10007, OK, 10007),
    ),
    "admin sets owner's card": (
        lambda g: g.set_member_info("ann", "g", "amy", name_card="B"),
        (10007,) * 6,
    ),
    "member sets card": (
        lambda g: g.set_member_info("bob", "g", "cy", name_card="B"),
        (10007,) * 6,
    ),
    "stranger sets own card": (
        lambda g: g.set_member_info("eve", "g", "eve", name_card="B"),
        (10007,) * 6,
    ),
    "server adds": (lambda g: g.add("g", ["new"]), (OK,) * 6),
    "server removes owner": (lambda g: g.remove("g", ["amy"]), (OK,) * 6),
    "server dismisses": (lambda g: g.dismiss_by_server("g"), (OK,) * 6),
    "server puts": (lambda g: g.put("g", ["new"]), (10021,) * 5 + (OK,)),
}


@pytest.mark.parametrize("operation", TABLE)
def test_each_type_allows_just_what_its_rules_say(operation: str) -> None:
    decide, codes = TABLE[operation]
    for kind, expected in zip(GroupType, codes, strict=True):
        groups = settled(kind)
        before = groups.state_hash()
        assert code(decide, groups) == expected, kind
        assert groups.state_hash() == before, "a decision changes nothing"
        if expected == OK:
            groups.apply(decide(groups))
            assert groups.state_hash() != before, kind


def test_an_admin_has_no_power_over_another_admin() -> None:
    for kind in WITH_ADMINS:
        groups = settled(kind)
        groups.apply(groups.set_role("amy", "g", "bob", 300))
        assert code(groups.kick, "ann", "g", ["bob"]) == 10007
        assert code(groups.set_member_info, "ann", "g", "bob", name_card="B") == 10007
        assert code(groups.kick, "amy", "g", ["bob", "ann"]) == OK


def test_parameters_are_checked_before_the_group_and_the_group_before_permission() -> None:
    groups = settled(GroupType.PUBLIC)
    operations: list[Callable[[str, Any], int]] = [
        lambda g, user: code(groups.kick, "eve", g, [user]),
        lambda g, user: code(groups.invite_users, "eve", g, [user]),
        lambda g, user: code(groups.set_role, "eve", g, user, 300),
        lambda g, user: code(groups.transfer_owner, "eve", g, user),
        lambda g, user: code(groups.set_member_info, "eve", g, user, name_card=""),
    ]
    for operation in operations:
        assert operation("nowhere", "") == 6017
        assert operation("nowhere", "bob") == 10010
        assert operation("g", "bob") == 10007
        assert operation("", "bob") == 6017
    for decide in (groups.join, groups.quit, groups.dismiss):
        assert code(decide, "eve", "a\x00") == 6017
        assert code(decide, "eve", "nowhere") == 10010
    assert code(groups.set_role, "eve", "nowhere", "bob", 400) == 6017
    assert code(groups.set_role, "eve", "nowhere", "bob", True) == 6017
    assert code(groups.kick, "eve", "nowhere", []) == 6017
    assert code(groups.kick, "eve", "nowhere", "bob") == 6017
    assert code(groups.set_info, "eve", "nowhere") == 6017
    assert code(groups.set_info, "eve", "nowhere", name="n" * 101) == 6017
    assert code(groups.set_member_info, "eve", "nowhere", "bob", name_card="é" * 26) == 6017
    assert code(groups.put, "g", "bob") == 6017
    assert code(groups.put, "g", [], None) == 6017


def test_a_group_id_is_given_once_while_the_group_lives() -> None:
    groups = settled(GroupType.WORK)
    assert code(groups.create, "bob", "Public", "g") == 10021
    groups.apply(groups.dismiss("amy", "g"))
    assert code(groups.create, "bob", "Public", "g") == OK


@pytest.mark.parametrize("kind", ["Server", "work", "", None, 1, ["Work"]])
def test_a_session_creates_groups_of_the_five_types_only(kind: Any) -> None:
    assert code(Groups().create, "amy", kind, "g") == 6017


def test_a_live_room_begins_with_its_owner_alone() -> None:
    assert code(Groups().create, "amy", "AVChatRoom", "g", members=["bob"]) == 10007
    assert code(Groups().create, "amy", "AVChatRoom", "g", members=["amy"]) == OK


@pytest.mark.parametrize("kind", SESSION_TYPES)
def test_the_creator_is_owner_and_first_and_the_members_follow_in_order(kind: GroupType) -> None:
    groups = Groups()
    members = ["cy", "amy", "bob", "cy"] if RULES[kind].initial_members else []
    groups.apply(groups.create("amy", kind, "g", name="crew", members=members, time_ms=7))
    assert groups.members("g") == (("amy", "cy", "bob") if members else ("amy",))
    info = groups.get("g")
    assert info is not None
    assert (info.owner, info.name, info.created_ms, info.group_type) == ("amy", "crew", 7, kind)
    member = groups.member("g", "amy")
    assert member is not None
    assert (member.role, member.joined_ms) == (Role.OWNER, 7)


@pytest.mark.parametrize(
    ("kind", "limit"),
    [
        (GroupType.WORK, 200),
        (GroupType.PUBLIC, 2_000),
        (GroupType.MEETING, 6_000),
        (GroupType.COMMUNITY, 100_000),
    ],
)
def test_a_group_is_full_at_the_limit_of_its_type(kind: GroupType, limit: int) -> None:
    users = [f"u{number}" for number in range(limit)]
    groups = Groups()
    assert code(groups.create, "amy", kind, "g", members=users) == 7008
    groups.apply(groups.create("amy", kind, "g", members=users[:-2]))
    assert code(groups.invite_users, "amy", "g", users[-3:]) == 7008
    assert code(groups.invite_users, "amy", "g", users[:-1]) == OK
    groups.apply(groups.invite_users("amy", "g", users[-2:-1]))
    assert len(groups.members("g")) == limit
    assert code(groups.invite_users, "amy", "g", users[-1:]) == 7008
    assert code(groups.invite_users, "amy", "g", users[:3]) == OK
    if code(groups.join, "eve", "g") not in (8508, 10007):
        assert code(groups.join, "eve", "g") == 7008
    assert code(groups.add, "g", users[-1:]) == OK


def test_a_live_room_has_no_limit_and_any_limit_can_be_configured() -> None:
    groups = settled(GroupType.AV_CHAT_ROOM)
    groups.apply(groups.add("g", [f"u{number}" for number in range(150_000)]))
    assert code(groups.join, "eve", "g") == OK
    assert code(settled(GroupType.AV_CHAT_ROOM, limit=4).join, "eve", "g") == 7008
    assert code(settled(GroupType.AV_CHAT_ROOM, limit=5).join, "eve", "g") == OK
    assert code(settled(GroupType.MEETING, limit=None).join, "eve", "g") == OK
    with pytest.raises(SignalingError):
        Groups({GroupType.WORK: 0})


def test_inviting_members_of_a_group_over_its_limit_is_no_error() -> None:
    groups = settled(GroupType.WORK, limit=2)
    assert groups.invite_users("amy", "g", ["bob", "cy"]).changes_nothing
    assert code(groups.invite_users, "amy", "g", ["bob", "eve"]) == 7008


def test_what_is_so_already_is_no_error_and_changes_nothing() -> None:
    for kind in SESSION_TYPES:
        groups = settled(kind)
        assert groups.join("bob", "g").changes_nothing, kind
    groups = settled(GroupType.PUBLIC)
    for record in (
        groups.invite_users("amy", "g", ["bob", "cy"]),
        groups.add("g", ["bob"]),
        groups.remove("g", ["eve"]),
        groups.set_role("amy", "g", "ann", 300),
        groups.set_info("amy", "g", name=""),
        groups.set_member_info("bob", "g", "bob", name_card=""),
    ):
        before = groups.state_hash()
        groups.apply(record)
        assert record.changes_nothing
        assert groups.state_hash() == before


def test_an_invitation_tells_user_by_user_who_was_added() -> None:
    groups = settled(GroupType.WORK)
    record = groups.invite_users("bob", "g", ["dee", "cy", "eli", "dee"], time_ms=9)
    assert record.users == ("dee", "eli")
    assert record.added() == {"dee": True, "eli": True, "cy": False}


def test_kicking_several_is_all_or_nobody() -> None:
    groups = settled(GroupType.PUBLIC)
    assert code(groups.kick, "ann", "g", ["bob", "cy", "amy"]) == 10007
    record = groups.kick("ann", "g", ["bob", "cy", "bob"])
    assert leavers(record) == ("bob", "cy")
    groups.apply(record)
    assert groups.members("g") == ("amy", "ann")


def test_a_work_group_passes_to_its_longest_standing_member_and_ends_with_its_last() -> None:
    groups = settled(GroupType.WORK)
    for leaver, heir in (("amy", "ann"), ("ann", "bob")):
        record = groups.quit(leaver, "g")
        assert (record.owner, record.dismissed, leavers(record)) == (heir, False, (leaver,))
        groups.apply(record)
        assert owner_of(groups) == heir
        assert code(groups.dismiss, leaver, "g") == 10007
        assert code(groups.dismiss, heir, "g") == OK
    groups.apply(groups.invite_users("cy", "g", ["amy"]))
    groups.apply(groups.quit("bob", "g"))
    assert owner_of(groups) == "cy"
    groups.apply(groups.quit("amy", "g"))
    record = groups.quit("cy", "g")
    assert record.dismissed
    groups.apply(record)
    assert not groups.exists("g")
    assert groups.joined("cy") == ()


def test_a_transfer_makes_the_old_owner_a_plain_member() -> None:
    groups = settled(GroupType.PUBLIC)
    groups.apply(groups.transfer_owner("amy", "g", "ann"))
    members = [groups.member("g", user) for user in groups.members("g")]
    roles = {member.user_id: member.role for member in members if member is not None}
    assert roles == {"amy": 200, "ann": 400, "bob": 200, "cy": 200}
    assert code(groups.quit, "amy", "g") == OK
    assert code(groups.quit, "ann", "g") == 10009


def test_the_server_puts_groups_and_puts_them_again() -> None:
    groups = Groups()
    record = groups.put("g", ["amy", "bob", "amy"], time_ms=5)
    assert (record.group_type, record.users, leavers(record)) == ("Server", ("amy", "bob"), ())
    groups.apply(record)
    record = groups.put("g", ["cy", "bob"], "dee")
    assert (record.users, leavers(record)) == (("dee", "cy"), ("amy",))
    groups.apply(record)
    assert groups.members("g") == ("bob", "dee", "cy")
    assert owner_of(groups) == "dee"
    assert groups.put("g", ["bob", "dee", "cy"], "dee").changes_nothing
    groups.apply(groups.put("g", ["cy", "bob"], "bob"))
    assert groups.members("g") == ("bob", "cy")
    assert owner_of(groups) == "bob"
    groups.apply(groups.quit("bob", "g"))
    assert owner_of(groups) == ""
    groups.apply(groups.remove("g", ["cy"]))
    assert groups.exists("g")
    assert groups.members("g") == ()
    groups.apply(groups.dismiss_by_server("g"))
    assert not groups.exists("g")


def test_a_group_of_sessions_keeps_an_owner_when_the_server_removes_it() -> None:
    groups = settled(GroupType.PUBLIC)
    groups.apply(groups.remove("g", ["amy", "ann"]))
    assert owner_of(groups) == "bob"
    record = groups.remove("g", ["bob", "cy"])
    assert record.dismissed
    groups.apply(record)
    assert not groups.exists("g")


def test_a_user_who_comes_back_stands_last_with_a_clean_card() -> None:
    groups = settled(GroupType.MEETING)
    groups.apply(groups.set_member_info("ann", "g", "ann", name_card="Ann"))
    groups.apply(groups.quit("ann", "g"))
    groups.apply(groups.join("ann", "g", time_ms=3))
    assert groups.members("g") == ("amy", "bob", "cy", "ann")
    member = groups.member("g", "ann")
    assert member is not None
    assert (member.role, member.name_card, member.joined_ms) == (Role.MEMBER, "", 3)


def test_a_group_that_does_not_exist_has_nobody_in_it() -> None:
    groups = settled(GroupType.MEETING)
    groups.apply(groups.dismiss("amy", "g"))
    for group_id in ("g", "never"):
        assert groups.member_page(group_id, None, 0, 10) == ([], 0)
        assert (groups.count(group_id), groups.members(group_id)) == (0, ())
        assert (groups.get(group_id), groups.member(group_id, "amy")) == (None, None)


def test_applying_a_record_of_what_is_gone_is_skipped() -> None:
    groups = settled(GroupType.MEETING)
    records = [
        groups.kick("amy", "g", ["bob"]),
        groups.quit("bob", "g"),
        groups.set_role("amy", "g", "bob", 300),
        groups.set_member_info("bob", "g", "bob", name_card="B"),
        groups.transfer_owner("amy", "g", "cy"),
        groups.dismiss("amy", "g"),
    ]
    for record in [*records, *records]:
        groups.apply(record)
    assert len(groups) == 0


def test_applying_a_record_twice_keeps_place_role_and_card() -> None:
    groups = settled(GroupType.MEETING)
    record = groups.join("eve", "g", time_ms=1)
    groups.apply(record)
    groups.apply(groups.set_role("amy", "g", "eve", 300))
    groups.apply(groups.set_member_info("eve", "g", "eve", name_card="E"))
    before = groups.state_hash()
    groups.apply(record)
    assert groups.state_hash() == before


def test_who_is_in_no_group_takes_no_memory() -> None:
    groups = settled(GroupType.MEETING)
    groups.apply(groups.quit("bob", "g"))
    assert "bob" not in groups._joined
    groups.apply(groups.dismiss("amy", "g"))
    assert not groups._joined


def test_the_hash_sees_the_state_and_not_the_way_to_it() -> None:
    one, other = settled(GroupType.WORK), settled(GroupType.WORK)
    one.apply(one.set_info("amy", "g", name="crew"))
    assert one.state_hash() != other.state_hash()
    one.apply(one.set_info("amy", "g", notification="at nine"))
    other.apply(other.set_info("bob", "g", notification="at nine"))
    other.apply(other.set_info("bob", "g", name="crew"))
    assert one.state_hash() == other.state_hash()


def test_a_record_of_another_version_is_refused() -> None:
    record = settled(GroupType.WORK).quit("bob", "g").to_builtins() | {"v": 2}
    with pytest.raises(ValueError, match="version 2"):
        GroupRecord.from_builtins(record)
    with pytest.raises(ValueError, match="version None"):
        Groups().load({})


def test_every_kind_of_record_survives_json() -> None:
    for kind in RecordKind:
        for record in (
            GroupRecord(kind, "g", ""),
            GroupRecord(
                kind,
                "g",
                "amy",
                ("a", "b"),
                ("c",),
                ("d",),
                GroupType.SERVER,
                "",
                Role.ADMIN,
                (("name", "é"),),
                True,
                2**53,
            ),
        ):
            assert GroupRecord.from_builtins(json.loads(json.dumps(record.to_builtins()))) == record


def test_the_hash_is_the_same_in_every_process() -> None:
    program = (
        "from pysignal.groups.decisions import *; g = Groups();"
        "g.apply(g.create('amy', 'Public', 'g', name='crew', members=['bob', 'cy']));"
        "g.apply(g.put('h', ['bob', 'amy'], 'bob'));"
        "print(g.state_hash().hex())"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(runs) == 1
