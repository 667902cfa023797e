"""A8 to A11: who wins, once, for whom, and on which device (docs/invariants.md)."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from busy import begin_mass_expiry
from ears import Ear
from invariants.scenes import (
    CROWD,
    ENDS,
    FINAL,
    OTHERS,
    PARTY_ENDS,
    SHAPES,
    Party,
    attempt,
    begin,
    happens,
    race,
    result_of,
    turns,
)
from machine_talk import START_MS, make, statuses

from pysignal import Hub, SignalingListener, VirtualClock
from pysignal.engine.facts import Event
from pysignal.journal import MemoryJournal

pytestmark = pytest.mark.anyio

TIMEOUT_S = 30


def ends_heard(ear: Ear, name: str) -> list[str]:
    return [event.kind for event in ear.events if event.invite_id == name and event.kind in FINAL]


# -- A8 --------------------------------------------------------------------------------------------


async def check_one_winner(
    party: Party, journal: MemoryJournal, clock: VirtualClock, name: str, status: str, acting: str
) -> None:
    """Compare what the query, every device, and a replay of the journal say about Bob."""
    await turns(10)
    found = await party.hub.invitation(name)
    assert found is not None
    assert found.statuses == {"bob": status}, "the query"
    for place, ear in party.ears.items():
        heard = ends_heard(ear, name)
        assert heard == ([] if place == acting else [status]), place
    await party.hub.close()
    async with Hub(clock=clock, journal=journal) as again:
        replayed = await again.invitation(name)
        assert replayed is not None
        assert (replayed.statuses, replayed.state, replayed.reason) == (
            found.statuses,
            found.state,
            found.reason,
        ), "the replay"


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations(PARTY_ENDS, 2)))
async def test_a8_the_first_of_two_wins_and_everybody_names_the_same(
    clock: VirtualClock, first: str, second: str
) -> None:
    journal = MemoryJournal()
    async with Hub(clock=clock, journal=journal) as hub:
        party = await Party(hub).gather()
        name = await party.sessions["amy 1"].signaling.invite_in_group("g", ["bob"], timeout=30)
        outcome = begin(name.outcome())
        await turns(5)
        results = await race(lambda: party.ends(first, name), lambda: party.ends(second, name))
        status, acting = PARTY_ENDS[first]
        assert results[0] is None or isinstance(results[0], list)
        if second in ("accept", "reject", "cancel", "server"):
            assert results[1] == 8010
        assert (await outcome).statuses == {"bob": status}, "the inviter"
        await check_one_winner(party, journal, clock, name, status, acting)


@pytest.mark.parametrize("way", PARTY_ENDS)
@pytest.mark.parametrize("late_ms", [0, 1])
async def test_a8_at_the_deadline_time_wins_and_before_it_the_call(
    clock: VirtualClock, way: str, late_ms: int
) -> None:
    """The call comes in the very turn of the deadline, before the hub's timer, or 1 ms earlier."""
    journal = MemoryJournal()
    async with Hub(clock=clock, journal=journal) as hub:
        party = await Party(hub).gather()
        calls: list[Any] = []
        clock.call_at(
            clock.now_ms() + 1000 * TIMEOUT_S - 1 + late_ms,
            lambda: calls.append(begin(result_of(party.ends(way, name)))),
        )
        name = await party.sessions["amy 1"].signaling.invite_in_group(
            "g", ["bob"], timeout=TIMEOUT_S
        )
        outcome = begin(name.outcome())
        await clock.advance(TIMEOUT_S)
        (result,) = [await call for call in calls]
        status, acting = ("timed_out", "") if late_ms else PARTY_ENDS[way]
        if late_ms and way in ("accept", "reject", "cancel", "server"):
            assert result == 8010
        assert (await outcome).statuses == {"bob": status}
        await check_one_winner(party, journal, clock, name, status, acting)


async def test_a8_calls_that_wait_their_turn_keep_their_order(
    hub: Hub, clock: VirtualClock
) -> None:
    names = [await hub.invite_as("amy", "bob", timeout=500) for _ in range(4)]
    party = await Party(hub).gather()
    advancing = await begin_mass_expiry(hub, clock)
    ways = [("accept", "cancel"), ("cancel", "accept"), ("reject", "server"), ("server", "reject")]
    pairs = dict(zip(names, ways, strict=True))
    calls = [begin(result_of(party.ends(first, name))) for name, (first, _) in pairs.items()]
    await turns(1)
    assert not any(call.done() for call in calls)
    later = []
    while not all(call.done() for call in calls):  # some come when the queue is almost empty
        for name, (_, second) in pairs.items():
            later.append(begin(result_of(party.ends(second, name))))
        await turns(1)
    await advancing
    assert [await call for call in calls] == [None] * 4
    assert {await call for call in later} == {8010}
    await clock.settle()
    for name, (first, _) in pairs.items():
        found = await hub.invitation(name)
        assert found is not None
        assert found.statuses == {"bob": PARTY_ENDS[first][0]}


