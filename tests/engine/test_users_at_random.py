"""Numbers of users and groups that are reused all the time, against a model that knows names only.

A number goes to somebody else once nothing names it: no login, no open invitation, none that has
ended and is remembered, no fact that waits. Here the tables are so small that this happens at every
turn, and people come under names that were never seen before. The model keeps dicts by name, so
whoever inherits a number and with it a part in anything, hears or learns of it, differs from it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from machine_talk import START_MS, make, refused
from scale import scaled

from pysignal.engine.facts import Event
from pysignal.engine.machine import Machine
from pysignal.engine.refused import Refused

FOREVER_MS = 2_000  # the lifetime of what has no deadline
Told = tuple[str, str, str, tuple[str, ...]]  # kind, invite ID, actor, who was affected


@dataclass
class Call:
    """One invitation of the model."""

    name: str
    inviter: str
    status: dict[str, str]
    group: str
    due_ms: int
    data: str
    ended_ms: int | None = None

    @property
    def pending(self) -> list[str]:
        return [user for user, status in self.status.items() if status == "pending"]

    @property
    def parties(self) -> set[str]:
        return {self.inviter, *self.status}


class Village:
    """A machine with hardly any room, and what it should say by the names alone."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = random.Random(seed)
        self.limits = {
            "users_max": rng.choice([3, 5, 9]),
            "groups_max": rng.choice([1, 2]),
            "ended_max": rng.choice([0, 1, 2, 6]),
            "ended_keep_ms": rng.choice([0, 300, 60_000]),
            "capacity": rng.choice([2, 6]),
            "lifetime_ms": FOREVER_MS,
        }
        self.machine = make(**self.limits)
        self.now_ms = START_MS
        self.calls: dict[str, Call] = {}
        self.ended: list[Call] = []  # in the order of their ends
        self.logins: dict[str, int] = {}
        self.expected: list[Told] = []
        self.born = 0
        self.people = [self.newcomer() for _ in range(5)]
        self.gone: list[str] = []
        self.groups = ["group 0"]
        self.bearers: dict[int, set[str]] = {}  # of each number, as far as logins show it
        self.full = 0

    def newcomer(self) -> str:
        self.born += 1
        return f"person {self.born}"

    # -- what the model says -----------------------------------------------------------------------

    @property
    def open_calls(self) -> list[Call]:
        return [call for call in self.calls.values() if call.ended_ms is None]

    def is_remembered(self, call: Call) -> bool:
        kept = self.limits["ended_max"]
        if call.ended_ms is None or not kept or call not in self.ended[-kept:]:
            return False
        kept_ms: int = self.limits["ended_keep_ms"]
        return self.now_ms - call.ended_ms < kept_ms

    def in_use(self) -> tuple[set[str], set[str]]:
        """The users and the groups that something still names."""
        calls = self.open_calls + [call for call in self.ended[-6:] if self.is_remembered(call)]
        users = set(self.logins).union(*(call.parties for call in calls))
        return users, {call.group for call in calls if call.group}

    def has_room(self, users: set[str], group: str) -> bool:
        used_users, used_groups = self.in_use()
        return (
            len(used_users | users) <= self.limits["users_max"]
            and len(used_groups | ({group} if group else set())) <= self.limits["groups_max"]
        )

    def end(self, call: Call, status: str) -> tuple[str, ...]:
        """End all who are pending, and return who they were."""
        pending = tuple(call.pending)
        call.status.update(dict.fromkeys(pending, status))
        self.close(call)
        return pending

    def close(self, call: Call) -> None:
        if not call.pending:
            call.ended_ms = self.now_ms
            self.ended.append(call)

    def let_time_pass(self, to_ms: int) -> None:
        for call in sorted(self.open_calls, key=lambda call: call.due_ms):
            if call.due_ms <= to_ms:
                self.now_ms = call.due_ms
                self.expected.append(("timed_out", call.name, "", self.end(call, "timed_out")))
        self.now_ms = to_ms

    # -- what is done ------------------------------------------------------------------------------

    def anybody(self) -> str:
        """Somebody who is there, or who has gone, or who comes just now."""
        kind = self.rng.random()
        if kind < 0.15:
            return self.newcomer()
        if kind < 0.25 and self.gone:
            return self.rng.choice(self.gone)
        return self.rng.choice(self.people)

    def clear(self) -> None:
        """Read everything and let time catch up: what nothing names any more is given back."""
        self.read()
        while self.machine.advance(self.now_ms, self.rng.choice([1, 1 << 62])):
            pass
        self.read()
        while self.machine.advance(self.now_ms):
            pass

    def admitted(self, has_room: Callable[[], bool], operation: Callable[[], Any]) -> Any:
        """Do what needs room: refused if there is none, and then nothing has changed.

        Returns:
            What the operation returned; None where it was refused.
        """
        if self.rng.random() < 0.5:
            try:
                return operation()
            except Refused as error:
                # Perhaps only because something that nothing names was not given back yet.
                if error.result != "table_full":
                    raise
                self.machine.check()
        self.clear()
        if has_room():
            return operation()
        refused(self.machine, "table_full", operation)
        self.full += 1
        return None

    def open(self) -> None:
        rng = self.rng
        inviter = self.anybody()
        others = list(dict.fromkeys(self.anybody() for _ in range(rng.choice([1, 1, 2, 4]))))
        others = [user for user in others if user != inviter]
        group = rng.choice(["", *self.groups])
        if not others and not group:
            return
        timeout_ms = rng.choice([5, 50, 500, 30_000]) + rng.randrange(5)
        dues = {call.due_ms for call in self.open_calls}
        while self.now_ms + timeout_ms in dues:  # two at once may come in either order
            timeout_ms += 1
        data = f"{inviter} to {others}"
        single = len(others) == 1 and rng.random() < 0.7
        invite_id = self.admitted(
            lambda: (
                self.has_room({inviter, *others}, group)
                and len(self.open_calls) < self.limits["capacity"]
            ),
            lambda: self.machine.open(
                self.now_ms, inviter, others[0] if single else others, data, timeout_ms,
                group_id=group,
            ),
        )  # fmt: skip
        if invite_id is None:
            return
        assert invite_id not in self.calls
        status = dict.fromkeys(others, "pending")
        call = Call(invite_id, inviter, status, group, self.now_ms + timeout_ms, data)
        self.calls[invite_id] = call
        self.expected.append(("opened", invite_id, inviter, tuple(others)))
        self.close(call)

    def some_call(self) -> Call | None:
        recent = list(self.calls.values())[-12:]
        return self.rng.choice(recent) if recent else None

    def expected_of(self, kind: str, call: Call, user: str) -> str:
        if call.ended_ms is not None:
            return "ended" if self.is_remembered(call) else "unknown"
        if kind in ("cancel", "modify"):
            return "done" if user == call.inviter else "not_party"
        if user not in call.status:
            return "not_party"
        pending = call.status[user] == "pending"
        return "done" if pending or kind == "mark_told" else "answered"

    def operate(self) -> None:
        call = self.some_call()
        if call is None:
            return
        user = self.rng.choice([call.inviter, *call.status])
        if self.rng.random() < 0.5:
            user = self.anybody()
        kind = self.rng.choice(["accept", "accept", "reject", "cancel", "modify", "mark_told"])
        operation = getattr(self.machine, kind)
        result = self.expected_of(kind, call, user)
        if result != "done":
            error = refused(self.machine, result, operation, self.now_ms, call.name, user)
            tells = result in ("ended", "answered") and user in call.parties
            assert (error.info is not None) == tells
            assert error.info is None or error.info.statuses == call.status
            return
        operation(self.now_ms, call.name, user)
        if kind == "modify":
            call.data = ""
            self.expected.append(("modified", call.name, user, ()))
        elif kind == "cancel":
            self.expected.append(("cancelled", call.name, user, self.end(call, "cancelled")))
        elif kind != "mark_told":
            call.status[user] = f"{kind}ed"
            self.expected.append((f"{kind}ed", call.name, user, (user,)))
            self.close(call)

    def leave(self) -> None:
        user, group = self.anybody(), self.rng.choice([*self.groups, "group never seen"])
        self.machine.leave(self.now_ms, user, group)
        for call in [call for call in self.open_calls if call.group == group]:
            if call.inviter == user:
                self.expected.append(("cancelled", call.name, user, self.end(call, "cancelled")))
            elif user in call.pending:
                call.status[user] = "rejected"
                self.expected.append(("rejected", call.name, user, (user,)))
                self.close(call)

    def dismiss(self) -> None:
        group = self.rng.choice([*self.groups, "group never seen"])
        self.machine.dismiss(self.now_ms, group)
        for call in [call for call in self.open_calls if call.group == group]:
            self.expected.append(("cancelled", call.name, "", self.end(call, "cancelled")))

    def login(self) -> None:
        user = self.anybody()
        if self.logins and self.rng.random() < 0.6:
            user = self.rng.choice(list(self.logins))
            self.machine.unhold(user)
            self.logins[user] -= 1
            if not self.logins[user]:
                del self.logins[user]
            return
        number = self.admitted(lambda: self.has_room({user}, ""), lambda: self.machine.hold(user))
        if number is not None:
            self.logins[user] = self.logins.get(user, 0) + 1
            self.bearers.setdefault(number, set()).add(user)

    def move(self) -> None:
        """Let people and groups go, and others come in their place."""
        self.gone = [*self.gone[-3:], self.people.pop(self.rng.randrange(len(self.people)))]
        self.people.append(self.newcomer())
        if self.rng.random() < 0.5:
            self.born += 1
            self.groups = [*self.groups[-1:], f"group {self.born}"]

    def wait(self) -> None:
        self.let_time_pass(self.now_ms + self.rng.choice([1, 1, 10, 100, 400, 60_000]))
        while self.machine.advance(self.now_ms, self.rng.choice([1, 1 << 62])):
            pass

    # -- comparing ---------------------------------------------------------------------------------

    def read(self) -> None:
        events = self.machine.take()
        assert [told_by(event) for event in events] == self.expected
        self.expected.clear()
        for event in events:
            call = self.calls[event.invite_id]
            assert (event.inviter, event.group_id) == (call.inviter, call.group)
            assert event.invitees == tuple(call.status)

    def check(self) -> None:
        self.clear()
        self.machine.check()
        stats = self.machine.stats()
        users, groups = self.in_use()
        assert (stats["users"], stats["groups"]) == (len(users), len(groups))
        for user in [*self.people, *self.gone, self.newcomer()]:
            open_calls = self.open_calls
            waits = [call.name for call in open_calls if user in call.pending]
            sent = [call.name for call in open_calls if call.inviter == user]
            assert [info.invite_id for info in self.machine.pending_of(user)] == waits
            assert [info.invite_id for info in self.machine.opened_by(user)] == sent
            assert sorted(self.machine.open_ids_of(user)) == sorted(waits + sent)
        for group in [*self.groups, "group never seen"]:
            found = [info.invite_id for info in self.machine.open_in(group)]
            assert found == [call.name for call in self.open_calls if call.group == group]
        for call in list(self.calls.values())[-40:]:
            info = self.machine.info(call.name)
            assert (info is not None) == (call.ended_ms is None or self.is_remembered(call))
            if info is not None:
                assert (info.inviter, info.group_id) == (call.inviter, call.group)
                assert info.statuses == call.status


