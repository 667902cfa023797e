"""A1 to A7: what may become of an invitation, and by whose act (docs/invariants.md)."""

from __future__ import annotations

import inspect
import itertools

import pytest
from busy import begin_mass_expiry, code_of
from ears import join
from invariants.scenes import (
    DUE_MS,
    ENDS,
    FINAL,
    OTHERS,
    SHAPES,
    STATUS_AFTER,
    Party,
    attempt,
    happens,
    race,
)
from machine_talk import START_MS, make, refused, statuses
from refusals import refusal

from pysignal import Hub, Invitation, SignalingInfo, VirtualClock
from pysignal.engine import snapshot
from pysignal.engine.machine import Machine
from pysignal.journal import MemoryJournal
from pysignal.signaling import Signaling

pytestmark = pytest.mark.anyio


def ways_of(shape: str) -> list[str]:
    return [way for way in ENDS if happens(way, shape)]


# -- A1 --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_a1_no_two_operations_change_a_final_status(shape: str) -> None:
    anything = ENDS | OTHERS
    for way in ways_of(shape):
        for first, second in itertools.product(anything, repeat=2):
            machine = make()
            name = SHAPES[shape](machine)
            ENDS[way](machine, name)
            for then in (first, second):
                attempt(anything[then], machine, name)
                found = statuses(machine, name)["bob"]
                assert found == STATUS_AFTER[way], f"{way}, {first}, {second}"
            ends = [e for e in machine.take() if e.kind in FINAL and "bob" in e.affected]
            assert len(ends) == 1, f"{way}, {first}, {second}"


async def test_a1_whoever_asks_again_on_any_device_has_one_answer(
    hub: Hub, clock: VirtualClock
) -> None:
    party = await Party(hub).gather()
    name = await party.sessions["amy 1"].signaling.invite(["bob", "cy"], timeout=30)
    await party.ends("reject", name)
    for way in ("accept", "reject", "accept"):
        assert await code_of(party.ends(way, name)) == 8010
    assert await code_of(hub.accept_as("bob", name)) == 8010
    await party.ends("cancel", name)
    await clock.advance(60)
    found = await hub.invitation(name)
    assert found is None or found.statuses == {"bob": "rejected", "cy": "cancelled"}
    assert hub.stats()["invitees_rejected"] == 1


# -- A2 --------------------------------------------------------------------------------------------

ROLES = ("amy", "bob", "cy", "eve", "nobody ever", None)


def expected(machine: Machine, name: str, operation: str, role: str | None) -> str:
    """What an operation must give, from the invitation's public record alone."""
    info = machine.info(name)
    if info is None:
        return "unknown"
    if info.state != "open":
        return "ended"
    status = info.statuses.get(role or "")
    if operation in ("accept", "reject"):
        return "not_party" if status is None else "done" if status == "pending" else "answered"
    if operation == "mark":
        return "not_party" if status is None else "done"
    if operation == "cancel":
        return "done" if role in (info.inviter, None) else "not_party"
    if role != info.inviter:
        return "not_party"
    if info.online_only:
        return "not_modifiable"
    return "conflict" if operation == "modify another version" else "done"


def perform(machine: Machine, operation: str, name: str, role: str | None) -> None:
    match operation:
        case "accept" | "reject":
            getattr(machine, operation)(machine.now_ms, name, role, "data")
        case "cancel":
            machine.cancel(machine.now_ms, name, role, "data")
        case "mark":
            machine.mark_told(machine.now_ms, name, role)
        case "modify":
            machine.modify(machine.now_ms, name, role, "data")
        case "modify another version":
            machine.modify(machine.now_ms, name, role, "data", expected_version=7)