async def test_a8_what_could_be_done_at_once_waits_behind_what_waits(
    clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A turn has no time for more than one of those that wait: they do so with nothing before."""
    monkeypatch.setattr("pysignal.commands.BACKLOG_MAX", 4)
    monkeypatch.setattr("pysignal.commands.RUN_NS", 0)
    async with Hub(clock=clock) as hub:
        party = await Party(hub).gather()
        names = []
        for _ in range(20):
            names.append(await hub.invite_as("amy", "bob", timeout=500))
            await clock.settle()
        calls = [begin(result_of(party.ends("accept", name))) for name in names]
        await turns(1)
        assert 0 < sum(call.done() for call in calls) < len(calls)
        later = []
        while not all(call.done() for call in calls):
            later += [begin(result_of(party.ends("cancel", name))) for name in names]
            await turns(1)
        assert [await call for call in calls] == [None] * 20
        assert {await call for call in later} == {8010}
        await clock.settle()


# -- A9 --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_a9_an_invitation_ends_once(shape: str) -> None:
    anything = ENDS | OTHERS
    for way, then in itertools.product(ENDS, anything):
        if not happens(way, shape):
            continue
        machine = make()
        name = SHAPES[shape](machine)
        for user in CROWD if way in ("accept", "reject") else ():
            attempt(lambda m, n, user=user: m.reject(START_MS, n, user), machine, name)
        for act in (ENDS[way], anything[then], ENDS["server"], ENDS["deadline"]):
            attempt(act, machine, name)
        machine.check()
        events = machine.take()
        assert [e.seq for e in events if e.ends] == [len(events)], "one end, and the last event"
        assert [bool(e.pending) for e in events] == [not e.ends for e in events]
        assert machine.stats()["open"] == 0


def test_a9_the_end_is_told_with_the_last_answer_and_no_earlier() -> None:
    for size in (1, 2, 3, 8, 9, 17):
        users = [f"user {number}" for number in range(size)]
        machine = make()
        name = machine.open(START_MS, "amy", users)
        for user in reversed(users):
            machine.accept(START_MS, name, user)
        ends = [event.ends for event in machine.take()]
        assert ends == [False] * size + [True]
        record = machine.info(name)
        assert record is not None
        for act in (ENDS | OTHERS).values():
            attempt(act, machine, name)
            again = machine.info(name)
            assert again is not None
            assert (again.ended_at, again.ended_position, again.state, again.seq) == (
                record.ended_at,
                record.ended_position,
                record.state,
                record.seq,
            )
        assert machine.take() == []


def test_a9_an_empty_list_is_born_ended_and_ends_no_second_time() -> None:
    machine = make()
    name = machine.open(START_MS, "amy", [], "news", group_id="g")
    for act in (ENDS | OTHERS).values():
        attempt(act, machine, name)
    assert [(event.kind, event.ends) for event in machine.take()] == [("opened", True)]


# -- A10 -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 3, 8, 9, 16, 17, 100])
def test_a10_an_answer_is_one_invitees_alone(size: int) -> None:
    users = [f"user {number}" for number in range(size)]
    for answer in ("accept", "reject"):
        for at in {0, 1, size // 2, size - 1}:
            machine = make()
            names = [machine.open(START_MS, "amy", users) for _ in range(3)]
            names.append(machine.open(START_MS, "amy", users, group_id="g"))
            before = {name: statuses(machine, name) for name in names}
            getattr(machine, answer)(START_MS, names[1], users[at])
            before[names[1]][users[at]] = f"{answer}ed"
            assert {name: statuses(machine, name) for name in names} == before
            machine.check()


@pytest.mark.parametrize("way", ["leave", "inviter leaves", "dismiss"])
def test_a10_a_group_change_ends_nothing_of_another_group(way: str) -> None:
    machine = make()
    users = ["ann", "bob", "cy"]
    mine = machine.open(START_MS, "amy", users, group_id="g")
    others = [
        machine.open(START_MS, "amy", users, group_id="h"),
        machine.open(START_MS, "amy", users),
        machine.open(START_MS, "amy", "bob"),
        machine.open(START_MS, "bob", ["amy", "cy"], group_id="h"),
        machine.open(START_MS, "bob", "cy"),
    ]
    ENDS[way](machine, mine)
    for name in others:
        assert set(statuses(machine, name).values()) == {"pending"}
    expected = dict.fromkeys(users, "cancelled")
    if way == "leave":
        expected = dict.fromkeys(users, "pending") | {"bob": "rejected"}
    assert statuses(machine, mine) == expected
    machine.check()


async def test_a10_the_answers_of_a_list_stay_apart_for_everybody_who_hears(
    hub: Hub, clock: VirtualClock
) -> None:
    party = await Party(hub).gather()
    users = ["bob", "cy", *(f"guest {number}" for number in range(9))]
    await hub.groups.add("g", users)
    name = await party.sessions["amy 1"].signaling.invite_in_group("g", users, timeout=30)
    outcome = begin(name.outcome())
    await race(
        lambda: party.sessions["cy 1"].signaling.reject(name, "no"),
        lambda: hub.accept_as("guest 8", name),
        lambda: party.sessions["bob 1"].signaling.accept(name, "yes"),
    )
    await hub.groups.remove("g", ["guest 2"])
    await clock.advance(30)
    expected = dict.fromkeys(users, "timed_out")
    expected |= {"cy": "rejected", "guest 8": "accepted", "bob": "accepted", "guest 2": "rejected"}
    assert (await outcome).statuses == expected
    told = [(event.kind, event.affected) for event in party.ears["amy 2"].events[1:]]
    rest = tuple(user for user in users if expected[user] == "timed_out")
    assert told == [
        ("rejected", ("cy",)),
        ("accepted", ("guest 8",)),
        ("accepted", ("bob",)),
        ("rejected", ("guest 2",)),
        ("timed_out", rest),
    ]


# -- A11 -------------------------------------------------------------------------------------------

DEVICES = ["phone", "tablet", "watch"]


class Slow(SignalingListener):
    """Hears in its session's task."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    async def on_signaling_event(self, event: Event) -> None:
        await turns(2)
        self.events.append(event)


@pytest.mark.parametrize("is_group", [False, True])
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_a11_the_first_device_that_answers_wins_and_the_others_hear_it_once(
    hub: Hub, clock: VirtualClock, order: tuple[int, ...], is_group: bool
) -> None:
    await hub.groups.put("g", ["amy", "bob"])
    ears = [(Ear(), Slow()) for _ in DEVICES]
    sessions = [
        await hub.login("bob", device, listener=ear)
        for device, (ear, _) in zip(DEVICES, ears, strict=True)
    ]
    for session, (_, slow) in zip(sessions, ears, strict=True):
        session.add_signaling_listener(slow)
    amy = hub.acting_as("amy").signaling
    name = await (amy.invite_in_group("g", ["bob"]) if is_group else amy.invite("bob"))
    answers = [sessions[at].signaling for at in order]
    results = await race(
        lambda: answers[0].accept(name, "first"),
        lambda: answers[1].reject(name, "second"),
        lambda: answers[2].accept(name, "third"),
    )
    assert results == [None, 8010, 8010]
    await clock.settle()
    for at in range(3):
        for events in (ears[at][0].events, ears[at][1].events):
            told = [(e.kind, e.data, e.device) for e in events if e.kind != "opened"]
            wanted = [("accepted", "first", DEVICES[order[0]])]
            assert told == ([] if at == order[0] else wanted)


async def test_a11_who_is_too_late_learns_on_which_device_it_was_answered(
    hub: Hub, clock: VirtualClock
) -> None:
    party = await Party(hub).gather()
    name = await party.sessions["amy 1"].signaling.invite(["bob", "cy"])
    await party.ends("accept", name)
    for place, word in (("bob 1", "this device"), ("bob 2", "another device")):
        error = None
        try:
            await party.sessions[place].signaling.reject(name)
        except Exception as refused:
            error = refused
        assert word in str(error)
    await clock.settle()
    assert ends_heard(party.ears["bob 2"], name) == ["accepted"]
    assert ends_heard(party.ears["bob 1"], name) == []


async def test_a11_an_answer_by_the_server_is_heard_on_every_device(
    hub: Hub, clock: VirtualClock
) -> None:
    party = await Party(hub).gather()
    name = await hub.invite_as("amy", "bob")
    await hub.accept_as("bob", name)
    await clock.settle()
    for place in ("amy 1", "amy 2", "bob 1", "bob 2"):
        assert ends_heard(party.ears[place], name) == ["accepted"], place
