"""The log on a simulated disk: what it asks of the disk, and what becomes of each failure."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import AsyncIterator, Awaitable
from random import Random

import pytest
from journal.simulated_disk import SimulatedDisk

from pysignal.journal.disk import Create, Lane, Remove, Step, Sync, SyncFolder, Write
from pysignal.journal.log import LogJournal

pytestmark = pytest.mark.anyio

PATIENCE_TURNS = 500


@pytest.fixture
def disk() -> SimulatedDisk:
    """The disk of `journal`."""
    return SimulatedDisk(Random(4))


def a_log(disk: SimulatedDisk, snapshot_bytes: int = 1 << 20) -> LogJournal:
    return LogJournal("", segment_bytes=4096, snapshot_bytes=snapshot_bytes, disk=disk)


@pytest.fixture
async def journal(disk: SimulatedDisk) -> AsyncIterator[LogJournal]:
    """A log that is open and empty, with its spare ready."""
    journal = a_log(disk)
    await journal.open()
    await settle()
    yield journal
    await journal.close()


async def settle() -> None:
    """Let the disk do all that it was asked to."""
    for _ in range(100):
        await asyncio.sleep(0)


async def state(*, pieces: int = 3, size: int = 9) -> AsyncIterator[bytes]:
    for number in range(pieces):
        yield b"%d" % number * size


async def failure_of(call: Awaitable[None]) -> OSError | None:
    try:
        await call
    except OSError as error:
        return error
    return None


def note_steps(disk: SimulatedDisk) -> list[Step]:
    steps: list[Step] = []
    disk.on_step = steps.append
    return steps


def names_of(steps: list[Step]) -> list[str]:
    return [type(step).__name__ for step in steps]


# -- what is asked of the disk ---------------------------------------------------------------------


async def test_a_commit_is_one_write_and_one_sync(disk: SimulatedDisk, journal: LogJournal) -> None:
    steps = note_steps(disk)
    await journal.append([b"one", b"two"], 0)
    await journal.append([b"three"], 2)
    await settle()
    assert names_of(steps) == ["Write", "Sync"] * 2


async def test_a_segment_is_switched_to_a_spare_that_was_made_before(
    disk: SimulatedDisk, journal: LogJournal
) -> None:
    await journal.append([bytes(3980)], 0)
    await settle()
    steps = note_steps(disk)
    await journal.append([b"the next one"], 1)
    assert names_of(steps)[:4] == ["Write", "Sync", "Rename", "SyncFolder"]
    await settle()
    assert sorted(names_of(steps)[4:]) == ["Create", "Sync", "Sync", "SyncFolder", "Truncate"]
    assert disk.names() == [f"{0:020}.log", f"{1:020}.log", "spare-3"]
    assert disk.size(f"{0:020}.log") == 56 + 32 + 3984, "cut to what is used"
    assert disk.size(f"{1:020}.log") == 4096


async def test_files_are_written_within_the_room_they_have(
    disk: SimulatedDisk, journal: LogJournal
) -> None:
    """So that a commit leaves the file system nothing to write but data."""
    sizes: dict[str, int] = {}

    def look(step: Step) -> None:
        if isinstance(step, Create) and step.size:
            sizes[step.name] = step.size
        elif isinstance(step, Write) and step.name in sizes:
            assert step.offset + len(step.data) <= sizes[step.name] - 8

    disk.on_step = look
    rng = Random(6)
    for _ in range(200):
        await journal.append([bytes(rng.choice((0, 100, 3000, 9000)))], journal.position)
    assert len(sizes) > 50


async def test_without_a_spare_a_commit_makes_its_own_room(disk: SimulatedDisk) -> None:
    journal = a_log(disk)
    await journal.open()
    for number in range(20):  # none has time to be made
        await journal.append([bytes(3000)], number)
    assert [len(record) for record in journal.replay()] == [3000] * 20
    await journal.close()


async def test_a_lone_append_takes_one_turn_after_the_disk_is_done(
    disk: SimulatedDisk, journal: LogJournal
) -> None:
    done_at: list[int] = []
    turn = 0

    def count() -> None:
        nonlocal turn
        turn += 1
        if turn < 50:
            asyncio.get_running_loop().call_soon(count)

    disk.on_step = lambda step: done_at.append(turn) if isinstance(step, Sync) else None
    count()
    await journal.append([b"one"], 0)
    assert turn - done_at[-1] <= 2


async def test_files_stay_bounded_by_snapshots(disk: SimulatedDisk) -> None:
    journal = a_log(disk, snapshot_bytes=8192)
    await journal.open()
    largest = 0
    for _ in range(1000):
        await journal.append([bytes(200)], journal.position)
        if journal.wants_snapshot:
            await journal.save(journal.position, state(pieces=5, size=300))
            assert not journal.wants_snapshot
        largest = max(largest, sum(disk.size(name) for name in disk.names()))
    assert largest < 8192 + 5 * 4096
    assert len(disk.names()) <= 5
    await journal.close()


async def test_a_large_snapshot_makes_the_next_one_wait(disk: SimulatedDisk) -> None:
    journal = a_log(disk, snapshot_bytes=4096)
    await journal.open()
    await journal.append([b"one"], 0)
    await journal.save(1, state(pieces=10, size=2000))
    size = disk.size(f"{1:020}.snapshot")
    for life in range(2):
        assert not journal.wants_snapshot
        while not journal.wants_snapshot:
            await journal.append([bytes(960)], journal.position)
        if life == 0:
            position = journal.position
            await journal.close()
            await journal.open()
            assert journal.wants_snapshot
            await journal.save(position, state(pieces=10, size=2000))
    assert 2 * size <= (journal.position - journal.base) * 1000 < 2 * size + 2000
    await journal.close()


async def test_a_snapshot_of_what_is_not_durable_is_refused(journal: LogJournal) -> None:
    await journal.append([b"one"], 0)
    with pytest.raises(ValueError, match="2 records are not durable, only 1"):
        await journal.save(2, state())
    with pytest.raises(ValueError, match="at least one piece"):
        await journal.save(1, state(pieces=0))
    await journal.save(1, state())
    with pytest.raises(ValueError, match="stands for 1 records already, not 0"):
        await journal.save(0, state())
    assert len(list(journal.snapshot())) == 3


async def test_a_snapshot_is_written_in_parts_of_a_megabyte(
    disk: SimulatedDisk, journal: LogJournal
) -> None:
    steps = note_steps(disk)
    await journal.append([b"one"], 0)
    await journal.save(1, state(pieces=100, size=100_000))
    sizes = [len(step.data) for step in steps if isinstance(step, Write)]
    assert max(sizes) < (1 << 20) + 200_000
    assert len(sizes) > 9
    syncs = [step for step in steps if isinstance(step, Sync) and step.name.endswith(".new")]
    assert len(syncs) >= 3, "lest the last one take long"
    assert list(journal.snapshot()) == [piece async for piece in state(pieces=100, size=100_000)]


# -- failures --------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
@pytest.mark.parametrize("at", range(12))
async def test_after_a_failed_commit_nothing_is_appended(
    disk: SimulatedDisk, journal: LogJournal, code: int, at: int
) -> None:
    """Each write, sync and renaming of the commits' lane fails in its turn."""
    commits = 0

    def fail(step: Step) -> int | None:
        nonlocal commits
        commits += disk.lane is Lane.COMMITS
        return code if commits == at + 1 and disk.lane is Lane.COMMITS else None

    async def append_all() -> None:
        for number, record in enumerate(records):
            await journal.append([record], number)
            await settle()

    disk.fault = fail
    records = [b"%d" % number * 1500 for number in range(12)]
    with pytest.raises(OSError, match=r"No space|Input/output") as caught:
        await append_all()
    position = journal.position
    assert caught.value.errno == code
    steps = note_steps(disk)
    for _ in range(3):
        with pytest.raises(OSError, match="takes nothing more") as later:
            await journal.append([b"later"], position)
        assert later.value.errno == code
        with pytest.raises(OSError, match="takes nothing more"):
            await journal.save(position, state())
    assert not journal.wants_snapshot
    assert not [step for step in steps if isinstance(step, Write | SyncFolder)]
    # What was acknowledged is there after a power cut, and in the next life of this disk too.
    disk.fault = lambda step: None
    left = [disk.cut_power() for _ in range(5)]
    await journal.close()
    for disk_left in (disk, *left):
        again = a_log(disk_left)
        await again.open()
        kept = list(again.replay())
        assert kept == records[: len(kept)]
        assert position <= len(kept) <= position + 1
        await again.append([b"on"], len(kept))
        await again.close()


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
async def test_a_snapshot_that_fails_changes_nothing(
    disk: SimulatedDisk, journal: LogJournal, code: int
) -> None:
    """Each step of it fails in its turn, until none is left to fail."""
    records = [b"%d" % number * 900 for number in range(9)]
    for number, record in enumerate(records):
        await journal.append([record], number)
    await journal.save(2, state(pieces=1))
    await settle()
    for at in range(100):
        count = 0

        def fail(step: Step, at: int = at) -> int | None:
            nonlocal count
            count += 1
            return code if count == at + 1 else None

        before = disk.names()
        disk.fault = fail
        failure = await failure_of(journal.save(9, state(pieces=30, size=100_000)))
        disk.fault = lambda step: None
        if failure is None:
            break
        await settle()
        assert failure.errno == code
        assert journal.base == 2
        assert set(disk.names()) - {f"{9:020}.snapshot"} == set(before)
        assert list(journal.snapshot()) == [b"0" * 9]
        assert list(journal.replay()) == records[2:]
    assert at >= 5
    assert journal.base == 9
    assert len(list(journal.snapshot())) == 30
    await journal.append([b"on"], 9)