OPERATIONS = ("accept", "reject", "cancel", "modify", "modify another version", "mark")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("state", ["open", "forgotten", "nothing", *ENDS])
def test_a2_every_operation_of_every_role_has_its_result(shape: str, state: str) -> None:
    for operation, role in itertools.product(OPERATIONS, ROLES):
        if role is None and operation != "cancel":
            continue
        machine = make()
        machine.hold("eve")
        name = SHAPES[shape](machine)
        if state == "forgotten":
            machine.cancel(machine.now_ms, name, "amy")
            machine.advance(DUE_MS + 60_000)
        elif state in ENDS:
            ENDS[state](machine, name)
        name = "0" * 26 if state == "nothing" else name
        result = expected(machine, name, operation, role)
        if result != "done":
            before = machine.stats()
            refused(machine, result, perform, machine, operation, name, role)
            assert machine.stats() == before
        else:
            position = machine.position
            perform(machine, operation, name, role)
            machine.check()
            assert machine.position == position + 1, "one change is one commit"


async def test_a2_what_the_sdk_refuses_changes_nothing_and_tells_nobody(
    hub: Hub, clock: VirtualClock
) -> None:
    party = await Party(hub).gather()
    sessions = party.sessions
    amy, bob, cy = (sessions[f"{user} 1"].signaling for user in ("amy", "bob", "cy"))
    name = await amy.invite("bob", timeout=30)
    fleeting = await amy.invite("bob", online_user_only=True)
    over = await amy.invite("bob")
    await amy.cancel(over)
    await clock.settle()
    for ear in party.ears.values():
        ear.take()
    forged = SignalingInfo(name, "cy", "", ["bob"])
    for call, code in (
        (cy.accept(name), 8011),
        (amy.reject(name), 8011),
        (bob.cancel(name), 8011),
        (cy.modify_invitation(name, "x"), 8011),
        (amy.modify_invitation(name, "x", expected_version=2), 8006),
        (amy.modify_invitation(fleeting, "x"), 7014),
        (bob.accept(over), 8010),
        (amy.cancel(over), 8010),
        (amy.cancel("nothing"), 8010),
        (amy.invite("amy"), 6017),
        (amy.invite([]), 6017),
        (amy.invite("bob", "x" * 12_289), 8001),
        (amy.invite_in_group("g", ["eve"]), 6017),
        (amy.invite_in_group("none", ["bob"]), 10010),
        (cy.add_invited_signaling(forged), 8011),
        (bob.add_invited_signaling(forged), 8012),
    ):
        await refusal(hub, call, code)
    await clock.settle()
    assert [ear.take() for ear in party.ears.values()] == [[]] * 6


# -- A3 --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_a3_nothing_but_an_invitees_own_accept_accepts(shape: str) -> None:
    others = {name: act for name, act in (ENDS | OTHERS).items() if name != "accept"}
    for acts in itertools.product(others, repeat=2):
        machine = make()
        name = SHAPES[shape](machine)
        done = [act for act in acts if attempt(others[act], machine, name) == "done"]
        found = statuses(machine, name)
        accepted = [user for user, status in found.items() if status == "accepted"]
        assert accepted == (["cy"] if "another accepts" in done else []), acts
        assert all(event.actor in event.affected for event in machine.take() if event.kind ==
                   "accepted")  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_a3_an_accept_by_anybody_else_is_refused(shape: str) -> None:
    for actor in ("amy", "eve", "Bob", "bob ", "nobody ever", "g"):
        machine = make()
        machine.hold("eve")
        name = SHAPES[shape](machine)
        for device in (0, 1):
            refused(machine, "not_party", machine.accept, START_MS, name, actor, device=device)
        assert "accepted" not in statuses(machine, name).values()


@pytest.mark.parametrize("shape", SHAPES)
def test_a3_a_replay_accepts_for_nobody(shape: str) -> None:
    for way in ways_of(shape):
        machine = make(journaled=True)
        name = SHAPES[shape](machine)
        ENDS[way](machine, name)
        copy = Machine(key=machine.id_key, now_ms=START_MS)
        for record in machine.records():
            snapshot.apply(copy, record)
        assert statuses(copy, name) == statuses(machine, name)
        assert ("accepted" in statuses(copy, name).values()) == (way == "accept")


