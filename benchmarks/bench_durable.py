"""A hub on its log: how many life cycles, at what cost, and how soon an operation is acknowledged.

Everything here waits for a disk, so that throughput and latencies are of the time that passes, and
the cost of the journal alone of the CPU time of all threads. The folder lies beside the results: a
file system in memory would show nothing.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import operands
from measure import MS, PER_SECOND, TIMES, US, Measure, Row

from pysignal import Hub, Session, SignalingListener
from pysignal.journal import MemoryJournal
from pysignal.journal.log import LogJournal
from pysignal.journal.writer import Writer

IN_FLIGHT = 1000
CYCLES = 200_000

RECORD_BYTES = 200
RECORDS_PER_S = 100_000
FED_S = 2.0
TICK_S = 0.001
SQLITE_COMMIT_S = 0.005

LONE = 500
LONE_GAP_S = 0.002

BUSY_OPERATIONS_PER_S = 10_000
BUSY_S = 3.0
WARM_S = 0.5
BUSY_TURN_S = 0.001
BUSY_TURNS = 9  # then the loop is left alone for one
BUSY_SHARE_MIN = 0.8  # what a run must have had

ROUNDS = 5

Loop = asyncio.AbstractEventLoop


# -- life cycles -----------------------------------------------------------------------------------


class Hears(SignalingListener):
    """Counts what it hears."""

    def __init__(self) -> None:
        self.rung = self.accepted = 0

    def on_receive_new_invitation(
        self, invite_id: str, inviter: str, group_id: str, invitee_list: list[str], data: str
    ) -> None:
        """Hear of a new invitation."""
        self.rung += 1

    def on_invitee_accepted(self, invite_id: str, invitee: str, data: str) -> None:
        """Hear that an invitee accepted."""
        self.accepted += 1


async def cycles_per_s(journal: Any, cycles: int) -> float:
    """Let so many pairs invite and accept at once, each in a task; return life cycles a second."""
    async with Hub(journal=journal) as hub:
        ears = Hears()
        pairs = []
        for number in range(IN_FLIGHT):
            inviter = await hub.login(f"inviter {number}", listener=ears)
            pairs.append((inviter, await hub.login(f"invitee {number}", listener=ears)))
        texts = operands.texts(cycles, "invite")

        async def meet(inviter: Session, invitee: Session, first: int) -> None:
            for number in range(first, cycles, IN_FLIGHT):
                invite_id = await inviter.signaling.invite(invitee.user_id, texts[number])
                await invitee.signaling.accept(invite_id)

        begin = time.perf_counter()
        await asyncio.gather(*(meet(*pair, first) for first, pair in enumerate(pairs)))
        seconds = time.perf_counter() - begin
        await asyncio.sleep(0.05)
        assert (ears.rung, ears.accepted) == (cycles, cycles)
        assert hub.stats()["invitees_accepted"] == cycles
        return cycles / seconds


def test_life_cycles(measure: Measure, loop: Loop, folder: Path) -> None:
    """Count whole life cycles in a second, with a thousand tasks that await each operation."""
    cycles = measure.operations(CYCLES, 2 * IN_FLIGHT)
    ours: list[float] = []
    memory: list[float] = []
    none: list[float] = []

    def run() -> None:
        for number in range(1 if measure.quick else ROUNDS):
            for journal, into in (
                (None, none),
                (MemoryJournal(), memory),
                (LogJournal(folder / str(number)), ours),
            ):
                into.append(loop.run_until_complete(cycles_per_s(journal, cycles)))

    measure.run(run)
    rivals = {"no journal": none, "in memory": memory}
    row = Row("life cycles, durable, a second that passes", IN_FLIGHT, PER_SECOND, ours, rivals)
    measure.figure("durable_cycles_per_s", measure.add(row))


# -- the cost of the log ---------------------------------------------------------------------------


async def feed(take: Callable[[list[bytes]], object], seconds: float) -> float:
    """Hand over RECORDS_PER_S records, some each millisecond; return CPU time per record, us."""
    record = random.Random(1).randbytes(RECORD_BYTES)
    count = round(RECORDS_PER_S * seconds)
    given = 0
    begin, spent = time.perf_counter(), time.process_time()
    while given < count:
        due = min(round((time.perf_counter() - begin) * RECORDS_PER_S), count)
        take([record] * (due - given))
        given = due
        await asyncio.sleep(TICK_S)
    return (time.process_time() - spent) / count * 1e6


async def log_us(folder: Path, seconds: float) -> float:
    """Feed the log; return CPU time of all threads per record, us."""
    journal = LogJournal(folder)
    await journal.open()

    def flush() -> None:
        writer.flush()

    writer = Writer(journal, flush, lambda count: None, lambda error: None)

    def take(records: list[bytes]) -> None:
        writer.write(records)
        writer.flush()

    spent = await feed(take, seconds)
    await writer.close()
    assert journal.position == writer.accepted == round(RECORDS_PER_S * seconds)
    await journal.close()
    return spent


async def sqlite_us(folder: Path, seconds: float) -> float:
    """Feed an SQLite database in its WAL mode, one commit each 5 ms."""
    base = sqlite3.connect(folder / "rival.sqlite")
    base.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE r (b BLOB)")
    waiting: list[tuple[bytes]] = []
    committed = time.perf_counter()

    def take(records: list[bytes]) -> None:
        nonlocal committed
        waiting.extend((record,) for record in records)
        if time.perf_counter() - committed >= SQLITE_COMMIT_S:
            with base:
                base.executemany("INSERT INTO r VALUES (?)", waiting)
            waiting.clear()
            committed = time.perf_counter()

    spent = await feed(take, seconds)
    base.close()
    return spent


def test_cost_of_a_record(measure: Measure, loop: Loop, folder: Path) -> None:
    """Tell the CPU time, of all threads, that a record costs the log at 100,000 a second."""
    seconds = FED_S / 20 if measure.quick else FED_S
    ours: list[float] = []
    sqlite: list[float] = []

    def run() -> None:
        for number in range(1 if measure.quick else ROUNDS):
            ours_at, theirs_at = folder / f"log {number}", folder / f"sqlite {number}"
            theirs_at.mkdir()
            idle = loop.run_until_complete(feed(lambda records: None, seconds))
            ours.append(loop.run_until_complete(log_us(ours_at, seconds)) - idle)
            shutil.rmtree(ours_at)
            sqlite.append(loop.run_until_complete(sqlite_us(theirs_at, seconds)) - idle)
            shutil.rmtree(theirs_at)

    measure.run(run)
    what = f"a record of {RECORD_BYTES} bytes in the log, CPU of all threads"
    row = Row(what, RECORDS_PER_S, US, ours, {"SQLite, a commit each 5 ms": sqlite})
    measure.figure("durable_cpu_us_per_record", measure.add(row))


# -- acknowledgements ------------------------------------------------------------------------------


class Bare:
    """What no journal can do without: a write and an `fdatasync` of as many bytes, in place.

    Args:
        folder: of the file.
        size: bytes of one write.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self._fd = os.open(folder / "bare", os.O_CREAT | os.O_RDWR, 0o600)
        os.write(self._fd, bytes(LONE * size))
        os.fsync(self._fd)
        self._size = size
        self._at = 0

    def sync(self) -> float:
        """Return how long one takes, seconds."""
        data = os.urandom(self._size)
        begin = time.perf_counter()
        os.pwrite(self._fd, data, self._at)
        os.fdatasync(self._fd)
        seconds = time.perf_counter() - begin
        self._at += self._size
        return seconds

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


