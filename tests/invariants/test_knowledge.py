"""A12 to A16: who learns what, when, and what an ID gives away (docs/invariants.md)."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from busy import begin_mass_expiry, code_of
from ears import Ear, join
from invariants.scenes import PARTY_ENDS, Party, begin, result_of, turns
from machine_talk import START_MS, make
from scale import scaled
from slow_journal import SlowJournal

from pysignal import Hub, Invitation, Limits, VirtualClock
from pysignal.engine import snapshot
from pysignal.engine.entropy import Entropy
from pysignal.engine.machine import Machine
from pysignal.journal import MemoryJournal
from pysignal.session import Start

pytestmark = pytest.mark.anyio

Call = Callable[[], Coroutine[Any, Any, Any]]

# Turns of the loop in which whatever may leave has left.
LONG = 30


# -- A12 -------------------------------------------------------------------------------------------


def questions(party: Party, name: str) -> list[asyncio.Task[Any]]:
    """Ask in every way that could tell of something; a call each."""
    hub = party.hub
    amy, cy = party.sessions["amy 2"], party.sessions["cy 1"]
    return [
        begin(result_of(call))
        for call in (
            hub.invitation(name),
            hub.pending("bob"),
            cy.signaling.open_invitations("g"),
            hub.open_invitations_as("cy", "g"),
            hub.login("bob", "late", "cold"),
            hub.login("bob", "late", "hot"),
            cy.signaling.accept(name),
            amy.signaling.modify_invitation(name, "x", expected_version=99),
            hub.cancel_by_server("nothing"),
            amy.signaling.invite_in_group("none", ["bob"]),
        )
    ]


@pytest.mark.parametrize("act", ["invite", "invite in group", "modify", *PARTY_ENDS])
async def test_a12_nothing_leaves_before_its_record_is_durable(
    clock: VirtualClock, act: str
) -> None:
    journal = SlowJournal()
    async with Hub(clock=clock, journal=journal) as hub:
        party = await Party(hub).gather()
        amy = party.sessions["amy 1"].signaling
        name = await amy.invite_in_group("g", ["bob"], "old", timeout=500)
        await turns(LONG)
        outcome = begin(name.outcome())
        told = [len(ear.events) for ear in party.ears.values()]
        journal.shut()
        calls: dict[str, Call] = {
            "invite": lambda: amy.invite("bob"),
            "invite in group": lambda: amy.invite_in_group("g", ["bob", "cy"]),
            "modify": lambda: amy.modify_invitation(name, "new"),
        }
        acting = begin(calls[act]() if act in calls else party.ends(act, name))
        await turns(1)
        asked = questions(party, name)
        await turns(LONG)
        try:
            assert not acting.done(), "an answer"
            assert [task.done() for task in asked] == [False] * len(asked), "a query or refusal"
            assert [len(ear.events) for ear in party.ears.values()] == told, "an event"
            assert not outcome.done(), "a handle"
        finally:
            journal.release(all_later=True)
        await asyncio.gather(acting, *asked)
        await turns(LONG)
        assert [len(ear.events) for ear in party.ears.values()] != told
        assert outcome.done() == (act in PARTY_ENDS)
        outcome.cancel()


async def test_a12_a_timeout_is_told_when_it_is_durable(clock: VirtualClock) -> None:
    journal = SlowJournal()
    async with Hub(clock=clock, journal=journal) as hub:
        party = await Party(hub).gather()
        name = await party.sessions["amy 1"].signaling.invite("bob", timeout=1)
        outcome = begin(name.outcome())
        await turns(LONG)
        journal.shut()
        await clock.advance(1)
        late = begin(code_of(hub.accept_as("bob", name)))
        await turns(LONG)
        told = [event.kind for ear in party.ears.values() for event in ear.events]
        try:
            assert "timed_out" not in told
            assert [late.done(), outcome.done()] == [False, False]
        finally:
            journal.release(all_later=True)
        assert await late == 8010
        assert (await outcome).status == "timed_out"


async def test_a12_what_waits_its_turn_is_durable_too_when_it_is_answered(
    clock: VirtualClock,
) -> None:
    journal = SlowJournal()
    async with Hub(clock=clock, journal=journal) as hub:
        name = await hub.invite_as("amy", ["bob", "cy"], timeout=500)
        advancing = await begin_mass_expiry(hub, clock)
        journal.shut()
        calls = [begin(hub.accept_as("bob", name)), begin(code_of(hub.accept_as("eve", name)))]
        assert hub.stats()["commands_waiting"]
        while hub.stats()["commands_waiting"]:
            await turns(1)
        await turns(LONG)
        try:
            assert [call.done() for call in calls] == [False, False]
        finally:
            journal.release(all_later=True)
        await asyncio.gather(advancing, *calls)


async def follow(name: Invitation) -> None:
    async for event in name:
        raise AssertionError(f"{event.kind} is told")


@pytest.mark.parametrize("is_lost", [False, True])
async def test_a12_a_handle_is_refused_for_what_ended_when_the_end_is_durable(
    clock: VirtualClock, is_lost: bool
) -> None:
    journal = SlowJournal()
    async with Hub(clock=clock, journal=journal, limits=Limits(ended_max=0)) as hub:
        party = await Party(hub).gather()
        name = await party.sessions["amy 1"].signaling.invite("bob", timeout=500)
        await turns(LONG)
        journal.shut()
        ending = begin(result_of(party.ends("cancel", name)))
        await turns(LONG)
        handles = (name, Invitation(name, party.sessions["cy 1"]))
        asked = [begin(code_of(handle.outcome())) for handle in handles]
        asked += [begin(code_of(follow(handle))) for handle in handles]
        await turns(LONG)
        done = [call.done() for call in asked]
        journal.error = OSError("disk") if is_lost else None
        journal.release(all_later=True)
        assert done == [False] * 4
        assert await ending == (6012 if is_lost else None)
        assert await asyncio.gather(*asked) == [6012 if is_lost else 8010] * 4


@pytest.mark.parametrize("act", PARTY_ENDS)
async def test_a12_what_the_journal_lost_is_told_to_nobody(clock: VirtualClock, act: str) -> None:
    journal = SlowJournal()
    async with Hub(clock=clock, journal=journal) as hub:
        party = await Party(hub).gather()
        name = await party.sessions["amy 1"].signaling.invite_in_group("g", ["bob"], timeout=500)
        await turns(LONG)
        told = [len(ear.events) for ear in party.ears.values()]
        journal.error = OSError("disk")
        assert await code_of(party.ends(act, name)) == 6012
        assert {await task for task in questions(party, name)} <= {6012}
        await turns(LONG)
        assert [len(ear.events) for ear in party.ears.values()] == told


# -- A13 -------------------------------------------------------------------------------------------


def rung(ear: Ear) -> list[str]:
    return [event.invite_id for event in ear.events if event.kind == "opened"]


@pytest.mark.parametrize("start", ["cold", "hot"])
@pytest.mark.parametrize("is_told", [True, False])
@pytest.mark.parametrize("way", [*PARTY_ENDS, "deadline"])
async def test_a13_no_login_rings_what_has_ended(
    clock: VirtualClock, way: str, start: Start, is_told: bool
) -> None:
    """Before the logins the device was away, having been told of it or not; then the hub restarts.

    One login comes in the very turn of the end, the deadline's before the hub's own timer.
    """
    journal = MemoryJournal()
    async with Hub(clock=clock, journal=journal) as hub:
        party = await Party(hub).gather()
        ear = Ear()
        away = await hub.login("bob", "away", listener=ear)
        if not is_told:
            await away.logout()
        joining: list[Any] = []

        def join_again() -> None:
            ear.events.clear()
            joining.append(begin(hub.login("bob", "away", start, ear)))

        if way == "deadline":
            clock.call_at(clock.now_ms() + 30_000, join_again)
        name = await party.sessions["amy 1"].signaling.invite_in_group("g", ["bob"], timeout=30)
        await clock.settle()
        if is_told:
            await away.logout()
        if way == "deadline":
            await clock.advance(30)
        else:
            ending = begin(party.ends(way, name))
            join_again()
            await ending
        session = await joining[0]
        await clock.settle()
        assert rung(ear) == []
        assert [info.invite_id for info in session.snapshot.open] == []
        was_known = is_told and start == "hot"
        assert [info.invite_id for info in session.snapshot.ended] == [name] * was_known
        again, ear = await join(hub, "bob", "away", start)
        await clock.settle()
        assert (rung(ear), again.snapshot.open) == ([], [])
    async with Hub(clock=clock, journal=journal) as hub:
        again, ear = await join(hub, "bob", "away", start)
        await clock.settle()
        assert (rung(ear), again.snapshot.open) == ([], [])


async def test_a13_an_empty_list_is_told_once_and_to_no_login(
    hub: Hub, clock: VirtualClock
) -> None:
    party = await Party(hub).gather()
    name = await party.sessions["amy 1"].signaling.invite_in_group("g", [], "news")
    for start in ("cold", "hot"):
        session, ear = await join(hub, "bob", "new", start)  # type: ignore[arg-type]
        await clock.settle()
        assert (rung(ear), session.snapshot.open) == ([], [])
    told = {place: rung(ear) for place, ear in party.ears.items()}
    assert told == {place: [name] * (place != "amy 1") for place in told}


async def test_a13_who_has_answered_a_list_is_not_rung_again(hub: Hub, clock: VirtualClock) -> None:
    name = await hub.invite_as("amy", ["bob", "cy"], timeout=60)
    await hub.reject_as("bob", name)
    for start in ("cold", "hot"):
        session, ear = await join(hub, "bob", "1", start)  # type: ignore[arg-type]
        await clock.settle()
        assert rung(ear) == []
        assert [info.invite_id for info in session.snapshot.open] == [name]


# -- A14 (over a restart, request IDs are not remembered yet) --------------------------------------

REQUESTS: dict[str, Callable[[Party, dict[str, str], str], Coroutine[Any, Any, Any]]] = {
    "invite": lambda p, names, r: p.sessions["amy 1"].signaling.invite("bob", "x", request_id=r),
    "invite in group": lambda p, names, r: p.sessions["amy 1"].signaling.invite_in_group(
        "g", ["bob"], request_id=r
    ),
    "accept": lambda p, names, r: p.sessions["bob 1"].signaling.accept(names["a"], request_id=r),
    "reject": lambda p, names, r: p.sessions["bob 1"].signaling.reject(names["a"], request_id=r),
    "cancel": lambda p, names, r: p.sessions["amy 1"].signaling.cancel(names["b"], request_id=r),
    "modify": lambda p, names, r: p.sessions["amy 1"].signaling.modify_invitation(
        names["b"], "new", request_id=r
    ),
    "refused": lambda p, names, r: p.sessions["cy 1"].signaling.accept(names["b"], request_id=r),
    "too late": lambda p, names, r: p.sessions["bob 1"].signaling.accept(names["c"], request_id=r),
}


@pytest.mark.parametrize("when", ["later", "in the same turn", "waiting", "journal"])
@pytest.mark.parametrize("what", REQUESTS)
async def test_a14_a_request_has_one_effect_and_one_result(
    clock: VirtualClock, what: str, when: str
) -> None:
    journal = SlowJournal()
    is_refused = what in ("refused", "too late")
    async with Hub(clock=clock, journal=journal) as hub:
        party = await Party(hub).gather()
        names = {key: str(await hub.invite_as("amy", "bob", timeout=500)) for key in "abc"}
        await hub.cancel_by_server(names["c"])
        await clock.settle()
        advancing = await begin_mass_expiry(hub, clock) if when == "waiting" else None
        before = hub.shard.machine.position - hub.stats()["invitees_timed_out"] // 8000
        told = sum(len(ear.events) for ear in party.ears.values())
        call: Call = lambda: REQUESTS[what](party, names, "r")  # noqa: E731
        if when == "later":
            results = [await result_of(call()), await result_of(call())]
        else:
            if when == "journal":
                journal.shut()
            calls = [begin(result_of(call())) for _ in range(3)]
            await turns(LONG if when == "journal" else 1)
            if when == "waiting" or (when == "journal" and not is_refused):
                assert [each.done() for each in calls] == [False] * 3
            journal.release(all_later=True)
            results = await asyncio.gather(*calls)
        if advancing is not None:
            await advancing
        before += hub.stats()["invitees_timed_out"] // 8000
        assert results == [results[0]] * len(results)
        assert isinstance(results[0], int) == is_refused
        assert hub.shard.machine.position == before + (not is_refused)
        await clock.settle()
        heard = sum(len(ear.events) for ear in party.ears.values()) - told
        everybody = 5 if what == "invite in group" else 3
        assert heard == (0 if is_refused else everybody)


async def test_a14_the_id_is_the_users_on_every_device_and_nobody_elses(hub: Hub) -> None:
    party = await Party(hub).gather()
    invite = lambda place, data="x": party.sessions[place].signaling.invite(  # noqa: E731
        "dee", data, request_id="r"
    )
    first = await invite("amy 1")
    assert await invite("amy 2") == first
    assert await hub.invite_as("amy", "dee", "x", request_id="r") == first
    others = {await invite("bob 1"), await invite("cy 1")}
    assert len(others | {first}) == 3
    assert await code_of(invite("amy 1", "y")) == 6017
    assert await invite("amy 2") == first
    assert len(await hub.pending("dee")) == 3


# -- A15 -------------------------------------------------------------------------------------------


def test_a15_no_id_comes_twice_however_slots_are_used_again() -> None:
    machine = make(ended_max=0)
    seen: set[str] = set()
    for number in range(scaled(20_000, 1000)):
        name = machine.open(START_MS, "amy", ["bob", "cy"] if number % 3 == 0 else "bob")
        assert name not in seen
        assert len(name) <= 64
        assert name.isascii()
        seen.add(name)
        machine.cancel(START_MS, name, "amy")
        machine.take()
    assert machine.stats()["slots"] < 100, "slots were used again"


def test_a15_the_same_random_bits_make_another_id_of_the_same_slot() -> None:
    machine = make(ended_max=0)
    seen = set()
    for _ in range(10):
        name = machine.open(START_MS, "amy", "bob")
        machine.cancel(START_MS, name, "amy")
        machine.take()
        seen.add(name)
        copy = Machine(key=machine.id_key, entropy=Entropy(1), now_ms=START_MS, ended_max=0)
        restore = snapshot.Restore(copy)
        first: int | None = 0
        while first is not None:
            piece, first = snapshot.take_slice(machine, first, 1000)
            restore.load(piece)
        machine = restore.finish()
    assert len(seen) == 10


async def test_a15_a_hub_that_begins_again_makes_no_id_a_second_time(clock: VirtualClock) -> None:
    journal = MemoryJournal()
    seen: set[str] = set()
    for run in range(4):
        early = VirtualClock(clock.now_ms() - run * 3_600_000)
        async with Hub(clock=early, journal=journal, seed=7) as hub:
            for _ in range(20):
                name = await hub.invite_as("amy", "bob")
                await hub.cancel_by_server(name)
                assert name not in seen
                seen.add(name)


DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"


def bits_of(name: str) -> int:
    return sum(DIGITS.index(digit) << 5 * at for at, digit in enumerate(reversed(name)))


def test_a15_an_id_tells_nothing_of_the_next_one() -> None:
    machines = [Machine(now_ms=START_MS) for _ in range(2)]
    numbers = [bits_of(each.open(START_MS, "amy", "bob")) for each in machines for _ in range(2000)]
    places = (1 << 52) - 1
    for low_bit, width, mask in ((0, 64, (1 << 64) - 1), (64, 52, places)):
        fields = [number >> low_bit & mask for number in numbers]
        assert len(set(fields)) == len(fields)
        for bit in range(width):
            ones = sum(field >> bit & 1 for field in fields)
            assert abs(ones - 2000) < 300, f"bit {low_bit + bit} is not random"
        for one, following in itertools.pairwise(fields):
            assert abs(one - following) > 1 << 12, "IDs are counted"


async def test_a15_nothing_that_looks_like_an_id_is_one(hub: Hub) -> None:
    names = [str(await hub.invite_as("amy", "bob")) for _ in range(3)]
    name = names[0]
    forged = {name.upper(), name[:-1], name + "0", " " + name, name[::-1], "0" * 26, ""}
    for bit in range(128):
        number = bits_of(name) ^ 1 << bit
        forged.add("".join(DIGITS[number >> 5 * at & 31] for at in range(25, -1, -1)))
    forged |= {name[:at] + names[1][at:] for at in range(1, 26)}
    for text in forged - set(names):
        assert await hub.invitation(text) is None
        assert await code_of(hub.accept_as("bob", text)) == 8010
        assert await code_of(hub.cancel_by_server(text)) == 8010
    assert len(await hub.pending("bob")) == 3
