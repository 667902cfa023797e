"""What every journal promises, of each that there is."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from random import Random

import pytest
from journal.simulated_disk import SimulatedDisk

from pysignal.journal import Journal, JournalInUse, MemoryJournal, NotOwner
from pysignal.journal.log import LogJournal

pytestmark = pytest.mark.anyio

Make = Callable[[], Journal]


def in_memory(folder: Path) -> Make:
    journal = MemoryJournal(snapshot_every=10)
    return lambda: journal


def on_a_simulated_disk(folder: Path) -> Make:
    disk = SimulatedDisk(Random(0))
    return functools.partial(LogJournal, "", segment_bytes=4096, snapshot_bytes=4096, disk=disk)


def in_a_folder(folder: Path) -> Make:
    return functools.partial(LogJournal, folder / "calls", segment_bytes=4096, snapshot_bytes=4096)


@pytest.fixture(
    params=[in_memory, on_a_simulated_disk, in_a_folder], ids=lambda make: make.__name__
)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Make a journal of what is kept; a second one sees what the first has left."""
    made: Make = request.param(tmp_path)
    return made


@pytest.fixture
async def journal(make: Make) -> AsyncIterator[Journal]:
    """A journal that is open and empty."""
    journal = make()
    await journal.open()
    yield journal
    await journal.close()


async def reopened(journal: Journal, make: Make) -> Journal:
    await journal.close()
    other = make()
    await other.open()
    return other


async def pieces(*all_of_them: bytes) -> AsyncIterator[bytes]:
    for piece in all_of_them:
        await asyncio.sleep(0)
        yield piece


async def fill(journal: Journal, count: int, size: int = 20) -> list[bytes]:
    records = [b"%d " % number + bytes(size) for number in range(count)]
    for at in range(0, count, 3):
        await journal.append(records[at : at + 3], at)
    return records


async def test_a_new_one_is_empty(journal: Journal) -> None:
    assert (journal.position, journal.base) == (0, 0)
    assert list(journal.replay()) == []
    assert list(journal.snapshot()) == []
    assert not journal.wants_snapshot
    assert not journal.is_full


@pytest.mark.parametrize(
    "records",
    [
        [b"one"],
        [b""],
        [b"", b"", b""],
        [b"a", b"bc", b"\0" * 9],
        (b"a tuple", b"too"),
        [b"x" * 9000],
    ],
    ids=["one", "empty", "all empty", "of many sizes", "a tuple", "larger than a segment"],
)
async def test_what_was_appended_comes_back_in_order(
    journal: Journal, make: Make, records: list[bytes]
) -> None:
    await journal.append(records, 0)
    assert journal.position == len(records)
    await journal.append([b"last"], len(records))
    assert list(journal.replay()) == [*records, b"last"]
    again = await reopened(journal, make)
    assert again.position == len(records) + 1
    assert list(again.replay()) == [*records, b"last"]
    await again.close()


async def test_many_appends_over_many_lives_come_back(journal: Journal, make: Make) -> None:
    records: list[bytes] = []
    for life in range(5):
        for _ in range(30):
            batch = [b"%d" % life * 50, b"%d" % len(records)]
            await journal.append(batch, len(records))
            records += batch
        journal = await reopened(journal, make)
        assert list(journal.replay()) == records
        assert journal.position == len(records)
    await journal.close()


@pytest.mark.parametrize("expected", [0, 2, 4, 1 << 40])
async def test_who_does_not_know_the_position_appends_nothing(
    journal: Journal, make: Make, expected: int
) -> None:
    records = await fill(journal, 3)
    with pytest.raises(NotOwner, match=f"not {expected}"):
        await journal.append([b"foreign"], expected)
    assert list(journal.replay()) == records
    await journal.append([b"own"], 3)
    again = await reopened(journal, make)
    assert list(again.replay()) == [*records, b"own"]
    await again.close()


async def test_a_snapshot_takes_the_place_of_the_records_before_it(
    journal: Journal, make: Make
) -> None:
    records = await fill(journal, 30)
    await journal.save(20, pieces(b"the ", b"", b"state"))
    for _ in range(2):
        assert (journal.position, journal.base) == (30, 20)
        assert list(journal.snapshot()) == [b"the ", b"", b"state"]
        assert list(journal.replay()) == records[20:]
        journal = await reopened(journal, make)
    await journal.append([b"more"], 30)
    assert list(journal.replay()) == [*records[20:], b"more"]
    await journal.close()


