"""What the machine does with each operation, in each state, for each who asks (SPEC 2, 3)."""

from __future__ import annotations

import re
from typing import Any

import pytest
from machine_talk import START_MS, kinds, make, refused, statuses

from pysignal.engine.machine import TIMEOUT_MS_MAX, Machine

# -- the transition table --------------------------------------------------------------------------

OPERATIONS = ("accept", "reject", "cancel", "modify", "mark_told")
ROLES = ("inviter", "pending", "answered", "stranger")
STANDINGS = ("one", "list", "list answered", "online", "completed", "cancelled", "timed_out")


def stand(machine: Machine, standing: str) -> str:
    """Bring an invitation to where it stands; "pending" and "answered" are its invitees."""
    invitees: str | list[str] = ["pending", "answered"] if "list" in standing else "pending"
    invite_id = machine.open(
        START_MS, "inviter", invitees, "data", 1_000, online_only=standing == "online"
    )
    if standing == "list answered":
        machine.accept(START_MS, invite_id, "answered")
    elif standing == "completed":
        machine.reject(START_MS, invite_id, "pending")
    elif standing == "cancelled":
        machine.cancel(START_MS, invite_id, "inviter")
    elif standing == "timed_out":
        machine.advance(START_MS + 1_000)
    return invite_id


def expected(standing: str, operation: str, role: str) -> str:
    """Say what SPEC says: the result of an operation before the deadline."""
    if standing in {"completed", "cancelled", "timed_out"}:
        return "ended"  # existence comes before permission
    if operation in {"cancel", "modify"}:
        if role != "inviter":
            return "not_party"
        return "not_modifiable" if (operation, standing) == ("modify", "online") else "done"
    if role == "pending" or (role == "answered" and standing == "list"):
        return "done"
    if role == "answered" and standing == "list answered":
        return "done" if operation == "mark_told" else "answered"
    return "not_party"


def act(machine: Machine, operation: str, now_ms: int, invite_id: str, role: str) -> None:
    getattr(machine, operation)(now_ms, invite_id, role)


@pytest.mark.parametrize("moment", ["before", "at", "advanced"])
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("standing", STANDINGS)
def test_every_operation_by_everybody_in_every_state(
    standing: str, operation: str, role: str, moment: str
) -> None:
    machine = make()
    invite_id = stand(machine, standing)
    machine.hold("stranger")
    is_open = standing not in {"completed", "cancelled", "timed_out"}
    deadline_ms = START_MS + 1_000
    result = expected(standing, operation, role)
    if moment != "before":
        result = "due" if is_open and moment == "at" else "ended"
    now_ms = deadline_ms - 1 if moment == "before" else deadline_ms
    machine.advance(deadline_ms - 1 if result == "due" else now_ms)
    if result != "done":
        error = refused(machine, result, act, machine, operation, now_ms, invite_id, role)
        is_party = role in {"inviter", "pending"} or (role == "answered" and "list" in standing)
        tells = result in {"ended", "answered"} and is_party
        assert (error.info is not None) == tells
        return
    before = machine.state_hash()
    act(machine, operation, now_ms, invite_id, role)
    machine.check()
    assert machine.state_hash() != before
    told = {"accept": "accepted", "reject": "rejected"}.get(operation)
    if told:
        assert statuses(machine, invite_id)[role] == told


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("invite_id", ["", "0" * 26, "z" * 26, "ü" * 26, "\U0001f600", "0" * 27])
def test_an_unknown_or_malformed_id_names_nothing(operation: str, invite_id: str) -> None:
    machine = make()
    machine.open(START_MS, "a", "b")
    error = refused(machine, "unknown", getattr(machine, operation), START_MS, invite_id, "a")
    assert error.info is None
    assert machine.info(invite_id) is None
    assert not machine.is_told(invite_id, "b")


def test_an_id_of_another_shard_or_key_names_nothing() -> None:
    machine = make(key=b"k" * 16)
    invite_id = machine.open(START_MS, "a", "b")
    for other in (make(key=b"k" * 16, shard=1), make(key=b"l" * 16)):
        other.open(START_MS, "a", "b")
        refused(other, "unknown", other.accept, START_MS, invite_id, "b")


