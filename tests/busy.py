"""Bringing a hub to a moment at which commands wait their turn."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from pysignal import Hub, SignalingError, VirtualClock

# A test that would wait for ever fails after this time instead, in seconds.
PATIENCE_S = 5

CROWD = [f"guest {number}" for number in range(8000)]


async def code_of(call: Coroutine[Any, Any, Any] | asyncio.Future[Any]) -> int:
    """Await a call that must be refused, and return the code of the error."""
    with pytest.raises(SignalingError) as caught:
        await asyncio.wait_for(call, PATIENCE_S)
    return caught.value.code


def run_now(coroutine: Coroutine[Any, Any, Any]) -> None:
    """Run a coroutine that does not suspend, from where nothing can be awaited."""
    with pytest.raises(StopIteration):
        coroutine.send(None)


async def begin_mass_expiry(hub: Hub, clock: VirtualClock) -> asyncio.Task[None]:
    """Let more fall due than one slice ends; returns the task that advances the clock."""
    await hub.groups.put("crowd", ["organiser", *CROWD])
    for _ in range(2):
        await hub.invite_in_group_as("organiser", "crowd", CROWD, timeout=1)
    await clock.settle()
    advancing = asyncio.ensure_future(clock.advance(1))
    for _ in range(200):
        await asyncio.sleep(0)
        if hub.stats()["commands_waiting"]:
            return advancing
    raise AssertionError("no command waits")