async def test_another_snapshot_is_not_wanted_at_once_after_one_failed(
    disk: SimulatedDisk,
) -> None:
    journal = a_log(disk, snapshot_bytes=8192)
    await journal.open()
    while not journal.wants_snapshot:
        await journal.append([bytes(500)], journal.position)
    disk.fault = lambda step: errno.ENOSPC if "snapshot" in str(step) else None
    with pytest.raises(OSError, match="No space"):
        await journal.save(journal.position, state())
    disk.fault = lambda step: None
    assert not journal.wants_snapshot
    for _ in range(3):
        await journal.append([bytes(500)], journal.position)
    assert journal.wants_snapshot
    await journal.close()


@pytest.mark.parametrize("first", [False, True], ids=["a log", "a new folder"])
async def test_opening_that_fails_can_be_repeated(disk: SimulatedDisk, first: bool) -> None:
    """Each step fails in its turn."""
    records = [] if first else [b"%d" % number * 900 for number in range(9)]
    if not first:
        journal = a_log(disk)
        await journal.open()
        for number, record in enumerate(records):
            await journal.append([record], number)
        await journal.close()
        name = max(name for name in disk.names() if name.endswith(".log"))
        disk.files[name].change(journal._end, b"torn")
    for at in range(100):
        count = 0

        def fail(step: Step, at: int = at) -> int | None:
            nonlocal count
            count += 1
            return errno.EIO if count == at + 1 else None

        disk.fault = fail
        journal = a_log(disk)
        failure = await failure_of(journal.open())
        if failure is None:
            break
        assert failure.errno == errno.EIO
        assert not disk.is_open
    assert at >= 4
    disk.fault = lambda step: None
    assert list(journal.replay()) == records
    await journal.append([b"on"], journal.position)
    await journal.close()


