"""The simulation loop itself: time, order, and what it says of who waits for ever."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from simulation import loop as simulation
from simulation.loop import Deadlock, Livelock, LoopClock, SimulationLoop


def run(main: Coroutine[Any, Any, Any], rng: random.Random | None = None) -> SimulationLoop:
    loop = SimulationLoop(rng)
    try:
        loop.run_until_complete(main)
    finally:
        loop.close()
    return loop


def test_a_day_passes_in_a_moment_and_to_the_nanosecond() -> None:
    assert run(asyncio.sleep(86_400)).now_ns == 86_400 * 10**9


def test_sleepers_wake_at_their_times_and_those_of_one_moment_in_order() -> None:
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        woken.append((name, asyncio.get_running_loop().time()))

    async def main() -> None:
        await asyncio.gather(sleeper("c", 2), sleeper("a", 0.001), sleeper("d", 2), sleeper("b", 1))

    run(main())
    assert woken == [("a", 0.001), ("b", 1.0), ("c", 2.0), ("d", 2.0)]


def order_of(rng: random.Random | None) -> list[int]:
    called: list[int] = []

    async def main() -> None:
        for number in range(20):
            asyncio.get_running_loop().call_soon(called.append, number)
        await asyncio.sleep(1)

    run(main(), rng)
    return called


def test_callbacks_are_called_in_the_order_of_the_calls_or_of_the_seed() -> None:
    assert order_of(None) == list(range(20))
    assert order_of(random.Random(1)) == order_of(random.Random(1))
    assert order_of(random.Random(1)) != order_of(random.Random(2))
    assert sorted(order_of(random.Random(1))) == list(range(20))


def test_a_turn_runs_only_what_was_ready_when_it_began() -> None:
    called: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(lambda: loop.call_soon(called.append, "later"))
        for _ in range(9):
            loop.call_soon(called.append, "now")
        await asyncio.sleep(1)

    run(main(), random.Random(3))
    assert called == ["now"] * 9 + ["later"]


def test_who_waits_for_ever_is_named_with_what_they_wait_for() -> None:
    async def inner() -> None:
        await asyncio.get_running_loop().create_future()

    async def outer() -> None:
        await inner()

    with pytest.raises(Deadlock, match=r"outer:\d+ > .*inner:\d+ waits for "):
        run(outer())


def test_a_deadline_that_was_met_and_a_timer_that_was_cancelled_hold_nobody() -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_later(100, print).cancel()
        async with asyncio.timeout(50):
            await asyncio.sleep(1)

    assert run(main()).now_ns == 10**9

    async def forever() -> None:
        asyncio.get_running_loop().call_later(100, print).cancel()
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Deadlock):
        run(forever())


def test_a_wait_in_virtual_time_times_out() -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.get_running_loop().create_future(), 5)

    assert run(main()).now_ns == 5 * 10**9


def test_callbacks_without_end_in_one_moment_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "STEPS_PER_MOMENT_MAX", 100)

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def again() -> None:
            loop.call_soon(again)

        again()
        await asyncio.sleep(1)

    with pytest.raises(Livelock):
        run(main())


def test_what_nobody_caught_is_kept() -> None:
    def fail() -> None:
        raise LookupError("nobody catches this")

    async def main() -> None:
        asyncio.get_running_loop().call_soon(fail)
        await asyncio.sleep(1)

    (context,) = run(main()).failures
    assert isinstance(context["exception"], LookupError)


@pytest.mark.parametrize(
    "use",
    [
        lambda loop: loop.call_soon_threadsafe(print),
        lambda loop: loop.run_in_executor(None, print),
        lambda loop: loop.add_reader(0, print),
        lambda loop: loop.sock_recv(None, 1),
        lambda loop: loop.create_connection(None, "localhost", 80),
    ],
)
def test_there_is_no_io_and_there_are_no_threads(use: Callable[[Any], Any]) -> None:
    async def main() -> None:
        result = use(asyncio.get_running_loop())
        if asyncio.iscoroutine(result):
            await result

    with pytest.raises(NotImplementedError):
        run(main())


def test_a_closed_loop_takes_nothing() -> None:
    loop = SimulationLoop()
    loop.close()
    assert loop.is_closed()
    with pytest.raises(RuntimeError, match="closed"):
        loop.call_soon(print)
    with pytest.raises(RuntimeError, match="closed"):
        loop.call_later(1, print)


def test_engine_time_is_the_loops_and_its_timers_are_exact_after_weeks() -> None:
    called: list[int] = []

    async def main() -> None:
        clock = LoopClock(asyncio.get_running_loop(), 1000)  # type: ignore[arg-type]
        await asyncio.sleep(30 * 86_400 + 0.001)
        assert clock.now_ms() == 1000 + 30 * 86_400_000 + 1
        when_ms = clock.now_ms() + 7
        clock.call_at(when_ms, lambda: called.append(clock.now_ms() - when_ms))
        clock.call_at(5, lambda: called.append(-1))
        await asyncio.sleep(1)

    run(main())
    assert called == [-1, 0]
