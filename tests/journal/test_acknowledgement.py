"""What an operation awaits until it is durable behaves as a future does, for the waiting task."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable

import pytest

from pysignal.clock import stopwatch_ns
from pysignal.errors import OutcomeUnknown
from pysignal.journal.acknowledgement import Acknowledgement, finish_some

pytestmark = pytest.mark.anyio

NAME: contextvars.ContextVar[str] = contextvars.ContextVar("NAME")


def waiting(count: int) -> list[Acknowledgement]:
    """So many of them, in the order in which they are to be woken."""
    return [Acknowledgement(asyncio.get_running_loop()) for _ in range(count)]


async def finish(several: list[Acknowledgement], within_ns: int = 10**9) -> None:
    """Have them woken in a callback of the loop, as the end of an append does."""
    backwards = several[::-1]
    done = asyncio.Event()

    def call() -> None:
        finish_some(backwards, stopwatch_ns() + within_ns, stopwatch_ns)
        done.set()

    asyncio.get_running_loop().call_soon(call)
    await done.wait()


async def test_tasks_are_woken_in_order_each_in_its_context() -> None:
    woken: list[str] = []

    async def wait(one: Acknowledgement, name: str) -> None:
        NAME.set(name)
        await one
        woken.append(NAME.get())

    several = waiting(40)
    tasks = [asyncio.create_task(wait(one, f"{n}")) for n, one in enumerate(several)]
    await asyncio.sleep(0)
    await finish(several)
    assert woken == [f"{n}" for n in range(40)], "in the very callback"
    await asyncio.gather(*tasks)


async def test_what_is_done_already_makes_nobody_wait() -> None:
    (one,) = several = waiting(1)
    await finish(several)
    await one
    assert not one.cancel()


async def test_a_task_that_ends_one_by_itself_is_not_interrupted_by_the_other() -> None:
    woken: list[int] = []

    async def wait(one: Acknowledgement) -> None:
        await one
        woken.append(1)

    (one,) = waiting(1)
    task = asyncio.create_task(wait(one))
    await asyncio.sleep(0)
    finish_some([one], stopwatch_ns() + 10**9, stopwatch_ns)  # in a task, this one
    assert woken == []
    await task
    assert woken == [1]


async def test_who_stops_waiting_hears_of_the_cancellation_and_nobody_else() -> None:
    one, other = several = waiting(2)

    async def wait(one: Acknowledgement) -> None:
        await one

    tasks = [asyncio.create_task(wait(one)), asyncio.create_task(wait(other))]
    await asyncio.sleep(0)
    tasks[0].cancel("enough")
    with pytest.raises(asyncio.CancelledError, match="enough"):
        await tasks[0]
    await finish(several)
    await asyncio.wait_for(tasks[1], 1)


async def test_a_wait_that_takes_too_long_times_out() -> None:
    (one,) = waiting(1)

    async def wait() -> None:
        await one

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(wait(), 0.01)
    async with asyncio.timeout(1):
        (other,) = several = waiting(1)
        asyncio.get_running_loop().call_soon(
            lambda: finish_some(several, stopwatch_ns(), stopwatch_ns)
        )
        await other


async def test_an_error_is_raised_where_it_is_awaited_and_only_once() -> None:
    (one,) = waiting(1)

    async def wait() -> None:
        await one

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    one.fail(OutcomeUnknown("the disk"))
    one.fail(OutcomeUnknown("another"))
    with pytest.raises(OutcomeUnknown, match="the disk"):
        await task


@pytest.mark.parametrize("ends", [KeyboardInterrupt, SystemExit])
def test_who_ends_the_program_leaves_the_others_to_be_woken(ends: type[BaseException]) -> None:
    woken: list[int] = []

    async def run() -> None:
        several = waiting(3)

        async def wait(number: int, one: Acknowledgement) -> None:
            await one
            if number == 1:
                raise ends
            woken.append(number)

        tasks = [asyncio.create_task(wait(n, one)) for n, one in enumerate(several)]
        await asyncio.sleep(0)
        backwards = several[::-1]

        def call() -> None:
            try:
                finish_some(backwards, stopwatch_ns() + 10**9, stopwatch_ns)
            except ends:
                finish_some(backwards, stopwatch_ns() + 10**9, stopwatch_ns)

        asyncio.get_running_loop().call_soon(call)
        await asyncio.wait(tasks)
        assert isinstance(tasks[1].exception(), ends)

    asyncio.run(run())
    assert woken == [0, 2]


async def test_waking_stops_when_the_time_is_up() -> None:
    clock = iter(range(0, 1000, 10))
    stopwatch: Callable[[], int] = lambda: next(clock)  # noqa: E731
    several = waiting(100)
    finish_some(several, 20, stopwatch)
    assert len(several) == 100 - 3 * 16
