"""Time: monotone, one timer for all deadlines, and a virtual clock that is exact."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable

import pytest
from busy import PATIENCE_S
from ears import join

from pysignal import Clock, Hub, SignalingListener, VirtualClock
from pysignal.clock import Timer

pytestmark = pytest.mark.anyio


class Ending(SignalingListener):
    """Notes when a timeout was heard, by the clock given and by the loop's own."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.at_ms: list[int] = []
        self.done = asyncio.Event()

    def on_invitation_timeout(self, invite_id: str, invitee_list: list[str]) -> None:
        self.at_ms.append(self.clock.now_ms())
        self.done.set()


# -- the real clock --------------------------------------------------------------------------------


def test_engine_time_begins_at_the_wall_clock_and_never_steps_back() -> None:
    before = time.time_ns() // 1_000_000
    clock = Clock()
    times = [clock.now_ms() for _ in range(10_000)]
    after = time.time_ns() // 1_000_000
    assert before <= times[0] + 1
    assert times[-1] <= after + 1
    assert times == sorted(times)


def test_engine_time_goes_on_from_a_later_start() -> None:
    wall = time.time_ns() // 1_000_000
    assert Clock(wall - 3_600_000).now_ms() >= wall
    ahead = Clock(wall + 3_600_000)
    first = ahead.now_ms()
    assert wall + 3_600_000 <= first <= wall + 3_605_000


async def test_a_step_of_the_wall_clock_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    ending = Ending(clock)
    async with Hub(clock=clock) as hub:
        amy = await hub.login("amy", listener=ending)
        real = time.time_ns
        for step_s in (3600, -3600):
            monkeypatch.setattr(time, "time_ns", lambda step_s=step_s: real() + step_s * 10**9)
            ending.done.clear()
            begin = time.monotonic()
            call = await amy.signaling.invite("bob", timeout=0.03)
            (info,) = await hub.pending("bob")
            assert info.invite_id == call
            assert 0 < info.expires_at - clock.now_ms() <= 30
            await asyncio.wait_for(ending.done.wait(), PATIENCE_S)
            assert 0.029 <= time.monotonic() - begin < PATIENCE_S
        assert ending.at_ms == sorted(ending.at_ms)


async def test_a_timeout_on_the_real_clock_fires_soon_and_never_early() -> None:
    clock = Clock()
    ending = Ending(clock)
    async with Hub(clock=clock) as hub:
        amy = await hub.login("amy", listener=ending)
        for timeout in (0.03, 0.001, 0.0075):
            ending.done.clear()
            before_ms = clock.now_ms()
            await amy.signaling.invite("bob", timeout=timeout)
            await asyncio.wait_for(ending.done.wait(), PATIENCE_S)
            assert ending.at_ms[-1] - before_ms >= round(timeout * 1000)
            assert ending.at_ms[-1] - before_ms < PATIENCE_S * 1000


async def test_a_far_timer_of_the_real_clock_can_be_set_and_cancelled() -> None:
    clock = Clock()
    fired: list[int] = []
    timer = clock.call_at(clock.now_ms() + 40 * 86_400_000, lambda: fired.append(1))
    timer.cancel()
    timer.cancel()
    past = clock.call_at(0, lambda: fired.append(2))
    await asyncio.sleep(0.01)
    past.cancel()
    assert fired == [2]


# -- one timer -------------------------------------------------------------------------------------


class CountingClock(VirtualClock):
    """Counts the timers that are set, and those that wait."""

    def __init__(self) -> None:
        super().__init__()
        self.set = 0
        self.waiting = 0
        self.most = 0

    def call_at(self, when_ms: int, call: Callable[[], None]) -> Timer:
        self.set += 1
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        inner = super().call_at(when_ms, lambda: (self.gone(), call())[0])
        return Counted(self, inner)

    def gone(self) -> None:
        self.waiting -= 1


class Counted:
    """A timer that says when it is cancelled."""

    def __init__(self, clock: CountingClock, inner: Timer) -> None:
        self.clock = clock
        self.inner: Timer | None = inner

    def cancel(self) -> None:
        if self.inner is not None:
            self.inner.cancel()
            self.inner = None
            self.clock.gone()


async def test_one_timer_of_the_loop_stands_for_all_deadlines() -> None:
    clock = CountingClock()
    async with Hub(clock=clock) as hub:
        amy, ear = await join(hub, "amy")
        for number in range(10_000):
            await amy.signaling.invite(f"user {number}", timeout=10 + number % 100)
            if number % 1000 == 999:
                await clock.settle()
        assert clock.set <= 15
        assert clock.most == 1
        await asyncio.wait_for(clock.advance(5), PATIENCE_S)
        assert clock.set <= 200, "on the way to a deadline it is set again a few times"
        assert ear.heard == []
    assert clock.waiting == 0


# -- the virtual clock -----------------------------------------------------------------------------