def test_only_an_own_accept_accepts() -> None:
    machine = make()
    invite_id = machine.open(START_MS, "a", ["b", "c"], group_id="g")
    for user in ("a", "d", ""):
        refused(machine, "not_party", machine.accept, START_MS, invite_id, user)
    machine.accept(START_MS, invite_id, "b")
    assert statuses(machine, invite_id) == {"b": "accepted", "c": "pending"}


# -- opening ---------------------------------------------------------------------------------------


def test_an_invitation_to_several_ends_when_all_have_answered() -> None:
    machine = make()
    invite_id = machine.open(START_MS, "a", ["b", "c", "d"], "data")
    machine.accept(START_MS, invite_id, "c")
    machine.reject(START_MS, invite_id, "b")
    assert machine.stats()["open"] == 1
    machine.accept(START_MS, invite_id, "d")
    info = machine.info(invite_id)
    assert info is not None
    assert info.state == "completed"
    assert info.statuses == {"b": "rejected", "c": "accepted", "d": "accepted"}
    assert kinds(machine) == [
        ("opened", "", ("b", "c", "d")),
        ("accepted", "", ("c",)),
        ("rejected", "", ("b",)),
        ("accepted", "", ("d",)),
    ]


@pytest.mark.parametrize("count", [2, 8, 9, 16, 17, 100, 2_000])
def test_lists_of_every_size_are_answered_one_by_one(count: int) -> None:
    machine = make()
    users = [f"u{i}" for i in range(count)]
    invite_id = machine.open(START_MS, "a", users)
    for user in reversed(users[1:]):
        machine.accept(START_MS, invite_id, user)
        refused(machine, "answered", machine.reject, START_MS, invite_id, user)
        if count > 100:
            machine.take()
            break
    machine.cancel(START_MS, invite_id, "a")
    told = list(statuses(machine, invite_id).values())
    answered = 1 if count > 100 else count - 1
    assert told == ["cancelled"] * (count - answered) + ["accepted"] * answered


def test_an_empty_list_of_a_group_is_born_completed() -> None:
    machine = make()
    invite_id = machine.open(START_MS, "a", [], "to all", group_id="g")
    (event,) = machine.take()
    assert (event.kind, event.ends, event.invitee_list, event.seq) == ("opened", True, [], 1)
    assert event.data == "to all"
    info = machine.info(invite_id)
    assert info is not None
    assert (info.state, info.seq, info.data) == ("completed", 1, "")
    assert machine.stats()["timers"] == 0
    refused(machine, "ended", machine.cancel, START_MS, invite_id, "a")


@pytest.mark.parametrize(
    ("invitees", "group", "match"),
    [
        ("a", "", "the inviter is among them"),
        (["b", "a"], "g", "the inviter is among them"),
        (["b", "c", "b"], "", "twice"),
        ([], "", "nobody"),
        ("", "", "a name is needed"),
        (["b", ""], "g", "a name is needed"),
        ("x" * 256, "", "at most 255 bytes"),
        (["\U0001f600" * 64], "", "at most 255 bytes"),
        ("b", "g" * 256, "at most 255 bytes"),
        ([f"u{i}" for i in range(11)], "", "at most 10, not 11"),
    ],
)
def test_invitees_that_cannot_be_are_refused(
    invitees: str | list[str], group: str, match: str
) -> None:
    machine = make(invitees_max=10)
    before = machine.state_hash()
    with pytest.raises(ValueError, match=re.escape(match)):
        machine.open(START_MS, "a", invitees, group_id=group)
    machine.check()
    assert machine.state_hash() == before
    assert machine.position == 0


@pytest.mark.parametrize("invitees", [None, ("b",), 5, [None], [5], ["b", b"c"]])
def test_invitees_of_another_type_are_refused(invitees: Any) -> None:
    machine = make()
    with pytest.raises(TypeError):
        machine.open(START_MS, "a", invitees)
    machine.check()
    assert machine.position == 0


