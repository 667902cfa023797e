"""Whatever bit flips in the files of a log is found, and nothing is changed where it is damage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from random import Random

import pytest
from journal.forgery import forged
from journal.simulated_disk import File, SimulatedDisk
from scale import scaled

from pysignal.journal import JournalDamaged, UnknownVersion
from pysignal.journal.files import MARGIN, START_SIZE, segment_name, snapshot_name
from pysignal.journal.log import LogJournal

pytestmark = pytest.mark.anyio

Contents = dict[str, bytes]


def disk_of(contents: Contents) -> SimulatedDisk:
    disk = SimulatedDisk(Random(0))
    disk.files = {name: File(content, content) for name, content in contents.items()}
    disk.durable = dict(disk.files)
    return disk


def contents_of(disk: SimulatedDisk) -> Contents:
    return {
        name: bytes(file.seen) for name, file in disk.files.items() if not name.startswith("spare")
    }


def a_log(disk: SimulatedDisk) -> LogJournal:
    return LogJournal("", segment_bytes=4096, snapshot_bytes=1 << 20, disk=disk)


async def pieces() -> AsyncIterator[bytes]:
    for number in range(3):
        yield b"piece %d" % number


async def written(
    commits: int, size: int, snapshot_at: int | None = None
) -> tuple[Contents, list[bytes], int]:
    """Return the files of a log, its records, and where its last commit begins."""
    disk = SimulatedDisk(Random(1))
    journal = a_log(disk)
    await journal.open()
    records: list[bytes] = []
    last = 0
    for number in range(commits):
        batch = [b"%d" % number * size, b"odd"]
        await journal.append(batch, len(records))
        records += batch
        last = journal._end - (32 + (8 + len(batch[0]) + 3 + 7) // 8 * 8)
        if snapshot_at == number:
            await journal.save(len(records), pieces())
    await journal.close()
    return contents_of(disk), records, last


async def found(contents: Contents) -> tuple[str, list[bytes], LogJournal]:
    """Open a log, and return how that ended and which records are there."""
    disk = disk_of(contents)
    journal = a_log(disk)
    try:
        await journal.open()
    except (JournalDamaged, UnknownVersion) as error:
        assert contents_of(disk) == contents, "what is damaged was changed"
        assert disk.steps == 0
        return type(error).__name__, [], journal
    records = list(journal.replay())
    await journal.append([b"more"], journal.position)
    await journal.close()
    again = a_log(disk)
    await again.open()
    assert again.report is None, "what was cut once is cut"
    assert list(again.replay()) == [*records, b"more"]
    await again.close()
    return "cut" if journal.report else "sound", records, journal


def flipped(contents: Contents, name: str, bit: int) -> Contents:
    content = bytearray(contents[name])
    content[bit >> 3] ^= 1 << (bit & 7)
    return {**contents, name: bytes(content)}


@pytest.mark.parametrize(
    ("commits", "snapshot_at"),
    [(3, None), (2, 0), (3, 2)],
    ids=["a log", "with a snapshot", "all in it"],
)
async def test_every_flipped_bit_of_a_small_log_is_found(
    commits: int, snapshot_at: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL")
    contents, records, last = await written(commits, 3, snapshot_at)
    base = 0 if snapshot_at is None else 2 * (snapshot_at + 1)
    ends = {"cut": 0, "JournalDamaged": 0, "UnknownVersion": 0}
    current = max(name for name in contents if name.endswith(".log"))
    used = last + 32 + 16  # its head, and two records of three bytes, filled up
    for name, content in contents.items():
        # Behind the last commit each byte is like the next.
        size = used + 64 if name == current else len(content)
        for bit in range(size * 8):
            end, kept, journal = await found(flipped(contents, name, bit))
            ends[end] += 1  # a KeyError where it was not found
            if end != "cut":
                continue
            at = bit >> 3
            assert name == current
            assert at >= last, "damage before the last commit was cut"
            # Beyond the last commit are zeros: nothing of it is lost with them.
            assert kept == (records[base:-2] if at < used else records[base:])
            assert journal.report is not None
            assert journal.report.file == current
            assert journal.report.offset <= at
    assert min(ends["JournalDamaged"], ends["UnknownVersion"]) > 0
    assert (ends["cut"] > 0) == (
        snapshot_at is None or snapshot_at + 1 < commits or ends["cut"] > 0
    )


async def test_flipped_bits_of_larger_logs_are_found(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")
    rng = Random(11)
    for commits, size, snapshot_at in ((40, 90, None), (40, 90, 25), (9, 2000, None)):
        contents, records, last = await written(commits, size, snapshot_at)
        base = 0 if snapshot_at is None else 2 * (snapshot_at + 1)
        assert len([name for name in contents if name.endswith(".log")]) > 1
        current = max(name for name in contents if name.endswith(".log"))
        for _ in range(scaled(1500)):
            name = rng.choice(list(contents))
            bit = rng.randrange(len(contents[name]) * 8)
            end, kept, _ = await found(flipped(contents, name, bit))
            assert end != "sound", f"{name}, bit {bit}"
            if end == "cut":
                assert name == current
                assert bit >> 3 >= last
                assert kept in (records[base:], records[base:-2])


async def damaged(contents: Contents, match: str) -> JournalDamaged:
    disk = disk_of(contents)
    with pytest.raises(JournalDamaged, match=match) as caught:
        await a_log(disk).open()
    assert contents_of(disk) == contents
    assert not disk.is_open, "it lets go of the folder"
    return caught.value


async def test_zeros_behind_a_segment_that_are_none_are_damage() -> None:
    contents, _, _ = await written(40, 90)
    first = segment_name(0)
    padded = {**contents, first: contents[first] + bytes(64)}
    assert (await found(padded))[0] == "sound"
    error = await damaged(
        flipped(padded, first, (len(contents[first]) + 40) * 8), "more than zeros"
    )
    assert (error.file, error.offset) == (first, len(contents[first]) + 40)


def edit(change: Callable[[Contents, list[str]], None]) -> Callable[[Contents], Contents]:
    def edited(contents: Contents) -> Contents:
        changed = dict(contents)
        change(changed, sorted(name for name in contents if name.endswith(".log")))
        return changed

    return edited


def remove(contents: Contents, name: str) -> None:
    del contents[name]


def rename(contents: Contents, name: str, to: str) -> None:
    contents[to] = contents.pop(name)


def cut(contents: Contents, name: str, size: int) -> None:
    contents[name] = contents[name][:size]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (edit(lambda c, logs: remove(c, logs[0])), "what is before position"),
        (edit(lambda c, logs: remove(c, logs[1])), "are missing or damaged"),
        (edit(lambda c, logs: remove(c, logs[-1])), "the next one is missing"),
        (edit(lambda c, logs: rename(c, logs[1], segment_name(7))), "as its name does not say"),
        (edit(lambda c, logs: cut(c, logs[0], 400)), "are missing or damaged"),
        (edit(lambda c, logs: cut(c, logs[1], 40)), "does not begin with a sound frame"),
        (edit(lambda c, logs: c.update({logs[1]: c[logs[0]]})), "as its name does not say"),
    ],
    ids=["first missing", "missing", "last missing", "misnamed", "cut", "cut head", "copied"],
)  # fmt: skip
async def test_files_that_do_not_fit_together_are_damage(
    change: Callable[[Contents], Contents], match: str
) -> None:
    contents, _, _ = await written(60, 90)
    error = await damaged(change(contents), match)
    assert error.file in str(error)
    assert "bring back a copy" in str(error) or "its name back" in str(error)


async def test_a_snapshot_without_what_it_goes_on_from_is_damage() -> None:
    contents, _, _ = await written(60, 90, snapshot_at=30)
    logs = sorted(name for name in contents if name.endswith(".log"))
    without_first = {name: content for name, content in contents.items() if name != logs[0]}
    await damaged(without_first, "goes on from position 62 is missing")
    only_snapshot = {name: content for name, content in contents.items() if name not in logs}
    await damaged(only_snapshot, "goes on from position 62 is missing")
    without_snapshot = {name: contents[name] for name in logs}
    await damaged(without_snapshot, "what is before position")


async def test_the_log_may_not_end_before_its_snapshot() -> None:
    contents, _, last = await written(3, 9, snapshot_at=2)
    error = await damaged(flipped(contents, segment_name(0), (last + 50) * 8), "ends at position 4")
    assert (error.file, error.offset) == (segment_name(0), last)


async def test_a_file_of_another_log_is_recognized() -> None:
    contents, _, _ = await written(60, 90)
    other, _, _ = await written(60, 90)
    second = sorted(contents)[1]
    await damaged({**contents, second: other[second]}, "of another log")
    with_snapshot, _, _ = await written(60, 90, snapshot_at=30)
    name = snapshot_name(62)
    await damaged({**contents, name: with_snapshot[name]}, "of another log")


async def test_a_snapshot_that_is_cut_or_longer_is_damage() -> None:
    contents, _, _ = await written(4, 9, snapshot_at=1)
    name = snapshot_name(4)
    for size in range(0, len(contents[name]), 8):
        disk = disk_of({**contents, name: contents[name][:size]})
        with pytest.raises((JournalDamaged, UnknownVersion)):
            await a_log(disk).open()
    await damaged({**contents, name: contents[name] + bytes(8)}, "something follows")


async def test_a_log_that_is_cut_short_is_no_torn_commit() -> None:
    contents, records, _ = await written(9, 60)
    name = max(name for name in contents if name.endswith(".log"))
    whole = contents[name]
    end = -(-len(whole.rstrip(b"\0")) // 8) * 8
    for size in range(START_SIZE, len(whole)):
        cut_short = {**contents, name: whole[:size]}
        if size >= end + MARGIN:  # only zeros are missing
            assert (await found(cut_short))[:2] == ("sound", records)
        elif any(whole[size - MARGIN : size]) or size > end:
            await damaged(cut_short, "complete, and the next one is missing|it was cut short")


@pytest.mark.parametrize("is_last", [False, True], ids=["in between", "the last"])
@pytest.mark.parametrize(
    "changes",
    [{"kind": 4}, {"position": 5}, {"previous": 5}, {"count": 3}, {"size": 13}],
    ids=lambda changes: next(iter(changes)),
)
async def test_a_sound_commit_that_does_not_follow_is_damage(
    changes: dict[str, int], is_last: bool
) -> None:
    """It is no torn one, whatever it is."""
    contents, _, last = await written(3, 3)
    name = segment_name(0)
    at = last if is_last else 56
    error = await damaged(
        {**contents, name: forged(contents[name], at, changes)}, "does not belong here"
    )
    assert (error.file, error.offset) == (name, at)


async def test_a_segment_that_does_not_go_on_from_the_one_before_is_damage() -> None:
    contents, _, _ = await written(60, 90)
    second = sorted(contents)[1]
    changed = {**contents, second: forged(contents[second], 0, {"previous": 5})}
    error = await damaged(changed, "does not go on where the log before it ends")
    assert (error.file, error.offset) == (second, 0)


@pytest.mark.parametrize("changes", [{"kind": 4}, {"position": 2}, {"previous": 5}], ids=str)
async def test_an_end_that_is_none_of_its_snapshot_is_damage(changes: dict[str, int]) -> None:
    contents, _, _ = await written(4, 9, snapshot_at=1)
    name = snapshot_name(4)
    end = len(contents[name]) - 32 - 24
    await damaged({**contents, name: forged(contents[name], end, changes)}, "byte ")


async def test_a_commit_of_another_version_is_refused() -> None:
    contents, _, last = await written(4, 9, snapshot_at=1)
    for name, at in ((segment_name(0), last), (snapshot_name(4), 56)):
        changed = {**contents, name: forged(contents[name], at, {"version": 2})}
        disk = disk_of(changed)
        with pytest.raises(UnknownVersion, match=f"{name}, byte {at}.*newer"):
            await a_log(disk).open()
        assert contents_of(disk) == changed


@pytest.mark.parametrize("version", [0, 2, 258])
async def test_a_newer_version_is_refused(version: int) -> None:
    contents, _, _ = await written(4, 9, snapshot_at=1)
    for name in contents:
        content = bytearray(contents[name])
        content[4:6] = version.to_bytes(2, "little")
        disk = disk_of({**contents, name: bytes(content)})
        with pytest.raises(UnknownVersion, match=rf"{name}.*version {version}.*newer"):
            await a_log(disk).open()
        assert disk.steps == 0


@pytest.mark.parametrize(
    "name", ["notes.txt", "1.log", "00000000000000000000.log.bak", "spare", "lost+found"]
)
async def test_a_foreign_file_is_named(name: str) -> None:
    contents, _, _ = await written(2, 9)
    for found_there in ({name: b"mine"}, {**contents, name: b"mine"}):
        disk = disk_of(found_there)
        with pytest.raises(UnknownVersion) as caught:
            await a_log(disk).open()
        assert str(caught.value).startswith(name)
        assert disk.files[name].seen == b"mine"


async def test_what_a_crash_left_over_is_removed() -> None:
    contents, records, _ = await written(4, 9)
    left = {
        "spare-7": bytes(4096),
        "spare-12": b"",
        snapshot_name(3) + ".new": b"half a snapshot",
    }
    disk = disk_of({**contents, **left})
    journal = a_log(disk)
    await journal.open()
    assert list(journal.replay()) == records
    assert not set(left) & set(disk.names())
    await journal.close()


async def test_a_text_that_looks_like_a_commit_is_no_commit() -> None:
    """The magic holds bytes that no text in UTF-8 has, also one of lone surrogates."""
    magic = (0xF55350F5).to_bytes(4, "little")
    with pytest.raises(UnicodeDecodeError):
        magic.decode("utf-8", "surrogatepass")
    for at in range(4):
        if magic[at] >= 0xF5:
            break
    else:
        raise AssertionError("every byte may stand in a text")


async def test_opening_leaves_the_loop_to_others() -> None:
    disk = SimulatedDisk(Random(2))
    journal = LogJournal("", segment_bytes=1 << 24, disk=disk)
    await journal.open()
    for number in range(60):
        await journal.append([bytes(1 << 18)], number)
    await journal.close()
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.ensure_future(count())
    await journal.open()
    assert turns > 3
    counting.cancel()
    await journal.close()