def told_by(event: Event) -> Told:
    affected = event.invitees if event.kind == "opened" else event.affected
    return event.kind, event.invite_id, event.actor, affected


@pytest.mark.parametrize("seed", range(16))
def test_who_inherits_a_number_inherits_nothing_else(seed: int) -> None:
    village = Village(seed)
    acts = [village.open, village.operate, village.login, village.move, village.wait]
    acts += [village.leave, village.dismiss]
    for step in range(scaled(2_500, at_least=1_000)):
        village.rng.choices(acts, [30, 35, 15, 12, 15, 4, 2])[0]()
        if step % 10 == 0:
            village.check()
    village.check()
    shared = [names for names in village.bearers.values() if len(names) > 1]
    assert shared, "no number was reused"
    assert village.full, "no table was ever full"


# -- one by one ------------------------------------------------------------------------------------


def ended_call(machine: Machine) -> str:
    invite_id = machine.open(START_MS, "amy", ["ben"], "secret", group_id="g")
    machine.accept(START_MS, invite_id, "ben")
    return invite_id


def test_a_number_that_a_remembered_end_names_is_given_to_nobody() -> None:
    machine = make(users_max=3, ended_keep_ms=60_000)
    invite_id = ended_call(machine)
    machine.take()
    assert machine.hold("cat") == 2
    for now_ms in (START_MS, START_MS + 59_999):
        machine.advance(now_ms)
        error = refused(machine, "table_full", machine.hold, "dan")
        assert error.info is None
        for user in ("cat", "dan"):
            assert refused(machine, "ended", machine.accept, now_ms, invite_id, user).info is None
            assert refused(machine, "ended", machine.cancel, now_ms, invite_id, user).info is None
        for user in ("amy", "ben"):
            assert refused(machine, "ended", machine.accept, now_ms, invite_id, user).info
    machine.advance(START_MS + 60_000)
    assert {machine.hold("dan"), machine.hold("eve")} == {0, 1}
    for user in ("dan", "eve", "amy", "ben"):
        for operation in (machine.accept, machine.reject, machine.cancel, machine.modify):
            error = refused(machine, "unknown", operation, machine.now_ms, invite_id, user)
            assert error.info is None
        assert not machine.is_told(invite_id, user)
        assert machine.pending_of(user) == machine.opened_by(user) == []


