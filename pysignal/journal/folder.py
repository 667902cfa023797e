"""The folder of a journal: who may have it, and reading what is in it.

It holds everything that users told each other, so that it is for its owner alone: it is made that
way, and refused where anybody else got access to it since. One process at a time may write. It
holds a lock on a file in the folder, which the kernel takes back however the process ends; the file
itself stays, as one that comes and goes could be locked twice.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shlex
import stat
from pathlib import Path

from pysignal.journal.contract import JournalInUse

LOCK = "lock"
OTHERS = 0o077  # what a mode grants to others than the owner


def take(path: str) -> tuple[int, int]:
    """Open a folder to write in it, and lock it; it is made where there is none.

    Returns:
        File descriptors of the folder and of the lock, which is held until it is closed.

    Raises:
        JournalInUse: somebody else has it.
        OSError: it cannot be used, or others than its owner may.
    """
    make(path)
    found = Path(path).stat()
    if stat.S_ISDIR(found.st_mode):
        require_private(found, path, "700")
    folder = look(path)
    try:
        check_files(folder, path)
        return folder, lock(folder, path)
    except BaseException:
        os.close(folder)
        raise


def look(path: str) -> int:
    """Open a folder to read what is in it; returns its file descriptor."""
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except NotADirectoryError as error:
        raise NotADirectoryError(
            error.errno, "a journal is a folder, and this is none; choose another path", path
        ) from None
    except FileNotFoundError as error:
        raise FileNotFoundError(error.errno, "there is no such folder", path) from None


def make(path: str) -> None:
    """Make a folder where there is none."""
    above = str(Path(path).absolute().parent)
    try:
        Path(path).mkdir(0o700)
    except FileExistsError:
        return
    except FileNotFoundError as error:
        raise FileNotFoundError(
            error.errno, f"the folder for the journal is missing; mkdir -p {quoted(above)}", above
        ) from None
    Path(path).chmod(0o700)  # whatever the umask is
    # Its name has to be as durable as what will be in it.
    fd = os.open(above, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def check_files(folder: int, path: str) -> None:
    """Refuse a folder with a file that others than this user may have read or written."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                require_private(entry.stat(follow_symlinks=False), f"{path}/{entry.name}", "600")


def require_private(found: os.stat_result, path: str, mode: str) -> None:
    """Refuse what is another user's, or open to others, or closed to its owner."""
    has = stat.S_IMODE(found.st_mode)
    wanted = int(mode, 8)
    if found.st_uid != os.geteuid():
        raise PermissionError(
            errno.EACCES,
            f"it belongs to user {found.st_uid}, not to {os.geteuid()} who runs this; "
            f"chown {os.geteuid()} {quoted(path)}",
            path,
        )
    if has & OTHERS or has & wanted != wanted:
        whose = "others than its owner may use it" if has & OTHERS else "its owner may not use it"
        raise PermissionError(
            errno.EACCES, f"{whose} (mode {has:o}); chmod {mode} {quoted(path)}", path
        )


def lock(folder: int, path: str) -> int:
    """Lock a folder; returns the file descriptor that holds the lock."""
    try:
        fd = os.open(
            LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=folder
        )
    except OSError as error:
        raise OSError(
            error.errno, f"nothing can be written in it: {error.strerror}", path
        ) from None
    try:
        os.fchmod(fd, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JournalInUse(
                f"{path} is in use{holder(fd)}: stop that one, or choose another folder"
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, b"%d\n" % os.getpid(), 0)
    except BaseException:
        os.close(fd)
        raise
    return fd


def holder(fd: int) -> str:
    """Return who holds a lock, as its file tells."""
    text = os.pread(fd, 32, 0).strip()
    if not text.isdigit():
        return ""  # it is about to write it
    pid = int(text)
    return " by another hub of this process" if pid == os.getpid() else f" by process {pid}"


def quoted(path: str) -> str:
    """Return a path as a shell takes it."""
    return shlex.quote(path)


def names(folder: int) -> list[str]:
    """Return the names of the files in a folder, sorted, without the lock."""
    with os.scandir(folder) as entries:
        return sorted(
            entry.name
            for entry in entries
            if entry.name != LOCK and entry.is_file(follow_symlinks=False)
        )


def size(folder: int, name: str) -> int:
    """Return the size of a file in bytes."""
    return os.stat(name, dir_fd=folder, follow_symlinks=False).st_size


def read(folder: int, name: str, offset: int, size: int) -> bytes:
    """Return bytes of a file, fewer at its end."""
    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=folder)
    try:
        data = os.pread(fd, size, offset)
        while len(data) < size and (more := os.pread(fd, size - len(data), offset + len(data))):
            data += more
        return data
    finally:
        os.close(fd)
