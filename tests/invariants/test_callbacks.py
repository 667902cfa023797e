"""B1 to B4: what a listener may rely on (docs/invariants.md)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from busy import code_of, run_now
from ears import Ear, join
from invariants.scenes import FINAL, PARTY_ENDS, Party, SlowEar, begin, race, result_of, turns

from pysignal import (
    Hub,
    SignalingEvent,
    SignalingListener,
    VirtualClock,
)
from pysignal.session import Start

pytestmark = pytest.mark.anyio


class Hearing(SignalingListener):
    """Hears every event as the test says."""

    def __init__(self, hear: Callable[[SignalingEvent], Any]) -> None:
        self.hear = hear

    def on_signaling_event(self, event: SignalingEvent) -> None:
        self.hear(event)


async def busy_hour(party: Party, clock: VirtualClock) -> None:
    """A history in which everything happens, with logins, kicks and changes of the group."""
    hub, sessions = party.hub, party.sessions
    for number, way in enumerate(PARTY_ENDS):
        await hub.groups.put("g", ["amy", "bob", "cy"])
        amy = sessions["amy 1"].signaling
        one = await amy.invite("bob", timeout=2)
        both = await amy.invite_in_group("g", ["bob", "cy"], timeout=2)
        everybody = await hub.invite_as("zoe", ["amy", "bob", "cy"], timeout=2)
        if number % 2:
            await clock.settle()
        await amy.modify_invitation(both, "newer")
        await race(
            lambda one=one: party.ends(way, one),  # noqa: B023
            lambda both=both: sessions["cy 2"].signaling.accept(both, "yes"),
            lambda both=both: party.ends(way, both),  # noqa: B023
            lambda all_=everybody: sessions["bob 2"].signaling.reject(all_),
        )
        for place in ("bob 1", "cy 1"):
            user, device = place.split()
            start: Start = "hot" if number % 2 else "cold"
            sessions[place] = await hub.login(user, device, start, party.ears[place])
        await hub.groups.put("g", ["amy", "bob", "cy"])
        await clock.advance(1.5)
        for name in (one, both):
            await result_of(amy.cancel(name))
        await clock.advance(1)


# -- B1 --------------------------------------------------------------------------------------------


def ended_for(ear: Ear) -> Counter[tuple[str, str]]:
    """How often a session heard of each invitee's end, by its callbacks and by its events."""
    told: Counter[tuple[str, str]] = Counter()
    invitees = {event.invite_id: event for event in ear.events}
    for name, *about in ear.heard:
        if name in ("invitee_accepted", "invitee_rejected"):
            told[about[0], about[1]] += 1
        elif name == "invitation_timeout":
            told.update((about[0], user) for user in about[1])
        elif name == "invitation_cancelled":
            told.update((about[0], user) for user in invitees[about[0]].invitees)
    return told


async def test_b1_of_each_invitee_a_session_hears_one_end(hub: Hub, clock: VirtualClock) -> None:
    party = await Party(hub).gather()
    for place, session in party.sessions.items():
        session.add_signaling_listener(party.ears[place])  # once more, which counts once
    await busy_hour(party, clock)
    for place, ear in party.ears.items():
        ends: Counter[tuple[str, str]] = Counter()
        for event in ear.events:
            if event.kind in FINAL:
                ends.update((event.invite_id, user) for user in event.affected)
        assert ends, place
        assert set(ends.values()) == {1}, place
        assert ear.heard
        calls = Counter(call[:2] for call in ear.heard if call[0] in ("invitation_timeout",
                        "invitation_cancelled"))  # fmt: skip
        assert set(calls.values()) <= {1}, place


async def test_b1_whoever_is_party_and_member_and_inviter_hears_an_end_once(
    hub: Hub, clock: VirtualClock
) -> None:
    party = await Party(hub).gather()
    for notify in ("members", "parties"):
        for way, (status, silent) in PARTY_ENDS.items():
            await hub.groups.put("g", ["amy", "bob", "cy"])
            name = await party.sessions["amy 1"].signaling.invite_in_group(
                "g", ["bob"], timeout=5, notify=notify  # type: ignore[arg-type]
            )  # fmt: skip
            await party.ends(way, name)
            await clock.settle()
            for place, ear in party.ears.items():
                told = [e.kind for e in ear.events if e.invite_id == name and e.kind in FINAL]
                outside = place == silent or (notify == "parties" and place.startswith("cy"))
                assert told == [status] * (not outside), f"{place} of {way}, for {notify}"


