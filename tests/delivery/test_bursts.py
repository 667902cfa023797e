"""Bursts: thousands of calls in one turn of the loop, each in a task of its own (E5, E7).

Above a bound of undelivered events calls wait in turn, and are carried out as fast as the events
are delivered. No step of the loop takes longer for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from delivery.steps import StepMeter
from delivery.test_steps import Counter, Scene, check_steps, log_in, names, quiet
from scale import scaled

from pysignal import Hub, VirtualClock
from pysignal.journal import MemoryJournal

CALLS = scaled(20_000, at_least=16_000)


async def calls(hub: Hub, clock: VirtualClock, meter: StepMeter) -> None:
    """Of one user to another."""
    ear, users = Counter(), names(100)
    sessions = await log_in(hub, users, ear)
    await quiet(hub)
    calling = [
        asyncio.ensure_future(sessions[n % 100].signaling.invite(users[(n + 1) % 100]))
        for n in range(CALLS)
    ]
    await burst(hub, meter, calling)
    assert ear.count == CALLS


async def calls_in_a_class(hub: Hub, clock: VirtualClock, meter: StepMeter) -> None:
    """Everybody hears each."""
    ear, users = Counter(), names(30)
    sessions = await log_in(hub, users, ear)
    await hub.groups.put("class", users)
    await quiet(hub)
    calling = [
        asyncio.ensure_future(
            sessions[n % 30].signaling.invite_in_group("class", [users[(n + 1) % 30]])
        )
        for n in range(CALLS // 4)
    ]
    await burst(hub, meter, calling)
    assert ear.count == CALLS // 4 * 29


async def lists(hub: Hub, clock: VirtualClock, meter: StepMeter) -> None:
    """Their audience has to be found for each."""
    ear, users = Counter(), names(100)
    sessions = await log_in(hub, users, ear)
    await quiet(hub)
    calling = [
        asyncio.ensure_future(sessions[n % 10].signaling.invite(users[10 + n % 80 :][:10]))
        for n in range(CALLS // 4)
    ]
    await burst(hub, meter, calling)
    assert ear.count == CALLS // 4 * 10


async def answers(hub: Hub, clock: VirtualClock, meter: StepMeter) -> None:
    """All at once, and most of them wait."""
    ear, users = Counter(), names(100)
    sessions = await log_in(hub, users, ear)
    given = []
    for n in range(CALLS):
        given.append(await hub.invite_as("amy", users[n % 100], timeout=600))
        if n % 1000 == 0:
            await quiet(hub)
    await quiet(hub)
    calling = [
        asyncio.ensure_future(sessions[n % 100].signaling.accept(name))
        for n, name in enumerate(given)
    ]
    await burst(hub, meter, calling)
    assert hub.stats()["invitees_accepted"] == CALLS


async def burst(hub: Hub, meter: StepMeter, calling: Sequence[asyncio.Future[Any]]) -> None:
    waited = 0
    with meter.on():
        await asyncio.sleep(0)
        while not calling[-1].done():
            waited = max(waited, hub.stats()["commands_waiting"])
            await asyncio.sleep(0)
        await quiet(hub)
    assert waited > 1000, "it was to be more than a turn delivers"
    await asyncio.gather(*calling)


@pytest.mark.parametrize("journaled", [False, True])
@pytest.mark.parametrize("scene", [calls, calls_in_a_class, lists, answers])
def test_a_burst_holds_the_loop_no_longer(scene: Scene, journaled: bool) -> None:
    check_steps(scene, MemoryJournal() if journaled else None)
