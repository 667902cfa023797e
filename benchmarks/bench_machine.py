"""The machine: accept a random open one and open another, and let all of them expire.

Twice: through the C face, beside the floor, and through the Python face with names and texts,
beside the naive engine. Time moves one tick every thousand cycles, and facts are taken then. The
tables have as many ended invitations in them as they keep before the first run is timed.
"""

from __future__ import annotations

import statistics
from types import ModuleType

import memory
import operands
import pytest
from measure import BYTES, NS, TIMES, Measure, Row, Size, cpu_ns
from rival_programs import Floor, naive_run

from pysignal.engine.machine import Machine

SPAN_MS = 100_000
ENDED_MAX = 100_000  # what the floor keeps, however old
ENDED_KEEP_MS = 86_400_000
CYCLES_PER_TICK = 1000
SLICE = 4096
EARLY = 4  # cycles before which the operands of one are fetched
SAMPLE = 1000  # invitations that are looked at after a run
RESIDENT_MARGIN = 0.05  # by which the memory of the process may differ from the core's own count


def test_in_c(measure: Measure, core_cycle: ModuleType, floor: Floor, size: Size) -> None:
    """Through the C face: accept and open, then let all expire; and open them all again."""
    cycles = measure.operations(2_000_000)
    core = Core(core_cycle, size, cycles)
    expiring: list[float] = []
    waiting: list[float] = []
    theirs: dict[str, list[float]] = {"floor, loaded": [], "floor, bare": []}

    def verify() -> None:
        core.verify_cycles()
        waiting.append(cpu_ns(lambda: core.cycle(early=0), cycles))
        core.verify_cycles()
        expiring.append(cpu_ns(core.expire, size))
        core.verify_expiry()
        core.open_all()

    def floor_run(kind: str) -> float | None:
        told = floor.run(kind, size)
        if told is None:
            return None
        theirs[f"floor, {kind}"].append(told["expire_ns"])
        return told["cycle_ns"]

    row = measure(
        "accept and open, C",
        size,
        cycles,
        core.cycle,
        verify=verify,
        rivals={
            "floor, loaded": lambda: floor_run("loaded"),
            "floor, bare": lambda: floor_run("bare"),
        },
    )
    measure.figure(f"core_cycle_vs_floor_{size.name}", row, over="floor, loaded")
    cold = Row("the same, operands out of the cache", size, NS, waiting, row.rivals)
    measure.figure(
        f"core_cycle_cold_operands_vs_floor_{size.name}", measure.add(cold), over="floor, loaded"
    )
    row = measure.add(Row("invitation expires, C", size, NS, expiring, theirs))
    measure.figure(f"core_expire_vs_floor_{size.name}", row, over="floor, loaded")


@pytest.mark.sizes(10_000_000)
def test_flatness(measure: Measure, core_cycle: ModuleType, floor: Floor, size: Size) -> None:
    """Accept and open where it is large, over the same where it is small, in turn."""
    cycles = measure.operations(2_000_000)
    small = Size(1_000, measure.quick)
    many, few = Core(core_cycle, size, cycles), Core(core_cycle, small, cycles)
    ours: list[float] = []
    theirs: list[float] = []

    def floor_small() -> float | None:
        figure = floor.figure("loaded", small, "cycle_ns")
        if figure is not None:
            theirs.append(figure)
        return figure

    def prepare() -> None:
        ours.append(cpu_ns(few.cycle, cycles))
        few.verify_cycles()

    row = measure(
        "accept and open, C",
        size,
        cycles,
        many.cycle,
        prepare=prepare,
        verify=many.verify_cycles,
        rivals={
            f"floor, loaded, at {small:,}": floor_small,
            "floor, loaded": lambda: floor.figure("loaded", size, "cycle_ns"),
        },
        slow=True,
    )
    for core in (many, few):
        core.expire()
        core.verify_expiry()
    loaded = row.rival("floor, loaded")
    if loaded is not None:
        growth = row.median / statistics.median(ours)
        floor_growth = loaded / statistics.median(theirs)
        flatness = Row("growth of that from 1e3 on", size, TIMES, [growth])
        flatness.rivals["floor, loaded"] = [floor_growth]
        measure.add(flatness)
        measure.figure(f"flatness_1e3_{size.name}", flatness, over="floor, loaded")


@pytest.mark.sizes(1_000_000)
def test_memory(measure: Measure, core_cycle: ModuleType, floor: Floor, size: Size) -> None:
    """Bytes an open invitation takes, and an invitee of a list, by the counter of the core."""
    rows: list[Row] = []

    def run() -> None:
        for what, name, count in (
            ("invitations", "memory of an open one, C", max(size, 100_000)),
            ("invitees", "memory of an invitee in a list, C", 10_000),
        ):
            told = memory.measured(core_cycle, what, count)
            # The system counts pages, and what its allocator keeps for itself.
            if told["resident"]:
                assert abs(told["resident"] / told["counted"] - 1) < RESIDENT_MARGIN, told
            rows.append(Row(name, count, BYTES, [told["counted"] / told["items"]]))
            rows[-1].rivals["resident memory"] = [told["resident"] / told["items"]]

    measure.run(run)
    for_one, for_invitee = (measure.add(row) for row in rows)
    told = floor.run("loaded", size)
    for_one.rivals["floor, loaded"] = [] if told is None else [told["bytes_per_invitation"]]
    measure.figure("core_bytes_per_invitation", for_one)
    measure.figure("core_bytes_per_invitee", for_invitee)


