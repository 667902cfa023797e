"""The timer wheel against a sorted list, over long times and under bad luck.

`test_wheel` looks at each turn of a ring by itself; here the same wheel lives long. Time crosses
2**32 ms, where the 32 bits that a timer keeps begin anew, many times with timers armed; a million
timers lie in it at once; all of them lie in one slot. At the end the same is asked of a machine,
whose every operation moves time, and of a copy that follows its records.
"""

from __future__ import annotations

import random
from bisect import bisect_left, insort
from typing import Any

import pytest
from machine_talk import make
from scale import scaled

from pysignal.engine import snapshot
from pysignal.engine.machine import Machine
from pysignal.engine.refused import Refused
from pysignal.engine.wheel import Wheel

DAY_MS = 86_400_000
SPAN_MS = 34 * DAY_MS
TIMEOUT_MS_MAX = 30 * DAY_MS
WRAP_MS = 2**32
SLOTS_MS = (1, 2**8, 2**16, 2**24)  # how much time a slot of each ring covers


class Sorted:
    """A sorted list of (deadline, timer) in step with a wheel."""

    def __init__(self, now_ms: int) -> None:
        self.wheel = Wheel(now_ms)
        self.now_ms = now_ms
        self.due: list[tuple[int, int]] = []
        self.deadlines: dict[int, int] = {}

    def arm(self, timer: int, deadline_ms: int) -> None:
        self.wheel.arm(timer, deadline_ms)
        self.deadlines[timer] = max(deadline_ms, self.now_ms)
        insort(self.due, (self.deadlines[timer], timer))

    def disarm(self, timer: int) -> None:
        assert self.wheel.disarm(timer)
        del self.due[bisect_left(self.due, (self.deadlines.pop(timer), timer))]

    def advance(self, now_ms: int, budget: int = 1 << 62) -> bool:
        """Advance both: the wheel reports the head of the list, whole unless the budget ends."""
        expired, more = self.wheel.advance(now_ms, budget)
        assert len(expired) <= budget
        head = [self.due[place] for place in range(len(expired))]
        assert [self.deadlines[timer] for timer in expired] == [deadline for deadline, _ in head]
        for timer in expired:
            deadline = self.deadlines.pop(timer)
            del self.due[bisect_left(self.due, (deadline, timer))]
            assert deadline <= now_ms, "early"
        self.now_ms = self.wheel.now_ms
        if not more:
            assert self.now_ms >= now_ms
            assert not self.due or self.due[0][0] > now_ms, "late"
        assert not self.due or self.due[0][0] >= self.now_ms, "time has passed a timer"
        self.check()
        return more

    def check(self) -> None:
        assert len(self.wheel) == len(self.due)
        next_ms = self.wheel.next_ms
        if self.due:
            assert next_ms is not None
            assert self.now_ms <= next_ms <= self.due[0][0]
            for deadline, timer in (self.due[0], self.due[-1]):
                assert self.wheel.deadline_ms(timer) == deadline
        else:
            assert next_ms is None