async def lone_operations(folder: Path, count: int) -> tuple[list[float], list[float]]:
    """Take one operation after the other, and a bare sync in between; return seconds of each."""
    ours: list[float] = []
    theirs: list[float] = []
    async with Hub(journal=folder) as hub:
        amy = await hub.login("amy")
        await amy.signaling.invite("bob", "of a usual length, as it were")
        bare = Bare(folder.parent, 168)  # as many bytes as the log writes
        for _ in range(count):
            await asyncio.sleep(LONE_GAP_S)
            begin = time.perf_counter()
            await amy.signaling.invite("bob", "of a usual length, as it were")
            ours.append(time.perf_counter() - begin)
            await asyncio.sleep(LONE_GAP_S)
            theirs.append(bare.sync())
        bare.close()
    return ours, theirs


def percentile(values: list[float], percent: int) -> float:
    """Return what so many percent of the values do not exceed."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def test_lone_operation(measure: Measure, loop: Loop, folder: Path) -> None:
    """Compare how long a lone operation takes with a bare sync of the same bytes beside it."""
    count = measure.operations(LONE, 20)
    ratios: dict[int, list[float]] = {50: [], 99: []}
    seconds: dict[int, tuple[list[float], list[float]]] = {50: ([], []), 99: ([], [])}

    def run() -> None:
        for number in range(1 if measure.quick else ROUNDS):
            made = loop.run_until_complete(lone_operations(folder / str(number), count))
            for percent in ratios:
                ours, theirs = (percentile(values, percent) for values in made)
                ratios[percent].append(ours / theirs)
                seconds[percent][0].append(ours * 1e3)
                seconds[percent][1].append(theirs * 1e3)

    measure.run(run)
    for percent, found in ratios.items():
        ours, theirs = seconds[percent]
        what = f"a lone operation, p{percent}"
        measure.add(Row(what, count, MS, ours, {"write and fdatasync": theirs}))
        row = measure.add(Row(f"{what}, over a bare sync", count, TIMES, found))
        measure.figure(f"durable_ack_over_fdatasync_p{percent}", row)


ARRIVALS = """
import sys, time
count, per_s, write = int(sys.argv[1]), int(sys.argv[2]), sys.stdout.buffer.write
begin, sent = time.perf_counter(), 0
while sent < count:
    time.sleep(0.001)
    due = min(int((time.perf_counter() - begin) * per_s), count)
    write(time.perf_counter_ns().to_bytes(8, "little") * (due - sent))
    sys.stdout.buffer.flush()
    sent = due
