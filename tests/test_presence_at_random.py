"""Devices that come and go at random: no ring is lost, none is heard twice."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter

import pytest
from ears import Ear, join

from pysignal import Hub, InvitationEnded, Session, VirtualClock

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("seed", range(30))
async def test_devices_that_come_and_go_hot_are_rung_once_each_and_miss_nothing(
    hub: Hub, clock: VirtualClock, seed: int
) -> None:
    choose = random.Random(seed)
    await hub.groups.put("g", ["amy", "bob", "cy"])
    amy, _ = await join(hub, "amy")
    ears = {device: Ear() for device in "xyz"}
    sessions: dict[str, Session] = {}
    opened: list[str] = []

    async def come(device: str) -> None:
        session = sessions.get(device)
        if session is None or session.online or choose.random() < 0.5:
            session = sessions[device] = hub.session("bob", device)
            session.add_signaling_listener(ears[device])
        await session.login("hot")

    for _ in range(250):
        device = choose.choice("xyz")
        match choose.randrange(8):
            case 0 | 1:
                await come(device)
            case 2 if device in sessions and sessions[device].online:
                await sessions[device].logout()
            case 3:
                opened.append(await amy.signaling.invite(["bob", "cy"], timeout=3600))
            case 4:
                opened.append(await amy.signaling.invite_in_group("g", ["bob"], timeout=3600))
            case 5 if opened:
                ending = choose.choice(
                    [amy.signaling.cancel, hub.acting_as("bob").signaling.reject]
                )
                with contextlib.suppress(InvitationEnded):
                    await ending(choose.choice(opened[-5:]))
            case 6:
                await asyncio.sleep(0)
            case 7:
                await clock.advance(choose.choice([0, 1]))
    for device in "xyz":
        await come(device)
    await clock.settle()
    pending = {info.invite_id for info in await hub.pending("bob")}
    for ear in ears.values():
        heard = ear.take()
        rings = Counter(call[1] for call in heard if call[0] == "receive_new_invitation")
        assert set(rings.values()) <= {1}, "rung twice"
        assert pending <= set(rings), "never rung"
        over: set[str] = set()
        for event in ear.events:
            assert event.invite_id not in over, "heard after the end"
            if event.ends:
                over.add(event.invite_id)
