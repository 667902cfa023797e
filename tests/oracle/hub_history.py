"""A history of a hub: drawn and let happen, or let happen again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final
from unittest.mock import patch

from oracle.acts import Act, Drawer, World, draw_world
from oracle.crash_acts import crash
from oracle.crashing import CrashingRun
from oracle.failure import HistoryFailed
from oracle.hub_run import HubRun, QuickClock
from oracle.lives import JOURNALS
from oracle.source import Exhausted, Source
from pysignal import Hub, saving

OPERATIONS: Final = 40
ACTS_PER_CRASH: Final = 14
START_MS: Final = 1_700_000_000_000


async def run_history(
    source: Source, operations: int = OPERATIONS, *, crashing: bool = False
) -> HubRun:
    """Draw one history and let it happen.

    Args:
        source: makes the choices.
        operations: acts, beside those of a crash.
        crashing: whether it crashes in any case, and not just in some worlds.

    Returns:
        What has happened; its hub is closed.

    Raises:
        HistoryFailed: the hub and the model differ.
    """
    world = draw_world(source)
    if crashing and not world.journal:
        world = replace(world, journal=[*JOURNALS][world.seed % len(JOURNALS)])
    async with opened(world) as run:
        drawer = Drawer(source, world, run.oracle)
        try:
            try:
                for act in drawer.begin():
                    await run.do(act)
                for _ in range(operations):
                    if world.journal and source.below(ACTS_PER_CRASH) == 0:
                        for act in crash(drawer):
                            await run.do(act)
                    await run.do(drawer.next())
                    settle = drawer.settle()
                    if settle is not None:
                        await run.do(settle)
            except Exhausted:
                pass
            await run.compare(whole=True)
        except Exception as error:
            raise HistoryFailed("hub", world, run.acts) from error
    return run


async def replay(world: World, acts: list[Act]) -> None:
    """Let acts happen that were drawn before."""
    async with opened(world) as run:
        for act in acts:
            await run.do(act)
        await run.compare(whole=True)


@asynccontextmanager
async def opened(world: World) -> AsyncIterator[HubRun]:
    """Open a hub on a clock of its own, with a model beside it."""
    clock = QuickClock(START_MS)
    if not world.journal:
        async with Hub(clock=clock, limits=world.limits, seed=world.seed) as hub:
            yield HubRun(hub, clock, world)
        return
    journal = JOURNALS[world.journal](world.seed)
    hub = Hub(journal=journal, clock=clock, limits=world.limits, seed=world.seed)
    # A turn of the loop for each piece of a snapshot, however fast the machine is.
    with patch.multiple(saving, TURN_NS=0, SLOTS_PER_PIECE=4, MEMBERS_PER_PIECE=2):
        await hub.open()
        run = CrashingRun(world, journal, clock, hub)
        try:
            yield run
        finally:
            await run.close()