# -- B2 --------------------------------------------------------------------------------------------


async def test_b2_nothing_is_heard_after_the_end(hub: Hub, clock: VirtualClock) -> None:
    party = await Party(hub).gather()
    for way in PARTY_ENDS:
        await hub.groups.put("g", ["amy", "bob", "cy"])
        name = await party.sessions["amy 1"].signaling.invite_in_group("g", ["bob"], timeout=5)
        await party.ends(way, name)
        for then in ("accept", "reject", "cancel", "server"):
            assert await code_of(party.ends(then, name)) == 8010
        await result_of(party.sessions["amy 1"].signaling.modify_invitation(name, "x"))
        await hub.groups.put("g", ["bob", "cy"])
        await clock.advance(6)
        for place, ear in party.ears.items():
            told = [event.ends for event in ear.events if event.invite_id == name]
            assert True not in told[:-1], f"{place} after {way}"
        followed = [event.ends async for event in name]
        assert followed == [False, True]


@pytest.mark.parametrize("listener", [Ear, SlowEar])
@pytest.mark.parametrize("how", ["removal", "logout", "kick"])
@pytest.mark.parametrize("waited", range(6))
async def test_b2_nothing_is_heard_after_a_removal_or_logout_has_returned(
    hub: Hub, clock: VirtualClock, listener: Callable[[], Any], how: str, waited: int
) -> None:
    ear = listener()
    bob = await hub.login("bob", listener=ear)
    stream = bob.events()
    names = [await hub.invite_as("amy", "bob") for _ in range(5)]
    for name in names:
        await hub.cancel_as("amy", name)
    await turns(waited)
    if how == "removal":
        bob.remove_signaling_listener(ear)
    elif how == "logout":
        await bob.logout()
    else:
        await hub.login("bob")
    under_way = listener is SlowEar and len(ear.heard) < 10
    heard = len(ear.heard)
    await hub.invite_as("amy", "bob")
    await turns(100)
    assert len(ear.heard) <= heard + under_way, "more than the call that was running"
    if how != "removal":
        assert len([event async for event in stream]) <= 10
    await stream.aclose()


async def test_b2_who_removes_another_inside_a_callback_stops_it_for_this_event_too(
    hub: Hub, clock: VirtualClock
) -> None:
    bob = await hub.login("bob")
    heard: list[str] = []
    second = Hearing(lambda event: heard.append(event.kind))
    third, fourth = Ear(), SlowEar()

    def remove(_: SignalingEvent) -> None:
        for listener in (second, third, fourth):
            bob.remove_signaling_listener(listener)

    for listener in (Hearing(remove), second, third, fourth):
        bob.add_signaling_listener(listener)
    await hub.invite_as("amy", "bob")
    await clock.settle()
    assert (heard, third.heard, fourth.heard) == ([], [], [])


class Batches(SignalingListener):
    """Hears batches of events as the test says."""

    def __init__(self, hear: Callable[[list[SignalingEvent]], Any]) -> None:
        self.hear = hear

    def on_signaling_events(self, events: list[SignalingEvent]) -> None:
        self.hear(events)


@pytest.mark.usefixtures("whole_turns")
@pytest.mark.parametrize("how", ["removed", "logged out"])
async def test_b2_who_is_gone_when_another_hears_its_batch_hears_none(
    hub: Hub, clock: VirtualClock, how: str
) -> None:
    heard: list[int] = []
    bob = await hub.login("bob")
    second = Batches(lambda events: heard.append(len(events)))

    def leave(events: list[SignalingEvent]) -> None:
        if how == "removed":
            bob.remove_signaling_listener(second)
        else:
            run_now(bob.logout())

    bob.add_signaling_listener(Batches(leave))
    bob.add_signaling_listener(second)
    for _ in range(3):
        await hub.invite_as("amy", "bob")
    await clock.settle()
    assert heard == []