async def test_a3_only_a_session_that_is_logged_in_as_the_invitee_accepts(
    hub: Hub, clock: VirtualClock
) -> None:
    party = await Party(hub).gather()
    amy, bob = party.sessions["amy 1"], party.sessions["bob 1"]
    name = await amy.signaling.invite_in_group("g", ["bob"], timeout=60)
    await refusal(hub, amy.signaling.accept(name), 8011)
    await refusal(hub, party.sessions["cy 1"].signaling.accept(name, request_id="r"), 8011)
    never = hub.session("bob", "3")
    await refusal(hub, never.signaling.accept(name), 6014)
    replaced, _ = await join(hub, "bob", "1")
    await clock.settle()
    await refusal(hub, bob.signaling.accept(name), 6014)
    await replaced.logout()
    await refusal(hub, replaced.signaling.accept(name), 6014)
    await refusal(hub, hub.accept_as("cy", name, request_id="r"), 8011)
    info = SignalingInfo(name, "amy", "g", ["bob"])
    await code_of(party.sessions["bob 2"].signaling.add_invited_signaling(info))
    for start in ("hot", "cold"):
        await join(hub, "bob", "1", start)  # type: ignore[arg-type]
    found = await hub.invitation(name)
    assert found is not None
    assert found.statuses == {"bob": "pending"}
    await party.sessions["bob 2"].signaling.accept(name)
    found = await hub.invitation(name)
    assert found is not None
    assert found.statuses == {"bob": "accepted"}
    assert hub.stats()["invitees_accepted"] == 1


async def test_a3_no_group_change_request_id_or_restart_accepts(clock: VirtualClock) -> None:
    journal = MemoryJournal()
    async with Hub(clock=clock, journal=journal) as hub:
        party = await Party(hub).gather()
        amy, bob = party.sessions["amy 1"].signaling, party.sessions["bob 1"].signaling
        await bob.reject(await amy.invite("bob"), request_id="mine")
        kept = await amy.invite("bob", timeout=500)
        left = await amy.invite_in_group("g", ["bob", "cy"], timeout=500)
        assert await code_of(bob.accept(kept, request_id="mine")) == 6017
        await hub.groups.remove("g", ["bob"])
        await hub.groups.add("g", ["bob"])
        assert await code_of(bob.accept(left)) == 8010
        await hub.groups.put("g", ["cy"])
    for _ in range(2):
        async with Hub(clock=clock, journal=journal) as hub:
            for name, status in ((kept, "pending"), (left, "rejected")):
                found = await hub.invitation(name)
                assert found is not None
                assert found.statuses["bob"] == status
            assert hub.stats()["invitees_accepted"] == 0


# -- A4 --------------------------------------------------------------------------------------------


def test_a4_no_operation_takes_the_name_of_its_actor() -> None:
    for operation in vars(Signaling).values():
        if inspect.iscoroutinefunction(operation):
            taken = set(inspect.signature(operation).parameters)
            assert not taken & {"actor", "user", "user_id", "inviter", "sender", "device"}


@pytest.mark.parametrize("shape", SHAPES)
def test_a4_only_the_inviter_modifies_and_only_inviter_and_server_cancel(shape: str) -> None:
    for actor in ("bob", "cy", "eve", "nobody ever", "Amy", "g", "\0"):
        for known in (False, True):
            machine = make()
            if known:
                machine.hold(actor)
            name = SHAPES[shape](machine)
            for operation in (machine.cancel, machine.modify):
                refused(machine, "not_party", operation, START_MS, name, actor, "x")