async def test_a_virtual_clock_calls_timers_in_order_and_at_their_time() -> None:
    clock = VirtualClock(1000)
    calls: list[tuple[str, int]] = []
    clock.call_at(1500, lambda: calls.append(("b", clock.now_ms())))
    clock.call_at(1500, lambda: calls.append(("c", clock.now_ms())))
    clock.call_at(1200, lambda: calls.append(("a", clock.now_ms())))
    clock.call_at(1501, lambda: calls.append(("late", clock.now_ms())))
    clock.call_at(1300, lambda: calls.append(("never", clock.now_ms()))).cancel()
    clock.call_at(900, lambda: calls.append(("past", clock.now_ms())))
    assert calls == []
    await clock.advance(0.5)
    assert calls == [("past", 1000), ("a", 1200), ("b", 1500), ("c", 1500)]
    assert clock.now_ms() == 1500
    await clock.advance(0)
    assert len(calls) == 4


async def test_a_timer_set_by_a_timer_is_called_on_the_same_way() -> None:
    clock = VirtualClock(0)
    times: list[int] = []

    def again() -> None:
        times.append(clock.now_ms())
        if len(times) < 5:
            clock.call_at(clock.now_ms() + 7, again)

    clock.call_at(7, again)
    await clock.advance(0.03)
    assert times == [7, 14, 21, 28]
    assert clock.now_ms() == 30


async def test_fractions_of_a_millisecond_add_up() -> None:
    clock = VirtualClock(0)
    for _ in range(10):
        await clock.advance(0.0001)
    assert clock.now_ms() == 1
    for _ in range(1000):
        await clock.advance(0.1)
    assert clock.now_ms() == 100_001
    await clock.advance(0.0015)
    await clock.advance(0.0015)
    assert clock.now_ms() == 100_004


@pytest.mark.parametrize("wrong", [-1, -0.001, math.nan, math.inf])
async def test_time_does_not_go_back_or_nowhere(wrong: float) -> None:
    clock = VirtualClock(5)
    with pytest.raises(ValueError, match="seconds"):
        await clock.advance(wrong)
    assert clock.now_ms() == 5


async def test_two_who_advance_at_once_never_turn_time_back() -> None:
    clock = VirtualClock(0)
    times: list[int] = []
    for at in range(1, 3000, 10):
        clock.call_at(at, lambda: times.append(clock.now_ms()))
    await asyncio.gather(clock.advance(1), clock.advance(3), clock.advance(2))
    assert times == sorted(times)
    assert clock.now_ms() >= 3000
    at_once = VirtualClock(0)
    await asyncio.gather(at_once.advance(3), at_once.advance(1))
    assert at_once.now_ms() >= 3000


async def test_sleeping_in_virtual_time_ends_at_its_time_and_can_be_cancelled() -> None:
    clock = VirtualClock(0)
    woken: list[tuple[str, int]] = []

    async def nap(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.now_ms()))

    naps = [asyncio.ensure_future(nap(str(ms), ms / 1000)) for ms in (30, 10, 20)]
    await clock.settle()
    naps[2].cancel()
    await clock.advance(1)
    assert woken == [("10", 10), ("30", 30)]


async def test_a_whole_system_on_a_virtual_clock_runs_the_same_way_each_time() -> None:
    async def run() -> list[tuple[object, ...]]:
        clock = VirtualClock()
        choose = random.Random(7)
        async with Hub(clock=clock, seed=1) as hub:
            amy, amy_ear = await join(hub, "amy")
            _, bob_ear = await join(hub, "bob")

            async def later(seconds: float, open_s: float) -> None:
                await clock.sleep(seconds)
                call = await amy.signaling.invite(["bob", "cy"], timeout=open_s)
                await clock.sleep(open_s / 2)
                await hub.accept_as("bob", call)

            tasks = [
                asyncio.ensure_future(later(choose.random() * 5, 0.01 + choose.random() * 3))
                for _ in range(50)
            ]
            await clock.advance(10)
            assert all(task.done() and task.exception() is None for task in tasks)
            return [
                (event.position, event.time, event.kind, event.invite_id)
                for ear in (amy_ear, bob_ear)
                for event in ear.events
            ]

    first = await run()
    assert len(first) == 50 * 2 + 50 * 3
    assert await run() == first


async def test_deadlines_are_met_to_the_millisecond_whatever_the_steps(clock: VirtualClock) -> None:
    choose = random.Random(3)
    async with Hub(clock=clock) as hub:
        amy, ear = await join(hub, "amy")
        due: dict[str, int] = {}
        for _ in range(300):
            timeout_ms = choose.choice([1, 2, 63, 64, 65, 4095, 4096, 4097, 70_000])
            call = await amy.signaling.invite("bob", timeout=timeout_ms / 1000)
            due[call] = clock.now_ms() + timeout_ms
            await clock.advance(choose.choice([0, 0.0004, 0.001, 0.05, 1.5]))
        await clock.advance(100)
        assert {event.invite_id: event.time for event in ear.events} == due


def test_a_virtual_clock_shows_its_time() -> None:
    clock = VirtualClock()
    assert repr(clock) == f"<VirtualClock at {clock.now_ms()} ms>"