async def test_a_torn_commit_is_reported(
    disk: SimulatedDisk, journal: LogJournal, caplog: pytest.LogCaptureFixture
) -> None:
    await journal.append([b"one"], 0)
    assert journal.report is None
    end = journal._end
    await journal.close()
    name = f"{0:020}.log"
    disk.files[name].change(end, b"torn and torn")
    await journal.open()
    assert journal.report == (name, end, 13)
    assert f"{name}, byte {end}: the last commit is torn (13 bytes)" in caplog.text
    assert bytes(disk.files[name].kept[end:]).strip(b"\0") == b"", "it is gone, for good"


# -- a full disk -----------------------------------------------------------------------------------


async def test_a_full_disk_is_told_and_appends_go_on_in_the_reserve(
    disk: SimulatedDisk, journal: LogJournal, caplog: pytest.LogCaptureFixture
) -> None:
    journal.keep_free(12_000)
    await settle()
    spares = [name for name in disk.names() if name.startswith("spare")]
    assert len(spares) == 6
    disk.room = sum(disk.size(name) for name in disk.names())
    assert not journal.is_full
    written = -80
    failure = None
    while failure is None:
        await settle()
        written += 80
        assert journal.is_full == (len(journal._segments) > 1)
        failure = await failure_of(journal.append([bytes(80)], journal.position))
    assert failure.errno == errno.ENOSPC
    assert written >= 12_000
    assert "no room ahead" in caplog.text
    records = list(journal.replay())
    await journal.close()
    disk.room = None
    await journal.open()
    assert list(journal.replay()) == records
    assert not journal.is_full