def test_names_of_the_greatest_length_are_kept() -> None:
    machine = make(journaled=True)
    name = "\U0001f600" * 63 + "abc"
    assert len(name.encode()) == 255
    invite_id = machine.open(START_MS, name, "b", group_id=name)
    assert machine.records()
    info = machine.info(invite_id)
    assert info is not None
    assert (info.inviter, info.group_id) == (name, name)


def test_ids_differ_even_where_random_bits_repeat() -> None:
    """The generation of the slot is in the ID, so its next invitation has another."""
    ids = set()
    machine = make(ended_max=0)
    for _ in range(600):  # more than one refill of the source
        invite_id = machine.open(START_MS, "a", "b")
        machine.cancel(START_MS, invite_id, "a")
        machine.take()
        refused(machine, "unknown", machine.accept, START_MS, invite_id, "b")
        ids.add(invite_id)
    assert len(ids) == 600
    assert machine.stats()["slots"] == 1


# -- cancelling and modifying ----------------------------------------------------------------------


def test_a_cancellation_takes_only_who_is_pending() -> None:
    machine = make()
    invite_id = machine.open(START_MS, "a", ["b", "c", "d"], "data")
    machine.reject(START_MS, invite_id, "c", "no")
    machine.cancel(START_MS, invite_id, "a", "never mind", device=3)
    event = machine.take()[-1]
    assert (event.kind, event.reason, event.actor, event.ends) == ("cancelled", "", "a", True)
    assert (event.data, event.invitation_data) == ("never mind", "data")
    assert event.affected == ("b", "d")
    info = machine.info(invite_id)
    assert info is not None
    assert (info.state, info.ended_by) == ("cancelled", 3)
    assert info.statuses == {"b": "cancelled", "c": "rejected", "d": "cancelled"}


def test_the_server_cancels_anything() -> None:
    machine = make()
    invite_id = machine.open(START_MS, "a", "b")
    machine.cancel(START_MS, invite_id, None)
    event = machine.take()[-1]
    assert (event.kind, event.reason, event.actor) == ("cancelled", "server", "")
    refused(machine, "ended", machine.cancel, START_MS, invite_id, None)


def test_modifying_counts_versions_and_events() -> None:
    machine = make()
    invite_id = machine.open(START_MS, "a", ["b", "c"], "v1")
    machine.modify(START_MS, invite_id, "a", "v2", expected_version=1)
    machine.accept(START_MS, invite_id, "b")
    error = refused(
        machine, "conflict", machine.modify, START_MS, invite_id, "a", "no", expected_version=1
    )
    assert error.info is not None
    assert error.info.data_version == 2
    machine.modify(START_MS, invite_id, "a", "v3")
    machine.advance(START_MS + 30_000)
    events = machine.take()
    assert [event.seq for event in events] == [1, 2, 3, 4, 5]
    assert [event.data_version for event in events] == [1, 2, 2, 3, 3]
    assert [event.invitation_data for event in events] == ["v1", "v2", "v2", "v3", "v3"]
    assert events[1].affected == events[3].affected == ()
    info = machine.info(invite_id)
    assert info is not None
    assert (info.seq, info.data_version) == (5, 3)


def test_told_is_remembered_of_each_invitee_and_commits_once() -> None:
    machine = make(journaled=True)
    one = machine.open(START_MS, "a", "b")
    many = machine.open(START_MS, "a", ["b", "c"])
    for invite_id in (one, many):
        assert not machine.is_told(invite_id, "b")
        machine.mark_told(START_MS, invite_id, "b")
        position = machine.position
        machine.mark_told(START_MS, invite_id, "b")
        assert machine.position == position
        assert machine.is_told(invite_id, "b")
    assert not machine.is_told(many, "c")
    assert not machine.is_told(many, "nobody")
    assert len(machine.records()) == 4
    assert len(machine.take()) == 2  # nobody hears of a mark


# -- groups ----------------------------------------------------------------------------------------


