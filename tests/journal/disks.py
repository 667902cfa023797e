"""Native disks for tests: a job and its end, and which files this process has open."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path

from busy import PATIENCE_S

from pysignal.journal.disk import Lane, Step
from pysignal.journal.native_disk import NativeDisk


def begin(
    disk: NativeDisk, *steps: Step, lane: Lane = Lane.COMMITS
) -> asyncio.Future[OSError | None]:
    """Submit a job; the future has its error."""
    end: asyncio.Future[OSError | None] = asyncio.get_running_loop().create_future()
    disk.submit(lane, steps, end.set_result)
    return end


async def carry_out(disk: NativeDisk, *steps: Step, lane: Lane = Lane.COMMITS) -> OSError | None:
    """Submit a job, wait for its end, and return its error."""
    [error] = await errors_of(begin(disk, *steps, lane=lane))
    return error


async def errors_of(*ends: asyncio.Future[OSError | None]) -> list[OSError | None]:
    """Wait for the ends of jobs, and return their errors."""
    return await asyncio.wait_for(asyncio.gather(*ends), PATIENCE_S)


def fds() -> dict[int, os.stat_result]:
    """The file descriptors of this process that are open, with what they lead to."""
    found = {}
    for path in Path("/dev/fd").iterdir():
        with suppress(OSError):  # that by which they are listed is closed by now
            found[int(path.name)] = os.fstat(int(path.name))
    return found


def fd_of(path: Path) -> int:
    """The file descriptor by which a file of a disk is open."""
    wanted = path.stat()
    (fd,) = [fd for fd, found in fds().items() if os.path.samestat(found, wanted)]
    return fd


def open_files(folder: Path) -> int:
    """How many files that were made in a folder are open, with those that have no name any more."""
    targets = [Path(f"/proc/self/fd/{fd}") for fd in fds()]
    inside = f"{folder}{os.sep}"
    return sum(str(path.readlink()).startswith(inside) for path in targets if path.exists())
