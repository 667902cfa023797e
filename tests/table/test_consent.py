"""Consent: only an invitee's own accept makes ACCEPTED (A3), over all sequences of everything else.

Here is all that anybody may do to a machine but that accept: every operation of the inviter, of the
other invitee and of names that only look like the invitee's, what the invitee does beside
accepting, leaving and dismissal, marks, time, and asking again. All sequences of it are explored,
by way of the states that they lead to:

* Sequences are first explored on exact states. Two of them that lead to one `state_hash` go on in
  the same way, because the hash covers all that a machine keeps of invitations, its commit position
  and its time, and nothing else is read: every state here is made afresh by replaying its records
  (C5), so that nothing else can have come along. An operation that is refused leads nowhere new.
* The longest are explored on what matters: how the invitations stand, told marks, and the time that
  each has left, without commit positions and versions. That these make no difference is checked:
  of all states met, exact ones too, those that look the same have the same outcome of everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
from machine_talk import START_MS, make

from pysignal.engine import snapshot
from pysignal.engine.machine import Machine
from pysignal.engine.refused import Refused

KEY = b"sixteen bytes..."
INVITER, INVITEE, OTHER = "amy", "bob", "carol"
LOOKALIKES = ("", "bob ")
GROUP = "g"
TIMEOUT_MS = KEEP_MS = 1_000
STEP_MS = 500  # half of either: something is between, at and after each end
EXACT_LENGTH, LENGTH = 5, 6

Operation = Callable[..., object]  # of a machine, the time, and an ID
SHAPES: dict[str, dict[str, Any]] = {
    "one": {"invitees": INVITEE},
    "list": {"invitees": [OTHER, INVITEE]},
    "group": {"invitees": [INVITEE, OTHER], "group_id": GROUP},
    "notice": {"invitees": INVITEE, "timeout_ms": 0},
}


def machine_at(now_ms: int = START_MS) -> Machine:
    return make(
        key=KEY, now_ms=now_ms, journaled=True, ended_keep_ms=KEEP_MS, lifetime_ms=TIMEOUT_MS
    )


# -- what anybody may do ---------------------------------------------------------------------------


def on_an_invitation() -> Iterator[Operation]:
    """Everything that names an invitation, but the invitee's own accept.

    Data and device may well say that they are the invitee's.
    """
    for user in (INVITER, OTHER, *LOOKALIKES, INVITEE):
        if user != INVITEE:
            yield lambda m, now_ms, name, user=user: m.accept(now_ms, name, user, INVITEE, device=1)
        yield lambda m, now_ms, name, user=user: m.reject(now_ms, name, user, "accepted")
        yield lambda m, now_ms, name, user=user: m.cancel(now_ms, name, user, "accepted")
        yield lambda m, now_ms, name, user=user: m.modify(now_ms, name, user, "bob has accepted")
        yield lambda m, now_ms, name, user=user: m.mark_told(now_ms, name, user)
    yield lambda m, now_ms, name: m.cancel(now_ms, name, None)


def on_everything(shape: str) -> Iterator[Operation]:
    """Everything that names none: group changes, time, and the same users once more."""
    for user in (INVITER, INVITEE, OTHER):
        yield lambda m, now_ms, _, user=user: m.leave(now_ms, user, GROUP)
    yield lambda m, now_ms, _: m.dismiss(now_ms, GROUP)
    yield lambda m, now_ms, _: m.advance(now_ms + STEP_MS)
    yield lambda m, now_ms, _: ask(m, now_ms, shape)


def ask(machine: Machine, now_ms: int, shape: str) -> str:
    options = {"timeout_ms": TIMEOUT_MS} | SHAPES[shape]
    return machine.open(now_ms, INVITER, data="data", **options)


# -- states ----------------------------------------------------------------------------------------


class Standing(NamedTuple):
    """All of an invitation that matters to what comes."""

    state: str = "forgotten"
    statuses: tuple[tuple[str, str], ...] = ()
    told: tuple[str, ...] = ()
    age_ms: int = 0  # since it was opened, or has ended


FORGOTTEN = Standing()
Look = tuple[Standing, ...]
Outcome = tuple[str, Look]  # what was told, and what it looks like then where it has changed


def look(machine: Machine, names: tuple[str, ...]) -> Look:
    """What matters of a machine, from the oldest invitation to the newest."""
    return tuple(standing(machine, name) for name in names)


def standing(machine: Machine, name: str) -> Standing:
    info = machine.info(name)
    if info is None:
        return FORGOTTEN
    statuses = tuple(info.statuses.items())
    told = tuple(user for user, _ in statuses if machine.is_told(name, user))
    since_ms = info.opened_at if info.ended_at is None else info.ended_at
    return Standing(info.state, statuses, told, machine.now_ms - since_ms)


@dataclass(frozen=True, slots=True)
class State:
    """A machine, as what it can be made from again: its records, its time, and the IDs it gave.

    `seen` is what it looks like.
    """

    records: tuple[bytes, ...]
    now_ms: int
    names: tuple[str, ...]
    seen: Look

    def machine(self) -> Machine:
        copy = machine_at()
        for record in self.records:
            assert snapshot.apply(copy, record)
        copy.advance(self.now_ms)
        return copy


class Exploration:
    """All that can come of one invitation.

    Attributes:
        shape: how it was opened.
        more: operations to have as well.
        accepted: who was ever found accepted.
        behaviour: what comes of every operation, by what the machine looked like.
    """

    def __init__(self, shape: str, *more: Operation) -> None:
        self.shape = shape
        self.named = [*on_an_invitation(), *more]
        self.unnamed = list(on_everything(shape))
        self.accepted: set[str] = set()
        self.behaviour: dict[Look, list[Outcome]] = {}
        machine = machine_at()
        name = ask(machine, START_MS, shape)
        self.first = self.note(State((), START_MS, (), ()), machine, name)

    def note(self, before: State, machine: Machine, *opened: str) -> State:
        """The state that a machine has come to, after a look at who has accepted."""
        records = (*before.records, *machine.records())
        for event in machine.take():
            if event.kind == "accepted":
                self.accepted.update(event.affected)
        names = (*before.names, *opened)
        seen = look(machine, names)
        for one in seen:
            self.accepted.update(user for user, status in one.statuses if status == "accepted")
        return State(records, machine.now_ms, names, seen)

    def calls(self, state: State) -> Iterator[tuple[Operation, str]]:
        for name in state.names:
            for operation in self.named:
                yield operation, name
        for operation in self.unnamed:
            yield operation, ""

    def outcomes(self, state: State) -> Iterator[tuple[Outcome, State, Machine]]:
        """Do everything once to a state: what was told, and the machine where it has changed."""
        machine = state.machine()
        for operation, name in self.calls(state):
            position = machine.position
            try:
                opened = operation(machine, state.now_ms, name)
            except Refused as refused:
                assert machine.position == position
                yield (refused.result, ()), state, machine
                continue
            if machine.position == position and machine.now_ms == state.now_ms:
                yield ("nothing", ()), state, machine
                continue
            names = (opened,) if isinstance(opened, str) else ()
            after = self.note(state, machine, *names)
            yield ("done", after.seen), after, machine
            machine = state.machine()

    def explore(self, length: int, identify: Callable[[State, Machine], object]) -> int:
        """Follow all sequences up to a length; returns how many states they lead through."""
        seen: set[object] = {identify(self.first, self.first.machine())}
        level = [self.first]
        for steps_left in range(length - 1, -1, -1):
            following: list[State] = []
            for state in level:
                told: list[Outcome] = []
                for outcome, after, machine in self.outcomes(state):
                    told.append(outcome)
                    if after is state or not steps_left:
                        continue
                    identity = identify(after, machine)
                    if identity not in seen:
                        seen.add(identity)
                        following.append(after)
                same = self.behaviour.setdefault(state.seen, told)
                assert same == told, f"{state.seen} hides what matters"
            level = following
        return len(seen)


def exactly(state: State, machine: Machine) -> object:
    return machine.state_hash()


def what_matters(state: State, machine: Machine) -> object:
    return state.seen


@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_but_the_invitees_own_accept_accepts(shape: str) -> None:
    exploration = Exploration(shape)
    assert exploration.explore(EXACT_LENGTH, exactly) > 1_000
    assert exploration.explore(LENGTH, what_matters) > 500
    is_asked = OTHER in SHAPES[shape]["invitees"]
    assert exploration.accepted == ({OTHER} if is_asked else set())  # it does, for itself


@pytest.mark.parametrize("shape", SHAPES)
def test_the_exploration_finds_an_accept(shape: str) -> None:
    exploration = Exploration(shape, accept_as_invitee)
    exploration.explore(1, exactly)
    assert INVITEE in exploration.accepted


@pytest.mark.parametrize("shape", SHAPES)
def test_no_copy_of_a_state_is_another_state(shape: str) -> None:
    """Replaying, replaying twice and restoring, at any point of a sequence, change nothing."""
    exploration, copied = Exploration(shape), 0

    def identify(state: State, machine: Machine) -> str:
        nonlocal copied
        copied += 1
        identity = machine.state_hash()
        for copy in (state.machine(), restored(machine)):
            assert [snapshot.apply(copy, record) for record in state.records] == [False] * len(
                state.records
            )
            assert copy.state_hash() == identity
            assert look(copy, state.names) == look(machine, state.names)
        return identity

    exploration.explore(4, identify)
    assert copied > 200
    assert INVITEE not in exploration.accepted


def accept_as_invitee(machine: Machine, now_ms: int, name: str) -> None:
    machine.accept(now_ms, name, INVITEE)


def restored(machine: Machine) -> Machine:
    piece, following = snapshot.take_slice(machine, 0, 1_000)
    assert following is None
    restore = snapshot.Restore(machine_at())
    restore.load(piece)
    return restore.finish()