async def test_a4_the_actor_is_the_session_whatever_the_call_says(
    hub: Hub, clock: VirtualClock
) -> None:
    party = await Party(hub).gather()
    amy, bob, cy = (party.sessions[f"{user} 1"] for user in ("amy", "bob", "cy"))
    name = await amy.signaling.invite_in_group("g", ["bob"], '{"inviter":"cy"}', timeout=30)
    for session in (bob, cy, party.sessions["cy 2"]):
        await refusal(hub, session.signaling.cancel(name), 8011)
        await refusal(hub, session.signaling.modify_invitation(name, "x"), 8011)
        await refusal(hub, Invitation(name, session).cancel(), 8011)
    await refusal(hub, hub.cancel_as("bob", name), 8011)
    await party.sessions["amy 2"].signaling.modify_invitation(name, "y")
    await bob.signaling.accept(name, '{"actor":"cy"}')
    second = await amy.signaling.invite("bob")
    await hub.cancel_by_server(second)
    await clock.settle()
    told = [(e.kind, e.actor, e.device, e.reason) for e in party.ears["bob 2"].events]
    assert told == [
        ("opened", "amy", "1", ""),
        ("modified", "amy", "2", ""),
        ("accepted", "bob", "1", ""),
        ("opened", "amy", "1", ""),
        ("cancelled", "", "", "server"),
    ]


# -- A5 --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 16, 17, 40])
@pytest.mark.parametrize("inviter", ["amy", None])
def test_a5_a_cancel_ends_exactly_those_who_are_pending(size: int, inviter: str | None) -> None:
    users = [f"user {number}" for number in range(size)]
    for answered in (users[:0], users[:1], users[-1:], users[::2], users[1:]):
        if len(answered) == size:
            continue
        machine = make()
        name = machine.open(START_MS, "amy", users)
        for number, user in enumerate(answered):
            (machine.accept, machine.reject)[number % 2](START_MS, name, user)
        before = statuses(machine, name)
        machine.take()
        machine.cancel(START_MS, name, inviter)
        (event,) = machine.take()
        waited = [user for user in users if user not in answered]
        assert list(event.affected) == waited
        assert statuses(machine, name) == before | dict.fromkeys(waited, "cancelled")
        machine.check()


@pytest.mark.parametrize("is_busy", [False, True])
@pytest.mark.parametrize("place", range(4))
async def test_a5_a_cancel_among_answers_has_its_place_in_the_order(
    hub: Hub, clock: VirtualClock, place: int, is_busy: bool
) -> None:
    users = ["bob", "cy", "dee"]
    name = await hub.invite_as("amy", users, timeout=500)
    advancing = await begin_mass_expiry(hub, clock) if is_busy else None
    calls = [lambda user=user: hub.accept_as(user, name) for user in users]
    calls.insert(place, lambda: hub.cancel_as("amy", name))
    results = await race(*calls)
    if advancing is not None:
        await advancing
    found = await hub.invitation(name)
    assert found is not None
    assert list(found.statuses.values()) == ["accepted"] * place + ["cancelled"] * (3 - place)
    if place < 3:
        assert results == [None] * (place + 1) + [8010] * (3 - place)
    else:
        assert results == [None, None, None, 8010], "nobody was pending any more"


# -- A6 --------------------------------------------------------------------------------------------

KEPT = (
    "invite_id group_id inviter state reason statuses expires_at ended_at opened_at position "
    "online_only parties_only no_deadline"
).split()


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if "online" not in shape])
@pytest.mark.parametrize("answer", ["none", "cy", "told"])
def test_a6_a_modify_changes_the_data_alone(shape: str, answer: str) -> None:
    machine = make(journaled=True)
    name = SHAPES[shape](machine)
    if answer == "told":
        machine.mark_told(START_MS, name, "bob")
    elif answer == "cy" and "cy" in statuses(machine, name):
        machine.reject(START_MS, name, "cy")
    machine.advance(START_MS + 7_000)
    before, stats, told = machine.info(name), machine.stats(), machine.is_told(name, "bob")
    for number in range(3):
        machine.modify(machine.now_ms, name, "amy", f"new {number}")
    after = machine.info(name)
    assert before is not None
    assert after is not None
    assert (after.data, after.data_version, after.seq) == ("new 2", 4, before.seq + 3)
    assert [getattr(after, field) for field in KEPT] == [getattr(before, f) for f in KEPT]
    assert machine.is_told(name, "bob") == told
    changed = {key for key, value in machine.stats().items() if value != stats[key]}
    assert changed <= {"position", "facts_waiting", "memory_bytes"}
    machine.check()
    copy = Machine(key=machine.id_key, now_ms=START_MS)
    for record in machine.records():
        snapshot.apply(copy, record)
    assert copy.state_hash() == machine.state_hash()
    machine.advance(DUE_MS - 1)
    assert statuses(machine, name)["bob"] == "pending"
    machine.advance(DUE_MS)
    assert statuses(machine, name)["bob"] == "timed_out"


