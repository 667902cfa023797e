"""What goes wrong on a disk is told as it is, and nothing is written behind it."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from journal.disks import begin, carry_out, errors_of, fd_of, open_files

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

IDLE_MAX = 8  # as lanes.pyx has it


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


@contextmanager
def in_place_of(path: Path, other: str) -> Iterator[None]:
    """Have the disk find another file behind the file descriptor by which it has a file open."""
    fd = fd_of(path)
    real, put = os.dup(fd), os.open(other, os.O_RDWR)
    os.dup2(put, fd)
    try:
        yield
    finally:
        os.dup2(real, fd)
        os.close(real)
        os.close(put)


# -- kinds of steps --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "code"),
    [
        (Write("a", 0, b"x"), errno.ENOENT),
        (Sync("a"), errno.ENOENT),
        (Truncate("a", 0), errno.ENOENT),
        (Remove("a"), errno.ENOENT),
        (Rename("a", "b"), errno.ENOENT),
        (Write("there", -1, b"x"), errno.EINVAL),
        (Truncate("there", -1), errno.EINVAL),
        (Create("there", -1), errno.EINVAL),
        (Write("link", 0, b"x"), errno.ELOOP),
        (Create("a" * 256, 0), errno.ENAMETOOLONG),
    ],
    ids=str,
)
async def test_a_step_that_fails_ends_its_job_and_says_which_file(
    disk: NativeDisk, folder: Path, step: Step, code: int
) -> None:
    assert await carry_out(disk, Create("there", 4)) is None
    (folder / "link").symlink_to("there")
    error = await carry_out(disk, SyncFolder(), step, Create("never", 1))
    assert error is not None
    assert (error.errno, error.strerror) == (code, os.strerror(code))
    assert error.filename == str(folder / step[0])
    assert error.filename2 == (str(folder / "b") if isinstance(step, Rename) else None)
    assert type(error) is type(OSError(code, ""))
    assert disk.names() == ["there"]
    assert disk.read("there", 0, 9) == bytes(4)


async def test_a_folder_in_place_of_a_file_is_left_alone(disk: NativeDisk, folder: Path) -> None:
    (folder / "sub").mkdir()
    for step in (Create("sub", 1), Remove("sub"), Write("sub", 0, b"x")):
        error = await carry_out(disk, step)
        assert isinstance(error, (IsADirectoryError, PermissionError))  # the latter on macOS
    assert (folder / "sub").is_dir()


async def test_a_file_that_finds_no_room_leaves_nothing_behind(
    disk: NativeDisk, folder: Path
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((5 << 20) // 2, hard))
    try:
        error = await carry_out(disk, Create("a", 4 << 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert error is not None
    assert error.errno == errno.EFBIG
    assert disk.names() == []
    assert open_files(folder) == 1  # the lock


async def test_a_write_that_the_system_cuts_short_goes_on(disk: NativeDisk) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    assert await carry_out(disk, Create("a", 0)) is None
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        error = await carry_out(disk, Write("a", 0, b"x" * 3000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert error is not None
    assert error.errno == errno.EFBIG, "the rest was not tried"
    assert disk.size("a") == 1000


async def test_a_full_disk_is_told_of(disk: NativeDisk, folder: Path) -> None:
    assert await carry_out(disk, Create("a", 0)) is None
    with in_place_of(folder / "a", "/dev/full"):
        error = await carry_out(disk, Write("a", 0, b"x"))
    assert error is not None
    assert error.errno == errno.ENOSPC
    assert await carry_out(disk, Write("a", 0, b"x")) is None


async def test_a_sync_that_failed_is_never_tried_again(disk: NativeDisk, folder: Path) -> None:
    assert await carry_out(disk, Create("a", 1), Create("b", 1), Sync("a")) is None
    with in_place_of(folder / "a", "/dev/null"):
        error = await carry_out(disk, Write("a", 0, b"x"), Sync("a"), Remove("a"))
    assert error is not None
    assert error.errno == errno.EINVAL  # what the system says of syncing a device
    again = await carry_out(disk, Sync("a"))
    assert again is not None
    assert again.errno == errno.EINVAL
    assert await carry_out(disk, Sync("b")) is None
    assert await carry_out(disk, Create("a", 1), Sync("a")) is None, "another file of that name"


async def test_a_sync_of_the_folder_that_failed_is_never_tried_again(
    disk: NativeDisk, folder: Path
) -> None:
    assert await carry_out(disk, Create("a", 1)) is None
    with in_place_of(folder, "/dev/null"):
        error = await carry_out(disk, SyncFolder())
    for told in (error, await carry_out(disk, SyncFolder(), lane=Lane.BEHIND)):
        assert told is not None
        assert (told.errno, told.filename) == (errno.EINVAL, str(folder))
    assert await carry_out(disk, Sync("a")) is None


async def test_commits_behind_one_that_failed_are_not_begun(disk: NativeDisk) -> None:
    ends = [
        begin(disk, Create("a", 1)),
        begin(disk, Write("missing", 0, b"x")),
        begin(disk, Write("a", 0, b"x")),
        begin(disk, Create("b", 1)),
    ]
    anew = asyncio.get_running_loop().create_future()
    ends[1].add_done_callback(lambda _: disk.submit(Lane.COMMITS, [Sync("a")], anew.set_result))
    errors = await errors_of(*ends)
    codes = [error.errno if error else 0 for error in errors]
    assert codes == [0, errno.ENOENT, errno.ECANCELED, errno.ECANCELED]
    assert disk.names() == ["a"]
    assert disk.read("a", 0, 1) == b"\0"
    assert await errors_of(anew) == [None], (
        "what is submitted by who knows of the failure is carried out"
    )


async def test_what_is_done_behind_does_not_rest_on_what_was_before(disk: NativeDisk) -> None:
    ends = [begin(disk, Remove("missing"), lane=Lane.BEHIND) for _ in range(3)]
    ends.append(begin(disk, Create("a", 1), lane=Lane.BEHIND))
    codes = [error.errno if error else 0 for error in await errors_of(*ends)]
    assert codes == [errno.ENOENT] * 3 + [0]


# -- files that are open ---------------------------------------------------------------------------


async def test_files_that_are_not_used_any_more_are_closed(disk: NativeDisk, folder: Path) -> None:
    for number in range(100):
        name = f"{number:03}"
        assert await carry_out(disk, Create(name, 4096), Sync(name), lane=Lane.BEHIND) is None
        steps = [Write(name, 0, b"x"), Sync(name), Truncate(name, 1), Sync(name)]
        assert await carry_out(disk, *steps) is None
        assert open_files(folder) <= IDLE_MAX + 1
    assert len(disk.names()) == 100


async def test_a_file_with_something_unsynced_stays_open(disk: NativeDisk, folder: Path) -> None:
    names = [f"{number:02}" for number in range(30)]
    assert await carry_out(disk, *[Create(name, 1) for name in names]) is None
    assert open_files(folder) == 30 + 1
    assert await carry_out(disk, *[Sync(name) for name in names], Create("last", 1)) is None
    assert open_files(folder) <= IDLE_MAX + 1


async def test_removed_and_replaced_files_are_closed(disk: NativeDisk, folder: Path) -> None:
    assert await carry_out(disk, Create("a", 1), Create("b", 1), Create("c", 1)) is None
    assert open_files(folder) == 3 + 1
    assert await carry_out(disk, Remove("a")) is None
    assert open_files(folder) == 2 + 1
    assert await carry_out(disk, Rename("b", "c")) is None
    assert open_files(folder) == 1 + 1
    assert await carry_out(disk, Create("c", 2)) is None
    assert open_files(folder) == 1 + 1
    assert await carry_out(disk, Rename("c", "c"), Write("c", 0, b"c")) is None
    assert disk.read("c", 0, 9) == b"c\0"
    error = await carry_out(disk, Write("b", 0, b"x"))
    assert isinstance(error, FileNotFoundError)


async def test_lanes_at_odds_over_a_file_keep_the_disk_whole(
    disk: NativeDisk, folder: Path
) -> None:
    """Files come, go and change names in one lane while the other one writes to them."""
    ends = []
    for _ in range(300):
        ends.append(begin(disk, Create("a", 9), Rename("a", "b"), Remove("b"), lane=Lane.BEHIND))
        ends.append(begin(disk, Write("a", 0, b"x"), Sync("a")))
        ends.append(begin(disk, Write("b", 0, b"x"), Sync("b")))
        await errors_of(ends[-1])
    errors = [error for error in await errors_of(*ends) if error is not None]
    assert {error.errno for error in errors} <= {errno.ENOENT, errno.ECANCELED}
    assert disk.names() == []
    assert open_files(folder) == 1  # the lock