class Core:
    """As many open invitations as users, driven through the C face.

    Args:
        core_cycle: the built driver.
        size: how many are open.
        cycles: of one run; a run is done already.
    """

    def __init__(self, core_cycle: ModuleType, size: int, cycles: int) -> None:
        inviters, invitees = operands.pairs(size)
        self.core = core_cycle.Invitations(operands.packed(inviters), operands.packed(invitees))
        self.size, self.cycles = size, cycles
        self.first = operands.packed(operands.timeouts_ms(size, 29_000))
        self.order = operands.packed(operands.order(size, cycles))
        self.timeouts = operands.packed(operands.timeouts_ms(cycles))
        self.opened = self.accepted = self.expired = 0
        self.open_all()
        self.cycle()
        self.verify_cycles()

    def open_all(self) -> None:
        """Open them all."""
        self.core.open_all(self.first)
        self.opened += self.size

    def cycle(self, early: int = EARLY) -> None:
        """Accept random ones, and open each again."""
        self.core.cycle(self.order, self.timeouts, early)

    def expire(self) -> None:
        """Let all expire, a slice at a time."""
        self.core.expire(SPAN_MS)

    def verify_cycles(self) -> None:
        """Check the counts after a run of cycles, one fact for each operation, and every link."""
        self.opened += self.cycles
        self.accepted += self.cycles
        self._verify(self.size)

    def verify_expiry(self) -> None:
        """Check the same after all have expired."""
        self.expired += self.size
        self._verify(0)

    def _verify(self, open_now: int) -> None:
        core = self.core
        assert core.counts == (open_now, self.opened, self.accepted, self.expired)
        assert core.facts == self.opened + self.accepted + self.expired
        core.check()


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
        self.questions = operands.texts(cycles, "invite")
        self.ticks = operands.batches(
            CYCLES_PER_TICK,
            self.order,
            operands.texts(cycles, "accept"),
            self.questions,
            operands.timeouts_ms(cycles),
        )
        self.first_questions = operands.texts(size, "first")
        self.ids = [""] * size
        self.last_questions: dict[int, str] = {}
        self.told = self.opened = self.accepted = self.expired = 0

    def open_all(self) -> None:
        """Open them all."""
        machine, now_ms = self.machine, self.machine.now_ms
        self.opened += len(self.ids)
        self.last_questions = {}
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
        for tick in self.ticks:
            for k, answer, question, timeout_ms in tick:
                accept(now_ms, ids[k], invitees[k], answer)
                ids[k] = open_again(now_ms, inviters[k], invitees[k], question, timeout_ms)
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

    def verify_cycles(self) -> None:
        """Check counts and events after a run of cycles, and what some invitations say."""
        self.opened += len(self.order)
        self.accepted += len(self.order)
        self.last_questions |= zip(self.order, self.questions, strict=True)
        self._verify(open_now=len(self.ids))
        for k in operands.order(len(self.ids), SAMPLE):
            info = self.machine.info(self.ids[k])
            assert info is not None
            assert (info.state, info.inviter) == ("open", self.inviters[k])
            assert info.statuses == {self.invitees[k]: "pending"}
            assert info.data == self.last_questions.get(k, self.first_questions[k])

    def verify_expiry(self) -> None:
        """Check the same after all have expired."""
        self.expired += len(self.ids)
        self._verify(open_now=0)

    def _verify(self, open_now: int) -> None:
        stats = self.machine.stats()
        assert stats["open"] == open_now
        assert stats["invitations"] == self.opened
        assert stats["invitees_accepted"] == self.accepted
        assert stats["invitees_timed_out"] == self.expired
        assert self.told == self.opened + self.accepted + self.expired
        self.machine.check()


def test_in_python(measure: Measure, floor: Floor, size: Size) -> None:
    """Through the Python face: names, texts of 64 bytes, events taken; then let all expire."""
    cycles = measure.operations(200_000)
    calls = Calls(size, cycles)
    calls.open_all()
    calls.cycle()
    calls.verify_cycles()
    expiring: list[float] = []
    theirs: list[float] = []

    def verify() -> None:
        calls.verify_cycles()
        expiring.append(cpu_ns(calls.expire, size))
        calls.verify_expiry()
        calls.open_all()

    def naive() -> float:
        told = naive_run(size)
        theirs.append(told["expire_ns"])
        return told["cycle_ns"]

    row = measure(
        "accept and open, Python",
        size,
        cycles,
        calls.cycle,
        verify=verify,
        rivals={
            "naive": naive,
            "floor, loaded": lambda: floor.figure("loaded", size, "cycle_ns"),
        },
        slow=True,
    )
    measure.figure(f"python_cycle_vs_naive_{size.name}", row, faster_than="naive")
    row = measure.add(Row("invitation expires, Python", size, NS, expiring, {"naive": theirs}))
    measure.figure(f"python_expire_vs_naive_{size.name}", row, faster_than="naive")