async def test_b2_who_logs_out_inside_a_callback_hears_no_more_of_the_same_event(
    hub: Hub, clock: VirtualClock
) -> None:
    bob = await hub.login("bob")
    later = Ear()
    bob.add_signaling_listener(Hearing(lambda _: run_now(bob.logout())))
    bob.add_signaling_listener(later)
    for _ in range(3):
        await hub.invite_as("amy", "bob")
    await clock.settle()
    assert (later.heard, later.events) == ([], [])


# -- B3 --------------------------------------------------------------------------------------------


async def test_b3_an_opening_comes_first_and_all_in_the_order_of_the_commits(
    hub: Hub, clock: VirtualClock
) -> None:
    party = await Party(hub).gather()
    await busy_hour(party, clock)
    for place, ear in party.ears.items():
        live = [event.position for event in ear.events if not event.replayed]
        assert live == sorted(set(live)), f"{place}: the order of the commits"
        opened: set[str] = set()
        for event in ear.events:
            if event.kind == "opened":
                opened.add(event.invite_id)
            else:
                own = place == "amy 1" and event.inviter == "amy"
                assert own or event.invite_id in opened, f"{place}: {event}"
        assert [call[0] for call in ear.heard if call[0] != "receive_new_invitation"]


@pytest.mark.parametrize("start", ["cold", "hot"])
async def test_b3_a_login_rings_oldest_first_and_before_what_follows(
    hub: Hub, clock: VirtualClock, start: Start
) -> None:
    amy = hub.acting_as("amy").signaling
    names = [await amy.invite(["bob", "cy"], str(n), timeout=60 - n) for n in range(6)]
    slow = SlowEar()
    bob = hub.session("bob")
    ear = Ear()
    bob.add_signaling_listener(ear)
    bob.add_signaling_listener(slow)
    for name in reversed(names):
        await amy.modify_invitation(name, "now")
    joining = begin(bob.login(start))
    await hub.accept_as("cy", names[5])
    await turns(1)
    await hub.cancel_as("amy", names[0])
    await joining
    await turns(100)
    told = [(event.kind, event.invite_id) for event in ear.events]
    assert told[:6] == [("opened", name) for name in names]
    assert [event.data for event in ear.events[:6]] == ["now"] * 6
    assert ("cancelled", names[0]) in told[6:]
    assert [call[:2] for call in slow.heard] == told


async def test_b3_plain_and_async_methods_of_a_listener_hear_in_one_order(
    hub: Hub, clock: VirtualClock
) -> None:
    ear, slow = Ear(), SlowEar()
    bob = await hub.login("bob", listener=ear)
    bob.add_signaling_listener(slow)
    for _ in range(4):
        name = await hub.invite_as("amy", ["bob", "cy"], timeout=60)
        await hub.modify_invitation_as("amy", name, "x")
        await hub.accept_as("cy", name)
        await hub.cancel_as("amy", name)
    await turns(100)
    assert [call[:2] for call in slow.heard] == [(e.kind, e.invite_id) for e in ear.events]
    assert len(slow.heard) == 16


