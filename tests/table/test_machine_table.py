"""Every operation, by everybody, in every situation, at the machine (A2, A10; SPEC §2 and §3).

The cells are situations times acts. What is refused leaves everything as it was, so that all
refused acts of a situation meet one machine; what is done is done to one of its own. Beside the
invitation in question there is always another one, which nothing may touch.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from machine_talk import START_MS, make
from table.situations import (
    ANSWER_DATA,
    ANSWERING,
    ARRIVALS,
    AXES,
    GROUP,
    INVITER,
    INVITERS,
    LIFETIME_MS,
    NOTHING,
    OPENED_DATA,
    OUTSIDER,
    REMEMBERED,
    SERVER,
    TIMEOUT_MS,
    USERS,
    Change,
    Situation,
    change,
    history,
    invitees,
    refusal,
    situations,
    view,
    view_of,
)

from pysignal.engine.machine import Machine
from pysignal.engine.refused import Refused

NAMING = (*ANSWERING, *INVITERS, "mark_told")  # these say which invitation they mean
ASKING = ("info", "is_told", "pending_of", "opened_by", "open_ids_of", "open_in", "open_lists")
OPERATIONS = (*NAMING, "leave", "dismiss", "advance", *ASKING)
ROLES = (*USERS, SERVER)

BY_NOBODY = ("dismiss", "advance", "info", "open_in", "open_lists")

# Why an operation has no such role, or is not about the ID.
RULES: dict[str, Callable[[Situation, str, str], bool]] = {
    "what nobody in particular does is done by the server": lambda _, operation, role: (
        operation in BY_NOBODY and role != SERVER
    ),
    "of what somebody does the server only cancels": lambda _, operation, role: (
        operation not in (*BY_NOBODY, "cancel") and role == SERVER
    ),
    "an ID of nothing matters to who names it": lambda s, operation, _: (
        s.state in NOTHING and operation not in (*NAMING, "info", "is_told")
    ),
}

# What the axes give: cells that are checked, and how many each rule excludes.
CELLS = {
    "open": 11_088,
    "completed by answers": 38_016,
    "completed by leaving": 19_008,
    "completed by timeout": 14_784,
    "cancelled by inviter": 44_352,
    "cancelled by server": 44_352,
    "cancelled by leaving": 25_344,
    "cancelled by dismissal": 25_344,
    "ended by lifetime": 14_784,
    "born completed": 6_336,
    "unknown ID": 4_032,
    "malformed ID": 4_032,
    "forged ID": 4_032,
}
EXCLUDED_SITUATIONS = {
    "what is open is remembered": 5_184,
    "an ID of nothing has no invitee": 864,
    "only a group has members to tell": 5_472,
    "only a group is left, dismissed or told without invitees": 2_304,
    "nobody is invited in what is born completed": 480,
    "what has ended has nobody pending": 1_248,
    "an end gives those who are pending its own status": 1_632,
    "an answer of the only one ends it": 408,
    "nothing is timed out before its time": 448,
    "the deadline ends what has one, the lifetime what has none": 448,
}
EXCLUDED_ACTS = {
    "what nobody in particular does is done by the server": 99_400,
    "of what somebody does the server only cancels": 43_736,
    "an ID of nothing matters to who names it": 6_912,
}


def acts(s: Situation) -> tuple[list[tuple[str, str]], Counter[str]]:
    """All acts of a situation, and how many each rule excludes."""
    found: list[tuple[str, str]] = []
    excluded: Counter[str] = Counter()
    for operation, role in itertools.product(OPERATIONS, ROLES):
        rule = next((name for name, fits in RULES.items() if fits(s, operation, role)), None)
        if rule is None:
            found.append((operation, role))
        else:
            excluded[rule] += 1
    return found, excluded


@dataclass
class Place:
    """A machine in a situation.

    Attributes:
        machine: the machine.
        now_ms: when something arrives.
        name: the invitation in question, which may be gone.
        ids: the IDs to name it by: it, or some that name nothing.
        others: the invitations that nothing may touch.
    """

    machine: Machine
    now_ms: int
    name: str
    ids: tuple[str, ...]
    others: tuple[str, ...]

    def picture(self) -> tuple[Any, ...]:
        """Everything that an operation could change."""
        machine = self.machine
        facts = machine.position, machine.waiting, machine.stats()
        times = machine.now_ms, machine.next_ms, machine.forget_ms
        return machine.state_hash(), facts, times, self.standing()

    def standing(self) -> list[object]:
        return [view_of(self.machine.info(name)) for name in self.others]


def stand(s: Situation) -> Place:
    """Bring a machine into a situation."""
    machine = make(ended_keep_ms=60_000 if s.memory == REMEMBERED else 0, lifetime_ms=LIFETIME_MS)
    everybody = [user for user in USERS if user != OUTSIDER]
    other = machine.open(START_MS, OUTSIDER, everybody, "other", 600_000, group_id="h")
    named = invitees(s)
    name = machine.open(
        START_MS, INVITER, named[0] if s.shape == "one" else named, OPENED_DATA,
        TIMEOUT_MS if s.timed else 0, group_id=GROUP if s.shape == "group" else "",
        online_only=s.online_only, parties_only=s.parties_only,
    )  # fmt: skip
    for operation, user in history(s):
        begin(machine, operation, user, START_MS + 1, name)
    now_ms = START_MS + ARRIVALS[s.moment]
    machine.advance(START_MS + TIMEOUT_MS - 1 if s.is_due else now_ms)
    others = [other]
    if s.memory in ("released", "slot in use again"):
        machine.take()
        machine.advance(machine.now_ms)
    if s.memory == "slot in use again":
        slots = machine.stats()["slots"]
        others.append(machine.open(machine.now_ms, OUTSIDER, "dave", "new", 600_000))
        assert machine.stats()["slots"] == slots
    if s.memory != "forgotten":
        machine.take()
    machine.check()
    return Place(machine, now_ms, name, spellings(s, name), tuple(others))


def begin(machine: Machine, operation: str, user: str, now_ms: int, name: str) -> None:
    """One step of how a situation comes about."""
    match operation:
        case "accepted":
            machine.accept(now_ms, name, user)
        case "rejected":
            machine.reject(now_ms, name, user)
        case "cancel":
            machine.cancel(now_ms, name, user or None)
        case "leave":
            machine.leave(now_ms, user, GROUP)
        case "dismiss":
            machine.dismiss(now_ms, GROUP)


def spellings(s: Situation, name: str) -> tuple[str, ...]:
    """The IDs of a situation; those of nothing stand beside an open invitation."""
    match s.state:
        case "unknown ID":
            return "0" * 26, make(key=b"another key ....").open(START_MS, "x", "y")
        case "malformed ID":
            return "", name[:-1], name + "0", name.upper() + " ", "8" + name[1:], "ü" * 26
        case "forged ID":
            return tuple(
                name[:at] + ("1" if name[at] != "1" else "2") + name[at + 1 :]
                for at in range(1, 26)
            )
        case _:
            return (name,)


def do(place: Place, operation: str, role: str, name: str) -> Any:
    """Call the machine."""
    machine, now_ms = place.machine, place.now_ms
    match operation:
        case "accept" | "reject":
            return getattr(machine, operation)(now_ms, name, role, ANSWER_DATA)
        case "cancel":
            return machine.cancel(now_ms, name, role or None, ANSWER_DATA)
        case "modify":
            return machine.modify(now_ms, name, role, ANSWER_DATA)
        case "modify at its version":
            return machine.modify(now_ms, name, role, ANSWER_DATA, expected_version=1)
        case "modify at another version":
            return machine.modify(now_ms, name, role, ANSWER_DATA, expected_version=2)
        case "mark_told":
            return machine.mark_told(now_ms, name, role)
        case "leave":
            return machine.leave(now_ms, role, GROUP)
        case "dismiss":
            return machine.dismiss(now_ms, GROUP)
        case "advance":
            return machine.advance(now_ms)
        case "info":
            return machine.info(name)
        case "is_told":
            return machine.is_told(name, role)
        case "open_in":
            return [info.invite_id for info in machine.open_in(GROUP)]
        case "open_lists":
            return {info.invite_id for info in machine.open_lists()}
        case "open_ids_of":
            return set(machine.open_ids_of(role))
    return [info.invite_id for info in getattr(machine, operation)(role)]


def result(s: Situation, operation: str, role: str) -> str:
    """What the machine raises; `""` for nothing."""
    knows_group = s.shape == "group" and s.memory in (REMEMBERED, "forgotten")
    if operation in ("leave", "dismiss"):
        return "due" if s.is_due and knows_group else ""
    if operation not in NAMING:
        return ""
    if s.is_due and s.state != "malformed ID":
        return "due"
    return refusal(s, operation, role)


def answer(s: Situation, place: Place, operation: str, role: str) -> Any:
    """What the machine answers where it raises nothing."""
    is_open = s.state == "open"
    own = [place.name] if is_open else []
    other, *again = place.others
    match operation:
        case "info":
            return None if refusal(s, "accept", role) == "unknown" else view(s)
        case "pending_of":
            mine = own if view(s).statuses.get(role) == "pending" else []
            reached = again if role == "dave" else []
            return [*([other] if role != OUTSIDER else []), *mine, *reached]
        case "opened_by":
            return [other, *again] if role == OUTSIDER else own if role == INVITER else []
        case "open_ids_of":
            return {*answer(s, place, "pending_of", role), *answer(s, place, "opened_by", role)}
        case "open_in":
            return own if s.shape == "group" else []
        case "open_lists":
            return {other, *(own if s.shape != "one" else [])}
        case "mark_told" | "accept" | "reject" | "cancel" | "modify" | "modify at its version":
            return None
    return False


def check_refused(s: Situation, place: Place, operation: str, role: str, expected: str) -> None:
    """What is refused says so, tells a party how it ended, and changes nothing."""
    for name in place.ids:
        with pytest.raises(Refused) as caught:
            do(place, operation, role, name)
        assert caught.value.result == expected, (s, operation, role)
        info = caught.value.info
        is_party = role == INVITER or role in invitees(s)
        tells = is_party and expected in ("ended", "answered", "conflict")
        assert (info is not None) == tells, (s, operation, role)
        assert info is None or view_of(info) == view(s)


def check_done(s: Situation, operation: str, role: str, expected: Change) -> None:
    """What is done changes what it should, of that invitation alone, and is told once."""
    place = stand(s)
    machine, where = place.machine, (s, operation, role)
    standing, stats = place.standing(), Counter(machine.stats())
    assert do(place, operation, role, place.name) == answer(s, place, operation, role)
    machine.check()
    assert view_of(machine.info(place.name)) == expected.after, where
    assert place.standing() == standing, where
    stats.update(position=1, facts_waiting=1)
    if expected.ends:
        stats.update(open=-1, timers=-1, ended_remembered=1)
    if expected.affected:
        count = len(expected.affected)
        stats.update({"invitees_pending": -count, f"invitees_{expected.kind}": count})
    assert machine.stats() == stats, where
    (event,) = machine.take()
    told = event.kind, event.actor, event.affected, event.reason, event.ends, event.data
    assert told == (
        expected.kind, expected.actor, expected.affected, expected.reason, expected.ends,
        expected.data,
    ), where  # fmt: skip
    assert (event.invite_id, event.pending) == (place.name, expected.after.pending)


def check_told(s: Situation, role: str) -> None:
    """A mark commits once, is no event, and changes nothing that can be seen of an invitation."""
    place = stand(s)
    machine = place.machine
    assert not machine.is_told(place.name, role)
    position, standing = machine.position, place.standing()
    for _ in range(2):
        machine.mark_told(place.now_ms, place.name, role)
        assert machine.position == position + 1
    assert [user for user in USERS if machine.is_told(place.name, user)] == [role]
    assert machine.take() == []
    assert (view_of(machine.info(place.name)), place.standing()) == (view(s), standing)
    machine.check()


def check_silent(s: Situation, place: Place, operation: str, role: str) -> None:
    """What has no effect, or only asks, changes nothing."""
    for name in place.ids:
        found = do(place, operation, role, name)
        found = view_of(found) if operation == "info" and found is not None else found
        assert found == answer(s, place, operation, role), (s, operation, role)


def check_situation(s: Situation) -> int:
    """Check all acts of a situation; returns how many."""
    place = stand(s)
    if s.state not in NOTHING and s.memory == REMEMBERED:
        assert view_of(place.machine.info(place.name)) == view(s)
    before = place.picture()
    found, _ = acts(s)
    for operation, role in found:
        expected = None if operation in ASKING else change(s, operation, role)
        refused = result(s, operation, role)
        if refused:
            check_refused(s, place, operation, role, refused)
        elif operation == "mark_told":
            check_told(s, role)
        elif expected is not None:
            check_done(s, operation, role, expected)
        else:
            check_silent(s, place, operation, role)
        assert place.picture() == before, (s, operation, role)
    place.machine.check()
    if s.is_due:
        check_overdue(s, place)
    return len(found)


def check_overdue(s: Situation, place: Place) -> None:
    """When time has moved on, what came at the deadline or later is too late for everybody."""
    place.machine.advance(place.now_ms)
    late = s.after_time if s.state == "open" else s
    before = place.picture()
    for operation, role in acts(s)[0]:
        if operation in NAMING:
            check_refused(late, place, operation, role, refusal(late, operation, role))
            assert place.picture() == before, (late, operation, role)


@pytest.mark.parametrize("state", AXES["state"])
def test_every_operation_by_everybody_in_every_situation(state: str) -> None:
    found, _ = situations(state=(state,))
    assert sum(check_situation(s) for s in found) == CELLS[state]


def test_no_combination_of_the_axes_is_left_out() -> None:
    found, excluded = situations()
    assert len(found) + excluded.total() == math.prod(map(len, AXES.values()))
    assert excluded == EXCLUDED_SITUATIONS
    each = [acts(s) for s in found]
    assert sum((counts for _, counts in each), Counter()) == EXCLUDED_ACTS
    cells = sum(len(checked) for checked, _ in each)
    assert cells + sum(EXCLUDED_ACTS.values()) == len(found) * len(OPERATIONS) * len(ROLES)
    assert cells == sum(CELLS.values())
