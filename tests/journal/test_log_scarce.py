"""The log where memory runs out for a job, and where closing it is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random

import pytest
from journal.simulated_disk import Done, SimulatedDisk

from pysignal.journal.disk import Lane, Step
from pysignal.journal.log import LogJournal

pytestmark = pytest.mark.anyio


def a_log(disk: SimulatedDisk) -> LogJournal:
    return LogJournal("", segment_bytes=4096, disk=disk)


async def settle() -> None:
    """Let the disk do all that it was asked to."""
    for _ in range(100):
        await asyncio.sleep(0)


@pytest.mark.parametrize("lane", Lane)
async def test_where_memory_runs_out_for_a_job_no_segment_is_mistaken(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each job of a lane that asks for several steps fails once."""
    disk = SimulatedDisk(Random(4))
    journal = a_log(disk)
    await journal.open()
    await settle()
    failures, jobs = 0, 0
    submit = SimulatedDisk.submit

    def scarce(self: SimulatedDisk, at: Lane, steps: Sequence[Step], done: Done) -> None:
        nonlocal failures, jobs
        if at is lane and len(steps) > 1:
            jobs += 1
            if jobs % 2:
                failures += 1
                raise MemoryError
        submit(self, at, steps, done)

    monkeypatch.setattr(SimulatedDisk, "submit", scarce)
    records = [b"%d" % number * size for number in range(9) for size in (3900, 30, 9)]
    for number, record in enumerate(records):
        try:
            await journal.append([record], number)
        except MemoryError:
            await journal.append([record], number)
        await settle()
    assert failures > 5
    left = disk.cut_power()
    monkeypatch.undo()
    again = a_log(left)
    await again.open()
    assert list(again.replay()) == records
    await again.close()
    await journal.close()


async def test_a_close_that_is_cancelled_lets_go_of_the_disk() -> None:
    disk = SimulatedDisk(Random(4))
    journal = a_log(disk)
    await journal.open()
    closing = asyncio.ensure_future(journal.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait({closing})
    assert not disk.is_open