# -- B4 --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["cold", "hot"])
async def test_b4_what_a_login_tells_again_is_so(
    hub: Hub, clock: VirtualClock, start: Start
) -> None:
    await hub.groups.put("g", ["amy", "bob", "cy"])
    amy = hub.acting_as("amy").signaling
    names = {
        "one": await amy.invite("bob", "1", timeout=60),
        "list": await amy.invite(["cy", "bob"], "2", timeout=60),
        "group": await amy.invite_in_group("g", ["cy", "bob"], "3", timeout=60),
        "answered": await amy.invite(["cy", "bob"], "4", timeout=60),
        "over": await amy.invite("bob", "5", timeout=60),
    }
    await amy.modify_invitation(names["one"], "newer")
    await hub.accept_as("cy", names["list"])
    await hub.reject_as("bob", names["answered"])
    await amy.cancel(names["over"])
    await clock.settle()
    bob, ear = await join(hub, "bob", "1", start)
    await clock.settle()
    assert [event.invite_id for event in ear.events] == [
        names[each] for each in ("one", "list", "group")
    ]
    for event, call in zip(ear.events, ear.take(), strict=True):
        info = await hub.invitation(event.invite_id)
        assert info is not None
        assert event.replayed
        assert event.actor == event.inviter == info.inviter
        told = (event.seq, event.data_version, event.expires_at, event.invitation_data)
        assert told == (info.seq, info.data_version, info.expires_at, info.data)
        assert (list(event.invitees), list(event.pending)) == (info.invitee_list, info.pending)
        assert call[1:] == (
            info.invite_id,
            info.inviter,
            info.group_id,
            info.invitee_list,
            info.data,
        )
        assert info.invite_id in [shown.invite_id for shown in bob.snapshot.open]


async def test_b4_nothing_told_again_contradicts_what_was_told(
    hub: Hub, clock: VirtualClock
) -> None:
    party = await Party(hub).gather()
    await busy_hour(party, clock)
    for place, ear in party.ears.items():
        over: set[str] = set()
        seqs: dict[str, int] = {}
        user = place.split()[0]
        answered: set[str] = set()
        for event in ear.events:
            assert event.invite_id not in over, f"{place}: {event} after its end"
            if event.kind == "opened":
                assert event.invite_id not in answered, f"{place}: rung after the answer"
            last = seqs.get(event.invite_id, 0)
            assert event.seq > last or (event.replayed and event.seq == last), f"{place}: {event}"
            seqs[event.invite_id] = event.seq
            if event.kind in FINAL and user in event.affected:
                answered.add(event.invite_id)
            if event.ends:
                over.add(event.invite_id)


@pytest.mark.parametrize("start", ["cold", "hot"])
async def test_b4_who_comes_back_in_the_turn_of_an_event_is_told_once(
    hub: Hub, clock: VirtualClock, start: Start
) -> None:
    """What was on its way to the session before its logout is not for it any more."""
    bob, ear = await join(hub, "bob")
    waiting = await hub.invite_as("amy", ["bob", "cy"], "old", timeout=60)
    over = await hub.invite_as("amy", "bob", timeout=60)
    await hub.modify_invitation_as("amy", waiting, "new")
    await hub.accept_as("cy", waiting)
    await hub.cancel_as("amy", over)
    await bob.logout()
    await bob.login(start)
    await hub.reject_as("bob", waiting, "no")
    await clock.settle()
    assert [(event.kind, event.invite_id, event.replayed) for event in ear.events] == [
        ("opened", waiting, True),
        ("rejected", waiting, False),
    ]
    assert ear.events[0].invitation_data == "new"


@pytest.mark.usefixtures("whole_turns")
@pytest.mark.parametrize("is_async", [False, True])
async def test_b4_who_left_before_a_batch_was_handed_over_is_told_of_it(
    hub: Hub, clock: VirtualClock, is_async: bool
) -> None:
    """Bob leaves in the middle of the turn that collects the batch."""
    heard: list[str] = []

    class AsyncBatches(SignalingListener):
        async def on_signaling_events(self, events: list[SignalingEvent]) -> None:
            heard.extend(event.invite_id for event in events)

    listener = Batches(lambda events: heard.extend(event.invite_id for event in events))
    bob = await hub.login("bob", listener=AsyncBatches() if is_async else listener)
    told = await hub.invite_as("amy", "bob")
    await clock.settle()
    names = [await hub.invite_as("amy", "bob", timeout=60) for _ in range(6)]

    def leave(event: SignalingEvent) -> None:
        if event.invite_id == names[3]:
            run_now(bob.logout())

    bob.add_signaling_listener(Hearing(leave))
    await clock.settle()
    assert heard == [told], "nothing is called after the logout"
    _, ear = await join(hub, "bob", start="hot")
    await clock.settle()
    assert [event.invite_id for event in ear.events] == names