"""


class OtherWork:
    """Keeps the loop busy in turns of BUSY_TURN_S, for BUSY_TURNS of ten."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._turn = 0
        self._is_over = False
        self.begin_s = time.perf_counter()
        self.busy_s = 0.0
        self._work()

    def _work(self) -> None:
        begin = time.perf_counter()
        while time.perf_counter() < begin + BUSY_TURN_S:
            pass
        self.busy_s += time.perf_counter() - begin
        self._turn += 1
        if self._is_over:
            return
        if self._turn % BUSY_TURNS:
            self._loop.call_soon(self._work)
        else:
            self._loop.call_later(BUSY_TURN_S, self._work)

    def end(self) -> float:
        """End; return for which share of the time it has kept the loop busy."""
        self._is_over = True
        return self.busy_s / (time.perf_counter() - self.begin_s)


async def busy_operations(journal: Any, seconds: float) -> list[float]:
    """Let another process ask for operations at its own pace; return how long each took, s."""
    took: list[float] = []
    count = round(BUSY_OPERATIONS_PER_S * seconds)
    async with Hub(journal=journal) as hub:
        users = [await hub.login(f"user {number}") for number in range(100)]
        calls: set[asyncio.Task[None]] = set()

        async def call(asked_ns: int) -> None:
            user = users[len(took) % 100]
            await user.signaling.invite("somebody else", timeout=5)
            took.append((time.perf_counter_ns() - asked_ns) / 1e9)

        await asyncio.sleep(WARM_S)
        loop, ended, rest = asyncio.get_running_loop(), asyncio.Event(), b""
        command = [sys.executable, "-c", ARRIVALS, str(count), str(BUSY_OPERATIONS_PER_S)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as arrivals:  # noqa: ASYNC220
            assert arrivals.stdout is not None
            arriving = arrivals.stdout.fileno()

            def arrive() -> None:
                nonlocal rest
                if not (data := os.read(arriving, 1 << 16)):
                    loop.remove_reader(arriving)
                    ended.set()
                data = rest + data
                rest = data[len(data) - len(data) % 8 :]
                for at in range(0, len(data) - len(rest), 8):
                    task = loop.create_task(call(int.from_bytes(data[at : at + 8], "little")))
                    calls.add(task)
                    task.add_done_callback(calls.discard)

            loop.add_reader(arriving, arrive)
            work = OtherWork()
            await ended.wait()
        assert work.end() > BUSY_SHARE_MIN
        await asyncio.gather(*calls)
    assert len(took) == count
    return took


def test_busy_loop(measure: Measure, loop: Loop, folder: Path) -> None:
    """Tell how late acknowledgements are where other work has the loop for nine tenths."""
    seconds = BUSY_S / 20 if measure.quick else BUSY_S
    p99: list[float] = []
    memory: list[float] = []

    def run() -> None:
        for number in range(1 if measure.quick else ROUNDS):
            for journal, into in ((MemoryJournal(), memory), (folder / str(number), p99)):
                took = loop.run_until_complete(busy_operations(journal, seconds))
                into.append(percentile(took, 99) * 1e3)

    measure.run(run)
    what = "an acknowledgement on a busy loop, p99"
    row = Row(what, BUSY_OPERATIONS_PER_S, MS, p99, {"in memory": memory})
    measure.figure("durable_busy_ack_ms_p99", measure.add(row))