def test_leaving_ends_a_users_part_in_the_order_of_opening() -> None:
    machine = make()
    asked = machine.open(START_MS, "b", ["a", "c"], group_id="g")
    sent = machine.open(START_MS, "a", ["b", "c"], "data", group_id="g")
    last = machine.open(START_MS, "b", ["a"], group_id="g")
    elsewhere = machine.open(START_MS, "a", ["b"], group_id="h")
    apart = machine.open(START_MS, "b", "a")
    answered = machine.open(START_MS, "b", ["a", "c"], group_id="g")
    machine.accept(START_MS, answered, "a")
    machine.take()
    assert not machine.leave(START_MS, "a", "g")
    events = machine.take()
    assert [(event.invite_id, event.kind, event.affected) for event in events] == [
        (asked, "rejected", ("a",)),
        (sent, "cancelled", ("b", "c")),
        (last, "rejected", ("a",)),
    ]
    assert {event.reason for event in events} == {"left_group"}
    assert {(event.actor, event.data) for event in events} == {("a", "")}
    assert [event.ends for event in events] == [False, True, True]
    assert statuses(machine, elsewhere) == {"b": "pending"}
    assert statuses(machine, apart) == {"a": "pending"}
    assert statuses(machine, answered) == {"a": "accepted", "c": "pending"}


def test_a_dismissal_cancels_all_of_a_group_in_the_order_of_opening() -> None:
    machine = make()
    ids = [machine.open(START_MS, u, ["x", "y"], group_id="g") for u in ("a", "b", "a")]
    other = machine.open(START_MS, "a", ["x"], group_id="h")
    machine.accept(START_MS, ids[1], "x")
    machine.take()
    assert not machine.dismiss(START_MS, "g")
    events = machine.take()
    assert [event.invite_id for event in events] == ids
    assert {(event.kind, event.reason) for event in events} == {("cancelled", "group_dismissed")}
    assert [event.affected for event in events] == [("x", "y"), ("y",), ("x", "y")]
    assert statuses(machine, other) == {"x": "pending"}
    assert machine.open_in("g") == []


@pytest.mark.parametrize("how", ["leave", "dismiss"])
def test_group_changes_go_in_slices_and_say_when_there_is_more(how: str) -> None:
    machine = make()
    for i in range(10):
        if i % 2:
            machine.open(START_MS, "a", ["b", "c"], group_id="g")
        else:
            machine.open(START_MS, "b", ["a", "c"], group_id="g")
    machine.take()
    args = ("a", "g") if how == "leave" else ("g",)
    slices = 1
    while getattr(machine, how)(START_MS, *args, 1):
        machine.check()
        slices += 1
    assert slices in {10, 11}
    events = machine.take()
    assert [event.position for event in events] == sorted(event.position for event in events)
    assert len({event.invite_id for event in events}) == 10
    assert not getattr(machine, how)(START_MS, *args, 1)
    assert machine.take() == []


def test_groups_and_users_that_nobody_knows_change_nothing() -> None:
    machine = make()
    machine.open(START_MS, "a", ["b"], group_id="g")
    before = machine.state_hash()
    assert not machine.leave(START_MS, "nobody", "g")
    assert not machine.leave(START_MS, "a", "nowhere")
    assert not machine.dismiss(START_MS, "nowhere")
    assert machine.pending_of("nobody") == machine.opened_by("nobody") == []
    assert machine.open_in("nowhere") == []
    assert machine.state_hash() == before


# -- limits ----------------------------------------------------------------------------------------


def test_a_full_table_refuses_the_next_and_goes_on_when_one_has_ended() -> None:
    machine = make(capacity=3)
    ids = [machine.open(START_MS, "a", "b") for _ in range(3)]
    machine.take()
    refused(machine, "table_full", machine.open, START_MS, "a", "b")
    refused(machine, "table_full", machine.open, START_MS, "a", ["b", "c"])
    refused(machine, "table_full", machine.open, START_MS, "a", [], group_id="g")
    machine.accept(START_MS, ids[0], "b")
    machine.open(START_MS, "a", "b")
    refused(machine, "table_full", machine.open, START_MS, "a", "b")