async def test_a6_who_hears_of_a_modify_hears_of_nothing_else(
    hub: Hub, clock: VirtualClock
) -> None:
    party = await Party(hub).gather()
    amy = party.sessions["amy 1"].signaling
    name = await amy.invite_in_group("g", ["bob", "cy"], "old", timeout=30)
    due_ms = clock.now_ms() + 30_000
    await clock.advance(20)
    await amy.modify_invitation(name, "new")
    await clock.advance(9.999)
    ear = party.ears["cy 1"]
    event = ear.events[-1]
    assert (event.kind, event.affected, event.pending) == ("modified", (), ("bob", "cy"))
    assert (event.expires_at, event.invitation_data) == (due_ms, "new")
    await clock.advance(0.001)
    assert ear.events[-1].kind == "timed_out"


# -- A7 --------------------------------------------------------------------------------------------

# Around every boundary of the wheel's rings, and of 32 bits.
SPANS_MS = sorted(
    {
        span + shift
        for span in (1, 2, 100, 1 << 8, 1 << 16, 1 << 24, 3 << 24, 30 * 86_400_000 - 1)
        for shift in (-1, 0, 1)
        if 0 < span + shift <= 30 * 86_400_000
    }
)


@pytest.mark.parametrize("start_ms", [0, 255, 65_535, 2**24 - 3, 2**32 - 500, START_MS])
def test_a7_no_timer_fires_before_its_deadline(start_ms: int) -> None:
    machine = Machine(now_ms=start_ms, lifetime_ms=12_345)
    names = {machine.open(start_ms, "amy", "bob", "", span): span for span in SPANS_MS}
    lasting = machine.open(start_ms, "amy", ["bob", "cy"], "", 0)
    names[lasting] = 12_345
    late = itertools.cycle([0, 1, 77])
    for span in sorted(names.values()):
        for now_ms in (start_ms + span - 1, start_ms + span + next(late)):
            while machine.advance(max(now_ms, machine.now_ms), 3):
                pass
            for event in machine.take():
                if event.kind == "timed_out":
                    due_ms = start_ms + names.pop(event.invite_id)
                    assert due_ms <= machine.now_ms, "it ended too early"
                    assert event.time >= due_ms
            assert all(start_ms + span > machine.now_ms for span in names.values()), "too late"
    assert not names


@pytest.mark.parametrize("span_s", [0.001, 0.5, 1.9, 2.0004, 59.9996, 86_400])
async def test_a7_nobody_hears_of_a_timeout_before_the_deadline(
    clock: VirtualClock, span_s: float
) -> None:
    journal = MemoryJournal()
    span_ms = round(span_s * 1000)
    due_ms = clock.now_ms() + span_ms
    async with Hub(clock=clock, journal=journal) as hub:
        name = await hub.invite_as("amy", "bob", timeout=span_s)
        await hub.invite_as("amy", "bob", timeout=span_s / 2 + 0.001)
        await clock.advance((span_ms // 2) / 1000)
    async with Hub(clock=clock, journal=journal) as hub:
        _, ear = await join(hub, "amy")
        await clock.advance((due_ms - 1 - clock.now_ms()) / 1000)
        assert name not in [event.invite_id for event in ear.events]
        found = await hub.invitation(name)
        assert found is not None
        assert (found.state, found.expires_at) == ("open", due_ms)
        await clock.advance(0.001)
        assert [e.time for e in ear.events if e.invite_id == name] == [due_ms]
