"""Timers: disarm a random one and arm it again, and let all of them expire.

`call_later` is measured on a running loop, which throws cancelled timers away between callbacks.
The heap is what a program without a wheel has: a cancelled entry stays in it, marked, until half of
them are marked.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable, Coroutine, Sequence
from types import ModuleType
from typing import Any

import operands
import uvloop
from measure import Measure, Size, cpu_ns
from rival_programs import Floor

from pysignal.engine.wheel import Wheel

OPERATIONS = 100_000
SPAN_MS = 100_000
PER_TICK = 1000
EXPIRE_LATE_S = 0.005  # timers of call_later that expire are due this soon

NewLoop = Callable[[], asyncio.AbstractEventLoop]


def test_rearm_in_c(measure: Measure, core_cycle: ModuleType, floor: Floor, size: Size) -> None:
    """Through the C face, beside the floor's timers."""
    count = measure.operations(2_000_000)
    order, delays = operands.order(size, count), operands.timeouts_ms(count)
    packed = operands.packed(order), operands.packed(delays)
    first = operands.timeouts_ms(size, 29_000)
    timers = core_cycle.Timers(size)
    timers.arm_all(operands.packed(first))
    timers.rearm(*packed)
    runs = 1

    def verify() -> None:
        nonlocal runs
        runs += 1
        assert len(timers) == size

    row = measure(
        "timer re-armed, C",
        size,
        count,
        lambda: timers.rearm(*packed),
        verify=verify,
        rivals={
            "floor, loaded": lambda: floor.figure("loaded", size, "rearm_ns"),
            "floor, bare": lambda: floor.figure("bare", size, "rearm_ns"),
        },
    )
    # Each expires at the deadline that it was armed with last.
    deadlines = list(first)
    last_run_ms = (runs - 1) * (count // PER_TICK)
    for done, (timer, delay) in enumerate(zip(order, delays, strict=True)):
        deadlines[timer] = last_run_ms + done // PER_TICK + delay
    assert timers.expire(SPAN_MS) == operands.packed(deadlines)
    measure.figure(f"wheel_rearm_vs_floor_{size.name}", row, over="floor, loaded")


def test_rearm(measure: Measure, size: Size) -> None:
    """Through the Python face."""
    order = operands.order(size, measure.operations(OPERATIONS, PER_TICK))
    delays = operands.timeouts_ms(len(order))
    first = operands.timeouts_ms(size, 29_000)
    ticks = [
        tuple(zip(order[i : i + PER_TICK], delays[i : i + PER_TICK], strict=True))
        for i in range(0, len(order), PER_TICK)
    ]
    wheel = Wheel(0, size)
    deadlines = list(first)
    now_ms = 0
    for timer, delay in enumerate(first):
        wheel.arm(timer, delay)

    def run() -> None:
        nonlocal now_ms
        disarm, arm = wheel.disarm, wheel.arm
        for tick in ticks:
            for timer, delay in tick:
                disarm(timer)
                arm(timer, now_ms + delay)
            now_ms += 1
            wheel.advance(now_ms)

    def verify() -> None:
        assert len(wheel) == size

    row = measure(
        "timer re-armed, Python",
        size,
        len(order),
        run,
        verify=verify,
        rivals={
            "heapq": lambda: rearm_heap(order, first, delays),
            "asyncio": lambda: rearm_loop(asyncio.new_event_loop, order, first, delays),
            "uvloop": lambda: rearm_loop(uvloop.new_event_loop, order, first, delays),
        },
        slow=True,
    )
    for late, tick in enumerate(ticks, now_ms - len(ticks)):
        for timer, delay in tick:
            deadlines[timer] = late + delay
    expired, more = wheel.advance(SPAN_MS)
    assert sorted(expired) == list(range(size))
    assert [deadlines[timer] for timer in expired] == sorted(deadlines)
    assert not more
    measure.figure(f"wheel_rearm_ns_{size.name}", row)


def test_expire(measure: Measure, size: Size) -> None:
    """All that are armed expire, in the order of their deadlines."""
    delays = operands.timeouts_ms(size, 29_000)
    wheels: list[Wheel] = []
    expired: list[list[int]] = []
    copies = max(measure.operations(OPERATIONS) // size, 1)

    def prepare() -> None:
        expired.clear()
        wheels[:] = [Wheel(0, size) for _ in range(copies)]
        for wheel in wheels:
            for timer, delay in enumerate(delays):
                wheel.arm(timer, delay)

    def run() -> None:
        expired.extend(wheel.advance(SPAN_MS)[0] for wheel in wheels)

    def verify() -> None:
        assert len(expired) == copies
        for timers in expired:
            assert sorted(timers) == list(range(size))
            assert [delays[timer] for timer in timers] == sorted(delays)

    row = measure(
        "timer expires, Python",
        size,
        size * copies,
        run,
        prepare=prepare,
        verify=verify,
        rivals={
            "heapq": lambda: expire_heap(delays, copies),
            "asyncio": lambda: expire_loop(asyncio.new_event_loop, size),
            "uvloop": lambda: expire_loop(uvloop.new_event_loop, size),
        },
        slow=True,
    )
    measure.figure(f"wheel_expire_ns_{size.name}", row)


# -- rivals ----------------------------------------------------------------------------------------


def rearm_heap(order: Sequence[int], first: Sequence[int], delays: Sequence[int]) -> float:
    """Cancel by marking the entry; rebuild the heap when half of it is marked."""
    armed = [[delay, timer] for timer, delay in enumerate(first)]
    heap = list(armed)
    heapq.heapify(heap)

    def run() -> None:
        nonlocal heap
        marked = 0
        for timer, delay in zip(order, delays, strict=True):
            armed[timer][1] = -1
            marked += 1
            entry = armed[timer] = [delay, timer]
            heapq.heappush(heap, entry)
            if marked * 2 > len(heap):
                heap = [entry for entry in heap if entry[1] >= 0]
                heapq.heapify(heap)
                marked = 0

    figure = cpu_ns(run, len(order))
    assert sorted(entry[1] for entry in heap if entry[1] >= 0) == list(range(len(first)))
    return figure


def expire_heap(delays: Sequence[int], copies: int) -> float:
    """Pop what is due, one after another."""
    heaps = [[(delay, timer) for timer, delay in enumerate(delays)] for _ in range(copies)]
    for heap in heaps:
        heapq.heapify(heap)

    def run() -> None:
        for heap in heaps:
            expired = []
            while heap and heap[0][0] <= SPAN_MS:
                expired.append(heapq.heappop(heap)[1])

    return cpu_ns(run, len(delays) * copies)


def rearm_loop(
    new_loop: NewLoop, order: Sequence[int], first: Sequence[int], delays: Sequence[int]
) -> float:
    """Cancel and `call_later`, a turn of the loop every thousand."""
    early: list[None] = []

    async def measured() -> float:
        loop = asyncio.get_running_loop()
        handles = [loop.call_later(delay / 1000, early.append, None) for delay in first]
        await asyncio.sleep(0)
        start = time.process_time_ns()
        for done, (timer, delay) in enumerate(zip(order, delays, strict=True)):
            handles[timer].cancel()
            handles[timer] = loop.call_later(delay / 1000, early.append, None)
            if done % 1000 == 999:
                await asyncio.sleep(0)
        spent = time.process_time_ns() - start
        for handle in handles:
            handle.cancel()
        await asyncio.sleep(0)
        return spent / len(order)

    figure = run_on(new_loop, measured)
    assert not early
    return figure


def expire_loop(new_loop: NewLoop, count: int) -> float:
    """Let `count` timers of the loop expire, all of which are due.

    They are set in the order of their deadlines, which favours the loops: then they lie in memory
    as they expire.
    """
    delays = [k / count * EXPIRE_LATE_S for k in range(count)]

    async def measured() -> float:
        loop = asyncio.get_running_loop()
        all_expired = loop.create_future()
        left = count

        def expire() -> None:
            nonlocal left
            left -= 1
            if not left:
                all_expired.set_result(None)

        for delay in delays:
            loop.call_later(delay, expire)
        time.sleep(EXPIRE_LATE_S)  # noqa: ASYNC251 - so that the loop does not turn for each
        start = time.process_time_ns()
        await all_expired
        return (time.process_time_ns() - start) / count

    return run_on(new_loop, measured)


def run_on(new_loop: NewLoop, measured: Callable[[], Coroutine[Any, Any, float]]) -> float:
    """Run a coroutine on a loop of its own."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(measured())
