"""Seeded crashes of a log: of each, everything that was acknowledged must come back.

A history appends, snapshots and switches segments on a simulated disk. At steps chosen at random
the disk is copied as a power cut, or the end of the process, would leave it; each copy is opened,
compared, and goes on, and may crash once more in that.

    python -m journal.crashes --count 1000000 --seed 0
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import logging
import multiprocessing
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

import uvloop
from journal.simulated_disk import SimulatedDisk

from pysignal.journal.disk import Step, Write
from pysignal.journal.log import LogJournal

SEGMENT_BYTES = 4096
SNAPSHOT_BYTES = 4096


class Image(NamedTuple):
    """A disk after a crash.

    Attributes:
        written: the records that were handed in.
        durable: how many of them were acknowledged.
        depth: how many crashes came before.
        is_recovery: whether it crashed while it was being opened.
        is_snapshot: whether it crashed while a snapshot was being written.
    """

    disk: SimulatedDisk
    written: list[bytes]
    durable: int
    depth: int
    is_recovery: bool = False
    is_snapshot: bool = False


@dataclass
class Tally:
    """What was seen, so that a run proves that it has seen it."""

    crashes: int = 0
    cut: int = 0
    lost: int = 0
    kept: int = 0
    snapshots: int = 0
    within_recovery: int = 0
    within_snapshot: int = 0
    switches: int = 0
    failed: int = 0
    failed_snapshots: int = 0

    def add(self, other: Tally) -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


@dataclass
class History:
    """One seed's worth of appends and crashes."""

    seed: int
    limit: int
    rng: Random = field(init=False)
    images: list[Image] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        self.rng = Random(self.seed)

    async def play(self) -> Tally:
        """Live through a few lives, each after a crash of the one before."""
        image = Image(SimulatedDisk(self.rng), [], 0, 0)
        try:
            for _ in range(3):
                await self.live(image, self.rng.randint(1, 14), 0.3)
                if not self.images:
                    break
                images, self.images = self.images, []
                image = images.pop(self.rng.randrange(len(images)))
                while images and self.tally.crashes < self.limit:
                    await self.live(images.pop(), self.rng.randint(0, 1), 0.02)
                    images += self.images
                    self.images.clear()
        except Exception as error:
            raise AssertionError(
                f"python -m journal.crashes --count 1 --seed {self.seed}: {error!r}"
            ) from error
        return self.tally

    async def live(self, image: Image, operations: int, likely: float) -> None:
        """Open a disk, compare what is found, go on, and note crashes on the way."""
        disk, rng = image.disk, self.rng
        if image.depth:
            self.tally.crashes += 1
            self.tally.within_recovery += image.is_recovery
            self.tally.within_snapshot += image.is_snapshot
        # Every line of descent writes records of its own.
        records = list(image.written)
        journal = LogJournal(
            "", segment_bytes=SEGMENT_BYTES, snapshot_bytes=SNAPSHOT_BYTES, disk=disk
        )
        opened = False

        def look(step: Step) -> None:
            # What is written and not synced is what crashes are about.
            if rng.random() < likely * (3 if type(step) is Write else 1):
                crashed = disk.kill() if rng.random() < 0.15 else disk.cut_power()
                durable = journal.position if opened else image.durable
                self.images.append(
                    Image(
                        *(crashed, list(records), durable, image.depth + 1),
                        is_recovery=not opened,
                        is_snapshot=journal._saving,
                    )
                )

        disk.on_step = look
        fails = rng.random() < 0.15
        if fails:
            disk.fault = lambda step: errno.EIO if rng.random() < 0.04 else None
        try:
            await journal.open()
            opened = True
            self.compare(journal, image, records)
            for _ in range(operations):
                await self.operate(journal, records)
        except OSError:
            assert fails, "a step failed that was not to fail"
            self.tally.failed += 1
            durable = journal.position if opened else image.durable
            for crashed in (disk.kill(), disk.cut_power()):
                self.images.append(Image(crashed, list(records), durable, image.depth + 1))
        disk.on_step = lambda step: None
        await journal.close()

    def compare(self, journal: LogJournal, image: Image, records: list[bytes]) -> None:
        """Demand a prefix of what was written, with all that was acknowledged."""
        assert image.durable <= journal.position <= len(records), (
            f"{journal.position} records are back; of {len(records)}, {image.durable} were durable"
        )
        assert list(journal.replay()) == records[journal.base : journal.position]
        if journal.base:
            assert list(journal.snapshot()) == self.pieces(journal.base)
        self.tally.snapshots += journal.base > 0
        self.tally.cut += journal.report is not None
        self.tally.lost += journal.position < len(records)
        self.tally.kept += journal.position > image.durable
        del records[journal.position :]

    async def operate(self, journal: LogJournal, records: list[bytes]) -> None:
        """Append, and perhaps save a snapshot meanwhile."""
        rng = self.rng
        saving = None
        if journal.wants_snapshot and rng.random() < 0.5:
            position = journal.position
            saving = asyncio.ensure_future(journal.save(position, self.read(position)))
        try:
            await self.append_some(journal, records)
            if rng.random() < 0.1:
                journal.keep_free(rng.choice((0, 5000, 12_000)))
        finally:
            if saving is not None:
                try:
                    await saving
                except OSError:
                    self.tally.failed_snapshots += 1

    async def append_some(self, journal: LogJournal, records: list[bytes]) -> None:
        rng = self.rng
        for _ in range(rng.randint(1, 3)):
            size = rng.choice((0, 7, 40, 400, 400, 1500, 6000 if rng.random() < 0.2 else 20))
            start = len(records)
            batch = [
                b"%d of %d" % (start + at, self.seed) + rng.randbytes(4) * (size // 4)
                for at in range(rng.randint(1, 3))
            ]
            segments = len(journal._segments)
            records += batch
            await journal.append(batch, start)
            self.tally.switches += len(journal._segments) > segments

    def pieces(self, position: int) -> list[bytes]:
        return [b"the state at %d of %d" % (position, self.seed)] * (1 + position % 4) + [
            bytes(position % 7 * 300)
        ]

    async def read(self, position: int) -> AsyncIterator[bytes]:
        for piece in self.pieces(position):
            await asyncio.sleep(0)
            yield piece


async def crash(count: int, seed: int) -> Tally:
    """Crash so often, in histories of seeds from this one on."""
    tally = Tally()
    while tally.crashes < count:
        tally.add(await History(seed, count - tally.crashes).play())
        seed += 1
    return tally


def crash_apart(count: int, seed: int) -> Tally:
    """Do so on an event loop of its own."""
    logging.getLogger("pysignal").setLevel(logging.ERROR)
    return uvloop.run(crash(count, seed))


def crash_side_by_side(count: int, seed: int, workers: int) -> Tally:
    """Do so in several processes; each has seeds of its own."""
    tally = Tally()
    share = -(-count // (workers * 4))
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        parts = [(share, seed + part * 1_000_000) for part in range(workers * 4)]
        for part in pool.starmap(crash_apart, parts):
            tally.add(part)
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(description="Crash a log on a simulated disk.")
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    began = time.perf_counter()
    if options.count < 1000:
        tally = crash_apart(options.count, options.seed)
    else:
        tally = crash_side_by_side(options.count, options.seed, os.cpu_count() or 1)
    print(f"{tally}\nin {time.perf_counter() - began:.0f} s: nothing acknowledged was lost")


if __name__ == "__main__":
    main()
