"""A native disk carries out jobs in order, without the interpreter, and tells of every end."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import gc
import logging
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop
from busy import PATIENCE_S
from journal.disks import begin, carry_out, errors_of

from pysignal.journal.contract import JournalInUse
from pysignal.journal.disk import (
    Create,
    Lane,
    Remove,
    Rename,
    Step,
    Sync,
    SyncFolder,
    Truncate,
    Write,
)
from pysignal.journal.native_disk import NativeDisk

pytestmark = pytest.mark.anyio

LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [
    uvloop.new_event_loop,
    asyncio.new_event_loop,
]


@pytest.fixture(params=[True, False], ids=["uvloop", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Both event loops."""
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where `disk` is."""
    return tmp_path / "journal"


@pytest.fixture
def disk(folder: Path) -> Iterator[NativeDisk]:
    """A disk that is open, with nothing on it."""
    disk = NativeDisk(folder)
    disk.open()
    yield disk
    disk.close()


# -- what a job does -------------------------------------------------------------------------------


async def test_every_step_does_what_it_says(disk: NativeDisk, folder: Path) -> None:
    assert await carry_out(disk, Create("a", 3 << 20), Sync("a"), SyncFolder()) is None
    assert disk.read("a", 0, 4 << 20) == bytes(3 << 20)
    assert (folder / "a").stat().st_blocks * 512 >= 3 << 20, "zeros that take no room"

    assert await carry_out(disk, Write("a", 5, b"five"), Write("a", 1, b"one"), Sync("a")) is None
    assert disk.read("a", 0, 12) == b"\0one\0five\0\0\0"

    assert await carry_out(disk, Truncate("a", 7), Write("a", 9, b"!")) is None
    assert disk.size("a") == 10
    assert disk.read("a", 4, 100) == b"\0fi\0\0!"

    assert await carry_out(disk, Create("b", 1), Rename("a", "b"), Write("b", 0, b"B")) is None
    assert disk.names() == ["b"]
    assert disk.read("b", 0, 4) == b"Bone"

    assert await carry_out(disk, Create("b", 2), Write("b", 1, b"2")) is None
    assert disk.read("b", 0, 9) == b"\0002"

    assert await carry_out(disk, Remove("b"), SyncFolder()) is None
    assert disk.names() == []


async def test_jobs_of_a_lane_are_carried_out_and_told_of_in_order(disk: NativeDisk) -> None:
    told: list[int] = []
    last: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    disk.submit(Lane.COMMITS, [Create("a", 0)], lambda _: None)
    for number in range(500):

        def done(error: OSError | None, number: int = number) -> None:
            assert error is None
            told.append(number)
            if number == 499:
                last.set_result(None)

        disk.submit(Lane.COMMITS, [Write("a", 0, b"%3d" % number)], done)
    await asyncio.wait_for(last, PATIENCE_S)
    assert told == list(range(500))
    assert disk.read("a", 0, 3) == b"499"


async def test_lanes_do_not_wait_for_each_other(disk: NativeDisk) -> None:
    assert await carry_out(disk, Create("a", 4096), Create("b", 4096), Sync("a")) is None
    slow = begin(disk, *[Write("b", 0, b"x"), Sync("b")] * 1000, lane=Lane.BEHIND)
    assert await carry_out(disk, Write("a", 0, b"x"), Sync("a")) is None
    assert not slow.done()
    assert await errors_of(slow) == [None]


async def test_both_lanes_may_write_to_the_same_file(disk: NativeDisk) -> None:
    assert await carry_out(disk, Create("a", 0)) is None
    ends = []
    for at in range(0, 2000, 2):
        ends.append(begin(disk, Write("a", at, b"c"), Sync("a")))
        ends.append(begin(disk, Write("a", at + 1, b"b"), Sync("a"), lane=Lane.BEHIND))
    assert await errors_of(*ends) == [None] * 2000
    assert disk.read("a", 0, 3000) == b"cb" * 1000


async def test_what_is_submitted_may_be_forgotten_by_who_submitted_it(disk: NativeDisk) -> None:
    steps: list[Step] = [Create("a", 0)]
    steps += [Write("a", at << 16, os.urandom(1) * 65536) for at in range(64)]
    wanted = b"".join(step.data for step in steps if isinstance(step, Write))
    end: asyncio.Future[OSError | None] = asyncio.get_running_loop().create_future()
    disk.submit(Lane.COMMITS, steps, end.set_result)
    steps.clear()
    gc.collect()
    rubbish = [bytes([i % 256]) * 65536 for i in range(64)]
    assert await errors_of(end) == [None]
    assert disk.read("a", 0, len(wanted) + 1) == wanted
    del rubbish


async def test_what_was_submitted_is_let_go_of_when_it_is_done(disk: NativeDisk) -> None:
    class Done:
        def __call__(self, error: OSError | None) -> None:
            end.set_result(error)

    end: asyncio.Future[OSError | None] = asyncio.get_running_loop().create_future()
    done = Done()
    is_there = weakref.ref(done)
    data = os.urandom(99)
    count = sys.getrefcount(data)
    disk.submit(Lane.COMMITS, [Create("a", 0), Write("a", 0, data)], done)
    del done
    assert await errors_of(end) == [None]
    assert is_there() is None
    assert sys.getrefcount(data) == count


def test_a_write_needs_no_interpreter(disk: NativeDisk, folder: Path) -> None:
    """Nothing here lets another thread of Python run, so that one that waits for its turn waits."""
    system = ctypes.PyDLL(None)  # its calls keep the lock
    loop = uvloop.new_event_loop()
    gate, touched = threading.Lock(), threading.Event()
    gate.acquire()

    def touch() -> None:
        with gate:
            touched.set()

    async def hold_the_lock() -> None:
        carried_out = os.fsencode(folder / "b")
        disk.submit(Lane.COMMITS, [Create("a", 9), Sync("a"), Rename("a", "b")], print)
        gate.release()
        for _ in range(int(PATIENCE_S * 1000)):
            if system.access(carried_out, 0) == 0:
                break
            system.usleep(1000)
        else:
            raise AssertionError("the job was not carried out")
        assert not touched.is_set()

    before = sys.getswitchinterval()
    sys.setswitchinterval(10 * PATIENCE_S)
    other = threading.Thread(target=touch)
    other.start()
    try:
        loop.run_until_complete(hold_the_lock())
    finally:
        sys.setswitchinterval(before)
        disk.close()
        loop.close()
        other.join()


# -- refusals and callbacks ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", ".", "..", "lock", "a/b", "/a", "a\0b"])
async def test_a_name_that_leads_elsewhere_is_refused(disk: NativeDisk, name: str) -> None:
    for step in (Create(name, 1), Remove(name), Rename("a", name)):
        with pytest.raises(ValueError, match="is not the name of a file"):
            disk.submit(Lane.COMMITS, [step], print)


async def test_what_is_no_job_is_refused(disk: NativeDisk) -> None:
    wrong: list[tuple[Any, Any, type[Exception]]] = [
        (2, [SyncFolder()], ValueError),
        (-1, [SyncFolder()], ValueError),
        (Lane.COMMITS, [], ValueError),
        (Lane.COMMITS, [("a", 0, b"")], TypeError),
        (Lane.COMMITS, [Write("a", 0, bytearray(b"x"))], TypeError),  # type: ignore[arg-type]
        (Lane.COMMITS, [Create("a", 1), Create("b", 1 << 63)], OverflowError),
        (Lane.COMMITS, [Create("a", 1), Create(b"b", 1)], TypeError),  # type: ignore[arg-type]
    ]
    for lane, steps, kind in wrong:
        with pytest.raises(kind):
            disk.submit(lane, steps, print)
    assert await carry_out(disk, SyncFolder()) is None
    assert disk.names() == []


async def test_a_callback_that_raises_harms_no_other(
    disk: NativeDisk, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(error: OSError | None) -> None:
        raise (RuntimeError if error is None else asyncio.CancelledError)("planted")

    disk.submit(Lane.COMMITS, [Create("a", 1)], fail)
    disk.submit(Lane.COMMITS, [SyncFolder()], fail)
    disk.submit(Lane.COMMITS, [Remove("b")], fail)
    with caplog.at_level(logging.ERROR):
        assert await carry_out(disk, SyncFolder(), lane=Lane.BEHIND) is None
        await carry_out(disk, SyncFolder())
    assert [record.levelname for record in caplog.records] == ["ERROR"] * 3


@pytest.mark.parametrize("new_loop", LOOPS)
def test_whoever_stops_the_loop_from_a_callback_loses_no_other(
    disk: NativeDisk, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    loop = new_loop()
    told: list[OSError | None] = []
    hears = asyncio.Event()

    def tell(error: OSError | None) -> None:
        told.append(error)
        hears.set()

    def interrupt(error: OSError | None) -> None:
        raise KeyboardInterrupt

    async def submit() -> None:
        disk.submit(Lane.COMMITS, [Create("a", 1)], interrupt)
        disk.submit(Lane.COMMITS, [SyncFolder()], tell)
        ctypes.PyDLL(None).usleep(20_000)  # all are done before the loop hears of the first
        await asyncio.Event().wait()

    submitting = loop.create_task(submit())
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(submitting)
    submitting.cancel()
    loop.run_until_complete(asyncio.wait([submitting]))
    loop.run_until_complete(asyncio.wait_for(hears.wait(), PATIENCE_S))
    assert told == [None]
    disk.close()
    loop.close()


async def test_a_callback_may_submit_and_close(disk: NativeDisk) -> None:
    closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    told = []

    def then(error: OSError | None) -> None:
        disk.submit(Lane.COMMITS, [Create("b", 1)], told.append)
        disk.close()
        closed.set_result(None)

    disk.submit(Lane.COMMITS, [Create("a", 1)], then)
    disk.submit(Lane.COMMITS, [Create("c", 1)], told.append)
    disk.submit(Lane.BEHIND, [Create("d", 1)], lambda _: None)
    await asyncio.wait_for(closed, PATIENCE_S)
    await asyncio.sleep(0.01)
    assert told == []
    disk.open()
    assert disk.names() == ["a", "b", "c", "d"]


# -- the end ---------------------------------------------------------------------------------------


async def test_close_carries_out_what_was_submitted_and_calls_nobody_back(disk: NativeDisk) -> None:
    told: list[OSError | None] = []
    for number in range(100):
        disk.submit(Lane(number % 2), [Create(f"{number:02}", 9)], told.append)
    disk.close()
    disk.close()
    await asyncio.sleep(0.01)
    assert told == []
    for use in (disk.names, lambda: disk.submit(Lane.COMMITS, [SyncFolder()], print)):
        with pytest.raises(RuntimeError, match="not open"):
            use()
    disk.open()
    assert [disk.size(name) for name in disk.names()] == [9] * 100


async def test_a_disk_can_be_opened_again(disk: NativeDisk) -> None:
    assert await carry_out(disk, Create("a", 1)) is None
    with pytest.raises(JournalInUse, match="by another hub of this process"):
        disk.open()
    disk.close()
    disk.open()
    assert await carry_out(disk, Rename("a", "b")) is None
    assert disk.names() == ["b"]


@pytest.mark.parametrize("new_loop", LOOPS)
@pytest.mark.parametrize("closes", [True, False])
def test_a_loop_that_is_closed_early_harms_nothing(
    folder: Path, new_loop: Callable[[], asyncio.AbstractEventLoop], closes: bool
) -> None:
    """Nor does a disk that nobody closes: it is when nobody knows it any more."""
    told: list[OSError | None] = []

    async def submit(disk: NativeDisk) -> None:
        for number in range(50):
            disk.submit(Lane(number % 2), [Create(f"{number:02}", 9), SyncFolder()], told.append)

    def use() -> int:
        disk = NativeDisk(folder)
        disk.open()
        loop = new_loop()
        loop.run_until_complete(submit(disk))
        loop.close()
        told_in_time = len(told)
        if closes:
            disk.close()
        return told_in_time

    told_in_time = use()
    gc.collect()
    again = NativeDisk(folder)
    again.open()
    assert len(again.names()) == 50
    again.close()
    assert len(told) == told_in_time


@pytest.mark.parametrize("new_loop", LOOPS)
def test_a_disk_outlives_its_loop(
    disk: NativeDisk, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    for number in range(3):
        loop = new_loop()
        assert loop.run_until_complete(carry_out(disk, Create(f"{number}", 1))) is None
        loop.close()
    assert disk.names() == ["0", "1", "2"]


async def test_a_system_without_eventfd_wakes_the_loop_as_well(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "eventfd", raising=False)
    disk = NativeDisk(folder)
    disk.open()
    for _ in range(100):
        assert await carry_out(disk, Create("a", 1), Remove("a")) is None
    error = await carry_out(disk, Remove("a"))
    assert error is not None
    assert error.errno == errno.ENOENT
    disk.close()