def test_a_number_that_a_waiting_fact_names_is_given_to_nobody() -> None:
    """Even where an end is forgotten at once: who reads of it reads the names of then."""
    machine = make(users_max=2, groups_max=1, ended_max=0)
    ended_call(machine)
    for _ in range(5):
        refused(machine, "table_full", machine.hold, "cat")
        refused(machine, "table_full", machine.open, START_MS, "cat", "dan")
        refused(machine, "table_full", machine.open, START_MS, "amy", ["ben"], group_id="h")
        machine.advance(START_MS)
    told = [(event.inviter, event.invitees, event.group_id) for event in machine.take()]
    assert told == [("amy", ("ben",), "g")] * 2
    assert {machine.hold("cat"), machine.hold("dan")} == {0, 1}
    assert machine.open(START_MS, "cat", ["dan"], group_id="h")


def test_a_group_that_inherits_a_number_inherits_no_invitation_and_loses_none() -> None:
    machine = make(groups_max=1, ended_keep_ms=60_000)
    old = ended_call(machine)
    machine.take()
    refused(machine, "table_full", machine.open, START_MS, "amy", ["ben"], group_id="h")
    info = machine.info(old)
    assert info is not None
    assert info.group_id == "g"
    machine.advance(START_MS + 60_000)
    new = machine.open(machine.now_ms, "amy", ["ben"], group_id="h")
    assert machine.open_in("g") == []
    assert not machine.dismiss(machine.now_ms, "g")
    assert not machine.leave(machine.now_ms, "amy", "g")
    assert [info.invite_id for info in machine.open_in("h")] == [new]
    (event,) = machine.take()
    assert (event.kind, event.group_id) == ("opened", "h")


def test_whoever_stays_in_an_open_invitation_keeps_the_number_through_any_traffic() -> None:
    machine = make(users_max=4, ended_max=0)
    invite_id = machine.open(START_MS, "amy", "ben", timeout_ms=30 * 86_400_000)
    number = machine.hold("ben")
    machine.unhold("ben")
    machine.take()
    for passer in range(scaled(2_000, at_least=50)):
        other = machine.open(START_MS, f"passer-by {passer}", f"friend {passer}")
        assert refused_party(machine, invite_id, f"friend {passer}")
        machine.cancel(START_MS, other, None)
        machine.take()
    assert machine.hold("ben") == number
    machine.accept(START_MS, invite_id, "ben")
    (event,) = machine.take()
    assert (event.actor, event.inviter) == ("ben", "amy")


def refused_party(machine: Machine, invite_id: str, stranger: str) -> bool:
    """Whether a stranger to an open invitation is told just that."""
    with pytest.raises(Refused) as caught:
        machine.accept(machine.now_ms, invite_id, stranger)
    return caught.value.result == "not_party" and caught.value.info is None
