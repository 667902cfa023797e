"""What is durable stays, and nothing else is told: C1 to C8 (docs/invariants.md).

The bulk of the proof is elsewhere: crashes of the log on a simulated disk in `journal.crashes`, a
server that is killed in `crash`. Here each promise has a check that is short enough to be run
against a planted bug.
"""

from __future__ import annotations

import asyncio

import pytest
from ears import Ear
from slow_journal import SlowJournal

from pysignal import Hub, VirtualClock

pytestmark = pytest.mark.anyio


# -- C1: acknowledged is durable -------------------------------------------------------------------


async def test_c1_a_login_rings_nobody_before_its_own_record_is_durable(
    clock: VirtualClock,
) -> None:
    """Else the device is rung again after a crash, as nobody knows that it was."""
    journal = SlowJournal()
    async with Hub(clock=clock, journal=journal) as hub:
        invite_id = await hub.invite_as("amy", "bob", timeout=600)
        await clock.settle()
        journal.shut()
        session, ear = hub.session("bob"), Ear()
        session.add_signaling_listener(ear)
        login = asyncio.ensure_future(session.login("hot"))
        await clock.settle()
        assert ear.take() == []
        journal.release(all_later=True)
        await login
        await clock.settle()
        assert [call[1] for call in ear.take()] == [invite_id]