async def test_a_later_snapshot_takes_the_place_of_an_earlier_one(
    journal: Journal, make: Make
) -> None:
    records = await fill(journal, 30)
    await journal.save(10, pieces(b"ten"))
    await journal.save(30, pieces(b"thirty"))
    journal = await reopened(journal, make)
    assert (journal.position, journal.base) == (30, 30)
    assert list(journal.snapshot()) == [b"thirty"]
    assert list(journal.replay()) == []
    await journal.append([b"more"], 30)
    await journal.save(30, pieces(b"thirty", b"once more"))
    journal = await reopened(journal, make)
    assert list(journal.snapshot()) == [b"thirty", b"once more"]
    assert list(journal.replay()) == [b"more"]
    assert records
    await journal.close()


async def test_appends_go_on_while_a_snapshot_is_written(journal: Journal, make: Make) -> None:
    records = await fill(journal, 9)

    async def appending() -> AsyncIterator[bytes]:
        for number in range(20):
            record = b"meanwhile %d" % number * 20
            await journal.append([record], journal.position)
            records.append(record)
            yield b"piece %d" % number

    await journal.save(9, appending())
    journal = await reopened(journal, make)
    assert journal.base == 9
    assert list(journal.snapshot()) == [b"piece %d" % number for number in range(20)]
    assert list(journal.replay()) == records[9:]
    await journal.close()


async def test_a_snapshot_that_comes_to_nothing_changes_nothing(
    journal: Journal, make: Make
) -> None:
    records = await fill(journal, 12)
    await journal.save(6, pieces(b"six"))

    async def failing() -> AsyncIterator[bytes]:
        yield b"half"
        raise RuntimeError("the other half")

    with pytest.raises(RuntimeError, match="other half"):
        await journal.save(12, failing())
    await journal.append([b"more"], 12)
    for _ in range(2):
        assert (journal.position, journal.base) == (13, 6)
        assert list(journal.snapshot()) == [b"six"]
        assert list(journal.replay()) == [*records[6:], b"more"]
        journal = await reopened(journal, make)
    await journal.save(12, pieces(b"twelve"))
    assert list(journal.replay()) == [b"more"]
    await journal.close()


async def test_a_cancelled_snapshot_changes_nothing(journal: Journal, make: Make) -> None:
    records = await fill(journal, 12)
    begun = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield b"half"
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.ensure_future(journal.save(12, endless()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await journal.save(3, pieces(b"three"))
    journal = await reopened(journal, make)
    assert list(journal.snapshot()) == [b"three"]
    assert list(journal.replay()) == records[3:]
    await journal.close()


async def test_a_snapshot_is_wanted_after_a_while_and_not_again_at_once(journal: Journal) -> None:
    await fill(journal, 120, size=100)
    assert journal.wants_snapshot
    await journal.save(120, pieces(b"all"))
    assert not journal.wants_snapshot
    assert journal.base == 120


async def test_a_cancelled_await_neither_loses_nor_repeats_an_append(
    journal: Journal, make: Make
) -> None:
    for turns in range(5):
        before = list(journal.replay())
        record = b"once, after %d turns" % turns
        task = asyncio.ensure_future(journal.append([record], len(before)))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        journal = await reopened(journal, make)
        assert list(journal.replay()) in (before, [*before, record])
        assert journal.position == len(list(journal.replay()))
        await journal.append([b"next"], journal.position)
    await journal.close()


async def test_it_keeps_room_where_it_is_told(journal: Journal) -> None:
    for size in (0, 1, 100_000, 0):
        journal.keep_free(size)
        await journal.append([b"more"], journal.position)
    assert not journal.is_full


async def test_one_at_a_time_has_a_log(make: Make) -> None:
    journal = make()
    if isinstance(journal, MemoryJournal):
        return
    await journal.open()
    with pytest.raises(JournalInUse):
        await make().open()
    with pytest.raises(JournalInUse):
        await journal.open()
    await journal.append([b"still ours"], 0)
    await journal.close()
    await journal.open()
    assert list(journal.replay()) == [b"still ours"]
    await journal.close()
