"""The log in a real folder: who may have it, what lies there, and how long reading takes."""

from __future__ import annotations

import asyncio
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pysignal.clock import stopwatch_ns
from pysignal.journal import JournalInUse
from pysignal.journal.log import LogJournal

pytestmark = pytest.mark.anyio

OPENS = """
import asyncio, sys
from pysignal.journal import JournalInUse
from pysignal.journal.log import LogJournal

async def main():
    journal = LogJournal(sys.argv[1])
    try:
        await journal.open()
    except JournalInUse as error:
        return str(error)
    found = b" ".join(journal.replay()).decode()
    await journal.close()
    return found

print(asyncio.run(main()))
"""


def open_elsewhere(folder: Path) -> str:
    """Open a journal in another process, and return what it found."""
    result = subprocess.run(
        (sys.executable, "-c", OPENS, str(folder)), capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the journal is; it is not there yet."""
    return tmp_path / "calls"


async def test_a_second_process_is_refused_until_the_first_has_let_go(folder: Path) -> None:
    journal = LogJournal(folder)
    await journal.open()
    await journal.append([b"one", b"two"], 0)
    assert str(folder) in await asyncio.to_thread(open_elsewhere, folder)
    with pytest.raises(JournalInUse):
        await LogJournal(folder).open()
    await journal.append([b"three"], 2)
    await journal.close()
    assert await asyncio.to_thread(open_elsewhere, folder) == "one two three"


async def test_what_is_in_it_is_for_its_owner_alone(folder: Path) -> None:
    journal = LogJournal(folder, segment_bytes=4096)
    await journal.open()
    for number in range(5):
        await journal.append([bytes(2000)], number)
    await journal.close()
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in files(folder)}
    assert len(modes) > 4
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(mode_of(folder)) == 0o700


def files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def mode_of(path: Path) -> int:
    return path.stat().st_mode


def forbid(path: Path, mode: int) -> None:
    path.chmod(mode)


@pytest.mark.parametrize("mode", [0o500, 0o750], ids=oct)
async def test_a_folder_that_is_read_only_or_open_to_others_is_refused(
    folder: Path, mode: int
) -> None:
    journal = LogJournal(folder)
    await journal.open()
    await journal.append([b"one"], 0)
    await journal.close()
    forbid(folder, mode)
    with pytest.raises(PermissionError, match="chmod 700"):
        await journal.open()
    forbid(folder, 0o700)
    await journal.open()
    assert list(journal.replay()) == [b"one"]
    await journal.close()


async def test_a_million_records_are_read_soon_and_hold_nobody_up(folder: Path) -> None:
    journal = LogJournal(folder)
    await journal.open()
    batch = [b"%d" % number * 40 for number in range(500, 900)]
    for number in range(2500):
        await journal.append(batch, number * len(batch))
    await journal.close()
    held_ns = 0

    async def watch() -> None:
        nonlocal held_ns
        while True:
            before = stopwatch_ns()
            await asyncio.sleep(0)
            held_ns = max(held_ns, stopwatch_ns() - before)

    watching = asyncio.ensure_future(watch())
    began = stopwatch_ns()
    await journal.open()
    opened = stopwatch_ns() - began
    watching.cancel()
    count = sum(1 for _ in journal.replay())
    took = stopwatch_ns() - began
    await journal.close()
    assert count == journal.position == 1_000_000
    print(f"opened in {opened / 1e6:.0f} ms, held {held_ns / 1e6:.1f} ms, in all {took / 1e6:.0f}")
    # Many times what it takes on a machine that has nothing else to do.
    assert took < 5e9
    assert held_ns < 100e6
