"""The machine: accept a random open one and open another, and let all of them expire.

Twice: through the C face, beside the floor, and through the Python face with names and texts,
beside the naive engine. Time moves one tick every thousand cycles, and facts are taken then. The
tables have as many ended invitations in them as they keep before the first run is timed.
"""

from __future__ import annotations

from types import ModuleType

import operands
from measure import BYTES, Measure, Row
from rival_programs import Floor, naive_figure

from pysignal.engine.machine import Machine

SPAN_MS = 100_000
ENDED_MAX = 100_000  # what the floor keeps, however old
ENDED_KEEP_MS = 86_400_000
CYCLES_PER_TICK = 1000
SLICE = 4096


def test_cycle_in_c(measure: Measure, core_cycle: ModuleType, floor: Floor, size: int) -> None:
    """Accept and open through the C face; and how much memory the open ones take."""
    cycles = measure.operations(2_000_000)
    inviters, invitees = operands.pairs(size)
    core = core_cycle.Invitations(operands.packed(inviters), operands.packed(invitees))
    core.open_all(operands.packed(operands.timeouts_ms(size, 29_000)))
    memory = core.bytes_used / size
    order = operands.packed(operands.order(size, cycles))
    timeouts = operands.packed(operands.timeouts_ms(cycles))
    core.cycle(order, timeouts)
    runs = 1

    def run() -> None:
        core.cycle(order, timeouts)

    def verify() -> None:
        nonlocal runs
        runs += 1
        assert core.counts == (size, size + runs * cycles, runs * cycles, 0)
        assert core.facts == size + 2 * runs * cycles
        core.check()

    row = measure(
        "accept and open, C",
        size,
        cycles,
        run,
        verify=verify,
        rivals={
            "floor, loaded": lambda: floor.figure("loaded", size, "cycle_ns"),
            "floor, bare": lambda: floor.figure("bare", size, "cycle_ns"),
        },
    )
    measure.figure("core_cycle_vs_floor", row, over="floor, loaded")
    if size >= CYCLES_PER_TICK:
        told = floor.run("loaded", size)
        theirs = [] if told is None else [told["bytes_per_invitation"]]
        row = Row("memory of an open one, C", size, BYTES, [memory], {"floor, loaded": theirs})
        measure.figure("core_bytes_per_invitation", measure.add(row))


def test_expire_in_c(measure: Measure, core_cycle: ModuleType, floor: Floor, size: int) -> None:
    """Let all expire through the C face, a slice at a time."""
    inviters, invitees = operands.pairs(size)
    core = core_cycle.Invitations(operands.packed(inviters), operands.packed(invitees))
    timeouts = operands.packed(operands.timeouts_ms(size, 29_000))
    cycles = operands.order(size, ENDED_MAX)
    core.open_all(timeouts)
    core.cycle(operands.packed(cycles), operands.packed(operands.timeouts_ms(ENDED_MAX)))
    core.expire(SPAN_MS)
    runs = 1

    def verify() -> None:
        nonlocal runs
        runs += 1
        assert core.counts == (0, runs * size + ENDED_MAX, ENDED_MAX, runs * size)
        core.check()

    row = measure(
        "invitation expires, C",
        size,
        size,
        lambda: core.expire(SPAN_MS),
        prepare=lambda: core.open_all(timeouts),
        verify=verify,
        rivals={
            "floor, loaded": lambda: floor.figure("loaded", size, "expire_ns"),
            "floor, bare": lambda: floor.figure("bare", size, "expire_ns"),
        },
    )
    measure.figure("core_expire_vs_floor", row, over="floor, loaded")


class Calls:
    """A machine with as many open invitations as users, driven from Python."""

    def __init__(self, size: int, cycles: int) -> None:
        users = operands.names(size)
        inviters, invitees = operands.pairs(size)
        self.machine = Machine(now_ms=1, ended_max=ENDED_MAX, ended_keep_ms=ENDED_KEEP_MS)
        self.inviters = tuple(users[k] for k in inviters)
        self.invitees = tuple(users[k] for k in invitees)
        self.first_timeouts = operands.timeouts_ms(size, 29_000)
        self.order = operands.order(size, cycles)
        self.timeouts = operands.timeouts_ms(cycles)
        self.questions = operands.texts(cycles, "invite")
        self.answers = operands.texts(cycles, "accept")
        self.first_questions = operands.texts(size, "first")
        self.ids = [""] * size
        self.told = 0

    def open_all(self) -> None:
        """Open them all."""
        machine, now_ms = self.machine, self.machine.now_ms
        for k, inviter in enumerate(self.inviters):
            self.ids[k] = machine.open(
                now_ms, inviter, self.invitees[k], self.first_questions[k], self.first_timeouts[k]
            )
            if k % CYCLES_PER_TICK == CYCLES_PER_TICK - 1:
                self.told += len(machine.take())
        self.told += len(machine.take())

    def cycle(self) -> None:
        """Accept the ones that the order names, and open each again."""
        machine, ids = self.machine, self.ids
        inviters, invitees = self.inviters, self.invitees
        accept, open_again = machine.accept, machine.open
        now_ms = machine.now_ms
        operations = zip(self.order, self.answers, self.questions, self.timeouts, strict=True)
        for done, (k, answer, question, timeout_ms) in enumerate(operations, 1):
            accept(now_ms, ids[k], invitees[k], answer)
            ids[k] = open_again(now_ms, inviters[k], invitees[k], question, timeout_ms)
            if done % CYCLES_PER_TICK == 0:
                self.told += len(machine.take())
                now_ms += 1
                machine.advance(now_ms)
        self.told += len(machine.take())

    def expire(self) -> None:
        """Let all expire, a slice at a time."""
        machine = self.machine
        until_ms = machine.now_ms + SPAN_MS
        more = True
        while more:
            more = machine.advance(until_ms, SLICE)
            self.told += len(machine.take())

    def count(self, name: str) -> int:
        """Return one of the machine's counts."""
        count: int = self.machine.stats()[name]
        return count


def test_cycle(measure: Measure, floor: Floor, size: int) -> None:
    """Accept and open through the Python face: names, texts of 64 bytes, events taken."""
    cycles = measure.operations(200_000)
    calls = Calls(size, cycles)
    calls.open_all()
    calls.cycle()
    runs = 1

    def verify() -> None:
        nonlocal runs
        runs += 1
        assert calls.count("open") == size
        assert calls.count("invitees_accepted") == runs * cycles
        assert calls.told == size + 2 * runs * cycles
        calls.machine.check()

    row = measure(
        "accept and open, Python",
        size,
        cycles,
        calls.cycle,
        verify=verify,
        rivals={
            "naive": lambda: naive_figure(size, "cycle_ns"),
            "floor, loaded": lambda: floor.figure("loaded", size, "cycle_ns"),
        },
        slow=True,
    )
    measure.figure("python_cycle_vs_naive", row, faster_than="naive")


def test_expire(measure: Measure, size: int) -> None:
    """Let all expire through the Python face, events taken."""
    calls = Calls(size, 0)
    runs = 0

    def verify() -> None:
        nonlocal runs
        runs += 1
        assert calls.count("open") == 0
        assert calls.count("invitees_timed_out") == runs * size
        assert calls.told == 2 * runs * size
        calls.machine.check()

    row = measure(
        "invitation expires, Python",
        size,
        size,
        calls.expire,
        prepare=calls.open_all,
        verify=verify,
        rivals={"naive": lambda: naive_figure(size, "expire_ns")},
        slow=True,
    )
    measure.figure("python_expire_vs_naive", row, faster_than="naive")