def test_a_full_table_of_users_refuses_new_names_only() -> None:
    machine = make(users_max=2, groups_max=1, ended_max=0)
    machine.open(START_MS, "a", "b")
    refused(machine, "table_full", machine.open, START_MS, "a", "c")
    refused(machine, "table_full", machine.open, START_MS, "a", ["b", "c"])
    refused(machine, "table_full", machine.open, START_MS, "c", "a")
    refused(machine, "table_full", machine.hold, "c")
    machine.hold("a")
    invite_id = machine.open(START_MS, "b", ["a"], group_id="g")
    refused(machine, "table_full", machine.open, START_MS, "b", ["a"], group_id="h")
    machine.cancel(START_MS, invite_id, "b")
    machine.take()
    machine.open(START_MS, "b", ["a"], group_id="h")  # the other group's number is free again


def test_limits_out_of_range_are_refused() -> None:
    for limits in (
        {"capacity": 0}, {"capacity": 2**28 + 1}, {"ended_max": 2**28 + 1}, {"shard": 4096},
        {"lifetime_ms": 0}, {"lifetime_ms": TIMEOUT_MS_MAX + 1}, {"key": b"short"},
        {"users_max": 2**31}, {"groups_max": 2**31},
    ):  # fmt: skip
        with pytest.raises(ValueError, match=next(iter(limits))):
            make(**limits)


def test_a_login_keeps_its_number_until_it_is_counted_off() -> None:
    machine = make()
    number = machine.hold("a")
    assert machine.hold("a") == number
    machine.unhold("a")
    machine.hold("b")
    assert machine.hold("a") == number
    machine.unhold("a")
    machine.unhold("a")
    for user in ("a", "nobody"):
        with pytest.raises(KeyError, match=user):
            machine.unhold(user)
    machine.open(START_MS, "a", "b")
    with pytest.raises(KeyError):
        machine.unhold("a")  # named by an invitation, and not logged in
    machine.check()


def test_an_empty_machine_is_small() -> None:
    assert make().stats()["memory_bytes"] < 65_536


# -- reading ---------------------------------------------------------------------------------------


def test_with_a_journal_nothing_is_told_before_it_was_recorded() -> None:
    machine = make(journaled=True)
    invite_id = machine.open(START_MS, "a", "b")
    assert machine.take() == []
    assert len(machine.records()) == 1
    machine.accept(START_MS, invite_id, "b")
    assert [event.kind for event in machine.take()] == ["opened"]
    assert machine.take() == []
    assert len(machine.records()) == 1
    assert machine.records() == []
    assert machine.take(1) == []  # the next is at position 2
    assert machine.waiting == 1
    assert [event.kind for event in machine.take(2)] == ["accepted"]
    assert machine.waiting == 0


def test_without_a_journal_there_are_no_records() -> None:
    machine = make()
    machine.open(START_MS, "a", "b")
    with pytest.raises(ValueError, match="journaled"):
        machine.records()
    assert len(machine.take()) == 1


def test_lists_of_a_user_and_a_group_are_oldest_first() -> None:
    machine = make()
    ids = [
        machine.open(START_MS, "a", "b"),
        machine.open(START_MS, "a", ["b", "c"], group_id="g"),
        machine.open(START_MS, "c", "b"),
        machine.open(START_MS, "a", ["c", "b"]),
    ]
    assert [info.invite_id for info in machine.pending_of("b")] == ids
    assert [info.invite_id for info in machine.opened_by("a")] == [ids[0], ids[1], ids[3]]
    assert [info.invite_id for info in machine.open_in("g")] == [ids[1]]
    machine.accept(START_MS, ids[1], "b")
    assert [info.invite_id for info in machine.pending_of("b")] == [ids[0], ids[2], ids[3]]
    (info,) = machine.open_in("g")
    assert (info.pending, info.invitee_list) == (["c"], ["b", "c"])
    assert info.group_id == "g"
