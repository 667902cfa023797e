"""I/O that fails for real: the hub says so, acknowledges nothing more, and keeps what it did.

With strace the system calls of a process are made to fail. Where there is none, or none may trace,
another file is put behind the descriptor by which the log writes: that fails in one way each, and
needs nothing.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from busy import code_of
from journal.disks import fd_of
from journal.simulated_disk import SimulatedDisk

from crash import full_disk
from crash.acknowledged import missing, read
from pysignal import Hub, SignalingError
from pysignal.journal.log import LogJournal

pytestmark = pytest.mark.anyio

# A process under strace can't be looked through for leaks.
ENVIRONMENT = os.environ | {
    "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0",
}


def works(*command: str) -> bool:
    """Whether a command can be run here."""
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run([*command, "true"], capture_output=True).returncode == 0


FAILING_CALLS = [("fdatasync", errno.EIO), ("pwrite64", errno.ENOSPC), ("pwrite64", errno.EIO)]
if sys.platform != "linux" or not works("strace", "-f", "-o", os.devnull):
    FAILING_CALLS = []
OTHER_FILES = [("/dev/full", errno.ENOSPC), ("/dev/null", errno.EINVAL)]

MOUNTS = [way for way in (("unshare", "-m"), ("unshare", "-rm")) if works(*way)][:1]
SMALL_DISKS = ["simulated", *("mounted" for _ in MOUNTS)]


@pytest.mark.parametrize("at", [20, 150])
@pytest.mark.parametrize("way", [*FAILING_CALLS, *OTHER_FILES], ids=str)
async def test_after_a_failure_nothing_is_acknowledged_and_all_that_was_is_there(
    tmp_path: Path, way: tuple[str, int], at: int
) -> None:
    folder = tmp_path / "calls"
    if way in FAILING_CALLS:
        lines = await asyncio.to_thread(run_traced, folder, tmp_path / "trace", way, at)
    else:
        lines = await run_here(folder, way, at)
    refused = [number for number, line in enumerate(lines) if line.startswith("refused")]
    assert {lines[number] for number in refused} == {"refused 6012"}
    assert lines[refused[0] :] == ["refused 6012"] * len(refused), "acknowledged after a failure"
    acknowledged = read(lines)
    assert len(acknowledged) >= at // 2
    assert await missing(folder, acknowledged) == []


def run_traced(folder: Path, trace: Path, way: tuple[str, int], at: int) -> list[str]:
    """Let a server work until a system call fails, as does each later one of that thread."""
    call, code = way
    done = subprocess.run(
        [
            *("strace", "-f", "-qq", "-o", str(trace), "-e", "trace=fdatasync,fsync,pwrite64"),
            *("-e", f"inject={call}:error={errno.errorcode[code]}:when={at}+"),
            *(sys.executable, "-m", "crash.busy_server", str(folder)),
        ],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    first, *lines, last = done.stdout.splitlines()
    assert (first, last) == ("up", "closed")
    calls = trace.read_text().splitlines()
    failed = [number for number, line in enumerate(calls) if "INJECTED" in line]
    thread = calls[failed[0]].split()[0]
    later = [line for line in calls[failed[0] + 1 :] if re.match(rf"{thread} ", line)]
    assert later == [], f"{call} failed, and the same thread went on"
    return lines


async def run_here(folder: Path, way: tuple[str, int], at: int) -> list[str]:
    """Work until another file is found in place of the log's own; nothing is tried again."""
    path, code = way
    journal, lines = LogJournal(folder, segment_bytes=1 << 16), list[str]()
    async with Hub(journal=journal) as hub:

        async def work() -> None:
            while True:
                try:
                    lines.append(f"open {await hub.invite_as('amy', 'bob', timeout=600)}")
                except SignalingError as error:
                    lines.append(f"refused {error.code}")
                    return
                if len(lines) == at:
                    put(folder, journal, path)

        await asyncio.gather(*(work() for _ in range(8)))
        assert await code_of(hub.invite_as("amy", "bob")) == 6012
        assert journal._failure is not None
        assert journal._failure.errno == code
    return lines


def put(folder: Path, journal: LogJournal, path: str) -> None:
    """Put a file in place of the one that the log appends to."""
    other = os.open(path, os.O_RDWR)
    os.dup2(other, fd_of(folder / journal._segments[-1].name))
    os.close(other)


@pytest.mark.parametrize("disk", SMALL_DISKS)
async def test_a_full_disk_ends_what_is_open_and_has_room_again(tmp_path: Path, disk: str) -> None:
    if disk == "mounted":
        mount = f'mount -t tmpfs -o size=1m tmpfs "{tmp_path}" && exec "$@"'
        program = (sys.executable, "-m", "crash.full_disk", str(tmp_path))
        done = await asyncio.to_thread(
            subprocess.run,
            [*MOUNTS[0], "sh", "-c", mount, "sh", *program],
            capture_output=True,
            text=True,
            env=ENVIRONMENT,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        told = done.stdout
    else:
        small = SimulatedDisk(Random(0), room=1 << 19)

        def new_journal() -> LogJournal:
            return LogJournal(
                "",
                segment_bytes=full_disk.SEGMENT_BYTES,
                snapshot_bytes=full_disk.SNAPSHOT_BYTES,
                disk=small,
            )

        def make_room() -> None:
            small.room = 1 << 20

        told = await full_disk.play(new_journal, make_room)
    assert int(told.split()[0]) > 500
