"""Who hears what is for two: users with no session, one or several, listeners that come and go.

Delivery finds an account by the number that its user has in the engine for now, and calls the one
listener of a session without looking for others. Here numbers change hands all the time, and
sessions and listeners with them; a model of a few lines knows who has to hear each event.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
from ears import Ear
from scale import scaled

from pysignal import Hub, Invitation, Limits, Session, SignalingListener, VirtualClock

pytestmark = pytest.mark.anyio

USERS = [f"user {number}" for number in range(12)]
DEVICES = ("phone", "laptop", "watch")


class Callbacks(Ear):
    """Overrides no `on_signaling_event`: the quickest listener to call."""

    on_signaling_event = SignalingListener.on_signaling_event  # type: ignore[assignment]


class Town:
    """Sessions, their listeners, and what each should have heard."""

    def __init__(self, hub: Hub, clock: VirtualClock, dice: random.Random) -> None:
        self.hub = hub
        self.clock = clock
        self.dice = dice
        self.sessions: dict[tuple[str, str], Session] = {}
        self.ears: dict[tuple[str, str], list[Ear]] = {}
        self.wanted: dict[Ear, list[tuple[Any, ...]]] = {}
        self.gone: list[Ear] = []
        self.open: list[tuple[Invitation, str, str]] = []

    async def come_or_go(self) -> None:
        place = self.dice.choice(USERS), self.dice.choice(DEVICES)
        if place in self.sessions:
            await self.sessions.pop(place).logout()
            self.gone += self.ears.pop(place)
            return
        session = self.hub.session(*place)
        self.sessions[place], self.ears[place] = session, []
        for _ in range(self.dice.randrange(3)):
            self.add(place)
        await session.login("hot")
        # A login rings again what the user has not answered; that is not asked about here.
        await self.clock.settle()
        for ear in self.ears[place]:
            ear.take()

    def add(self, place: tuple[str, str]) -> None:
        ear = Callbacks() if self.dice.randrange(2) else Ear()
        self.wanted[ear] = []
        self.ears[place].append(ear)
        self.sessions[place].add_signaling_listener(ear)

    def change_listeners(self) -> None:
        if not self.sessions:
            return
        place = self.dice.choice(list(self.sessions))
        if self.ears[place] and self.dice.randrange(2):
            ear = self.ears[place].pop(self.dice.randrange(len(self.ears[place])))
            self.sessions[place].remove_signaling_listener(ear)
            self.gone.append(ear)
        else:
            self.add(place)

    def expect(self, call: tuple[Any, ...], users: tuple[str, str], acting: Session | None) -> None:
        for (user, device), ears in self.ears.items():
            if user in users and self.sessions[user, device] is not acting:
                for ear in ears:
                    self.wanted[ear].append(call)

    async def act(self) -> None:
        kind = self.dice.randrange(5)
        if kind < 2 or not self.open:
            inviter, invitee = self.dice.sample(USERS, 2)
            acting = self.session_of(inviter)
            if acting is None:
                name = await self.hub.invite_as(inviter, invitee, timeout=600)
            else:
                name = await acting.signaling.invite(invitee, timeout=600)
            call = ("receive_new_invitation", name, inviter, "", [invitee], "")
            self.expect(call, (inviter, invitee), acting)
            self.open.append((name, inviter, invitee))
            return
        name, inviter, invitee = self.open.pop(self.dice.randrange(len(self.open)))
        if kind == 2:
            acting = self.session_of(inviter)
            signaling = (
                self.hub.acting_as(inviter).signaling if acting is None else acting.signaling
            )
            await signaling.cancel(name, "c")
            call = ("invitation_cancelled", name, inviter, "c")
        else:
            acting = self.session_of(invitee)
            signaling = (
                self.hub.acting_as(invitee).signaling if acting is None else acting.signaling
            )
            await (signaling.accept(name, "a") if kind == 3 else signaling.reject(name, "a"))
            call = (f"invitee_{'accepted' if kind == 3 else 'rejected'}", name, invitee, "a")
        self.expect(call, (inviter, invitee), acting)

    def session_of(self, user: str) -> Session | None:
        mine = [session for (name, _), session in self.sessions.items() if name == user]
        return self.dice.choice(mine) if mine and self.dice.randrange(3) else None

    async def check(self) -> None:
        await self.clock.settle()
        for place, ears in self.ears.items():
            for ear in ears:
                assert ear.take() == self.wanted[ear], place
                self.wanted[ear].clear()
        assert not any(ear.take() for ear in self.gone)


@pytest.mark.parametrize("limits", [Limits(ended_max=0, told_keep_s=5)])
@pytest.mark.parametrize("seed", range(5))
async def test_each_listener_hears_what_is_for_its_session_and_nothing_else(
    hub: Hub, clock: VirtualClock, limits: Limits, seed: int
) -> None:
    dice = random.Random(seed)
    town = Town(hub, clock, dice)
    strangers = 0
    for _ in range(scaled(400, 60)):
        for _ in range(dice.randrange(4)):
            await town.act()
        await town.check()
        what = dice.randrange(4)
        if what == 0:
            await town.come_or_go()
        elif what == 1:
            town.change_listeners()
        elif what == 2:  # numbers of the engine are let go, and given to others
            await clock.advance(6)
            for _ in range(dice.randrange(10)):
                strangers += 1
                name = await hub.invite_as(f"stranger {strangers}", f"other {strangers}")
                await hub.cancel_by_server(name)
        await town.check()
    assert hub.stats()["users"] < 60 < strangers or scaled(100) < 100


async def test_whose_number_lies_far_behind_all_others_hears_as_well(
    hub: Hub, clock: VirtualClock
) -> None:
    """Delivery makes room for numbers by and by, as there may be millions."""
    await hub.invite_as("amy", [f"stranger {number}" for number in range(5000)], timeout=600)
    ears = {user: Ear() for user in ("bob", "cy")}
    for user, ear in ears.items():
        await hub.login(user, listener=ear)
    for _ in range(100):
        for user, ear in ears.items():
            name = await hub.invite_as("dan", user)
            await clock.settle()
            assert ear.take() == [("receive_new_invitation", name, "dan", "", [user], "")]
            await hub.cancel_as("dan", name)
            await clock.settle()
            assert ear.take() == [("invitation_cancelled", name, "dan", "")]


async def test_of_several_sessions_none_acts_that_is_not_there(
    hub: Hub, clock: VirtualClock
) -> None:
    """The event bears a device that nobody is logged in with: all of the user hear it."""
    ears = []
    for device in DEVICES[:2]:
        ears.append(Ear())
        await hub.login("amy", device, listener=ears[-1])
    hub.shard.machine.open(hub.now_ms, "amy", "bob", device=9)
    hub.shard.machine.open(hub.now_ms, "bob", "amy", device=9)  # of whom no device is known
    await hub.invite_as("cy", "dan")  # asks for a turn
    await clock.settle()
    assert [[event.device for event in ear.events] for ear in ears] == [["", ""], ["", ""]]