def some_span(rng: random.Random, now_ms: int) -> int:
    """How far ahead a deadline lies: past, near, on an edge of a ring's slot, as far as it may."""
    kind = rng.randrange(8)
    if kind == 0:
        return rng.choice([-70_000, -1, 0, 0, 1, 1, 2])
    if kind <= 3:
        return int(2 ** rng.uniform(0, 31.4))
    if kind == 4:
        return rng.choice([TIMEOUT_MS_MAX, SPAN_MS]) - rng.randrange(2)
    slot_ms = rng.choice(SLOTS_MS[1:])
    edge = (now_ms // slot_ms + rng.randint(1, 100)) * slot_ms - now_ms
    return max(0, min(SPAN_MS, edge + rng.randint(-1, 1)))


@pytest.mark.parametrize("seed", range(4))
def test_a_long_life_over_many_wraps_of_the_kept_bits(seed: int) -> None:
    rng = random.Random(seed)
    model = Sorted(rng.randrange(WRAP_MS))
    began_ms = model.now_ms
    budget = 1 << 62
    for _ in range(scaled(100_000)):
        timer = rng.randrange(300)
        kind = rng.random()
        if kind < 0.62:
            if timer in model.deadlines:
                model.disarm(timer)
            if kind < 0.5:
                model.arm(timer, max(0, model.now_ms + some_span(rng, model.now_ms)))
            model.check()
        elif kind < 0.9:
            model.advance(model.now_ms + int(2 ** rng.uniform(0, 26)), budget)
        elif kind < 0.98 and model.due:
            # Right before the next expiry, right at it, or over some of them at once.
            place = rng.randrange(min(len(model.due), 20))
            model.advance(max(model.now_ms, model.due[place][0] - rng.randrange(2)), budget)
        elif kind > 0.995:
            model.advance(model.now_ms + rng.choice([1, 1, 1, 10]) * TIMEOUT_MS_MAX, budget)
        budget = rng.choice([1, 2, 3, 50, 1 << 62])
    wraps = model.now_ms // WRAP_MS - began_ms // WRAP_MS
    assert wraps >= scaled(100_000) // 2_000
    while model.advance(model.now_ms + SPAN_MS):
        pass
    assert not model.due


@pytest.mark.parametrize("start", [0, 7 * WRAP_MS - 10 * DAY_MS])
def test_a_million_timers_come_in_the_order_of_a_sorted_list(start: int) -> None:
    rng = random.Random(start)
    count = scaled(1_000_000)
    wheel = Wheel(start)
    deadlines = [start + int(rng.random() * TIMEOUT_MS_MAX) for _ in range(count)]
    for timer, deadline in enumerate(deadlines):
        wheel.arm(timer, deadline)
    for timer in range(0, count, 3):  # every third is disarmed, and half of these armed anew
        assert wheel.disarm(timer)
        deadlines[timer] = -1
        if timer % 2:
            deadlines[timer] = start + rng.choice([1, 100, DAY_MS, SPAN_MS])
            wheel.arm(timer, deadlines[timer])
    expected = sorted(deadline for deadline in deadlines if deadline >= 0)
    assert len(wheel) == len(expected)
    told: list[int] = []
    now_ms, more = start, False
    while wheel.next_ms is not None:
        if not more:
            now_ms += int(2 ** rng.uniform(20, 30))
        expired, more = wheel.advance(now_ms, rng.choice([10_000, 1 << 62]))
        told += [deadlines[timer] for timer in expired]
        assert not told or told[-1] <= now_ms
        assert more or len(told) == len(expected) or expected[len(told)] > now_ms
    assert told == expected


@pytest.mark.parametrize("ring", range(4))
@pytest.mark.parametrize("budget", [1, 7, 1 << 62])
def test_all_timers_in_one_slot_of_a_ring_come_down_in_order(ring: int, budget: int) -> None:
    rng = random.Random(ring)
    slot_ms = SLOTS_MS[ring]
    # The slot begins right where all rings below it turn over; the last one lies behind the wrap.
    for slot_start in (3 * slot_ms, 255 * slot_ms, WRAP_MS + 2 * slot_ms):
        model = Sorted(max(0, slot_start - max(1, slot_ms // 2)))
        ahead_ms = min(slot_ms, SPAN_MS - (slot_start - model.now_ms))
        edges = [slot_start, slot_start + 1, slot_start + ahead_ms - 1]
        for timer in range(scaled(2_000, at_least=20)):
            deadline = rng.choice(edges) if timer % 3 == 0 else slot_start + rng.randrange(ahead_ms)
            model.arm(timer, min(deadline, slot_start + ahead_ms - 1))
        model.advance(slot_start - 1)
        assert len(model.due) == scaled(2_000, at_least=20)
        until = slot_start + slot_ms // 2
        while model.advance(until, budget):
            if rng.random() < 0.05 and model.due:
                model.disarm(rng.choice(model.due)[1])
        while model.advance(slot_start + slot_ms, budget):
            pass
        assert not model.due


@pytest.mark.parametrize("leap_ms", [TIMEOUT_MS_MAX, SPAN_MS, WRAP_MS, 3 * WRAP_MS + 5, 2**45])
@pytest.mark.parametrize("start", [0, WRAP_MS - 1, 2**40 + 12_345])
def test_one_leap_of_any_length_tells_all_in_order_and_time_arrives(
    leap_ms: int, start: int
) -> None:
    rng = random.Random(leap_ms + start)
    model = Sorted(start)
    for timer in range(scaled(3_000)):
        model.arm(timer, max(0, start + some_span(rng, start)))
    slices = 0
    while model.advance(start + leap_ms, rng.choice([500, 5_000])):
        slices += 1
        assert slices < 4 * scaled(3_000)
    assert model.now_ms == start + leap_ms
    assert not any(deadline <= start + leap_ms for deadline, _ in model.due)
    # What is armed after the leap knows nothing of it.
    model.arm(1 << 20, model.now_ms + 1)
    model.advance(model.now_ms + 1)
    assert 1 << 20 not in model.deadlines


@pytest.mark.parametrize("budget", range(1, 12))
def test_slices_of_any_size_tell_the_same_as_one(budget: int) -> None:
    rng = random.Random(7)
    spans = [some_span(rng, 0) for _ in range(scaled(400, at_least=50))]
    start = 5 * WRAP_MS - 3 * DAY_MS
    whole, sliced = Wheel(start), Wheel(start)
    for timer, span in enumerate(spans):
        whole.arm(timer, start + span)
        sliced.arm(timer, start + span)
    expected, more = whole.advance(start + SPAN_MS)
    assert not more
    told: list[int] = []
    more = True
    while more:
        expired, more = sliced.advance(start + SPAN_MS, budget)
        told += expired
    assert told == expected
    assert sliced.now_ms == whole.now_ms == start + SPAN_MS


# -- through a machine -----------------------------------------------------------------------------


class Timed:
    """A machine whose invitations only ever time out or are cancelled, beside a sorted list."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        limits: dict[str, Any] = {
            "key": b"sixteen bytes...",
            "now_ms": WRAP_MS - 1_000,
            "ended_max": 5,
            "lifetime_ms": self.rng.choice([1, 3_000, TIMEOUT_MS_MAX]),
        }
        self.lifetime_ms = limits["lifetime_ms"]
        self.machine = make(**limits, journaled=True)
        self.copy = make(**limits)
        self.now_ms: int = limits["now_ms"]
        self.due: list[tuple[int, str]] = []
        self.deadlines: dict[str, int] = {}

    def operate(self, operation: Any, *args: Any) -> Any:
        """Do something at this time; it is refused exactly while the wheel has something to do."""
        while True:
            next_ms = self.machine.next_ms
            must_wait = next_ms is not None and next_ms <= self.now_ms
            assert must_wait or not self.due or self.due[0][0] > self.now_ms, "late"
            try:
                result = operation(self.now_ms, *args)
            except Refused as refused:
                if refused.result != "due" or not must_wait:
                    raise
            else:
                assert not must_wait
                assert self.machine.now_ms == self.now_ms
                return result
            self.advance(self.rng.choice([1, 2, 9, 1 << 62]))

    def open(self) -> None:
        rng = self.rng
        timeout_ms = min(max(0, some_span(rng, self.now_ms)), TIMEOUT_MS_MAX)
        invitees = rng.choice(["x", ["y", "z"], [f"u{number}" for number in range(20)]])
        # An inviter of its own, so that no invitation without a timeout pushes out another one.
        invite_id = self.operate(
            self.machine.open, f"inviter {rng.random()}", invitees, "", timeout_ms
        )
        self.deadlines[invite_id] = self.now_ms + (timeout_ms or self.lifetime_ms)
        insort(self.due, (self.deadlines[invite_id], invite_id))
        info = self.machine.info(invite_id)
        assert info is not None
        assert info.expires_at == (self.deadlines[invite_id] if timeout_ms else None)

    def cancel(self) -> None:
        if not self.due:
            return
        # Of something that is still open when all that is due by now has ended.
        deadline, invite_id = self.rng.choice(self.due)
        if deadline <= self.now_ms:
            return
        self.operate(self.machine.cancel, invite_id, None)
        del self.due[bisect_left(self.due, (deadline, invite_id))]
        del self.deadlines[invite_id]

    def wait(self) -> None:
        self.now_ms += int(2 ** self.rng.uniform(0, 27))
        if self.rng.random() < 0.4 and self.due:
            self.now_ms = max(self.machine.now_ms, self.due[0][0] - self.rng.randrange(2))
        if self.rng.random() < 0.005:
            self.now_ms += self.rng.choice([1, 2]) * TIMEOUT_MS_MAX
        if self.rng.random() < 0.5:
            self.advance(self.rng.choice([1, 2, 9, 1 << 62]))

    def advance(self, budget: int) -> None:
        more = self.machine.advance(self.now_ms, budget)
        self.read()
        assert more or self.machine.now_ms == self.now_ms
        assert more or not self.due or self.due[0][0] > self.now_ms, "late"

    def read(self) -> None:
        """Compare every timeout told with the head of the list, and let the copy follow."""
        for record in self.machine.records():
            assert snapshot.apply(self.copy, record)
        for event in self.machine.take():
            if event.kind != "timed_out":
                continue
            deadline = self.deadlines.pop(event.invite_id)
            assert event.time == deadline, "early, or late"
            assert event.expires_at == (None if event.no_deadline else deadline)
            assert self.due[0][0] == deadline, "not in the order of deadlines"
            del self.due[bisect_left(self.due, (deadline, event.invite_id))]

    def check(self) -> None:
        self.read()
        self.machine.check()
        stats = self.machine.stats()
        assert stats["timers"] == stats["open"] == len(self.due)
        next_ms = self.machine.next_ms
        assert (next_ms is None) == (not self.due)
        assert next_ms is None or next_ms <= self.due[0][0]


@pytest.mark.parametrize("seed", range(6))
def test_a_machine_ends_each_at_its_deadline_to_the_millisecond(seed: int) -> None:
    """Whichever operation moves time, over wraps of the kept bits; and so does who takes over."""
    history = Timed(seed)
    for step in range(scaled(8_000, at_least=300)):
        act = history.rng.choices([history.open, history.cancel, history.wait], [45, 15, 40])[0]
        act()
        if step % 50 == 0:
            history.check()
            history.copy.check()
    history.check()
    assert history.now_ms // WRAP_MS > scaled(8_000) // 4_000
    ends = [ended_at_last(machine, history.now_ms) for machine in (history.machine, history.copy)]
    assert ends[0] == ends[1] == sorted(history.due)


def ended_at_last(machine: Machine, now_ms: int) -> list[tuple[int, str]]:
    """End all that is left, and return when each ended."""
    assert not machine.advance(now_ms + SPAN_MS)
    if machine.journaled:
        machine.records()
    ended = [(event.time, event.invite_id) for event in machine.take() if event.ends]
    assert [time for time, _ in ended] == sorted(time for time, _ in ended)
    machine.check()
    return sorted(ended)
