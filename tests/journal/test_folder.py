"""A journal's folder is for its owner alone, and for one process at a time."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from busy import PATIENCE_S
from journal.disks import carry_out, fds

from pysignal.journal.contract import JournalInUse
from pysignal.journal.disk import Create, Lane, SyncFolder
from pysignal.journal.native_disk import NativeDisk
from pysignal.journal.read_only_disk import ReadOnlyDisk

OPENS = """
import sys
from pysignal.journal.native_disk import NativeDisk
disk = NativeDisk(sys.argv[1])
disk.open()
print("open", flush=True)
sys.stdin.read()
"""

FORKS = """
import os, sys
from pysignal.journal.disk import Lane, SyncFolder
from pysignal.journal.native_disk import NativeDisk
disk = NativeDisk(sys.argv[1])
disk.open()
told, tells = os.pipe()
if os.fork() == 0:
    try:
        disk.submit(Lane.COMMITS, [SyncFolder()], print)
    except RuntimeError as error:
        print(error, flush=True)
    disk.close()
    os.close(tells)
    sys.stdin.read()
    os._exit(0)
os.close(tells)
os.read(told, 1)
try:
    NativeDisk(sys.argv[1]).open()
except Exception as error:
    print(error, flush=True)
os._exit(0)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that is not there yet."""
    return tmp_path / "jour nal"


@pytest.fixture
def disk(folder: Path) -> Iterator[NativeDisk]:
    """A disk on it that is not open yet."""
    disk = NativeDisk(folder)
    yield disk
    disk.close()


@pytest.fixture(params=[0o000, 0o777])
def umask(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[None]:
    """The widest and the narrowest there is."""
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def modes_in(folder: Path) -> dict[str, int]:
    return {path.name: mode(path) for path in folder.iterdir()}


def times_of(folder: Path) -> dict[Path, int]:
    """When a folder, and each thing in it, was last changed."""
    return {path: path.stat().st_mtime_ns for path in [folder, *folder.iterdir()]}


# -- who may see it --------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.usefixtures("umask")
async def test_what_is_made_is_the_owners_alone_whatever_the_umask_is(
    disk: NativeDisk, folder: Path
) -> None:
    disk.open()
    assert await carry_out(disk, Create("a", 1)) is None
    assert mode(folder) == 0o700
    assert modes_in(folder) == {"a": 0o600, "lock": 0o600}


@pytest.mark.anyio
async def test_no_other_program_inherits_a_file(disk: NativeDisk) -> None:
    before = set(fds())
    disk.open()
    assert await carry_out(disk, Create("a", 1)) is None
    made = set(fds()) - before
    assert len(made) == 4  # the folder, the lock, what wakes the loop, and the file
    assert not any(os.get_inheritable(fd) for fd in made)


@pytest.mark.parametrize("wide", [0o755, 0o710, 0o701, 0o704, 0o720, 0o500])
def test_a_folder_that_others_may_use_or_its_owner_may_not_is_refused(
    disk: NativeDisk, folder: Path, wide: int
) -> None:
    folder.mkdir(0o700)
    folder.chmod(wide)
    with pytest.raises(PermissionError, match=rf"mode {wide:o}\); chmod 700 '{folder}'"):
        disk.open()
    assert mode(folder) == wide
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", ["segment", "lock"])
def test_a_file_that_others_may_use_is_refused(disk: NativeDisk, folder: Path, name: str) -> None:
    folder.mkdir(0o700)
    (folder / name).touch()
    (folder / name).chmod(0o640)
    with pytest.raises(PermissionError, match=rf"mode 640\); chmod 600 '{folder}/{name}'"):
        disk.open()
    (folder / name).chmod(0o600)
    disk.open()


def test_a_folder_of_another_user_is_refused(
    disk: NativeDisk, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.mkdir(0o700)
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    with pytest.raises(
        PermissionError, match=rf"belongs to user {me}, .*chown {me + 1} '{folder}'"
    ):
        disk.open()


def test_a_missing_parent_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"mkdir -p {tmp_path}/a"):
        NativeDisk(tmp_path / "a" / "b").open()
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_no_folder(disk: NativeDisk, folder: Path) -> None:
    folder.touch()
    with pytest.raises(NotADirectoryError, match="a journal is a folder"):
        disk.open()


def test_a_folder_in_which_nothing_can_be_written_is_refused(
    disk: NativeDisk, folder: Path
) -> None:
    """As on a file system that is mounted for reading only: the lock cannot be opened."""
    folder.mkdir(0o700)
    (folder / "lock").symlink_to("elsewhere")
    with pytest.raises(OSError, match="nothing can be written in it"):
        disk.open()
    assert not (folder / "elsewhere").exists()


def test_a_refusal_leaves_nothing_open(disk: NativeDisk, folder: Path) -> None:
    folder.mkdir(0o755)
    before = set(fds())
    with pytest.raises(PermissionError):
        disk.open()
    assert set(fds()) == before


# -- the lock --------------------------------------------------------------------------------------


def test_two_disks_of_one_process_do_not_share_a_folder(disk: NativeDisk, folder: Path) -> None:
    disk.open()
    before = set(fds())
    with pytest.raises(JournalInUse, match=r"jour nal is in use by another hub of this process"):
        NativeDisk(folder).open()
    assert set(fds()) == before
    disk.close()
    other = NativeDisk(folder)
    other.open()
    with pytest.raises(JournalInUse):
        disk.open()
    other.close()


def test_a_lock_ends_with_its_process_however_that_ends(disk: NativeDisk, folder: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OPENS, str(folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as other:  # fmt: skip
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(JournalInUse, match=rf"in use by process {other.pid}: stop"):
            disk.open()
        other.send_signal(signal.SIGKILL)
    disk.open()


def test_a_forked_child_has_neither_the_disk_nor_its_lock(disk: NativeDisk, folder: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", FORKS, str(folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as parent:  # fmt: skip
        assert parent.stdout is not None
        assert "not open in this process" in parent.stdout.readline()
        assert "in use by another hub of this process" in parent.stdout.readline()
        parent.wait(PATIENCE_S)
        disk.open()  # while the child lives, which waits for the end of its input


# -- looking at it ---------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_disk_for_reading_sees_what_a_server_writes(disk: NativeDisk, folder: Path) -> None:
    disk.open()
    assert await carry_out(disk, Create("b", 3), Create("a", 0), SyncFolder()) is None
    (folder / "sub").mkdir()
    (folder / "link").symlink_to("b")
    before = times_of(folder)
    looking = ReadOnlyDisk(folder)
    with pytest.raises(RuntimeError, match="not open"):
        looking.names()
    looking.open()
    assert looking.names() == disk.names() == ["a", "b"]
    assert looking.size("b") == disk.size("b") == 3
    assert looking.read("b", 1, 99) == disk.read("b", 1, 99) == bytes(2)
    assert looking.read("b", 4, 99) == b""
    for missing in (looking, disk):
        with pytest.raises(FileNotFoundError):
            missing.read("c", 0, 1)
        with pytest.raises(FileNotFoundError):
            missing.size("c")
    with pytest.raises(OSError, match="reading only"):
        looking.submit(Lane.COMMITS, [SyncFolder()], print)
    looking.close()
    assert times_of(folder) == before


def test_a_disk_for_reading_needs_neither_lock_nor_private_folder(folder: Path) -> None:
    folder.mkdir(0o755)
    (folder / "a").write_bytes(b"abc")
    (folder / "a").chmod(0o444)
    looking = ReadOnlyDisk(folder)
    looking.open()
    assert looking.read("a", 1, 1) == b"b"
    looking.close()
    assert [path.name for path in folder.iterdir()] == ["a"]


def test_a_disk_for_reading_makes_no_folder(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such folder"):
        ReadOnlyDisk(folder).open()
    assert not folder.exists()
