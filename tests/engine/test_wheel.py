"""The timer wheel against a dict of deadlines.

The model is as plain as it can be: what is armed, and when each is due. The wheel must say the same
wherever the clock stands, so all of it runs again just before the ticks at which its rings turn
over, and before multiples of 2**32 ms, where the 32 bits that a timer keeps begin anew.
"""

from __future__ import annotations

import heapq
import random

import pytest

from pysignal.engine.wheel import Wheel

DAY_MS = 86_400_000
SPAN_MS = 34 * DAY_MS
END_OF_TIME = 2**64 - 1
RING_TURNS = (2**8, 2**16, 2**24, 2**32)
STARTS = [
    0,
    1,
    2**8 - 1,
    2**16 - 2,
    2**24 - 3,
    2**31 - 5,
    2**32 - 70_000,
    2**32 - 1,
    2**32,
    5 * 2**32 - 3 * DAY_MS,
    2**33 - SPAN_MS,
    1_766_000_000_000,
    2**63 - 1,
]


class Model:
    """A dict of deadlines in step with a wheel."""

    def __init__(self, now_ms: int) -> None:
        self.wheel = Wheel(now_ms)
        self.now_ms = now_ms
        self.deadlines: dict[int, int] = {}

    def arm(self, timer: int, deadline_ms: int) -> None:
        self.wheel.arm(timer, deadline_ms)
        self.deadlines[timer] = max(deadline_ms, self.now_ms)

    def disarm(self, timer: int) -> None:
        assert self.wheel.disarm(timer) is (self.deadlines.pop(timer, None) is not None)

    def advance(self, now_ms: int, budget: int | None = None) -> bool:
        """Advance both; the wheel reports what was due, in order. Return whether more is due."""
        if budget is None:
            expired, more = self.wheel.advance(now_ms)
            assert not more
        else:
            expired, more = self.wheel.advance(now_ms, budget)
            assert len(expired) <= budget
        due = [self.deadlines.pop(timer) for timer in expired]
        assert due == sorted(due)
        if more:
            assert self.now_ms <= self.wheel.now_ms <= max(now_ms, self.now_ms)
            assert all(deadline <= self.wheel.now_ms for deadline in due)
        else:
            assert self.wheel.now_ms == max(now_ms, self.now_ms)
            assert all(deadline <= now_ms for deadline in due)
            assert all(deadline > now_ms for deadline in self.deadlines.values())
        self.now_ms = self.wheel.now_ms
        assert all(deadline >= self.now_ms for deadline in self.deadlines.values())
        return more

    def check(self) -> None:
        assert self.wheel.now_ms == self.now_ms
        assert len(self.wheel) == len(self.deadlines)
        next_ms = self.wheel.next_ms
        if self.deadlines:
            assert next_ms is not None
            assert self.now_ms <= next_ms <= min(self.deadlines.values())
        else:
            assert next_ms is None

    def check_deadlines(self, timers: range) -> None:
        for timer in timers:
            assert self.wheel.deadline_ms(timer) == self.deadlines.get(timer)


