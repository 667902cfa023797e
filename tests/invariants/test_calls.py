"""B5 and B6: what a caller may rely on, whatever listeners do (docs/invariants.md)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from busy import PATIENCE_S, begin_mass_expiry
from ears import Ear, join
from invariants.scenes import Party, SlowEar, begin, result_of, turns
from slow_journal import SlowJournal

from pysignal import (
    Hub,
    Invitation,
    Limits,
    Session,
    SignalingEvent,
    SignalingListener,
    VirtualClock,
)

pytestmark = pytest.mark.anyio


# -- B5 --------------------------------------------------------------------------------------------


def every_call(party: Party, names: list[str]) -> list[Any]:
    """One call of each kind, some of which are refused."""
    amy, bob, cy = (party.sessions[f"{user} 1"] for user in ("amy", "bob", "cy"))
    return [
        amy.signaling.invite("bob"),
        amy.signaling.invite_in_group("g", ["bob"]),
        bob.signaling.accept(names[0]),
        bob.signaling.reject(names[1]),
        cy.signaling.accept(names[2]),
        amy.signaling.cancel(names[2], request_id="r"),
        amy.signaling.cancel(names[2], request_id="r"),
        amy.signaling.modify_invitation(names[3], "x"),
        cy.signaling.open_invitations("g"),
        party.hub.pending("bob"),
        party.hub.invitation(names[0]),
        party.hub.cancel_by_server(names[3]),
        party.hub.login("bob", "new"),
        cy.groups.quit_group("g"),
    ]


async def check_all_resolve(tasks: list[asyncio.Task[Any]]) -> list[Any]:
    done, waiting = await asyncio.wait(tasks, timeout=PATIENCE_S)
    for task in waiting:
        task.cancel()
    assert not waiting, f"{len(waiting)} calls were never answered"
    assert len(done) == len(tasks)
    return [task.result() for task in tasks]


@pytest.mark.parametrize("when", ["at once", "in turn", "journal fails", "hub closes", "both"])
async def test_b5_every_call_is_answered_whatever_happens_meanwhile(
    clock: VirtualClock, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pysignal.commands.RUN_NS", 0)  # of those that wait, one each turn
    journal = SlowJournal()
    async with Hub(clock=clock, journal=journal) as hub:
        party = await Party(hub).gather()
        names = [str(await hub.invite_as("amy", "bob", timeout=500)) for _ in range(4)]
        await clock.settle()
        outcomes = [begin(result_of(_outcome(party, name))) for name in names[:2] * 2]
        await turns(1)
        is_busy = when in ("in turn", "hub closes", "both")
        advancing = await begin_mass_expiry(hub, clock) if is_busy else None
        if when in ("journal fails", "both"):
            journal.shut()
        calls = [begin(result_of(call)) for call in every_call(party, names)]
        await turns(1)
        closing = begin(hub.close()) if when in ("hub closes", "both") else None
        if when in ("journal fails", "both"):
            await turns(5)
            journal.error = OSError("disk")
        journal.release(all_later=True)
        results = await check_all_resolve([*calls, *outcomes])
        if when in ("at once", "in turn"):
            assert results[5:7] == [results[5]] * 2
            assert [r for r in results if isinstance(r, int)] == [8011]
        for task in (advancing, closing):
            if task is not None:
                await asyncio.wait_for(task, PATIENCE_S)


async def _outcome(party: Party, name: str) -> Any:
    return await Invitation(name, party.sessions["amy 1"]).outcome()


async def test_b5_who_stops_waiting_takes_no_answer_from_others(
    hub: Hub, clock: VirtualClock
) -> None:
    party = await Party(hub).gather()
    names = [str(await hub.invite_as("amy", "bob", timeout=500)) for _ in range(4)]
    advancing = await begin_mass_expiry(hub, clock)
    calls = [begin(result_of(call)) for call in every_call(party, names)]
    await turns(1)
    for call in calls[::2]:
        call.cancel()
    await check_all_resolve(calls[1::2])
    await advancing
    found = await hub.invitation(names[0])
    assert found is not None
    assert found.statuses == {"bob": "accepted"}, "it was carried out all the same"


# -- B6 --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "failure", [ValueError("no"), asyncio.CancelledError(), SystemError("no"), StopIteration()]
)
@pytest.mark.parametrize("is_async", [False, True])
async def test_b6_a_listener_that_raises_harms_nobody(
    hub: Hub, clock: VirtualClock, failure: BaseException, is_async: bool
) -> None:
    class Plain(SignalingListener):
        def on_signaling_event(self, event: SignalingEvent) -> None:
            raise failure

        def on_receive_new_invitation(self, *args: Any) -> None:
            raise failure

    class Async(SignalingListener):
        async def on_signaling_event(self, event: SignalingEvent) -> None:
            raise failure

    bad, good = (Async if is_async else Plain)(), (Ear(), SlowEar(), Ear())
    bob = await hub.login("bob", listener=bad)
    for ear in good[:2]:
        bob.add_signaling_listener(ear)
    await hub.login("bob", "2", listener=good[2])
    name = await hub.invite_as("amy", ["bob", "cy"])
    outcome = begin(name.outcome())
    await hub.accept_as("cy", name)
    await hub.cancel_as("amy", name)
    await clock.settle()
    assert (await outcome).statuses == {"bob": "cancelled", "cy": "accepted"}
    for ear in good:
        assert len(ear.heard) == 3
    assert bob.online


@pytest.mark.parametrize("limits", [Limits(queue_max=4)])
async def test_b6_a_listener_that_never_comes_back_delays_nobody(
    hub: Hub, clock: VirtualClock, limits: Limits
) -> None:
    class Stuck(SignalingListener):
        async def on_signaling_event(self, event: SignalingEvent) -> None:
            await asyncio.Event().wait()

    stuck = await hub.login("bob", "1", listener=Stuck())
    _, ear = await join(hub, "bob", "2")
    for number in range(12):
        name = await hub.invite_as("amy", "bob", str(number))
        await turns(3)
        assert ear.heard[-1][1] == name, "nobody waits for a slow one"
    assert (stuck.online, len(ear.heard)) == (False, 12)


async def test_b6_no_listener_is_called_inside_a_call_or_inside_itself(
    hub: Hub, clock: VirtualClock
) -> None:
    depth: Counter[str] = Counter()
    calling: list[str] = []
    entered: list[str] = []
    party = await Party(hub).gather()

    class Acting(SignalingListener):
        """Acts inside its callbacks, on everything that others hear of at once."""

        def __init__(self, place: str) -> None:
            self.place = place

        def on_signaling_event(self, event: SignalingEvent) -> None:
            if calling or any(depth.values()):
                entered.append(f"{self.place} inside {calling} {dict(depth)}")
            depth[self.place] += 1
            session = party.sessions[self.place]
            if event.kind == "opened" and event.inviter == "amy" and self.place == "bob 1":
                api(session, lambda: session.signaling.accept(event.invite_id))
                api(session, lambda: session.signaling.invite("cy", "in turn", timeout=5))
                api(session, lambda: hub.modify_invitation_as("amy", event.invite_id, "x"))
            depth[self.place] -= 1

    def api(session: Session, call: Callable[[], Any]) -> None:
        calling.append(session.user_id)
        coroutine = result_of(call())
        try:
            coroutine.send(None)
        except StopIteration:
            pass
        else:
            coroutine.close()
        calling.pop()

    for place, session in party.sessions.items():
        session.add_signaling_listener(Acting(place))
    amy = party.sessions["amy 1"]
    for _ in range(3):  # in one turn of the loop
        api(amy, lambda: amy.signaling.invite(["bob", "cy"], timeout=5))
        api(amy, lambda: amy.signaling.invite("cy", timeout=5))
    await clock.advance(6)
    assert entered == []
    assert sum(len(ear.events) for ear in party.ears.values()) > 20