async def test_room_that_is_there_again_is_found(
    disk: SimulatedDisk, journal: LogJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pysignal.journal.reserve.RETRY_S", 0.01)
    journal.keep_free(4000)
    await settle()
    disk.room = sum(disk.size(name) for name in disk.names())
    while not journal.is_full:
        await journal.append([bytes(900)], journal.position)
        await settle()
    disk.room += 4096 * 2
    for _ in range(PATIENCE_TURNS):
        await asyncio.sleep(0.01)
        if not journal.is_full:
            break
    assert not journal.is_full


async def test_a_snapshot_makes_room_on_a_full_disk(
    disk: SimulatedDisk, journal: LogJournal
) -> None:
    journal.keep_free(4000)
    await settle()
    disk.room = sum(disk.size(name) for name in disk.names()) + 3 * 4096
    while not journal.is_full:
        await journal.append([bytes(900)], journal.position)
        await settle()
    await journal.save(journal.position, state(pieces=1))
    await settle()
    assert not journal.is_full


async def test_a_reserve_that_shrinks_is_given_back(
    disk: SimulatedDisk, journal: LogJournal
) -> None:
    journal.keep_free(100_000)
    await settle()
    many = len(disk.names())
    journal.keep_free(0)
    await settle()
    assert many > 30
    assert len(disk.names()) == 3, "the segment, and a spare more than is needed"


async def test_a_file_that_can_not_be_removed_stays_for_the_next_time(
    disk: SimulatedDisk, journal: LogJournal, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(9):
        await journal.append([bytes(1800)], number)
    disk.fault = lambda step: errno.EIO if isinstance(step, Remove) else None
    await journal.save(9, state())
    assert journal.base == 9
    assert "stays" in caplog.text
    assert f"{0:020}.log" in disk.names()
    disk.fault = lambda step: None
    await journal.append([b"one"], 9)
    await journal.save(10, state())
    assert [name for name in disk.names() if "spare" not in name] == [
        f"{8:020}.log",
        f"{10:020}.snapshot",
    ]


# -- the caller ------------------------------------------------------------------------------------


async def test_an_append_that_nobody_waits_for_takes_place(
    disk: SimulatedDisk, journal: LogJournal
) -> None:
    task = asyncio.ensure_future(journal.append([b"one"], 0))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await settle()
    assert journal.position == 1
    await journal.append([b"two"], 1)
    assert list(journal.replay()) == [b"one", b"two"]


async def test_a_failure_that_nobody_waits_for_is_heard_by_the_next(
    disk: SimulatedDisk, journal: LogJournal
) -> None:
    disk.fault = lambda step: errno.EIO
    task = asyncio.ensure_future(journal.append([b"one"], 0))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await settle()
    with pytest.raises(OSError, match="takes nothing more"):
        await journal.append([b"two"], 0)


async def test_one_append_is_under_way_at_a_time(journal: LogJournal) -> None:
    first = journal.append([b"one"], 0)
    with pytest.raises(AssertionError, match="one append"):
        journal.append([b"two"], 0)
    await first


async def test_what_is_no_record_is_refused_and_changes_nothing(journal: LogJournal) -> None:
    for records in ([], ["text"]):
        with pytest.raises((ValueError, TypeError)):
            await journal.append(records, 0)  # type: ignore[arg-type]
    await journal.append([b"one"], 0)


async def test_a_snapshot_that_fails_lets_go_of_what_its_pieces_hold(
    disk: SimulatedDisk, journal: LogJournal
) -> None:
    held: list[bool] = []

    async def holding() -> AsyncIterator[bytes]:
        held.append(True)
        try:
            async for piece in state(pieces=30, size=100_000):
                yield piece
        finally:
            held.clear()

    def full(step: Step) -> int | None:
        return errno.ENOSPC if held and disk.lane is Lane.BEHIND else None

    await journal.append([b"one"], 0)
    disk.fault = full
    with pytest.raises(OSError, match="No space"):
        await journal.save(1, holding())
    assert not held


@pytest.mark.parametrize("turns", range(30))
async def test_a_snapshot_may_be_cancelled_at_any_time(
    disk: SimulatedDisk, journal: LogJournal, turns: int
) -> None:
    for number in range(6):
        await journal.append([bytes(1800)], number)
    task = asyncio.ensure_future(journal.save(6, state()))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await settle()
    assert not [name for name in disk.names() if name.endswith(".new")]
    assert journal.base in (0, 6)
    assert len(list(journal.replay())) == 6 - journal.base
    await journal.append([b"on"], 6)
    await journal.save(7, state())
    assert journal.base == 7


async def test_whoever_waits_when_it_is_closed_hears_it(journal: LogJournal) -> None:
    begun = asyncio.ensure_future(journal.save(0, state(pieces=100, size=100_000)))
    await asyncio.sleep(0)
    append = journal.append([b"one"], 0)
    await journal.close()
    for waiting in (begun, append):
        with pytest.raises(OSError, match="was closed"):
            await waiting
    with pytest.raises(OSError, match="not open"):
        await journal.append([b"two"], 1)
    await journal.close()


async def test_a_closed_log_is_opened_again(journal: LogJournal) -> None:
    await journal.append([b"one"], 0)
    await journal.save(1, state())
    for life in range(1, 4):
        await journal.close()
        await journal.open()
        assert (journal.position, journal.base) == (life, 1)
        await journal.append([b"more"], life)


def test_a_segment_has_a_size_that_makes_sense() -> None:
    with pytest.raises(ValueError, match="segment_bytes: at least 4096, not 100"):
        LogJournal("", segment_bytes=100, disk=SimulatedDisk(Random(0)))


async def test_what_is_logged_goes_to_one_logger(
    disk: SimulatedDisk, journal: LogJournal, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    disk.fault = lambda step: errno.EROFS if isinstance(step, Create) else None
    journal.keep_free(9000)
    await settle()
    assert journal.is_full
    assert {record.name for record in caplog.records if "journal" in record.message} == {"pysignal"}
