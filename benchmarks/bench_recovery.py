"""A million open invitations: how long a restart takes, and what a snapshot costs those who call.

The journal is written by a hub with the limits that it has by default, so that a restart finds what
it would find: a snapshot, and the records since.
"""

from __future__ import annotations

import asyncio
import gc
import time
from pathlib import Path
from typing import Any

import operands
import pytest
from measure import MS, SECONDS, Measure, Row, Size

from pysignal import Hub, Limits
from pysignal.journal.log import LogJournal

ITEMS_PER_CALL = 10_000
TIMEOUT_S = 3600
USERS = 20_000
ROUNDS = 3

Loop = asyncio.AbstractEventLoop


class AskedFor(LogJournal):
    """A log that takes a snapshot when it is asked for one, and no sooner."""

    is_asked = False

    @property
    def wants_snapshot(self) -> bool:
        """Whether it was asked."""
        return self.is_asked

    async def save(self, position: int, pieces: Any) -> None:
        """Take one."""
        self.is_asked = False
        await super().save(position, pieces)


async def fill(hub: Hub, count: int) -> None:
    """Open so many invitations."""
    users = operands.names(USERS)
    texts = operands.texts(count, "invite")
    for first in range(0, count, ITEMS_PER_CALL):
        made = await hub.invite_many(
            [
                (users[k % USERS], users[(k + 1 + k // USERS) % USERS], texts[k], TIMEOUT_S)
                for k in range(first, min(first + ITEMS_PER_CALL, count))
            ]
        )
        assert all(isinstance(one, str) for one in made)


async def recover(journal: Any, count: int) -> float:
    """Open a hub on what a journal holds; return how long that takes, seconds."""
    gc.collect()
    hub = Hub(journal=journal, limits=Limits())
    begin = time.perf_counter()
    await hub.open()
    seconds = time.perf_counter() - begin
    assert hub.stats()["open"] == count
    hub.shard.machine.check()
    await hub.close()
    return seconds


@pytest.mark.sizes(1_000_000)
def test_recovery(measure: Measure, loop: Loop, folder: Path, size: Size) -> None:
    """Tell how long it takes to be back, by a snapshot and the records since, or by records."""
    usual: list[float] = []
    records: list[float] = []

    async def written(journal: Any) -> None:
        async with Hub(journal=journal) as hub:
            await fill(hub, size)
            await asyncio.sleep(1)

    def run() -> None:
        loop.run_until_complete(written(folder / "usual"))
        loop.run_until_complete(written(AskedFor(folder / "records")))
        for _ in range(1 if measure.quick else ROUNDS):
            usual.append(loop.run_until_complete(recover(folder / "usual", size)))
            records.append(loop.run_until_complete(recover(AskedFor(folder / "records"), size)))

    measure.run(run)
    row = measure.add(
        Row("back after a restart", size, SECONDS, usual, {"from records alone": records})
    )
    measure.figure(f"recover_seconds_{size.name}", row)


@pytest.mark.sizes(1_000_000)
def test_hold_of_a_snapshot(measure: Measure, loop: Loop, folder: Path, size: Size) -> None:
    """Tell for how long a snapshot keeps the loop at most, with so many open."""
    longest: list[float] = []
    taking: list[float] = []

    async def run_hub(journal: AskedFor) -> None:
        async with Hub(journal=journal) as hub:
            await fill(hub, size)
            gc.collect()
            for _ in range(1 if measure.quick else ROUNDS):
                base = journal.base
                journal.is_asked = True
                while journal.is_asked:  # it looks after each commit, unless one is under way
                    await hub.invite_as("somebody", "somebody else", timeout=TIMEOUT_S)
                begin, last = time.perf_counter(), time.thread_time()
                held = 0.0
                while journal.base == base:
                    await asyncio.sleep(0)
                    now = time.thread_time()  # the machine may run others in between
                    held = max(held, now - last)
                    last = now
                longest.append(held * 1e3)
                taking.append(time.perf_counter() - begin)

    measure.run(lambda: loop.run_until_complete(run_hub(AskedFor(folder / "hub"))))
    longest[:] = [max(longest)]
    row = measure.add(Row("a snapshot, longest hold of the loop, CPU", size, MS, longest))
    measure.figure("snapshot_hold_ms_max", row)
    measure.add(Row("a snapshot, from its beginning to its end", size, SECONDS, taking))
