"""What members hear of a change to their group."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable

import pytest

from pysignal.errors import SignalingError
from pysignal.groups.callbacks import GroupCallback, GroupListener, callbacks
from pysignal.groups.decisions import GroupRecord, Groups, Role

HEARD = {name for name in vars(GroupListener) if name.startswith("on_")}


def public() -> Groups:
    groups = Groups()
    groups.apply(groups.create("amy", "Public", "g", members=["bob", "cy"]))
    return groups


def heard(groups: Groups, record: GroupRecord) -> list[GroupCallback]:
    before = groups.members(record.group_id)
    calls = callbacks(record, before)
    groups.apply(record)
    assert callbacks(record, before) == calls
    return calls


def test_a_creation_is_heard_by_its_creator_and_whom_it_brings_in() -> None:
    groups = Groups()
    assert heard(groups, groups.create("amy", "Work", "g", members=["bob"])) == [
        ("on_group_created", {"group_id": "g"}, ("amy",)),
        (
            "on_member_invited",
            {"group_id": "g", "op_user": "amy", "member_list": ["bob"]},
            ("amy", "bob"),
        ),
    ]
    assert heard(groups, groups.create("amy", "Work", "h")) == [
        ("on_group_created", {"group_id": "h"}, ("amy",)),
    ]


def test_who_enters_leaves_or_is_kicked_is_told_to_all_and_hears_it() -> None:
    groups = Groups()
    groups.apply(groups.create("amy", "Meeting", "g", members=["bob"]))
    assert heard(groups, groups.join("cy", "g")) == [
        ("on_member_enter", {"group_id": "g", "member_list": ["cy"]}, ("amy", "bob", "cy")),
    ]
    assert heard(groups, groups.invite_users("amy", "g", ["dee", "bob"])) == [
        (
            "on_member_invited",
            {"group_id": "g", "op_user": "amy", "member_list": ["dee"]},
            ("amy", "bob", "cy", "dee"),
        ),
    ]
    assert heard(groups, groups.quit("bob", "g")) == [
        ("on_member_leave", {"group_id": "g", "member": "bob"}, ("amy", "cy", "dee")),
        ("on_quit_from_group", {"group_id": "g"}, ("bob",)),
    ]
    assert heard(groups, groups.kick("amy", "g", ["cy"])) == [
        (
            "on_member_kicked",
            {"group_id": "g", "op_user": "amy", "member_list": ["cy"]},
            ("amy", "cy", "dee"),
        ),
    ]
    assert heard(groups, groups.dismiss("amy", "g")) == [
        ("on_group_dismissed", {"group_id": "g", "op_user": "amy"}, ("amy", "dee")),
    ]


def test_the_heir_of_a_work_group_is_announced_and_its_last_member_hears_of_leaving_only() -> None:
    groups = Groups()
    groups.apply(groups.create("amy", "Work", "g", members=["bob"]))
    assert heard(groups, groups.quit("amy", "g")) == [
        ("on_member_leave", {"group_id": "g", "member": "amy"}, ("bob",)),
        ("on_quit_from_group", {"group_id": "g"}, ("amy",)),
        ("on_group_info_changed", {"group_id": "g", "changes": {"owner": "bob"}}, ("bob",)),
    ]
    assert heard(groups, groups.quit("bob", "g")) == [
        ("on_quit_from_group", {"group_id": "g"}, ("bob",)),
    ]


def test_roles_owner_texts_and_cards_are_told_to_all() -> None:
    groups, everybody = public(), ("amy", "bob", "cy")
    granted = {"group_id": "g", "op_user": "amy", "member_list": ["bob"]}
    assert [
        heard(groups, groups.set_role("amy", "g", "bob", Role.ADMIN)),
        heard(groups, groups.set_role("amy", "g", "bob", Role.MEMBER)),
        heard(groups, groups.set_info("amy", "g", name="crew", introduction="")),
        heard(groups, groups.set_member_info("bob", "g", "bob", name_card="B")),
        heard(groups, groups.transfer_owner("amy", "g", "bob")),
    ] == [
        [("on_grant_administrator", granted, everybody)],
        [("on_revoke_administrator", granted, everybody)],
        [("on_group_info_changed", {"group_id": "g", "changes": {"name": "crew"}}, everybody)],
        [
            (
                "on_member_info_changed",
                {"group_id": "g", "changes": {"bob": {"name_card": "B"}}},
                everybody,
            )
        ],
        [("on_group_info_changed", {"group_id": "g", "changes": {"owner": "bob"}}, everybody)],
    ]


def test_acts_of_the_server_name_no_user() -> None:
    groups = Groups()
    assert heard(groups, groups.put("g", ["bob", "cy"], "amy")) == [
        (
            "on_member_invited",
            {"group_id": "g", "op_user": "", "member_list": ["amy", "bob", "cy"]},
            ("amy", "bob", "cy"),
        ),
    ]
    assert heard(groups, groups.put("g", ["dee", "bob"])) == [
        (
            "on_member_kicked",
            {"group_id": "g", "op_user": "", "member_list": ["amy", "cy"]},
            ("amy", "bob", "cy"),
        ),
        (
            "on_member_invited",
            {"group_id": "g", "op_user": "", "member_list": ["dee"]},
            ("bob", "dee"),
        ),
        ("on_group_info_changed", {"group_id": "g", "changes": {"owner": ""}}, ("bob", "dee")),
    ]
    assert heard(groups, groups.add("g", ["eve", "bob"]))[0].parameters["member_list"] == ["eve"]
    assert heard(groups, groups.remove("g", ["eve", "amy"]))[0].parameters["member_list"] == ["eve"]
    assert heard(groups, groups.dismiss_by_server("g")) == [
        ("on_group_dismissed", {"group_id": "g", "op_user": ""}, ("bob", "dee")),
    ]


def test_nobody_hears_of_what_was_so_already() -> None:
    groups = public()
    for record in (
        groups.join("bob", "g"),
        groups.invite_users("amy", "g", ["bob"]),
        groups.set_role("amy", "g", "bob", Role.MEMBER),
        groups.set_info("amy", "g", name=""),
        groups.set_member_info("bob", "g", "bob", name_card=""),
        groups.add("g", ["bob"]),
        groups.remove("g", ["eve"]),
        groups.put("h", []),
    ):
        assert heard(groups, record) == []


OPERATIONS: list[Callable[[Groups, list[str]], GroupRecord]] = [
    lambda g, u: g.create(u[0], "Meeting", "g", members=u[1:]),
    lambda g, u: g.create(u[0], "Work", "g", members=u[1:]),
    lambda g, u: g.put("s", u[1:], u[0]),
    lambda g, u: g.put("s", u),
    lambda g, u: g.quit(u[0], "s"),
    lambda g, u: g.join(u[0], "g"),
    lambda g, u: g.quit(u[0], "g"),
    lambda g, u: g.kick(u[0], "g", u[1:]),
    lambda g, u: g.dismiss(u[0], "g"),
    lambda g, u: g.invite_users(u[0], "g", u[1:]),
    lambda g, u: g.set_role(u[0], "g", u[1], 300),
    lambda g, u: g.set_role(u[0], "g", u[1], 200),
    lambda g, u: g.transfer_owner(u[0], "g", u[1]),
    lambda g, u: g.set_info(u[0], "g", name=u[1]),
    lambda g, u: g.set_member_info(u[0], "g", u[0], name_card=u[1]),
    lambda g, u: g.add("g", u),
    lambda g, u: g.remove("g", u),
    lambda g, u: g.dismiss_by_server("g"),
]


def test_each_callback_fits_its_method_and_every_method_can_fire() -> None:
    rng = random.Random(7)
    fired: set[str] = set()
    groups = Groups()
    for _ in range(20_000):
        users = rng.sample(["amy", "bob", "cy", "dee"], 3)
        try:
            record = rng.choice(OPERATIONS)(groups, users)
        except SignalingError:
            continue
        before = set(groups.members(record.group_id))
        calls = heard(groups, record)
        concerned = before | set(groups.members(record.group_id))
        told = {user for call in calls for user in call.audience}
        assert told == (set() if record.changes_nothing else concerned)
        for name, parameters, audience in calls:
            method = getattr(GroupListener(), name)
            assert list(inspect.signature(method).parameters) == list(parameters)
            assert method(**parameters) is None
            assert len(set(audience)) == len(audience) > 0
            assert set(audience) <= concerned
            fired.add(name)
    assert fired == HEARD


def test_a_listener_can_override_with_plain_and_async_methods() -> None:
    class Mine(GroupListener):
        def on_group_created(self, group_id: str) -> None:
            self.plain = group_id

        async def on_group_dismissed(self, group_id: str, op_user: str) -> None:
            self.later = group_id, op_user

    listener = Mine()
    listener.on_group_created("g")
    assert listener.plain == "g"
    with pytest.raises(StopIteration):
        listener.on_group_dismissed("g", "amy").send(None)
    assert listener.later == ("g", "amy")