def some_deadline(rng: random.Random, now_ms: int) -> int:
    """A deadline of every kind: past, now, near, far, and on both sides of each ring's turn."""
    kind = rng.randrange(6)
    if kind == 0:
        return max(0, now_ms - rng.randrange(3))
    if kind == 1:
        return now_ms + rng.randrange(600)
    if kind == 2:
        return now_ms + int(2 ** rng.uniform(0, 31.4))
    if kind == 3:
        return now_ms + SPAN_MS - rng.randrange(3)
    turn = rng.choice(RING_TURNS)
    deadline = (now_ms // turn + rng.randint(1, 3)) * turn + rng.randint(-2, 2)
    return deadline if deadline - now_ms <= SPAN_MS else now_ms + turn % SPAN_MS


def some_time(rng: random.Random, model: Model) -> int:
    """A time to advance to: back, nowhere, a little, right up to the next expiry, far."""
    now_ms = model.now_ms
    next_ms = model.wheel.next_ms
    kind = rng.randrange(7)
    if kind == 0:
        return max(0, now_ms - rng.randrange(1000))
    if kind <= 2 and next_ms is not None:
        return max(now_ms, next_ms - (kind == 1))
    if kind == 3 and model.deadlines:
        return min(model.deadlines.values())
    if kind == 4:
        turn = rng.choice(RING_TURNS[:3])
        return (now_ms // turn + 1) * turn + rng.randint(-1, 1)
    if kind == 5 and rng.random() < 0.1:
        return now_ms + int(2 ** rng.uniform(20, 32.5))
    return now_ms + rng.randrange(400)


@pytest.mark.parametrize("start", STARTS)
def test_the_wheel_says_what_a_dict_of_deadlines_says(start: int) -> None:
    rng = random.Random(start)
    model = Model(start)
    for step in range(4_000):
        timer = rng.randrange(120)
        kind = rng.random()
        if kind < 0.55:
            if timer not in model.deadlines:
                model.arm(timer, some_deadline(rng, model.now_ms))
        elif kind < 0.75:
            model.disarm(timer)
        else:
            model.advance(some_time(rng, model))
        model.check()
        if step % 100 == 0:
            model.check_deadlines(range(125))
    model.advance(model.now_ms + SPAN_MS)
    assert len(model.wheel) == 0
    model.check()


@pytest.mark.parametrize("start", STARTS)
def test_arming_and_disarming_between_two_slices_of_an_advance_is_safe(start: int) -> None:
    rng = random.Random(start + 1)
    model = Model(start)
    for _ in range(40):
        for timer in range(60):
            if timer not in model.deadlines:
                model.arm(timer, some_deadline(rng, model.now_ms))
        until = model.now_ms + int(2 ** rng.uniform(0, 33))
        while model.advance(until, rng.choice([1, 1, 2, 7])):
            timer = rng.randrange(60)
            if timer in model.deadlines:
                model.disarm(timer)
            elif rng.random() < 0.5:
                model.arm(timer, some_deadline(rng, model.now_ms))
            model.check()
        model.check_deadlines(range(60))


@pytest.mark.parametrize("start", STARTS)
def test_timers_come_in_the_order_of_a_heap(start: int) -> None:
    rng = random.Random(start + 2)
    wheel = Wheel(start)
    heap: list[tuple[int, int]] = []
    deadlines = {}
    for timer in range(5_000):
        deadlines[timer] = deadline = start + rng.randrange(SPAN_MS)
        wheel.arm(timer, deadline)
        heapq.heappush(heap, (deadline, timer))
    while heap:
        until = wheel.now_ms + rng.randrange(4 * DAY_MS)
        expired, more = wheel.advance(until)
        assert not more
        for timer in expired:
            assert deadlines[timer] == heapq.heappop(heap)[0]
        assert not heap or heap[0][0] > until
    assert sorted(deadlines) == list(range(5_000))


@pytest.mark.parametrize("turn", RING_TURNS)
@pytest.mark.parametrize("times", [1, 3, 1 << 20])
def test_a_timer_on_either_side_of_a_turn_expires_at_its_tick_and_not_before(
    turn: int, times: int
) -> None:
    boundary = turn * times
    for before in (1, 2, 255, 256, 257, 65_535, 65_536, 65_537, 2**24 - 1, 2**24, 2**24 + 1):
        if before > boundary:
            continue
        for after in (-1, 0, 1, 255, 256, 65_536, 2**24):
            deadline = boundary + after
            model = Model(boundary - before)
            model.arm(7, deadline)
            deadline = max(deadline, model.now_ms)
            assert model.wheel.deadline_ms(7) == deadline
            if deadline > model.now_ms:
                model.advance(deadline - 1)
                assert len(model.wheel) == 1
                model.check()
                assert model.wheel.deadline_ms(7) == deadline
            assert model.wheel.advance(deadline) == ([7], False)


@pytest.mark.parametrize("start", STARTS)
def test_following_next_ms_meets_each_deadline_to_the_millisecond(start: int) -> None:
    rng = random.Random(start + 3)
    model = Model(start)
    for timer in range(200):
        model.arm(timer, start + int(2 ** rng.uniform(0, 31.4)))
    turns = 0
    while (next_ms := model.wheel.next_ms) is not None:
        expired = dict(model.deadlines)
        model.advance(next_ms)
        for timer in expired.keys() - model.deadlines.keys():
            assert expired[timer] == next_ms
        model.check()
        turns += 1
    assert turns <= 4 * 200


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("delay", [0, 1, 255, 256, 65_536, 2**24, 30 * DAY_MS, SPAN_MS])
def test_all_deadlines_may_be_equal(start: int, delay: int) -> None:
    model = Model(start)
    for timer in range(500):
        model.arm(timer, start + delay)
    model.check()
    if delay:
        model.advance(start + delay - 1)
        assert len(model.wheel) == 500
    expired, more = model.wheel.advance(start + delay)
    assert sorted(expired) == list(range(500))
    assert not more
    assert len(model.wheel) == 0


@pytest.mark.parametrize("start", [0, 2**32 - 15 * DAY_MS, 1_766_000_000_000])
def test_one_leap_of_thirty_days_ends_all_in_order(start: int) -> None:
    rng = random.Random(start)
    model = Model(start)
    for timer in range(40_000):
        model.arm(timer, start + rng.randrange(1, 30 * DAY_MS + 1))
    model.advance(start + 30 * DAY_MS)
    assert not model.deadlines
    assert model.wheel.next_ms is None


@pytest.mark.parametrize("start", [0, 2**32 - DAY_MS])
@pytest.mark.parametrize("budget", [1, 2, 100])
def test_a_timer_costs_at_most_four_steps_whatever_the_slices(start: int, budget: int) -> None:
    rng = random.Random(budget)
    model = Model(start)
    for timer in range(300):
        model.arm(timer, start + int(2 ** rng.uniform(0, 31.3)))
    slices = 1
    while model.advance(start + SPAN_MS, budget):
        slices += 1
        model.check()
    assert slices <= 4 * 300 // budget + 1
    assert not model.deadlines


def test_a_budget_of_nothing_moves_nothing() -> None:
    wheel = Wheel(1_000)
    wheel.arm(0, 1_010)
    for budget in (0, -1, -(2**63)):
        assert wheel.advance(2_000, budget) == ([], True)
        assert wheel.now_ms == 1_000
    assert wheel.advance(2_000, 2**63 - 1) == ([0], False)


def test_a_deadline_of_now_or_earlier_is_due_at_the_next_advance_even_to_the_same_time() -> None:
    for start in STARTS:
        model = Model(start)
        model.arm(0, start)
        model.arm(1, max(0, start - 1))
        model.arm(2, 0)
        assert model.wheel.next_ms == start
        assert [model.wheel.deadline_ms(timer) for timer in range(3)] == [start] * 3
        model.arm(3, start + 1)
        expired, more = model.wheel.advance(start)
        assert (sorted(expired), more) == ([0, 1, 2], False)
        assert len(model.wheel) == 1


def test_time_never_goes_back() -> None:
    wheel = Wheel(5_000)
    wheel.arm(0, 5_000)
    wheel.arm(1, 6_000)
    assert wheel.advance(4_999) == ([], False)
    assert wheel.advance(0) == ([], False)
    assert wheel.now_ms == 5_000
    assert len(wheel) == 2


@pytest.mark.parametrize("start", STARTS)
def test_disarming_everything_leaves_nothing_to_do(start: int) -> None:
    rng = random.Random(start + 4)
    model = Model(start)
    timers = list(range(2_000))
    for timer in timers:
        model.arm(timer, start + int(2 ** rng.uniform(0, 31.4)))
    rng.shuffle(timers)
    for timer in timers:
        model.disarm(timer)
    model.check()
    model.check_deadlines(range(2_000))
    assert model.wheel.advance(start + SPAN_MS) == ([], False)
    assert not any(model.wheel.disarm(timer) for timer in timers)


def test_a_timer_can_be_armed_again_after_it_expired_or_was_disarmed() -> None:
    model = Model(2**32 - 2_000)
    for turn in range(200):
        model.arm(3, model.now_ms + turn * 7)
        model.advance(model.now_ms + turn * 7)
        assert not model.deadlines
        model.arm(3, model.now_ms + 30 * DAY_MS)
        model.disarm(3)
        model.check()


def test_arming_twice_is_refused_and_keeps_the_first_deadline() -> None:
    wheel = Wheel()
    wheel.arm(5, 100)
    with pytest.raises(ValueError, match="timer 5 is armed already"):
        wheel.arm(5, 50)
    assert wheel.deadline_ms(5) == 100
    assert len(wheel) == 1
    assert wheel.advance(99) == ([], False)
    assert wheel.advance(100) == ([5], False)


@pytest.mark.parametrize("start", STARTS)
def test_deadlines_reach_34_days_and_one_beyond_is_refused_and_changes_nothing(start: int) -> None:
    wheel = Wheel(start)
    with pytest.raises(ValueError, match="deadline_ms: at most 34 days after now"):
        wheel.arm(0, start + SPAN_MS + 1)
    assert len(wheel) == 0
    assert wheel.next_ms is None
    wheel.arm(0, start + SPAN_MS)
    assert wheel.deadline_ms(0) == start + SPAN_MS
    assert wheel.advance(start + SPAN_MS - 1) == ([], False)
    assert wheel.deadline_ms(0) == start + SPAN_MS
    assert wheel.advance(start + SPAN_MS) == ([0], False)


def test_time_may_leap_to_its_very_end() -> None:
    wheel = Wheel()
    assert wheel.advance(END_OF_TIME) == ([], False)
    assert wheel.now_ms == END_OF_TIME
    wheel = Wheel(END_OF_TIME - 10)
    wheel.arm(0, END_OF_TIME)
    wheel.arm(1, END_OF_TIME - 1)
    assert len(wheel) == 2
    assert wheel.advance(END_OF_TIME) == ([1, 0], False)


def test_timers_are_numbered_up_to_the_limit() -> None:
    wheel = Wheel(limit=20_000)
    wheel.arm(19_999, 10)
    wheel.arm(0, 10)
    with pytest.raises(IndexError, match="timer: 0 to 19999, not 20000"):
        wheel.arm(20_000, 10)
    assert wheel.disarm(20_000) is False
    assert wheel.deadline_ms(20_000) is None
    assert wheel.deadline_ms(2**32 - 1) is None
    assert len(wheel) == 2
    # Between the two, on both chunks, no timer is armed that nobody armed.
    assert [timer for timer in range(20_000) if wheel.deadline_ms(timer) is not None] == [0, 19_999]


def test_bad_numbers_are_refused_and_change_nothing() -> None:
    wheel = Wheel(100)
    with pytest.raises(ValueError, match="kind: 1 or more"):
        wheel.arm(0, 200, 0)
    for timer, deadline in ((-1, 200), (2**32, 200), (0, -1), (0, 2**64)):
        with pytest.raises(OverflowError):
            wheel.arm(timer, deadline)
    with pytest.raises(OverflowError):
        wheel.advance(-1)
    with pytest.raises(OverflowError):
        Wheel(-1)
    with pytest.raises(ValueError, match="limit: at most"):
        Wheel(limit=2**31 + 1)
    with pytest.raises(TypeError):
        wheel.arm("0", 200)  # type: ignore[arg-type]
    assert len(wheel) == 0
    assert wheel.now_ms == 100
    assert wheel.next_ms is None
